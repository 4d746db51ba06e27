//! What a partition's log is made of.

use baton_model::{Blob, Epoch, Key, Lsn, StatementId, TableId};
use serde::{Deserialize, Serialize};

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The epoch of the primary that made it.
    pub epoch: Epoch,
    /// Its position.
    pub lsn: Lsn,
    /// What it says.
    pub payload: Payload,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Payload {
    /// The first record of every epoch. When it is committed, everything before it is.
    EpochStart,
    /// A statement's rows.
    Write(Write),
}

/// What a statement does to one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The statement; a retry carries the same id (S12).
    pub statement: StatementId,
    /// How many rows the client is told.
    pub affected_rows: u64,
    /// The rows.
    pub mutations: Vec<Mutation>,
}

/// A row that is written or goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mutation {
    /// Its table.
    pub table: TableId,
    /// Its key.
    pub key: Key,
    /// The encoded row; None where it goes.
    pub row: Option<Blob>,
}

impl Record {
    /// About how many bytes it has on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.payload {
            Payload::EpochStart => 16,
            Payload::Write(write) => 48 + write.mutations.iter().map(Mutation::bytes).sum::<usize>(),
        }
    }
}

impl Mutation {
    /// About how many bytes it has on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        16 + self.key.len() + self.row.as_ref().map_or(0, |row| row.len())
    }
}
