//! What holds of calm for every input.

use baton_model::NodeRole;
use baton_policy::{
    Classic, DetectionInput, ElectionChoice, ElectionInput, Health, NodeEvidence, NodeVerdict, Policy,
    Settings, VoterView, validate_detection, validate_election,
};
use baton_policy_calm::Calm;
use proptest::prelude::*;

const INTERVAL_MS: u64 = 150;

const SETTINGS: [&str; 5] =
    ["silence_misses", "patience_max_misses", "soft_failures_max", "return_pongs", "return_pongs_max"];

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![3 => Just(Health::Healthy), 1 => Just(Health::Suspect), 2 => Just(Health::Failed)]
}

/// A memory: the policy's own with any count in it, nothing, or what is nobody's.
#[derive(Clone, Debug)]
enum Told {
    Own { age_ms: u64, pongs: u32 },
    Bytes(Vec<u8>),
}

fn memory() -> impl Strategy<Value = Told> {
    let age_ms = prop_oneof![5 => 0_u64..=300, 1 => any::<u64>()];
    prop_oneof![
        4 => (age_ms, prop_oneof![0_u32..100, any::<u32>()]).prop_map(|(age_ms, pongs)| Told::Own { age_ms, pongs }),
        2 => Just(Told::Bytes(Vec::new())),
        1 => proptest::collection::vec(any::<u8>(), 0..=20).prop_map(Told::Bytes),
    ]
}

impl Told {
    fn bytes(self, now_ms: u64) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Own { age_ms, pongs } => {
                [&[1][..], &now_ms.wrapping_sub(age_ms).to_le_bytes(), &pongs.to_le_bytes()].concat()
            }
        }
    }
}

prop_compose! {
    fn node()(
        misses in prop_oneof![4 => 0_u32..3, 4 => 0_u32..260, 1 => any::<u32>()],
        refusals in prop_oneof![6 => Just(0_u32), 2 => 0_u32..5, 1 => any::<u32>()],
        timeouts in prop_oneof![6 => Just(0_u32), 2 => 0_u32..5, 1 => any::<u32>()],
        connection_lost in proptest::bool::weighted(0.2),
        in_maintenance in proptest::bool::weighted(0.1),
        previous in health(),
        flaps_last_hour in prop_oneof![3 => 0_u32..6, 1 => any::<u32>()],
    ) -> NodeEvidence {
        NodeEvidence {
            misses, refusals, timeouts, connection_lost, in_maintenance, previous, flaps_last_hour,
            ..NodeEvidence::answering(0, NodeRole::Leaf)
        }
    }
}

prop_compose! {
    fn settings()(
        (silence_misses, more_misses) in (5_u32..=200, 0_u32..=195),
        soft_failures_max in 0_u32..5,
        (return_pongs, more_pongs) in (1_u32..50, 0_u32..200),
    ) -> Settings {
        let patience_max_misses = silence_misses.saturating_add(more_misses).min(200);
        let values =
            [silence_misses, patience_max_misses, soft_failures_max, return_pongs, return_pongs + more_pongs];
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
    fn election()(
        master in node(),
        heartbeat_interval_ms in prop_oneof![4 => Just(INTERVAL_MS), 1 => Just(0), 1 => any::<u64>()],
        unled_ms in prop_oneof![0_u64..70_000, any::<u64>()],
        rank in prop_oneof![4 => 0_u32..6, 1 => any::<u32>()],
        election_timeout_ms in prop_oneof![4 => 100_u64..40_000, 1 => Just(0), 1 => any::<u64>()],
        campaigns in prop_oneof![0_u32..6, any::<u32>()],
        since_last_campaign_ms in proptest::option::of(prop_oneof![0_u64..50_000, any::<u64>()]),
        sees_master in any::<Option<bool>>(),
    ) -> ElectionInput {
        ElectionInput {
            now_ms: 0,
            heartbeat_interval_ms,
            observer_late_ms: 0,
            settings: Settings::new(),
            seed: 0,
            self_node: 2,
            rank,
            election_timeout_ms,
            term: 1,
            master: NodeEvidence { node: 1, role: NodeRole::Aggregator, ..master },
            unled_ms,
            voters: vec![VoterView { node: 3, reachable: true, sees_master, log_index: 0, ..Default::default() }],
            campaigns,
            since_last_campaign_ms,
            ..Default::default()
        }
    }
}

fn number(settings: &Settings, name: &str, default: u64) -> u64 {
    settings.get(name).map_or(default, |text| text.parse().unwrap())
}

fn is_gone(node: &NodeEvidence) -> bool {
    node.connection_lost && node.refusals > 0 || node.refusals >= 3
}

fn by_classic(input: &DetectionInput) -> Vec<NodeVerdict> {
    Classic.detect(&DetectionInput { settings: Settings::new(), ..input.clone() })
}

/// Whether classic would fail it anew, whatever was thought of it.
fn fails_by_classic(node: &NodeEvidence) -> bool {
    let (score, limit) = Classic::score(node, &Settings::new());
    score >= limit
}

fn campaigns(policy: impl Policy, input: &ElectionInput) -> bool {
    policy.elect(input).choice == ElectionChoice::Campaign
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_always_accepted(detection in detection(), election in election()) {
        prop_assert_eq!(Calm.check(&detection.settings), Ok(()));
        prop_assert_eq!(validate_detection(&detection, &Calm.detect(&detection)), Ok(()));
        prop_assert_eq!(validate_election(&Calm.elect(&election)), Ok(()));
    }

    /// Neither the order of the nodes nor the seed decides anything.
    #[test]
    fn order_decides_nothing(input in detection(), seed in any::<u64>()) {
        let mut turned = DetectionInput { seed, ..input.clone() };
        turned.nodes.reverse();
        let mut verdicts = Calm.detect(&turned);
        verdicts.reverse();
        prop_assert_eq!(verdicts, Calm.detect(&input));
    }

    /// What classic fails is failed, and so is whatever is gone, whatever the budget and the flaps say.
    #[test]
    fn the_dead_are_failed(input in detection()) {
        for ((node, verdict), classic) in input.nodes.iter().zip(Calm.detect(&input)).zip(by_classic(&input)) {
            if classic.health == Health::Failed || is_gone(node) && !node.in_maintenance {
                prop_assert_eq!(verdict.health, Health::Failed);
            }
        }
    }

    /// Where one is failed for silence, no more are silent or failed for it than may be, and the observer is in time.
    #[test]
    fn few_are_failed_for_silence(input in detection()) {
        let verdicts = Calm.detect(&input);
        let soft = |node: &NodeEvidence| !is_gone(node) && !fails_by_classic(node);
        let anew = |(node, verdict): &(&NodeEvidence, &NodeVerdict)| {
            verdict.health == Health::Failed && node.previous != Health::Failed && soft(node)
        };
        if let Some((node, _)) = input.nodes.iter().zip(&verdicts).find(anew) {
            prop_assert!(input.observer_late_ms <= input.heartbeat_interval_ms);
            prop_assert!(!node.in_maintenance);
            let failed = input.nodes.iter().zip(&verdicts).filter(|(node, verdict)| {
                verdict.health == Health::Failed && !node.is_heard() && !is_gone(node) && !node.in_maintenance
            });
            prop_assert!(failed.count() as u64 <= number(&input.settings, "soft_failures_max", 2));
            let quiet = number(&input.settings, "silence_misses", 20);
            let silent = input.nodes.iter().filter(|node| {
                (u64::from(node.misses) * 2 >= quiet || node.timeouts > 0) && !is_gone(node) && !node.in_maintenance
            });
            prop_assert!(silent.count() as u64 <= number(&input.settings, "soft_failures_max", 2));
        }
    }

    /// A node that failed more often is never failed for less.
    #[test]
    fn flaps_only_add_patience(input in detection(), more in 1_u32..4) {
        let mut flapping = input.clone();
        flapping.nodes.iter_mut().for_each(|node| node.flaps_last_hour = node.flaps_last_hour.saturating_add(more));
        for (node, (before, after)) in
            input.nodes.iter().zip(Calm.detect(&input).into_iter().zip(Calm.detect(&flapping)))
        {
            if node.is_heard() {
                prop_assert!(after.health >= before.health, "it comes back no sooner");
            } else {
                prop_assert!(after.health <= before.health, "it is failed no sooner");
            }
        }
    }

    /// A failed node is taken back only when it is heard, and without a memory not by its first pong.
    #[test]
    fn silence_never_heals(input in detection()) {
        for (node, verdict) in input.nodes.iter().zip(Calm.detect(&input)) {
            if node.previous == Health::Failed && verdict.health != Health::Failed {
                prop_assert!(node.is_heard());
                prop_assert!(!node.memory.is_empty() || number(&input.settings, "return_pongs", 5) == 1);
                prop_assert_eq!(verdict.health, Health::Healthy);
            }
        }
    }

    /// A memory that is written later than now is as good as an empty one.
    #[test]
    fn a_clock_that_starts_again_forgets(input in detection(), earlier in any::<u64>()) {
        let mut later = input.clone();
        for (node, verdict) in later.nodes.iter_mut().zip(Calm.detect(&input)) {
            prop_assert!(verdict.memory.is_empty() || verdict.memory.len() == 13);
            node.memory = verdict.memory;
        }
        prop_assume!(input.now_ms > 1_000);
        // A memory keeps the time of the last pong that was counted, which is a moment old.
        later.now_ms = earlier % (input.now_ms - 1_000);
        prop_assume!(later.nodes.iter().all(|node| {
            node.memory.len() != 13 || u64::from_le_bytes(node.memory[1..9].try_into().unwrap()) > later.now_ms
        }));
        let mut empty = later.clone();
        empty.nodes.iter_mut().for_each(|node| node.memory.clear());
        prop_assert_eq!(Calm.detect(&later), Calm.detect(&empty));
    }

    /// Whoever campaigns because of silence would do so under classic; only a process that is gone makes for more haste.
    #[test]
    fn nobody_campaigns_in_haste(input in election()) {
        prop_assert!(!campaigns(Calm, &input) || campaigns(Classic, &input) || is_gone(&input.master));
    }

    /// Whatever happened before, a voter campaigns where classic would with half as much timeout again, half a timeout
    /// after its last campaign; and against a process that is gone wherever classic would.
    #[test]
    fn nobody_waits_long(input in election()) {
        let half_ms = input.election_timeout_ms / 2;
        let patient = ElectionInput {
            election_timeout_ms: input.election_timeout_ms.saturating_add(half_ms),
            since_last_campaign_ms: input.since_last_campaign_ms.filter(|ms| *ms < half_ms.max(1_000)),
            ..input.clone()
        };
        let rests = patient.since_last_campaign_ms.is_some();
        prop_assert!(campaigns(Calm, &input) || !campaigns(Classic, &patient) || rests);
        if is_gone(&input.master) {
            prop_assert!(campaigns(Calm, &input) || !campaigns(Classic, &input));
        }
    }

    /// What is no number is refused, with the setting and the value in the text, and decides nothing.
    #[test]
    fn garbage_is_refused_and_never_used(garbage in r"[^0-9+\s]\PC{0,20}", input in detection()) {
        for name in SETTINGS {
            let garbled = Settings::from([(name.to_owned(), garbage.clone())]);
            let text = Calm.check(&garbled).expect_err(name);
            prop_assert!(text.starts_with(&format!("{name} = '{garbage}' is not a whole number from ")), "{text}");
            let with = |settings: &Settings| DetectionInput { settings: settings.clone(), ..input.clone() };
            prop_assert_eq!(Calm.detect(&with(&garbled)), Calm.detect(&with(&Settings::new())));
        }
    }

    /// Limits that cross each other are refused, and if they are used all the same, nothing is failed for less than the
    /// lower one.
    #[test]
    fn limits_do_not_cross(silence in 6_u32..=200, most in 5_u32..=200, misses in 5_u32..200) {
        let (most, misses) = (most.min(silence - 1), misses.min(silence - 1));
        let settings: Settings = [("silence_misses", silence), ("patience_max_misses", most)]
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .into();
        prop_assert!(Calm.check(&settings).is_err());
        let node = NodeEvidence { misses, ..NodeEvidence::answering(2, NodeRole::Leaf) };
        let input = DetectionInput { settings, nodes: vec![node], ..DetectionInput::default() };
        prop_assert_ne!(Calm.detect(&input)[0].health, Health::Failed);
    }

    /// A node that failed is back after as many ticks in a row in which it answered as it should be, and not before.
    #[test]
    fn it_is_back_when_it_has_answered(
        flaps_last_hour in 0_u32..6, answers in proptest::collection::vec((any::<bool>(), 1_usize..60), 1..8),
    ) {
        let mut node =
            NodeEvidence { flaps_last_hour, previous: Health::Failed, ..NodeEvidence::answering(2, NodeRole::Leaf) };
        let due = (5 << flaps_last_hour).min(80);
        let (mut now_ms, mut pongs) = (0, 0);
        for answers in answers.into_iter().flat_map(|(answers, times)| std::iter::repeat_n(answers, times)) {
            now_ms += INTERVAL_MS;
            node.misses = if answers { 0 } else { node.misses.saturating_add(3) };
            pongs = if answers { pongs + 1 } else { 0 };
            let nodes = vec![node.clone()];
            let input =
                DetectionInput { now_ms, heartbeat_interval_ms: INTERVAL_MS, nodes, ..DetectionInput::default() };
            let verdict = Calm.detect(&input).swap_remove(0);
            prop_assert_eq!(verdict.health != Health::Failed, pongs >= due, "{:?}", verdict);
            if pongs >= due {
                break;
            }
            (node.previous, node.memory) = (verdict.health, verdict.memory);
        }
    }
}
