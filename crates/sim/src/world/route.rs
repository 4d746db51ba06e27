//! Statements on their way through an aggregator: to the primary that the catalog names, and to the next one if that
//! one is lost, with the same id, until they are answered or given up. Played as `baton-node`'s `route.rs` does it.

use baton_model::{NodeId, PartitionId, StatementId};

use super::{Answer, Body, Operation, Timer, World};
use crate::kernel::{MS, Time};
use crate::workload::Ended;

/// Between two attempts, if nothing tells that it is worth one earlier.
const RETRY: Time = 20 * MS;

/// A statement on its way.
#[derive(Debug)]
pub struct Op {
    client: usize,
    partition: PartitionId,
    statement: StatementId,
    operation: Operation,
    /// The attempt that is under way, by call, and whom it asked.
    asked: Option<(u64, NodeId)>,
    /// An earlier attempt may have been carried out.
    uncertain: bool,
}

impl World {
    /// A client's statement comes to an aggregator. Its number names it there.
    pub fn begin_statement(
        &mut self,
        me: usize,
        client: usize,
        partition: PartitionId,
        statement: StatementId,
        operation: Operation,
    ) {
        let number = self.workload.next_number();
        let op = Op { client, partition, statement, operation, asked: None, uncertain: false };
        self.aggregator_mut(me).ops.insert(number, op);
        let patience = self.setup.patience;
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
        let Some(node) = self.serving(me, partition) else {
            self.later(me, RETRY, Timer::Retry(number));
            return;
        };
        let call = self.workload.next_number();
        let Some(op) = self.aggregator_mut(me).ops.get_mut(&number) else { return };
        op.asked = Some((call, node));
        let (statement, operation) = (op.statement, op.operation.clone());
        self.workload.calls.insert(call, number);
        self.datagram(me, Self::position(node), Body::Call { call, partition, statement, operation });
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
            self.later(me, RETRY, Timer::Retry(number));
        }
    }

    pub(super) fn answered(&mut self, me: usize, call: u64, answer: Answer) {
        match answer {
            Answer::NotPrimary | Answer::Busy => self.attempt_failed(me, call, false),
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
                    self.end_call(me, call, Ended::Undone);
                }
            }
            Answer::Written => self.end_call(me, call, Ended::Written),
            Answer::Row(row) => self.end_call(me, call, Ended::Read(row)),
        }
    }

    pub(super) fn unheard(&mut self, me: usize, call: u64) {
        if matches!(self.nodes[me].role, super::Role::Aggregator(_)) {
            self.attempt_failed(me, call, false);
        }
    }

    pub(super) fn call_lost(&mut self, me: usize, call: u64) {
        self.attempt_failed(me, call, true);
    }

    fn end_call(&mut self, me: usize, call: u64, ended: Ended) {
        let Some(number) = self.workload.calls.remove(&call) else { return };
        let op = self.aggregator(me).ops.get(&number);
        if op.is_none_or(|op| op.asked.is_none_or(|(asked, _)| asked != call)) {
            return; // An answer to an attempt that was given up.
        }
        if let Some(op) = self.aggregator_mut(me).ops.remove(&number) {
            self.statement_ended(me, op.client, op.statement, ended);
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
        let ended = if unknown { Ended::Unknown } else { Ended::Undone };
        self.statement_ended(me, op.client, op.statement, ended);
    }
}
