//! What a partition's primary knows of transactions in one epoch: their workspaces, their locks, and how they end.
//!
//! It begins when the primary is about to serve ([`Participant::take_over`]) and is thrown away when it serves no more.
//! Statements enter, lock, read the overlay and put mutations, each call answered at once. How a transaction ends is
//! [`Participant::step`]: events in, effects out.
//!
//! * A workspace can be dropped at any time before it is prepared or decided: its transaction is then rolled back as a
//!   whole. It is dropped when its coordinator says so, when its aggregator is gone by the catalog, and when it is idle
//!   for too long.
//! * S9: what is prepared stays, with its locks, until home has said how it ended. See the module's header.
//!
//! Not here: the coordinator's part, how rows of prepared and decided transactions are written (`rows.rs`), and how
//! statements become mutations.
//! `events.rs` is what a participant is told and wants done, `statements.rs` what statements do, `ending.rs` how a
//! transaction ends, `aggregators.rs` whose transactions can go on no more.

mod aggregators;
mod ending;
mod events;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_model::{Epoch, Instant, Key, PartitionId, TableId, TransactionId, mutated};

pub use aggregators::{Aggregators, Standing};
pub use events::{ParticipantEffect, ParticipantEvent, WriteOutcome};
pub use statements::Refused;

use super::message::{Origin, Place};
use super::rows::Prepared;
use super::workspace::Workspace;
use crate::locks::{Grant, LockTable, Owner, RowKey};

/// Times that the catalog sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionSettings {
    /// A workspace in which nothing happens for so long is dropped.
    pub idle_timeout: Duration,
}

#[derive(Debug)]
enum Stage {
    /// Statements come in.
    Open,
    /// The prepared row is on its way into the log.
    Preparing { prepared: Prepared, tickets: Vec<u64>, aborted: Vec<u64> },
    /// The prepared row is committed.
    Prepared { prepared: Prepared, ask_at: Instant },
    /// The decision is on its way into the log.
    Deciding { tickets: Vec<u64> },
    /// The end is known, and on its way into the log.
    Finishing { prepared: Prepared, commit: bool, tickets: Vec<u64>, again: bool },
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// None if a former primary knew it.
    origin: Option<Origin>,
    work: Workspace,
    touched: Instant,
    stage: Stage,
}

/// The transactions of one partition at its primary, in one epoch.
#[derive(Debug)]
pub struct Participant {
    partition: PartitionId,
    epoch: Epoch,
    settings: TransactionSettings,
    aggregators: Aggregators,
    locks: LockTable,
    entries: BTreeMap<TransactionId, Entry>,
    /// Those that are prepared, or may be in a log as such.
    doubtful: BTreeSet<TransactionId>,
    /// Workspaces opened so far.
    opened: u64,
    /// No workspace is opened before this moment.
    closed_until: Instant,
}

impl Participant {
    /// A primary that is about to serve, with the rows of [`PREPARED`](super::PREPARED) as they are applied: their keys
    /// are locked again before anybody is served.
    #[must_use]
    pub fn take_over(
        now: Instant,
        partition: PartitionId,
        epoch: Epoch,
        settings: TransactionSettings,
        prepared: impl IntoIterator<Item = (TransactionId, Prepared)>,
    ) -> Self {
        let mut participant = Self {
            partition,
            epoch,
            settings,
            aggregators: Aggregators::default(),
            locks: LockTable::default(),
            entries: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            opened: 0,
            closed_until: Instant(0),
        };
        for (transaction, prepared) in prepared {
            let keys = prepared.mutations.iter().map(|mutation| (mutation.table, mutation.key.clone()));
            if !mutated!(UnlockPrepared) {
                let grant = participant.locks.acquire(Owner::Transaction(transaction), keys);
                assert_eq!(grant, Grant::Now, "S9: two prepared transactions never share a row");
            }
            let entry = Entry {
                place: prepared.place,
                origin: None,
                work: Workspace::default(),
                touched: now,
                stage: Stage::Prepared { prepared, ask_at: now },
            };
            participant.entries.insert(transaction, entry);
            participant.doubtful.insert(transaction);
        }
        participant
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// New times.
    pub fn set(&mut self, settings: TransactionSettings) {
        self.settings = settings;
    }

    /// Opens no workspace before this moment: this primary is about to hand over, and workspaces end with its epoch.
    /// Those that are open go on.
    pub fn close(&mut self, until: Instant) {
        self.closed_until = until;
    }

    /// How many transactions have a workspace that would be lost with this epoch.
    #[must_use]
    pub fn workspaces(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.stage, Stage::Open)).count()
    }

    /// Whether a transaction has locked a row.
    #[must_use]
    pub fn has_locked(&self, transaction: TransactionId, row: &RowKey) -> bool {
        self.locks.is_held_by(transaction, row)
    }

    /// How many transactions are prepared, or about to be.
    #[must_use]
    pub fn prepared(&self) -> usize {
        self.doubtful.len()
    }

    /// The transactions that may be committed already, are not finished here, and write to rows of this table that are
    /// meant. Who reads those rows waits for these transactions, and for none that comes after.
    #[must_use]
    pub fn in_doubt(&self, table: TableId, is_meant: impl Fn(&Key) -> bool) -> Vec<TransactionId> {
        if mutated!(ReadPastPrepared) {
            return Vec::new();
        }
        let writes = |transaction: &&TransactionId| {
            let prepared = self.entries.get(transaction).and_then(|entry| entry.stage.prepared());
            let mut mutations = prepared.into_iter().flat_map(|prepared| &prepared.mutations);
            mutations.any(|mutation| mutation.table == table && is_meant(&mutation.key))
        };
        self.doubtful.iter().filter(writes).copied().collect()
    }

    /// Whether this transaction is prepared here, or about to be.
    #[must_use]
    pub fn has_prepared(&self, transaction: TransactionId) -> bool {
        self.doubtful.contains(&transaction)
    }

    /// Whether anything of this transaction is going on here.
    #[must_use]
    pub fn knows(&self, transaction: TransactionId) -> bool {
        self.entries.contains_key(&transaction)
    }

    /// Open workspaces in which nothing has happened for so long, with their aggregators.
    #[must_use]
    pub fn idle(&self, now: Instant, since: Duration) -> Vec<(TransactionId, Origin)> {
        self.entries
            .iter()
            .filter(|(_, entry)| matches!(entry.stage, Stage::Open) && now.since(entry.touched) >= since)
            .filter_map(|(transaction, entry)| Some((*transaction, entry.origin?)))
            .collect()
    }

    /// The locks, to look at.
    #[must_use]
    pub fn locks(&self) -> &LockTable {
        &self.locks
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }
}

impl Stage {
    /// What is prepared, from the moment at which that may be in a log.
    fn prepared(&self) -> Option<&Prepared> {
        match self {
            Self::Preparing { prepared, .. }
            | Self::Prepared { prepared, .. }
            | Self::Finishing { prepared, .. } => Some(prepared),
            Self::Open | Self::Deciding { .. } => None,
        }
    }
}
