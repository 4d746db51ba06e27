//! Clients' transactions: what they do, and what they are told.
//!
//! A client begins one, writes to rows of several partitions of a database, locks some, reads, may set a savepoint and go
//! back to it, and ends it; or it sends one statement over several partitions. If it does not hear how a COMMIT went, or
//! does not wait to hear it, it asks, at any aggregator, until it is told (S12).

use std::collections::{BTreeMap, VecDeque};

use baton_model::{PartitionId, StatementId, TransactionId};

use crate::kernel::{MS, Time};
use crate::world::{Alarm, Event, Operation, Timer, Verdict, Work, World};

/// What a client hears of its transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// The statement is done.
    Done,
    /// A row.
    Row(Option<(u64, StatementId)>),
    /// The statement did nothing; the transaction goes on.
    Failed,
    /// It is back at its savepoint.
    TakenBack,
    /// It was rolled back, and its one statement begins again in another one.
    Again,
    /// It was rolled back.
    RolledBack,
    /// It is committed.
    Committed,
    /// Whether it is committed is not known.
    Unknown,
}

/// What a client knows of a transaction.
#[derive(Clone, Debug, Default)]
pub struct Deal {
    /// The rows that it writes if it is committed, and how often.
    pub writes: BTreeMap<(PartitionId, u64), u64>,
    /// The same as of its savepoint.
    pub saved: BTreeMap<(PartitionId, u64), u64>,
    /// The rows that it has locked, and how often each was written then.
    pub locked: BTreeMap<(PartitionId, u64), u64>,
    /// One of those that it has not written, and that somebody else had written when it asked for its commit.
    pub lost: Option<(PartitionId, u64)>,
    /// Whether its client wanted it committed.
    pub asked: bool,
    /// Whether it is committed, as its client was told.
    pub told: Option<bool>,
}

impl Deal {
    /// The partitions that it writes to.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        let mut last = None;
        self.writes.keys().map(|(partition, _)| *partition).filter(move |id| last.replace(*id) != Some(*id))
    }

    fn note(&mut self, work: &Work) {
        for (partition, operation) in work {
            if let Operation::Write(keys) = operation {
                for key in keys {
                    *self.writes.entry((*partition, *key)).or_default() += 1;
                }
            }
        }
    }
}

/// What a client does next.
#[derive(Clone, Debug)]
enum Act {
    Write(Work),
    Read(PartitionId, u64),
    Savepoint,
    BackToSavepoint,
    Commit,
    /// It closes its connection as soon as it has said so.
    CommitAndLeave,
    Rollback,
}

/// A read of a row.
#[derive(Clone, Copy, Debug)]
struct Look {
    place: (PartitionId, u64),
    /// When it began, and how often the row was written, as somebody knew then.
    begun: Time,
    at_least: u64,
}

/// A client's transaction.
#[derive(Debug)]
pub(super) struct Session {
    id: Option<TransactionId>,
    acts: VecDeque<Act>,
    /// What is on its way.
    work: Work,
    read: Option<Look>,
    waits: bool,
    /// It is one statement.
    alone: bool,
    /// It wants to know what became of it.
    asks: bool,
}

impl World {
    /// A client that is not in a transaction may begin one. Answers whether it does something of one now.
    pub(super) fn client_deals(&mut self, number: usize) -> bool {
        let client = &self.workload.clients[number];
        let at = client.at;
        match &client.session {
            Some(session) if session.waits => return true,
            Some(session) if session.asks => {
                self.client_asks(number);
                return true;
            }
            Some(_) if !self.takes_clients(at) => {
                self.client_leaves(number);
                return false;
            }
            Some(_) => {
                self.client_goes_on(number);
                return true;
            }
            None => {}
        }
        let share = self.setup.transactions_per_mille;
        let begins = self.workload.active && self.takes_clients(at) && self.workload.dice.per_mille(share);
        if begins && let Some(session) = self.plan() {
            let alone = session.alone;
            self.workload.clients[number].session = Some(session);
            if alone {
                self.client_goes_on(number);
            } else {
                self.begin_transaction(at, number);
                self.client_goes_on(number);
            }
            return true;
        }
        false
    }

    /// Draws a transaction; None if no database has partitions that can be written to.
    fn plan(&mut self) -> Option<Session> {
        // Once the faults are over, nobody asks for what only an operator can bring back.
        let faults = self.nemesis.active;
        let open = |id: &PartitionId| faults || !self.is_out_of_reach(*id);
        let all: Vec<PartitionId> = self.catalog().partitions().map(|p| p.id).filter(open).collect();
        if all.is_empty() {
            return None;
        }
        let keys = self.setup.keys;
        let dice = &mut self.workload.dice;
        let database = dice.pick(&all).database;
        let mut partitions: Vec<PartitionId> = all.into_iter().filter(|id| id.database == database).collect();
        let most = dice.between(2, 4) as usize;
        while partitions.len() > most {
            let out = dice.below(partitions.len() as u64) as usize;
            partitions.swap_remove(out);
        }
        let alone = dice.per_mille(300);
        let mut acts = VecDeque::new();
        let saves = dice.per_mille(150);
        let count = if alone { 1 } else { dice.between(1, 4) };
        for statement in 0..count {
            if saves && statement == 1 {
                acts.push_back(Act::Savepoint);
            }
            let mut work: Work = Vec::new();
            for partition in &partitions {
                if !alone && dice.per_mille(350) {
                    continue;
                }
                let mut rows = vec![dice.below(keys)];
                if dice.per_mille(250) {
                    rows.push(dice.below(keys));
                    rows.sort_unstable();
                    rows.dedup();
                }
                let locks = !alone && dice.per_mille(100);
                work.push((*partition, if locks { Operation::Lock(rows) } else { Operation::Write(rows) }));
            }
            if let Some((partition, _)) = work.first().filter(|_| !alone && dice.per_mille(250)) {
                acts.push_back(Act::Read(*partition, dice.below(keys)));
            }
            if !work.is_empty() {
                acts.push_back(Act::Write(work));
            }
        }
        if acts.iter().any(|act| matches!(act, Act::Savepoint)) {
            acts.push_back(Act::BackToSavepoint);
        }
        acts.push_back(match dice.below(100) {
            0..10 => Act::Rollback,
            10..18 => Act::CommitAndLeave,
            _ => Act::Commit,
        });
        let (work, read) = (Vec::new(), None);
        Some(Session { id: None, acts, work, read, waits: false, alone, asks: false })
    }

    /// Once the faults are over, a client that is in a transaction does without what was dropped, and what only an
    /// operator can bring back.
    fn does_without_what_is_gone(&mut self, number: usize) {
        if self.nemesis.active {
            return;
        }
        let ids = self.catalog().partitions().map(|partition| partition.id);
        let there: Vec<PartitionId> = ids.filter(|id| !self.is_out_of_reach(*id)).collect();
        let Some(session) = &mut self.workload.clients[number].session else { return };
        session.acts.retain_mut(|act| match act {
            Act::Read(partition, _) => there.contains(partition),
            Act::Write(work) => {
                work.retain(|(partition, _)| there.contains(partition));
                !work.is_empty()
            }
            _ => true,
        });
    }

    fn client_goes_on(&mut self, number: usize) {
        self.does_without_what_is_gone(number);
        let client = &mut self.workload.clients[number];
        let at = client.at;
        let Some(session) = &mut client.session else { return };
        let Some(act) = session.acts.pop_front() else {
            client.session = None;
            return self.client_thinks(number);
        };
        session.waits = true;
        if session.alone
            && let Act::Write(work) = act
        {
            session.work.clone_from(&work);
            return self.write_everywhere(at, number, work);
        }
        let Some(id) = session.id else { return };
        self.story.detail(self.now, || format!("client {number} at n{}: {id} {act:?}", at + 1));
        match act {
            Act::Write(work) => {
                session.work.clone_from(&work);
                self.write_within(at, id, work);
            }
            Act::Read(partition, key) => {
                let (place, begun) = ((partition, key), self.now);
                session.read = Some(Look { place, begun, at_least: self.checks.reads.known(place) });
                self.read_within(at, id, partition, key);
            }
            Act::Savepoint => {
                if let Some(deal) = self.workload.transactions.get_mut(&id) {
                    deal.saved.clone_from(&deal.writes);
                }
                self.set_savepoint(at, id);
                self.client_is_free(number);
            }
            Act::BackToSavepoint => self.rollback_to_savepoint(at, id),
            Act::Commit | Act::CommitAndLeave => {
                if let Some(deal) = self.workload.transactions.get_mut(&id) {
                    deal.asked = true;
                    let mut locked =
                        deal.locked.iter().filter(|(place, _)| !deal.writes.contains_key(*place));
                    let lost = locked.find(|(place, count)| self.checks.count(**place) != **count);
                    deal.lost = lost.map(|(place, _)| *place);
                }
                if matches!(act, Act::CommitAndLeave) {
                    session.asks = true;
                    self.commit_transaction(at, id);
                    self.client_moves(number);
                    self.client_is_free(number);
                } else {
                    self.commit_transaction(at, id);
                }
            }
            Act::Rollback => {
                self.rollback_transaction(at, id);
                self.deal_ends(number, id, Some(false));
            }
        }
    }

    /// It has heard what it waited for, and goes on after a while.
    fn client_is_free(&mut self, number: usize) {
        if let Some(session) = &mut self.workload.clients[number].session {
            session.waits = false;
        }
        self.client_thinks(number);
    }

    fn client_moves(&mut self, number: usize) {
        let next = self.workload.dice.below(self.setup.aggregators as u64) as usize;
        let client = &mut self.workload.clients[number];
        client.at = next;
        client.seen.clear();
    }

    /// It has waited long enough for its aggregator, between two statements.
    fn client_leaves(&mut self, number: usize) {
        let client = &mut self.workload.clients[number];
        let at = client.at;
        let Some(session) = client.session.take() else { return };
        let Some(id) = session.id else { return };
        if self.nodes[at].up {
            self.later_at(at, Timer::Transaction(id, Alarm::Gone));
        }
        self.note_told(id, false);
        self.workload.deals[1] += 1;
    }

    fn client_asks(&mut self, number: usize) {
        let at = self.workload.clients[number].at;
        // What only an operator can bring back can say nothing, and so nobody can say "not committed".
        let hopeless = !self.nemesis.active
            && self.catalog().partitions().any(|partition| self.is_given_up(partition.id));
        let id = self.workload.clients[number].session.as_ref().and_then(|session| session.id);
        let Some(id) = id else { return };
        if hopeless {
            return self.deal_ends(number, id, None);
        }
        if !self.takes_clients(at) {
            self.client_moves(number);
            let pause = self.now + 20 * MS;
            self.at(pause, Event::Client(number));
            return;
        }
        if let Some(session) = &mut self.workload.clients[number].session {
            session.waits = true;
        }
        self.begin_inquiry(at, number, id);
    }

    // ---- what it hears

    /// A transaction begins for a client.
    pub(crate) fn transaction_begins(&mut self, number: usize, id: TransactionId) {
        let mut deal = Deal::default();
        if let Some(session) = &mut self.workload.clients[number].session {
            session.id = Some(id);
            if session.alone {
                deal.note(&session.work);
                deal.asked = true;
            }
        }
        self.workload.transactions.insert(id, deal);
    }

    /// Whether a client waits to hear of this transaction.
    pub(crate) fn is_heard(&self, number: usize, id: TransactionId) -> bool {
        let session = self.workload.clients[number].session.as_ref();
        session.is_some_and(|session| session.id == Some(id) && !session.asks)
    }

    /// A client hears of its transaction, if it still listens.
    pub(crate) fn session_told(&mut self, number: usize, id: TransactionId, told: Told) {
        if !self.is_heard(number, id) {
            return;
        }
        self.story.detail(self.now, || format!("client {number}: {id} {told:?}"));
        let client = &mut self.workload.clients[number];
        let Some(session) = &mut client.session else { return };
        let Some(deal) = self.workload.transactions.get_mut(&id) else { return };
        match told {
            Told::Done => {
                deal.note(&session.work);
                for (partition, operation) in &session.work {
                    if let Operation::Lock(keys) = operation {
                        for key in keys {
                            let place = (*partition, *key);
                            deal.locked.entry(place).or_insert_with(|| self.checks.count(place));
                        }
                    }
                }
                self.client_is_free(number);
            }
            Told::Row(row) => {
                if let Some(look) = session.read {
                    self.check_row_within(number, id, look, row);
                }
                self.client_is_free(number);
            }
            Told::Failed => self.client_is_free(number),
            Told::TakenBack => {
                deal.writes.clone_from(&deal.saved);
                self.client_is_free(number);
            }
            Told::Again => self.note_told(id, false),
            Told::RolledBack => self.deal_ends(number, id, Some(false)),
            Told::Committed => self.deal_ends(number, id, Some(true)),
            Told::Unknown => {
                session.asks = true;
                self.client_is_free(number);
            }
        }
    }

    /// A client hears what became of a transaction.
    pub(crate) fn outcome_told(&mut self, number: usize, id: TransactionId, verdict: Verdict) {
        let Some(session) = &mut self.workload.clients[number].session else { return };
        if session.id != Some(id) || !session.asks {
            return;
        }
        session.waits = false;
        self.story.detail(self.now, || format!("client {number}: outcome of {id}: {verdict:?}"));
        match verdict {
            Verdict::Committed => self.deal_ends(number, id, Some(true)),
            Verdict::NotCommitted => {
                if self.checks.is_anywhere(id) {
                    self.violated("S12", format!("{id} is said to be nowhere, and a part of it is there"));
                }
                self.deal_ends(number, id, Some(false));
            }
            Verdict::Unknown => self.deal_ends(number, id, None),
            Verdict::Undecided => {
                let again = self.now + 100 * MS;
                self.at(again, Event::Client(number));
            }
        }
    }

    fn deal_ends(&mut self, number: usize, id: TransactionId, committed: Option<bool>) {
        let session = self.workload.clients[number].session.take();
        if let Some(committed) = committed {
            self.note_told(id, committed);
        }
        self.workload.deals[committed.map_or(2, |committed| usize::from(!committed))] += 1;
        if committed == Some(true) {
            // Without leases another aggregator may not know yet who is primary now, and show the past.
            let here = session.is_some_and(|session| !session.asks);
            for (place, count) in self.checks.counts_of_transaction(id) {
                let is_touched = self.checks.losses.touch(place.0);
                let count = if is_touched { self.checks.count(place).min(count) } else { count };
                self.checks.reads.told(place, count);
                if here {
                    let seen = self.workload.clients[number].seen.entry(place).or_default();
                    *seen = count.max(*seen);
                    self.workload.written_at.insert(place.0, self.now);
                }
            }
        }
        self.client_thinks(number);
    }

    fn note_told(&mut self, id: TransactionId, committed: bool) {
        if let Some(deal) = self.workload.transactions.get_mut(&id) {
            deal.told = Some(committed);
        }
        self.check_told(id, committed);
    }

    /// The process of its aggregator has ended.
    pub(super) fn deal_is_lost(&mut self, number: usize) {
        let Some(session) = &mut self.workload.clients[number].session else { return };
        let Some(id) = session.id else { return };
        let asked = self.workload.transactions.get(&id).is_some_and(|deal| deal.asked);
        if asked {
            let waited = std::mem::take(&mut session.waits);
            session.asks = true;
            if waited {
                self.client_thinks(number);
            }
        } else if session.waits {
            self.deal_ends(number, id, Some(false));
        } else {
            self.workload.clients[number].session = None;
            self.note_told(id, false);
            self.workload.deals[1] += 1;
        }
    }

    /// A transaction sees what it has written, and else no less than its client saw.
    fn check_row_within(
        &mut self,
        number: usize,
        id: TransactionId,
        Look { place, begun, at_least }: Look,
        row: Option<(u64, StatementId)>,
    ) {
        let (count, tag) = row.unwrap_or_default();
        let own = self.workload.transactions.get(&id).is_some_and(|deal| deal.writes.contains_key(&place));
        let before = self.workload.clients[number].seen.get(&place).copied().unwrap_or(0);
        let (partition, key) = place;
        if own && tag != StatementId(id.0) {
            let what = format!("{id} reads {row:?} in row {key} of {partition}, which it has written");
            self.violated("reads", what);
        } else if count < before {
            let what = format!("{id} sees {count} in row {key} of {partition}, its client saw {before}");
            self.violated("reads", what);
        } else {
            self.check_read(place, begun, at_least, count);
            // What it has written itself is nobody's yet.
            if !own {
                let known = self.shown(place, count);
                self.workload.clients[number].seen.insert(place, known);
                self.checks.reads.told(place, known);
            }
        }
    }
}
