//! A planned change of primaries, as the old one sees it.
//!
//! It stops taking writes, lets those that are under way end, says so, and waits for the catalog to name the next one.
//! Nothing here is needed for safety: whoever is named takes over as after a failure, and may be named at any time.
//! What it gains is that no client finds its write given up, and that the next primary has nothing to catch up with.
//! So every message of it may be lost, and everybody who has a part in it may die: its time runs out, and this instance
//! serves on, unless the catalog says otherwise.
//!
//! Reads go on until it has said that nothing is under way. From then on the next primary may serve before this one
//! hears of it, so the shell shows nothing that it reads here until the catalog has spoken or the plan's time is over.

use std::fmt;
use std::time::Duration;

use baton_model::{Instant, Lsn, NodeId};

use crate::instance::Effect;

/// A plan that is under way.
#[derive(Clone, Debug)]
pub(crate) struct HandOver {
    /// Who waits to be told that nothing is under way; None once it was told.
    ticket: Option<u64>,
    /// Who is to be primary.
    pub(crate) to: NodeId,
    until: Instant,
    hold: Duration,
}

impl HandOver {
    /// What is under way must end by then; after that, so long no write is taken.
    pub(crate) fn new(ticket: u64, to: NodeId, until: Instant, hold: Duration) -> Self {
        Self { ticket: Some(ticket), to, until, hold }
    }

    /// From then on writes are taken again.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Nothing is under way any more. Told once.
    pub(crate) fn drained(&mut self, now: Instant, last: Lsn, effects: &mut Vec<Effect>) {
        if let Some(ticket) = self.ticket.take() {
            self.until = now + self.hold;
            effects.push(Effect::Drained { ticket, result: Ok(last) });
        }
    }

    /// Whether that was told.
    pub(crate) fn is_drained(&self) -> bool {
        self.ticket.is_none()
    }

    /// Nothing comes of it.
    pub(crate) fn refuse(self, why: HandOverError, effects: &mut Vec<Effect>) {
        if let Some(ticket) = self.ticket {
            effects.push(Effect::Drained { ticket, result: Err(why) });
        }
    }
}

/// Why nothing came of it. This instance goes on as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOverError {
    /// It is no primary that serves, or not in that epoch.
    NotPrimary,
    /// The replica is not in sync, or its leaf is not online (S4).
    NotSync,
    /// What was under way did not end in time.
    NotDrained,
    /// Another plan came.
    Superseded,
}

impl fmt::Display for HandOverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPrimary => "this instance is not the primary that is to hand over",
            Self::NotSync => "the replica is not in sync",
            Self::NotDrained => "what was under way did not end in time",
            Self::Superseded => "another plan came",
        })
    }
}

impl std::error::Error for HandOverError {}
