//! When a node has failed, and when it is back.
//!
//! What is hard is judged of each node by itself. Silence is judged of all nodes together: all that are silent now are
//! counted, those that failed and are silent still included, and while they are more than the budget none of them is
//! failed before classic would.

use baton_policy_sdk::{Classic, DetectionInput, Health, NodeEvidence, NodeVerdict, Settings};

use crate::memory::Memory;
use crate::{
    PATIENCE_MAX_MISSES, RETURN_PONGS, RETURN_PONGS_MAX, SILENCE_MISSES, SOFT_FAILURES_MAX, doubled, is_gone,
};

/// A node that has missed more pings than this has not answered within the last interval.
const ANSWERED_MISSES_MAX: u32 = 1;

/// What is the same for all nodes of a tick.
struct Tick<'a> {
    input: &'a DetectionInput,
    silence_misses: u64,
    patience_max_misses: u64,
    soft_failures_max: usize,
    return_pongs: u64,
    return_pongs_max: u64,
    /// How many nodes are silent now.
    silent: usize,
}

/// Judges every node of a tick.
pub fn detect(input: &DetectionInput) -> Vec<NodeVerdict> {
    let settings = &input.settings;
    let mut tick = Tick {
        input,
        silence_misses: SILENCE_MISSES.read(settings).into(),
        patience_max_misses: PATIENCE_MAX_MISSES.read(settings).into(),
        soft_failures_max: usize::try_from(SOFT_FAILURES_MAX.read(settings)).unwrap_or(usize::MAX),
        return_pongs: RETURN_PONGS.read(settings).into(),
        return_pongs_max: RETURN_PONGS_MAX.read(settings).into(),
        silent: 0,
    };
    tick.silent = input.nodes.iter().filter(|node| tick.is_silent(node)).count();
    input.nodes.iter().map(|node| tick.judge(node)).collect()
}

impl Tick<'_> {
    fn judge(&self, node: &NodeEvidence) -> NodeVerdict {
        if node.previous == Health::Failed && node.is_heard() {
            return self.receive(node);
        }
        let (counted, reason) = self.weigh(node);
        NodeVerdict {
            node: node.node,
            health: node.settle(counted),
            reason: reason.into(),
            memory: Vec::new(),
        }
    }

    /// What the evidence against a node comes to.
    fn weigh(&self, node: &NodeEvidence) -> (Health, String) {
        let counts = node.counts();
        if let Some(how) = is_gone(node) {
            return (Health::Failed, format!("{how}: {counts}"));
        }
        // Classic would act: that is patience enough for a node that flaps, and for a network that is ill.
        let (score, limit) = Classic::score(node, &Settings::new());
        if score >= limit {
            return (Health::Failed, format!("score {score}: {counts}"));
        }
        let patience = doubled(self.silence_misses, node.flaps_last_hour, self.patience_max_misses);
        let limit = format!("{patience} misses are silence{}", after_flaps(node));
        if u64::from(node.misses) >= patience {
            // Who has failed already stays so.
            return match self.why_not().filter(|_| node.previous != Health::Failed) {
                Some(why) => (Health::Suspect, format!("{counts}; {limit}, but {why}")),
                None => (Health::Failed, format!("{counts}; {limit}")),
            };
        }
        let doubtful = node.connection_lost || node.refusals > 0;
        if doubtful || self.has_gone_quiet(node) {
            return (Health::Suspect, format!("{counts}; {limit}"));
        }
        (Health::Healthy, counts)
    }

    /// Why nobody is failed for silence in this tick; none if silence is believed.
    fn why_not(&self) -> Option<String> {
        let (late_ms, most) = (self.input.observer_late_ms, self.soft_failures_max);
        if late_ms > self.input.heartbeat_interval_ms {
            Some(format!("the observer is {late_ms} ms late"))
        } else if self.silent > most {
            Some(format!("{} are silent at once, and soft_failures_max is {most}", self.silent))
        } else {
            None
        }
    }

    /// Whether a node has missed half of what would fail it if it had never flapped, or let an attempt to connect time
    /// out.
    fn has_gone_quiet(&self, node: &NodeEvidence) -> bool {
        u64::from(node.misses).saturating_mul(2) >= self.silence_misses || node.timeouts > 0
    }

    /// Whether a node counts as silent: it has gone quiet, or it failed and was not heard since. One whose process is
    /// gone is not silent, and of one under maintenance it means nothing.
    fn is_silent(&self, node: &NodeEvidence) -> bool {
        let is_away = node.previous == Health::Failed && !node.is_heard();
        (self.has_gone_quiet(node) || is_away) && !node.in_maintenance && is_gone(node).is_none()
    }

    /// A node that failed answers: it is taken back once it has done so often enough without a break.
    fn receive(&self, node: &NodeEvidence) -> NodeVerdict {
        let now_ms = self.input.now_ms;
        let known = Memory::read(&node.memory, now_ms);
        // Nodes are judged between two ticks, too; that does not make two pongs of one.
        let apart_ms = self.input.heartbeat_interval_ms / 2;
        let is_next = known.is_none_or(|known| now_ms.saturating_sub(known.at_ms) >= apart_ms);
        let mut memory = known.unwrap_or(Memory { at_ms: now_ms, pongs: 0 });
        if is_next && node.misses <= ANSWERED_MISSES_MAX {
            memory = Memory { at_ms: now_ms, pongs: memory.pongs.saturating_add(1) };
        }
        let due = doubled(self.return_pongs, node.flaps_last_hour, self.return_pongs_max);
        let reason = format!("back for {} of {due} pongs{}", memory.pongs, after_flaps(node));
        let (health, memory) = if u64::from(memory.pongs) >= due {
            (Health::Healthy, Vec::new())
        } else {
            (Health::Failed, memory.write())
        };
        NodeVerdict { node: node.node, health, reason: reason.into(), memory }
    }
}

/// Why a limit is higher than the setting says; empty if it is not.
fn after_flaps(node: &NodeEvidence) -> String {
    match node.flaps_last_hour {
        0 => String::new(),
        1 => ", as it failed once within the hour".to_owned(),
        flaps => format!(", as it failed {flaps} times within the hour"),
    }
}
