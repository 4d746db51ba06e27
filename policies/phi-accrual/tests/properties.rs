//! What holds of phi-accrual for every input.

use baton_model::NodeRole;
use baton_policy::{
    Classic, DetectionInput, ElectionChoice, ElectionInput, Health, NodeEvidence, NodeVerdict, Policy,
    Settings, Shared, VoterView, Witness, validate_detection, validate_election,
};
use baton_policy_phi_accrual::PhiAccrual;
use proptest::prelude::*;

fn settings() -> impl Strategy<Value = Settings> {
    let choices = (1_u32..=16, 1_u32..=60_000, 0_u32..=60_000, 1_u32..=32);
    let realistic = (1_u32..=16, 1_u32..=400, 0_u32..=3_000, 1_u32..=32);
    proptest::option::weighted(0.8, prop_oneof![choices, realistic]).prop_map(|chosen| {
        let Some((threshold, min_deviation_ms, acceptable_pause_ms, min_samples)) = chosen else {
            return Settings::new();
        };
        [
            ("threshold", threshold),
            ("min_deviation_ms", min_deviation_ms),
            ("acceptable_pause_ms", acceptable_pause_ms),
            ("min_samples", min_samples),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .into()
    })
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(0), 4 => 0_u32..4, 1 => Just(u32::MAX)]
}

prop_compose! {
    fn node()(
        misses in prop_oneof![0_u32..4, 0_u32..40, 0_u32..400, Just(u32::MAX)],
        refusals in count(),
        timeouts in count(),
        connection_lost in any::<bool>(),
        in_maintenance in proptest::bool::weighted(0.2),
        previous in health(),
        pong_intervals_ms in prop_oneof![
            proptest::collection::vec(100_u32..200, 0..33),
            proptest::collection::vec(0_u32..3_000, 0..33),
            proptest::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 0..70),
        ],
        witnesses in proptest::collection::vec(count(), 0..3),
    ) -> NodeEvidence {
        NodeEvidence {
            misses, refusals, timeouts, connection_lost, in_maintenance, previous,
            pong_intervals_ms: pong_intervals_ms.into(),
            witnesses: (90..)
                .zip(witnesses)
                .map(|(observer, misses)| Witness { observer, misses, refusals: 0, timeouts: 0, age_ms: 100 })
                .collect(),
            ..NodeEvidence::answering(0, NodeRole::Leaf)
        }
    }
}

fn interval() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(150_u64), 2 => 10_u64..=10_000, 1 => Just(0), 1 => Just(u64::MAX)]
}

fn late() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0_u64), 2 => 0_u64..2_000, 1 => Just(u64::MAX)]
}

prop_compose! {
    fn detection()(
        heartbeat_interval_ms in interval(),
        observer_late_ms in late(),
        settings in settings(),
        nodes in proptest::collection::vec(node(), 0..6),
    ) -> DetectionInput {
        let nodes = (1_u64..).zip(nodes).map(|(id, node)| NodeEvidence { node: id, ..node }).collect();
        DetectionInput { heartbeat_interval_ms, observer_late_ms, settings, nodes, ..Default::default() }
    }
}

prop_compose! {
    fn election()(
        heartbeat_interval_ms in interval(),
        observer_late_ms in late(),
        settings in settings(),
        rank in prop_oneof![4 => 0_u32..6, 1 => Just(u32::MAX)],
        election_timeout_ms in prop_oneof![100_u64..40_000, Just(u64::MAX)],
        master in node(),
        unled_ms in prop_oneof![0_u64..5_000, 0_u64..70_000, Just(u64::MAX)],
        sees_master in proptest::collection::vec(any::<Option<bool>>(), 0..4),
        since_last_campaign_ms in proptest::option::of(0_u64..10_000),
    ) -> ElectionInput {
        ElectionInput {
            now_ms: 0,
            heartbeat_interval_ms,
            observer_late_ms,
            settings,
            seed: 0,
            self_node: 2,
            rank,
            election_timeout_ms,
            term: 1,
            master: NodeEvidence { node: 1, role: NodeRole::Aggregator, ..master },
            unled_ms,
            voters: (3..)
                .zip(sees_master)
                .map(|(node, sees_master)| VoterView { node, reachable: true, sees_master, log_index: 0, ..Default::default() })
                .collect(),
            campaigns: 0,
            since_last_campaign_ms,
            ..Default::default()
        }
    }
}

/// What classic says of the same, which has none of these settings.
fn by_classic(input: &DetectionInput) -> Vec<NodeVerdict> {
    Classic.detect(&DetectionInput { settings: Settings::new(), ..input.clone() })
}

fn campaigns(policy: impl Policy, input: &ElectionInput) -> bool {
    policy.elect(input).choice == ElectionChoice::Campaign
}

fn is_hard(node: &NodeEvidence) -> bool {
    node.connection_lost && node.refusals > 0
}

/// A setting of the input, or its default.
fn set(input: &DetectionInput, name: &str) -> u32 {
    let setting = PhiAccrual.describe().settings.into_iter().find(|setting| setting.name == name).unwrap();
    input.settings.get(name).unwrap_or(&setting.default).parse().unwrap()
}

/// Phi of a time, by floating point: a textbook continued fraction for the tail beyond it (Abramowitz and Stegun
/// 26.2.14), which converges for what is well above the mean.
fn phi(time: f64, mean: f64, deviation: f64) -> f64 {
    let z = (time - mean) / deviation;
    let fraction = (1..200).rev().fold(z, |below, step| z + f64::from(step) / below);
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    -(density / fraction).log10()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_always_accepted(detection in detection(), election in election()) {
        prop_assert_eq!(PhiAccrual.check(&detection.settings), Ok(()));
        prop_assert_eq!(validate_detection(&detection, &PhiAccrual.detect(&detection)), Ok(()));
        prop_assert_eq!(validate_election(&PhiAccrual.elect(&election)), Ok(()));
    }

    /// The same input has the same answer, whatever time, seed and memory say, and each node is judged for itself.
    #[test]
    fn nothing_but_the_evidence_counts(input in detection(), now_ms in any::<u64>(), seed in any::<u64>()) {
        let verdicts = PhiAccrual.detect(&input);
        let mut other = DetectionInput { now_ms, seed, ..input.clone() };
        other.nodes.iter_mut().for_each(|node| {
            node.memory = vec![7; 9];
            node.witnesses = Shared::empty();
        });
        prop_assert_eq!(&PhiAccrual.detect(&other), &verdicts);
        for (node, verdict) in input.nodes.iter().zip(verdicts) {
            let alone = DetectionInput { nodes: vec![node.clone()], ..input.clone() };
            prop_assert_eq!(PhiAccrual.detect(&alone), vec![verdict]);
        }
    }

    /// Whatever classic calls failed is failed.
    #[test]
    fn nobody_is_slower_than_classic(input in detection()) {
        for (verdict, classic) in PhiAccrual.detect(&input).into_iter().zip(by_classic(&input)) {
            prop_assert!(verdict.health == Health::Failed || classic.health != Health::Failed, "{verdict:?}");
        }
    }

    /// Of whom too little is known, classic says the same, but for hard evidence.
    #[test]
    fn without_a_history_it_is_classic(input in detection()) {
        let fewest = set(&input, "min_samples") as usize;
        for ((node, verdict), classic) in input.nodes.iter().zip(PhiAccrual.detect(&input)).zip(by_classic(&input)) {
            if node.pong_intervals_ms.len() < fewest && !is_hard(node) {
                prop_assert_eq!(verdict.health, classic.health);
            }
        }
    }

    /// A failed node is taken back only when it is heard, and one under maintenance does not fail.
    #[test]
    fn verdicts_are_settled(input in detection()) {
        for (node, verdict) in input.nodes.iter().zip(PhiAccrual.detect(&input)) {
            prop_assert_eq!(verdict.health, node.settle(verdict.health));
            if node.previous == Health::Failed && !node.is_heard() {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
            if node.previous != Health::Failed && node.in_maintenance {
                prop_assert!(verdict.health != Health::Failed);
            }
        }
    }

    /// A node that answers and has nothing against it is healthy, whatever its pongs were like.
    #[test]
    fn who_answers_is_healthy(mut input in detection()) {
        for node in &mut input.nodes {
            *node = NodeEvidence { misses: 0, refusals: 0, timeouts: 0, connection_lost: false, ..node.clone() };
        }
        for verdict in PhiAccrual.detect(&input) {
            prop_assert_eq!(verdict.health, Health::Healthy);
        }
    }

    /// A late observer fails nobody whom classic and hard evidence would not.
    #[test]
    fn a_late_observer_fails_nobody_for_silence(mut input in detection()) {
        input.observer_late_ms = input.heartbeat_interval_ms.saturating_add(1);
        prop_assume!(input.observer_late_ms > input.heartbeat_interval_ms);
        for ((node, verdict), classic) in input.nodes.iter().zip(PhiAccrual.detect(&input)).zip(by_classic(&input)) {
            if !is_hard(node) && classic.health != Health::Failed {
                prop_assert!(verdict.health != Health::Failed, "{verdict:?}");
            }
        }
    }

    /// More evidence never makes a node look better.
    #[test]
    fn evidence_only_adds_up(
        mut input in detection(),
        misses in 0_u32..100,
        refusals in 0_u32..3,
        lost in any::<bool>(),
    ) {
        let before = PhiAccrual.detect(&input);
        for node in &mut input.nodes {
            node.misses = node.misses.saturating_add(misses);
            node.refusals = node.refusals.saturating_add(refusals);
            node.connection_lost |= lost;
        }
        for (before, after) in before.into_iter().zip(PhiAccrual.detect(&input)) {
            prop_assert!(after.health >= before.health, "{after:?} after {before:?}");
        }
    }

    /// A setting that asks for more patience makes nobody fail sooner.
    #[test]
    fn patience_is_patience(input in detection(), more in 1_u32..20_000) {
        let before = PhiAccrual.detect(&input);
        for (name, most) in [("threshold", 16), ("min_deviation_ms", 60_000), ("acceptable_pause_ms", 60_000)] {
            let mut patient = input.clone();
            patient.settings.insert(name.to_owned(), set(&input, name).saturating_add(more).min(most).to_string());
            prop_assert_eq!(PhiAccrual.check(&patient.settings), Ok(()));
            for (before, after) in before.iter().zip(PhiAccrual.detect(&patient)) {
                prop_assert!(after.health <= before.health, "{name}: {after:?} after {before:?}");
            }
        }
    }

    /// The verdict on silence is the one that floating point would reach, within a few milliseconds.
    #[test]
    fn whole_numbers_decide_as_floats_would(
        pongs in proptest::collection::vec(0_u32..3_000, 8..33),
        misses in 0_u32..200,
        threshold in 1_u32..=16,
        min_deviation_ms in 1_u32..=400,
        acceptable_pause_ms in 0_u32..=3_000,
    ) {
        let settings: Settings = [
            ("threshold", threshold),
            ("min_deviation_ms", min_deviation_ms),
            ("acceptable_pause_ms", acceptable_pause_ms),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .into();
        let count = f64::from(u32::try_from(pongs.len()).unwrap());
        let average = pongs.iter().copied().map(f64::from).sum::<f64>() / count;
        let variance = pongs.iter().map(|pong| (f64::from(*pong) - average).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt().max(min_deviation_ms.into());
        let mean = average.max(150.0) + f64::from(acceptable_pause_ms);
        let time = f64::from(misses * 150);
        let node = NodeEvidence { misses, pong_intervals_ms: pongs.into(), ..NodeEvidence::answering(1, NodeRole::Leaf) };
        let input = DetectionInput { heartbeat_interval_ms: 150, settings, nodes: vec![node], ..Default::default() };
        let health = PhiAccrual.detect(&input)[0].health;
        // Two roundings to whole milliseconds, of which a deviation's counts up to z times.
        if time - 12.0 > mean && phi(time - 12.0, mean, deviation) > f64::from(threshold) {
            prop_assert_eq!(health, Health::Failed);
        }
        if time + 12.0 <= mean || phi(time + 12.0, mean, deviation) < f64::from(threshold) {
            prop_assert!(health != Health::Failed);
        }
    }

    /// Nobody waits for longer than under classic.
    #[test]
    fn nobody_campaigns_after_classic(input in election()) {
        prop_assert!(campaigns(PhiAccrual, &input) || !campaigns(Classic, &input));
    }

    /// A master that is heard and leads is left alone, and voters do not storm.
    #[test]
    fn a_master_that_leads_is_left_alone(input in election()) {
        if campaigns(PhiAccrual, &input) {
            let master = &input.master;
            prop_assert!(master.refusals > 0 || master.misses > 0 || input.unled_ms > 0);
            prop_assert!(input.since_last_campaign_ms.is_none_or(|since_ms| since_ms >= 500));
        }
    }

    /// Whoever is behind campaigns no sooner.
    #[test]
    fn the_first_in_rank_campaigns_first(input in election(), more in 1_u32..10) {
        let behind = ElectionInput { rank: input.rank.saturating_add(more), ..input.clone() };
        prop_assert!(campaigns(PhiAccrual, &input) || !campaigns(PhiAccrual, &behind));
    }

    /// What is no number is refused, with the setting and the value in the text, and decides nothing.
    #[test]
    fn garbage_is_refused_and_never_used(garbage in r"[^0-9+\s]\PC{0,20}", input in detection()) {
        let unset = PhiAccrual.detect(&DetectionInput { settings: Settings::new(), ..input.clone() });
        for name in ["threshold", "min_deviation_ms", "acceptable_pause_ms", "min_samples"] {
            let garbled = Settings::from([(name.to_owned(), garbage.clone())]);
            let text = PhiAccrual.check(&garbled).expect_err(name);
            prop_assert!(text.starts_with(&format!("{name} = '{garbage}' is not a whole number from ")), "{text}");
            prop_assert_eq!(&PhiAccrual.detect(&DetectionInput { settings: garbled, ..input.clone() }), &unset);
        }
    }
}
