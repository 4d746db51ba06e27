//! What holds of classic, and of what counts as an answer, for every input.

use baton_model::NodeRole;
use baton_policy::{
    Candidate, Classic, DEGRADE_CEILING, DETECTION_CEILING, DegradeChoice, DegradeInput, DegradeVerdict,
    DetectionInput, Health, NodeEvidence, NodeVerdict, Policy, PromotionInput, PromotionVerdict, Rejection,
    Settings, enforce_degrade_ceiling, enforce_detection_ceiling, validate_detection, validate_promotion,
};
use proptest::prelude::*;

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)]
}

prop_compose! {
    fn node()(
        misses in 0_u32..400,
        refusals in 0_u32..5,
        timeouts in 0_u32..3,
        connection_lost in any::<bool>(),
        in_maintenance in any::<bool>(),
        previous in health(),
    ) -> NodeEvidence {
        NodeEvidence {
            misses, refusals, timeouts, connection_lost, in_maintenance, previous,
            ..NodeEvidence::answering(0, NodeRole::Leaf)
        }
    }
}

prop_compose! {
    fn detection()(nodes in proptest::collection::vec(node(), 0..8)) -> DetectionInput {
        let nodes = (1_u64..).zip(nodes).map(|(id, node)| NodeEvidence { node: id, ..node }).collect();
        DetectionInput { heartbeat_interval_ms: 150, nodes, ..Default::default() }
    }
}

prop_compose! {
    fn promotion()(
        candidates in proptest::collection::btree_map(1_u64..20, (proptest::option::of(0_u64..4), 0_u32..4), 1..8),
    ) -> PromotionInput {
        PromotionInput {
            now_ms: 0,
            settings: Settings::new(),
            seed: 0,
            database: "db".to_owned(),
            partition: 0,
            failed_primary: 0,
            failed_group: 1,
            candidates: candidates
                .into_iter()
                .map(|(node, (lsn, primaries_held))| Candidate {
                    node,
                    lsn,
                    group: 2,
                    primaries_held,
                    last_pong_age_ms: 0,
                    rtt_mean_us: 0,
                    flaps_last_hour: 0,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }
}

fn verdict(node: u64) -> NodeVerdict {
    NodeVerdict { node, health: Health::Healthy, reason: "".into(), memory: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn classic_is_always_accepted(detection in detection(), promotion in promotion()) {
        prop_assert_eq!(validate_detection(&detection, &Classic.detect(&detection)), Ok(()));
        prop_assert_eq!(validate_promotion(&promotion, &Classic.promote(&promotion)), Ok(()));
    }

    /// More evidence never makes a node look better.
    #[test]
    fn evidence_only_adds_up(mut input in detection(), more in 1_u32..100) {
        let before: Vec<_> = Classic.detect(&input).into_iter().map(|verdict| verdict.health).collect();
        for node in &mut input.nodes {
            node.misses += more;
        }
        for (before, after) in before.into_iter().zip(Classic.detect(&input)) {
            prop_assert!(after.health >= before, "{:?} after {}", after, before);
        }
    }

    /// A failed node is taken back only when it is heard.
    #[test]
    fn silence_never_heals(input in detection()) {
        for (node, verdict) in input.nodes.iter().zip(Classic.detect(&input)) {
            if node.previous == Health::Failed && !node.is_heard() {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
        }
    }

    /// Nobody with a shorter log comes before one with a longer log, and nobody with an unknown one before a known.
    #[test]
    fn the_longest_log_is_first(input in promotion()) {
        let lsn = |node: &u64| input.candidates.iter().find(|candidate| candidate.node == *node).unwrap().lsn;
        prop_assert!(Classic.promote(&input).ranking.iter().map(lsn).is_sorted_by(|a, b| a >= b));
    }

    /// One verdict left out, doubled or misdirected is found.
    #[test]
    fn every_node_is_answered_once(input in detection(), pick in any::<prop::sample::Index>()) {
        prop_assume!(!input.nodes.is_empty());
        let good = Classic.detect(&input);
        let at = pick.index(good.len());
        let node = good[at].node;

        let mut short = good.clone();
        short.remove(at);
        prop_assert_eq!(validate_detection(&input, &short), Err(Rejection::Unanswered(node)));

        let mut double = good.clone();
        double.push(verdict(node));
        prop_assert_eq!(validate_detection(&input, &double), Err(Rejection::AnsweredTwice(node)));

        let mut astray = good;
        astray[at].node = 99;
        prop_assert_eq!(validate_detection(&input, &astray), Err(Rejection::UnknownNode(99)));
    }
}

#[test]
fn reasons_and_memories_have_a_limit() {
    let input =
        DetectionInput { nodes: vec![NodeEvidence::answering(1, NodeRole::Leaf)], ..Default::default() };
    let talkative = NodeVerdict { reason: "x".repeat(1025).into(), ..verdict(1) };
    assert_eq!(validate_detection(&input, &[talkative]), Err(Rejection::ReasonTooLong(1025)));
    let hoarding = NodeVerdict { memory: vec![0; 4097], ..verdict(1) };
    assert_eq!(validate_detection(&input, &[hoarding]), Err(Rejection::MemoryTooLong(1, 4097)));
}

#[test]
fn a_ranking_names_candidates_once_and_at_least_one() {
    let candidate = Candidate {
        node: 3,
        lsn: Some(1),
        group: 1,
        primaries_held: 0,
        last_pong_age_ms: 0,
        rtt_mean_us: 0,
        flaps_last_hour: 0,
        ..Default::default()
    };
    let input = PromotionInput {
        now_ms: 0,
        settings: Settings::new(),
        seed: 0,
        database: "db".to_owned(),
        partition: 0,
        failed_primary: 1,
        failed_group: 1,
        candidates: vec![candidate],
        ..Default::default()
    };
    let check = |ranking: &[u64], rejected: &[u64]| {
        let rejected = rejected.iter().map(|node| (*node, String::new())).collect();
        let verdict = PromotionVerdict { ranking: ranking.to_vec(), reason: String::new(), rejected };
        validate_promotion(&input, &verdict)
    };
    assert_eq!(check(&[3], &[]), Ok(()));
    assert_eq!(check(&[], &[3]), Err(Rejection::NobodyRanked));
    assert_eq!(check(&[3, 3], &[]), Err(Rejection::NamedTwice(3)));
    assert_eq!(check(&[3], &[3]), Err(Rejection::NamedTwice(3)));
    assert_eq!(check(&[3, 4], &[]), Err(Rejection::NoCandidate(4)));
}

/// S8: whatever a policy says of it, a node fails at a multiple of what classic would have called failure, and not a
/// miss or a millisecond earlier. Under maintenance it does not.
#[test]
fn no_policy_calls_a_node_healthy_for_ever() {
    let misses = u32::try_from(200 * DETECTION_CEILING).unwrap();
    let told = |misses, refusals, in_maintenance| {
        let node = NodeEvidence::answering(1, NodeRole::Leaf);
        let nodes = vec![NodeEvidence { misses, refusals, in_maintenance, ..node }];
        let input = DetectionInput { nodes, ..Default::default() };
        let mut verdicts = vec![NodeVerdict { reason: "all is well".into(), ..verdict(1) }];
        enforce_detection_ceiling(&input, &mut verdicts);
        (verdicts[0].health, verdicts[0].reason.clone())
    };
    assert_eq!(told(misses - 1, 0, false), (Health::Healthy, "all is well".into()));
    let reason = "score 2000, which no policy may call healthy: 2000 misses";
    assert_eq!(told(misses, 0, false), (Health::Failed, reason.into()));
    assert_eq!(told(misses - 60, 1, false).0, Health::Failed);
    assert_eq!(told(misses, 0, true).0, Health::Healthy);
}

#[test]
fn no_policy_lets_a_primary_wait_for_ever() {
    let told = |silent_ms, verdict: DegradeVerdict| {
        let input = DegradeInput {
            now_ms: 0,
            settings: Settings::new(),
            seed: 0,
            database: "db".into(),
            partition: 0,
            sync_replica_timeout_ms: 700,
            primary: 2,
            primary_group: 1,
            replica_group: 2,
            silent_ms,
            linked: true,
            waiting_writes: 1,
            oldest_wait_ms: silent_ms,
            copies_left: 1,
            groups_left: 1,
            replica: NodeEvidence::answering(3, NodeRole::Leaf),
            ..Default::default()
        };
        let mut verdict = verdict;
        enforce_degrade_ceiling(&input, &mut verdict);
        verdict
    };
    let wait = || DegradeVerdict::wait("it will come");
    assert_eq!(told(700 * DEGRADE_CEILING - 1, wait()), wait());
    let ended = told(700 * DEGRADE_CEILING, wait());
    assert_eq!(ended.choice, DegradeChoice::Degrade);
    assert_eq!(
        ended.reason,
        "it acknowledged nothing for 2100 ms, and no policy may wait for more than 2100 ms"
    );
    let own = DegradeVerdict::degrade("enough");
    assert_eq!(told(9_999, own.clone()), own, "its own verdict and reason stay");
}
