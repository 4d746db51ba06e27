//! The decision point `election`: whether this voting member campaigns to become the master aggregator.
//!
//! A campaign asks the other voters first (pre-vote), and a live master's lease refuses it: a policy that is too
//! eager disturbs nobody, one that is too slow only leaves the cluster without a master for longer.

use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{NodeEvidence, Rejection, Settings, Vitals};

/// What one voting member knows when it asks itself whether to campaign.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ElectionInput {
    /// This node's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The asking node's wall clock, in milliseconds since 1970 UTC: for the hour of the day, not for durations.
    #[serde(default)]
    pub wall_ms: u64,
    /// How far apart pings are, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How late this tick came, in milliseconds. What an observer that stalled did not hear is no evidence (S11).
    pub observer_late_ms: u64,
    /// The settings of the binding.
    pub settings: Settings,
    /// A number that is different at every decision; the only randomness there is.
    pub seed: u64,
    /// The voting member that asks.
    pub self_node: u64,
    /// What it would say of itself in a pong now.
    #[serde(default)]
    pub self_vitals: Vitals,
    /// Its position, from 0, among the voters other than the master: the longest log first, then the lowest id.
    pub rank: u32,
    /// `consensus_election_timeout`, in milliseconds.
    pub election_timeout_ms: u64,
    /// The term this node is in.
    pub term: u64,
    /// What this node knows of the master aggregator.
    pub master: NodeEvidence,
    /// How long ago a leader of the control group was last heard, by the control group's own messages, in milliseconds.
    /// A master that answers pings and leads nobody shows here alone: its disk was emptied, or hangs.
    pub unled_ms: u64,
    /// The other voters, without the master.
    pub voters: Vec<VoterView>,
    /// How many campaigns this node has begun in this term.
    pub campaigns: u32,
    /// How long ago it began the last one, of any term, in milliseconds; none if never.
    pub since_last_campaign_ms: Option<u64>,
}

/// What is known of another voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VoterView {
    /// The voter.
    pub node: u64,
    /// Whether it answers this node's pings.
    pub reachable: bool,
    /// Whether the voter, by its own last report, hears the master; none if it has not said.
    pub sees_master: Option<bool>,
    /// The last index of its control log.
    pub log_index: u64,
    /// How long ago it last answered a ping, in milliseconds; none if it never did.
    #[serde(default)]
    pub last_pong_age_ms: Option<u64>,
    /// What it said of itself in its last pong; none before the first.
    #[serde(default)]
    pub vitals: Option<Vitals>,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ElectionChoice {
    /// Nothing for now.
    Wait,
    /// Ask the other voters to become the master aggregator.
    Campaign,
}

/// What to do and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ElectionVerdict {
    /// What to do.
    pub choice: ElectionChoice,
    /// Why, in a few words. At most 1 KiB.
    pub reason: String,
}

impl ElectionVerdict {
    /// A verdict to do nothing for now.
    #[must_use]
    pub fn wait(reason: impl Into<String>) -> Self {
        Self { choice: ElectionChoice::Wait, reason: reason.into() }
    }

    /// A verdict to campaign.
    #[must_use]
    pub fn campaign(reason: impl Into<String>) -> Self {
        Self { choice: ElectionChoice::Campaign, reason: reason.into() }
    }
}

impl ElectionInput {
    /// How long the master has not been heard, in milliseconds: by the count of misses, or, if it answers pings, by the
    /// silence of the control group.
    #[must_use]
    pub const fn master_unheard_ms(&self) -> u64 {
        if self.master.misses == 0 {
            self.unled_ms
        } else {
            (self.master.misses as u64).saturating_mul(self.heartbeat_interval_ms)
        }
    }
}

/// Accepts a verdict within the limits.
///
/// # Errors
/// [`Rejection::ReasonTooLong`].
pub fn validate_election(verdict: &ElectionVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)
}
