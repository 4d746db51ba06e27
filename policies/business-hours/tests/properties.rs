//! What holds of business-hours for every input.

use baton_model::NodeRole;
use baton_policy::{
    Classic, DegradeChoice, DegradeInput, DetectionInput, Health, NodeEvidence, Policy, Settings,
    validate_degrade, validate_detection,
};
use baton_policy_business_hours::BusinessHours;
use proptest::prelude::*;

prop_compose! {
    fn node()(
        misses in prop_oneof![0_u32..700, Just(u32::MAX)],
        refusals in prop_oneof![0_u32..6, Just(u32::MAX)],
        timeouts in 0_u32..4,
        connection_lost in any::<bool>(),
        in_maintenance in any::<bool>(),
        previous in prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)],
    ) -> NodeEvidence {
        NodeEvidence {
            misses, refusals, timeouts, connection_lost, in_maintenance, previous,
            ..NodeEvidence::answering(0, NodeRole::Leaf)
        }
    }
}

prop_compose! {
    fn settings()(open in 0_u32..=1, open_percent in 10_u32..=100, closed_percent in 100_u32..=300) -> Settings {
        [("open", open), ("open_percent", open_percent), ("closed_percent", closed_percent)]
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .into()
    }
}

prop_compose! {
    fn detection()(settings in settings(), nodes in proptest::collection::vec(node(), 0..8)) -> DetectionInput {
        let nodes = (1_u64..).zip(nodes).map(|(id, node)| NodeEvidence { node: id, ..node }).collect();
        DetectionInput { heartbeat_interval_ms: 150, settings, nodes, ..Default::default() }
    }
}

prop_compose! {
    fn degrade()(
        settings in settings(),
        replica in node(),
        sync_replica_timeout_ms in prop_oneof![100_u64..10_000, Just(u64::MAX)],
        silent_ms in 0_u64..40_000,
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
            linked: true,
            waiting_writes: 0,
            oldest_wait_ms: 0,
            copies_left: 1,
            groups_left: 1,
            replica,
            ..Default::default()
        }
    }
}

fn is_open(settings: &Settings) -> bool {
    settings["open"] == "1"
}

/// What classic says of the same, which has none of these settings.
fn by_classic(input: &DetectionInput) -> Vec<Health> {
    let input = DetectionInput { settings: Settings::new(), ..input.clone() };
    Classic.detect(&input).into_iter().map(|verdict| verdict.health).collect()
}

fn degrades(policy: impl Policy, input: &DegradeInput) -> bool {
    policy.degrade(input).choice == DegradeChoice::Degrade
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_always_accepted(detection in detection(), degrade in degrade()) {
        prop_assert_eq!(BusinessHours.check(&detection.settings), Ok(()));
        prop_assert_eq!(validate_detection(&detection, &BusinessHours.detect(&detection)), Ok(()));
        prop_assert_eq!(validate_degrade(&BusinessHours.degrade(&degrade)), Ok(()));
    }

    /// By day on anything, and at any hour on refusals, nobody is slower than classic.
    #[test]
    fn it_is_never_slower_than_classic_on_refusals(input in detection()) {
        let verdicts = BusinessHours.detect(&input);
        for ((node, verdict), classic) in input.nodes.iter().zip(verdicts).zip(by_classic(&input)) {
            if is_open(&input.settings) || node.refusals > 0 {
                prop_assert!(verdict.health >= classic, "{verdict:?}, classic {classic}");
            }
        }
    }

    /// By night it is never quicker than classic.
    #[test]
    fn by_night_nobody_is_failed_in_haste(mut input in detection()) {
        input.settings.insert("open".into(), "0".into());
        for (verdict, classic) in BusinessHours.detect(&input).into_iter().zip(by_classic(&input)) {
            prop_assert!(verdict.health <= classic, "{verdict:?}, classic {classic}");
        }
    }

    /// More evidence never makes a node look better, though a first refusal changes the limit.
    #[test]
    fn evidence_only_adds_up(mut input in detection(), misses in 0_u32..100, refusals in 0_u32..3) {
        let before: Vec<_> = BusinessHours.detect(&input).into_iter().map(|verdict| verdict.health).collect();
        for node in &mut input.nodes {
            node.misses = node.misses.saturating_add(misses);
            node.refusals = node.refusals.saturating_add(refusals);
        }
        for (before, after) in before.into_iter().zip(BusinessHours.detect(&input)) {
            prop_assert!(after.health >= before, "{after:?} after {before}");
        }
    }

    /// A failed node is taken back only when it is heard.
    #[test]
    fn silence_never_heals(input in detection()) {
        for (node, verdict) in input.nodes.iter().zip(BusinessHours.detect(&input)) {
            if node.previous == Health::Failed && !node.is_heard() {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
        }
    }

    /// A replica is waited for no longer than under classic by day, and when its leaf refuses connections; otherwise no
    /// shorter, and never longer than any policy may.
    #[test]
    fn a_replica_has_what_the_hour_gives(input in degrade()) {
        let (ours, classic) = (degrades(BusinessHours, &input), degrades(Classic, &input));
        if is_open(&input.settings) || input.replica.refusals > 0 {
            prop_assert!(ours || !classic);
        }
        if !is_open(&input.settings) {
            prop_assert!(classic || !ours);
        }
        prop_assert!(ours || input.silent_ms < input.sync_replica_timeout_ms.saturating_mul(3));
    }

    /// What is no number is refused, with the setting and the value in the text, and decides nothing.
    #[test]
    fn garbage_is_refused_and_never_used(garbage in r"[^0-9+\s]\PC{0,20}", input in detection()) {
        for name in ["open", "open_percent", "closed_percent"] {
            let garbled = Settings::from([(name.to_owned(), garbage.clone())]);
            let text = BusinessHours.check(&garbled).expect_err(name);
            prop_assert!(text.starts_with(&format!("{name} = '{garbage}' is not a whole number from ")), "{text}");
            let garbled = DetectionInput { settings: garbled, ..input.clone() };
            let unset = DetectionInput { settings: Settings::new(), ..input.clone() };
            prop_assert_eq!(BusinessHours.detect(&garbled), BusinessHours.detect(&unset));
        }
    }
}
