//! A policy that misbehaves is contained: classic decides, and the reason is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use baton_model::NodeRole;
use baton_model::limits::POLICY_BYTES_MAX;
use baton_policy::{
    Candidate, Classic, DEGRADE_CEILING, DETECTION_CEILING, DecisionPoint, DegradeChoice, DegradeInput,
    DetectionInput, ElectionInput, Health, NodeEvidence, Policy, PromotionInput, Settings,
};
use baton_policy_host::{
    BUILTINS, Binding, Bindings, CallError, CallLimits, Decider, LoadError, Module, PolicyHost,
    SettingsError, sha256_hex,
};

static HOST: LazyLock<PolicyHost> = LazyLock::new(|| PolicyHost::new().unwrap());
static CHAOS: LazyLock<Arc<Module>> =
    LazyLock::new(|| HOST.compile(include_bytes!("fixtures/chaos.wasm")).unwrap());

fn chaos(way: &str) -> Settings {
    Settings::from([("chaos".to_owned(), way.to_owned())])
}

fn bound_everywhere(module: &Arc<Module>, settings: &Settings) -> Bindings {
    DecisionPoint::ALL
        .into_iter()
        .map(|point| (point, Binding { module: Arc::clone(module), settings: settings.clone() }))
        .collect()
}

fn detection() -> DetectionInput {
    let node = |id, misses, refusals| NodeEvidence {
        misses,
        refusals,
        ..NodeEvidence::answering(id, NodeRole::Leaf)
    };
    DetectionInput {
        heartbeat_interval_ms: 150,
        nodes: vec![node(1, 0, 0), node(2, 20, 3), node(3, 120, 0)],
        ..Default::default()
    }
}

fn election() -> ElectionInput {
    ElectionInput {
        now_ms: 60_000,
        heartbeat_interval_ms: 150,
        observer_late_ms: 0,
        settings: Settings::new(),
        seed: 1,
        self_node: 2,
        rank: 0,
        election_timeout_ms: 30_000,
        term: 3,
        master: NodeEvidence { misses: 200, ..NodeEvidence::answering(1, NodeRole::Aggregator) },
        voters: Vec::new(),
        campaigns: 0,
        since_last_campaign_ms: None,
        unled_ms: 0,
        ..Default::default()
    }
}

fn promotion() -> PromotionInput {
    let candidate = |node, lsn| Candidate {
        node,
        lsn: Some(lsn),
        group: 2,
        primaries_held: 1,
        last_pong_age_ms: 40,
        rtt_mean_us: 200,
        flaps_last_hour: 0,
        ..Default::default()
    };
    PromotionInput {
        now_ms: 60_000,
        settings: Settings::new(),
        seed: 1,
        database: "db".to_owned(),
        partition: 4,
        failed_primary: 1,
        failed_group: 1,
        candidates: vec![candidate(3, 10), candidate(4, 11)],
        ..Default::default()
    }
}

fn degrade() -> DegradeInput {
    DegradeInput {
        now_ms: 60_000,
        settings: Settings::new(),
        seed: 1,
        database: "db".to_owned(),
        partition: 4,
        sync_replica_timeout_ms: 5_000,
        primary: 2,
        primary_group: 1,
        replica_group: 2,
        silent_ms: 5_100,
        linked: false,
        waiting_writes: 3,
        oldest_wait_ms: 5_000,
        copies_left: 1,
        groups_left: 1,
        replica: NodeEvidence { misses: 34, ..NodeEvidence::answering(3, NodeRole::Leaf) },
        ..Default::default()
    }
}

/// Each way to misbehave, and how the reasons begin at detection, election, promotion and degrade; none where the answer is
/// valid and the policy's own.
const EXPECTED: &[(&str, [Option<&str>; 4])] = &[
    ("none", [None; 4]),
    ("panic", [Some("panicked at policies/chaos/src/lib.rs:"); 4]),
    ("allocate", [Some("it asked for more than 16777216 bytes of memory"); 4]),
    ("recurse", [Some("its stack overflowed"); 4]),
    ("clock", [Some("panicked at "); 4]),
    ("flood", [None; 4]),
    (
        "nonsense",
        [
            Some("its answer is refused: node 1000001 got a verdict but was not asked about"),
            None,
            Some("its answer is refused: node 1000000 is no candidate"),
            None,
        ],
    ),
    ("babble", [Some("its answer is refused: a reason has 8000 bytes, more than 1024"); 4]),
];

#[test]
fn every_misbehaviour_ends_in_the_classic_answer() {
    let decider = Decider::default();
    for (way, reasons) in EXPECTED {
        decider.rebind(bound_everywhere(&CHAOS, &chaos(way)));
        let (mut detection, mut election, mut promotion) = (detection(), election(), promotion());
        let mut degrade = degrade();
        let detected = decider.decide_detection(&mut detection);
        let elected = decider.decide_election(&mut election);
        let promoted = decider.decide_promotion(&mut promotion);
        let degraded = decider.decide_degrade(&mut degrade);
        assert_eq!(detected.verdict, Classic.detect(&detection), "{way}");
        assert_eq!(elected.verdict, Classic.elect(&election), "{way}");
        assert_eq!(promoted.verdict, Classic.promote(&promotion), "{way}");
        assert_eq!(degraded.verdict, Classic.degrade(&degrade), "{way}");
        assert_eq!(detection.settings, chaos(way), "the input records the settings");
        assert_eq!((detected.module.as_str(), detected.hash.as_str()), ("chaos", CHAOS.hash()));
        let told = [detected.fallback, elected.fallback, promoted.fallback, degraded.fallback];
        for (told, expected) in told.iter().zip(reasons) {
            match (told, expected) {
                (None, None) => {}
                (Some(told), Some(expected)) if told.starts_with(expected) => {}
                _ => panic!("{way}: told {told:?}, expected {expected:?}"),
            }
        }
    }
}

#[test]
fn a_loop_ends_with_its_fuel_at_the_same_point_everywhere() {
    let mut input = DetectionInput { settings: chaos("loop"), ..detection() };
    let limits = CallLimits { time_ms: 10_000, ..CallLimits::default() };
    assert_eq!(CHAOS.detect(&input, &limits), Err(CallError::OutOfFuel(5_060_000)));
    input.nodes.clear();
    assert_eq!(CHAOS.detect(&input, &limits), Err(CallError::OutOfFuel(5_000_000)));
}

#[test]
fn a_loop_that_fuel_does_not_end_is_ended_by_time() {
    let input = DetectionInput { settings: chaos("loop"), ..detection() };
    let limits = CallLimits { fuel: u64::MAX, ..CallLimits::default() };
    assert_eq!(CHAOS.detect(&input, &limits), Err(CallError::TimedOut(250)));
}

#[test]
fn an_answer_has_a_size() {
    let input = DetectionInput { settings: chaos("huge"), ..detection() };
    // Filling 12 MiB takes more fuel than a decision has.
    assert!(matches!(CHAOS.detect(&input, &CallLimits::default()), Err(CallError::OutOfFuel(_))));
    // Three memories of 12 MiB do not fit into the sandbox; one of them does, and is no answer.
    let limits = CallLimits { fuel: 500_000_000, time_ms: 10_000, ..CallLimits::default() };
    assert_eq!(CHAOS.detect(&input, &limits), Err(CallError::OutOfMemory(16 << 20)));
    let input = DetectionInput { nodes: input.nodes[..1].to_vec(), ..input };
    assert!(matches!(CHAOS.detect(&input, &limits), Err(CallError::Unreadable(_))));
    let input = ElectionInput { settings: chaos("huge"), ..election() };
    assert!(matches!(CHAOS.elect(&input, &limits), Err(CallError::Unreadable(_))));
    let input = PromotionInput { settings: chaos("huge"), ..promotion() };
    assert!(matches!(CHAOS.promote(&input, &limits), Err(CallError::Unreadable(_))));
}

#[test]
fn a_flood_of_lines_is_cut() {
    let input = DetectionInput { settings: chaos("flood"), ..detection() };
    let (_, stats) = CHAOS.detect(&input, &CallLimits::default()).unwrap();
    assert!(stats.log[0].text.starts_with("line 0 of a flood"));
    assert!(stats.log.iter().map(|line| line.text.len()).sum::<usize>() <= 4 << 10);
}

#[test]
fn a_module_can_be_asked_again_after_a_trap() {
    let bad = DetectionInput { settings: chaos("panic"), ..detection() };
    let good = detection();
    for _ in 0..3 {
        assert!(CHAOS.detect(&bad, &CallLimits::default()).is_err());
        assert_eq!(CHAOS.detect(&good, &CallLimits::default()).unwrap().0, Classic.detect(&good));
    }
}

#[test]
fn without_a_binding_classic_decides_and_says_so() {
    let decision = Decider::default().decide_detection(&mut detection());
    assert_eq!(decision.verdict, Classic.detect(&detection()));
    assert_eq!(decision.fallback.as_deref(), Some("no policy is bound"));
}

#[test]
fn settings_are_checked_when_they_are_bound() {
    let swift = HOST.compile(BUILTINS[1].bytes).unwrap();
    let set = |name: &str, value: &str| Settings::from([(name.to_owned(), value.to_owned())]);
    assert_eq!(swift.check(DecisionPoint::Detection, &set("silence_misses", "7")), Ok(()));
    assert_eq!(
        swift.check(DecisionPoint::Detection, &set("miss_limit", "7")),
        Err(SettingsError::Unknown("swift".into(), "miss_limit".into()))
    );
    let refused = swift.check(DecisionPoint::Election, &set("silence_misses", "soon")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the policy swift refuses its settings: silence_misses = 'soon' is not a whole number from 1 to 1000000"
    );
}

#[test]
fn the_builtin_policies_are_what_was_built() {
    for builtin in BUILTINS {
        let module = HOST.compile(builtin.bytes).unwrap();
        assert_eq!(module.name(), builtin.name);
        assert_eq!(module.hash(), builtin.hash(), "run `cargo xtask policies`");
        assert_eq!(module.hash(), sha256_hex(builtin.bytes));
        assert_eq!(module.manifest().decision_points, DecisionPoint::ALL);
    }
}

/// A component that imports an instance of this name and has nothing else.
fn importing(name: &str) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend([7, 3, 1, 0x42, 0]);
    let length = u8::try_from(name.len()).unwrap();
    bytes.extend([10, length + 5, 1, 0, length]);
    bytes.extend(name.as_bytes());
    bytes.extend([5, 0]);
    bytes
}

#[test]
fn what_is_no_policy_is_not_loaded() {
    let refused = |bytes: &[u8]| HOST.compile(bytes).unwrap_err();
    assert_eq!(refused(&vec![0; POLICY_BYTES_MAX + 1]), LoadError::TooLarge(POLICY_BYTES_MAX + 1));
    let core_module = b"\0asm\x01\0\0\0";
    let truncated = &BUILTINS[0].bytes[..40_000];
    for junk in [b"".as_slice(), b"not wasm", core_module, truncated] {
        assert!(matches!(refused(junk), LoadError::NoComponent(_)));
    }
    assert_eq!(
        refused(&importing("wasi:clocks/monotonic-clock@0.2.0")),
        LoadError::ForeignImport("wasi:clocks/monotonic-clock@0.2.0".into())
    );
    assert_eq!(refused(&importing("baton:policy/log@0.1.0")), LoadError::NoManifest);
}

/// Bytes turned at random places never do worse than be refused, or trap.
#[test]
fn damaged_components_are_contained() {
    let good = BUILTINS[0].bytes;
    let decider = Decider::default();
    for step in 0..24 {
        let mut bytes = good.to_vec();
        let at = (step * 7919 + 13) % bytes.len();
        bytes[at] ^= 1 << (step % 8);
        if let Ok(module) = HOST.compile(&bytes) {
            decider.rebind(bound_everywhere(&module, &Settings::new()));
            decider.decide_detection(&mut detection());
        }
    }
}

#[test]
fn many_threads_decide_while_the_bindings_change() {
    let modules = BUILTINS.map(|builtin| HOST.compile(builtin.bytes).unwrap());
    let decider = Decider::new(bound_everywhere(&modules[0], &Settings::new()));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = BTreeMap::new();
                    while !stop.load(Ordering::Relaxed) {
                        let decision = decider.decide_detection(&mut detection());
                        assert_eq!(decision.fallback, None);
                        *asked.entry(decision.module).or_insert(0) += 1;
                    }
                    asked
                })
            })
            .collect();
        for turn in 0..2_000 {
            decider.rebind(bound_everywhere(&modules[turn % 2], &Settings::new()));
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        let asked: u64 = workers.into_iter().flat_map(|worker| worker.join().unwrap().into_values()).sum();
        assert!(asked > 0);
    });
}

/// S8: a policy whose answers are valid and never do anything is ended by the ceilings, and is no fallback.
#[test]
fn a_policy_that_never_does_anything_is_obeyed_up_to_the_ceilings() {
    let decider = Decider::new(bound_everywhere(&CHAOS, &chaos("never")));
    let judged = |misses, refusals| {
        let node = NodeEvidence { misses, refusals, ..NodeEvidence::answering(1, NodeRole::Leaf) };
        let mut input = DetectionInput { nodes: vec![node], ..detection() };
        let decision = decider.decide_detection(&mut input);
        assert_eq!((decision.module.as_str(), &decision.fallback), ("chaos", &None));
        decision.verdict[0].health
    };
    let most = u32::try_from(200 * DETECTION_CEILING).unwrap();
    assert_eq!(judged(most - 1, 0), Health::Healthy, "its own opinion");
    assert_eq!(judged(most, 0), Health::Failed);
    assert_eq!(judged(200, 30), Health::Failed);

    let waited = |silent_ms| {
        let decision = decider.decide_degrade(&mut DegradeInput { silent_ms, ..degrade() });
        assert_eq!((decision.module.as_str(), &decision.fallback), ("chaos", &None));
        decision.verdict.choice
    };
    assert_eq!(waited(5_000 * DEGRADE_CEILING - 1), DegradeChoice::Wait);
    assert_eq!(waited(5_000 * DEGRADE_CEILING), DegradeChoice::Degrade);
}
