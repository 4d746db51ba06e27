//! What one observer knows of one node.
//!
//! Counters start again at zero with every pong. Only pings that were really sent are counted (S11).

use std::fmt;

use baton_model::NodeRole;
use serde::{Deserialize, Serialize};

use crate::Shared;

/// A policy's opinion of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Health {
    /// It answers.
    #[default]
    Healthy,
    /// Something is wrong, but not enough to act on. A suspect leaf goes on serving; it gets nothing new: it is not
    /// promoted, not attached, and not taken back.
    Suspect,
    /// It is to be failed over.
    Failed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
        })
    }
}

/// What a node said of itself in its last pong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// How late its event loop ran, in milliseconds.
    pub loop_delay_ms: u64,
    /// How long its last sync of a log to disk took, in milliseconds.
    pub fsync_ms: u64,
    /// How long the sync that goes on now has taken so far, in milliseconds; 0 if none does.
    #[serde(default)]
    pub syncing_ms: u64,
    /// How many committed records it has yet to apply.
    pub apply_backlog: u64,
    /// How many bytes are free on the disk of its data directory.
    pub free_disk_bytes: u64,
}

/// What another node sees of the judged node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// The node that saw it.
    pub observer: u64,
    /// Consecutive misses the observer counted since its last pong from the judged node.
    pub misses: u32,
    /// Connection attempts of the observer that were refused since then.
    pub refusals: u32,
    /// Connection attempts of the observer that timed out since then.
    pub timeouts: u32,
    /// How old this report is, in milliseconds.
    pub age_ms: u32,
}

/// What one observer knows of one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeEvidence {
    /// The judged node.
    pub node: u64,
    /// What it is for.
    pub role: NodeRole,
    /// The availability group of a leaf; 0 of an aggregator.
    #[serde(default)]
    pub group: u32,
    /// Consecutive counted misses since the last pong. Goes on rising while a connection attempt is under way.
    pub misses: u32,
    /// Connection attempts that were refused since the last pong.
    pub refusals: u32,
    /// Connection attempts that timed out since the last pong.
    pub timeouts: u32,
    /// Whether a connection attempt is under way or waits for its turn.
    pub connecting: bool,
    /// Whether an established connection broke since the last pong.
    pub connection_lost: bool,
    /// Mean round trip time of pings, in microseconds; 0 before the first pong.
    pub rtt_mean_us: u64,
    /// Mean deviation of the round trip time, in microseconds.
    pub rtt_deviation_us: u64,
    /// Times between the last pongs, oldest first, in milliseconds; at most 32. Empty before the second pong.
    pub pong_intervals_ms: Shared<u32>,
    /// What the node said of itself in its last pong; none before the first.
    pub vitals: Option<Vitals>,
    /// What others see of it, newest report of each observer.
    pub witnesses: Shared<Witness>,
    /// How often it failed and came back within the last hour.
    pub flaps_last_hour: u32,
    /// Whether an operator marked it as being worked on, until a time that is not over.
    pub in_maintenance: bool,
    /// The opinion of it after the last decision.
    pub previous: Health,
    /// What the policy returned as memory of this node at the last decision; empty at first. At most 4 KiB.
    pub memory: Vec<u8>,
}

/// A node whose ping took at most this many intervals is heard: a slow answer is still an answer.
const HEARD_MISSES_MAX: u32 = 2;

impl Default for NodeEvidence {
    /// A leaf with the id 0 that answers.
    fn default() -> Self {
        Self::answering(0, NodeRole::Leaf)
    }
}

impl NodeEvidence {
    /// The evidence of a node that has just answered and of which nothing else is known.
    #[must_use]
    pub const fn answering(node: u64, role: NodeRole) -> Self {
        Self {
            node,
            role,
            group: 0,
            misses: 0,
            refusals: 0,
            timeouts: 0,
            connecting: false,
            connection_lost: false,
            rtt_mean_us: 0,
            rtt_deviation_us: 0,
            pong_intervals_ms: Shared::empty(),
            vitals: None,
            witnesses: Shared::empty(),
            flaps_last_hour: 0,
            in_maintenance: false,
            previous: Health::Healthy,
            memory: Vec::new(),
        }
    }

    /// Whether it answered within the last two intervals and no connection failed since.
    /// A failed node becomes anything better only when it is heard: that keeps one verdict from undoing another
    /// when the policy is changed, or falls back, between two ticks.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.misses <= HEARD_MISSES_MAX && self.refusals == 0 && self.timeouts == 0 && !self.connection_lost
    }

    /// Softens or keeps a verdict where the evidence is not what counts: a node under maintenance does not fail,
    /// and a failed node stays failed until it is heard.
    #[must_use]
    pub const fn settle(&self, counted: Health) -> Health {
        match (self.previous, counted) {
            (Health::Failed, _) if !self.is_heard() => Health::Failed,
            (Health::Healthy | Health::Suspect, Health::Failed) if self.in_maintenance => Health::Suspect,
            _ => counted,
        }
    }

    /// What was counted since the last pong, in words: `20 misses, 3 refusals`; `answers` or `connection lost` if
    /// nothing was.
    #[must_use]
    pub fn counts(&self) -> String {
        // Most nodes answer, most of the time: nothing is put together for them.
        if self.misses == 0 && self.refusals == 0 && self.timeouts == 0 {
            return if self.connection_lost { "connection lost" } else { "answers" }.to_owned();
        }
        let counted = [(self.misses, "miss", "misses"), (self.refusals, "refusal", "refusals")]
            .into_iter()
            .chain([(self.timeouts, "timeout", "timeouts")])
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect::<Vec<_>>();
        counted.join(", ")
    }
}
