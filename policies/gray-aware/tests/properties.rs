//! What holds of gray-aware for every input.

use baton_model::NodeRole;
use baton_policy::{
    Classic, DegradeChoice, DegradeInput, DetectionInput, Health, NodeEvidence, NodeVerdict, Policy,
    Settings, Vitals, validate_degrade, validate_detection,
};
use baton_policy_gray_aware::GrayAware;
use proptest::prelude::*;

const INTERVAL_MS: u64 = 150;
const GRAY_MS: u64 = 5_000;
const RECOVER_MS: u64 = 30_000;

const SETTINGS: [&str; 8] = [
    "fsync_limit_ms",
    "loop_limit_ms",
    "gray_ms",
    "slow_syncs_min",
    "gray_nodes_max",
    "recover_ms",
    "free_disk_min_mb",
    "degrade_ms",
];

/// Around the limits of the defaults, and any other.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..4_000, 1 => Just(0), 1 => any::<u64>()]
}

prop_compose! {
    fn vitals()(
        loop_delay_ms in span(),
        fsync_ms in span(),
        syncing_ms in prop_oneof![2 => Just(0), 1 => span()],
        apply_backlog in prop_oneof![Just(0), any::<u64>()],
        free_disk_bytes in prop_oneof![3 => Just(1_u64 << 40), 1 => any::<u64>(), 1 => 0_u64..2 << 30],
    ) -> Vitals {
        Vitals { loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes }
    }
}

/// A memory: the policy's own with any numbers in it, nothing, or what is nobody's.
#[derive(Clone, Debug)]
enum Told {
    Own { head: [u8; 3], age_ms: u64, spans: [u64; 6] },
    Bytes(Vec<u8>),
}

fn memory() -> impl Strategy<Value = Told> {
    let span = || prop_oneof![2 => Just(0), 4 => 1_u64..40_000, 1 => any::<u64>()];
    let own = (
        0_u8..=1,
        any::<u8>(),
        prop_oneof![5 => 0_u64..=600, 1 => any::<u64>()],
        proptest::array::uniform6(span()),
    )
        .prop_map(|(failed, syncs, age_ms, spans)| Told::Own { head: [1, failed, syncs], age_ms, spans });
    prop_oneof![
        6 => own,
        2 => Just(Told::Bytes(Vec::new())),
        1 => proptest::collection::vec(any::<u8>(), 0..=70).prop_map(Told::Bytes),
    ]
}

impl Told {
    /// Mostly possible at this moment, so that it is believed.
    fn bytes(self, now_ms: u64) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Own { head, age_ms, spans } => {
                let at_ms = now_ms.wrapping_sub(age_ms);
                let numbers = spans.map(|span| if span == u64::MAX { span } else { span.min(at_ms) });
                let numbers = [at_ms].into_iter().chain(numbers);
                head.into_iter().chain(numbers.flat_map(u64::to_le_bytes)).collect()
            }
        }
    }
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![2 => Just(Health::Healthy), 1 => Just(Health::Suspect), 2 => Just(Health::Failed)]
}

prop_compose! {
    fn node()(
        misses in prop_oneof![6 => 0_u32..3, 2 => 0_u32..260, 1 => any::<u32>()],
        refusals in prop_oneof![6 => Just(0_u32), 1 => 0_u32..5, 1 => any::<u32>()],
        timeouts in prop_oneof![6 => Just(0_u32), 1 => 0_u32..5, 1 => any::<u32>()],
        connection_lost in proptest::bool::weighted(0.1),
        in_maintenance in proptest::bool::weighted(0.1),
        previous in health(),
        vitals in proptest::option::weighted(0.9, vitals()),
        flaps_last_hour in any::<u32>(),
        is_aggregator in proptest::bool::weighted(0.1),
    ) -> NodeEvidence {
        let role = if is_aggregator { NodeRole::Aggregator } else { NodeRole::Leaf };
        NodeEvidence {
            misses, refusals, timeouts, connection_lost, in_maintenance, previous, vitals, flaps_last_hour,
            ..NodeEvidence::answering(0, role)
        }
    }
}

prop_compose! {
    fn settings()(
        fsync_limit_ms in 100_u32..3_000,
        loop_limit_ms in 100_u32..3_000,
        gray_ms in 1_000_u32..10_000,
        slow_syncs_min in 1_u32..4,
        gray_nodes_max in 0_u32..4,
        recover_ms in 1_000_u32..60_000,
        free_disk_min_mb in prop_oneof![0_u32..2_000, Just(u32::MAX)],
        degrade_ms in 500_u32..5_000,
    ) -> Settings {
        let values = [
            fsync_limit_ms, loop_limit_ms, gray_ms, slow_syncs_min, gray_nodes_max, recover_ms, free_disk_min_mb,
            degrade_ms,
        ];
        SETTINGS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    }
}

prop_compose! {
    fn detection()(
        now_ms in prop_oneof![0_u64..200_000, any::<u64>()],
        heartbeat_interval_ms in prop_oneof![3 => Just(INTERVAL_MS), 1 => Just(0), 1 => any::<u64>()],
        observer_late_ms in prop_oneof![3 => Just(0), 1 => 0_u64..400, 1 => any::<u64>()],
        settings in prop_oneof![Just(Settings::new()), settings()],
        nodes in proptest::collection::btree_map(prop_oneof![1_u64..20, any::<u64>()], (node(), memory()), 0..7),
    ) -> DetectionInput {
        let of = |(id, (node, told)): (u64, (NodeEvidence, Told))| {
            NodeEvidence { node: id, memory: told.bytes(now_ms), ..node }
        };
        let nodes = nodes.into_iter().map(of).collect();
        DetectionInput { now_ms, heartbeat_interval_ms, observer_late_ms, settings, seed: 0, nodes, ..Default::default() }
    }
}

prop_compose! {
    fn degrade()(
        settings in prop_oneof![Just(Settings::new()), settings()],
        replica in node(),
        sync_replica_timeout_ms in prop_oneof![100_u64..10_000, any::<u64>()],
        silent_ms in prop_oneof![0_u64..10_000, any::<u64>()],
        waiting_writes in prop_oneof![Just(0), any::<u64>()],
        oldest_wait_ms in prop_oneof![0_u64..6_000, any::<u64>()],
        linked in any::<bool>(),
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

prop_compose! {
    /// A leaf that answers, and stalls or not.
    fn answering()(
        (loop_delay_ms, fsync_ms) in prop_oneof![3 => Just((0, 3)), 1 => Just((1_500, 3)), 1 => Just((0, 2_500))],
        previous in prop_oneof![5 => Just(Health::Healthy), 2 => Just(Health::Suspect), 1 => Just(Health::Failed)],
        (failed, syncs) in (proptest::bool::weighted(0.2), 0_u8..4),
        (late_ms, stalled_ms) in (4_000_u64..6_000, 4_000_u64..6_000),
        well_ms in prop_oneof![29_000_u64..31_000, Just(0)],
        returned_ms in prop_oneof![6 => Just(0), 1 => 1_u64..60_001],
    ) -> (NodeEvidence, Told) {
        let vitals = Vitals { loop_delay_ms, fsync_ms, apply_backlog: 0, free_disk_bytes: 1 << 40, ..Default::default() };
        let node = NodeEvidence { previous, vitals: Some(vitals), ..NodeEvidence::answering(0, NodeRole::Leaf) };
        let spans = [late_ms, stalled_ms, fsync_ms, 100, well_ms, returned_ms];
        (node, Told::Own { head: [1, u8::from(failed), syncs], age_ms: INTERVAL_MS, spans })
    }
}

prop_compose! {
    /// Leaves most of which answer, some of which stall, and an observer that is well.
    fn ailing()(
        gray_nodes_max in 0_u32..3,
        nodes in proptest::collection::btree_map(
            1_u64..20, prop_oneof![9 => answering(), 1 => (node(), memory())], 2..8,
        ),
    ) -> DetectionInput {
        let of = |(id, (node, told)): (u64, (NodeEvidence, Told))| {
            NodeEvidence { node: id, memory: told.bytes(100_000), ..node }
        };
        DetectionInput {
            now_ms: 100_000,
            heartbeat_interval_ms: INTERVAL_MS,
            settings: Settings::from([("gray_nodes_max".to_owned(), gray_nodes_max.to_string())]),
            nodes: nodes.into_iter().map(of).collect(),
            ..DetectionInput::default()
        }
    }
}

fn any_detection() -> impl Strategy<Value = DetectionInput> {
    prop_oneof![detection(), ailing()]
}

fn number(settings: &Settings, name: &str, default: u64) -> u64 {
    settings.get(name).map_or(default, |text| text.parse().unwrap())
}

/// Whether a node says, now, that it stalls.
fn is_ill(node: &NodeEvidence, settings: &Settings) -> bool {
    let is_bad = |vitals: Vitals| {
        vitals.fsync_ms >= number(settings, "fsync_limit_ms", 2_000)
            || vitals.syncing_ms >= number(settings, "fsync_limit_ms", 2_000)
            || vitals.loop_delay_ms >= number(settings, "loop_limit_ms", 1_000)
    };
    node.is_heard() && node.vitals.is_some_and(is_bad)
}

/// A node that answers and is failed all the same: for its vitals.
fn is_failed_as_gray(node: &NodeEvidence, verdict: &NodeVerdict) -> bool {
    verdict.health == Health::Failed && node.is_heard()
}

fn by_classic(input: &DetectionInput) -> Vec<NodeVerdict> {
    Classic.detect(&DetectionInput { settings: Settings::new(), ..input.clone() })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_always_accepted(detection in any_detection(), degrade in degrade()) {
        prop_assert_eq!(GrayAware.check(&detection.settings), Ok(()));
        prop_assert_eq!(validate_detection(&detection, &GrayAware.detect(&detection)), Ok(()));
        prop_assert_eq!(validate_degrade(&GrayAware.degrade(&degrade)), Ok(()));
    }

    /// Neither the order of the nodes nor the seed decides anything.
    #[test]
    fn order_decides_nothing(input in any_detection(), seed in any::<u64>()) {
        let mut turned = DetectionInput { seed, ..input.clone() };
        turned.nodes.reverse();
        let mut verdicts = GrayAware.detect(&turned);
        verdicts.reverse();
        prop_assert_eq!(verdicts, GrayAware.detect(&input));
    }

    /// What classic fails is failed, and so is what hung up and then refuses, unless it is under maintenance.
    #[test]
    fn the_dead_are_failed(input in any_detection()) {
        for ((node, verdict), classic) in input.nodes.iter().zip(GrayAware.detect(&input)).zip(by_classic(&input)) {
            if classic.health == Health::Failed {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
            if node.connection_lost && node.refusals > 0 && !node.in_maintenance {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
        }
    }

    /// Who answers is failed for its vitals alone, and never more of them than may be, never all leaves.
    #[test]
    fn few_are_failed_for_stalling(input in any_detection()) {
        let verdicts = GrayAware.detect(&input);
        let judged = || input.nodes.iter().zip(&verdicts);
        let gray = judged().filter(|(node, verdict)| is_failed_as_gray(node, verdict)).count();
        let most = number(&input.settings, "gray_nodes_max", 1);
        prop_assert!(gray as u64 <= most, "{gray} are failed");
        if gray > 0 {
            let is_left = |(node, verdict): (&NodeEvidence, &NodeVerdict)| {
                node.role == NodeRole::Leaf && verdict.health != Health::Failed
            };
            prop_assert!(judged().any(is_left));
        }
        for (node, _) in judged().filter(|(node, verdict)| is_failed_as_gray(node, verdict)) {
            prop_assert_eq!(node.role, NodeRole::Leaf);
        }
    }

    /// A leaf that answers is failed anew only if it stalls now, is not under maintenance, the observer is in time,
    /// another leaf is well, fewer than half of the others stall, and no more have failed than may be.
    #[test]
    fn whoever_is_failed_anew_is_what_is_ill(input in any_detection()) {
        let verdicts = GrayAware.detect(&input);
        let judged = || input.nodes.iter().zip(&verdicts);
        for (node, _) in judged().filter(|(node, verdict)| {
            is_failed_as_gray(node, verdict) && node.previous != Health::Failed
        }) {
            prop_assert!(is_ill(node, &input.settings) && !node.in_maintenance);
            prop_assert!(input.observer_late_ms <= input.heartbeat_interval_ms);
            let leaves = || judged().filter(|(node, _)| node.role == NodeRole::Leaf);
            let away = leaves().filter(|(other, verdict)| {
                verdict.health == Health::Failed || !other.is_heard() || other.in_maintenance
            });
            prop_assert!(away.count() as u64 <= number(&input.settings, "gray_nodes_max", 1));
            let others = || {
                leaves().filter(|(other, _)| {
                    other.node != node.node && other.is_heard() && !other.in_maintenance && other.vitals.is_some()
                })
            };
            // Of syncs it is not known here whether they are news.
            let limit_ms = number(&input.settings, "loop_limit_ms", 1_000);
            let is_late = |other: &NodeEvidence| other.vitals.is_some_and(|vitals| vitals.loop_delay_ms >= limit_ms);
            let well = others().filter(|(other, verdict)| !is_late(other) && verdict.health == Health::Healthy);
            prop_assert!(well.count() > 0);
            prop_assert!(others().filter(|(other, _)| is_late(other)).count() * 2 < others().count());
        }
    }

    /// A failed node is taken back only when it is heard.
    #[test]
    fn silence_never_heals(input in any_detection()) {
        for (node, verdict) in input.nodes.iter().zip(GrayAware.detect(&input)) {
            if node.previous == Health::Failed && !node.is_heard() {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
        }
    }

    /// A memory that is written later than now, or is none at all, is as good as an empty one.
    #[test]
    fn a_clock_that_starts_again_forgets(input in any_detection(), earlier in any::<prop::sample::Index>()) {
        let mut later = input.clone();
        for (node, verdict) in later.nodes.iter_mut().zip(GrayAware.detect(&input)) {
            node.memory = verdict.memory;
        }
        let now_ms = earlier.index(usize::try_from(input.now_ms).unwrap_or(usize::MAX).max(1)) as u64;
        prop_assume!(now_ms < input.now_ms);
        later.now_ms = now_ms;
        let mut empty = later.clone();
        empty.nodes.iter_mut().for_each(|node| node.memory.clear());
        prop_assert_eq!(GrayAware.detect(&later), GrayAware.detect(&empty));
    }

    /// Its own memory is read by the next tick, whatever was in the one before.
    #[test]
    fn what_it_writes_it_reads(input in any_detection()) {
        for (node, verdict) in input.nodes.iter().zip(GrayAware.detect(&input)) {
            prop_assert!(verdict.memory.is_empty() || verdict.memory.len() == 59);
            prop_assert!(verdict.memory.is_empty() || node.role == NodeRole::Leaf);
            if is_failed_as_gray(node, &verdict) {
                prop_assert_eq!(verdict.memory[1], 1, "it is remembered what it is failed for");
            }
        }
    }

    /// A replica is waited for no longer than under classic, and given up earlier only if writes wait for a leaf that
    /// stalls.
    #[test]
    fn a_replica_is_given_up_for_a_reason(input in degrade()) {
        let ours = GrayAware.degrade(&input).choice == DegradeChoice::Degrade;
        let classic = Classic.degrade(&input).choice == DegradeChoice::Degrade;
        prop_assert!(ours || !classic);
        if ours && !classic {
            prop_assert!(is_ill(&input.replica, &input.settings) && input.waiting_writes > 0);
            prop_assert!(input.oldest_wait_ms >= number(&input.settings, "degrade_ms", 2_000));
        }
    }

    /// What is no number is refused, with the setting and the value in the text, and decides nothing.
    #[test]
    fn garbage_is_refused_and_never_used(
        garbage in r"[^0-9+\s]\PC{0,20}", input in any_detection(), degrade in degrade(),
    ) {
        for name in SETTINGS {
            let garbled = Settings::from([(name.to_owned(), garbage.clone())]);
            let text = GrayAware.check(&garbled).expect_err(name);
            prop_assert!(text.starts_with(&format!("{name} = '{garbage}' is not a whole number from ")), "{text}");
            let with = |settings: &Settings| DetectionInput { settings: settings.clone(), ..input.clone() };
            prop_assert_eq!(GrayAware.detect(&with(&garbled)), GrayAware.detect(&with(&Settings::new())));
            let with = |settings: &Settings| DegradeInput { settings: settings.clone(), ..degrade.clone() };
            prop_assert_eq!(GrayAware.degrade(&with(&garbled)), GrayAware.degrade(&with(&Settings::new())));
        }
    }
}

/// How the leaf is in one tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Well,
    LateLoop,
    Silent,
    ObserverLate,
}

fn mood() -> impl Strategy<Value = (Mood, usize)> {
    let mood = prop_oneof![
        3 => Just(Mood::Well),
        5 => Just(Mood::LateLoop),
        1 => Just(Mood::Silent),
        1 => Just(Mood::ObserverLate),
    ];
    (mood, prop_oneof![1_usize..6, 30_usize..60, 150_usize..260])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    /// Whatever a leaf goes through beside one that is well: it is failed once its loop was late for the whole time and
    /// not before, and taken back once it was well for the whole time and not before.
    #[test]
    fn it_takes_its_time_and_no_more(moods in proptest::collection::vec(mood(), 1..12)) {
        let mut node = NodeEvidence::answering(2, NodeRole::Leaf);
        let well = NodeEvidence { vitals: Some(told(0)), ..NodeEvidence::answering(3, NodeRole::Leaf) };
        let (mut now_ms, mut ill_ms, mut well_ms) = (1_000, None::<u64>, None::<u64>);
        for mood in moods.into_iter().flat_map(|(mood, times)| std::iter::repeat_n(mood, times)) {
            now_ms += INTERVAL_MS;
            let was = node.previous;
            node.misses = if mood == Mood::Silent { 3 } else { 0 };
            let counts = mood != Mood::ObserverLate;
            if counts && mood != Mood::Silent {
                node.vitals = Some(told(if mood == Mood::LateLoop { 1_500 } else { 0 }));
                let longer = |goes_on: bool, ms: Option<u64>| goes_on.then(|| ms.map_or(0, |ms| ms + INTERVAL_MS));
                ill_ms = longer(mood == Mood::LateLoop, ill_ms);
                well_ms = longer(mood == Mood::Well, well_ms);
            } else if mood == Mood::Silent {
                well_ms = None;
            } else {
                // What a late observer is told goes on as it was.
                let is_ill = node.vitals.is_some_and(|vitals| vitals.loop_delay_ms > 0);
                ill_ms = is_ill.then(|| ill_ms.unwrap_or(0));
                well_ms = (!is_ill).then(|| well_ms.unwrap_or(0));
            }
            let input = DetectionInput {
                now_ms,
                heartbeat_interval_ms: INTERVAL_MS,
                observer_late_ms: if counts { 0 } else { 400 },
                nodes: vec![node.clone(), well.clone()],
                ..DetectionInput::default()
            };
            let verdict = GrayAware.detect(&input).swap_remove(0);
            if was == Health::Failed {
                let is_over = mood != Mood::Silent && well_ms.is_some_and(|ms| ms >= RECOVER_MS);
                prop_assert_eq!(verdict.health != Health::Failed, is_over, "{:?} {:?}", mood, verdict);
                if is_over {
                    ill_ms = None;
                }
            } else {
                let is_due = counts && mood != Mood::Silent && ill_ms.is_some_and(|ms| ms >= GRAY_MS);
                prop_assert_eq!(verdict.health == Health::Failed, is_due, "{:?} {:?}", mood, verdict);
                if is_due {
                    well_ms = None;
                }
            }
            node.previous = verdict.health;
            node.memory = verdict.memory;
        }
    }
}

fn told(loop_delay_ms: u64) -> Vitals {
    Vitals { loop_delay_ms, fsync_ms: 3, apply_backlog: 0, free_disk_bytes: 1 << 40, ..Default::default() }
}
