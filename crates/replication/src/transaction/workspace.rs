//! What a transaction has written to a partition and not committed.
//!
//! Statements are numbered by the transaction's aggregator. Everything after a number can be taken back: that is a
//! failed statement, and ROLLBACK TO SAVEPOINT. Savepoints themselves are the aggregator's.

use std::collections::BTreeMap;

use baton_model::limits::RECORD_BYTES_MAX;
use baton_model::{Blob, Key, TableId};

use crate::record::Mutation;

/// Rows of one table as a transaction has them: None where it deleted one.
pub type Overlay = BTreeMap<Key, Option<Blob>>;

/// A workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    rows: BTreeMap<TableId, Overlay>,
    undo: Vec<Undo>,
    /// Of the rows; they become one record.
    bytes: usize,
    /// Of what can be taken back.
    undo_bytes: usize,
    /// The newest statement, and how many rows it affected.
    newest: Option<(u32, u64)>,
    /// Statements up to this one are over: a copy of one that comes late does nothing.
    over: u32,
}

/// What was there before a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Undo {
    statement: u32,
    table: TableId,
    key: Key,
    before: Option<Option<Blob>>,
}

/// Why something is not put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotPut {
    /// It would be larger than a record can be.
    TooLarge,
    /// Its statement is over: this is a late copy of a request.
    Late,
}

fn bytes_of(key: &Key, row: Option<&Blob>) -> usize {
    16 + key.len() + row.map_or(0, |row| row.len())
}

impl Workspace {
    /// What a statement does. Of statements before `keep`, nothing needs to be taken back any more.
    ///
    /// # Errors
    /// It is too large, or late; then nothing has changed.
    pub fn put(
        &mut self,
        statement: u32,
        keep: u32,
        mutations: Vec<Mutation>,
        affected_rows: u64,
    ) -> Result<(), NotPut> {
        if statement <= self.over {
            return Err(NotPut::Late);
        }
        self.forget_before(keep);
        let added: usize = mutations.iter().map(Mutation::bytes).sum();
        if self.bytes + added > RECORD_BYTES_MAX || self.undo_bytes + added > 2 * RECORD_BYTES_MAX {
            return Err(NotPut::TooLarge);
        }
        for Mutation { table, key, row } in mutations {
            self.bytes += bytes_of(&key, row.as_ref());
            let before = self.rows.entry(table).or_default().insert(key.clone(), row);
            if let Some(before) = &before {
                self.bytes -= bytes_of(&key, before.as_ref());
            }
            let undo = Undo { statement, table, key, before };
            self.undo_bytes += undo.bytes();
            self.undo.push(undo);
        }
        self.newest = Some((statement, affected_rows));
        // A transaction's statements come one after the other.
        self.over = statement - 1;
        Ok(())
    }

    /// How many rows this statement affected, if it is the newest: what a retry of it is told.
    #[must_use]
    pub fn answer_to(&self, statement: u32) -> Option<u64> {
        self.newest.filter(|(newest, _)| *newest == statement).map(|(_, rows)| rows)
    }

    /// Takes back what statements after this one did; `begun` have been begun so far, and none of these comes again.
    pub fn take_back(&mut self, after: u32, begun: u32) {
        self.over = self.over.max(begun);
        while let Some(undo) = self.undo.pop_if(|undo| undo.statement > after) {
            self.undo_bytes -= undo.bytes();
            let Undo { table, key, before, .. } = undo;
            let rows = self.rows.entry(table).or_default();
            let bytes = bytes_of(&key, before.as_ref().and_then(Option::as_ref));
            let now = match before {
                Some(before) => {
                    self.bytes += bytes;
                    rows.insert(key.clone(), before)
                }
                None => rows.remove(&key),
            };
            if let Some(now) = now {
                self.bytes -= bytes_of(&key, now.as_ref());
            }
        }
        self.rows.retain(|_, rows| !rows.is_empty());
        if self.newest.is_some_and(|(newest, _)| newest > after) {
            self.newest = None;
        }
    }

    fn forget_before(&mut self, keep: u32) {
        let forgotten = self.undo.partition_point(|undo| undo.statement < keep);
        for undo in self.undo.drain(..forgotten) {
            self.undo_bytes -= undo.bytes();
        }
    }

    /// A table's rows as the transaction has them.
    #[must_use]
    pub fn overlay(&self, table: TableId) -> Option<&Overlay> {
        self.rows.get(&table)
    }

    /// Whether it has written nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of it, as a record has it.
    #[must_use]
    pub fn mutations(&self) -> Vec<Mutation> {
        let of_table = |(table, rows): (&TableId, &Overlay)| {
            let table = *table;
            let mutation =
                |(key, row): (&Key, &Option<Blob>)| Mutation { table, key: key.clone(), row: row.clone() };
            rows.iter().map(mutation).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of_table).collect()
    }
}

impl Undo {
    fn bytes(&self) -> usize {
        bytes_of(&self.key, self.before.as_ref().and_then(Option::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: u8, value: &[u8]) -> Mutation {
        Mutation { table: TableId(1), key: vec![key], row: Some(Blob::from(value.to_vec())) }
    }

    fn delete(key: u8) -> Mutation {
        Mutation { table: TableId(1), key: vec![key], row: None }
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut workspace = Workspace::default();
        workspace.put(1, 1, vec![set(1, b"one"), set(2, b"two")], 2).unwrap();
        let after_one = workspace.clone();
        workspace.put(2, 1, vec![set(1, b"uno"), delete(2), set(3, b"tre")], 3).unwrap();
        assert_eq!(workspace.answer_to(2), Some(3));
        workspace.take_back(1, 2);
        assert_eq!(workspace.mutations(), after_one.mutations());
        assert_eq!((workspace.bytes, workspace.undo_bytes), (after_one.bytes, after_one.undo_bytes));
        assert_eq!(workspace.answer_to(2), None, "it was taken back");
        assert_eq!(workspace.put(2, 1, vec![set(4, b"late")], 1), Err(NotPut::Late));
        workspace.put(3, 1, vec![set(4, b"four")], 1).unwrap();
        assert_eq!(workspace.put(1, 1, vec![set(5, b"late")], 1), Err(NotPut::Late));
        workspace.take_back(0, 3);
        assert!(workspace.is_empty());
        assert_eq!((workspace.bytes, workspace.undo_bytes), (0, 0));
    }

    #[test]
    fn what_nobody_takes_back_is_not_kept() {
        let mut workspace = Workspace::default();
        for statement in 1..100 {
            workspace.put(statement, statement, vec![set(1, &[0; 1000])], 1).unwrap();
        }
        assert_eq!(workspace.undo.len(), 1);
        workspace.take_back(98, 99);
        assert_eq!(workspace.mutations(), [set(1, &[0; 1000])]);
        workspace.take_back(0, 99);
        assert_eq!(workspace.mutations().len(), 1, "it was said that nobody would");
    }

    #[test]
    fn it_holds_no_more_than_a_record_does() {
        let mut workspace = Workspace::default();
        let big = vec![0; RECORD_BYTES_MAX / 2];
        workspace.put(1, 1, vec![set(1, &big)], 1).unwrap();
        let before = workspace.clone();
        assert_eq!(workspace.put(2, 2, vec![set(2, &big)], 1), Err(NotPut::TooLarge));
        assert_eq!(workspace.mutations(), before.mutations());
    }
}
