//! The rows of the internal tables, as they are stored, and the writes that make them.

use baton_model::{Blob, Epoch, Key, PartitionId, StatementId, TableId, TransactionId};
use serde::{Deserialize, Serialize};

use super::message::{Home, Place};
use crate::record::{Mutation, Write};

/// The prepared transactions of a partition that are not finished: by transaction, [`Prepared`].
pub const PREPARED: TableId = TableId(TableId::INTERNAL.0);
/// The transactions that were committed with this partition as their home: by transaction, [`Decided`].
pub const DECIDED: TableId = TableId(TableId::INTERNAL.0 + 1);
/// One row under an empty key: the youngest transaction whose [`Decided`] was removed, as [`key_of`] it.
pub const HORIZON: TableId = TableId(TableId::INTERNAL.0 + 2);

/// What a participant keeps of a transaction until it knows how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// Where its workspace was here.
    pub place: Place,
    /// Who decides.
    pub home: Home,
    /// What it writes here.
    pub mutations: Vec<Mutation>,
}

/// That a transaction was committed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Decided {
    /// The other participants, and the epoch in which each prepared. This row goes only when none of them, asked in
    /// this epoch or a later one, still has it prepared.
    pub prepared: Vec<(PartitionId, Epoch)>,
}

/// The key of a transaction's row.
#[must_use]
pub fn key_of(transaction: TransactionId) -> Key {
    transaction.0.to_be_bytes().to_vec()
}

/// The transaction whose row has this key; None if it is no such key.
#[must_use]
pub fn transaction_of(key: &[u8]) -> Option<TransactionId> {
    key.try_into().ok().map(|bytes| TransactionId(u128::from_be_bytes(bytes)))
}

/// The youngest transaction that may have been forgotten, from the row of [`HORIZON`].
#[must_use]
pub fn horizon(row: Option<&[u8]>) -> Option<TransactionId> {
    row.and_then(transaction_of)
}

/// The row of [`HORIZON`] from now on.
#[must_use]
pub fn horizon_mutation(youngest: TransactionId) -> Mutation {
    Mutation { table: HORIZON, key: Key::new(), row: Some(Blob::from(key_of(youngest))) }
}

impl Prepared {
    /// The row.
    ///
    /// # Panics
    /// Never: postcard writes every row of ours.
    #[must_use]
    pub fn to_row(&self) -> Blob {
        Blob::from(postcard::to_stdvec(self).expect("postcard writes every row of ours"))
    }

    /// From the row; None if it is none of this version.
    #[must_use]
    pub fn from_row(row: &[u8]) -> Option<Self> {
        postcard::from_bytes(row).ok()
    }
}

impl Decided {
    /// The row.
    ///
    /// # Panics
    /// Never: postcard writes every row of ours.
    #[must_use]
    pub fn to_row(&self) -> Blob {
        Blob::from(postcard::to_stdvec(self).expect("postcard writes every row of ours"))
    }

    /// From the row; None if it is none of this version.
    #[must_use]
    pub fn from_row(row: &[u8]) -> Option<Self> {
        postcard::from_bytes(row).ok()
    }
}

/// Tells the three writes of a transaction in one partition apart; each is written once (S12).
fn step(transaction: TransactionId, number: u128) -> StatementId {
    // The lower half of an id is random: two transactions of one microsecond do not meet.
    StatementId(transaction.0 ^ (number << 60))
}

fn write(statement: StatementId, mutations: Vec<Mutation>) -> Write {
    Write { statement, affected_rows: 0, mutations }
}

/// Puts the prepared row.
pub(super) fn prepare(transaction: TransactionId, prepared: &Prepared) -> Write {
    let row = Some(prepared.to_row());
    write(step(transaction, 1), vec![Mutation { table: PREPARED, key: key_of(transaction), row }])
}

/// Commits at home.
pub(super) fn decide(transaction: TransactionId, decided: &Decided, mut mutations: Vec<Mutation>) -> Write {
    mutations.push(Mutation { table: DECIDED, key: key_of(transaction), row: Some(decided.to_row()) });
    write(step(transaction, 0), mutations)
}

/// Takes the prepared row away; with what was prepared, if it was committed.
pub(super) fn finish(transaction: TransactionId, prepared: Option<Vec<Mutation>>) -> Write {
    let mut mutations = prepared.unwrap_or_default();
    mutations.push(Mutation { table: PREPARED, key: key_of(transaction), row: None });
    write(step(transaction, 2), mutations)
}

#[cfg(test)]
mod tests {
    use baton_model::DatabaseId;

    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let place = Place { epoch: Epoch(3), number: 9 };
        let partition = PartitionId { database: DatabaseId(1), ordinal: 4 };
        let mutations = vec![Mutation { table: TableId(7), key: vec![1], row: None }];
        let prepared = Prepared { place, home: Home { partition, place }, mutations };
        assert_eq!(Prepared::from_row(&prepared.to_row()), Some(prepared));
        let decided = Decided { prepared: vec![(partition, Epoch(2))] };
        assert_eq!(Decided::from_row(&decided.to_row()), Some(decided));
        let id = TransactionId::new(5, 6);
        assert_eq!(transaction_of(&key_of(id)), Some(id));
        assert!(key_of(id) < key_of(TransactionId::new(6, 0)), "older ones come first");
        assert_eq!(horizon(horizon_mutation(id).row.as_deref()), Some(id));
        assert_eq!(horizon(None), None);
    }

    #[test]
    fn the_internal_tables_are_no_schemas() {
        assert!([PREPARED, DECIDED, HORIZON].into_iter().all(TableId::is_internal));
        assert!(!TableId(1).is_internal());
    }
}
