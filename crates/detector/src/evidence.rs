//! What was observed, as plain data.
//!
//! Nothing here is weighed: the counters are raw, so that every policy can draw its own conclusion from them.

use std::fmt;

use baton_model::{CatalogIndex, Incarnation, Instant, NodeId, NodeRole, StoreId};
use serde::{Deserialize, Serialize};

/// The opinion of a node's health, as the last verdict on it left it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Health {
    /// Nothing speaks against it.
    #[default]
    Healthy,
    /// Something speaks against it, but not enough to act.
    Suspect,
    /// It is to be treated as dead.
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

/// How well a node can work, by its own account: a node may answer and yet be of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// How late the node's own event loop runs, in milliseconds.
    pub loop_delay_ms: u32,
    /// How long its last sync to disk took, in milliseconds.
    pub fsync_ms: u32,
    /// How long the sync that goes on now has taken so far, in milliseconds; 0 if none does.
    pub syncing_ms: u32,
    /// Committed records that it has not applied yet.
    pub apply_backlog: u64,
    /// Bytes free on the disk of its data directory.
    pub free_disk_bytes: u64,
}

/// What a node says of itself with every pong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The run of the process that answered; another one than before means it was restarted.
    pub incarnation: Incarnation,
    /// The life of its data directory; another one than before means that its disk was lost.
    pub store: StoreId,
    /// Whether its machine went down under the run before, so that what that one did not sync may be gone. The same for
    /// as long as the process runs.
    pub lost_tail: bool,
    /// Whether it is a member of the cluster; a process that lives but forgot who it is says no.
    pub joined: bool,
    /// The catalog version it has applied.
    pub catalog_index: CatalogIndex,
    /// The last index of its control group log; 0 on a leaf.
    pub log_index: u64,
    /// How well it can work.
    pub vitals: Vitals,
}

/// What one observer tells another of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sighting {
    /// The node that was observed.
    pub node: NodeId,
    /// Misses since its last pong.
    pub misses: u32,
    /// Refused connection attempts since its last pong.
    pub refusals: u32,
    /// Connection attempts without any answer since its last pong.
    pub timeouts: u32,
    /// How old this was when it was told, in milliseconds.
    pub age_ms: u32,
}

/// What another observer saw of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// Who saw it.
    pub observer: NodeId,
    /// Misses that the observer counted.
    pub misses: u32,
    /// Refused connection attempts that the observer counted.
    pub refusals: u32,
    /// Connection attempts of the observer that nobody answered.
    pub timeouts: u32,
    /// How old the sighting is now, in milliseconds, its travelling time left out.
    pub age_ms: u32,
}

/// Everything this observer knows of one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The node.
    pub node: NodeId,
    /// What it is for.
    pub role: NodeRole,
    /// The last verdict on it.
    pub health: Health,
    /// What the policy wanted to keep of it.
    pub memory: Vec<u8>,
    /// Intervals without an answer since the last pong.
    pub misses: u32,
    /// Refused connection attempts since the last pong.
    pub refusals: u32,
    /// Connection attempts without any answer since the last pong.
    pub timeouts: u32,
    /// Whether there is no connection now: an attempt runs, or the next one is waited for.
    pub connecting: bool,
    /// Whether a connection broke since the last pong.
    pub connection_lost: bool,
    /// The smoothed round-trip time in microseconds; 0 before the first pong.
    pub rtt_mean_us: u32,
    /// The smoothed deviation of the round-trip time in microseconds.
    pub rtt_deviation_us: u32,
    /// Milliseconds between the last pongs of one connection, oldest first, at most
    /// [`baton_model::limits::PONG_INTERVALS_KEPT`].
    pub pong_intervals_ms: Vec<u32>,
    /// Milliseconds since the last pong; none if it never answered this observer.
    pub last_pong_age_ms: Option<u32>,
    /// Milliseconds, rounded up, since the newest ping was sent that it answered; none if it never answered one. What it
    /// said is not older than that.
    pub asked_age_ms: Option<u32>,
    /// What it said of itself with the last pong.
    pub report: Option<Report>,
    /// What other observers see of it now, by observer.
    pub witnesses: Vec<Witness>,
    /// How often it failed and came back within the last hour.
    pub flaps_last_hour: u32,
}

/// The evidence of all nodes at one moment: what a detection policy is asked about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Observation {
    /// When.
    pub at: Instant,
    /// How often each node is pinged, in milliseconds.
    pub interval_ms: u32,
    /// How late the observer's own last tick was, in milliseconds. Beyond one interval, silence says nothing (S11).
    pub observer_late_ms: u32,
    /// One entry for each watched node, by id.
    pub nodes: Vec<Evidence>,
}

impl Observation {
    /// The evidence of one node.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<&Evidence> {
        let at = self.nodes.binary_search_by_key(&node, |evidence| evidence.node).ok()?;
        self.nodes.get(at)
    }
}
