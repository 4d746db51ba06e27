//! In the sandbox and outside it a policy gives the same answers, whatever it is asked.

use std::sync::{Arc, LazyLock};

use baton_model::NodeRole;
use baton_policy::{
    Candidate, Classic, DegradeInput, DetectionInput, ElectionInput, Health, NodeEvidence, Policy,
    PromotionInput, Settings, Vitals, VoterView, Witness,
};
use baton_policy_host::{BUILTINS, CallLimits, Module, PolicyHost};
use baton_policy_swift::Swift;
use proptest::prelude::*;

static MODULES: LazyLock<[Arc<Module>; 2]> = LazyLock::new(|| {
    let host = PolicyHost::new().unwrap();
    BUILTINS.map(|builtin| host.compile(builtin.bytes).unwrap())
});

fn pairs() -> [(&'static Module, &'static dyn Policy); 2] {
    [(&MODULES[0], &Classic), (&MODULES[1], &Swift)]
}

/// Small numbers, where the limits are, and any other.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..12, 2 => 0_u32..300, 1 => any::<u32>()]
}

fn long_number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..700, 2 => 0_u64..60_000, 1 => any::<u64>()]
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)]
}

fn settings() -> impl Strategy<Value = Settings> {
    let name = prop_oneof![
        Just("miss_limit"),
        Just("refusal_penalty"),
        Just("silence_misses"),
        Just("alone_misses"),
        Just("stagger_ms"),
        Just("degrade_ms")
    ];
    let value = prop_oneof![3 => (0_u32..100).prop_map(|value| value.to_string()), 1 => ".{0,6}"];
    proptest::collection::btree_map(name.prop_map(str::to_owned), value, 0..4)
}

prop_compose! {
    fn witness()(
        observer in 1_u64..6, misses in number(), refusals in 0_u32..3, timeouts in 0_u32..2, age_ms in 0_u32..900,
    ) -> Witness {
        Witness { observer, misses, refusals, timeouts, age_ms }
    }
}

prop_compose! {
    fn vitals()(numbers in any::<[u64; 4]>()) -> Vitals {
        let [loop_delay_ms, fsync_ms, apply_backlog, free_disk_bytes] = numbers;
        Vitals { loop_delay_ms, fsync_ms, apply_backlog, free_disk_bytes, ..Default::default() }
    }
}

prop_compose! {
    fn node()(
        (misses, refusals, timeouts) in (number(), prop_oneof![0_u32..4, number()], prop_oneof![0_u32..3, number()]),
        (connecting, connection_lost, in_maintenance) in any::<(bool, bool, bool)>(),
        (rtt_mean_us, rtt_deviation_us) in any::<(u64, u64)>(),
        pong_intervals_ms in proptest::collection::vec(any::<u32>(), 0..32),
        vitals in proptest::option::of(vitals()),
        witnesses in proptest::collection::vec(witness(), 0..4),
        flaps_last_hour in any::<u32>(),
        previous in health(),
        memory in proptest::collection::vec(any::<u8>(), 0..64),
        role in prop_oneof![Just(NodeRole::Leaf), Just(NodeRole::Aggregator)],
    ) -> NodeEvidence {
        NodeEvidence {
            node: 1, role, misses, refusals, timeouts, connecting, connection_lost, rtt_mean_us, rtt_deviation_us,
            pong_intervals_ms, vitals, witnesses, flaps_last_hour, in_maintenance, previous, memory,
        }
    }
}

prop_compose! {
    fn detection()(
        now_ms in any::<u64>(), heartbeat_interval_ms in long_number(), observer_late_ms in long_number(),
        settings in settings(), seed in any::<u64>(), nodes in proptest::collection::vec(node(), 0..6),
    ) -> DetectionInput {
        let nodes = (1_u64..).zip(nodes).map(|(id, node)| NodeEvidence { node: id, ..node }).collect();
        DetectionInput { now_ms, heartbeat_interval_ms, observer_late_ms, settings, seed, nodes, ..Default::default() }
    }
}

prop_compose! {
    fn voter()(
        node in 3_u64..9, reachable in any::<bool>(), sees_master in any::<Option<bool>>(), log_index in any::<u64>(),
    ) -> VoterView {
        VoterView { node, reachable, sees_master, log_index, ..Default::default() }
    }
}

prop_compose! {
    fn election()(
        now_ms in any::<u64>(), heartbeat_interval_ms in long_number(), observer_late_ms in long_number(),
        settings in settings(), seed in any::<u64>(), rank in number(), election_timeout_ms in long_number(),
        term in any::<u64>(), master in node(), voters in proptest::collection::vec(voter(), 0..4),
        campaigns in any::<u32>(), since_last_campaign_ms in proptest::option::of(long_number()),
        unled_ms in long_number(),
    ) -> ElectionInput {
        ElectionInput {
            now_ms, heartbeat_interval_ms, observer_late_ms, settings, seed, self_node: 2, rank, election_timeout_ms,
            term, master, voters, campaigns, since_last_campaign_ms, unled_ms,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn promotion()(
        now_ms in any::<u64>(), settings in settings(), seed in any::<u64>(), database in ".{0,16}",
        partition in any::<u32>(), failed_primary in any::<u64>(), failed_group in any::<u32>(),
        candidates in proptest::collection::btree_map(
            1_u64..20, (proptest::option::of(0_u64..3), any::<u32>(), 0_u32..3, 0_u64..2_000, any::<u64>(), any::<u32>()), 1..6,
        ),
    ) -> PromotionInput {
        let candidates = candidates
            .into_iter()
            .map(|(node, (lsn, group, primaries_held, last_pong_age_ms, rtt_mean_us, flaps_last_hour))| Candidate {
                node, lsn, group, primaries_held, last_pong_age_ms, rtt_mean_us, flaps_last_hour,
                ..Default::default()
            })
            .collect();
        PromotionInput { now_ms, settings, seed, database, partition, failed_primary, failed_group, candidates, ..Default::default() }
    }
}

prop_compose! {
    fn degrade()(
        (now_ms, seed) in any::<(u64, u64)>(), settings in settings(), database in ".{0,16}", partition in any::<u32>(),
        (sync_replica_timeout_ms, silent_ms, oldest_wait_ms) in (long_number(), long_number(), long_number()),
        (primary, primary_group, replica_group) in any::<(u64, u32, u32)>(), linked in any::<bool>(),
        waiting_writes in prop_oneof![Just(0), any::<u64>()],
        (copies_left, groups_left) in any::<(u32, u32)>(), replica in node(),
    ) -> DegradeInput {
        DegradeInput {
            now_ms, settings, seed, database, partition, sync_replica_timeout_ms, primary, primary_group, replica_group,
            silent_ms, linked, waiting_writes, oldest_wait_ms, copies_left, groups_left, replica,
            ..Default::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn detection_is_the_same(input in detection()) {
        for (module, native) in pairs() {
            let (verdicts, stats) = module.detect(&input, &CallLimits::default()).unwrap();
            prop_assert_eq!(verdicts, native.detect(&input), "{}", module.name());
            let (_, again) = module.detect(&input, &CallLimits::default()).unwrap();
            prop_assert_eq!(stats.fuel, again.fuel, "the same input costs the same");
        }
    }

    #[test]
    fn election_is_the_same(input in election()) {
        for (module, native) in pairs() {
            let (verdict, _) = module.elect(&input, &CallLimits::default()).unwrap();
            prop_assert_eq!(verdict, native.elect(&input), "{}", module.name());
        }
    }

    #[test]
    fn promotion_is_the_same(input in promotion()) {
        for (module, native) in pairs() {
            let (verdict, _) = module.promote(&input, &CallLimits::default()).unwrap();
            prop_assert_eq!(verdict, native.promote(&input), "{}", module.name());
        }
    }

    #[test]
    fn degrade_is_the_same(input in degrade()) {
        for (module, native) in pairs() {
            let (verdict, _) = module.degrade(&input, &CallLimits::default()).unwrap();
            prop_assert_eq!(verdict, native.degrade(&input), "{}", module.name());
        }
    }
}

#[test]
fn they_say_of_themselves_what_they_say_outside() {
    for (module, native) in pairs() {
        let described = native.describe();
        assert_eq!(module.manifest().name, described.name);
        assert_eq!(module.manifest().version, described.version);
        assert_eq!(module.manifest().settings, described.settings);
    }
}
