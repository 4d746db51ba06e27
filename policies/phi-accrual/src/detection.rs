//! When a node has failed.
//!
//! A refusal where no connection was before may be a process that is only starting, and an attempt that timed out is
//! silence like any other: neither is more than suspicious by itself. Silence, and classic's score, go on counting.

use baton_policy_sdk::{Classic, DetectionInput, Health, NodeEvidence, NodeVerdict, Settings};

use crate::rhythm::{Rhythm, known_pongs};

/// Judges every node of a tick.
pub fn detect(input: &DetectionInput) -> Vec<NodeVerdict> {
    input
        .nodes
        .iter()
        .map(|node| {
            let (counted, reason) = judge(input, node);
            NodeVerdict {
                node: node.node,
                health: node.settle(counted),
                reason: reason.into(),
                memory: Vec::new(),
            }
        })
        .collect()
}

fn judge(input: &DetectionInput, node: &NodeEvidence) -> (Health, String) {
    let counts = node.counts();
    if node.connection_lost && node.refusals > 0 {
        return (Health::Failed, format!("connection lost, then refused: {counts}"));
    }
    let (score, limit) = Classic::score(node, &Settings::new());
    let Some(rhythm) = Rhythm::of(node, input.heartbeat_interval_ms, &input.settings) else {
        let health = if score >= limit {
            Health::Failed
        } else if score.saturating_mul(2) >= limit {
            Health::Suspect
        } else {
            Health::Healthy
        };
        let known = known_pongs(node, &input.settings);
        return (health, format!("score {score} of {limit}, {known}: {counts}"));
    };
    let silence_ms = u64::from(node.misses).saturating_mul(input.heartbeat_interval_ms);
    let due_ms = rhythm.failed_after_ms();
    let phi = rhythm.describe(silence_ms, due_ms);
    // Classic would act: nobody gains by waiting longer.
    if score >= limit {
        return (Health::Failed, format!("score {score} of {limit}, whatever phi is: {counts}; {phi}"));
    }
    if silence_ms >= due_ms {
        if input.observer_late_ms > input.heartbeat_interval_ms {
            let late_ms = input.observer_late_ms;
            return (
                Health::Suspect,
                format!("observer {late_ms} ms late, silence not judged: {counts}; {phi}"),
            );
        }
        return (Health::Failed, format!("{phi}: {counts}"));
    }
    let is_doubtful = node.connection_lost || node.refusals > 0 || node.timeouts > 0;
    if is_doubtful || silence_ms >= rhythm.suspect_after_ms() {
        (Health::Suspect, format!("{phi}: {counts}"))
    } else {
        (Health::Healthy, format!("{phi}: {counts}"))
    }
}
