//! The decision point `retry`: whether a statement waits for a primary, or a master aggregator, that is not there.
//!
//! Asked by the aggregator that has the statement, when an attempt reached nobody who could carry it out (the primary is
//! gone, not one yet, too busy, or just handing over), and then again from time to time. The statement keeps its id, so it is done once whoever does it (S12), and no verdict holds
//! it for longer than `failover_buffer_ms`.

use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{NodeEvidence, Rejection, Settings};

/// One statement that nobody could carry out yet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RetryInput {
    /// The aggregator's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The asking node's wall clock, in milliseconds since 1970 UTC: for the hour of the day, not for durations.
    pub wall_ms: u64,
    /// The settings of the binding.
    pub settings: Settings,
    /// A number that is different at every decision; the only randomness there is.
    pub seed: u64,
    /// The name of the database whose partition has no primary; empty if the statement waits for the master aggregator.
    pub database: String,
    /// The partition's number within it, from 0; 0 if the statement waits for the master aggregator.
    pub partition: u32,
    /// Whether an earlier attempt may have been carried out: given up now, its outcome is unknown to the client.
    pub uncertain: bool,
    /// How long the statement has waited, in milliseconds.
    pub waited_ms: u64,
    /// `failover_buffer_ms`: for how long a statement may wait, in milliseconds.
    pub buffer_ms: u64,
    /// How many attempts were made.
    pub attempts: u32,
    /// How many attempts of this aggregator wait, one for each partition that a statement is about, this one included.
    pub waiting: u32,
    /// How many replicas of the partition may take over, by the catalog; 0 if the statement waits for the master
    /// aggregator.
    pub heirs: u32,
    /// What this aggregator knows of the primary, or of the master aggregator, that the catalog names; none if it names
    /// none, or this aggregator does not ping it.
    pub awaited: Option<NodeEvidence>,
    /// What the last attempt came to, for people.
    pub last: String,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RetryChoice {
    /// The statement waits, and is attempted again as soon as that makes sense.
    #[default]
    Wait,
    /// The client gets an error now.
    Fail,
}

/// What to do and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RetryVerdict {
    /// What to do.
    pub choice: RetryChoice,
    /// When to ask again if the statement still waits, in milliseconds: 50 to 5,000, and taken for that if it is not.
    pub ask_again_ms: u64,
    /// Why, in a few words. At most 1 KiB.
    pub reason: String,
}

impl RetryVerdict {
    /// A verdict to wait, and to ask again after so many milliseconds.
    #[must_use]
    pub fn wait(ask_again_ms: u64, reason: impl Into<String>) -> Self {
        Self { choice: RetryChoice::Wait, ask_again_ms, reason: reason.into() }
    }

    /// A verdict to give up now.
    #[must_use]
    pub fn fail(reason: impl Into<String>) -> Self {
        Self { choice: RetryChoice::Fail, ask_again_ms: 0, reason: reason.into() }
    }
}

/// Accepts a verdict within the limits.
///
/// # Errors
/// [`Rejection::ReasonTooLong`].
pub fn validate_retry(verdict: &RetryVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)
}
