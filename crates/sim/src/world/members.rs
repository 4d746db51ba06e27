//! Statements of transactions at the primary, and what leaves and aggregators ask each other about them.
//! Played as `baton-node`'s `leaf/within.rs` does it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use baton_model::{Epoch, Incarnation, Instant, NodeId, PartitionId, StatementId, TransactionId};
use baton_replication::transaction::{
    DECIDED, Overlay, ParticipantEvent, Place, Refused, horizon_mutation, key_of,
};
use baton_replication::{Event as CoreEvent, Grant, Mutation, Write, deadlock};

use super::statements::{Ticket, row_key};
use super::store::{TABLE, mutation, row_of};
use super::tenure::IDLE_LOOK;
use super::wire::{Answer, Membership, Operation, Question, Reply};
use super::{Body, World};

/// A statement of a transaction, as far as it is more than a write.
#[derive(Debug)]
pub struct Member {
    pub of: Membership,
    locks_only: bool,
    /// What its transaction had written when it began.
    overlay: Overlay,
}

impl Member {
    /// The rows that it is about, and what it does.
    pub fn of(operation: Operation, of: Membership) -> (Vec<u64>, Self) {
        let (keys, locks_only) = match operation {
            Operation::Write(keys) => (keys, false),
            Operation::Lock(keys) => (keys, true),
        };
        (keys, Self { of, locks_only, overlay: Overlay::new() })
    }
}

/// What a leaf has asked others about transactions, by call.
#[derive(Debug, Default)]
pub struct Questions {
    /// How a transaction ended: for a participant in an epoch, until then.
    pub(super) homes: BTreeMap<u64, (PartitionId, Epoch, TransactionId, Instant)>,
    /// Which of these are still prepared, and for which pruning that is asked.
    prunes: BTreeMap<u64, (u64, Vec<TransactionId>)>,
    pruning: BTreeMap<u64, Pruning>,
    /// The catalog at the last tick.
    seen: u64,
    looked: Option<Instant>,
}

/// Old outcomes that are about to be removed.
#[derive(Debug)]
struct Pruning {
    partition: PartitionId,
    epoch: Epoch,
    oldest: BTreeSet<TransactionId>,
    missing: usize,
}

fn refusal(refused: Refused) -> Answer {
    match refused {
        Refused::Gone => Answer::RolledBack,
        Refused::TooMany | Refused::TooLarge => Answer::LockWaitTimeout,
        Refused::HandingOver => Answer::Busy,
    }
}

impl World {
    /// The first half of a transaction's statement: its workspace, and its locks.
    pub(super) fn member_begins(&mut self, me: usize, partition: PartitionId, owner: u64) {
        let now = self.local(me);
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        let (Some(tenure), Some(run)) = (&mut running.tenure, running.runs.get_mut(&owner)) else { return };
        let Some(member) = &mut run.member else { return };
        let Membership { transaction, origin, place, number, .. } = member.of;
        let participant = &mut tenure.participant;
        let entered = participant.enter(now, transaction, origin, place).and_then(|place| {
            let work = participant.workspace(transaction, place)?;
            Ok((place, work.answer_to(number).map(|_| !work.is_empty())))
        });
        let place = match entered {
            Ok((place, None)) => place,
            Ok((place, Some(has_written))) => {
                return self.run_ends(me, partition, owner, Answer::Within(place, has_written));
            }
            Err(refused) => return self.run_ends(me, partition, owner, refusal(refused)),
        };
        member.of.place = Some(place);
        let keys = run.keys.iter().map(|key| row_key(*key));
        let grant = participant.overlay(now, transaction, place, TABLE).and_then(|overlay| {
            member.overlay = overlay;
            participant.lock(transaction, place, keys)
        });
        match grant {
            Ok(Grant::Now) => self.member_goes_on(me, partition, owner),
            Ok(Grant::Later) => {
                run.waits = true;
                if deadlock(&self.waits(me), transaction).is_some() {
                    self.run_ends(me, partition, owner, Answer::Deadlock);
                }
            }
            Err(refused) => self.run_ends(me, partition, owner, refusal(refused)),
        }
    }

    /// The second half, with its rows locked.
    pub(super) fn member_goes_on(&mut self, me: usize, partition: PartitionId, owner: u64) {
        if !self.still_serves(me, partition, owner) {
            return self.run_ends(me, partition, owner, Answer::NotPrimary);
        }
        let running = self.leaf(me).instances.get(&partition);
        let Some(run) = running.and_then(|running| running.runs.get(&owner)) else { return };
        // Where nothing is to be written, that was only read.
        if run.member.as_ref().is_some_and(|member| member.locks_only)
            && let Err(why) = self.may_show(me, partition, run.epoch)
        {
            return self.run_ends(me, partition, owner, why.into());
        }
        let now = self.local(me);
        let leaf = self.leaf_mut(me);
        let copy = leaf.disk.now.copies.get(&partition);
        let Some(running) = leaf.instances.get_mut(&partition) else { return };
        let (Some(tenure), Some(run)) = (&mut running.tenure, running.runs.get(&owner)) else { return };
        let Some(Member { of, locks_only, overlay }) = &run.member else { return };
        let Some(place) = of.place else { return };
        let transaction = of.transaction;
        let plus_one = |key: &u64| {
            let row = match overlay.get(&row_key(*key).1) {
                Some(row) => row.as_deref().and_then(row_of),
                None => copy.and_then(|copy| copy.rows.get(key)).copied(),
            };
            mutation(*key, (row.map_or(0, |(count, _)| count) + 1, StatementId(transaction.0)))
        };
        let mutations = if *locks_only { Vec::new() } else { run.keys.iter().map(plus_one).collect() };
        let affected = mutations.len() as u64;
        let numbers = (of.number, of.keep);
        let participant = &mut tenure.participant;
        let put = participant.put(now, transaction, place, numbers, mutations, affected);
        let put = put.and_then(|()| participant.workspace(transaction, place));
        let answer = match put {
            Ok(work) => Answer::Within(place, !work.is_empty()),
            Err(refused) => refusal(refused),
        };
        self.run_ends(me, partition, owner, answer);
    }

    /// A transaction is over here: its statement that waits for a lock is told.
    pub(super) fn member_over(&mut self, me: usize, partition: PartitionId, transaction: TransactionId) {
        let Some(running) = self.leaf(me).instances.get(&partition) else { return };
        let waiting = running.runs.iter().find(|(_, run)| {
            run.waits && run.member.as_ref().is_some_and(|member| member.of.transaction == transaction)
        });
        if let Some(owner) = waiting.map(|(owner, _)| *owner) {
            self.run_ends(me, partition, owner, Answer::RolledBack);
        }
    }

    pub(super) fn take_back(
        &mut self,
        me: usize,
        from: usize,
        call: u64,
        partition: PartitionId,
        (transaction, place, which): (TransactionId, Place, (u32, u32)),
    ) {
        let now = self.local(me);
        let Some(tenure) = self.tenure(me, partition) else { return };
        let answer = if place.epoch > tenure.epoch {
            Answer::NotPrimary
        } else {
            let epoch = tenure.epoch;
            let taken = tenure.participant.take_back(now, transaction, place, which);
            match taken.and_then(|()| tenure.participant.workspace(transaction, place)) {
                Ok(work) => {
                    let has_written = !work.is_empty();
                    // Whoever asks relies on the locks that are still held.
                    match self.may_show(me, partition, epoch) {
                        Ok(()) => Answer::Within(place, has_written),
                        Err(why) => why.into(),
                    }
                }
                Err(refused) => refusal(refused),
            }
        };
        self.datagram(me, from, Body::Answer { call, answer });
    }

    fn waits(&self, me: usize) -> BTreeSet<(TransactionId, TransactionId)> {
        let tenures = self.leaf(me).instances.values().filter_map(|running| running.tenure.as_ref());
        tenures.flat_map(|tenure| tenure.participant.locks().waits()).collect()
    }

    /// A leaf answers what is not about one partition.
    pub(super) fn leaf_asked(&mut self, me: usize, question: Question) -> Option<Reply> {
        Some(match question {
            Question::Waits => Reply::Waits(self.waits(me)),
            Question::Knowledge(transaction, index, partitions) => {
                let mut known = Vec::new();
                if self.leaf(me).mirror >= index {
                    for (partition, epoch) in partitions {
                        let knowledge = self.knowledge(me, partition, epoch, transaction);
                        known.extend(knowledge.map(|knowledge| (partition, knowledge)));
                        self.drain(me, partition);
                    }
                }
                Reply::Knowledge(known)
            }
            Question::StillPrepared(partition, epoch, transactions) => {
                let tenure = self.tenure(me, partition).filter(|tenure| tenure.epoch >= epoch);
                Reply::StillPrepared(tenure.map(|tenure| {
                    transactions.into_iter().filter(|id| tenure.participant.has_prepared(*id)).collect()
                }))
            }
            Question::CatalogIndex | Question::NotRunning(..) => return None,
        })
    }

    /// A leaf's question is answered.
    pub(super) fn leaf_told(&mut self, me: usize, call: u64, reply: Reply) {
        match reply {
            Reply::NotRunning(over) => {
                let ids: Vec<PartitionId> = self.leaf(me).instances.keys().copied().collect();
                for partition in ids {
                    let Some(epoch) = self.tenure(me, partition).map(|tenure| tenure.epoch) else { continue };
                    for transaction in &over {
                        let event = ParticipantEvent::NotRunning(*transaction);
                        self.participant_step(me, partition, epoch, event);
                    }
                    self.drain(me, partition);
                }
            }
            Reply::StillPrepared(prepared) => self.prune_told(me, call, prepared),
            _ => {}
        }
    }

    // ---- what is done from time to time

    /// Time passes for all transactions; they are told what becomes of aggregators.
    pub(super) fn keep_transactions(&mut self, me: usize) {
        let now = self.local(me);
        let index = self.leaf(me).mirror;
        let catalog = Rc::clone(self.catalog_at(index));
        let questions = &mut self.leaf_mut(me).questions;
        let changed = std::mem::replace(&mut questions.seen, index) < index;
        let looked = *questions.looked.get_or_insert(now);
        let looks = now.since(looked) >= Duration::from_micros(IDLE_LOOK);
        if looks {
            questions.looked = Some(now);
            questions.homes.retain(|_, (.., until)| *until > now);
        }
        let ids: Vec<PartitionId> = self.leaf(me).instances.keys().copied().collect();
        for partition in &ids {
            self.tenure_tick(me, *partition, changed.then_some(&*catalog));
        }
        if looks {
            self.ask_about_idle_ones(me);
            for partition in ids {
                self.prune(me, partition);
            }
        }
    }

    /// A rollback whose message was lost leaves a workspace that its aggregator knows nothing of.
    fn ask_about_idle_ones(&mut self, me: usize) {
        let now = self.local(me);
        let mut by_aggregator: BTreeMap<(NodeId, Incarnation), BTreeSet<TransactionId>> = BTreeMap::new();
        for tenure in self.leaf(me).instances.values().filter_map(|running| running.tenure.as_ref()) {
            for (transaction, origin) in tenure.participant.idle(now, Duration::from_micros(IDLE_LOOK)) {
                let key = (origin.aggregator, origin.incarnation);
                by_aggregator.entry(key).or_default().insert(transaction);
            }
        }
        for ((aggregator, incarnation), transactions) in by_aggregator {
            let question = Question::NotRunning(incarnation, transactions.into_iter().collect());
            self.ask(me, Self::position(aggregator), question);
        }
    }

    /// Removes the oldest outcomes beyond those that are kept, of transactions that no participant has prepared.
    fn prune(&mut self, me: usize, partition: PartitionId) {
        let (kept, step) = (self.setup.outcomes_kept, self.setup.outcomes_kept.div_ceil(4));
        let Some(tenure) = self.tenure(me, partition).filter(|tenure| tenure.decided >= step) else { return };
        tenure.decided = 0;
        let epoch = tenure.epoch;
        let Some(copy) = self.leaf(me).disk.now.copies.get(&partition) else { return };
        if copy.rows.decided().count() < kept + step {
            return;
        }
        let decided: Vec<_> = copy.rows.decided().take(step).collect();
        let mut questions: BTreeMap<PartitionId, (Epoch, Vec<TransactionId>)> = BTreeMap::new();
        for (transaction, decided) in &decided {
            for (partition, epoch) in &decided.prepared {
                let question = questions.entry(*partition).or_insert((*epoch, Vec::new()));
                question.0 = question.0.max(*epoch);
                question.1.push(*transaction);
            }
        }
        let mut oldest: BTreeSet<TransactionId> = decided.iter().map(|(id, _)| *id).collect();
        let number = self.workload.next_number();
        let mut missing = 0;
        for (other, (epoch, transactions)) in questions {
            let Some(node) = self.acts_under(me).serving(other).map(|node| node.id) else {
                oldest.retain(|id| !transactions.contains(id));
                continue;
            };
            let question = Question::StillPrepared(other, epoch, transactions.clone());
            let call = self.ask(me, Self::position(node), question);
            self.leaf_mut(me).questions.prunes.insert(call, (number, transactions));
            missing += 1;
        }
        let pruning = Pruning { partition, epoch, oldest, missing };
        self.leaf_mut(me).questions.pruning.insert(number, pruning);
        self.pruned(me, number);
    }

    fn prune_told(&mut self, me: usize, call: u64, prepared: Option<Vec<TransactionId>>) {
        let questions = &mut self.leaf_mut(me).questions;
        let Some((number, asked)) = questions.prunes.remove(&call) else { return };
        let Some(pruning) = questions.pruning.get_mut(&number) else { return };
        let kept = prepared.unwrap_or(asked);
        pruning.oldest.retain(|id| !kept.contains(id));
        pruning.missing -= 1;
        self.pruned(me, number);
    }

    fn pruned(&mut self, me: usize, number: u64) {
        let questions = &mut self.leaf_mut(me).questions;
        if questions.pruning.get(&number).is_none_or(|pruning| pruning.missing > 0) {
            return;
        }
        let Some(Pruning { partition, epoch, oldest, .. }) = questions.pruning.remove(&number) else {
            return;
        };
        let Some(youngest) = oldest.last().copied() else { return };
        let rows = self.leaf(me).disk.now.copies.get(&partition).map(|copy| &copy.rows);
        // One that began long ago may have been committed lately: the horizon never goes back.
        let before = rows.and_then(super::store::Rows::horizon);
        let youngest = before.map_or(youngest, |before| before.max(youngest));
        let gone = oldest.iter().map(|id| Mutation { table: DECIDED, key: key_of(*id), row: None });
        let mut mutations: Vec<Mutation> = gone.collect();
        mutations.push(horizon_mutation(youngest));
        let statement = self.drawn_statement();
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        running.next += 1;
        let ticket = running.next;
        running.tickets.insert(ticket, Ticket::Prune(statement));
        let write = Write { statement, affected_rows: 0, mutations };
        running.pending.push(CoreEvent::Write { ticket, epoch, write });
        self.drain(me, partition);
    }
}
