//! What aggregators and leaves ask each other about statements and transactions. Played as `baton-node`'s `wire.rs` has it.

use std::collections::BTreeSet;

use baton_model::{Epoch, Incarnation, PartitionId, StatementId, TransactionId};
use baton_replication::transaction::{self, Origin, Place};

/// Rows of a partition, and what is done to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Adds one to each of these rows.
    Write(Vec<u64>),
    /// Locks these rows, and changes nothing.
    Lock(Vec<u64>),
}

/// As part of which transaction a statement is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whose it is.
    pub origin: Origin,
    /// Its workspace, if it has one here.
    pub place: Option<Place>,
    /// The statement's number in it.
    pub number: u32,
    /// The oldest statement that may still be taken back.
    pub keep: u32,
}

/// What the primary of a partition is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A write that is its own transaction.
    Write(StatementId, Vec<u64>),
    /// A read of a row, as somebody who has written this in a workspace, or as anybody.
    Read(u64, Option<(TransactionId, Place)>),
    /// A statement of a transaction.
    Within(StatementId, Operation, Membership),
    /// Takes back what statements after the first of these did, of as many as the other says.
    TakeBack(TransactionId, Place, (u32, u32)),
    /// A step of a commit.
    Step(transaction::Request),
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The write is done.
    Written,
    /// The row: how often it was written, and by whom last.
    Row(Option<(u64, StatementId)>),
    /// A statement of a transaction is done, or was taken back: its workspace, and whether it has written there.
    Within(Place, bool),
    /// What a transaction did here is gone.
    RolledBack,
    /// The transaction waits in a circle.
    Deadlock,
    /// Nothing was done: whether a row was changed is not known yet.
    InDoubt,
    /// To a step of a commit.
    Step(transaction::Answer),
    /// Nothing was done.
    NotPrimary,
    /// Nothing was done; too many wait.
    Busy,
    /// Nothing was shown: it may be the past.
    NoLease,
    /// A row lock could not be had. Nothing was done by this attempt.
    LockWaitTimeout,
    /// It may have been done.
    Deposed,
}

/// What a primary knows of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Knowledge {
    /// It was committed.
    Committed,
    /// Something of it is going on here.
    Undecided,
    /// Nothing, although nothing as young as it was forgotten.
    Nothing,
    /// Nothing, and that may have been forgotten.
    Forgotten,
}

/// What a node is asked that is not about one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// To the master aggregator: how far is the catalog?
    CatalogIndex,
    /// To a leaf: which transactions wait for which?
    Waits,
    /// To an aggregator: which of these transactions of that run does it not run?
    NotRunning(Incarnation, Vec<TransactionId>),
    /// To a leaf whose catalog is as new as this: what is known of a transaction in these partitions, whose primaries must
    /// have those epochs at least?
    Knowledge(TransactionId, u64, Vec<(PartitionId, Epoch)>),
    /// To a primary in this epoch or a later one: which of these transactions are still prepared?
    StillPrepared(PartitionId, Epoch, Vec<TransactionId>),
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Everything up to here is committed; None if that cannot be known here.
    CatalogIndex(Option<u64>),
    /// Who waits for whom.
    Waits(BTreeSet<(TransactionId, TransactionId)>),
    /// These are not run.
    NotRunning(Vec<TransactionId>),
    /// Of those partitions that could say it.
    Knowledge(Vec<(PartitionId, Knowledge)>),
    /// None if it is no such primary.
    StillPrepared(Option<Vec<TransactionId>>),
}
