//! What holds of two-witness for every input.

use std::collections::BTreeSet;

use baton_model::NodeRole;
use baton_policy::{
    Classic, DegradeChoice, DegradeInput, DetectionInput, ElectionChoice, ElectionInput, Health,
    NodeEvidence, Policy, Settings, Shared, VoterView, Witness, enforce_detection_ceiling, validate_degrade,
    validate_detection, validate_election,
};
use baton_policy_two_witness::TwoWitness;
use proptest::prelude::*;

const SETTINGS: [&str; 3] = ["witnesses", "silence_misses", "degrade_ms"];

fn settings() -> impl Strategy<Value = Settings> {
    let chosen = (1_u32..=16, 3_u32..=200, 500_u32..=600_000);
    let realistic = (1_u32..=3, 3_u32..=20, 500_u32..=6_000);
    proptest::option::weighted(0.8, prop_oneof![1 => chosen, 3 => realistic]).prop_map(|chosen| {
        let Some((witnesses, silence_misses, degrade_ms)) = chosen else { return Settings::new() };
        let values = [witnesses, silence_misses, degrade_ms];
        SETTINGS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    })
}

/// A setting that is set, or its default.
fn set(settings: &Settings, name: &str) -> u32 {
    let setting = TwoWitness.describe().settings.into_iter().find(|setting| setting.name == name).unwrap();
    settings.get(name).unwrap_or(&setting.default).parse().unwrap()
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(0), 3 => 0_u32..4, 1 => Just(u32::MAX)]
}

fn misses() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..4, 0_u32..25, 0_u32..400, Just(u32::MAX)]
}

prop_compose! {
    fn witness()(
        // The judged nodes are 1 to 5, and the biggest names make the longest reasons.
        observer in prop_oneof![1_u64..12, u64::MAX - 20..=u64::MAX],
        misses in misses(),
        refusals in count(),
        timeouts in count(),
        age_ms in prop_oneof![4 => 0_u32..700, 1 => Just(u32::MAX)],
    ) -> Witness {
        Witness { observer, misses, refusals, timeouts, age_ms }
    }
}

prop_compose! {
    fn node()(
        misses in misses(),
        refusals in count(),
        timeouts in count(),
        connection_lost in any::<bool>(),
        in_maintenance in proptest::bool::weighted(0.2),
        previous in prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)],
        witnesses in prop_oneof![
            4 => proptest::collection::vec(witness(), 0..4),
            1 => proptest::collection::vec(witness(), 0..40),
        ],
    ) -> NodeEvidence {
        NodeEvidence {
            misses, refusals, timeouts, connection_lost, in_maintenance, previous,
            witnesses: witnesses.into(),
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
        voters in proptest::collection::vec(any::<(bool, Option<bool>)>(), 0..4),
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
                .zip(voters)
                .map(|(node, (reachable, sees_master))| VoterView { node, reachable, sees_master, log_index: 0, ..Default::default() })
                .collect(),
            campaigns: 0,
            since_last_campaign_ms,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn degrade()(
        settings in settings(),
        replica in node(),
        sync_replica_timeout_ms in prop_oneof![100_u64..10_000, Just(u64::MAX)],
        silent_ms in prop_oneof![0_u64..12_000, Just(u64::MAX)],
        linked in any::<bool>(),
        waiting_writes in 0_u64..3,
        oldest_wait_ms in prop_oneof![0_u64..12_000, Just(u64::MAX)],
    ) -> DegradeInput {
        DegradeInput {
            now_ms: 0,
            settings,
            seed: 0,
            database: "db".to_owned(),
            partition: 0,
            sync_replica_timeout_ms,
            primary: 2,
            primary_group: 1,
            replica_group: 2,
            silent_ms,
            linked,
            waiting_writes,
            oldest_wait_ms,
            copies_left: 1,
            groups_left: 1,
            replica,
            ..Default::default()
        }
    }
}

/// The other nodes that said something against this one within four intervals.
fn accusers(input: &DetectionInput, node: &NodeEvidence) -> BTreeSet<u64> {
    let age_ms_max = input.heartbeat_interval_ms.saturating_mul(4);
    node.witnesses
        .iter()
        .filter(|witness| witness.observer != node.node && u64::from(witness.age_ms) <= age_ms_max)
        .filter(|witness| witness.misses >= 2 || witness.refusals > 0 || witness.timeouts > 0)
        .map(|witness| witness.observer)
        .collect()
}

fn campaigns(policy: impl Policy, input: &ElectionInput) -> bool {
    policy.elect(input).choice == ElectionChoice::Campaign
}

fn degrades(policy: impl Policy, input: &DegradeInput) -> bool {
    policy.degrade(input).choice == DegradeChoice::Degrade
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_always_accepted(detection in detection(), election in election(), degrade in degrade()) {
        prop_assert_eq!(TwoWitness.check(&detection.settings), Ok(()));
        prop_assert_eq!(validate_detection(&detection, &TwoWitness.detect(&detection)), Ok(()));
        prop_assert_eq!(validate_election(&TwoWitness.elect(&election)), Ok(()));
        prop_assert_eq!(validate_degrade(&TwoWitness.degrade(&degrade)), Ok(()));
    }

    /// The same input has the same answer, whatever time, seed and memory say, and each node is judged for itself.
    #[test]
    fn nothing_but_the_evidence_counts(input in detection(), now_ms in any::<u64>(), seed in any::<u64>()) {
        let verdicts = TwoWitness.detect(&input);
        let mut other = DetectionInput { now_ms, seed, ..input.clone() };
        other.nodes.iter_mut().for_each(|node| node.memory = vec![7; 9]);
        prop_assert_eq!(&TwoWitness.detect(&other), &verdicts);
        for (node, verdict) in input.nodes.iter().zip(verdicts) {
            let alone = DetectionInput { nodes: vec![node.clone()], ..input.clone() };
            prop_assert_eq!(TwoWitness.detect(&alone), vec![verdict]);
        }
    }

    /// Nobody fails on one word: each failure has as many fresh witnesses as are set, and the observer's own evidence.
    #[test]
    fn nobody_fails_on_one_word(input in detection()) {
        let needed = set(&input.settings, "witnesses") as usize;
        for (node, verdict) in input.nodes.iter().zip(TwoWitness.detect(&input)) {
            if verdict.health == Health::Failed && node.previous != Health::Failed {
                prop_assert!(accusers(&input, node).len() >= needed, "{verdict:?}");
                prop_assert!(node.misses >= 3 || node.refusals > 0 || node.timeouts > 0, "{verdict:?}");
            }
        }
    }

    /// With nobody to confirm it no node fails, however much there is against it; the host's bound is the end.
    #[test]
    fn without_a_witness_the_bound_decides(mut input in detection()) {
        for node in &mut input.nodes {
            node.witnesses = Shared::empty();
            node.previous = Health::Suspect;
        }
        let mut verdicts = TwoWitness.detect(&input);
        prop_assert!(verdicts.iter().all(|verdict| verdict.health != Health::Failed));
        enforce_detection_ceiling(&input, &mut verdicts);
        for (node, verdict) in input.nodes.iter().zip(verdicts) {
            let (score, _) = Classic::score(node, &Settings::new());
            prop_assert_eq!(verdict.health == Health::Failed, score >= 2_000 && !node.in_maintenance);
        }
    }

    /// What classic calls failed, and enough others are refused, is failed.
    #[test]
    fn with_witnesses_nobody_is_slower_than_classic(mut input in detection()) {
        let needed = u64::from(set(&input.settings, "witnesses"));
        for node in &mut input.nodes {
            node.witnesses = (100..100 + needed)
                .map(|observer| Witness { observer, misses: 0, refusals: 1, timeouts: 0, age_ms: 0 })
                .collect();
        }
        let classic = Classic.detect(&DetectionInput { settings: Settings::new(), ..input.clone() });
        for (verdict, classic) in TwoWitness.detect(&input).into_iter().zip(classic) {
            prop_assert!(verdict.health == Health::Failed || classic.health != Health::Failed, "{verdict:?}");
        }
    }

    /// A failed node is taken back only when it is heard, and one under maintenance does not fail.
    #[test]
    fn verdicts_are_settled(input in detection()) {
        for (node, verdict) in input.nodes.iter().zip(TwoWitness.detect(&input)) {
            prop_assert_eq!(verdict.health, node.settle(verdict.health));
            if node.previous == Health::Failed && !node.is_heard() {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
            if node.previous != Health::Failed && node.in_maintenance {
                prop_assert!(verdict.health != Health::Failed);
            }
        }
    }

    /// Who answers this observer is healthy, whatever others say.
    #[test]
    fn who_answers_is_healthy(mut input in detection(), misses in 0_u32..=2) {
        for node in &mut input.nodes {
            *node = NodeEvidence { misses, refusals: 0, timeouts: 0, connection_lost: false, ..node.clone() };
        }
        for verdict in TwoWitness.detect(&input) {
            prop_assert_eq!(verdict.health, Health::Healthy);
        }
    }

    /// More evidence never makes a node look better, whoever has it.
    #[test]
    fn evidence_only_adds_up(
        mut input in detection(),
        misses in 0_u32..100,
        refusals in 0_u32..3,
        lost in any::<bool>(),
        another in witness(),
    ) {
        let before = TwoWitness.detect(&input);
        for node in &mut input.nodes {
            node.misses = node.misses.saturating_add(misses);
            node.refusals = node.refusals.saturating_add(refusals);
            node.connection_lost |= lost;
            let mut witnesses = node.witnesses.to_vec();
            for witness in &mut witnesses {
                witness.misses = witness.misses.saturating_add(misses);
                witness.refusals = witness.refusals.saturating_add(refusals);
            }
            if witnesses.iter().all(|witness| witness.observer != another.observer) {
                witnesses.push(another);
            }
            node.witnesses = witnesses.into();
        }
        for (before, after) in before.into_iter().zip(TwoWitness.detect(&input)) {
            prop_assert!(after.health >= before.health, "{after:?} after {before:?}");
        }
    }

    /// Asking for more witnesses, or for a longer silence, makes nobody fail sooner.
    #[test]
    fn patience_is_patience(input in detection(), more in 1_u32..20) {
        let before = TwoWitness.detect(&input);
        for (name, most) in [("witnesses", 16), ("silence_misses", 200)] {
            let mut patient = input.clone();
            let value = set(&input.settings, name).saturating_add(more).min(most);
            patient.settings.insert(name.to_owned(), value.to_string());
            prop_assert_eq!(TwoWitness.check(&patient.settings), Ok(()));
            for (before, after) in before.iter().zip(TwoWitness.detect(&patient)) {
                prop_assert!(after.health <= before.health, "{name}: {after:?} after {before:?}");
            }
        }
    }

    /// Nobody waits longer than under classic, so no cluster stays without a master aggregator for want of a witness.
    #[test]
    fn nobody_campaigns_after_classic(input in election()) {
        prop_assert!(campaigns(TwoWitness, &input) || !campaigns(Classic, &input));
    }

    /// Whoever campaigns before classic would has another voter's word, and its own evidence.
    #[test]
    fn nobody_campaigns_early_on_one_word(input in election()) {
        if campaigns(TwoWitness, &input) && !campaigns(Classic, &input) {
            prop_assert!(input.voters.iter().any(|voter| voter.reachable && voter.sees_master == Some(false)));
            let master = &input.master;
            let is_timeless = input.heartbeat_interval_ms == 0;
            prop_assert!(master.refusals > 0 || master.misses > 0 || input.unled_ms > 0 || is_timeless);
            prop_assert!(input.since_last_campaign_ms.is_none_or(|since_ms| since_ms >= 500));
        }
    }

    /// Whoever is behind campaigns no sooner.
    #[test]
    fn the_first_in_rank_campaigns_first(input in election(), more in 1_u32..10) {
        let behind = ElectionInput { rank: input.rank.saturating_add(more), ..input.clone() };
        prop_assert!(campaigns(TwoWitness, &input) || !campaigns(TwoWitness, &behind));
    }

    /// A replica is waited for no longer than under classic, and no shorter on the primary's word alone.
    #[test]
    fn a_replica_is_degraded_early_by_two(input in degrade()) {
        let (ours, classic) = (degrades(TwoWitness, &input), degrades(Classic, &input));
        prop_assert!(ours || !classic);
        if ours && !classic {
            let leaf = &input.replica;
            prop_assert!(leaf.misses >= 3 || leaf.refusals > 0 || leaf.timeouts > 0);
            prop_assert!(input.waiting_writes > 0);
            prop_assert!(input.oldest_wait_ms >= u64::from(set(&input.settings, "degrade_ms")));
        }
    }

    /// What is no number is refused, with the setting and the value in the text, and decides nothing.
    #[test]
    fn garbage_is_refused_and_never_used(garbage in r"[^0-9+\s]\PC{0,20}", input in detection()) {
        let unset = TwoWitness.detect(&DetectionInput { settings: Settings::new(), ..input.clone() });
        for name in SETTINGS {
            let garbled = Settings::from([(name.to_owned(), garbage.clone())]);
            let text = TwoWitness.check(&garbled).expect_err(name);
            prop_assert!(text.starts_with(&format!("{name} = '{garbage}' is not a whole number from ")), "{text}");
            prop_assert_eq!(&TwoWitness.detect(&DetectionInput { settings: garbled, ..input.clone() }), &unset);
        }
    }
}
