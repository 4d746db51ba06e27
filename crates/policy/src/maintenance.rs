//! The decision point `maintenance`: in which order nodes are worked on.
//!
//! Asked by the aggregator at which an operator plans to restart, stop or start the nodes of a cluster. The nodes of
//! one stage are worked on at the same time, and a stage begins when those of the one before are whole again.

use std::collections::BTreeSet;

use baton_model::NodeRole;
use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{Rejection, Settings};

/// What is to be done with the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum MaintenancePurpose {
    /// Every node is stopped and started again, and the cluster goes on serving.
    #[default]
    Restart,
    /// The whole cluster is stopped: the master aggregator, then its children, then the leaves.
    Stop,
    /// The whole cluster is started: the leaves, then the children, then the master aggregator.
    Start,
}

/// The nodes that are to be worked on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MaintenanceInput {
    /// The aggregator's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The asking node's wall clock, in milliseconds since 1970 UTC: for the hour of the day, not for durations.
    pub wall_ms: u64,
    /// The settings of the binding.
    pub settings: Settings,
    /// A number that is different at every decision; the only randomness there is.
    pub seed: u64,
    /// What is to be done.
    pub purpose: MaintenancePurpose,
    /// The nodes, by id.
    pub nodes: Vec<MaintainedNode>,
}

/// One node that is to be worked on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MaintainedNode {
    /// The node.
    pub node: u64,
    /// What it is for.
    pub role: NodeRole,
    /// The availability group of a leaf; 0 of an aggregator.
    pub group: u32,
    /// Whether it is the master aggregator.
    pub is_master: bool,
    /// Whether it counts for the control group's majority.
    pub is_voter: bool,
    /// Whether the catalog counts on it.
    pub is_online: bool,
    /// How many instances of partitions it has.
    pub instances: u32,
    /// How many of these are primaries.
    pub primaries: u32,
    /// How many partitions nobody else could serve.
    pub last_copies: u32,
    /// How often it failed and came back within the last hour.
    pub flaps_last_hour: u32,
    /// Whether an operator marked it as being worked on.
    pub in_maintenance: bool,
}

/// Nodes that are worked on at the same time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MaintenanceStage {
    /// The nodes, at least one.
    pub nodes: Vec<u64>,
    /// Why these, and why now, in a few words. At most 1 KiB.
    pub reason: String,
}

/// The stages, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MaintenanceVerdict {
    /// The stages; each node is in exactly one.
    pub stages: Vec<MaintenanceStage>,
    /// Why in this order, in a few words. At most 1 KiB.
    pub reason: String,
}

/// Accepts stages in which every node is named once and which keep what the purpose promises:
///
/// * Restart: the nodes of one stage are one node; or leaves of one availability group, none of which has a last copy;
///   or aggregators, with fewer than half of the voters among them. The master aggregator is the last.
/// * Stop: no leaf before an aggregator, no child before the master aggregator; start: the other way round.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate_maintenance(input: &MaintenanceInput, verdict: &MaintenanceVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)?;
    let mut open: BTreeSet<u64> = input.nodes.iter().map(|node| node.node).collect();
    let mut last_place = 0;
    let voters = input.nodes.iter().filter(|node| node.is_voter).count();
    for (number, stage) in (1..).zip(&verdict.stages) {
        check_reason(&stage.reason)?;
        let mut nodes = Vec::new();
        for id in &stage.nodes {
            let Some(node) = input.nodes.iter().find(|node| node.node == *id) else {
                return Err(Rejection::UnknownNode(*id));
            };
            if !open.remove(id) {
                return Err(Rejection::NamedTwice(*id));
            }
            nodes.push(node);
        }
        let places: Vec<u8> = nodes.iter().map(|node| place(input.purpose, node)).collect();
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else {
            return Err(Rejection::EmptyStage(number));
        };
        if *first < last_place || first != last {
            return Err(Rejection::StageOutOfOrder(number));
        }
        last_place = *last;
        let of_stage = nodes.iter().filter(|node| node.is_voter).count();
        let groups: BTreeSet<u32> = nodes.iter().map(|node| node.group).collect();
        let spared = of_stage * 2 < voters.max(1) && nodes.iter().all(|node| node.last_copies == 0);
        let keeps_serving = groups.len() == 1 && (nodes.len() == 1 || spared);
        if input.purpose == MaintenancePurpose::Restart && !keeps_serving {
            return Err(Rejection::StageStopsService(number));
        }
    }
    open.first().map_or(Ok(()), |node| Err(Rejection::Unanswered(*node)))
}

/// Whose turn it is: lower numbers come first.
fn place(purpose: MaintenancePurpose, node: &MaintainedNode) -> u8 {
    let from_the_leaves = match (node.role, node.is_master) {
        (NodeRole::Leaf, _) => 0,
        (NodeRole::Aggregator, false) => 1,
        (NodeRole::Aggregator, true) => 2,
    };
    match purpose {
        // Leaves and aggregators may be taken in either order; the master aggregator is the last.
        MaintenancePurpose::Restart => u8::from(node.is_master),
        MaintenancePurpose::Stop => 2 - from_the_leaves,
        MaintenancePurpose::Start => from_the_leaves,
    }
}
