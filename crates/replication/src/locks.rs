//! The row locks of one primary: who may change which row now, who waits, in order of arrival.
//!
//! A write takes all its keys at once or waits for all of them, so that waiters cannot wait for each other.
//! Locks live in the primary's memory: they vanish with it, and so do the writes that held them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_model::{Key, TableId};

/// A write that holds or wants locks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner(pub u64);

/// Whether the keys were had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// All of them.
    Now,
    /// The owner waits; a later [`LockTable::release`] names it.
    Later,
}

type RowKey = (TableId, Key);

/// The locks.
#[derive(Debug, Default)]
pub struct LockTable {
    held: BTreeMap<RowKey, Owner>,
    owned: BTreeMap<Owner, BTreeSet<RowKey>>,
    waiting: VecDeque<(Owner, BTreeSet<RowKey>)>,
}

impl LockTable {
    /// Takes all these keys, or puts the owner in the queue.
    /// An owner asks once; to ask for other keys it releases first.
    pub fn acquire(&mut self, owner: Owner, keys: impl IntoIterator<Item = RowKey>) -> Grant {
        let keys: BTreeSet<RowKey> = keys.into_iter().collect();
        // Whoever waits for one of these keys came first.
        let contested = self.waiting.iter().any(|(_, wanted)| !wanted.is_disjoint(&keys));
        if !contested && self.free(&keys) {
            self.grant(owner, keys);
            Grant::Now
        } else {
            self.waiting.push_back((owner, keys));
            Grant::Later
        }
    }

    /// Gives everything back, or leaves the queue. Answers with the owners that now have all they waited for.
    pub fn release(&mut self, owner: Owner) -> Vec<Owner> {
        for key in self.owned.remove(&owner).unwrap_or_default() {
            self.held.remove(&key);
        }
        self.waiting.retain(|(waiter, _)| *waiter != owner);
        let mut granted = Vec::new();
        let mut ahead: BTreeSet<RowKey> = BTreeSet::new();
        for (waiter, keys) in std::mem::take(&mut self.waiting) {
            if ahead.is_disjoint(&keys) && self.free(&keys) {
                self.grant(waiter, keys);
                granted.push(waiter);
            } else {
                ahead.extend(keys.iter().cloned());
                self.waiting.push_back((waiter, keys));
            }
        }
        granted
    }

    /// How many owners wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn free(&self, keys: &BTreeSet<RowKey>) -> bool {
        keys.iter().all(|key| !self.held.contains_key(key))
    }

    fn grant(&mut self, owner: Owner, keys: BTreeSet<RowKey>) {
        for key in &keys {
            self.held.insert(key.clone(), owner);
        }
        self.owned.insert(owner, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[u8]) -> Vec<RowKey> {
        names.iter().map(|name| (TableId(1), vec![*name])).collect()
    }

    #[test]
    fn a_second_writer_of_a_row_waits_for_the_first() {
        let mut locks = LockTable::default();
        assert_eq!(locks.acquire(Owner(1), keys(b"ab")), Grant::Now);
        assert_eq!(locks.acquire(Owner(2), keys(b"bc")), Grant::Later);
        assert_eq!(locks.acquire(Owner(3), keys(b"d")), Grant::Now);
        assert_eq!(locks.release(Owner(1)), [Owner(2)]);
    }

    #[test]
    fn nobody_overtakes_a_waiter_of_the_same_row() {
        let mut locks = LockTable::default();
        assert_eq!(locks.acquire(Owner(1), keys(b"a")), Grant::Now);
        assert_eq!(locks.acquire(Owner(2), keys(b"ab")), Grant::Later);
        assert_eq!(locks.acquire(Owner(3), keys(b"b")), Grant::Later, "2 wants b too and came first");
        assert_eq!(locks.release(Owner(1)), [Owner(2)]);
        assert_eq!(locks.release(Owner(2)), [Owner(3)]);
    }

    #[test]
    fn who_gives_up_waiting_blocks_nobody() {
        let mut locks = LockTable::default();
        locks.acquire(Owner(1), keys(b"a"));
        locks.acquire(Owner(2), keys(b"ab"));
        locks.acquire(Owner(3), keys(b"b"));
        assert_eq!(locks.release(Owner(2)), [Owner(3)]);
        assert_eq!(locks.waiting(), 0);
    }
}
