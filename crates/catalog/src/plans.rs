//! What an operator wants done to a database's instances: plans and their steps, as the catalog keeps them.
//!
//! A plan is made and checked before it begins, and is in the catalog so that the next master aggregator goes on with
//! it. It says what is to be; whether a step may be taken is decided by the commands that it is made of.

use std::collections::BTreeSet;
use std::fmt;

use baton_model::{DatabaseId, NodeId, PartitionId};
use serde::{Deserialize, Serialize};

/// What a plan is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum PlanKind {
    /// `REBALANCE PARTITIONS`.
    Rebalance,
    /// `RESTORE REDUNDANCY`.
    RestoreRedundancy,
    /// `ATTACH LEAF`: primaries go back.
    AttachLeaf,
    /// `REMOVE LEAF`: nothing is left there.
    RemoveLeaf,
}

impl fmt::Display for PlanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebalance => "REBALANCE PARTITIONS",
            Self::RestoreRedundancy => "RESTORE REDUNDANCY",
            Self::AttachLeaf => "ATTACH LEAF",
            Self::RemoveLeaf => "REMOVE LEAF",
        })
    }
}

/// What a step of a plan does, as the reference system names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum PlanAction {
    /// A replica is made, and followed until it is in sync.
    Copy,
    /// A replica becomes primary, and the old primary goes.
    PromoteWithDrop,
    /// A replica becomes primary, and the old primary its replica.
    PromoteWithRepoint,
    /// A replica goes.
    Drop,
}

impl fmt::Display for PlanAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "COPY PARTITION",
            Self::PromoteWithDrop => "PROMOTE PARTITION WITH DROP",
            Self::PromoteWithRepoint => "PROMOTE PARTITION WITH REPOINT",
            Self::Drop => "DROP PARTITION",
        })
    }
}

/// How a plan, or a step of it, is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum StepStatus {
    /// Its turn has not come.
    Scheduled,
    /// It is being done.
    Running,
    /// It is done.
    Success,
    /// It could not be done.
    Failed,
    /// It is not wanted any more.
    Cancelled,
}

impl StepStatus {
    /// Whether nothing more is done about it.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// An operator's plan for one database. A database has at most one, the last; it stays to be looked at once it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OperatorPlan {
    /// Its id, never given again.
    pub id: u64,
    /// The database.
    pub database: DatabaseId,
    /// What it is for.
    pub kind: PlanKind,
    /// Leaves on which nothing is to be left: what they hold is not counted on.
    pub emptied: BTreeSet<NodeId>,
    /// How many steps it has.
    pub steps: u32,
    /// How it is.
    pub status: StepStatus,
    /// Why, for people; empty if there is nothing to say.
    pub details: String,
    /// When it was begun: milliseconds since 1970 UTC, by the master aggregator's wall clock.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
}

/// A step of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanStep {
    /// The plan.
    pub plan: u64,
    /// Its number in the plan, from 0.
    pub number: u32,
    /// What is done.
    pub action: PlanAction,
    /// To which partition.
    pub partition: PartitionId,
    /// On which leaf.
    pub target: NodeId,
    /// Of a promotion: who was primary when the plan was made.
    pub from: Option<NodeId>,
    /// Its phase.
    pub phase: u32,
    /// How it is.
    pub status: StepStatus,
    /// Why, for people; empty if there is nothing to say.
    pub details: String,
    /// When it was begun: milliseconds since 1970 UTC, by the master aggregator's wall clock.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
}
