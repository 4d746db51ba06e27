//! The columns in which `detection` is asked and answered, and the records of `baton-policy`. Only here.

use baton_model::NodeRole;
use baton_policy as native;
use smol_str::SmolStr;

use super::detection_wit::{Input, Marks, Nodes, Verdicts};

/// The last reasons among which one is looked for that is told already: most nodes answer, and of those that do not, many
/// fail for the same reason.
const RECENT_REASONS: usize = 4;

impl From<Input> for native::DetectionInput {
    fn from(input: Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            heartbeat_interval_ms: input.heartbeat_interval_ms,
            observer_late_ms: input.observer_late_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            nodes: nodes(input.nodes),
        }
    }
}

/// The host hands over columns that are as long as they should be.
fn nodes(columns: Nodes) -> Vec<native::NodeEvidence> {
    let mut witnesses: native::Shared<_> = witnesses(&columns).into();
    let mut intervals = native::Shared::from(columns.pong_intervals_ms);
    let mut memory = columns.memory.as_slice();
    let count = columns.node.len();
    // Said once of each column, it need not be checked for each entry.
    macro_rules! whole {
        ($($column:ident),+) => { $(let $column = &columns.$column[..count];)+ };
    }
    whole!(node, marks, group, misses, refusals, timeouts, rtt_mean_us, rtt_deviation_us);
    whole!(pong_interval_count, loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes);
    whole!(witness_count, flaps_last_hour, memory_length);
    let evidence = |at: usize| native::NodeEvidence {
        node: node[at],
        role: if marks[at].contains(Marks::AGGREGATOR) { NodeRole::Aggregator } else { NodeRole::Leaf },
        group: group[at],
        misses: misses[at],
        refusals: refusals[at],
        timeouts: timeouts[at],
        connecting: marks[at].contains(Marks::CONNECTING),
        connection_lost: marks[at].contains(Marks::CONNECTION_LOST),
        rtt_mean_us: rtt_mean_us[at],
        rtt_deviation_us: rtt_deviation_us[at],
        pong_intervals_ms: intervals.split_off_front(pong_interval_count[at] as usize),
        vitals: marks[at].contains(Marks::HAS_VITALS).then(|| native::Vitals {
            loop_delay_ms: loop_delay_ms[at],
            fsync_ms: fsync_ms[at],
            syncing_ms: syncing_ms[at],
            apply_backlog: apply_backlog[at],
            free_disk_bytes: free_disk_bytes[at],
        }),
        witnesses: witnesses.split_off_front(witness_count[at] as usize),
        flaps_last_hour: flaps_last_hour[at],
        in_maintenance: marks[at].contains(Marks::IN_MAINTENANCE),
        previous: if marks[at].contains(Marks::FAILED) {
            native::Health::Failed
        } else if marks[at].contains(Marks::SUSPECT) {
            native::Health::Suspect
        } else {
            native::Health::Healthy
        },
        memory: {
            let (own, rest) = memory.split_at(memory_length[at] as usize);
            memory = rest;
            own.to_vec()
        },
    };
    (0..count).map(evidence).collect()
}

fn witnesses(columns: &Nodes) -> Vec<native::Witness> {
    let witness = |(at, observer): (usize, &u64)| native::Witness {
        observer: *observer,
        misses: columns.witness_misses[at],
        refusals: columns.witness_refusals[at],
        timeouts: columns.witness_timeouts[at],
        age_ms: columns.witness_age_ms[at],
    };
    columns.witness_observer.iter().enumerate().map(witness).collect()
}

impl From<&[native::NodeVerdict]> for Verdicts {
    fn from(verdicts: &[native::NodeVerdict]) -> Self {
        let mut told = Vec::new();
        let reason = verdicts.iter().map(|verdict| number(&mut told, &verdict.reason)).collect();
        let remembers = verdicts.iter().any(|verdict| !verdict.memory.is_empty());
        let lengths = verdicts.iter().filter(|_| remembers).map(|verdict| verdict.memory.len() as u32);
        Self {
            node: verdicts.iter().map(|verdict| verdict.node).collect(),
            health: verdicts.iter().map(|verdict| verdict.health.into()).collect(),
            reason,
            reasons: told.into_iter().map(|reason| reason.as_str().to_owned()).collect(),
            memory_length: lengths.collect(),
            memory: memories(verdicts),
        }
    }
}

/// In one piece for each node: byte by byte it would cost more fuel than there is.
fn memories(verdicts: &[native::NodeVerdict]) -> Vec<u8> {
    let mut all = Vec::with_capacity(verdicts.iter().map(|verdict| verdict.memory.len()).sum());
    verdicts.iter().for_each(|verdict| all.extend_from_slice(&verdict.memory));
    all
}

/// The number of a reason among those that are told.
fn number<'a>(told: &mut Vec<&'a SmolStr>, reason: &'a SmolStr) -> u32 {
    let recent = told.len().saturating_sub(RECENT_REASONS);
    let known = told[recent..].iter().rposition(|told| *told == reason);
    let number = known.map_or_else(
        || {
            told.push(reason);
            told.len() - 1
        },
        |at| recent + at,
    );
    number as u32
}
