//! How long a policy may decide nothing (S8).
//!
//! A policy that calls every node healthy, or lets every primary wait, for ever would keep its cluster from ever going
//! on. So what classic would have decided long ago is decided, whatever the policy says. The multiples leave room for a
//! policy, or an operator's settings, that is much more patient than classic; they are no second opinion.
//!
//! The ceiling of elections is where the campaigns are begun, in `baton-node`.

use crate::{
    Classic, DegradeInput, DegradeVerdict, DetectionInput, Health, NodeEvidence, NodeVerdict, Settings,
};

/// A node whose evidence is so many times what classic calls a failure, by its own defaults, has failed: refused
/// connections for 30 s, or silence for 300 s, with heartbeats every 150 ms.
pub const DETECTION_CEILING: u64 = 10;
/// A replica that lags for so many times `sync_replica_timeout_ms` is not waited for any more: 15 s by default.
pub const DEGRADE_CEILING: u64 = 3;

/// Whether no policy may call a node anything but failed.
///
/// Only pings that were really sent are in the evidence, and a node that answered has none against it (S11).
#[must_use]
pub fn is_overdue(node: &NodeEvidence) -> bool {
    let (score, limit) = Classic::score(node, &Settings::new());
    !node.in_maintenance && score >= limit.saturating_mul(DETECTION_CEILING)
}

/// Fails every node that is overdue, and says so in the reason. Verdicts are of this input, in any order.
pub fn enforce_detection_ceiling(input: &DetectionInput, verdicts: &mut [NodeVerdict]) {
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.health != Health::Failed) {
        let Some(node) = input.nodes.iter().find(|node| node.node == verdict.node) else { continue };
        if is_overdue(node) {
            let (score, _) = Classic::score(node, &Settings::new());
            verdict.reason =
                format!("score {score}, which no policy may call {}: {}", verdict.health, node.counts());
            verdict.health = Health::Failed;
        }
    }
}

/// Degrades a replica that lags for longer than any policy may wait, and says so in the reason.
pub fn enforce_degrade_ceiling(input: &DegradeInput, verdict: &mut DegradeVerdict) {
    let most_ms = input.sync_replica_timeout_ms.saturating_mul(DEGRADE_CEILING);
    if verdict.choice == crate::DegradeChoice::Wait && input.silent_ms >= most_ms {
        *verdict = DegradeVerdict::degrade(format!(
            "it acknowledged nothing for {} ms, and no policy may wait for more than {most_ms} ms",
            input.silent_ms
        ));
    }
}
