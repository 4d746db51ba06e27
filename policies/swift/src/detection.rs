//! When a node has failed.

use baton_policy_sdk::{Classic, DetectionInput, Health, NodeEvidence, NodeVerdict, Settings, Witness};

use crate::{ALONE_MISSES, SILENCE_MISSES};

/// A witness's report counts while it is at most so many intervals old.
const WITNESS_AGE_INTERVALS: u64 = 4;

/// What is the same for all nodes of a tick.
struct Tick<'a> {
    input: &'a DetectionInput,
    silence_misses: u32,
    alone_misses: u32,
    /// Whether anyone else reports anything fresh, of whatever node.
    witnessed: bool,
}

/// Judges every node of a tick.
pub fn detect(input: &DetectionInput) -> Vec<NodeVerdict> {
    let mut tick = Tick {
        input,
        silence_misses: SILENCE_MISSES.read(&input.settings),
        alone_misses: ALONE_MISSES.read(&input.settings),
        witnessed: false,
    };
    tick.witnessed = input.nodes.iter().any(|node| tick.fresh_witnesses(node).next().is_some());
    input
        .nodes
        .iter()
        .map(|node| {
            let (counted, reason) = tick.judge(node);
            NodeVerdict {
                node: node.node,
                health: node.settle(counted),
                reason: reason.into(),
                memory: Vec::new(),
            }
        })
        .collect()
}

impl Tick<'_> {
    fn judge(&self, node: &NodeEvidence) -> (Health, String) {
        let counts = node.counts();
        if node.connection_lost && node.refusals > 0 {
            return (Health::Failed, format!("connection lost, then refused: {counts}"));
        }
        if self.input.observer_late_ms > self.input.heartbeat_interval_ms && node.misses > 0 {
            let late_ms = self.input.observer_late_ms;
            return (Health::Suspect, format!("observer {late_ms} ms late, silence not judged: {counts}"));
        }
        // Classic would act: nobody gains by waiting longer, whatever the witnesses say.
        let (score, limit) = Classic::score(node, &Settings::new());
        if score >= limit {
            return (Health::Failed, format!("score {score}: {counts}"));
        }
        if node.misses >= self.silence_misses {
            if let Some(witness) = self.confirming_witness(node) {
                return (Health::Failed, format!("silent, n{} confirms: {counts}", witness.observer));
            }
            if !self.witnessed && node.misses >= self.alone_misses {
                return (Health::Failed, format!("silent, nobody to ask: {counts}"));
            }
            return (Health::Suspect, format!("silent, not confirmed: {counts}"));
        }
        let doubtful = node.connection_lost || node.refusals > 0 || node.timeouts > 0;
        if doubtful || node.misses > self.silence_misses / 2 {
            (Health::Suspect, counts)
        } else {
            (Health::Healthy, counts)
        }
    }

    fn fresh_witnesses<'a>(&self, node: &'a NodeEvidence) -> impl Iterator<Item = &'a Witness> {
        let age_ms_max = self.input.heartbeat_interval_ms.saturating_mul(WITNESS_AGE_INTERVALS);
        let judged = node.node;
        node.witnesses
            .iter()
            .filter(move |witness| witness.observer != judged && u64::from(witness.age_ms) <= age_ms_max)
    }

    /// A witness whose pings run out of step with ours may be one miss behind.
    fn confirming_witness<'a>(&self, node: &'a NodeEvidence) -> Option<&'a Witness> {
        let misses_min = (self.silence_misses - 1).max(1);
        self.fresh_witnesses(node).find(|witness| witness.misses >= misses_min || witness.refusals > 0)
    }
}
