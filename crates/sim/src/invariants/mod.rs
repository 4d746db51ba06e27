//! What must hold in every moment: one file for each rule of the safety kernel, and the hooks by which the world tells
//! them what it does.
//!
//! A rule is looked at where it can be broken, and nowhere else: that is cheap, and nothing slips by. What is on disks
//! is read by the checkers themselves; no instance is asked whether it is right.

mod losses;
mod reads;
mod s1;
mod s10;
mod s11;
mod s12;
mod s2;
mod s3;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;

use std::collections::BTreeMap;
use std::rc::Rc;

use baton_catalog::{Catalog, Partition};
use baton_detector::Observation;
use baton_failover::{Plan, Problem, Sight};
use baton_model::{Epoch, Lsn, NodeId, PartitionId, StatementId, TransactionId};
use baton_replication::{Effect, Event, History, Payload, Record, StatementOutcome};

use crate::kernel::Time;
use crate::world::{Copy, Stored, World, counts_in};

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When.
    pub at: Time,
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

/// What is known of a partition by what its instances did, and not by what they say.
#[derive(Debug)]
pub struct Chronicle {
    /// The partition.
    of: PartitionId,
    /// The epochs of what is committed.
    history: History,
    /// Every record that was ever applied anywhere; the one with LSN `i` stands at `i - 1`.
    pub committed: Vec<Rc<Record>>,
    /// Every record that was ever written, with the epoch of the one before it where that is known.
    pub written: BTreeMap<(Epoch, Lsn), (Rc<Record>, Option<Epoch>)>,
    /// Where the statements are committed.
    pub statements: BTreeMap<StatementId, Lsn>,
    /// The last LSN that a client was told is done.
    pub acknowledged: Lsn,
}

impl Chronicle {
    fn new(of: PartitionId) -> Self {
        Self {
            of,
            history: History::default(),
            committed: Vec::new(),
            written: BTreeMap::new(),
            statements: BTreeMap::new(),
            acknowledged: Lsn(0),
        }
    }

    /// Whether what a copy has applied is the same up to this LSN.
    fn has_applied(&self, copy: &Stored, lsn: Lsn) -> bool {
        let last = Lsn(self.committed.len() as u64);
        copy.history.newest() == self.history.newest()
            || copy.history.common(copy.applied, &self.history, last) >= lsn
    }

    /// The committed record at an LSN.
    #[must_use]
    pub fn at(&self, lsn: Lsn) -> Option<&Rc<Record>> {
        self.committed.get(usize::try_from(lsn.0.checked_sub(1)?).ok()?)
    }

    /// Whether a copy has everything that was acknowledged. All logs agree before the same record, so it is enough to
    /// look at the newest.
    #[must_use]
    pub fn is_had_by(&self, copy: Option<&Stored>) -> bool {
        let lsn = self.acknowledged;
        if lsn == Lsn(0) {
            return true;
        }
        self.has(copy, lsn)
    }

    /// Notes that a record is committed.
    fn commit(&mut self, record: Rc<Record>) {
        self.history.note(record.epoch, record.lsn);
        self.committed.push(record);
    }

    /// Forgets what was committed after this LSN, and answers with it.
    fn lose(&mut self, last: Lsn) -> Vec<Rc<Record>> {
        self.history.cut(last);
        self.statements.retain(|_, lsn| *lsn <= last);
        self.acknowledged = last.min(self.acknowledged);
        self.committed.split_off(self.committed.len().min(last.0 as usize))
    }

    /// Whether all that a copy has applied is committed, and not gone since.
    #[must_use]
    pub fn agrees(&self, copy: &Stored) -> bool {
        let last = Lsn(self.committed.len() as u64);
        copy.applied == Lsn(0) || copy.history.common(copy.applied, &self.history, last) == copy.applied
    }

    /// Whether a copy has the committed record at this LSN, and so everything before it.
    #[must_use]
    pub fn has(&self, copy: Option<&Stored>, lsn: Lsn) -> bool {
        let Some(copy) = copy.filter(|copy| !copy.importing) else { return false };
        copy.applied >= lsn && self.has_applied(copy, lsn)
            || matches!((copy.record(lsn), self.at(lsn)), (Some(here), Some(there)) if here.epoch == there.epoch)
    }
}

/// All checkers, and what they have found.
#[derive(Debug, Default)]
pub struct Checks {
    /// What was broken, in order.
    pub violations: Vec<Violation>,
    /// What is known of each partition.
    pub chronicles: BTreeMap<PartitionId, Chronicle>,
    /// What clients were told of rows.
    pub reads: reads::Reads,
    /// What power cuts took.
    pub losses: losses::Losses,
    s1: s1::S1,
    s9: s9::S9,
    s10: s10::S10,
    /// What observers really did.
    pub s11: s11::S11,
}

/// A world stops after so many violations: the first is the one that matters.
const VIOLATIONS_MAX: usize = 8;

impl Checks {
    /// A rule was broken.
    pub fn violated(&mut self, at: Time, invariant: &'static str, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { at, invariant, what });
        }
    }

    /// A member leads the control group.
    pub fn leads(&mut self, term: u64, node: NodeId) {
        self.s10.leads(term, node);
    }

    /// The rows of a committed statement, with the counts that it gave them.
    #[must_use]
    pub fn counts_of(&self, partition: PartitionId, statement: StatementId) -> Vec<(u64, u64)> {
        let Some(chronicle) = self.chronicles.get(&partition) else { return Vec::new() };
        let lsn = chronicle.statements.get(&statement);
        lsn.and_then(|lsn| chronicle.at(*lsn)).map(|record| counts_in(record)).unwrap_or_default()
    }
}

impl Checks {
    /// Whether a copy has applied what is gone elsewhere.
    #[must_use]
    pub fn has_lost(&self, partition: PartitionId, copy: Option<&Stored>) -> bool {
        let chronicle = self.chronicles.get(&partition);
        self.losses.touch(partition)
            && copy.zip(chronicle).is_some_and(|(copy, chronicle)| !chronicle.agrees(copy))
    }

    /// Whether rows of a transaction are committed, and not gone.
    #[must_use]
    pub fn is_anywhere(&self, id: TransactionId) -> bool {
        self.s9.is_anywhere(id)
    }

    /// How often a row was written, of what is committed.
    #[must_use]
    pub fn count(&self, place: (PartitionId, u64)) -> u64 {
        self.s9.count(place)
    }

    /// The rows of a transaction, with the counts that it gives them.
    #[must_use]
    pub fn counts_of_transaction(&self, id: TransactionId) -> Vec<((PartitionId, u64), u64)> {
        self.s9.counts(id)
    }
}

/// What was so before a step of an instance.
#[derive(Debug)]
pub struct Before {
    /// The step's one event is a message of an older epoch than the instance knows.
    stale: bool,
    replica: bool,
}

impl World {
    fn broken(&mut self, invariant: &'static str, result: Result<(), String>) {
        if let Err(what) = result {
            self.violated(invariant, what);
        }
    }

    /// An instance is about to be told this.
    pub(crate) fn note_events(&mut self, me: usize, partition: PartitionId, events: &[Event]) -> Before {
        if self.story.details() {
            let id = self.nodes[me].id;
            for event in events.iter().filter(|event| !matches!(event, Event::Tick)) {
                self.story.detail(self.now, || format!("{id} {partition} ‹ {event}"));
            }
        }
        let Some(running) = self.leaf(me).instances.get(&partition) else {
            return Before { stale: false, replica: false };
        };
        let stale = match events {
            [Event::Received { message, .. }] => message.epoch() < running.core.epoch(),
            _ => false,
        };
        Before { stale, replica: running.core.role_name() == "replica" }
    }

    /// An instance wants this done.
    pub(crate) fn check_step(
        &mut self,
        me: usize,
        partition: PartitionId,
        before: &Before,
        effects: &[Effect],
    ) {
        if before.stale {
            let id = self.nodes[me].id;
            let result = s5::refused(id, partition, before.replica, effects);
            self.broken("S5", result);
        }
    }

    /// An instance serves clients from now on.
    pub(crate) fn check_serves(&mut self, me: usize, partition: PartitionId, epoch: Epoch) {
        let (id, run) = (self.nodes[me].id, self.nodes[me].incarnation);
        self.settle_loss(me, partition);
        let newest = self.catalog().partition(partition).map(|known| known.epoch);
        let result = self.checks.s1.serves(partition, epoch, id, run, newest);
        self.broken("S1", result);
    }

    /// An instance is about to write this to its disk.
    pub(crate) fn check_write(&mut self, me: usize, partition: PartitionId, op: &Copy) {
        let id = self.nodes[me].id;
        let empty = Stored::default();
        match op {
            Copy::SaveEpochs(epoch, _) => {
                let before =
                    self.leaf(me).disk.now.copies.get(&partition).map(|copy| (copy.importing, copy.epoch));
                let newest = self.catalog().partition(partition).map(|known| known.epoch);
                let result = s5::saved(id, partition, before, *epoch);
                self.broken("S5", result);
                let result = s1::known(id, partition, *epoch, newest);
                self.broken("S1", result);
            }
            Copy::Append(records) => {
                self.settle_loss(me, partition);
                let mut chronicle =
                    self.checks.chronicles.remove(&partition).unwrap_or_else(|| Chronicle::new(partition));
                let copy = self.leaf(me).disk.now.copies.get(&partition).unwrap_or(&empty);
                let result = s6::appended(id, partition, copy, &mut chronicle, records);
                self.checks.chronicles.insert(partition, chronicle);
                self.broken("S6", result);
                for record in records.iter() {
                    if let Payload::Write(write) = &record.payload {
                        let result = s12::appended(&self.workload, id, partition, write.statement);
                        self.broken("S12", result);
                    }
                }
            }
            Copy::Truncate(last) => {
                let copy = self.leaf(me).disk.now.copies.get(&partition).unwrap_or(&empty);
                let result = s6::cut(id, partition, copy, *last);
                self.broken("S6", result);
                // Who lost power under it has lost that before it cuts.
                let lacks = self.catalog().partition(partition).is_some_and(|known| self.may_lack(me, known));
                if self.counts_on(me, partition) && !lacks {
                    let acknowledged = self.checks.chronicles.get(&partition).map(|known| known.acknowledged);
                    let result = s4::cut(id, partition, acknowledged.unwrap_or_default(), *last);
                    self.broken("S4", result);
                }
            }
            Copy::Remove => {
                let result = s7::removed(self, me, partition);
                self.broken("S7", result);
            }
            Copy::Empty => {
                let result = s7::wiped(self, me, partition);
                self.broken("S7", result);
            }
            _ => {}
        }
    }

    /// An instance applies these records: they are committed.
    pub(crate) fn check_apply(&mut self, me: usize, partition: PartitionId, records: &[Record]) {
        self.settle_loss(me, partition);
        let id = self.nodes[me].id;
        let mut chronicle =
            self.checks.chronicles.remove(&partition).unwrap_or_else(|| Chronicle::new(partition));
        let empty = Stored::default();
        let copy = self.leaf(me).disk.now.copies.get(&partition).unwrap_or(&empty);
        let known = chronicle.committed.len();
        let result = s6::applied(id, partition, copy, &mut chronicle, records);
        let once = s12::committed(partition, &mut chronicle, records);
        let s9 = &mut self.checks.s9;
        let mut new = chronicle.committed.iter().skip(known);
        let whole = new.try_for_each(|record| s9.committed(&self.workload, partition, record));
        self.checks.chronicles.insert(partition, chronicle);
        self.broken("S6", result);
        self.broken("S12", once);
        self.broken("S9", whole);
        let primary =
            self.leaf(me).instances.get(&partition).is_some_and(|r| r.core.role_name() == "primary");
        if primary && let Some(last) = records.last() {
            let result = s3::committed(self, me, partition, last.lsn);
            self.broken("S3", result);
        }
    }

    /// A leaf tells a client that its statement is done.
    pub(crate) fn check_acknowledged(
        &mut self,
        me: usize,
        partition: PartitionId,
        statement: StatementId,
        outcome: StatementOutcome,
    ) {
        let chronicle = self.checks.chronicles.entry(partition).or_insert_with(|| Chronicle::new(partition));
        let result = s12::acknowledged(partition, chronicle, statement, outcome);
        let newer = outcome.lsn > chronicle.acknowledged;
        chronicle.acknowledged = chronicle.acknowledged.max(outcome.lsn);
        self.broken("S12", result);
        let result = s2::acknowledged(self, me, partition, outcome.lsn);
        self.broken("S2", result);
        if newer {
            self.check_holders(partition);
        }
    }

    /// A client is told how its transaction ended.
    pub(crate) fn check_told(&mut self, id: TransactionId, committed: bool) {
        if let Some(deal) = self.workload.transactions.get(&id) {
            let result = self.checks.s9.told(id, deal, committed);
            self.broken("S9", result);
        }
    }

    /// A client gets a row that it asked for then, when somebody knew so much of it.
    pub(crate) fn check_read(&mut self, place: (PartitionId, u64), begun: Time, at_least: u64, count: u64) {
        if self.catalog().switch("leaf_read_lease")
            && !self.nemesis.a_lender_jumped_since(begun)
            && !self.checks.losses.touch_since(place.0, begun)
        {
            let result = reads::shown(place, at_least, count);
            self.broken("reads", result);
        }
    }

    /// A client is shown a row of others. Answers with what it may count on: nothing that is not committed, and nothing that
    /// is gone, which somebody who has not heard of that may still show.
    pub(crate) fn shown(&mut self, place: (PartitionId, u64), count: u64) -> u64 {
        let committed = self.checks.count(place);
        if count > committed && !self.checks.losses.touch(place.0) {
            let (partition, key) = place;
            let what = format!("row {key} of {partition} is shown as {count}, and committed is {committed}");
            self.violated("reads", what);
        }
        committed.min(count)
    }

    /// A client is told that nothing was done.
    pub(crate) fn check_undone(&mut self, partition: PartitionId, statement: StatementId) {
        let committed =
            self.checks.chronicles.get(&partition).and_then(|c| c.statements.get(&statement)).copied();
        let result = s12::undone(partition, statement, committed);
        self.broken("S12", result);
    }

    /// The committed catalog has come to this index.
    pub(crate) fn check_catalog(&mut self, index: u64) {
        let (before, after) = (Rc::clone(self.catalog_before(index)), Rc::clone(self.catalog()));
        let mut moved = Vec::new();
        for partition in after.partitions() {
            let old = before.partition(partition.id);
            if old != Some(partition) {
                moved.push(partition.id);
                let result = s1::moved(old, partition);
                self.broken("S1", result);
                let result = s4::moved(&before, old, partition);
                self.broken("S4", result);
                let result = s4::lost(self, &before, old, partition);
                self.broken("S4", result);
            }
        }
        for node in after.nodes() {
            if before.node(node.id) != Some(node) {
                moved.extend(after.partitions().filter(|p| p.role_of(node.id).is_some()).map(|p| p.id));
            }
        }
        for partition in moved {
            self.check_holders(partition);
        }
    }

    /// Something was lost from a node's disk, or may have been.
    pub(crate) fn check_disk(&mut self, me: usize) {
        if !self.leaves().contains(&me) {
            return;
        }
        let id = self.nodes[me].id;
        let held: Vec<PartitionId> =
            self.catalog().partitions().filter(|p| p.role_of(id).is_some()).map(|p| p.id).collect();
        for partition in held {
            self.check_holders(partition);
            let result = s9::whole(self, me, partition);
            self.broken("S9", result);
        }
    }

    /// Whether somebody may count on what this node has: it is primary, or may be promoted, on the disk that the newest
    /// catalog knows.
    pub(crate) fn counts_on(&self, me: usize, partition: PartitionId) -> bool {
        let id = self.nodes[me].id;
        let catalog = self.catalog();
        let known_disk = catalog.node(id).is_some_and(|node| node.store == self.nodes[me].store);
        known_disk
            && catalog.partition(partition).is_some_and(|known| {
                known.primary == id && !known.primary_lost || s4::may_be_promoted(known, id)
            })
    }

    /// Whether a leaf may lack what it had not synced of a partition, and the catalog does not know yet.
    pub(crate) fn may_lack(&self, me: usize, known: &Partition) -> bool {
        losses::may_lack(self, known, self.nodes[me].id)
    }

    /// Whoever counts has what was acknowledged.
    fn check_holders(&mut self, partition: PartitionId) {
        let Some(known) = self.catalog().partition(partition).cloned() else { return };
        if self.note_bereft(&known) {
            return;
        }
        let result = s2::primary_has(self, &known);
        self.broken("S2", result);
        let result = s4::promotable_have(self, &known);
        self.broken("S4", result);
    }

    /// An observer has ticked, and this is what it thinks it has seen.
    pub(crate) fn check_ticked(&mut self, me: usize, observation: &Observation) {
        let result = self.checks.s11.ticked(me, observation);
        self.broken("S11", result);
    }

    /// The master aggregator has made this plan.
    pub(crate) fn check_plan(&mut self, catalog: &Catalog, sight: &Sight, found: &[Problem], plan: &Plan) {
        let result = s4::planned(catalog, sight, plan);
        self.broken("S4", result);
        let result = s8::planned(found, plan);
        self.broken("S8", result);
        let result = s7::planned(plan);
        self.broken("S7", result);
        let result = s10::one_leads(self);
        self.broken("S10", result);
    }

    /// Everything is at rest: the last look at everything.
    pub(crate) fn check_at_rest(&mut self) {
        let ids: Vec<PartitionId> = self.catalog().partitions().map(|partition| partition.id).collect();
        for partition in ids {
            self.check_holders(partition);
            for me in self.leaves() {
                let result = s9::whole(self, me, partition);
                self.broken("S9", result);
                let result = s2::still_has(self, me, partition);
                self.broken("S2", result);
            }
        }
        let result = s9::at_rest(self);
        self.broken("S9", result);
        let result = s12::all_told(&self.workload, &self.checks.chronicles, &self.checks.losses);
        self.broken("S12", result);
        let result = self.checks.s10.result();
        self.broken("S10", result);
    }
}
