//! What an aggregator does to commit one transaction: prepare everywhere else, decide at home, finish everywhere else.
//!
//! It has nothing that anybody needs if it is lost. Requests are sent until they are answered, to whoever is the
//! primary; that, and for how long, is the shell's business.
//!
//! * S9: it says "aborted" to a participant only if it never asked home to commit, or if home said so.
//! * S12: what it cannot know, it calls unknown.

use std::collections::{BTreeMap, BTreeSet};

use baton_model::{PartitionId, TransactionId};

use super::message::{Answer, Home, Place, Request};

/// How a commit went, as far as its client is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// It is committed.
    Committed,
    /// It is not, and never will be: this partition could not.
    RolledBack(PartitionId),
    /// Home was asked to commit and did not answer in time, or has forgotten.
    Unknown,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum CoordinatorEvent {
    /// A partition answered the request that was sent to it last.
    Answered {
        /// The partition.
        partition: PartitionId,
        /// Its answer: none that [is to be asked again](Answer::is_to_be_asked_again).
        answer: Answer,
    },
    /// A partition did not answer in time. Whether it did what it was asked is not known.
    Unanswered {
        /// The partition.
        partition: PartitionId,
    },
}

/// What to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum CoordinatorEffect {
    /// Send this to the partition's primary, again and again, until there is an answer that is final, or no time left.
    Send {
        /// The partition.
        partition: PartitionId,
        /// The request.
        request: Request,
    },
    /// Tell the client; once. What is sent after it need not be waited for.
    Conclude(CommitOutcome),
}

use CoordinatorEffect as Effect;
use CoordinatorEvent as Event;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Preparing,
    Deciding,
    Concluded,
}

/// One commit.
#[derive(Debug)]
pub struct Coordinator {
    transaction: TransactionId,
    home: Home,
    others: BTreeMap<PartitionId, Place>,
    /// Those of the others that have not said that they are prepared.
    missing: BTreeSet<PartitionId>,
    stage: Stage,
}

impl Coordinator {
    /// Begins to commit a transaction that has written in these partitions; the first of them is its home.
    /// None if there are none, and so nothing to commit.
    #[must_use]
    pub fn begin(
        transaction: TransactionId,
        participants: &BTreeMap<PartitionId, Place>,
    ) -> Option<(Self, Vec<Effect>)> {
        let mut others = participants.clone();
        let (partition, place) = others.pop_first()?;
        let home = Home { partition, place };
        let missing = others.keys().copied().collect();
        let mut commit = Self { transaction, home, others, missing, stage: Stage::Preparing };
        let mut effects = Vec::new();
        if commit.missing.is_empty() {
            commit.decide(&mut effects);
        }
        for (partition, place) in &commit.others {
            let request = Request::Prepare { transaction, place: *place, home };
            effects.push(Effect::Send { partition: *partition, request });
        }
        Some((commit, effects))
    }

    /// What it commits.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// Where it is decided.
    #[must_use]
    pub fn home(&self) -> Home {
        self.home
    }

    /// Whether home was, or may have been, asked to commit: from then on nobody but home can say "aborted".
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.stage != Stage::Preparing
    }

    /// What happened. Answers with what to do, in order.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (partition, answer) = match event {
            Event::Answered { partition, answer } => (partition, Some(answer)),
            Event::Unanswered { partition } => (partition, None),
        };
        match (self.stage, answer) {
            (Stage::Preparing, Some(Answer::Prepared)) => {
                self.missing.remove(&partition);
                if self.missing.is_empty() {
                    self.decide(&mut effects);
                }
            }
            (Stage::Preparing, _) => {
                effects.push(Effect::Conclude(CommitOutcome::RolledBack(partition)));
                self.finish(false, true, &mut effects);
            }
            // The others have said all they have to say.
            (Stage::Deciding, _) if partition != self.home.partition => {}
            (Stage::Deciding, Some(Answer::Committed)) => {
                effects.push(Effect::Conclude(CommitOutcome::Committed));
                self.finish(true, false, &mut effects);
            }
            (Stage::Deciding, Some(Answer::Aborted)) => {
                effects.push(Effect::Conclude(CommitOutcome::RolledBack(partition)));
                self.finish(false, false, &mut effects);
            }
            (Stage::Deciding, _) => {
                self.stage = Stage::Concluded;
                effects.push(Effect::Conclude(CommitOutcome::Unknown));
            }
            (Stage::Concluded, _) => {}
        }
        effects
    }

    fn decide(&mut self, effects: &mut Vec<Effect>) {
        self.stage = Stage::Deciding;
        let prepared = self.others.iter().map(|(partition, place)| (*partition, place.epoch)).collect();
        let request = Request::Commit { transaction: self.transaction, place: self.home.place, prepared };
        effects.push(Effect::Send { partition: self.home.partition, request });
    }

    fn finish(&mut self, commit: bool, home_too: bool, effects: &mut Vec<Effect>) {
        self.stage = Stage::Concluded;
        let home = home_too.then_some(self.home.partition);
        for partition in home.into_iter().chain(self.others.keys().copied()) {
            let request = Request::Finish { transaction: self.transaction, commit };
            effects.push(Effect::Send { partition, request });
        }
    }
}
