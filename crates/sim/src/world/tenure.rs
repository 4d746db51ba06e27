//! What a primary has while it serves in one epoch: row locks, and the transactions that are open or prepared.
//! Played as `baton-node`'s `leaf/tenure.rs` does it: the rules are [`Participant`]'s, here its effects are carried out.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{Epoch, PartitionId, TransactionId};
use baton_replication::Event as CoreEvent;
use baton_replication::transaction::{
    Aggregators, Answer as StepAnswer, Home, Participant, ParticipantEffect as Effect,
    ParticipantEvent as Event, Request, Standing, TransactionSettings,
};

use super::statements::Ticket;
use super::wire::{Answer, Ask, Knowledge};
use super::{Body, World};
use crate::kernel::Time;

/// How long home may take to say how a transaction ended, before it is asked again.
const HOME_TIMEOUT: Duration = Duration::from_secs(2);

/// One tenure.
#[derive(Debug)]
pub struct Tenure {
    /// The epoch.
    pub epoch: Epoch,
    /// The core.
    pub participant: Participant,
    /// Who is to be answered: node and call, by ticket.
    tickets: BTreeMap<u64, (usize, u64)>,
    next: u64,
    /// Transactions that were decided here since somebody last looked.
    pub(super) decided: usize,
}

impl Tenure {
    /// Who waits for an answer, beside statements.
    pub fn callers(&self) -> impl Iterator<Item = (usize, u64)> {
        self.tickets.values().copied()
    }

    /// What is not at an end, beside so many transactions that are in doubt, and their rows; None if nothing is.
    #[must_use]
    pub fn unrest(&self, in_doubt: usize) -> Option<String> {
        let (open, prepared) = (self.participant.workspaces(), self.participant.prepared());
        let (held, waiting) = (self.participant.locks().held(), self.participant.locks().waiting());
        let over = open + waiting == 0 && prepared == in_doubt && (held == 0 || in_doubt > 0);
        (!over).then(|| {
            format!("{open} transactions are open, {prepared} in doubt, {held} rows locked, {waiting} wait")
        })
    }
}

/// What the catalog says of the aggregators.
pub fn aggregators(catalog: &Catalog) -> Aggregators {
    let standing =
        |node: &baton_catalog::Node| Standing { incarnation: node.incarnation, offline_at: node.offline_at };
    Aggregators {
        index: catalog.index(),
        standings: catalog.aggregators().map(|node| (node.id, standing(node))).collect(),
    }
}

fn settings(catalog: &Catalog) -> TransactionSettings {
    TransactionSettings { idle_timeout: Duration::from_millis(catalog.number("transaction_idle_timeout_ms")) }
}

impl World {
    pub(super) fn tenure(&mut self, me: usize, partition: PartitionId) -> Option<&mut Tenure> {
        self.leaf_mut(me).instances.get_mut(&partition)?.tenure.as_deref_mut()
    }

    /// An instance begins to serve, with what is prepared in the applied rows.
    pub(super) fn tenure_begins(&mut self, me: usize, partition: PartitionId, epoch: Epoch) {
        let now = self.local(me);
        let catalog = Rc::clone(self.catalog_at(self.leaf(me).mirror));
        let leaf = self.leaf_mut(me);
        let prepared = leaf.disk.now.copies.get(&partition).map(|copy| copy.rows.prepared());
        let prepared = prepared.unwrap_or_default();
        let Some(running) = leaf.instances.get_mut(&partition) else { return };
        let mut participant = Participant::take_over(now, partition, epoch, settings(&catalog), prepared);
        participant.step(now, Event::Aggregators(aggregators(&catalog)));
        let tickets = BTreeMap::new();
        let tenure = Tenure { epoch, participant, tickets, next: 0, decided: usize::MAX / 2 };
        running.tenure = Some(Box::new(tenure));
        running.serving = Some(epoch);
    }

    /// Nobody is served here any more: whoever waits is told.
    pub(super) fn tenure_ends(&mut self, me: usize, partition: PartitionId) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        running.serving = None;
        let Some(tenure) = running.tenure.take() else { return };
        let waiting: Vec<u64> =
            running.runs.iter().filter(|(_, run)| run.waits).map(|(owner, _)| *owner).collect();
        for (from, call) in tenure.tickets.into_values() {
            let answer = Answer::Step(StepAnswer::NotPrimary);
            self.datagram(me, from, Body::Answer { call, answer });
        }
        self.reads_end(me, partition);
        self.drains_end(me, partition);
        for owner in waiting {
            self.run_ends(me, partition, owner, Answer::NotPrimary);
        }
    }

    /// Tells the participant of an epoch something, and carries out what it wants.
    pub(super) fn participant_step(&mut self, me: usize, partition: PartitionId, epoch: Epoch, event: Event) {
        let now = self.local(me);
        if self.story.details() && event != Event::Tick {
            let id = self.nodes[me].id;
            self.story.detail(self.now, || format!("{id} {partition} {epoch} ‹ {event}"));
        }
        let Some(tenure) = self.tenure(me, partition).filter(|tenure| tenure.epoch == epoch) else { return };
        let effects = tenure.participant.step(now, event);
        for effect in effects {
            self.participant_wants(me, partition, epoch, effect);
        }
    }

    fn participant_wants(&mut self, me: usize, partition: PartitionId, epoch: Epoch, effect: Effect) {
        if self.story.details() {
            let id = self.nodes[me].id;
            self.story.detail(self.now, || format!("{id} {partition} {epoch} {effect}"));
        }
        match effect {
            Effect::Answer { ticket, answer } => self.answer_ticket(me, partition, ticket, answer),
            Effect::AnswerFromRows { ticket, transaction, may_be_forgotten } => {
                let answer = match self.look_up(me, partition, transaction) {
                    Some(Knowledge::Committed) => StepAnswer::Committed,
                    Some(Knowledge::Forgotten) if may_be_forgotten => StepAnswer::Forgotten,
                    Some(_) => StepAnswer::Aborted,
                    None => StepAnswer::NotPrimary,
                };
                self.answer_ticket(me, partition, ticket, answer);
            }
            Effect::Write { transaction, write } => {
                let decides =
                    write.mutations.iter().any(|m| m.table == baton_replication::transaction::DECIDED);
                let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
                running.next += 1;
                let ticket = running.next;
                running.tickets.insert(ticket, Ticket::Transaction(epoch, transaction, write.statement));
                running.pending.push(CoreEvent::Write { ticket, epoch, write });
                if let Some(tenure) = &mut running.tenure
                    && decides
                {
                    tenure.decided += 1;
                }
            }
            Effect::Ask { transaction, home } => self.ask_home(me, partition, epoch, transaction, home),
            Effect::Granted(owners) => self.granted(me, partition, owners),
            Effect::Over(transaction) => {
                self.member_over(me, partition, transaction);
                self.settle(me, partition);
                self.transactions_end(me, partition);
            }
            Effect::Report(what) => {
                let id = self.nodes[me].id;
                self.violated("S9", format!("{id} {partition} reports: {what}"));
            }
        }
    }

    fn answer_ticket(&mut self, me: usize, partition: PartitionId, ticket: u64, answer: StepAnswer) {
        let asker = self.tenure(me, partition).and_then(|tenure| tenure.tickets.remove(&ticket));
        if let Some((from, call)) = asker {
            self.datagram(me, from, Body::Answer { call, answer: Answer::Step(answer) });
        }
    }

    /// What the rows say of a transaction, if this is a primary that serves.
    fn look_up(&self, me: usize, partition: PartitionId, transaction: TransactionId) -> Option<Knowledge> {
        self.leaf(me).instances.get(&partition)?.tenure.as_ref()?;
        let rows = &self.leaf(me).disk.now.copies.get(&partition)?.rows;
        Some(if rows.has_decided(transaction) {
            Knowledge::Committed
        } else if rows.horizon().is_some_and(|youngest| transaction <= youngest) {
            Knowledge::Forgotten
        } else {
            Knowledge::Nothing
        })
    }

    /// What is known here of a transaction that no aggregator runs any more.
    pub(super) fn knowledge(
        &mut self,
        me: usize,
        partition: PartitionId,
        least: Epoch,
        transaction: TransactionId,
    ) -> Option<Knowledge> {
        let epoch = self.tenure(me, partition).map(|tenure| tenure.epoch).filter(|epoch| *epoch >= least)?;
        // What its aggregator left behind is dropped first.
        let known = aggregators(self.acts_under(me));
        self.participant_step(me, partition, epoch, Event::Aggregators(known));
        if self.tenure(me, partition)?.participant.knows(transaction) {
            return Some(Knowledge::Undecided);
        }
        self.look_up(me, partition, transaction)
    }

    fn ask_home(
        &mut self,
        me: usize,
        partition: PartitionId,
        epoch: Epoch,
        transaction: TransactionId,
        home: Home,
    ) {
        let Some(node) = self.acts_under(me).serving(home.partition).map(|node| node.id) else { return };
        let call = self.workload.next_number();
        let until = self.local(me) + HOME_TIMEOUT;
        self.leaf_mut(me).questions.homes.insert(call, (partition, epoch, transaction, until));
        let ask = Ask::Step(Request::Inquire { transaction, place: home.place });
        self.datagram(me, Self::position(node), Body::Call { call, partition: home.partition, ask });
    }

    /// Home has answered, or will not.
    pub(super) fn home_answered(&mut self, me: usize, call: u64, answer: Option<StepAnswer>) {
        let now = self.local(me);
        let asked = self.leaf_mut(me).questions.homes.remove(&call);
        let Some((partition, epoch, transaction, until)) = asked else { return };
        if let Some(answer) = answer
            && now < until
        {
            self.participant_step(me, partition, epoch, Event::Told { transaction, answer });
            self.drain(me, partition);
        }
    }

    /// A coordinator, or a participant, wants to know or have done something.
    pub(super) fn asked_to_step(
        &mut self,
        me: usize,
        from: usize,
        call: u64,
        partition: PartitionId,
        request: Request,
    ) {
        let Some(tenure) = self.tenure(me, partition) else { return };
        tenure.next += 1;
        let (ticket, epoch) = (tenure.next, tenure.epoch);
        tenure.tickets.insert(ticket, (from, call));
        self.participant_step(me, partition, epoch, Event::Request { ticket, request });
    }

    /// Time has passed; and the catalog says this now.
    pub(super) fn tenure_tick(&mut self, me: usize, partition: PartitionId, news: Option<&Catalog>) {
        let Some(tenure) = self.tenure(me, partition) else { return };
        let epoch = tenure.epoch;
        if let Some(catalog) = news {
            tenure.participant.set(settings(catalog));
            self.participant_step(me, partition, epoch, Event::Aggregators(aggregators(catalog)));
        }
        self.participant_step(me, partition, epoch, Event::Tick);
        self.settle(me, partition);
        self.drain(me, partition);
    }
}

/// Between two looks at what is idle, and how long it was idle then.
pub const IDLE_LOOK: Time = 5 * crate::kernel::S;
