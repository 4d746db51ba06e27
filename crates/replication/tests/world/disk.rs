//! The disk of one leaf, and what a crash may take away from it.
//!
//! Everything written is an operation in order; a sync makes all before it durable, a crash keeps some of those after.

use std::collections::{BTreeMap, VecDeque};

use baton_model::{Blob, Epoch, Key, Lsn, StatementId, TableId};
use baton_replication::{History, Payload, Record, Saved, StatementOutcome};

/// A leaf's rows.
pub type Rows = BTreeMap<(TableId, Key), Blob>;

/// Statements and what they came to, oldest first.
pub type Outcomes = Vec<(StatementId, StatementOutcome)>;

/// One write to the disk.
#[derive(Clone, Debug)]
pub enum Write {
    SaveEpochs(Epoch, History),
    Append(Vec<Record>),
    Truncate(Lsn),
    Trim(Lsn),
    SaveOutcomes(Outcomes),
    Apply(Vec<Record>),
    /// The first half of a copy's installation: everything goes.
    Empty,
    /// The second half: the copy is there, with its epochs and outcomes.
    Copied(Box<(Lsn, Rows, Epoch, History, Outcomes)>),
}

/// What can be read back.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub epoch: Epoch,
    pub history: History,
    pub log: BTreeMap<Lsn, Record>,
    /// Where the statements of the log stand.
    pub statements: BTreeMap<StatementId, Lsn>,
    pub rows: Rows,
    pub applied: Lsn,
    /// The statements that the copy came with, or that were kept when the log was cut.
    pub outcomes: Outcomes,
    /// A copy's installation was begun and has not come to its end.
    pub importing: bool,
}

impl Stored {
    fn take(&mut self, write: Write) {
        match write {
            Write::SaveEpochs(epoch, history) => (self.epoch, self.history) = (epoch, history),
            Write::Append(records) => {
                for record in records {
                    if let Payload::Write(write) = &record.payload {
                        self.statements.insert(write.statement, record.lsn);
                    }
                    self.log.insert(record.lsn, record);
                }
            }
            Write::Truncate(last) => {
                self.log.split_off(&last.next());
                self.statements.retain(|_, lsn| *lsn <= last);
            }
            Write::Trim(before) => self.log = self.log.split_off(&before),
            Write::SaveOutcomes(outcomes) => self.outcomes = outcomes,
            Write::Apply(records) => {
                for record in records {
                    apply(&mut self.rows, &record);
                    self.applied = record.lsn;
                }
            }
            Write::Empty => *self = Self { importing: true, ..Self::default() },
            Write::Copied(copy) => {
                let (applied, rows, epoch, history, outcomes) = *copy;
                *self = Self { applied, rows, epoch, history, outcomes, ..Self::default() };
            }
        }
    }

    /// The end of the log.
    pub fn last(&self) -> Lsn {
        self.log.keys().next_back().copied().unwrap_or(self.applied)
    }

    /// What an instance that is opened on it is told.
    pub fn saved(&self) -> Saved {
        let outcomes = self.log.values().filter_map(|record| match &record.payload {
            Payload::Write(w) => {
                Some((w.statement, StatementOutcome { lsn: record.lsn, affected_rows: w.affected_rows }))
            }
            Payload::EpochStart => None,
        });
        Saved {
            epoch: self.epoch,
            history: self.history.clone(),
            first: self.log.keys().next().copied().unwrap_or(self.applied.next()),
            last: self.last(),
            log_bytes: self.log.values().map(|record| record.bytes() as u64).sum(),
            applied: self.applied,
            unapplied: self.log.range(self.applied.next()..).map(|(_, record)| record.clone()).collect(),
            outcomes: self.outcomes.iter().copied().chain(outcomes).collect(),
        }
    }
}

/// Does to rows what a record says.
pub fn apply(rows: &mut Rows, record: &Record) {
    let Payload::Write(write) = &record.payload else { return };
    for m in &write.mutations {
        match &m.row {
            Some(row) => drop(rows.insert((m.table, m.key.clone()), row.clone())),
            None => drop(rows.remove(&(m.table, m.key.clone()))),
        }
    }
}

/// A sync that was asked for: how many writes it covers, and what to answer.
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    writes: u64,
    pub lsn: Lsn,
    pub cuts: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// As a process sees it.
    pub now: Stored,
    /// As it is after the worst crash.
    pub synced: Stored,
    unsynced: VecDeque<Write>,
    written: u64,
    syncs: VecDeque<Sync>,
}

impl Disk {
    pub fn write(&mut self, write: Write) {
        self.now.take(write.clone());
        self.unsynced.push_back(write);
        self.written += 1;
    }

    pub fn ask_sync(&mut self, lsn: Lsn, cuts: u64) {
        self.syncs.push_back(Sync { writes: self.written, lsn, cuts });
    }

    pub fn is_syncing(&self) -> bool {
        !self.syncs.is_empty()
    }

    /// The oldest sync is done; or all of them, of which only the newest is told.
    pub fn finish_sync(&mut self, all: bool) -> Option<Sync> {
        let sync = if all { self.syncs.drain(..).next_back() } else { self.syncs.pop_front() }?;
        let count = self.unsynced.len() as u64 - (self.written - sync.writes);
        for write in self.unsynced.drain(..count as usize) {
            self.synced.take(write);
        }
        Some(sync)
    }

    /// How many writes a crash may lose.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The process is gone, and so many of the last writes with it. A copy cut in half is removed at the next start.
    pub fn crash(&mut self, lost: usize) {
        let kept = self.unsynced.len().saturating_sub(lost);
        for write in self.unsynced.drain(..kept) {
            self.synced.take(write);
        }
        self.unsynced.clear();
        self.syncs.clear();
        if self.synced.importing {
            self.synced = Stored::default();
        }
        self.now = self.synced.clone();
    }
}
