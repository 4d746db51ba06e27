//! The decision point `degrade`: whether a primary goes on without a replica that lags.
//!
//! A primary waits for every replica in sync, and reports one that keeps it waiting. The master aggregator decides, and
//! the primary goes on alone only once it has applied what was decided (S3): a verdict costs redundancy, never a write.

use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{NodeEvidence, Rejection, Settings};

/// One replica that keeps its primary waiting.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DegradeInput {
    /// The master aggregator's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The asking node's wall clock, in milliseconds since 1970 UTC: for the hour of the day, not for durations.
    #[serde(default)]
    pub wall_ms: u64,
    /// The settings of the binding.
    pub settings: Settings,
    /// A number that is different at every decision; the only randomness there is.
    pub seed: u64,
    /// The name of the database.
    pub database: String,
    /// The partition's number within it, from 0.
    pub partition: u32,
    /// `sync_replica_timeout_ms`, in milliseconds.
    pub sync_replica_timeout_ms: u64,
    /// The leaf of the primary, which reports.
    pub primary: u64,
    /// The availability group of that leaf.
    pub primary_group: u32,
    /// The availability group of the replica's leaf.
    pub replica_group: u32,
    /// How long the replica has owed an acknowledgement, by the primary's clock, in milliseconds. What the primary
    /// itself slept is taken off (S11).
    pub silent_ms: u64,
    /// Whether the replica keeps a connection to its primary.
    pub linked: bool,
    /// How many writes of clients wait for this replica.
    pub waiting_writes: u64,
    /// How long the oldest of them has waited, in milliseconds; 0 if none waits.
    pub oldest_wait_ms: u64,
    /// How many copies would still be in sync without this replica, the primary's included: at 1, the partition would
    /// be offline if the primary failed next.
    pub copies_left: u32,
    /// In how many availability groups they would be.
    pub groups_left: u32,
    /// What the master aggregator knows of the replica's leaf.
    pub replica: NodeEvidence,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DegradeChoice {
    /// The primary goes on waiting; the question comes again while the replica lags.
    Wait,
    /// The replica becomes `Async`: the primary goes on without it, and it is not promotable until it has caught up.
    Degrade,
}

/// What to do and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DegradeVerdict {
    /// What to do.
    pub choice: DegradeChoice,
    /// Why, in a few words. At most 1 KiB.
    pub reason: String,
}

impl DegradeVerdict {
    /// A verdict to go on waiting.
    #[must_use]
    pub fn wait(reason: impl Into<String>) -> Self {
        Self { choice: DegradeChoice::Wait, reason: reason.into() }
    }

    /// A verdict to go on without the replica.
    #[must_use]
    pub fn degrade(reason: impl Into<String>) -> Self {
        Self { choice: DegradeChoice::Degrade, reason: reason.into() }
    }
}

/// Accepts a verdict within the limits.
///
/// # Errors
/// [`Rejection::ReasonTooLong`].
pub fn validate_degrade(verdict: &DegradeVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)
}
