//! The decision point `promotion`: which replica becomes primary.
//!
//! The candidates are those that the kernel has proved safe (S4). A policy orders them; it cannot add one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{Rejection, Settings, Vitals};

/// One partition that has lost its primary.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PromotionInput {
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
    /// The leaf that held the primary.
    pub failed_primary: u64,
    /// The availability group of that leaf.
    pub failed_group: u32,
    /// Every replica that may be promoted, at least one.
    pub candidates: Vec<Candidate>,
}

/// A replica that may be promoted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Candidate {
    /// The leaf that holds it.
    pub node: u64,
    /// The last position of its log, as its leaf last told it: about a second old, and absent if it told none yet.
    pub lsn: Option<u64>,
    /// The availability group of the leaf.
    pub group: u32,
    /// How many primaries the leaf holds already, those of this failover included.
    pub primaries_held: u32,
    /// How long ago the leaf last answered a ping, in milliseconds.
    pub last_pong_age_ms: u64,
    /// Mean round trip time of pings to the leaf, in microseconds.
    pub rtt_mean_us: u64,
    /// How often the leaf failed and came back within the last hour.
    pub flaps_last_hour: u32,
    /// What the leaf said of itself in its last pong; none before the first.
    #[serde(default)]
    pub vitals: Option<Vitals>,
    /// Whether an operator marked the leaf as being worked on.
    #[serde(default)]
    pub in_maintenance: bool,
}

/// The order in which to try the candidates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PromotionVerdict {
    /// The leaves to try, best first, at least one.
    pub ranking: Vec<u64>,
    /// Why the first is first, in a few words. At most 1 KiB.
    pub reason: String,
    /// The leaves not to try, each with the reason why. A candidate may be in neither list.
    pub rejected: Vec<(u64, String)>,
}

/// Accepts a ranking that is a non-empty subset of the candidates, with nobody named twice, within the limits.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate_promotion(input: &PromotionInput, verdict: &PromotionVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)?;
    if verdict.ranking.is_empty() {
        return Err(Rejection::NobodyRanked);
    }
    let mut named = BTreeSet::new();
    for node in verdict.ranking.iter().chain(verdict.rejected.iter().map(|(node, _)| node)) {
        if !input.candidates.iter().any(|candidate| candidate.node == *node) {
            return Err(Rejection::NoCandidate(*node));
        }
        if !named.insert(*node) {
            return Err(Rejection::NamedTwice(*node));
        }
    }
    verdict.rejected.iter().try_for_each(|(_, reason)| check_reason(reason))
}
