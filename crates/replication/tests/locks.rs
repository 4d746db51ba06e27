//! Row locks under any traffic: nobody shares a row, nobody is overtaken at it, and nobody waits for nothing.

use std::collections::BTreeSet;

use baton_model::{Key, TableId};
use baton_replication::{Grant, LockTable, Owner};
use proptest::prelude::*;

type Rows = BTreeSet<(TableId, Key)>;

#[derive(Clone, Debug)]
enum Act {
    /// The next owner wants these rows.
    Acquire(Rows),
    /// One of those who hold or wait, gives up or back.
    Release(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let row = (1_u64..3, 0_u8..5).prop_map(|(table, key)| (TableId(table), vec![key]));
    prop_oneof![
        3 => prop::collection::btree_set(row, 0..4).prop_map(Act::Acquire),
        2 => any::<usize>().prop_map(Act::Release),
    ]
}

/// Who holds and who waits, by a slower way.
#[derive(Default)]
struct Model {
    holding: Vec<(Owner, Rows)>,
    /// In order of arrival.
    waiting: Vec<(Owner, Rows)>,
}

impl Model {
    fn may_have(&self, rows: &Rows, ahead: usize) -> bool {
        let before = self.waiting[..ahead].iter();
        self.holding.iter().chain(before).all(|(_, other)| other.is_disjoint(rows))
    }

    fn acquire(&mut self, owner: Owner, rows: Rows) -> Grant {
        if self.may_have(&rows, self.waiting.len()) {
            self.holding.push((owner, rows));
            Grant::Now
        } else {
            self.waiting.push((owner, rows));
            Grant::Later
        }
    }

    fn release(&mut self, owner: Owner) -> Vec<Owner> {
        self.holding.retain(|(other, _)| *other != owner);
        self.waiting.retain(|(other, _)| *other != owner);
        let mut granted = Vec::new();
        let mut place = 0;
        while place < self.waiting.len() {
            if self.may_have(&self.waiting[place].1, place) {
                let next = self.waiting.remove(place);
                granted.push(next.0);
                self.holding.push(next);
            } else {
                place += 1;
            }
        }
        granted
    }

    fn owners(&self) -> Vec<Owner> {
        self.holding.iter().chain(&self.waiting).map(|(owner, _)| *owner).collect()
    }
}

proptest! {
    #[test]
    fn locks_are_granted_in_order_of_arrival_and_all_come_back(acts in prop::collection::vec(act(), 1..60)) {
        let (mut locks, mut model) = (LockTable::default(), Model::default());
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Acquire(rows) => {
                    let owner = Owner::Statement(number as u64);
                    let grant = locks.acquire(owner, rows.iter().cloned());
                    prop_assert_eq!(grant, model.acquire(owner, rows));
                }
                Act::Release(which) => {
                    let owners = model.owners();
                    let owner = owners.get(which % owners.len().max(1)).copied().unwrap_or(Owner::Statement(u64::MAX));
                    prop_assert_eq!(locks.release(owner), model.release(owner));
                }
            }
            prop_assert_eq!(locks.waiting(), model.waiting.len());
            for (place, (_, rows)) in model.holding.iter().enumerate() {
                prop_assert!(model.holding[..place].iter().all(|(_, other)| other.is_disjoint(rows)));
            }
            // No deadlock: as long as somebody waits, somebody holds.
            prop_assert!(model.waiting.is_empty() || !model.holding.is_empty());
        }
        while let Some((owner, _)) = model.holding.first().cloned() {
            prop_assert_eq!(locks.release(owner), model.release(owner));
        }
        prop_assert_eq!(locks.waiting(), 0);
        let all = (1..3).flat_map(|table| (0..5).map(move |key| (TableId(table), vec![key])));
        prop_assert_eq!(locks.acquire(Owner::Statement(1_000), all), Grant::Now, "all are free again");
    }
}
