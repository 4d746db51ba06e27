//! The decision point `rejoin`: whether a leaf that failed and answers again is used again.
//!
//! Asked by the master aggregator at every look, of every leaf that answers, is not counted on, and was not taken out by
//! an operator. A leaf that is held back costs a second copy for a while, and never a write.

use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{NodeEvidence, Rejection, Settings};

/// One leaf that answers again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RejoinInput {
    /// The master aggregator's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The asking node's wall clock, in milliseconds since 1970 UTC: for the hour of the day, not for durations.
    pub wall_ms: u64,
    /// The settings of the binding.
    pub settings: Settings,
    /// A number that is different at every decision; the only randomness there is.
    pub seed: u64,
    /// What the master aggregator knows of the leaf.
    pub leaf: NodeEvidence,
    /// How long it has answered without being judged failed, in milliseconds.
    pub answering_ms: u64,
    /// `failover_initial_grace_interval_seconds`, in milliseconds.
    pub initial_grace_ms: u64,
    /// `failover_maximum_grace_interval_seconds`, in milliseconds.
    pub maximum_grace_ms: u64,
    /// How many instances of partitions it has by the catalog.
    pub instances: u32,
    /// How many partitions nobody serves now and it may.
    pub needed_by: u32,
    /// Whether it answers as another run of its process than the one that failed.
    pub restarted: bool,
    /// Whether it answers with another data directory: it has nothing, and is filled anew.
    pub disk_replaced: bool,
    /// Whether it may lack what the run before did not sync.
    pub lost_tail: bool,
    /// How many other leaves its availability group has.
    pub group_leaves: u32,
    /// How many of these are online.
    pub group_online: u32,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RejoinChoice {
    /// It is used again now.
    #[default]
    Attach,
    /// Not yet; the question comes again.
    Later,
    /// Not as long as nothing changes, or an operator says `ATTACH LEAF`; the question comes again all the same.
    Refuse,
}

/// What to do and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RejoinVerdict {
    /// What to do.
    pub choice: RejoinChoice,
    /// For how long it will be held back from now, in milliseconds, as far as can be told: for people. 0 if it is not.
    pub left_ms: u64,
    /// Why, in a few words. At most 1 KiB.
    pub reason: String,
}

impl RejoinVerdict {
    /// A verdict to use the leaf now.
    #[must_use]
    pub fn attach(reason: impl Into<String>) -> Self {
        Self { choice: RejoinChoice::Attach, left_ms: 0, reason: reason.into() }
    }

    /// A verdict to use it in so many milliseconds.
    #[must_use]
    pub fn later(left_ms: u64, reason: impl Into<String>) -> Self {
        Self { choice: RejoinChoice::Later, left_ms, reason: reason.into() }
    }

    /// A verdict not to use it.
    #[must_use]
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self { choice: RejoinChoice::Refuse, left_ms: 0, reason: reason.into() }
    }
}

/// Accepts a verdict within the limits.
///
/// # Errors
/// [`Rejection::ReasonTooLong`].
pub fn validate_rejoin(verdict: &RejoinVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)
}
