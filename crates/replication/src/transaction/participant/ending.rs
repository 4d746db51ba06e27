//! How a transaction ends at a participant: it is prepared and told, or decided here, or dropped.
//!
//! * S9: what is prepared ends when it is told how home decided. Time alone only has it ask.
//! * S9: a decision is written in one place, out of exactly the workspace that is named.
//! * A request may come twice: the second one waits with the first, or hears what came of it.
//!
//! Not here: why this is all or nothing, which the header of `transaction/` proves.

use std::time::Duration;

use baton_model::{Epoch, Instant, PartitionId, TransactionId, mutated};

use super::events::{ParticipantEffect as Effect, ParticipantEvent as Event, WriteOutcome};
use super::{Entry, Participant, Stage};
use crate::locks::Owner;
use crate::transaction::message::{Answer, Home, Place, Request};
use crate::transaction::rows::{self, Decided, Prepared};

/// How long a prepared transaction waits for word of its end before it asks home; and between two questions.
const ASK_HOME_AFTER: Duration = Duration::from_millis(200);

impl Participant {
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
}
