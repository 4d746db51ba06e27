//! Silence, as phi judges it: pongs of one kind or another, and how long a node may then be silent.

use baton_model::NodeRole;
use baton_policy::{
    DetectionInput, ElectionChoice, ElectionInput, Health, NodeEvidence, Policy, Settings, VoterView,
};
use baton_policy_phi_accrual::PhiAccrual;

const INTERVAL_MS: u64 = 150;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn node(pongs: &[u32], misses: u32) -> NodeEvidence {
    NodeEvidence {
        pong_intervals_ms: pongs.to_vec().into(),
        misses,
        ..NodeEvidence::answering(4, NodeRole::Leaf)
    }
}

/// The health of one node, and why.
fn judged(node: NodeEvidence, settings: Settings) -> (Health, String) {
    let input = DetectionInput {
        heartbeat_interval_ms: INTERVAL_MS,
        settings,
        nodes: vec![node],
        ..DetectionInput::default()
    };
    let verdict = PhiAccrual.detect(&input).remove(0);
    (verdict.health, verdict.reason.to_string())
}

/// After how many missed pings a node is suspect, and failed.
fn limits(pongs: &[u32], set: &[(&str, &str)]) -> (u32, u32) {
    let reached = |health: Health| {
        (0_u32..).find(|misses| judged(node(pongs, *misses), settings(set)).0 >= health).unwrap()
    };
    (reached(Health::Suspect), reached(Health::Failed))
}

/// The same intervals as often as there is room for.
fn again(pongs: &[u32]) -> Vec<u32> {
    pongs.iter().copied().cycle().take(32).collect()
}

#[test]
fn a_node_like_clockwork_has_failed_within_two_seconds() {
    let clockwork = again(&[150]);
    assert_eq!(limits(&clockwork, &[]), (4, 12));
    for (misses, told) in [
        (0, "healthy: phi 0.0 of 8, silent for 0 ms of 1712 ms (*): answers"),
        (4, "suspect: phi 0.1 of 8, silent for 600 ms of 1712 ms (*): 4 misses"),
        (11, "suspect: phi 6.5 of 8, silent for 1650 ms of 1712 ms (*): 11 misses"),
        (12, "failed: phi 10.3 of 8, silent for 1800 ms of 1712 ms (*): 12 misses"),
    ] {
        let (health, reason) = judged(node(&clockwork, misses), Settings::new());
        let told = told.replace('*', "mean 150 ms, deviation 0 ms counted as 100 ms");
        assert_eq!(format!("{health}: {reason}"), told);
    }
}

/// The table of the page.
#[test]
fn a_node_that_stutters_has_more_time() {
    for (longest_ms, deviation_ms, due_ms, misses) in [
        (575, 100, 1_712, 12),
        (863, 150, 1_992, 14),
        (1_150, 200, 2_273, 16),
        (1_725, 300, 2_834, 19),
        (2_874, 500, 3_957, 27),
        (4_599, 800, 5_641, 38),
    ] {
        // One that is late, and those after it at once.
        let mut pongs = vec![0; 31];
        pongs.push(longest_ms);
        let (_, reason) = judged(node(&pongs, 0), Settings::new());
        let told = format!("of {due_ms} ms (mean 150 ms, deviation {deviation_ms} ms)");
        assert!(reason.contains(&told), "{reason}");
        assert_eq!(limits(&pongs, &[]).1, misses, "{reason}");
    }
}

/// It had a pause of five seconds, and came through: for the next 32 pongs it may have another.
#[test]
fn a_long_pause_is_remembered_as_long_as_the_pongs_are() {
    let mut pongs = vec![150; 31];
    pongs.push(5_000);
    assert_eq!(limits(&pongs, &[]).1, 41);
    pongs.remove(31);
    pongs.push(150);
    assert_eq!(limits(&pongs, &[]).1, 12);
}

/// However wild the pongs are, nobody waits for longer than under classic.
#[test]
fn classic_is_the_most_that_anybody_has() {
    let wild = again(&[10, 60_000]);
    assert_eq!(limits(&wild, &[]), (200, 200));
    let (health, reason) = judged(node(&wild, 200), Settings::new());
    assert_eq!(health, Health::Failed);
    assert_eq!(
        reason,
        "score 200 of 200, whatever phi is: 200 misses; phi 0.2 of 8, silent for 30000 ms of 199367 ms (mean \
         30005 ms, deviation 29995 ms)"
    );
    let refused = NodeEvidence { refusals: 3, ..node(&wild, 20) };
    assert_eq!(judged(refused, Settings::new()).0, Health::Failed);
}

#[test]
fn the_settings_move_the_limits() {
    let clockwork = again(&[150]);
    for (name, value, limits_then) in [
        ("threshold", "1", (2, 9)),
        ("threshold", "3", (3, 10)),
        ("threshold", "16", (5, 14)),
        ("min_deviation_ms", "1", (2, 8)),
        ("min_deviation_ms", "300", (9, 19)),
        ("min_deviation_ms", "60000", (200, 200)),
        ("acceptable_pause_ms", "0", (4, 5)),
        ("acceptable_pause_ms", "3000", (4, 25)),
        ("acceptable_pause_ms", "60000", (4, 200)),
        ("min_samples", "32", (4, 12)),
    ] {
        assert_eq!(limits(&clockwork, &[(name, value)]), limits_then, "{name} = {value}");
    }
    assert_eq!(limits(&clockwork[1..], &[("min_samples", "32")]), (100, 200));
    assert_eq!(limits(&clockwork[..8], &[]), (4, 12));
    assert_eq!(limits(&clockwork[..7], &[]), (100, 200));
}

/// It was patient, and becomes hasty: what silence there is counts at once. The other way round nobody rises.
#[test]
fn a_threshold_that_is_changed_counts_at_once_and_raises_nobody() {
    let pongs = again(&[10, 10, 10, 1_000]);
    let at = |threshold: &str, previous: Health, misses: u32| {
        let node = NodeEvidence { previous, ..node(&pongs, misses) };
        judged(node, settings(&[("threshold", threshold)])).0
    };
    assert_eq!(at("16", Health::Healthy, 30), Health::Suspect);
    assert_eq!(at("8", Health::Suspect, 30), Health::Failed);
    assert_eq!(at("16", Health::Failed, 30), Health::Failed);
    assert_eq!(at("16", Health::Failed, 3), Health::Failed);
    assert_eq!(at("16", Health::Failed, 2), Health::Healthy);
}

/// Where heartbeats are far apart, pings that renew a lease come between; a miss is of a heartbeat nevertheless.
#[test]
fn heartbeats_far_apart_are_counted_as_far_apart() {
    let far = |misses: u32| {
        let input = DetectionInput {
            heartbeat_interval_ms: 10_000,
            nodes: vec![node(&again(&[150]), misses)],
            ..DetectionInput::default()
        };
        PhiAccrual.detect(&input)[0].health
    };
    assert_eq!([0, 1, 2].map(far), [Health::Healthy, Health::Healthy, Health::Failed]);
}

/// A connection that broke, a refusal and a timeout are suspicious, and no more by themselves.
#[test]
fn a_doubt_is_not_a_verdict() {
    let clockwork = node(&again(&[150]), 1);
    for doubtful in [
        NodeEvidence { connection_lost: true, ..clockwork.clone() },
        NodeEvidence { refusals: 1, ..clockwork.clone() },
        NodeEvidence { timeouts: 1, ..clockwork.clone() },
        NodeEvidence { connection_lost: true, timeouts: 1, ..clockwork.clone() },
    ] {
        assert_eq!(judged(doubtful, Settings::new()).0, Health::Suspect);
    }
    let gone = NodeEvidence { connection_lost: true, refusals: 1, ..clockwork };
    assert_eq!(
        judged(gone, Settings::new()),
        (Health::Failed, "connection lost, then refused: 1 miss, 1 refusal".to_owned())
    );
}

/// An observer that was late does not judge silence, for as long as it is late.
#[test]
fn a_late_observer_does_not_judge_silence() {
    let at = |observer_late_ms: u64| {
        let input = DetectionInput {
            heartbeat_interval_ms: INTERVAL_MS,
            observer_late_ms,
            nodes: vec![node(&again(&[150]), 12), node(&again(&[150]), 0)],
            ..DetectionInput::default()
        };
        let verdicts = PhiAccrual.detect(&input);
        assert_eq!(verdicts[1].health, Health::Healthy);
        (verdicts[0].health, verdicts[0].reason.clone())
    };
    assert_eq!(at(150).0, Health::Failed);
    let (health, reason) = at(151);
    assert_eq!(health, Health::Suspect);
    assert!(
        reason.starts_with("observer 151 ms late, silence not judged: 12 misses; phi 10.3 of 8"),
        "{reason}"
    );
}

fn election(misses: u32, unled_ms: u64, rank: u32) -> ElectionInput {
    ElectionInput {
        now_ms: 0,
        heartbeat_interval_ms: INTERVAL_MS,
        observer_late_ms: 0,
        settings: Settings::new(),
        seed: 0,
        self_node: 2,
        rank,
        election_timeout_ms: 30_000,
        term: 1,
        master: NodeEvidence { role: NodeRole::Aggregator, node: 1, ..node(&again(&[150]), misses) },
        unled_ms,
        voters: vec![VoterView {
            node: 3,
            reachable: true,
            sees_master: Some(true),
            log_index: 0,
            ..Default::default()
        }],
        campaigns: 0,
        since_last_campaign_ms: None,
        ..Default::default()
    }
}

fn campaigns(input: &ElectionInput) -> bool {
    PhiAccrual.elect(input).choice == ElectionChoice::Campaign
}

#[test]
fn a_silent_master_is_campaigned_against_in_turn() {
    for (rank, misses) in [(0, 12), (1, 14), (2, 16)] {
        assert!(!campaigns(&election(misses - 1, 100, rank)), "rank {rank}");
        assert!(campaigns(&election(misses, 100, rank)), "rank {rank}");
    }
    assert_eq!(
        PhiAccrual.elect(&election(14, 2_050, 1)).reason,
        "master n1: 14 misses; led 2050 ms ago; phi 16.0 of 8, silent for 2100 ms of 2012 ms (mean 150 ms, deviation \
         0 ms counted as 100 ms), rank 1"
    );
}

#[test]
fn a_master_that_leads_nobody_is_silent_although_it_answers() {
    for (rank, unled_ms) in [(0, 1_712), (1, 2_012), (2, 2_312)] {
        for misses in [0, 1, 2] {
            assert!(!campaigns(&election(misses, unled_ms - 1, rank)), "rank {rank}");
            assert!(campaigns(&election(misses, unled_ms, rank)), "rank {rank}");
        }
    }
    assert_eq!(
        PhiAccrual.elect(&election(0, 1_712, 0)).reason,
        "master n1: answers; led 1712 ms ago; phi 8.0 of 8, silent for 1712 ms of 1712 ms (mean 150 ms, deviation \
         0 ms counted as 100 ms), rank 0"
    );
}

#[test]
fn a_late_voter_waits_but_no_longer_than_under_classic() {
    let late = |misses: u32| ElectionInput { observer_late_ms: 151, ..election(misses, 0, 0) };
    assert!(!campaigns(&late(12)));
    assert!(!campaigns(&late(199)));
    assert!(campaigns(&late(200)));
}

#[test]
fn campaigns_are_half_a_second_apart() {
    let again =
        |since_ms: u64| ElectionInput { since_last_campaign_ms: Some(since_ms), ..election(12, 0, 0) };
    assert!(!campaigns(&again(499)));
    assert!(campaigns(&again(500)));
}
