//! One copy of a partition: what it knows, and which of its two roles it plays.
//!
//! The shell gathers what happened since the last time and calls [`Instance::step`] with all of it, so that many
//! writes become one append, one sync and one message to each replica.
//!
//! * Roles change in `see`, by the catalog's word alone, and in `halt`.
//! * What a halted instance is asked is refused, so that nobody waits for it.
//!
//! Not here: what the roles do (`primary/`, `replica.rs`), and what the catalog says (`view.rs`).
//! `events.rs` is what an instance is told and wants done, `log.rs` the log that both roles share.

mod events;
mod log;

use baton_model::{Epoch, Instant, Lsn, NodeId, PartitionId, StatementId, mutated};

pub use events::{Effect, Event, Lag, Saved, WriteError};
pub(crate) use log::Log;

use crate::hand_over::{HandOver, HandOverError};
use crate::history::History;
use crate::outcomes::{Known, Outcomes};
use crate::primary::Primary;
use crate::record::Record;
use crate::replica::Replica;
use crate::sizes::Sizes;
use crate::view::{Settings, View};

/// The role an instance plays now.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// The catalog does not say, or this process may not act.
    Idle,
    Primary(Primary),
    Replica(Replica),
}

/// One copy of a partition.
#[derive(Clone, Debug)]
pub struct Instance {
    pub(crate) partition: PartitionId,
    pub(crate) node: NodeId,
    pub(crate) log: Log,
    pub(crate) role: Role,
    halted: bool,
}

impl Instance {
    /// The copy of a partition on a node, as it was found on disk.
    #[must_use]
    pub fn open(partition: PartitionId, node: NodeId, saved: Saved) -> Self {
        let mut history = if mutated!(LoseHistory) { History::default() } else { saved.history };
        history.cut(saved.last);
        let mut outcomes = Outcomes::default();
        for (statement, outcome) in saved.outcomes.into_iter().filter(|_| !mutated!(ForgetOutcomes)) {
            outcomes.insert(statement, outcome);
        }
        let log = Log {
            epoch: saved.epoch,
            history,
            first: saved.first.max(Lsn(1)),
            last: saved.last,
            // What was read back may still lie in the system's cache only.
            durable: Lsn(0),
            synced: true,
            cuts: 0,
            commit: saved.applied,
            applied: saved.applied,
            recent_bytes: saved.unapplied.iter().map(Record::bytes).sum(),
            recent: saved.unapplied.into(),
            sizes: Sizes::of(saved.first.max(Lsn(1)), saved.log_bytes),
            settings: Settings::default(),
            outcomes,
            unwritten: Vec::new(),
            epochs_changed: false,
            sync_wanted: true,
        };
        Self { partition, node, log, role: Role::Idle, halted: false }
    }

    /// What happened, in order. Answers with what to do, in order.
    pub fn step(&mut self, now: Instant, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            if self.halted {
                Self::turn_away(event, &mut effects);
                continue;
            }
            self.take(now, event, &mut effects);
        }
        if self.halted {
            return effects;
        }
        self.log.write_out(&mut effects);
        match &mut self.role {
            Role::Primary(primary) => primary.flush(now, &mut self.log, &mut effects),
            Role::Replica(replica) => replica.flush(&mut self.log, &mut effects),
            Role::Idle => {}
        }
        effects
    }

    /// What a halted instance answers: nobody waits for it.
    fn turn_away(event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Write { ticket, .. } | Event::Await { ticket, .. } => {
                effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) });
            }
            Event::HandOver { ticket, .. } => {
                effects.push(Effect::Drained { ticket, result: Err(HandOverError::NotPrimary) });
            }
            Event::LinkUp { peer, link } | Event::Received { peer, link, .. } => {
                effects.push(Effect::CloseLink { peer, link });
            }
            _ => {}
        }
    }

    fn take(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::View(view) => self.see(now, view, effects),
            Event::Write { ticket, epoch, write } => match &mut self.role {
                Role::Primary(primary) => primary.write(now, ticket, epoch, write, &mut self.log, effects),
                _ => effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) }),
            },
            Event::Await { ticket, statement } => match &mut self.role {
                Role::Primary(primary) => primary.await_statement(ticket, statement, &self.log, effects),
                _ => effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) }),
            },
            Event::HandOver { ticket, epoch, to, drain, hold } => match &mut self.role {
                Role::Primary(primary) => {
                    let plan = HandOver::new(ticket, to, now + drain, hold);
                    primary.begin_hand_over(epoch, plan, effects);
                }
                _ => effects.push(Effect::Drained { ticket, result: Err(HandOverError::NotPrimary) }),
            },
            Event::Durable { lsn, cuts } => {
                if cuts == self.log.cuts {
                    self.log.durable = self.log.durable.max(lsn);
                }
            }
            Event::Received { peer, link, message } => {
                let outcome = match &mut self.role {
                    Role::Primary(primary) => {
                        primary.receive(now, peer, link, message, &mut self.log, effects);
                        Ok(())
                    }
                    Role::Replica(replica) => replica.receive(peer, link, message, &mut self.log, effects),
                    Role::Idle => {
                        effects.push(Effect::CloseLink { peer, link });
                        Ok(())
                    }
                };
                if let Err(reason) = outcome {
                    self.halt(reason, effects);
                }
            }
            Event::LinkUp { peer, link } => {
                if let Role::Replica(replica) = &mut self.role {
                    replica.link_up(peer, link, &self.log, effects);
                }
            }
            Event::LinkDown { peer, link } => match &mut self.role {
                Role::Primary(primary) => primary.link_down(now, peer, link),
                Role::Replica(replica) => replica.link_down(link),
                Role::Idle => {}
            },
            Event::LogRead { peer, link, records } => {
                if let Role::Primary(primary) = &mut self.role {
                    primary.log_read(peer, link, records, &self.log, effects);
                }
            }
            Event::CopyReady { peer, link, copy, at, history } => {
                if let Role::Primary(primary) = &mut self.role {
                    primary.copy_ready(now, peer, link, (copy, at, &history), &self.log, effects);
                }
            }
            Event::CopyHere { copy } => {
                if let Role::Replica(replica) = &mut self.role {
                    replica.copy_here(copy, &mut self.log, effects);
                }
            }
            Event::Snapshot => match &mut self.role {
                Role::Primary(primary) => primary.snapshot(&mut self.log, effects),
                Role::Replica(_) => self.log.cut_before(self.log.applied.next(), effects),
                Role::Idle => {}
            },
            Event::Tick => match &mut self.role {
                Role::Primary(primary) => primary.tick(now, &mut self.log, effects),
                Role::Replica(_) => self.log.trim(Lsn(u64::MAX), effects),
                Role::Idle => {}
            },
        }
    }

    fn see(&mut self, now: Instant, view: View, effects: &mut Vec<Effect>) {
        self.log.demand(view.sync_durability);
        if view.epoch < self.log.epoch {
            return; // S5: a catalog that is behind what this instance has already seen.
        }
        self.log.settings = view.settings;
        if view.primary == self.node {
            if let Role::Primary(primary) = &mut self.role
                && self.log.epoch == view.epoch
                && view.armed
            {
                primary.see(now, view, effects);
                return;
            }
            self.step_down(effects);
            if !view.armed {
                return;
            }
            if self.log.history.newest().is_some_and(|newest| newest >= view.epoch) {
                let reason = format!(
                    "S1: told to be primary at {}, but the log has records of {}",
                    view.epoch, self.log.history
                );
                self.halt(reason, effects);
                return;
            }
            self.log.adopt(view.epoch);
            self.role = Role::Primary(Primary::begin(now, view, &mut self.log, effects));
        } else if let Some((state, _)) = view.replicas.get(&self.node) {
            if let Role::Replica(replica) = &mut self.role
                && replica.primary == view.primary
                && self.log.epoch == view.epoch
            {
                replica.see(view.epoch, *state, &self.log, effects);
            } else {
                self.step_down(effects);
                self.log.adopt(view.epoch);
                self.role = Role::Replica(Replica::new(view.primary, view.epoch, *state));
                effects.push(Effect::Link(Some(view.primary)));
            }
        } else {
            self.step_down(effects);
        }
    }

    /// Leaves the present role. Writes that wait are given up, even if an acknowledgement is on its way.
    fn step_down(&mut self, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.role, Role::Idle) {
            Role::Primary(primary) => primary.end(effects),
            Role::Replica(_) => effects.push(Effect::Link(None)),
            Role::Idle => {}
        }
    }

    fn halt(&mut self, reason: String, effects: &mut Vec<Effect>) {
        self.step_down(effects);
        self.halted = true;
        effects.push(Effect::Halt(reason));
    }

    /// What is known of a statement. A write asks once its rows are locked, before it reads them (S12).
    #[must_use]
    pub fn known(&self, statement: StatementId) -> Known {
        match self.log.outcomes.get(statement) {
            None => Known::No,
            Some(outcome) if outcome.lsn <= self.log.applied => Known::Committed(outcome),
            Some(outcome) => Known::InFlight(outcome),
        }
    }

    /// Whether nothing can come of it that time passes, until something happens: then ticks may be rare, and one of them
    /// comes before whatever happens next, so that the pause is no stall (S11).
    /// Whoever lets a primary do something because of the time says so in `Primary::is_at_rest`.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        match &self.role {
            Role::Primary(primary) => primary.is_at_rest(&self.log),
            // A tick trims what was applied, and it has come since.
            Role::Replica(_) | Role::Idle => true,
        }
    }

    /// Whether clients may read and write here.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.serves())
    }

    /// Whether it is the primary, and nobody can take its place unless it asks the master aggregator for something
    /// first: no replica is in sync, and none can become so by what was asked before. Nothing that is promotable comes
    /// about in any other way, but for what an operator does with loss.
    #[must_use]
    pub fn is_irreplaceable(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.is_irreplaceable())
    }

    /// Whether it is a primary that has said that nothing is under way any more, so that another one may be named at any
    /// moment: what is read here from then on may be the past before this instance knows it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.is_drained())
    }

    /// The newest epoch it knows.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.log.epoch
    }

    /// The end of its log, its commit point, and how far its rows are.
    #[must_use]
    pub fn positions(&self) -> (Lsn, Lsn, Lsn) {
        (self.log.last, self.log.commit, self.log.applied)
    }

    /// The partition it is a copy of.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// `primary`, `replica` or `idle`, for logs.
    #[must_use]
    pub fn role_name(&self) -> &'static str {
        match self.role {
            _ if self.halted => "halted",
            Role::Idle => "idle",
            Role::Primary(_) => "primary",
            Role::Replica(_) => "replica",
        }
    }
}
