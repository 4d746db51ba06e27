//! What an aggregator asks of a partition's primary: of the one that the catalog names, and of the next one if that one
//! is lost, with the same id, until it is answered or given up. Played as `baton-node`'s `aggregator/route.rs` does it.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use baton_model::limits::CALL_TIMEOUT;
use baton_model::{Instant, NodeId, PartitionId, StatementId, TransactionId};
use baton_policy::{RetryChoice, RetryInput};

use super::wire::{Answer, Ask};
use super::{Body, Role, Timer, World};
use crate::kernel::{MS, Time};
use crate::workload::Ended;

/// Between two attempts, if nothing tells that it is worth one earlier.
const RETRY: Time = 20 * MS;

/// The policy is asked again about the same statement after this at the earliest, and at the latest, in milliseconds.
const ASK_AGAIN_MS: RangeInclusive<u64> = 50..=5_000;

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// A client, with a statement that is its own transaction.
    Client(usize, StatementId),
    /// A transaction.
    Transaction(TransactionId),
    /// The coordinator of one.
    Commit(TransactionId),
    /// Nobody any more.
    Nobody,
}

/// Something on its way to a partition's primary.
#[derive(Debug)]
pub struct Op {
    pub whose: Whose,
    partition: PartitionId,
    ask: Ask,
    /// The attempt that is under way, by call, and whom it asked.
    asked: Option<(u64, NodeId)>,
    /// An earlier attempt may have been carried out.
    uncertain: bool,
    begun: Instant,
    /// Until when it is attempted, whatever a policy says.
    buffer: Time,
    attempts: u32,
    /// When the policy is asked next whether it waits.
    ask_at: Instant,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Answered(Answer),
    /// It was not, in time. Whether it may have been carried out.
    GivenUp { unknown: bool },
}

impl World {
    /// Something is to be asked of a partition's primary.
    pub fn begin_op(&mut self, me: usize, whose: Whose, partition: PartitionId, ask: Ask) {
        let number = self.workload.next_number();
        let mut patience = self.setup.patience;
        if matches!(ask, Ask::Step(_)) {
            // However short statements are held in a failover, a commit that is under way is worth a moment.
            patience *= (CALL_TIMEOUT.as_micros() as Time).div_ceil(patience);
        }
        let begun = self.local(me);
        let op = Op {
            whose,
            partition,
            ask,
            asked: None,
            uncertain: false,
            begun,
            buffer: patience,
            attempts: 0,
            ask_at: begun,
        };
        self.aggregator_mut(me).ops.insert(number, op);
        self.later(me, patience, Timer::GiveUp(number));
        self.attempt(me, number);
    }

    fn serving(&self, me: usize, partition: PartitionId) -> Option<NodeId> {
        let catalog = self.catalog_at(self.aggregator(me).control.commit);
        catalog.serving(partition).map(|node| node.id)
    }

    fn attempt(&mut self, me: usize, number: u64) {
        let Some(op) = self.aggregator(me).ops.get(&number) else { return };
        if op.asked.is_some() {
            return;
        }
        let partition = op.partition;
        let is_step = matches!(op.ask, Ask::Step(_));
        let Some(node) = self.serving(me, partition) else {
            let index = self.aggregator(me).control.commit;
            if is_step && self.catalog_at(index).partition(partition).is_none() {
                // It was dropped meanwhile.
                return self.give_up(me, number);
            }
            return self.hold_on(me, number);
        };
        let call = self.workload.next_number();
        if is_step {
            let most = self.setup.patience.min(CALL_TIMEOUT.as_micros() as Time);
            self.later(me, most, Timer::CallTimeout(call));
        }
        let Some(op) = self.aggregator_mut(me).ops.get_mut(&number) else { return };
        op.asked = Some((call, node));
        let ask = op.ask.clone();
        self.workload.calls.insert(call, number);
        self.datagram(me, Self::position(node), Body::Call { call, partition, ask });
    }

    pub(super) fn try_again(&mut self, me: usize, number: u64) {
        self.attempt(me, number);
    }

    /// The attempt of this call is over without an answer.
    fn attempt_failed(&mut self, me: usize, call: u64, unsure: bool) {
        let Some(number) = self.workload.calls.remove(&call) else { return };
        let Some(op) = self.aggregator_mut(me).ops.get_mut(&number) else { return };
        if op.asked.take_if(|(asked, _)| *asked == call).is_some() {
            op.uncertain |= unsure;
            self.hold_on(me, number);
        }
    }

    /// Nobody could carry it out: the `retry` policy says whether it is attempted again.
    fn hold_on(&mut self, me: usize, number: u64) {
        let now = self.local(me);
        let catalog = Rc::clone(self.catalog_at(self.aggregator(me).control.commit));
        let known = self.known(me);
        let evidence = self.aggregator(me).evidence(&known);
        let waiting = u32::try_from(self.aggregator(me).ops.len()).unwrap_or(u32::MAX);
        let Some(op) = self.aggregator_mut(me).ops.get_mut(&number) else { return };
        op.attempts += 1;
        if now >= op.ask_at {
            let partition = catalog.partition(op.partition);
            let database = catalog.database_by_id(op.partition.database);
            let mut question = RetryInput {
                now_ms: now.as_millis(),
                wall_ms: known.wall_ms,
                seed: now.0 ^ number,
                database: database.map_or_else(String::new, |database| database.name.clone()),
                partition: op.partition.ordinal,
                uncertain: op.uncertain,
                waited_ms: now.since(op.begun).as_millis() as u64,
                buffer_ms: op.buffer / MS,
                attempts: op.attempts,
                waiting,
                heirs: partition.map_or(0, |known| known.promotable().count() as u32),
                awaited: partition.and_then(|known| evidence.get(&known.primary).cloned()),
                ..RetryInput::default()
            };
            let verdict = self.shelf.decide(&catalog, &mut question).verdict;
            if verdict.choice == RetryChoice::Fail {
                return self.give_up(me, number);
            }
            let again_ms = verdict.ask_again_ms.clamp(*ASK_AGAIN_MS.start(), *ASK_AGAIN_MS.end());
            if let Some(op) = self.aggregator_mut(me).ops.get_mut(&number) {
                op.ask_at = now + Duration::from_millis(again_ms);
            }
        }
        self.later(me, RETRY, Timer::Retry(number));
    }

    pub(super) fn answered(&mut self, me: usize, call: u64, answer: Answer) {
        if let Role::Leaf(_) = self.nodes[me].role {
            let told = if let Answer::Step(answer) = answer { Some(answer) } else { None };
            return self.home_answered(me, call, told);
        }
        match answer {
            Answer::NotPrimary | Answer::Busy | Answer::InDoubt | Answer::NoLease => {
                self.attempt_failed(me, call, false);
            }
            Answer::Step(answer) if answer.is_to_be_asked_again() => self.attempt_failed(me, call, false),
            Answer::Deposed => self.attempt_failed(me, call, true),
            Answer::LockWaitTimeout => {
                let uncertain = self
                    .workload
                    .calls
                    .get(&call)
                    .and_then(|number| self.aggregator(me).ops.get(number))
                    .is_some_and(|op| op.uncertain);
                // It may be that earlier attempt that holds the locks.
                if uncertain {
                    self.attempt_failed(me, call, false);
                } else {
                    self.end_call(me, call, answer);
                }
            }
            _ => self.end_call(me, call, answer),
        }
    }

    pub(super) fn unheard(&mut self, me: usize, call: u64) {
        match self.nodes[me].role {
            Role::Aggregator(_) => self.attempt_failed(me, call, false),
            Role::Leaf(_) => self.home_answered(me, call, None),
        }
    }

    pub(super) fn call_lost(&mut self, me: usize, call: u64) {
        match self.nodes[me].role {
            Role::Aggregator(_) => self.attempt_failed(me, call, true),
            Role::Leaf(_) => self.home_answered(me, call, None),
        }
    }

    fn end_call(&mut self, me: usize, call: u64, answer: Answer) {
        let Some(number) = self.workload.calls.remove(&call) else { return };
        let op = self.aggregator(me).ops.get(&number);
        if op.is_none_or(|op| op.asked.is_none_or(|(asked, _)| asked != call)) {
            return; // An answer to an attempt that was given up.
        }
        if let Some(op) = self.aggregator_mut(me).ops.remove(&number) {
            self.op_ended(me, op, Outcome::Answered(answer));
        }
    }

    /// The catalog has moved: whoever asked a leaf that is no primary any more asks the next one.
    pub(super) fn routes_changed(&mut self, me: usize) {
        let waiting: Vec<_> =
            self.aggregator(me).ops.iter().map(|(number, op)| (*number, op.partition, op.asked)).collect();
        for (number, partition, asked) in waiting {
            let serving = self.serving(me, partition);
            match asked {
                Some((call, node)) if serving != Some(node) => {
                    self.workload.calls.remove(&call);
                    if let Some(op) = self.aggregator_mut(me).ops.get_mut(&number) {
                        op.asked = None;
                        op.uncertain = true;
                    }
                    self.attempt(me, number);
                }
                None if serving.is_some() => self.attempt(me, number),
                _ => {}
            }
        }
    }

    pub(super) fn give_up(&mut self, me: usize, number: u64) {
        let Some(op) = self.aggregator_mut(me).ops.remove(&number) else { return };
        if let Some((call, _)) = op.asked {
            self.workload.calls.remove(&call);
        }
        let unknown = op.uncertain || op.asked.is_some();
        self.op_ended(me, op, Outcome::GivenUp { unknown });
    }

    fn op_ended(&mut self, me: usize, op: Op, outcome: Outcome) {
        match op.whose {
            Whose::Client(client, statement) => {
                let ended = match outcome {
                    Outcome::Answered(Answer::Written) => Ended::Written,
                    Outcome::Answered(Answer::Row(row)) => Ended::Read(row),
                    Outcome::GivenUp { unknown: true } => Ended::Unknown,
                    _ => Ended::Undone,
                };
                self.statement_ended(me, client, statement, ended);
            }
            Whose::Transaction(transaction) => {
                self.statement_of_transaction_ended(me, transaction, op.partition, outcome);
            }
            Whose::Commit(transaction) => {
                let answer = match outcome {
                    Outcome::Answered(Answer::Step(answer)) => Some(answer),
                    _ => None,
                };
                self.step_of_commit_ended(me, transaction, op.partition, answer);
            }
            Whose::Nobody => {}
        }
    }

    /// Nobody waits any more for what a transaction has asked.
    pub(super) fn drop_ops_of(&mut self, me: usize, transaction: TransactionId) {
        self.aggregator_mut(me).ops.retain(|_, op| op.whose != Whose::Transaction(transaction));
    }
}
