//! What must hold in every moment, whatever happened: one check for each rule of the safety kernel.

use std::collections::BTreeMap;

use baton_catalog::Partition;
use baton_model::{Epoch, Lsn, NodeId, StatementId};
use baton_replication::{Payload, Record, StatementOutcome};

use super::disk::{Disk, Stored};

/// What was seen since the world began.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Every record that was ever written, with the epoch of the one before it where that is known.
    records: BTreeMap<(Epoch, Lsn), (Record, Option<Epoch>)>,
    /// Every record that was ever applied anywhere.
    pub committed: BTreeMap<Lsn, Record>,
    /// Who served clients in each epoch.
    served: BTreeMap<Epoch, NodeId>,
    /// Every write that a client was told is done.
    pub acknowledged: BTreeMap<StatementId, StatementOutcome>,
    last_acknowledged: Lsn,
    /// Machines lose power under `ASYNC DURABILITY`: what was promised may be gone, and in its place other records are
    /// applied. Only what such a loss cannot excuse is checked then.
    pub loses_power: bool,
    pub violations: Vec<String>,
}

impl Checks {
    pub fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    /// S1: an epoch has one primary.
    pub fn serves(&mut self, epoch: Epoch, node: NodeId) {
        let first = *self.served.entry(epoch).or_insert(node);
        if first != node {
            self.violated(format!("S1: {first} and {node} both served at {epoch}"));
        }
    }

    /// S6: the same position in the same epoch is the same record after the same log. S12: no statement twice.
    pub fn appended(&mut self, node: NodeId, before: &Stored, records: &[Record]) {
        let mut last = before.last();
        let mut epoch = before.log.get(&last).map(|record| record.epoch);
        for record in records {
            if record.lsn != last.next() {
                self.violated(format!("{node} appends {record} after {last}"));
            }
            if let Payload::Write(write) = &record.payload
                && let Some(lsn) = before.statements.get(&write.statement)
            {
                self.violated(format!("S12: {node} appends {record}, which is at {lsn} already"));
            }
            let known =
                self.records.entry((record.epoch, record.lsn)).or_insert_with(|| (record.clone(), epoch));
            known.1 = known.1.or(epoch);
            if known.0 != *record || (epoch.is_some() && known.1 != epoch) {
                let known = known.clone();
                self.violated(format!("S6: {node} appends {record} after {epoch:?}, known is {known:?}"));
            }
            (last, epoch) = (record.lsn, Some(record.epoch));
        }
    }

    /// S6: what is applied anywhere is applied everywhere, and never cut.
    pub fn applied(&mut self, node: NodeId, before: &Stored, records: &[Record]) {
        let mut last = before.applied;
        for record in records {
            if record.lsn != last.next() {
                self.violated(format!("{node} applies {record} after {last}"));
            }
            if before.log.get(&record.lsn) != Some(record) {
                self.violated(format!("{node} applies {record}, which is not in its log"));
            }
            let known = self.committed.entry(record.lsn).or_insert_with(|| record.clone());
            if known != record && !self.loses_power {
                let known = known.clone();
                self.violated(format!("S6: {node} applies {record}, elsewhere it was {known}"));
            }
            last = record.lsn;
        }
    }

    pub fn cut(&mut self, node: NodeId, before: &Stored, last: Lsn) {
        if last < before.applied {
            self.violated(format!(
                "S6: {node} cuts after {last}, but it is applied up to {}",
                before.applied
            ));
        }
    }

    /// S12: a statement has one outcome, and it is at its place in the log.
    pub fn acknowledged(&mut self, statement: StatementId, outcome: StatementOutcome) {
        let first = *self.acknowledged.entry(statement).or_insert(outcome);
        if first != outcome {
            self.violated(format!("S12: {statement} came to {first:?} and to {outcome:?}"));
        }
        if self.loses_power {
            return;
        }
        match self.committed.get(&outcome.lsn).map(|record| &record.payload) {
            Some(Payload::Write(write)) if write.statement == statement => {}
            other => self.violated(format!("{statement} is acknowledged, but {} is {other:?}", outcome.lsn)),
        }
        self.last_acknowledged = self.last_acknowledged.max(outcome.lsn);
    }

    /// S2, S4: whoever is primary or may be promoted has on disk all that was acknowledged.
    /// All logs agree before the same record, so it is enough to look at the newest.
    pub fn has_acknowledged(&mut self, partition: &Partition, node: NodeId, disk: &Stored) {
        let lsn = self.last_acknowledged;
        if lsn <= disk.applied && !disk.importing {
            return;
        }
        if disk.log.get(&lsn).map(|r| r.epoch) != self.committed.get(&lsn).map(|r| r.epoch) {
            self.violated(format!(
                "S2, S4: {node} is {:?} at v{}, but has not {lsn}, which was acknowledged",
                partition.role_of(node),
                partition.version
            ));
        }
    }

    /// S1, S2: whoever serves under the newest epoch shows all that was acknowledged.
    pub fn shows_acknowledged(&mut self, node: NodeId, disk: &Stored) {
        if disk.applied < self.last_acknowledged {
            let (applied, acknowledged) = (disk.applied, self.last_acknowledged);
            self.violated(format!("S2: {node} serves at {applied}, but {acknowledged} was acknowledged"));
        }
    }

    /// What may be promoted and has its data is not replaced.
    pub fn replaced(&mut self, partition: &Partition, node: NodeId, known_disk: bool, before: &Stored) {
        if known_disk && before.applied > Lsn(0) && partition.promotable().any(|other| other == node) {
            self.violated(format!("S7: {node} is replaced while it may be promoted"));
        }
    }

    /// A machine loses power, and what was written last on its disk. What was promised before may be gone with it;
    /// what is promised from now on is not.
    pub fn loses(&mut self, disk: &Disk) {
        if self.loses_power && disk.unsynced() > 0 {
            self.acknowledged.clear();
        }
    }

    /// S2: once the world is mended, everybody has what was acknowledged since the last loss.
    pub fn still_has_acknowledged(&mut self, node: NodeId, disk: &Stored) {
        let copied: BTreeMap<StatementId, StatementOutcome> = disk.outcomes.iter().copied().collect();
        for (statement, outcome) in self.acknowledged.clone() {
            let lsn = disk.statements.get(&statement).copied();
            if lsn.or(copied.get(&statement).map(|copied| copied.lsn)) != Some(outcome.lsn) {
                self.violated(format!("S2: {node} has not {statement}, acknowledged at {}", outcome.lsn));
            }
        }
    }

    /// The rows are what the log says.
    pub fn rows(&mut self, node: NodeId, disk: &Stored) {
        if self.loses_power {
            return; // Which of two records at one place was the one that stayed is not known here.
        }
        let mut rows = BTreeMap::new();
        for record in self.committed.range(..=disk.applied).map(|(_, record)| record) {
            super::disk::apply(&mut rows, record);
        }
        if !disk.importing && rows != disk.rows {
            self.violated(format!("{node} has rows {:?} at {}, not {rows:?}", disk.rows, disk.applied));
        }
    }
}
