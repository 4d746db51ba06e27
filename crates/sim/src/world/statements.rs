//! Statements at the primary: a write locks its rows, asks whether the log knows it, reads, and is taken in the epoch in
//! which it was begun (S12); a read waits for the end of what may be committed already.
//! Played as `baton-node`'s `leaf/write.rs`, `leaf/runs.rs` and `leaf/read.rs` do it.

use std::time::Duration;

use baton_model::{Epoch, Instant, PartitionId, StatementId, TransactionId};
use baton_replication::transaction::{ParticipantEvent, WriteOutcome};
use baton_replication::{
    Event as CoreEvent, Grant, Known, Owner, RowKey, StatementOutcome, Write, WriteError,
};

use super::leaf::Running;
use super::members::Member;
use super::store::{TABLE, mutation};
use super::wire::{Answer, Ask};
use super::{Body, World};

/// A write that runs at an instance, as its own transaction or as part of one.
#[derive(Debug)]
pub struct Run {
    pub from: usize,
    pub call: u64,
    pub statement: StatementId,
    /// The tenure in which it was begun.
    pub epoch: Epoch,
    pub keys: Vec<u64>,
    pub begun: Instant,
    /// It waits for its rows.
    pub waits: bool,
    /// It waits for its commit, by ticket.
    ticket: Option<u64>,
    pub member: Option<Member>,
}

/// Who waits for a write's commit.
#[derive(Clone, Copy, Debug)]
pub enum Ticket {
    /// A run.
    Run(u64),
    /// A participant of this epoch, which has this written.
    Transaction(Epoch, TransactionId, StatementId),
    /// Old outcomes are being removed.
    Prune(StatementId),
}

/// The lock of a row.
pub fn row_key(key: u64) -> RowKey {
    (TABLE, key.to_be_bytes().to_vec())
}

impl World {
    pub(super) fn called(&mut self, me: usize, from: usize, call: u64, partition: PartitionId, ask: Ask) {
        let now = self.local(me);
        let running = self.leaf_mut(me).instances.get_mut(&partition);
        let Some(epoch) = running.and_then(|running| Some(running.tenure.as_ref()?.epoch)) else {
            let answer = match ask {
                Ask::Step(_) => Answer::Step(baton_replication::transaction::Answer::NotPrimary),
                _ => Answer::NotPrimary,
            };
            self.datagram(me, from, Body::Answer { call, answer });
            return;
        };
        let (statement, keys, member) = match ask {
            Ask::Read(key, within) => return self.read(me, from, call, partition, key, within),
            Ask::TakeBack(transaction, place, which) => {
                return self.take_back(me, from, call, partition, (transaction, place, which));
            }
            Ask::Step(request) => {
                self.asked_to_step(me, from, call, partition, request);
                self.drain(me, partition);
                return;
            }
            Ask::Write(statement, keys) => (statement, keys, None),
            Ask::Within(statement, operation, membership) => {
                if membership.place.is_some_and(|place| place.epoch > epoch) {
                    self.datagram(me, from, Body::Answer { call, answer: Answer::NotPrimary });
                    return;
                }
                let (keys, member) = Member::of(operation, membership);
                (statement, keys, Some(member))
            }
        };
        let run = Run { from, call, statement, epoch, keys, begun: now, waits: false, ticket: None, member };
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        if running.runs.values().any(|other| other.statement == statement) {
            running.queued.push_back(run);
        } else {
            self.run_begins(me, partition, run);
            self.drain(me, partition);
        }
    }

    fn run_begins(&mut self, me: usize, partition: PartitionId, run: Run) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        running.next += 1;
        let owner = running.next;
        let (epoch, statement) = (run.epoch, run.statement);
        let is_member = run.member.is_some();
        let keys: Vec<RowKey> = run.keys.iter().map(|key| row_key(*key)).collect();
        running.runs.insert(owner, run);
        let tenure = running.tenure.as_mut().filter(|tenure| tenure.epoch == epoch);
        let Some(tenure) = tenure else {
            // Its first run has outlived the tenure.
            return self.run_goes_on(me, partition, owner);
        };
        if is_member {
            return self.member_begins(me, partition, owner);
        }
        match tenure.participant.lock_for_statement(owner, keys) {
            Grant::Now => self.run_goes_on(me, partition, owner),
            // Its first run may be over, and others hold the rows now.
            Grant::Later if running.core.known(statement) != Known::No => {
                self.run_goes_on(me, partition, owner);
            }
            Grant::Later => {
                if let Some(run) = running.runs.get_mut(&owner) {
                    run.waits = true;
                }
            }
        }
    }

    pub(super) fn still_serves(&self, me: usize, partition: PartitionId, owner: u64) -> bool {
        let Some(running) = self.leaf(me).instances.get(&partition) else { return false };
        let Some(run) = running.runs.get(&owner) else { return false };
        running.tenure.as_ref().is_some_and(|tenure| tenure.epoch == run.epoch)
    }

    /// Its rows are locked, or the log knows it.
    pub(super) fn run_goes_on(&mut self, me: usize, partition: PartitionId, owner: u64) {
        let serves = self.still_serves(me, partition, owner);
        let leaf = self.leaf_mut(me);
        let Some(running) = leaf.instances.get_mut(&partition) else { return };
        let Some(run) = running.runs.get_mut(&owner) else { return };
        run.waits = false;
        if run.member.is_some() {
            return self.member_goes_on(me, partition, owner);
        }
        let statement = run.statement;
        if running.core.known(statement) != Known::No {
            let ticket = ticket(running, owner);
            running.pending.push(CoreEvent::Await { ticket, statement });
            return;
        }
        if !serves {
            self.run_ends(me, partition, owner, Answer::NotPrimary);
            return;
        }
        let epoch = run.epoch;
        let copy = leaf.disk.now.copies.get(&partition);
        let mutations = run
            .keys
            .iter()
            .map(|key| {
                let count = copy.and_then(|copy| copy.rows.get(key)).map_or(0, |(count, _)| *count);
                mutation(*key, (count + 1, statement))
            })
            .collect::<Vec<_>>();
        let write = Write { statement, affected_rows: mutations.len() as u64, mutations };
        let ticket = ticket(running, owner);
        running.pending.push(CoreEvent::Write { ticket, epoch, write });
        self.write_is_taken(me);
    }

    pub(super) fn replied(
        &mut self,
        me: usize,
        partition: PartitionId,
        ticket: u64,
        result: Result<StatementOutcome, WriteError>,
    ) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        let Some(who) = running.tickets.remove(&ticket) else { return };
        let statement = match who {
            Ticket::Run(owner) => match running.runs.get(&owner) {
                Some(run) => run.statement,
                None => return,
            },
            Ticket::Transaction(.., statement) | Ticket::Prune(statement) => statement,
        };
        if let Ok(outcome) = result {
            self.check_acknowledged(me, partition, statement, outcome);
        }
        match who {
            Ticket::Run(owner) => {
                let answer = match result {
                    Ok(_) => Answer::Written,
                    Err(WriteError::NotPrimary) => Answer::NotPrimary,
                    Err(WriteError::TooManyInFlight | WriteError::HandingOver) => Answer::Busy,
                    Err(WriteError::Deposed) => Answer::Deposed,
                };
                self.run_ends(me, partition, owner, answer);
            }
            Ticket::Transaction(epoch, transaction, _) => {
                let outcome = match result {
                    Ok(_) => WriteOutcome::Done,
                    Err(WriteError::TooManyInFlight | WriteError::HandingOver) => WriteOutcome::Busy,
                    Err(WriteError::NotPrimary | WriteError::Deposed) => WriteOutcome::Deposed,
                };
                self.participant_step(
                    me,
                    partition,
                    epoch,
                    ParticipantEvent::Written { transaction, outcome },
                );
            }
            Ticket::Prune(_) => {}
        }
    }

    /// A run is over: it is answered, its locks go to others, and the next run of its statement begins.
    pub(super) fn run_ends(&mut self, me: usize, partition: PartitionId, owner: u64, answer: Answer) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        let Some(run) = running.runs.remove(&owner) else { return };
        let tenure = running.tenure.as_mut().filter(|tenure| tenure.epoch == run.epoch);
        let granted = match (tenure, &run.member) {
            (None, _) => Vec::new(),
            (Some(tenure), None) => tenure.participant.release_statement(owner),
            (Some(tenure), Some(member)) if run.waits => {
                tenure.participant.give_up_waiting(member.of.transaction)
            }
            (Some(_), Some(_)) => Vec::new(),
        };
        let next = running.queued.iter().position(|other| other.statement == run.statement);
        let next = next.and_then(|at| running.queued.remove(at));
        self.datagram(me, run.from, Body::Answer { call: run.call, answer });
        self.granted(me, partition, granted);
        if let Some(next) = next {
            self.run_begins(me, partition, next);
        }
    }

    /// These have the locks that they waited for.
    pub(super) fn granted(&mut self, me: usize, partition: PartitionId, owners: Vec<Owner>) {
        for owner in owners {
            let Some(running) = self.leaf(me).instances.get(&partition) else { return };
            let is_it = |number: u64, run: &Run| match owner {
                Owner::Statement(statement) => run.member.is_none() && number == statement,
                Owner::Transaction(id) => run.member.as_ref().is_some_and(|of| of.of.transaction == id),
            };
            let waiting = running.runs.iter().find(|(number, run)| run.waits && is_it(**number, run));
            if let Some(number) = waiting.map(|(number, _)| *number) {
                self.run_goes_on(me, partition, number);
            }
        }
    }

    /// Whoever has waited for its rows for too long waits no more.
    pub(super) fn tire(&mut self, me: usize, partition: PartitionId) {
        let now = self.local(me);
        let Some(running) = self.leaf(me).instances.get(&partition) else { return };
        if !running.runs.values().any(|run| run.waits) {
            return;
        }
        let most = Duration::from_millis(self.acts_under(me).number("lock_wait_timeout_ms"));
        let tired: Vec<u64> = running
            .runs
            .iter()
            .filter(|(_, run)| run.waits && run.ticket.is_none() && now.since(run.begun) > most)
            .map(|(owner, _)| *owner)
            .collect();
        for owner in tired {
            // The end of another one may have given it what it waited for.
            let running = self.leaf(me).instances.get(&partition);
            if !running.and_then(|running| running.runs.get(&owner)).is_some_and(|run| run.waits) {
                continue;
            }
            let serves = self.still_serves(me, partition, owner);
            let answer = if serves { Answer::LockWaitTimeout } else { Answer::NotPrimary };
            self.run_ends(me, partition, owner, answer);
        }
    }
}

fn ticket(running: &mut Running, owner: u64) -> u64 {
    running.next += 1;
    let ticket = running.next;
    running.tickets.insert(ticket, Ticket::Run(owner));
    if let Some(run) = running.runs.get_mut(&owner) {
        run.ticket = Some(ticket);
    }
    ticket
}
