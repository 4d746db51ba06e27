//! What lies on a leaf's disk: its copy of the catalog, by index, and its copies of partitions.
//!
//! A partition's rows are counters: a key is a number, and a row says how often it was written and by which statement
//! last; a transaction's statements have its id. Beside them are the rows of the internal tables, as the core made them.
//! Records are kept once and shared by what a process sees and what is synced.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use baton_model::{Blob, Epoch, Key, Lsn, PartitionId, StatementId, TableId, TransactionId};
use baton_replication::transaction::{self, DECIDED, Decided, HORIZON, PREPARED, Prepared, transaction_of};
use baton_replication::{History, Mutation, Payload, Record, Saved, StatementOutcome};

use crate::kernel::Medium;

/// The one table of every database.
pub const TABLE: TableId = TableId(1);

/// A row: how often it was written, and by which statement last.
pub type Row = (u64, StatementId);

/// The rows of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    counters: BTreeMap<u64, Row>,
    internal: BTreeMap<(TableId, Key), Blob>,
}

impl Rows {
    /// A counter.
    #[must_use]
    pub fn get(&self, key: &u64) -> Option<&Row> {
        self.counters.get(key)
    }

    /// How many rows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.counters.len() + self.internal.len()
    }

    fn of_table(&self, table: TableId) -> impl Iterator<Item = (&Key, &Blob)> {
        let rows = self.internal.range((table, Key::new())..);
        rows.take_while(move |((of, _), _)| *of == table).map(|((_, key), row)| (key, row))
    }

    /// The transactions that are prepared and not finished.
    #[must_use]
    pub fn prepared(&self) -> Vec<(TransactionId, Prepared)> {
        let rows = self.of_table(PREPARED);
        rows.filter_map(|(key, row)| transaction_of(key).zip(Prepared::from_row(row))).collect()
    }

    /// The transactions that were decided here and are remembered, oldest first.
    pub fn decided(&self) -> impl Iterator<Item = (TransactionId, Decided)> {
        self.of_table(DECIDED).filter_map(|(key, row)| transaction_of(key).zip(Decided::from_row(row)))
    }

    /// Whether this transaction is remembered as decided here.
    #[must_use]
    pub fn has_decided(&self, transaction: TransactionId) -> bool {
        self.internal.contains_key(&(DECIDED, transaction::key_of(transaction)))
    }

    /// The youngest transaction that may have been forgotten.
    #[must_use]
    pub fn horizon(&self) -> Option<TransactionId> {
        transaction::horizon(self.internal.get(&(HORIZON, Key::new())).map(|row| &**row))
    }

    /// Does what a record says.
    pub fn apply(&mut self, record: &Record) {
        let Payload::Write(write) = &record.payload else { return };
        for mutation in &write.mutations {
            if mutation.table.is_internal() {
                let place = (mutation.table, mutation.key.clone());
                match &mutation.row {
                    Some(row) => drop(self.internal.insert(place, row.clone())),
                    None => drop(self.internal.remove(&place)),
                }
                continue;
            }
            let Some(key) = key_of(&mutation.key) else { continue };
            match mutation.row.as_deref().and_then(row_of) {
                Some(row) => drop(self.counters.insert(key, row)),
                None => drop(self.counters.remove(&key)),
            }
        }
    }
}

/// One copy of a partition, as it lies on a disk.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The newest epoch that the instance knew.
    pub epoch: Epoch,
    /// The epochs of its log.
    pub history: History,
    /// Its log, from `first` on.
    log: VecDeque<Rc<Record>>,
    first: Lsn,
    /// Its rows.
    pub rows: Rows,
    /// Its rows are as of here.
    pub applied: Lsn,
    /// The statements that its copy came with, or that were kept when its log was cut.
    outcomes: Rc<Vec<(StatementId, StatementOutcome)>>,
    /// A copy's installation was begun and has not come to its end.
    pub importing: bool,
}

impl Stored {
    /// The end of its log.
    #[must_use]
    pub fn last(&self) -> Lsn {
        if self.log.is_empty() { self.applied.max(Lsn(self.first.0.saturating_sub(1))) } else { self.end() }
    }

    fn end(&self) -> Lsn {
        Lsn(self.first.0 + self.log.len() as u64 - 1)
    }

    /// The record at this LSN, if its log has it.
    #[must_use]
    pub fn record(&self, lsn: Lsn) -> Option<&Rc<Record>> {
        self.log.get(usize::try_from(lsn.0.checked_sub(self.first.0)?).ok()?)
    }

    /// Records from this LSN on.
    pub fn records_from(&self, lsn: Lsn, count: usize) -> Vec<Record> {
        let skip = lsn.0.saturating_sub(self.first.0) as usize;
        if lsn < self.first {
            return Vec::new();
        }
        self.log.iter().skip(skip).take(count).map(|record| Record::clone(record)).collect()
    }

    /// What an instance that is opened on it is told.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let of_log = self.log.iter().filter_map(|record| match &record.payload {
            Payload::Write(write) => Some((
                write.statement,
                StatementOutcome { lsn: record.lsn, affected_rows: write.affected_rows },
            )),
            _ => None,
        });
        Saved {
            epoch: self.epoch,
            history: self.history.clone(),
            first: if self.log.is_empty() { self.last().next() } else { self.first },
            last: self.last(),
            log_bytes: self.log.iter().map(|record| record.bytes() as u64).sum(),
            applied: self.applied,
            unapplied: self.records_from(self.applied.next(), usize::MAX),
            outcomes: self.outcomes.iter().copied().chain(of_log).collect(),
        }
    }

    fn append(&mut self, record: Rc<Record>) {
        if self.log.is_empty() {
            self.first = record.lsn;
        }
        self.log.push_back(record);
    }

    fn truncate(&mut self, last: Lsn) {
        let kept = (last.0 + 1).saturating_sub(self.first.0) as usize;
        self.log.truncate(kept);
    }

    fn trim(&mut self, before: Lsn) {
        while self.first < before && self.log.pop_front().is_some() {
            self.first = self.first.next();
        }
    }

    fn apply(&mut self, last: Lsn) {
        while self.applied < last {
            let Some(record) = self.record(self.applied.next()).cloned() else { return };
            self.rows.apply(&record);
            self.applied = record.lsn;
        }
    }
}

/// The rows that a record writes, with the counts that it gives them.
#[must_use]
pub fn counts_in(record: &Record) -> Vec<(u64, u64)> {
    let Payload::Write(write) = &record.payload else { return Vec::new() };
    write.mutations.iter().filter_map(counter).map(|(key, (count, _))| (key, count)).collect()
}

/// The counter that a mutation writes; None if it is of another table.
#[must_use]
pub fn counter(mutation: &Mutation) -> Option<(u64, Row)> {
    let row = (mutation.table == TABLE).then_some(mutation.row.as_deref()?)?;
    Some((key_of(&mutation.key)?, row_of(row)?))
}

/// A write of one row.
#[must_use]
pub fn mutation(key: u64, row: Row) -> Mutation {
    let (table, key, row) = encoded(key, row);
    Mutation { table, key, row: Some(Blob::from(row)) }
}

/// A row as it travels.
#[must_use]
pub fn encoded(key: u64, (count, statement): Row) -> (TableId, Key, Vec<u8>) {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend(count.to_be_bytes());
    bytes.extend(statement.0.to_be_bytes());
    (TABLE, key.to_be_bytes().to_vec(), bytes)
}

/// The row that these bytes are.
#[must_use]
pub fn row_of(bytes: &[u8]) -> Option<Row> {
    let (count, statement) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*count), StatementId(u128::from_be_bytes(statement.try_into().ok()?))))
}

/// The key that these bytes are.
#[must_use]
pub fn key_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// A write to a copy.
#[derive(Clone, Debug)]
pub enum Copy {
    /// The newest epoch, and the epochs of the log.
    SaveEpochs(Epoch, Rc<History>),
    /// More log.
    Append(Rc<Vec<Rc<Record>>>),
    /// Less log, at its end.
    Truncate(Lsn),
    /// Less log, at its beginning.
    Trim(Lsn),
    /// Rows are as of here.
    Apply(Lsn),
    /// What is remembered of statements whose records are about to go.
    SaveOutcomes(Rc<Vec<(StatementId, StatementOutcome)>>),
    /// The first half of another copy's installation: everything goes.
    Empty,
    /// The second half: all of it is there.
    Installed(Rc<Made>, Epoch, Rc<History>, Rc<Vec<(StatementId, StatementOutcome)>>),
    /// Nothing is left of it.
    Remove,
}

impl Stored {
    fn take(&mut self, op: Copy) {
        match op {
            Copy::SaveEpochs(epoch, history) => {
                self.epoch = epoch;
                self.history.clone_from(&history);
            }
            Copy::Append(records) => records.iter().for_each(|record| self.append(Rc::clone(record))),
            Copy::Truncate(last) => self.truncate(last),
            Copy::Trim(before) => self.trim(before),
            Copy::Apply(last) => self.apply(last),
            Copy::SaveOutcomes(outcomes) => self.outcomes = outcomes,
            Copy::Empty | Copy::Remove => *self = Self { importing: true, ..Self::default() },
            Copy::Installed(made, epoch, history, outcomes) => {
                let (rows, applied, history) = (made.rows.clone(), made.at, History::clone(&history));
                *self = Self { epoch, history, rows, applied, outcomes, ..Self::default() };
            }
        }
    }
}

/// A copy that was made for others to fetch.
#[derive(Clone, Debug)]
pub struct Made {
    /// Of which partition.
    pub partition: PartitionId,
    /// Its rows are as of here.
    pub at: Lsn,
    /// The epochs of the log that it was made with.
    pub history: History,
    /// Its rows.
    pub rows: Rows,
}

/// A leaf's disk.
#[derive(Clone, Debug, Default)]
pub struct LeafStore {
    /// The catalog's index.
    pub mirror: u64,
    /// The newest copy that was made of each partition, by number.
    pub made: BTreeMap<u64, Rc<Made>>,
    /// The copies of partitions.
    pub copies: BTreeMap<PartitionId, Stored>,
}

/// A write to it.
#[derive(Clone, Debug)]
pub enum Op {
    /// The catalog is at this index.
    Mirror(u64),
    /// Of a copy.
    Of(PartitionId, Copy),
    /// A copy was made for others.
    Made(u64, Rc<Made>),
}

impl Medium for LeafStore {
    type Op = Op;
    fn take(&mut self, op: Op) {
        match op {
            Op::Mirror(index) => self.mirror = index,
            Op::Made(number, made) => {
                self.made.retain(|_, other| other.partition != made.partition);
                self.made.insert(number, made);
            }
            Op::Of(partition, Copy::Remove) => drop(self.copies.remove(&partition)),
            Op::Of(partition, op) => self.copies.entry(partition).or_default().take(op),
        }
    }
}
