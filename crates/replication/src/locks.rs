//! The row locks of one primary: who may change which row now, who waits, in order of arrival.
//!
//! Every request takes all its keys at once or waits for all of them.
//! A statement that is its own transaction asks once, so while it waits it holds nothing, and it can be in no deadlock.
//! A transaction asks again for each of its statements and keeps what it has until it ends; so it may wait for another
//! one that waits for it. [`LockTable::waits`] tells who waits for whom.
//!
//! Nobody overtakes a waiter of the same row, with two exceptions, without which order alone would make deadlocks:
//! a waiter does not stand in the way of the transaction that it waits for, and a statement that waits, and so holds
//! nothing, not in the way of any transaction.
//!
//! Locks live in the primary's memory. Those of prepared transactions are taken anew by the next primary.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_model::{Key, TableId, TransactionId};

/// Who holds or wants locks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A statement that is its own transaction, by a number of its own.
    Statement(u64),
    /// A transaction.
    Transaction(TransactionId),
}

/// Whether the keys were had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// All of them.
    Now,
    /// The owner waits; a later [`LockTable::release`] or [`LockTable::give_up`] names it.
    Later,
}

/// The name of a row.
pub type RowKey = (TableId, Key);

/// The locks.
#[derive(Debug, Default)]
pub struct LockTable {
    held: BTreeMap<RowKey, Owner>,
    owned: BTreeMap<Owner, BTreeSet<RowKey>>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    /// What it does not have yet.
    wanted: BTreeSet<RowKey>,
}

impl LockTable {
    /// Takes all these keys, beside those that the owner has, or puts the owner in the queue. An owner that waits asks
    /// for nothing else.
    pub fn acquire(&mut self, owner: Owner, keys: impl IntoIterator<Item = RowKey>) -> Grant {
        let wanted: BTreeSet<RowKey> =
            keys.into_iter().filter(|key| self.held.get(key) != Some(&owner)).collect();
        let blocked = self.waiting.iter().any(|waiter| self.is_before(waiter, owner, &wanted));
        if !blocked && self.free(&wanted) {
            self.grant(owner, wanted);
            Grant::Now
        } else {
            self.waiting.push_back(Waiter { owner, wanted });
            Grant::Later
        }
    }

    /// Gives everything back, and leaves the queue. Answers with the owners that now have all they waited for.
    pub fn release(&mut self, owner: Owner) -> Vec<Owner> {
        for key in self.owned.remove(&owner).unwrap_or_default() {
            self.held.remove(&key);
        }
        self.give_up(owner)
    }

    /// Leaves the queue, and keeps what it has. Answers with the owners that now have all they waited for.
    pub fn give_up(&mut self, owner: Owner) -> Vec<Owner> {
        self.waiting.retain(|waiter| waiter.owner != owner);
        let mut granted = Vec::new();
        let mut still: VecDeque<Waiter> = VecDeque::new();
        for waiter in std::mem::take(&mut self.waiting) {
            let blocked = still.iter().any(|ahead| self.is_before(ahead, waiter.owner, &waiter.wanted));
            if !blocked && self.free(&waiter.wanted) {
                granted.push(waiter.owner);
                self.grant(waiter.owner, waiter.wanted);
            } else {
                still.push_back(waiter);
            }
        }
        self.waiting = still;
        granted
    }

    /// Whether a transaction has this row.
    #[must_use]
    pub fn is_held_by(&self, transaction: TransactionId, row: &RowKey) -> bool {
        self.held.get(row) == Some(&Owner::Transaction(transaction))
    }

    /// How many rows are locked.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How many owners wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Which transaction waits for which, each pair once. Statements are in no circle, and left out.
    #[must_use]
    pub fn waits(&self) -> BTreeSet<(TransactionId, TransactionId)> {
        let mut waits = BTreeSet::new();
        for (place, waiter) in self.waiting.iter().enumerate() {
            let Owner::Transaction(who) = waiter.owner else { continue };
            let holders = waiter.wanted.iter().filter_map(|key| self.held.get(key));
            let ahead = self
                .waiting
                .iter()
                .take(place)
                .filter(|ahead| self.is_before(ahead, waiter.owner, &waiter.wanted))
                .map(|ahead| &ahead.owner);
            for owner in holders.chain(ahead) {
                if let Owner::Transaction(other) = owner
                    && *other != who
                {
                    waits.insert((who, *other));
                }
            }
        }
        waits
    }

    /// Whether a waiter came first, so that an owner who wants these keys waits behind it.
    fn is_before(&self, waiter: &Waiter, owner: Owner, wanted: &BTreeSet<RowKey>) -> bool {
        let gives_way = matches!((waiter.owner, owner), (Owner::Statement(_), Owner::Transaction(_)));
        !gives_way
            && !waiter.wanted.is_disjoint(wanted)
            && !waiter.wanted.iter().any(|key| self.held.get(key) == Some(&owner))
    }

    fn free(&self, keys: &BTreeSet<RowKey>) -> bool {
        keys.iter().all(|key| !self.held.contains_key(key))
    }

    fn grant(&mut self, owner: Owner, keys: BTreeSet<RowKey>) {
        if keys.is_empty() {
            return;
        }
        for key in &keys {
            self.held.insert(key.clone(), owner);
        }
        self.owned.entry(owner).or_default().extend(keys);
    }
}

/// The transactions of a circle of waits that goes through this one, itself first; None if there is none.
#[must_use]
pub fn deadlock(
    waits: &BTreeSet<(TransactionId, TransactionId)>,
    through: TransactionId,
) -> Option<Vec<TransactionId>> {
    let after = |who: TransactionId| {
        let from = (who, TransactionId(0));
        waits.range(from..).take_while(move |(waiter, _)| *waiter == who).map(|(_, other)| *other)
    };
    // Breadth first; of each one reached, who waited for it.
    let mut reached: BTreeMap<TransactionId, TransactionId> = BTreeMap::new();
    let mut next = VecDeque::from([through]);
    while let Some(who) = next.pop_front() {
        for other in after(who) {
            if other == through {
                let mut circle = vec![who];
                while let Some(earlier) = circle.last().filter(|last| **last != through) {
                    circle.push(reached[earlier]);
                }
                circle.reverse();
                return Some(circle);
            }
            if let std::collections::btree_map::Entry::Vacant(place) = reached.entry(other) {
                place.insert(who);
                next.push_back(other);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[u8]) -> Vec<RowKey> {
        names.iter().map(|name| (TableId(1), vec![*name])).collect()
    }

    fn statement(number: u64) -> Owner {
        Owner::Statement(number)
    }

    fn transaction(number: u128) -> Owner {
        Owner::Transaction(TransactionId(number))
    }

    fn circle(locks: &LockTable, through: u128) -> Option<Vec<u128>> {
        let found = deadlock(&locks.waits(), TransactionId(through));
        found.map(|circle| circle.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn a_second_writer_of_a_row_waits_for_the_first() {
        let mut locks = LockTable::default();
        assert_eq!(locks.acquire(statement(1), keys(b"ab")), Grant::Now);
        assert_eq!(locks.acquire(statement(2), keys(b"bc")), Grant::Later);
        assert_eq!(locks.acquire(statement(3), keys(b"d")), Grant::Now);
        assert_eq!(locks.release(statement(1)), [statement(2)]);
    }

    #[test]
    fn nobody_overtakes_a_waiter_of_the_same_row() {
        for owner in [statement, |n| transaction(u128::from(n))] {
            let mut locks = LockTable::default();
            assert_eq!(locks.acquire(owner(1), keys(b"a")), Grant::Now);
            assert_eq!(locks.acquire(owner(2), keys(b"ab")), Grant::Later);
            assert_eq!(locks.acquire(owner(3), keys(b"b")), Grant::Later, "2 wants b too and came first");
            assert_eq!(locks.release(owner(1)), [owner(2)]);
            assert_eq!(locks.release(owner(2)), [owner(3)]);
        }
    }

    #[test]
    fn who_gives_up_waiting_blocks_nobody() {
        let mut locks = LockTable::default();
        locks.acquire(statement(1), keys(b"a"));
        locks.acquire(statement(2), keys(b"ab"));
        locks.acquire(statement(3), keys(b"b"));
        assert_eq!(locks.release(statement(2)), [statement(3)]);
        assert_eq!(locks.waiting(), 0);
    }

    #[test]
    fn a_transaction_asks_again_and_gives_all_of_it_back_at_its_end() {
        let mut locks = LockTable::default();
        assert_eq!(locks.acquire(transaction(1), keys(b"a")), Grant::Now);
        assert_eq!(locks.acquire(transaction(1), keys(b"ab")), Grant::Now);
        assert_eq!(locks.acquire(statement(2), keys(b"b")), Grant::Later);
        assert_eq!(locks.acquire(statement(3), keys(b"c")), Grant::Now);
        assert_eq!(locks.acquire(transaction(1), keys(b"c")), Grant::Later);
        assert_eq!(locks.give_up(transaction(1)), [], "it keeps a and b");
        assert!(locks.is_held_by(TransactionId(1), &keys(b"b")[0]));
        assert_eq!(locks.release(transaction(1)), [statement(2)]);
        assert_eq!(locks.release(statement(3)), []);
    }

    #[test]
    fn a_waiter_does_not_stand_in_the_way_of_whom_it_waits_for() {
        let mut locks = LockTable::default();
        locks.acquire(transaction(1), keys(b"a"));
        assert_eq!(locks.acquire(transaction(2), keys(b"ab")), Grant::Later);
        assert_eq!(locks.acquire(transaction(1), keys(b"b")), Grant::Now);
        assert_eq!(locks.acquire(statement(3), keys(b"ac")), Grant::Later);
        assert_eq!(locks.acquire(transaction(4), keys(b"c")), Grant::Now, "3 holds nothing");
        assert_eq!(locks.release(transaction(1)), [transaction(2)]);
    }

    #[test]
    fn two_that_wait_for_each_other_are_a_circle_and_a_third_behind_them_is_none() {
        let mut locks = LockTable::default();
        locks.acquire(transaction(1), keys(b"a"));
        locks.acquire(transaction(2), keys(b"b"));
        locks.acquire(transaction(1), keys(b"b"));
        assert_eq!(circle(&locks, 1), None);
        locks.acquire(transaction(2), keys(b"a"));
        locks.acquire(transaction(3), keys(b"a"));
        assert_eq!(circle(&locks, 1), Some(vec![1, 2]));
        assert_eq!(circle(&locks, 2), Some(vec![2, 1]));
        assert_eq!(circle(&locks, 3), None);
        assert_eq!(locks.release(transaction(2)), [transaction(1)]);
        assert_eq!(circle(&locks, 1), None);
    }
}
