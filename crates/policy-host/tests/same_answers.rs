//! In the sandbox and outside it a policy gives the same answers, whatever it is asked.

use std::sync::{Arc, LazyLock};

use baton_model::NodeRole;
use baton_policy::{
    Candidate, Cell, Classic, DegradeInput, DetectionInput, ElectionInput, Health, LeafLoad, MaintainedNode,
    MaintenanceInput, MaintenancePurpose, NodeEvidence, PlacementInput, Policy, Present, PromotionInput,
    RejoinInput, RetryInput, Settings, Vitals, VoterView, Witness,
};
use baton_policy_chaos::Chaos;
use baton_policy_host::{BUILTINS, CallLimits, Module, PolicyHost, Sandboxed};
use baton_policy_swift::Swift;
use proptest::prelude::*;

static MODULES: LazyLock<[Arc<Module>; 2]> = LazyLock::new(|| {
    let host = PolicyHost::new().unwrap();
    BUILTINS.map(|builtin| host.compile(builtin.bytes).unwrap())
});

static CHAOS: LazyLock<Arc<Module>> =
    LazyLock::new(|| PolicyHost::new().unwrap().compile(include_bytes!("fixtures/chaos.wasm")).unwrap());

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
    fn vitals()(numbers in any::<[u64; 5]>()) -> Vitals {
        let [loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes] = numbers;
        Vitals { loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes }
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
        group in 0_u32..3,
    ) -> NodeEvidence {
        NodeEvidence {
            group,
            node: 1, role, misses, refusals, timeouts, connecting, connection_lost, rtt_mean_us, rtt_deviation_us,
            pong_intervals_ms: pong_intervals_ms.into(),
            witnesses: witnesses.into(),
            vitals, flaps_last_hour, in_maintenance, previous, memory,
        }
    }
}

prop_compose! {
    fn detection()(
        now_ms in any::<u64>(), heartbeat_interval_ms in long_number(), observer_late_ms in long_number(),
        settings in settings(), seed in any::<u64>(), nodes in proptest::collection::vec(node(), 0..6),
    ) -> DetectionInput {
        let nodes = (1_u64..).zip(nodes).map(|(id, node)| NodeEvidence { node: id, ..node }).collect();
        let wall_ms = seed.rotate_left(9);
        DetectionInput { now_ms, wall_ms, heartbeat_interval_ms, observer_late_ms, settings, seed, nodes }
    }
}

prop_compose! {
    fn voter()(
        node in 3_u64..9, reachable in any::<bool>(), sees_master in any::<Option<bool>>(), log_index in any::<u64>(),
        last_pong_age_ms in any::<Option<u64>>(), vitals in proptest::option::of(vitals()),
    ) -> VoterView {
        VoterView { node, reachable, sees_master, log_index, last_pong_age_ms, vitals }
    }
}

prop_compose! {
    fn election()(
        now_ms in any::<u64>(), heartbeat_interval_ms in long_number(), observer_late_ms in long_number(),
        settings in settings(), seed in any::<u64>(), rank in number(), election_timeout_ms in long_number(),
        term in any::<u64>(), master in node(), voters in proptest::collection::vec(voter(), 0..4),
        campaigns in any::<u32>(), since_last_campaign_ms in proptest::option::of(long_number()),
        unled_ms in long_number(), self_vitals in vitals(),
    ) -> ElectionInput {
        ElectionInput {
            now_ms, heartbeat_interval_ms, observer_late_ms, settings, seed, self_node: 2, rank, election_timeout_ms,
            term, master, voters, campaigns, since_last_campaign_ms, unled_ms, self_vitals,
            wall_ms: seed.rotate_left(9),
        }
    }
}

prop_compose! {
    fn promotion()(
        now_ms in any::<u64>(), settings in settings(), seed in any::<u64>(), database in ".{0,16}",
        partition in any::<u32>(), failed_primary in any::<u64>(), failed_group in any::<u32>(),
        candidates in proptest::collection::btree_map(
            1_u64..20,
            (
                proptest::option::of(0_u64..3), any::<u32>(), 0_u32..3, 0_u64..2_000, any::<u64>(), any::<u32>(),
                proptest::option::of(vitals()), any::<bool>(),
            ),
            1..6,
        ),
    ) -> PromotionInput {
        let candidates = candidates
            .into_iter()
            .map(|(node, told)| {
                let (lsn, group, primaries_held, last_pong_age_ms, rtt_mean_us, flaps_last_hour, vitals, in_maintenance) =
                    told;
                Candidate {
                    node, lsn, group, primaries_held, last_pong_age_ms, rtt_mean_us, flaps_last_hour, vitals,
                    in_maintenance,
                }
            })
            .collect();
        let wall_ms = seed.rotate_left(9);
        PromotionInput {
            now_ms, wall_ms, settings, seed, database, partition, failed_primary, failed_group, candidates,
        }
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
            wall_ms: seed.rotate_left(9),
        }
    }
}

prop_compose! {
    fn rejoin()(
        (now_ms, wall_ms, seed) in any::<(u64, u64, u64)>(), settings in settings(), leaf in node(),
        (answering_ms, initial_grace_ms, maximum_grace_ms) in (long_number(), long_number(), long_number()),
        (instances, needed_by, group_leaves, group_online) in (number(), 0_u32..3, number(), number()),
        (restarted, disk_replaced, lost_tail) in any::<(bool, bool, bool)>(),
    ) -> RejoinInput {
        RejoinInput {
            now_ms, wall_ms, settings, seed, leaf, answering_ms, initial_grace_ms, maximum_grace_ms, instances, needed_by,
            restarted, disk_replaced, lost_tail, group_leaves, group_online,
        }
    }
}

prop_compose! {
    /// Leaves in pairs, or each with each of the other group; partitions anywhere, or nowhere yet.
    fn placement()(
        settings in settings(), (now_ms, wall_ms, seed) in any::<(u64, u64, u64)>(), database in ".{0,16}",
        (is_new, count_others, spread) in any::<(bool, bool, bool)>(), pairs in 1_u64..5,
        loads in proptest::collection::vec((0_u32..9, 0_u32..9, 0_u32..4, proptest::option::of(vitals())), 10),
        places in proptest::collection::vec((1_u64..10, 1_u64..10, any::<bool>()), 0..24),
    ) -> PlacementInput {
        let cell = |a: u64, b: u64| Cell { leaves: vec![a, 100 + b], heads: vec![a, 100 + b] };
        let cells = if spread {
            (1..=pairs).flat_map(|a| (1..=pairs).map(move |b| cell(a, b))).collect()
        } else {
            (1..=pairs).map(|a| cell(a, a)).collect()
        };
        let leaves = (1..=pairs).chain(101..=100 + pairs).zip(loads).map(
            |(node, (instances, primaries, flaps_last_hour, vitals))| LeafLoad {
                node, group: if node > 100 { 2 } else { 1 }, instances, primaries, flaps_last_hour, vitals,
                in_maintenance: flaps_last_hour == 3,
            },
        );
        let partitions = places.into_iter().map(|(a, b, is_there)| {
            if is_there { Present { leaves: vec![a, 100 + b], primary: Some(a) } } else { Present::default() }
        });
        PlacementInput {
            now_ms, wall_ms, settings, seed, database, is_new, count_others, cells,
            leaves: leaves.collect(), partitions: partitions.collect(),
        }
    }
}

prop_compose! {
    fn maintained()(
        is_leaf in any::<bool>(), group in 1_u32..3, is_online in any::<bool>(), is_voter in any::<bool>(),
        (instances, primaries, last_copies, flaps_last_hour) in (number(), number(), 0_u32..2, number()),
        in_maintenance in any::<bool>(),
    ) -> MaintainedNode {
        MaintainedNode {
            node: 0,
            role: if is_leaf { NodeRole::Leaf } else { NodeRole::Aggregator },
            group: if is_leaf { group } else { 0 },
            is_master: false,
            is_voter: is_voter && !is_leaf,
            is_online, instances, primaries, last_copies, flaps_last_hour, in_maintenance,
        }
    }
}

prop_compose! {
    fn maintenance()(
        settings in settings(), (now_ms, wall_ms, seed) in any::<(u64, u64, u64)>(),
        purpose in prop_oneof![
            Just(MaintenancePurpose::Restart), Just(MaintenancePurpose::Stop), Just(MaintenancePurpose::Start)
        ],
        nodes in proptest::collection::vec(maintained(), 0..12),
    ) -> MaintenanceInput {
        let mut nodes: Vec<_> = (1..).zip(nodes).map(|(id, node)| MaintainedNode { node: id, ..node }).collect();
        if let Some(master) = nodes.iter_mut().find(|node| node.role == NodeRole::Aggregator) {
            (master.is_master, master.is_voter) = (true, true);
        }
        MaintenanceInput { now_ms, wall_ms, settings, seed, purpose, nodes }
    }
}

prop_compose! {
    fn retry()(
        settings in settings(), (now_ms, wall_ms, seed) in any::<(u64, u64, u64)>(), database in ".{0,16}",
        partition in any::<u32>(), uncertain in any::<bool>(), (waited_ms, buffer_ms) in (long_number(), long_number()),
        (attempts, waiting, heirs) in (number(), number(), number()), awaited in proptest::option::of(node()),
        last in ".{0,32}",
    ) -> RetryInput {
        RetryInput {
            now_ms, wall_ms, settings, seed, database, partition, uncertain, waited_ms, buffer_ms, attempts, waiting, heirs,
            awaited, last,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn detection_is_the_same(input in detection()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn election_is_the_same(input in election()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn promotion_is_the_same(input in promotion()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn degrade_is_the_same(input in degrade()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn rejoin_is_the_same(input in rejoin()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn placement_is_the_same(input in placement()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn maintenance_is_the_same(input in maintenance()) {
        all_answer_alike(&input)?;
    }

    #[test]
    fn retry_is_the_same(input in retry()) {
        all_answer_alike(&input)?;
    }
}

/// In the sandbox as outside, at the same price each time; of the policies that answer this decision point.
fn all_answer_alike<Q: Sandboxed>(question: &Q) -> Result<(), TestCaseError> {
    for (module, native) in pairs() {
        if !module.manifest().decision_points.contains(&Q::POINT) {
            continue;
        }
        let (verdict, stats) = module.ask(question, &CallLimits::default()).unwrap();
        prop_assert_eq!(verdict, question.answer_of(native), "{}", module.name());
        let (_, again) = module.ask(question, &CallLimits::default()).unwrap();
        prop_assert_eq!(stats.fuel, again.fuel, "the same input costs the same");
    }
    // All that is asked gets through: the reason is a digest of it.
    let mut echoed = question.clone();
    *echoed.settings_mut() = Settings::from([("chaos".to_owned(), "echo".to_owned())]);
    let limits = CallLimits { fuel: 500_000_000, time_ms: 60_000, ..CallLimits::default() };
    let (verdict, _) = CHAOS.ask(&echoed, &limits).unwrap();
    prop_assert_eq!(verdict, echoed.answer_of(&Chaos));
    Ok(())
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
