//! The reference behaviour: patience for silence, less for refusals, and no opinion but the observer's own.
//!
//! * Detection: a miss counts 1, a connection attempt that failed counts `refusal_penalty`; at `miss_limit` the node
//!   has failed, at half of it it is suspect. With the defaults and a ping every 150 ms that is 30.0 s of silence on
//!   a live connection, 3.0 s of refusals, and 20 s of attempts that time out
//!   (source: "How Failover is Triggered in HA").
//! * Election: the master aggregator must be unheard for `consensus_election_timeout`, refused or not; as long as one
//!   that answers pings must have led nobody.
//! * Promotion: the longest log, then the leaf with the fewest primaries, then the lowest id.
//! * Degrade: a replica that acknowledged nothing for `sync_replica_timeout_ms`.
//! * Rejoin: at once, but for a leaf that failed more than once within the hour: after
//!   `failover_initial_grace_interval_seconds`, twice as long with each further failure, at most
//!   `failover_maximum_grace_interval_seconds`; never held back if a partition is not served without it.
//! * Placement: what is there stays where that leaves the cells, and the primaries, even.
//! * Maintenance: a restart takes the leaves one availability group after the other, then the children one by one, then
//!   the master aggregator; a stop goes from the master aggregator to the leaves, a start back.
//! * Retry: a statement waits for as long as it may.
//!
//! Not here: witnesses, vitals, round trip times and flaps. Classic does not look at them.

mod layout;
mod stages;

use std::cmp::Reverse;

use smol_str::{SmolStr, format_smolstr};

use crate::{
    DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput, ElectionVerdict, Health,
    MaintenanceInput, MaintenanceVerdict, NodeEvidence, NodeVerdict, NumberSetting, PlacementInput,
    PlacementVerdict, Policy, PromotionInput, PromotionVerdict, RejoinInput, RejoinVerdict, RetryInput,
    RetryVerdict, Settings,
};

/// The score at which a node has failed.
const MISS_LIMIT: NumberSetting = NumberSetting {
    name: "miss_limit",
    default: 200,
    range: 1..=1_000_000,
    doc: "The score at which a node has failed; a missed ping counts 1. At half of it the node is suspect.",
};
/// What a connection attempt that failed counts.
const REFUSAL_PENALTY: NumberSetting = NumberSetting {
    name: "refusal_penalty",
    default: 60,
    range: 0..=1_000_000,
    doc: "What a connection attempt that was refused or timed out adds to the score.",
};
/// Two voting members that notice the same silence campaign this many intervals apart.
const STAGGER_INTERVALS: u64 = 2;
/// The shortest time between two campaigns of one node, in milliseconds.
const CAMPAIGN_PAUSE_MS_MIN: u64 = 1_000;
/// The time between two campaigns is this part of the election timeout.
const CAMPAIGN_PAUSE_PART: u64 = 10;
/// A leaf that failed so often within an hour, at most, is used again at once.
const FLAPS_FREE: u32 = 2;
/// The question whether a statement still waits comes again after so many milliseconds: the answer is always the same.
const RETRY_ASK_MS: u64 = 5_000;

/// The reference behaviour, native. It answers every input, and never fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Classic;

impl Classic {
    /// The name it is bound by.
    pub const NAME: &'static str = "classic";

    /// The score of a node, and the limit at which it has failed.
    #[must_use]
    pub fn score(node: &NodeEvidence, settings: &Settings) -> (u64, u64) {
        let limits = Limits::of(settings);
        (limits.score(node), limits.failed)
    }
}

impl Policy for Classic {
    fn describe(&self) -> Description {
        Description {
            name: Self::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: vec![MISS_LIMIT.doc(), REFUSAL_PENALTY.doc()],
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        MISS_LIMIT.check(settings)?;
        REFUSAL_PENALTY.check(settings)
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        let mut judge = Judge { limits: Limits::of(&input.settings), last: None };
        input.nodes.iter().map(|node| judge.judge(node)).collect()
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        let unheard_ms = input.master_unheard_ms();
        let stagger_ms = u64::from(input.rank)
            .saturating_mul(STAGGER_INTERVALS)
            .saturating_mul(input.heartbeat_interval_ms);
        let due_ms = input.election_timeout_ms.saturating_add(stagger_ms);
        let how = if input.master.misses == 0 { "answers, but leads nobody" } else { "unheard" };
        let unheard = format!("master n{} {how} for {unheard_ms} ms of {due_ms} ms", input.master.node);
        if unheard_ms < due_ms {
            return ElectionVerdict::wait(unheard);
        }
        let pause_ms = (input.election_timeout_ms / CAMPAIGN_PAUSE_PART).max(CAMPAIGN_PAUSE_MS_MIN);
        match input.since_last_campaign_ms {
            Some(since_ms) if since_ms < pause_ms => {
                ElectionVerdict::wait(format!("last campaign {since_ms} ms ago, next after {pause_ms} ms"))
            }
            _ => ElectionVerdict::campaign(unheard),
        }
    }

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        let mut order: Vec<_> = input.candidates.iter().collect();
        order.sort_by_key(|candidate| (Reverse(candidate.lsn), candidate.primaries_held, candidate.node));
        let reason = order.first().map_or_else(String::new, |best| {
            let lsn = best.lsn.map_or_else(|| "unknown".to_owned(), |lsn| lsn.to_string());
            format!("lsn {lsn}, {} primaries held, of {} candidates", best.primaries_held, order.len())
        });
        let ranking = order.into_iter().map(|candidate| candidate.node).collect();
        PromotionVerdict { ranking, reason, rejected: Vec::new() }
    }

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        let (silent_ms, due_ms) = (input.silent_ms, input.sync_replica_timeout_ms);
        let reason = format!("it acknowledged nothing for {silent_ms} ms of {due_ms} ms");
        if silent_ms >= due_ms { DegradeVerdict::degrade(reason) } else { DegradeVerdict::wait(reason) }
    }

    fn rejoin(&self, input: &RejoinInput) -> RejoinVerdict {
        let flaps = input.leaf.flaps_last_hour;
        let grace_ms = match flaps.checked_sub(FLAPS_FREE) {
            Some(doublings) => {
                input.initial_grace_ms.saturating_mul(1 << doublings.min(20)).min(input.maximum_grace_ms)
            }
            None => 0,
        };
        let left_ms = grace_ms.saturating_sub(input.answering_ms);
        let failed = format!("it failed {flaps} times within the last hour");
        if left_ms == 0 {
            RejoinVerdict::attach(format!("{failed} and has answered for {} ms", input.answering_ms))
        } else if input.needed_by > 0 {
            RejoinVerdict::attach(format!("{} partitions are not served without it", input.needed_by))
        } else {
            RejoinVerdict::later(left_ms, format!("{failed} and must answer for {grace_ms} ms"))
        }
    }

    fn place(&self, input: &PlacementInput) -> PlacementVerdict {
        let counted = input.leaves.iter().filter(|_| input.count_others);
        let loads = counted.map(|leaf| (leaf.node, (leaf.instances as usize, leaf.primaries as usize)));
        let places = layout::lay_out(&input.cells, &input.partitions, &loads.collect()).unwrap_or_default();
        let reason = format!("{} partitions in {} cells, as even as can be", places.len(), input.cells.len());
        PlacementVerdict { places, reason }
    }

    fn maintain(&self, input: &MaintenanceInput) -> MaintenanceVerdict {
        stages::stages(input)
    }

    fn retry(&self, input: &RetryInput) -> RetryVerdict {
        let RetryInput { waited_ms, buffer_ms, .. } = input;
        RetryVerdict::wait(RETRY_ASK_MS, format!("it has waited for {waited_ms} ms of {buffer_ms} ms"))
    }
}

/// What both limits of a score come from, read once for all nodes.
#[derive(Clone, Copy)]
struct Limits {
    failed: u64,
    penalty: u64,
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        Self {
            failed: u64::from(MISS_LIMIT.read(settings)),
            penalty: u64::from(REFUSAL_PENALTY.read(settings)),
        }
    }

    fn score(self, node: &NodeEvidence) -> u64 {
        let failed_attempts = u64::from(node.refusals) + u64::from(node.timeouts);
        u64::from(node.misses) + failed_attempts * self.penalty
    }
}

/// Judges one node after the other.
struct Judge {
    limits: Limits,
    /// The last reason that was put together, and the counts that it tells.
    last: Option<(Counts, SmolStr)>,
}

/// What was counted of a node: misses, refusals, timeouts, and whether its connection was lost.
type Counts = (u32, u32, u32, bool);

impl Judge {
    fn judge(&mut self, node: &NodeEvidence) -> NodeVerdict {
        let (score, limit) = (self.limits.score(node), self.limits.failed);
        let counted = if score >= limit {
            Health::Failed
        } else if score.saturating_mul(2) >= limit {
            Health::Suspect
        } else {
            Health::Healthy
        };
        NodeVerdict {
            node: node.node,
            health: node.settle(counted),
            reason: self.reason(node, score),
            memory: Vec::new(),
        }
    }

    /// Most nodes answer, most of the time, and of those that do not, many have the same counts: then nothing is put
    /// together.
    fn reason(&mut self, node: &NodeEvidence, score: u64) -> SmolStr {
        if score == 0 && node.is_heard() {
            return SmolStr::new_static("score 0: answers");
        }
        let counts = (node.misses, node.refusals, node.timeouts, node.connection_lost);
        match &self.last {
            Some((last, reason)) if *last == counts => reason.clone(),
            _ => {
                let reason = format_smolstr!("score {score}: {}", node.counts());
                self.last = Some((counts, reason.clone()));
                reason
            }
        }
    }
}
