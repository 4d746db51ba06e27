//! The decision point `detection`: which nodes are healthy, suspect or failed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::rejection::check_reason;
use crate::{Health, MEMORY_BYTES_MAX, NodeEvidence, Rejection, Settings};

/// All nodes of one tick.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DetectionInput {
    /// The observer's monotonic clock, in milliseconds since its process started.
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
    /// The nodes, by id.
    pub nodes: Vec<NodeEvidence>,
}

impl DetectionInput {
    /// The same moment, with nobody to judge.
    #[must_use]
    pub fn without_nodes(&self) -> Self {
        Self { nodes: Vec::new(), settings: self.settings.clone(), ..*self }
    }
}

/// The opinion of one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeVerdict {
    /// The judged node.
    pub node: u64,
    /// What it is thought to be.
    pub health: Health,
    /// Why, in a few words. At most 1 KiB.
    pub reason: SmolStr,
    /// What the policy wants to know of this node at the next decision. At most 4 KiB.
    pub memory: Vec<u8>,
}

/// Accepts a verdict that answers for every node of the input exactly once, within the limits.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate_detection(input: &DetectionInput, verdicts: &[NodeVerdict]) -> Result<(), Rejection> {
    let in_order = input.nodes.len() == verdicts.len()
        && input.nodes.iter().zip(verdicts).all(|(evidence, verdict)| evidence.node == verdict.node);
    if in_order {
        return verdicts.iter().try_for_each(check_sizes);
    }
    validate_judged(input, verdicts.iter().map(|verdict| verdict.node))?;
    verdicts.iter().try_for_each(check_sizes)
}

/// Accepts nodes that are those of the input, each exactly once.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn validate_judged(input: &DetectionInput, nodes: impl Iterator<Item = u64>) -> Result<(), Rejection> {
    let mut open: BTreeSet<u64> = input.nodes.iter().map(|evidence| evidence.node).collect();
    for node in nodes {
        if !open.remove(&node) {
            let is_asked = input.nodes.iter().any(|evidence| evidence.node == node);
            return Err(if is_asked { Rejection::AnsweredTwice(node) } else { Rejection::UnknownNode(node) });
        }
    }
    open.first().map_or(Ok(()), |node| Err(Rejection::Unanswered(*node)))
}

fn check_sizes(verdict: &NodeVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)?;
    if verdict.memory.len() > MEMORY_BYTES_MAX {
        return Err(Rejection::MemoryTooLong(verdict.node, verdict.memory.len()));
    }
    Ok(())
}
