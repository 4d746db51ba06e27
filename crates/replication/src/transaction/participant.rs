//! What a partition's primary knows of transactions in one epoch: their workspaces, their locks, and how they end.
//!
//! It begins when the primary is about to serve ([`Participant::take_over`]) and is thrown away when it serves no more.
//! Statements enter, lock, read the overlay and put mutations, each call answered at once. How a transaction ends is
//! [`Participant::step`]: events in, effects out.
//!
//! * A workspace can be dropped at any time before it is prepared or decided: its transaction is then rolled back as a
//!   whole. It is dropped when its coordinator says so, when its aggregator is gone by the catalog, and when it is idle
//!   for too long.
//! * S9: what is prepared stays, with its locks, until home has said how it ended. See the module's header.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_model::limits::TRANSACTIONS_OPEN_MAX;
use baton_model::{
    CatalogIndex, Epoch, Incarnation, Instant, Key, NodeId, PartitionId, TableId, TransactionId, mutated,
};

use super::message::{Answer, Home, Origin, Place, Request};
use super::rows::{self, Decided, Prepared};
use super::workspace::{NotPut, Overlay, Workspace};
use crate::locks::{Grant, LockTable, Owner, RowKey};
use crate::record::{Mutation, Write};

/// How long a prepared transaction waits for word of its end before it asks home; and between two questions.
const ASK_HOME_AFTER: Duration = Duration::from_millis(200);

/// Times that the catalog sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionSettings {
    /// A workspace in which nothing happens for so long is dropped.
    pub idle_timeout: Duration,
}

/// What the catalog says of an aggregator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The run of its process.
    pub incarnation: Incarnation,
    /// Where the catalog last called it offline; 0 is never.
    pub offline_at: CatalogIndex,
}

/// All aggregators as a catalog has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aggregators {
    /// The catalog's index.
    pub index: CatalogIndex,
    /// Each of them.
    pub standings: BTreeMap<NodeId, Standing>,
}

impl Aggregators {
    /// Whether a transaction of this origin can go on no more. A catalog that is older than it cannot say so.
    #[must_use]
    pub fn lack(&self, origin: &Origin) -> bool {
        self.index >= origin.began_at
            && self.standings.get(&origin.aggregator).is_none_or(|standing| {
                standing.incarnation != origin.incarnation || standing.offline_at > origin.began_at
            })
    }
}

/// Why a statement of a transaction is not carried out here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Its workspace is gone: the transaction has to be rolled back.
    Gone,
    /// Too many transactions are open here. Nothing has changed.
    TooMany,
    /// It has written too much. Nothing has changed.
    TooLarge,
    /// The primary is about to hand over, and what would be opened here would be lost. Nothing has changed.
    HandingOver,
}

impl From<NotPut> for Refused {
    fn from(why: NotPut) -> Self {
        match why {
            NotPut::TooLarge => Self::TooLarge,
            // Whoever sent it has gone on, and hears no answer.
            NotPut::Late => Self::Gone,
        }
    }
}

/// What became of an [`ParticipantEffect::Write`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// It is committed and applied.
    Done,
    /// It is in no log: too much waits.
    Busy,
    /// This instance is the primary no more; whether it is committed, the next one knows.
    Deposed,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum ParticipantEvent {
    /// A request came in; the ticket comes back with the answer.
    Request {
        /// Names it in the answer.
        ticket: u64,
        /// The request.
        request: Request,
    },
    /// The answer to [`ParticipantEffect::Write`].
    Written {
        /// The transaction.
        transaction: TransactionId,
        /// What became of it.
        outcome: WriteOutcome,
    },
    /// Home's answer to [`ParticipantEffect::Ask`]: Committed, Aborted, or anything else to ask again.
    Told {
        /// The transaction.
        transaction: TransactionId,
        /// The answer.
        answer: Answer,
    },
    /// The catalog says this of the aggregators now.
    Aggregators(Aggregators),
    /// Its aggregator says that it does not run this transaction.
    NotRunning(TransactionId),
    /// Some time has passed.
    Tick,
}

/// What to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum ParticipantEffect {
    /// Answer a request.
    Answer {
        /// The request.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// Look for the transaction's row in [`DECIDED`](super::DECIDED) now, while this instance serves in this epoch, and
    /// answer the request: `Committed` if it is there. If it is not: `Forgotten`, if that is asked for and the
    /// transaction is not younger than [`HORIZON`](super::HORIZON); `Aborted` otherwise. If the instance does not serve
    /// any more after the look, `NotPrimary`.
    AnswerFromRows {
        /// The request.
        ticket: u64,
        /// The transaction.
        transaction: TransactionId,
        /// Whether it may have been forgotten.
        may_be_forgotten: bool,
    },
    /// Have this committed in this epoch, and say [`ParticipantEvent::Written`].
    Write {
        /// The transaction.
        transaction: TransactionId,
        /// What to write.
        write: Write,
    },
    /// Send [`Request::Inquire`] to home's primary, and say [`ParticipantEvent::Told`]; no answer needs no event.
    Ask {
        /// The transaction.
        transaction: TransactionId,
        /// Whom to ask.
        home: Home,
    },
    /// These owners have the locks that they waited for.
    Granted(Vec<Owner>),
    /// The transaction is over here: whoever waits for one of its locks, as it or with it, is to look again.
    Over(TransactionId),
    /// Something that is worth a log line.
    Report(String),
}

use ParticipantEffect as Effect;
use ParticipantEvent as Event;

#[derive(Debug)]
enum Stage {
    /// Statements come in.
    Open,
    /// The prepared row is on its way into the log.
    Preparing { prepared: Prepared, tickets: Vec<u64>, aborted: Vec<u64> },
    /// The prepared row is committed.
    Prepared { prepared: Prepared, ask_at: Instant },
    /// The decision is on its way into the log.
    Deciding { tickets: Vec<u64> },
    /// The end is known, and on its way into the log.
    Finishing { prepared: Prepared, commit: bool, tickets: Vec<u64>, again: bool },
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// None if a former primary knew it.
    origin: Option<Origin>,
    work: Workspace,
    touched: Instant,
    stage: Stage,
}

/// The transactions of one partition at its primary, in one epoch.
#[derive(Debug)]
pub struct Participant {
    partition: PartitionId,
    epoch: Epoch,
    settings: TransactionSettings,
    aggregators: Aggregators,
    locks: LockTable,
    entries: BTreeMap<TransactionId, Entry>,
    /// Those that are prepared, or may be in a log as such.
    doubtful: BTreeSet<TransactionId>,
    /// Workspaces opened so far.
    opened: u64,
    /// No workspace is opened before this moment.
    closed_until: Instant,
}

impl Participant {
    /// A primary that is about to serve, with the rows of [`PREPARED`](super::PREPARED) as they are applied: their keys
    /// are locked again before anybody is served.
    #[must_use]
    pub fn take_over(
        now: Instant,
        partition: PartitionId,
        epoch: Epoch,
        settings: TransactionSettings,
        prepared: impl IntoIterator<Item = (TransactionId, Prepared)>,
    ) -> Self {
        let mut participant = Self {
            partition,
            epoch,
            settings,
            aggregators: Aggregators::default(),
            locks: LockTable::default(),
            entries: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            opened: 0,
            closed_until: Instant(0),
        };
        for (transaction, prepared) in prepared {
            let keys = prepared.mutations.iter().map(|mutation| (mutation.table, mutation.key.clone()));
            if !mutated!(UnlockPrepared) {
                let grant = participant.locks.acquire(Owner::Transaction(transaction), keys);
                assert_eq!(grant, Grant::Now, "S9: two prepared transactions never share a row");
            }
            let entry = Entry {
                place: prepared.place,
                origin: None,
                work: Workspace::default(),
                touched: now,
                stage: Stage::Prepared { prepared, ask_at: now },
            };
            participant.entries.insert(transaction, entry);
            participant.doubtful.insert(transaction);
        }
        participant
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// New times.
    pub fn set(&mut self, settings: TransactionSettings) {
        self.settings = settings;
    }

    /// Opens no workspace before this moment: this primary is about to hand over, and workspaces end with its epoch.
    /// Those that are open go on.
    pub fn close(&mut self, until: Instant) {
        self.closed_until = until;
    }

    /// How many transactions have a workspace that would be lost with this epoch.
    #[must_use]
    pub fn workspaces(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.stage, Stage::Open)).count()
    }

    /// A statement of a transaction begins. Without a place it opens the workspace, or finds it opened by an earlier
    /// attempt whose answer was lost.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the workspace that is named is not there (any more), or its aggregator is gone;
    /// [`Refused::TooMany`].
    pub fn enter(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        origin: Origin,
        place: Option<Place>,
    ) -> Result<Place, Refused> {
        if self.aggregators.lack(&origin) {
            return Err(Refused::Gone);
        }
        if let Some(place) = place {
            self.open(transaction, place)?.touched = now;
            return Ok(place);
        }
        if let Some(entry) = self.entries.get_mut(&transaction) {
            entry.touched = now;
            return if matches!(entry.stage, Stage::Open) { Ok(entry.place) } else { Err(Refused::Gone) };
        }
        if now < self.closed_until {
            return Err(Refused::HandingOver);
        }
        if self.entries.len() >= TRANSACTIONS_OPEN_MAX {
            return Err(Refused::TooMany);
        }
        self.opened += 1;
        let place = Place { epoch: self.epoch, number: self.opened };
        let entry = Entry {
            place,
            origin: Some(origin),
            work: Workspace::default(),
            touched: now,
            stage: Stage::Open,
        };
        self.entries.insert(transaction, entry);
        Ok(place)
    }

    fn open(&mut self, transaction: TransactionId, place: Place) -> Result<&mut Entry, Refused> {
        let open = |entry: &&mut Entry| entry.place == place && matches!(entry.stage, Stage::Open);
        self.entries.get_mut(&transaction).filter(open).ok_or(Refused::Gone)
    }

    /// Locks rows for a transaction, or puts it in the queue.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn lock(
        &mut self,
        transaction: TransactionId,
        place: Place,
        keys: impl IntoIterator<Item = RowKey>,
    ) -> Result<Grant, Refused> {
        self.open(transaction, place)?;
        Ok(self.locks.acquire(Owner::Transaction(transaction), keys))
    }

    /// Locks rows for a statement that is its own transaction, or puts it in the queue.
    pub fn lock_for_statement(&mut self, number: u64, keys: impl IntoIterator<Item = RowKey>) -> Grant {
        self.locks.acquire(Owner::Statement(number), keys)
    }

    /// A statement that is its own transaction is over. Answers with the owners that now have what they waited for.
    pub fn release_statement(&mut self, number: u64) -> Vec<Owner> {
        self.locks.release(Owner::Statement(number))
    }

    /// A transaction's statement waits no more; it keeps the locks that it has.
    pub fn give_up_waiting(&mut self, transaction: TransactionId) -> Vec<Owner> {
        self.locks.give_up(Owner::Transaction(transaction))
    }

    /// What a statement does, under locks that the transaction has. `keep` is the oldest statement that may still be
    /// taken back.
    ///
    /// # Errors
    /// [`Refused::Gone`], [`Refused::TooLarge`].
    pub fn put(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        place: Place,
        (statement, keep): (u32, u32),
        mutations: Vec<Mutation>,
        affected_rows: u64,
    ) -> Result<(), Refused> {
        let missing = mutations
            .iter()
            .find(|m| !self.locks.is_held_by(transaction, &(m.table, m.key.clone())))
            .map(|m| m.table);
        let entry = self.open(transaction, place)?;
        assert_eq!(missing, None, "S9: a row is written under its lock");
        entry.touched = now;
        Ok(entry.work.put(statement, keep, mutations, affected_rows)?)
    }

    /// Takes back what statements after this one did, of as many as have been begun. Locks stay.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn take_back(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        place: Place,
        (after, begun): (u32, u32),
    ) -> Result<(), Refused> {
        let entry = self.open(transaction, place)?;
        entry.touched = now;
        entry.work.take_back(after, begun);
        Ok(())
    }

    /// A transaction's open workspace.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn workspace(&self, transaction: TransactionId, place: Place) -> Result<&Workspace, Refused> {
        let open = |entry: &&Entry| entry.place == place && matches!(entry.stage, Stage::Open);
        self.entries.get(&transaction).filter(open).map(|entry| &entry.work).ok_or(Refused::Gone)
    }

    /// A table's rows as a transaction has them, for a statement or a read of it.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn overlay(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        place: Place,
        table: TableId,
    ) -> Result<Overlay, Refused> {
        let entry = self.open(transaction, place)?;
        entry.touched = now;
        Ok(entry.work.overlay(table).cloned().unwrap_or_default())
    }

    /// Whether a transaction has locked a row.
    #[must_use]
    pub fn has_locked(&self, transaction: TransactionId, row: &RowKey) -> bool {
        self.locks.is_held_by(transaction, row)
    }

    /// How many transactions are prepared, or about to be.
    #[must_use]
    pub fn prepared(&self) -> usize {
        self.doubtful.len()
    }

    /// The transactions that may be committed already, are not finished here, and write to rows of this table that are
    /// meant. Who reads those rows waits for these transactions, and for none that comes after.
    #[must_use]
    pub fn in_doubt(&self, table: TableId, is_meant: impl Fn(&Key) -> bool) -> Vec<TransactionId> {
        let writes = |transaction: &&TransactionId| {
            let prepared = self.entries.get(transaction).and_then(|entry| entry.stage.prepared());
            let mut mutations = prepared.into_iter().flat_map(|prepared| &prepared.mutations);
            mutations.any(|mutation| mutation.table == table && is_meant(&mutation.key))
        };
        self.doubtful.iter().filter(writes).copied().collect()
    }

    /// Whether this transaction is prepared here, or about to be.
    #[must_use]
    pub fn has_prepared(&self, transaction: TransactionId) -> bool {
        self.doubtful.contains(&transaction)
    }

    /// Whether anything of this transaction is going on here.
    #[must_use]
    pub fn knows(&self, transaction: TransactionId) -> bool {
        self.entries.contains_key(&transaction)
    }

    /// Open workspaces in which nothing has happened for so long, with their aggregators.
    #[must_use]
    pub fn idle(&self, now: Instant, since: Duration) -> Vec<(TransactionId, Origin)> {
        self.entries
            .iter()
            .filter(|(_, entry)| matches!(entry.stage, Stage::Open) && now.since(entry.touched) >= since)
            .filter_map(|(transaction, entry)| Some((*transaction, entry.origin?)))
            .collect()
    }

    /// The locks, to look at.
    #[must_use]
    pub fn locks(&self) -> &LockTable {
        &self.locks
    }

    /// What happened. Answers with what to do, in order.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Request { ticket, request } => self.request(ticket, request, &mut effects),
            Event::Written { transaction, outcome } => self.written(now, transaction, outcome, &mut effects),
            Event::Told { transaction, answer } => {
                // S9: only these two words of home end it.
                let commit = match answer {
                    Answer::Committed => true,
                    Answer::Aborted => false,
                    _ => return effects,
                };
                self.finish(None, transaction, commit, &mut effects);
            }
            Event::Aggregators(aggregators) => {
                self.aggregators = aggregators;
                let gone = |entry: &Entry| entry.origin.is_some_and(|origin| self.aggregators.lack(&origin));
                let gone: Vec<TransactionId> = self.open_ones(gone);
                self.drop_all(gone, &mut effects);
            }
            Event::NotRunning(transaction) => {
                let gone = self.open_ones(|_| true).into_iter().filter(|open| *open == transaction).collect();
                self.drop_all(gone, &mut effects);
            }
            Event::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn request(&mut self, ticket: u64, request: Request, effects: &mut Vec<Effect>) {
        match request {
            Request::Prepare { transaction, place, home } => {
                self.prepare(ticket, transaction, place, home, effects);
            }
            Request::Commit { transaction, place, prepared } => {
                self.decide(ticket, transaction, place, prepared, effects);
            }
            Request::Finish { transaction, commit } => {
                self.finish(Some(ticket), transaction, commit, effects);
            }
            Request::Inquire { transaction, place } => self.inquire(ticket, transaction, place, effects),
        }
    }

    fn prepare(
        &mut self,
        ticket: u64,
        transaction: TransactionId,
        place: Place,
        home: Home,
        effects: &mut Vec<Effect>,
    ) {
        let mut say = |answer| effects.push(Effect::Answer { ticket, answer });
        let Some(entry) = self.entries.get_mut(&transaction).filter(|entry| entry.place == place) else {
            // A later primary may have it; an earlier one had it no more when this one took over.
            return say(if place.epoch > self.epoch { Answer::NotPrimary } else { Answer::Aborted });
        };
        match &mut entry.stage {
            Stage::Open => {
                let prepared = Prepared { place, home, mutations: entry.work.mutations() };
                let write = rows::prepare(transaction, &prepared);
                entry.stage = Stage::Preparing { prepared, tickets: vec![ticket], aborted: Vec::new() };
                self.doubtful.insert(transaction);
                effects.push(Effect::Write { transaction, write });
            }
            Stage::Preparing { tickets, aborted, .. } if aborted.is_empty() => tickets.push(ticket),
            Stage::Prepared { .. } => say(Answer::Prepared),
            Stage::Preparing { .. } | Stage::Finishing { .. } => say(Answer::Aborted),
            Stage::Deciding { .. } => say(Answer::Busy),
        }
    }

    fn decide(
        &mut self,
        ticket: u64,
        transaction: TransactionId,
        place: Place,
        prepared: Vec<(PartitionId, Epoch)>,
        effects: &mut Vec<Effect>,
    ) {
        if place.epoch > self.epoch {
            return effects.push(Effect::Answer { ticket, answer: Answer::NotPrimary });
        }
        match self.entries.get_mut(&transaction).filter(|entry| entry.place == place) {
            Some(Entry { stage: stage @ Stage::Open, work, .. }) => {
                // S9: the only line in the house that can commit a transaction.
                let write = rows::decide(transaction, &Decided { prepared }, work.mutations());
                *stage = Stage::Deciding { tickets: vec![ticket] };
                effects.push(Effect::Write { transaction, write });
            }
            Some(Entry { stage: Stage::Deciding { tickets }, .. }) => tickets.push(ticket),
            Some(_) => effects.push(Effect::Answer { ticket, answer: Answer::Undecided }),
            None => effects.push(Effect::AnswerFromRows { ticket, transaction, may_be_forgotten: true }),
        }
    }

    fn inquire(&mut self, ticket: u64, transaction: TransactionId, place: Place, effects: &mut Vec<Effect>) {
        let lives = self.entries.get(&transaction).is_some_and(|entry| entry.place == place);
        effects.push(if place.epoch > self.epoch {
            Effect::Answer { ticket, answer: Answer::NotPrimary }
        } else if lives {
            Effect::Answer { ticket, answer: Answer::Undecided }
        } else {
            // As long as there is somebody to ask, nothing was forgotten.
            Effect::AnswerFromRows { ticket, transaction, may_be_forgotten: false }
        });
    }

    fn finish(
        &mut self,
        ticket: Option<u64>,
        transaction: TransactionId,
        commit: bool,
        effects: &mut Vec<Effect>,
    ) {
        let answer = |answer| ticket.map(|ticket| Effect::Answer { ticket, answer });
        let Some(entry) = self.entries.get_mut(&transaction) else {
            effects.extend(answer(Answer::Finished));
            return;
        };
        match &mut entry.stage {
            // Here it was never prepared, so it is not what home decided on: an attempt that came late.
            Stage::Open => {
                self.drop_all(vec![transaction], effects);
                effects.extend(answer(Answer::Finished));
            }
            Stage::Preparing { aborted, .. } if !commit => aborted.extend(ticket),
            Stage::Preparing { .. } => effects.extend(answer(Answer::Busy)),
            Stage::Prepared { prepared, .. } => {
                let write = rows::finish(transaction, commit.then(|| prepared.mutations.clone()));
                let prepared = prepared.clone();
                let tickets = ticket.into_iter().collect();
                entry.stage = Stage::Finishing { prepared, commit, tickets, again: false };
                effects.push(Effect::Write { transaction, write });
            }
            // Too late for anything else: its record is on its way.
            Stage::Deciding { .. } => effects.extend(answer(Answer::Undecided)),
            Stage::Finishing { commit: known, tickets, .. } if *known == commit => tickets.extend(ticket),
            Stage::Finishing { commit: known, .. } => {
                let said = if commit { "committed" } else { "aborted" };
                let text =
                    format!("S9: {transaction} is said to be {said}, and was said not to be: commit={known}");
                effects.push(Effect::Report(text));
                effects.extend(answer(Answer::Undecided));
            }
        }
    }

    fn written(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        outcome: WriteOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(&transaction) else { return };
        let word = |done: Answer| match outcome {
            WriteOutcome::Done => done,
            WriteOutcome::Busy => Answer::Busy,
            WriteOutcome::Deposed => Answer::NotPrimary,
        };
        match &mut entry.stage {
            Stage::Open | Stage::Prepared { .. } => {}
            Stage::Preparing { prepared, tickets, aborted } => {
                let (tickets, aborted) = (std::mem::take(tickets), std::mem::take(aborted));
                let is_aborted = !aborted.is_empty();
                let prepared = prepared.clone();
                let answer = if is_aborted { Answer::Aborted } else { word(Answer::Prepared) };
                effects.extend(tickets.into_iter().map(|ticket| Effect::Answer { ticket, answer }));
                match outcome {
                    WriteOutcome::Done => {
                        entry.stage = Stage::Prepared { prepared, ask_at: now + ASK_HOME_AFTER };
                        for ticket in aborted {
                            self.finish(Some(ticket), transaction, false, effects);
                        }
                    }
                    WriteOutcome::Busy => {
                        entry.stage = Stage::Open;
                        self.doubtful.remove(&transaction);
                        for ticket in aborted {
                            self.finish(Some(ticket), transaction, false, effects);
                        }
                    }
                    WriteOutcome::Deposed => {
                        let answer = Answer::NotPrimary;
                        effects.extend(aborted.into_iter().map(|ticket| Effect::Answer { ticket, answer }));
                    }
                }
            }
            Stage::Deciding { tickets } => {
                let tickets = std::mem::take(tickets);
                match outcome {
                    WriteOutcome::Done => self.over(transaction, effects),
                    WriteOutcome::Busy => entry.stage = Stage::Open,
                    WriteOutcome::Deposed => {}
                }
                let answer = word(Answer::Committed);
                effects.extend(tickets.into_iter().map(|ticket| Effect::Answer { ticket, answer }));
            }
            Stage::Finishing { tickets, again, .. } => match outcome {
                WriteOutcome::Busy => *again = true,
                WriteOutcome::Done | WriteOutcome::Deposed => {
                    let tickets = std::mem::take(tickets);
                    if outcome == WriteOutcome::Done {
                        self.over(transaction, effects);
                    }
                    let answer = word(Answer::Finished);
                    effects.extend(tickets.into_iter().map(|ticket| Effect::Answer { ticket, answer }));
                }
            },
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let timeout = self.settings.idle_timeout;
        let idle = self.open_ones(|entry| now.since(entry.touched) >= timeout);
        self.drop_all(idle, effects);
        let mut tired = Vec::new();
        for (transaction, entry) in &mut self.entries {
            let transaction = *transaction;
            match &mut entry.stage {
                Stage::Prepared { prepared, ask_at } if *ask_at <= now => {
                    *ask_at = now + ASK_HOME_AFTER;
                    if mutated!(DecideByTimeout) {
                        tired.push(transaction);
                    }
                    effects.push(Effect::Ask { transaction, home: prepared.home });
                }
                Stage::Finishing { prepared, commit, again, .. } if *again => {
                    *again = false;
                    let write = rows::finish(transaction, commit.then(|| prepared.mutations.clone()));
                    effects.push(Effect::Write { transaction, write });
                }
                _ => {}
            }
        }
        for transaction in tired {
            self.finish(None, transaction, false, effects);
        }
    }

    fn open_ones(&self, which: impl Fn(&Entry) -> bool) -> Vec<TransactionId> {
        let found =
            self.entries.iter().filter(|(_, entry)| matches!(entry.stage, Stage::Open) && which(entry));
        found.map(|(transaction, _)| *transaction).collect()
    }

    fn drop_all(&mut self, transactions: Vec<TransactionId>, effects: &mut Vec<Effect>) {
        for transaction in transactions {
            self.over(transaction, effects);
        }
    }

    /// Nothing of it goes on here any more.
    fn over(&mut self, transaction: TransactionId, effects: &mut Vec<Effect>) {
        self.entries.remove(&transaction);
        self.doubtful.remove(&transaction);
        let granted = self.locks.release(Owner::Transaction(transaction));
        if !granted.is_empty() {
            effects.push(Effect::Granted(granted));
        }
        effects.push(Effect::Over(transaction));
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }
}

impl Stage {
    /// What is prepared, from the moment at which that may be in a log.
    fn prepared(&self) -> Option<&Prepared> {
        match self {
            Self::Preparing { prepared, .. }
            | Self::Prepared { prepared, .. }
            | Self::Finishing { prepared, .. } => Some(prepared),
            Self::Open | Self::Deciding { .. } => None,
        }
    }
}
