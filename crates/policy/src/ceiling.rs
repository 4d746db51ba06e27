//! How long a policy may decide nothing (S8).
//!
//! A policy that calls every node healthy, or lets every primary wait, for ever would keep its cluster from ever going
//! on. So what classic would have decided long ago is decided, whatever the policy says. The multiples leave room for a
//! policy, or an operator's settings, that is much more patient than classic; they are no second opinion.
//!
//! The ceiling of elections is where the campaigns are begun, in `baton-failover`; that of `retry` is
//! `failover_buffer_ms`, where statements wait. The verdicts of `promotion`, `placement` and `maintenance` are choices
//! among what is offered, and cannot decide nothing.

use smol_str::format_smolstr;

use crate::{
    Classic, DegradeInput, DegradeVerdict, DetectionInput, Health, NodeEvidence, NodeVerdict, RejoinChoice,
    RejoinInput, RejoinVerdict, Settings,
};

/// A node whose evidence is so many times what classic calls a failure, by its own defaults, has failed: refused
/// connections for 30 s, or silence for 300 s, with heartbeats every 150 ms.
pub const DETECTION_CEILING: u64 = 10;
/// A replica that lags for so many times `sync_replica_timeout_ms` is not waited for any more: 15 s by default.
pub const DEGRADE_CEILING: u64 = 3;
/// A leaf without which a partition is not served is used again once it has answered for so many milliseconds.
pub const REJOIN_CEILING_MS: u64 = 10_000;

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
    // Policies answer in the order of the question, mostly.
    for (at, verdict) in verdicts.iter_mut().enumerate() {
        let asked = input.nodes.get(at).filter(|node| node.node == verdict.node);
        let Some(node) = asked.or_else(|| input.nodes.iter().find(|node| node.node == verdict.node)) else {
            continue;
        };
        if verdict.health != Health::Failed && is_overdue(node) {
            let (score, _) = Classic::score(node, &Settings::new());
            let counts = node.counts();
            verdict.reason =
                format_smolstr!("score {score}, which no policy may call {}: {counts}", verdict.health);
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

/// Uses a leaf again that is needed and has answered for longer than any policy may hold it back, and says so.
pub fn enforce_rejoin_ceiling(input: &RejoinInput, verdict: &mut RejoinVerdict) {
    let overdue = input.needed_by > 0 && input.answering_ms >= REJOIN_CEILING_MS;
    if verdict.choice != RejoinChoice::Attach && overdue {
        *verdict = RejoinVerdict::attach(format!(
            "{} partitions are not served without it, and no policy may hold it back for more than \
             {REJOIN_CEILING_MS} ms",
            input.needed_by
        ));
    }
}
