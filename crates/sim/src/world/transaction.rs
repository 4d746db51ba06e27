//! A client's transaction at its aggregator: its statements, and how it ends.
//! Played as `baton-node`'s `aggregator/transaction.rs` does it.

use std::collections::{BTreeMap, BTreeSet};

use baton_model::{CatalogIndex, PartitionId, StatementId, TransactionId};
use baton_replication::deadlock;
use baton_replication::transaction::{
    Answer as StepAnswer, CommitOutcome, Coordinator, CoordinatorEffect, CoordinatorEvent, Origin, Place,
    Request as Step,
};

use super::route::{Outcome, Whose};
use super::wire::{Answer, Ask, Membership, Operation, Question};
use super::{Timer, World};
use crate::kernel::{MS, Time};
use crate::nemesis::Moment;
use crate::workload::Told;

/// A statement that has waited for so long looks for a deadlock over several leaves; and so long between two looks.
const DEADLOCK_LOOK: Time = 200 * MS;
/// How long a leaf may take to say who waits for whom.
const WAITS_TIMEOUT: Time = 500 * MS;
/// Between two attempts of a statement that is its own transaction, and two looks whether this run is known.
const AGAIN: Time = 20 * MS;

/// What a statement does, by partition.
pub type Work = Vec<(PartitionId, Operation)>;

/// How a statement of a transaction failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    /// It did nothing, and its transaction goes on.
    Statement,
    /// Its transaction has to be rolled back.
    Transaction,
}

/// What an open transaction waits for.
#[derive(Debug)]
enum Stage {
    /// Its client.
    Idle,
    /// The catalog, which does not know this run of the aggregator.
    Unknown { work: Work, until: baton_model::Instant },
    /// The partitions of a statement.
    Writing { waiting: BTreeSet<PartitionId>, failure: Option<Failure>, look: Look },
    /// A read.
    Reading,
    /// The partitions that take something back, and then.
    TakingBack { waiting: BTreeSet<PartitionId>, failed: bool, then: Then },
    /// The steps of its commit.
    Committing { coordinator: Coordinator, only_locked: Vec<PartitionId>, steps: usize },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// The statement has failed.
    Fail,
    /// It is rolled back to its savepoint.
    GoOn,
    /// Nothing was taken back: its locks are still there.
    Commit,
}

/// A look for a deadlock over several leaves.
#[derive(Debug, Default)]
struct Look {
    /// Which of the transaction's looks; 0 between two.
    round: u32,
    missing: BTreeSet<u64>,
    waits: BTreeSet<(TransactionId, TransactionId)>,
    seen_before: Option<BTreeSet<TransactionId>>,
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    client: usize,
    origin: Option<Origin>,
    /// Where it has workspaces, and whether it has written there.
    workspaces: BTreeMap<PartitionId, (Place, bool)>,
    touched: BTreeSet<PartitionId>,
    statements: u32,
    savepoint: Option<u32>,
    /// How often it has looked for a deadlock.
    rounds: u32,
    stage: Stage,
    /// It is one statement, which is begun again until then.
    alone: Option<(Work, baton_model::Instant)>,
}

impl World {
    fn transaction(&mut self, me: usize, id: TransactionId) -> Option<&mut Transaction> {
        self.aggregator_mut(me).transactions.get_mut(&id)
    }

    /// The id of a statement that no client knows.
    pub(super) fn drawn_statement(&mut self) -> StatementId {
        StatementId(1 << 100 | u128::from(self.workload.next_number()))
    }

    fn new_transaction(
        &mut self,
        me: usize,
        client: usize,
        alone: Option<(Work, baton_model::Instant)>,
    ) -> TransactionId {
        let id = TransactionId::new(self.wall_us(me), self.workload.next_number());
        let transaction = Transaction {
            client,
            origin: None,
            workspaces: BTreeMap::new(),
            touched: BTreeSet::new(),
            statements: 0,
            savepoint: None,
            rounds: 0,
            stage: Stage::Idle,
            alone,
        };
        self.aggregator_mut(me).transactions.insert(id, transaction);
        self.transaction_begins(client, id);
        id
    }

    /// BEGIN.
    pub fn begin_transaction(&mut self, me: usize, client: usize) -> TransactionId {
        self.new_transaction(me, client, None)
    }

    /// One statement over several partitions, all or nothing.
    pub fn write_everywhere(&mut self, me: usize, client: usize, work: Work) {
        let until = self.local(me) + std::time::Duration::from_micros(self.setup.patience);
        let id = self.new_transaction(me, client, Some((work.clone(), until)));
        self.write_within(me, id, work);
    }

    /// A statement of a transaction.
    pub fn write_within(&mut self, me: usize, id: TransactionId, work: Work) {
        let now = self.local(me);
        let until = now + std::time::Duration::from_micros(self.setup.patience);
        let Some(transaction) = self.transaction(me, id) else { return };
        if transaction.origin.is_none() {
            transaction.stage = Stage::Unknown { work, until };
            return self.look_for_origin(me, id);
        }
        self.write_known(me, id, work);
    }

    /// Waits until the catalog knows this run of the process: before, leaves would take it for one that is gone.
    pub(super) fn look_for_origin(&mut self, me: usize, id: TransactionId) {
        let now = self.local(me);
        let (aggregator, incarnation) = (self.nodes[me].id, self.nodes[me].incarnation);
        let index = self.aggregator(me).control.commit;
        let known =
            self.catalog_at(index).node(aggregator).is_some_and(|node| node.incarnation == incarnation);
        let Some(transaction) = self.transaction(me, id) else { return };
        let Stage::Unknown { work, until } = &mut transaction.stage else { return };
        if known {
            let work = std::mem::take(work);
            let began_at = CatalogIndex(index);
            transaction.origin = Some(Origin { aggregator, incarnation, began_at });
            self.write_known(me, id, work);
        } else if now >= *until {
            transaction.stage = Stage::Idle;
            self.statement_failed(me, id);
        } else {
            self.later(me, AGAIN, Timer::Transaction(id, Alarm::Origin));
        }
    }

    fn write_known(&mut self, me: usize, id: TransactionId, work: Work) {
        let statement = self.drawn_statement();
        let Some(transaction) = self.transaction(me, id) else { return };
        let Some(origin) = transaction.origin else { return };
        transaction.statements += 1;
        let number = transaction.statements;
        let keep = transaction.savepoint.map_or(number, |before| before + 1);
        let waiting: BTreeSet<PartitionId> = work.iter().map(|(partition, _)| *partition).collect();
        transaction.touched.extend(&waiting);
        transaction.stage = Stage::Writing { waiting, failure: None, look: Look::default() };
        let places: Vec<Option<Place>> = work
            .iter()
            .map(|(partition, _)| transaction.workspaces.get(partition).map(|(place, _)| *place))
            .collect();
        for ((partition, operation), place) in work.into_iter().zip(places) {
            let member = Membership { transaction: id, origin, place, number, keep };
            let ask = Ask::Within(statement, operation, member);
            self.begin_op(me, Whose::Transaction(id), partition, ask);
        }
        self.later(me, DEADLOCK_LOOK, Timer::Transaction(id, Alarm::Look(number)));
    }

    /// A read of a transaction.
    pub fn read_within(&mut self, me: usize, id: TransactionId, partition: PartitionId, key: u64) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let within = transaction.workspaces.get(&partition).map(|(place, _)| (id, *place));
        transaction.stage = Stage::Reading;
        self.begin_op(me, Whose::Transaction(id), partition, Ask::Read(key, within));
    }

    /// SAVEPOINT.
    pub fn set_savepoint(&mut self, me: usize, id: TransactionId) {
        if let Some(transaction) = self.transaction(me, id) {
            transaction.savepoint = Some(transaction.statements);
        }
    }

    /// ROLLBACK TO SAVEPOINT.
    pub fn rollback_to_savepoint(&mut self, me: usize, id: TransactionId) {
        let savepoint = self.transaction(me, id).and_then(|transaction| transaction.savepoint);
        if let Some(after) = savepoint {
            self.take_back_everywhere(me, id, after, Then::GoOn);
        }
    }

    /// COMMIT. Rows that it has locked and not written must still be locked: what it did may depend on them.
    pub fn commit_transaction(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let after = transaction.statements;
        if transaction.workspaces.values().any(|(_, has_written)| !has_written) {
            self.take_back_everywhere(me, id, after, Then::Commit);
        } else {
            self.commit_writes(me, id);
        }
    }

    /// ROLLBACK, or its client is gone. The commit of one that has begun to commit goes on.
    pub fn rollback_transaction(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        if matches!(transaction.stage, Stage::Committing { .. }) {
            return;
        }
        let touched = std::mem::take(&mut transaction.touched);
        self.aggregator_mut(me).transactions.remove(&id);
        self.drop_ops_of(me, id);
        for partition in touched {
            let ask = Ask::Step(Step::Finish { transaction: id, commit: false });
            self.begin_op(me, Whose::Nobody, partition, ask);
        }
    }

    fn take_back_everywhere(&mut self, me: usize, id: TransactionId, after: u32, then: Then) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let which = (after, transaction.statements);
        let workspaces: Vec<_> =
            transaction.workspaces.iter().map(|(partition, (place, _))| (*partition, *place)).collect();
        let waiting = workspaces.iter().map(|(partition, _)| *partition).collect();
        transaction.stage = Stage::TakingBack { waiting, failed: false, then };
        for (partition, place) in &workspaces {
            let ask = Ask::TakeBack(id, *place, which);
            self.begin_op(me, Whose::Transaction(id), *partition, ask);
        }
        if workspaces.is_empty() {
            self.taken_back(me, id);
        }
    }

    // ---- answers

    pub(super) fn statement_of_transaction_ended(
        &mut self,
        me: usize,
        id: TransactionId,
        partition: PartitionId,
        outcome: Outcome,
    ) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let failed = match &outcome {
            Outcome::Answered(Answer::Within(place, has_written)) => {
                transaction.workspaces.insert(partition, (*place, *has_written));
                None
            }
            Outcome::Answered(Answer::Row(_)) => None,
            Outcome::Answered(Answer::RolledBack | Answer::Deadlock) | Outcome::GivenUp { unknown: true } => {
                Some(Failure::Transaction)
            }
            _ => Some(Failure::Statement),
        };
        let client = transaction.client;
        match &mut transaction.stage {
            Stage::Writing { waiting, failure, .. } => {
                waiting.remove(&partition);
                if failed == Some(Failure::Transaction) {
                    *failure = failed;
                }
                *failure = failure.or(failed);
                if !waiting.is_empty() {
                    return;
                }
                let (failure, before) = (*failure, transaction.statements - 1);
                transaction.stage = Stage::Idle;
                match failure {
                    None if transaction.alone.is_some() => self.commit_writes(me, id),
                    None => self.session_told(client, id, Told::Done),
                    Some(Failure::Statement) => self.take_back_everywhere(me, id, before, Then::Fail),
                    Some(Failure::Transaction) => self.fails(me, id),
                }
            }
            Stage::Reading => {
                transaction.stage = Stage::Idle;
                match (outcome, failed) {
                    (Outcome::Answered(Answer::Row(row)), _) => {
                        self.session_told(client, id, Told::Row(row));
                    }
                    (Outcome::Answered(_), Some(Failure::Transaction)) => self.fails(me, id),
                    _ => self.session_told(client, id, Told::Failed),
                }
            }
            Stage::TakingBack { waiting, failed: any, .. } => {
                waiting.remove(&partition);
                // What could not be taken back must not be committed.
                *any |= failed.is_some();
                if waiting.is_empty() {
                    self.taken_back(me, id);
                }
            }
            _ => {}
        }
    }

    fn taken_back(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let Stage::TakingBack { failed, then, .. } = &transaction.stage else { return };
        let (failed, then, client) = (*failed, *then, transaction.client);
        transaction.stage = Stage::Idle;
        match then {
            _ if failed => self.fails(me, id),
            Then::Fail => self.statement_failed(me, id),
            Then::GoOn => self.session_told(client, id, Told::TakenBack),
            Then::Commit => self.commit_writes(me, id),
        }
    }

    /// A statement did nothing; the transaction goes on, unless it was all of it.
    fn statement_failed(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let client = transaction.client;
        if transaction.alone.is_some() {
            self.rollback_transaction(me, id);
            self.session_told(client, id, Told::RolledBack);
        } else {
            self.session_told(client, id, Told::Failed);
        }
    }

    /// The transaction cannot go on: it is rolled back as a whole, and begun again if it was one statement.
    fn fails(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let (client, alone) = (transaction.client, transaction.alone.take());
        self.rollback_transaction(me, id);
        self.begins_again(me, client, id, alone);
    }

    fn begins_again(
        &mut self,
        me: usize,
        client: usize,
        id: TransactionId,
        alone: Option<(Work, baton_model::Instant)>,
    ) {
        match alone.filter(|(_, until)| self.local(me) < *until && self.is_heard(client, id)) {
            None => self.session_told(client, id, Told::RolledBack),
            Some((work, until)) => {
                self.session_told(client, id, Told::Again);
                let next = self.new_transaction(me, client, Some((work, until)));
                self.later(me, AGAIN, Timer::Transaction(next, Alarm::Again));
            }
        }
    }

    // ---- its commit

    fn commit_writes(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let client = transaction.client;
        let written: BTreeMap<PartitionId, Place> = transaction
            .workspaces
            .iter()
            .filter(|(_, (_, has_written))| *has_written)
            .map(|(partition, (place, _))| (*partition, *place))
            .collect();
        let only_locked: Vec<PartitionId> = transaction
            .touched
            .iter()
            .copied()
            .filter(|partition| !written.contains_key(partition))
            .collect();
        match Coordinator::begin(id, &written) {
            Some((coordinator, effects)) => {
                transaction.stage = Stage::Committing { coordinator, only_locked, steps: 0 };
                self.moment(me, Moment::Prepares, &written);
                self.coordinate(me, id, effects);
            }
            None => {
                self.rollback_transaction(me, id);
                self.session_told(client, id, Told::Committed);
            }
        }
    }

    fn coordinate(&mut self, me: usize, id: TransactionId, effects: Vec<CoordinatorEffect>) {
        for effect in effects {
            if self.story.details() {
                let node = self.nodes[me].id;
                self.story.detail(self.now, || format!("{node} {id} {effect}"));
            }
            let Some(transaction) = self.transaction(me, id) else { return };
            let client = transaction.client;
            let Stage::Committing { only_locked, steps, coordinator } = &mut transaction.stage else {
                return;
            };
            match effect {
                CoordinatorEffect::Send { partition, request } => {
                    *steps += 1;
                    let home = coordinator.home();
                    let decides = matches!(request, Step::Commit { .. });
                    self.begin_op(me, Whose::Commit(id), partition, Ask::Step(request));
                    if decides {
                        let home = BTreeMap::from([(home.partition, home.place)]);
                        self.moment(me, Moment::Decides, &home);
                    }
                }
                CoordinatorEffect::Conclude(outcome) => {
                    let locked = std::mem::take(only_locked);
                    *steps += locked.len();
                    let alone = transaction.alone.take();
                    match outcome {
                        CommitOutcome::Committed => {
                            self.moment(me, Moment::Decided, &BTreeMap::new());
                            self.session_told(client, id, Told::Committed);
                        }
                        CommitOutcome::RolledBack(_) => self.begins_again(me, client, id, alone),
                        CommitOutcome::Unknown => self.session_told(client, id, Told::Unknown),
                    }
                    for partition in locked {
                        let ask = Ask::Step(Step::Finish { transaction: id, commit: false });
                        self.begin_op(me, Whose::Commit(id), partition, ask);
                    }
                }
            }
        }
        self.end_commit(me, id);
    }

    /// Whoever is asked whether it runs a transaction says so until the last step is answered.
    fn end_commit(&mut self, me: usize, id: TransactionId) {
        let Some(transaction) = self.transaction(me, id) else { return };
        if matches!(transaction.stage, Stage::Committing { steps: 0, .. }) {
            self.aggregator_mut(me).transactions.remove(&id);
        }
    }

    pub(super) fn step_of_commit_ended(
        &mut self,
        me: usize,
        id: TransactionId,
        partition: PartitionId,
        answer: Option<StepAnswer>,
    ) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let Stage::Committing { coordinator, steps, .. } = &mut transaction.stage else { return };
        *steps -= 1;
        let effects = coordinator.step(match answer {
            Some(answer) => CoordinatorEvent::Answered { partition, answer },
            None => CoordinatorEvent::Unanswered { partition },
        });
        self.coordinate(me, id, effects);
    }

    // ---- deadlocks over several leaves

    pub(super) fn transaction_alarm(&mut self, me: usize, id: TransactionId, alarm: Alarm) {
        match alarm {
            Alarm::Origin => self.look_for_origin(me, id),
            Alarm::Again => {
                let work = self.transaction(me, id).and_then(|known| known.alone.clone());
                if let Some((work, _)) = work {
                    self.write_within(me, id, work);
                }
            }
            Alarm::Gone => self.rollback_transaction(me, id),
            Alarm::Look(number) => {
                if self.is_writing(me, id, number) {
                    self.look_for_deadlock(me, id);
                }
            }
            Alarm::Looked(round) => self.judge_waits(me, id, round),
        }
    }

    fn is_writing(&mut self, me: usize, id: TransactionId, number: u32) -> bool {
        self.transaction(me, id).is_some_and(|transaction| {
            transaction.statements == number && matches!(transaction.stage, Stage::Writing { .. })
        })
    }

    fn look_for_deadlock(&mut self, me: usize, id: TransactionId) {
        let index = self.aggregator(me).control.commit;
        let catalog = self.catalog_at(index).clone();
        let leaves = catalog.leaves().filter(|leaf| leaf.is_online());
        let missing = leaves.map(|leaf| self.ask(me, Self::position(leaf.id), Question::Waits)).collect();
        let Some(transaction) = self.transaction(me, id) else { return };
        let Stage::Writing { look, .. } = &mut transaction.stage else { return };
        transaction.rounds += 1;
        let round = transaction.rounds;
        look.round = round;
        look.missing = missing;
        look.waits.clear();
        self.later(me, WAITS_TIMEOUT, Timer::Transaction(id, Alarm::Looked(round)));
    }

    pub(super) fn waits_told(
        &mut self,
        me: usize,
        call: u64,
        waits: BTreeSet<(TransactionId, TransactionId)>,
    ) {
        let looks = self.aggregator_mut(me).transactions.iter_mut().find_map(|(id, transaction)| {
            match &mut transaction.stage {
                Stage::Writing { look, .. } => look.missing.remove(&call).then_some((*id, look)),
                _ => None,
            }
        });
        let Some((id, look)) = looks else { return };
        look.waits.extend(waits);
        if look.missing.is_empty() {
            let round = look.round;
            self.judge_waits(me, id, round);
        }
    }

    /// A circle counts if it is seen twice in a row: leaves are asked one moment after another. The youngest goes.
    fn judge_waits(&mut self, me: usize, id: TransactionId, round: u32) {
        let Some(transaction) = self.transaction(me, id) else { return };
        let Stage::Writing { look, .. } = &mut transaction.stage else { return };
        if look.round != round {
            return; // It was judged when all had answered.
        }
        look.round = 0;
        look.missing.clear();
        let circle: Option<BTreeSet<TransactionId>> =
            deadlock(&look.waits, id).map(|circle| circle.into_iter().collect());
        let is_youngest = circle.as_ref().and_then(BTreeSet::last) == Some(&id);
        if is_youngest && circle == look.seen_before {
            return self.fails(me, id);
        }
        look.seen_before = circle;
        let number = transaction.statements;
        self.later(me, DEADLOCK_LOOK, Timer::Transaction(id, Alarm::Look(number)));
    }
}

/// What a transaction does after a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// It looks whether this run is known.
    Origin,
    /// It begins, as the next attempt of a statement.
    Again,
    /// Its client is gone.
    Gone,
    /// This statement of it looks for a deadlock.
    Look(u32),
    /// Leaves have had time enough to answer that look.
    Looked(u32),
}
