//! When a node has failed.
//!
//! If its connection broke and is refused, if it was silent for `silence_misses`, or if classic would call it failed;
//! and in each case only if enough others say the same of it: silence, refusals, or attempts that time out.
//! Where nobody confirms, the node is suspect for as long as no bound on what a policy may decide is reached.

use baton_policy_sdk::{
    Classic, DetectionInput, Health, NodeEvidence, NodeRole, NodeVerdict, Settings, Witness,
};

use crate::{HEARD_MISSES_MAX, SILENCE_MISSES, WITNESSES};

/// A witness's report counts while it is at most so many intervals old.
const WITNESS_AGE_INTERVALS: u64 = 4;
/// More witnesses than these are counted, but not named in the reason, which has a limit.
const TOLD_MAX: usize = 4;

/// What is the same for all nodes of a tick.
struct Tick<'a> {
    input: &'a DetectionInput,
    witnesses: usize,
    silence_misses: u32,
}

/// Judges every node of a tick.
pub fn detect(input: &DetectionInput) -> Vec<NodeVerdict> {
    let tick = Tick {
        input,
        witnesses: usize::try_from(WITNESSES.read(&input.settings)).unwrap_or(usize::MAX),
        silence_misses: SILENCE_MISSES.read(&input.settings),
    };
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
        let Some(accusation) = self.accusation(node) else {
            let is_doubtful = node.connection_lost || node.refusals > 0 || node.timeouts > 0;
            let is_silent = node.misses > HEARD_MISSES_MAX && node.misses > self.silence_misses / 2;
            let late = if self.is_late() && node.misses > 0 {
                format!("observer {} ms late, silence not judged: ", self.input.observer_late_ms)
            } else {
                String::new()
            };
            let health = if is_doubtful || is_silent { Health::Suspect } else { Health::Healthy };
            return (health, format!("{late}{counts}"));
        };
        let (agreeing, others): (Vec<&Witness>, Vec<&Witness>) =
            self.fresh_witnesses(node).into_iter().partition(|witness| self.agrees(witness));
        let (health, what) = if agreeing.len() >= self.witnesses {
            (Health::Failed, "")
        } else {
            (Health::Suspect, ", not confirmed")
        };
        let said = if agreeing.is_empty() && others.is_empty() {
            "nobody else reports".to_owned()
        } else {
            let (yes, no) = (named(": ", &agreeing), named("; not ", &others));
            format!("{} of {} witnesses{yes}{no}", agreeing.len(), self.witnesses)
        };
        (health, format!("{accusation}{what}: {counts}; {said}"))
    }

    /// What this observer's own evidence says against a node, if it says enough.
    fn accusation(&self, node: &NodeEvidence) -> Option<&'static str> {
        let (score, limit) = Classic::score(node, &Settings::new());
        if node.connection_lost && node.refusals > 0 {
            Some("connection lost, then refused")
        } else if node.misses >= self.silence_misses && !self.is_late() {
            Some("silent")
        } else if score >= limit {
            Some("classic's limit")
        } else {
            None
        }
    }

    /// What an observer that stalled did not hear is no silence.
    fn is_late(&self) -> bool {
        self.input.observer_late_ms > self.input.heartbeat_interval_ms
    }

    /// One report of each other node that has a fresh one.
    fn fresh_witnesses<'a>(&self, node: &'a NodeEvidence) -> Vec<&'a Witness> {
        let age_ms_max = self.input.heartbeat_interval_ms.saturating_mul(WITNESS_AGE_INTERVALS);
        let mut fresh: Vec<&Witness> = Vec::with_capacity(node.witnesses.len());
        for witness in node.witnesses.iter() {
            let is_fresh = witness.observer != node.node && u64::from(witness.age_ms) <= age_ms_max;
            if is_fresh && fresh.iter().all(|known| known.observer != witness.observer) {
                fresh.push(witness);
            }
        }
        fresh
    }

    /// Whether a witness says the same. One whose pings run out of step with ours may be one miss behind.
    fn agrees(&self, witness: &Witness) -> bool {
        witness.refusals > 0
            || witness.timeouts > 0
            || witness.misses >= self.silence_misses.saturating_sub(1)
    }
}

/// Who said what, after the words that introduce them; nothing if nobody did.
fn named(introduced: &str, witnesses: &[&Witness]) -> String {
    let mut told = String::new();
    for (before, witness) in witnesses.iter().take(TOLD_MAX).enumerate() {
        let Witness { observer, misses, refusals, timeouts, .. } = **witness;
        let said = NodeEvidence { misses, refusals, timeouts, ..NodeEvidence::answering(0, NodeRole::Leaf) };
        let comma = if before == 0 { introduced } else { ", " };
        told += &format!("{comma}n{observer} ({})", said.counts());
    }
    let more = witnesses.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        told += &format!(", {more} more");
    }
    told
}
