//! What a node or an instance is, and in which state.
//!
//! The printed forms are what `SHOW` statements print.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a node is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum NodeRole {
    /// Routes SQL.
    Aggregator,
    /// Holds partitions.
    Leaf,
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aggregator => "Aggregator",
            Self::Leaf => "Leaf",
        })
    }
}

/// An aggregator's part in the control group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum AggregatorRole {
    /// Counts for the quorum and can become the master aggregator.
    VotingMember,
    /// Follows the catalog only.
    Follower,
}

impl fmt::Display for AggregatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VotingMember => "Voting Member",
            Self::Follower => "Follower",
        })
    }
}

/// A node's state in the catalog, as `SHOW LEAVES` and `SHOW AGGREGATORS` print it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum NodeState {
    /// The master aggregator hears it.
    Online,
    /// A detection verdict said that it failed; the master aggregator goes on pinging it.
    Offline,
    /// An operator took it out: nothing on it counts, and it comes back by an operator's word alone.
    Detached,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Detached => "detached",
        })
    }
}

/// How far a replica is, in the catalog's opinion. The path is `Async → Ready → Sync`, and back to `Async`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum SyncState {
    /// Follows at its own pace; never promoted (S4).
    Async,
    /// The primary already waits for it, but it is not promotable yet.
    Ready,
    /// Has every acknowledged write; the only state that may be promoted (S4).
    Sync,
}

impl fmt::Display for SyncState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async => "async",
            Self::Ready => "ready",
            Self::Sync => "sync",
        })
    }
}

/// The role of an instance. SQL prints them as `Master` and `Replica`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum InstanceRole {
    /// Takes writes.
    Primary,
    /// Follows the primary.
    Replica(SyncState),
}

impl fmt::Display for InstanceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "Master",
            Self::Replica(_) => "Replica",
        })
    }
}

/// `WITH {SYNC|ASYNC} REPLICATION` of a database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ReplicationMode {
    /// Replicas rise to `Sync`, and a write waits for them.
    Sync,
    /// Replicas stay `Async`; a lost primary takes its partition offline.
    Async,
}

/// `WITH {SYNC|ASYNC} DURABILITY` of a database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Durability {
    /// A write is acknowledged when the log is synced to disk on every in-sync member.
    Sync,
    /// A write is acknowledged when the log is handed to the operating system on every in-sync member.
    Async,
}
