//! A policy that misbehaves is contained: classic decides, and the reason is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use baton_model::NodeRole;
use baton_model::limits::POLICY_BYTES_MAX;
use baton_policy::{
    Candidate, Cell, Classic, DEGRADE_CEILING, DETECTION_CEILING, DecisionPoint, DegradeChoice, DegradeInput,
    DetectionInput, ElectionInput, Health, LeafLoad, MEMORY_BYTES_MAX, MaintainedNode, MaintenanceInput,
    NodeEvidence, PlacementInput, Policy, Present, PromotionInput, REJOIN_CEILING_MS, RejoinChoice,
    RejoinInput, RetryInput, Settings,
};
use baton_policy_host::{
    BUILTINS, Binding, Bindings, BoundFor, CallError, CallLimits, Decider, LoadError, Module, PolicyHost,
    QUARANTINE_FAILURES, Sandboxed, SettingsError, ShadowReport, sha256_hex,
};

static HOST: LazyLock<PolicyHost> = LazyLock::new(|| PolicyHost::new().unwrap());
static CHAOS: LazyLock<Arc<Module>> =
    LazyLock::new(|| HOST.compile(include_bytes!("fixtures/chaos.wasm")).unwrap());

fn chaos(way: &str) -> Settings {
    Settings::from([("chaos".to_owned(), way.to_owned())])
}

fn binding(module: &Arc<Module>, settings: &Settings) -> Binding {
    Binding { module: Arc::clone(module), settings: settings.clone() }
}

fn bound_everywhere(module: &Arc<Module>, settings: &Settings) -> Bindings {
    let mut bindings = Bindings::default();
    for point in DecisionPoint::ALL {
        bindings.bind(point, BoundFor::Cluster, binding(module, settings));
    }
    bindings
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

fn rejoin() -> RejoinInput {
    RejoinInput {
        leaf: NodeEvidence { flaps_last_hour: 3, ..NodeEvidence::answering(3, NodeRole::Leaf) },
        answering_ms: 500,
        initial_grace_ms: 1_000,
        maximum_grace_ms: 30_000,
        ..RejoinInput::default()
    }
}

fn placement() -> PlacementInput {
    let cell = |leaves: [u64; 2]| Cell { leaves: leaves.to_vec(), heads: leaves.to_vec() };
    let load = |node| LeafLoad { node, ..LeafLoad::default() };
    PlacementInput {
        database: "shop".to_owned(),
        is_new: true,
        cells: vec![cell([2, 3]), cell([4, 5])],
        leaves: [2, 3, 4, 5].map(load).to_vec(),
        partitions: vec![Present::default(); 8],
        ..PlacementInput::default()
    }
}

fn maintenance() -> MaintenanceInput {
    let node = |node, role, group| MaintainedNode {
        node,
        role,
        group,
        is_master: node == 1,
        is_voter: role == NodeRole::Aggregator,
        is_online: true,
        instances: 4,
        primaries: 2,
        last_copies: 0,
        flaps_last_hour: 0,
        in_maintenance: false,
    };
    let mut nodes: Vec<_> = [1, 2, 3].map(|id| node(id, NodeRole::Aggregator, 0)).to_vec();
    nodes.extend([4, 5, 6, 7].map(|id| node(id, NodeRole::Leaf, 1 + (id % 2) as u32)));
    MaintenanceInput { nodes, ..MaintenanceInput::default() }
}

fn retry() -> RetryInput {
    RetryInput { database: "shop".to_owned(), waited_ms: 40, buffer_ms: 60_000, ..RetryInput::default() }
}

const CALLED: &str = "its answer is refused: a reason has 8000 bytes, more than 1024";

/// Each way to misbehave, and how the reasons begin at each decision point; none where the answer is valid and the policy's
/// own.
const EXPECTED: &[(&str, [Option<&str>; 8])] = &[
    ("none", [None; 8]),
    ("panic", [Some("panicked at policies/chaos/src/ways.rs:"); 8]),
    ("allocate", [Some("it asked for more than "); 8]),
    ("recurse", [Some("its stack overflowed"); 8]),
    ("clock", [Some("panicked at "); 8]),
    ("flood", [None; 8]),
    (
        "nonsense",
        [
            Some("its answer is refused: node 1000001 got a verdict but was not asked about"),
            Some(CALLED),
            Some("its answer is refused: node 1000000 is no candidate"),
            Some(CALLED),
            Some(CALLED),
            Some("its answer is refused: there is no cell 4294967295"),
            Some("its answer is refused: node 1000000 got a verdict but was not asked about"),
            Some(CALLED),
        ],
    ),
    (
        "stranger",
        [
            Some("its answer is refused: node 1 got more than one verdict"),
            Some(CALLED),
            Some("its answer is refused: node 1 is no candidate"),
            Some(CALLED),
            Some(CALLED),
            Some("its answer is refused: node 1000000 may not be primary in cell "),
            Some("its answer is refused: node 1000000 got a verdict but was not asked about"),
            Some(CALLED),
        ],
    ),
    (
        "silent",
        [
            Some("its answer is refused: node 1 got no verdict"),
            Some(CALLED),
            Some("its answer is refused: no candidate is ranked"),
            Some(CALLED),
            Some(CALLED),
            Some("its answer is refused: there are 0 places for 8 partitions"),
            Some("its answer is refused: node 1 got no verdict"),
            Some(CALLED),
        ],
    ),
    ("babble", [Some(CALLED); 8]),
];

/// Whatever a policy does, a question is answered; as classic would, and the reason is told.
fn is_contained<Q: Sandboxed + 'static>(decider: &Decider, mut question: Q, way: &str, why: Option<&str>) {
    let decision = decider.decide(&mut question);
    assert_eq!(decision.verdict, question.answer_of(&Classic), "{way} at {}", Q::POINT);
    assert_eq!(question.settings(), &chaos(way), "the input records the settings");
    assert_eq!((decision.module.as_str(), decision.hash.as_str()), ("chaos", CHAOS.hash()));
    match (&decision.fallback, why) {
        (None, None) => {}
        (Some(told), Some(expected)) if told.starts_with(expected) => {}
        (told, expected) => panic!("{way} at {}: told {told:?}, expected {expected:?}", Q::POINT),
    }
}

#[test]
fn every_misbehaviour_ends_in_the_classic_answer() {
    for (way, [detected, elected, promoted, degraded, rejoined, placed, maintained, retried]) in EXPECTED {
        // One of its own for each: a policy that has failed so often would not be asked any more.
        let decider = Decider::new(bound_everywhere(&CHAOS, &chaos(way)));
        is_contained(&decider, detection(), way, *detected);
        is_contained(&decider, election(), way, *elected);
        is_contained(&decider, promotion(), way, *promoted);
        is_contained(&decider, degrade(), way, *degraded);
        is_contained(&decider, rejoin(), way, *rejoined);
        is_contained(&decider, placement(), way, *placed);
        is_contained(&decider, maintenance(), way, *maintained);
        is_contained(&decider, retry(), way, *retried);
    }
}

/// Everybody at once is no order, and a leaf that is needed is used again whatever a policy says.
#[test]
fn what_stops_the_cluster_is_no_answer() {
    let decider = Decider::new(bound_everywhere(&CHAOS, &chaos("always")));
    let stages = decider.decide(&mut maintenance());
    assert!(stages.fallback.is_some_and(|why| why.contains("stage 1 is out of order")), "all at once");

    let decider = Decider::new(bound_everywhere(&CHAOS, &chaos("never")));
    let held = |needed_by, answering_ms| {
        decider.decide(&mut RejoinInput { needed_by, answering_ms, ..rejoin() }).verdict.choice
    };
    assert_eq!(held(1, REJOIN_CEILING_MS - 1), RejoinChoice::Refuse, "its own opinion");
    assert_eq!(held(1, REJOIN_CEILING_MS), RejoinChoice::Attach);
    assert_eq!(held(0, u64::MAX), RejoinChoice::Refuse, "it costs a second copy alone");
}

#[test]
fn a_policy_that_fails_again_and_again_is_not_asked_any_more() {
    let decider = Decider::new(bound_everywhere(&CHAOS, &chaos("panic")));
    for turn in 0..QUARANTINE_FAILURES {
        assert_eq!(decider.quarantined(), [], "turn {turn}");
        let why = decider.decide(&mut election()).fallback.unwrap();
        assert!(why.starts_with("panicked"), "{why}");
    }
    let quarantined = decider.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert_eq!((quarantined[0].module.as_str(), quarantined[0].hash.as_str()), ("chaos", CHAOS.hash()));
    assert!(quarantined[0].reason.contains("10 failures within 60s"), "{quarantined:?}");
    let why = decider.decide(&mut election()).fallback.unwrap();
    assert!(why.starts_with("it is quarantined"), "{why}");
    assert_eq!(decider.take_failures().len(), 1);
    assert_eq!(decider.take_failures(), [], "each is told once");
    // As long as the cluster does not know it, and then as long as its catalog says so.
    let nobody = BTreeSet::new();
    let it = BTreeSet::from([CHAOS.hash().to_owned()]);
    let is_asked = || decider.decide(&mut election()).fallback.is_none();
    decider.rebind(bound_everywhere(&CHAOS, &chaos("none")));
    for held in [&nobody, &it] {
        decider.hold(held.clone());
        assert!(!is_asked());
    }
    assert_eq!(decider.quarantined(), [], "the cluster knows");
    decider.hold(nobody.clone());
    assert!(is_asked(), "an operator released it");
    // What was told is not forgotten because this node's catalog is a moment behind.
    decider.rebind(bound_everywhere(&CHAOS, &chaos("panic")));
    for _ in 0..QUARANTINE_FAILURES {
        assert!(!is_asked());
    }
    decider.told(CHAOS.hash());
    decider.rebind(bound_everywhere(&CHAOS, &chaos("none")));
    decider.hold(nobody);
    assert!(!is_asked());
}

/// Wall time says as much of the machine as of the policy.
#[test]
fn a_policy_that_takes_too_long_is_not_quarantined_for_it() {
    let limits = CallLimits { fuel: u64::MAX, time_ms: 5, ..CallLimits::default() };
    let decider = Decider::with_limits(bound_everywhere(&CHAOS, &chaos("loop")), limits);
    for _ in 0..2 * QUARANTINE_FAILURES {
        let why = decider.decide(&mut election()).fallback.unwrap();
        assert_eq!(why, "it was stopped after 5 ms");
    }
    assert_eq!(decider.quarantined(), []);
}

#[test]
fn a_binding_for_a_part_comes_before_that_for_all() {
    let classic = HOST.compile(BUILTINS[0].bytes).unwrap();
    let mut bindings = bound_everywhere(&classic, &Settings::new());
    let point = DecisionPoint::Detection;
    bindings.bind(point, BoundFor::Group(2), binding(&CHAOS, &chaos("always")));
    let of_shop = BoundFor::Database("shop".to_owned());
    bindings.bind(DecisionPoint::Promotion, of_shop, binding(&CHAOS, &chaos("none")));
    bindings.bind(DecisionPoint::Promotion, BoundFor::Group(1), binding(&CHAOS, &chaos("panic")));
    let decider = Decider::new(bindings);

    let node = |id, group| NodeEvidence { group, ..NodeEvidence::answering(id, NodeRole::Leaf) };
    let nodes = vec![node(1, 1), node(2, 2), node(3, 1), node(4, 2)];
    let parts = decider.parts(DetectionInput { nodes, ..detection() });
    let mut told = BTreeMap::new();
    for mut part in parts {
        let decision = decider.decide(&mut part);
        for verdict in decision.verdict {
            told.insert(verdict.node, (decision.module.clone(), verdict.health));
        }
    }
    let of = |module: &str, health| (module.to_owned(), health);
    let (well, failed) = (of("classic", Health::Healthy), of("chaos", Health::Failed));
    assert_eq!(told, BTreeMap::from([(1, well.clone()), (2, failed.clone()), (3, well), (4, failed)]));

    let promoted = |database: &str, failed_group| {
        let mut question = PromotionInput { database: database.to_owned(), failed_group, ..promotion() };
        let decision = decider.decide(&mut question);
        (decision.module, decision.fallback.is_some())
    };
    assert_eq!(promoted("shop", 1), ("chaos".to_owned(), false), "a database comes before a group");
    assert_eq!(promoted("bank", 1), ("chaos".to_owned(), true));
    assert_eq!(promoted("bank", 2), ("classic".to_owned(), false));
}

/// Waits until what is asked beside has been asked so often.
fn report_of(decider: &Decider, asked: u64) -> ShadowReport {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let report = decider.shadow_report();
        let answered = |count: &baton_policy_host::ShadowCounts| count.asked + count.failed + count.skipped;
        if report.counts.values().map(answered).sum::<u64>() >= asked {
            return report;
        }
        assert!(Instant::now() < end, "{asked} answers, and not {report:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_shadow_is_asked_beside_and_decides_nothing() {
    let classic = HOST.compile(BUILTINS[0].bytes).unwrap();
    let mut bindings = bound_everywhere(&classic, &Settings::new());
    for point in [DecisionPoint::Detection, DecisionPoint::Election] {
        bindings.shadow(point, BoundFor::Cluster, binding(&CHAOS, &chaos("always")));
    }
    bindings.shadow(DecisionPoint::Retry, BoundFor::Cluster, binding(&CHAOS, &chaos("panic")));
    let decider = Decider::new(bindings);
    let nodes = vec![NodeEvidence::answering(7, NodeRole::Leaf)];
    let mut healthy = DetectionInput { nodes, ..detection() };
    for _ in 0..3 {
        assert_eq!(decider.decide(&mut healthy).verdict[0].health, Health::Healthy);
    }
    decider.decide(&mut retry());
    let report = report_of(&decider, 4);
    let count = |point| report.counts[&(point, CHAOS.hash().to_owned())].clone();
    let detected = count(DecisionPoint::Detection);
    assert_eq!((detected.asked, detected.disagreed, detected.failed), (3, 3, 0));
    assert_eq!(count(DecisionPoint::Retry).failed, 1);
    let first = &report.disagreements[0];
    assert_eq!((first.subject.as_str(), first.active.0.as_str()), ("n7", "healthy"));
    assert_eq!((first.shadow.0.as_str(), first.module.as_str()), ("failed", "chaos"));
    decider.rebind(bound_everywhere(&classic, &Settings::new()));
    assert_eq!(decider.shadow_report(), ShadowReport::default(), "nobody is asked beside any more");
}

#[test]
fn a_loop_ends_with_its_fuel_at_the_same_point_everywhere() {
    let mut input = DetectionInput { settings: chaos("loop"), ..detection() };
    let limits = CallLimits { time_ms: 10_000, ..CallLimits::default() };
    assert_eq!(CHAOS.ask(&input, &limits), Err(CallError::OutOfFuel(5_060_000)));
    input.nodes.clear();
    assert_eq!(CHAOS.ask(&input, &limits), Err(CallError::OutOfFuel(5_000_000)));
}

#[test]
fn a_loop_that_fuel_does_not_end_is_ended_by_time() {
    let input = DetectionInput { settings: chaos("loop"), ..detection() };
    let limits = CallLimits { fuel: u64::MAX, ..CallLimits::default() };
    assert_eq!(CHAOS.ask(&input, &limits), Err(CallError::TimedOut(250)));
}

#[test]
fn an_answer_has_a_size() {
    let input = DetectionInput { settings: chaos("huge"), ..detection() };
    // Filling 12 MiB takes more fuel than a decision has.
    assert!(matches!(CHAOS.ask(&input, &CallLimits::default()), Err(CallError::OutOfFuel(_))));
    // Memories of 12 MiB do not fit into the sandbox; where one does, it is no answer.
    let limits = CallLimits { fuel: 500_000_000, time_ms: 10_000, ..CallLimits::default() };
    assert_eq!(CHAOS.ask(&input, &limits), Err(CallError::OutOfMemory(16 << 20)));
    let input = DetectionInput { nodes: input.nodes[..1].to_vec(), ..input };
    let roomy = CallLimits { memory_bytes: 64 << 20, ..limits };
    assert!(matches!(CHAOS.ask(&input, &roomy), Err(CallError::Unreadable(_))));
    let input = ElectionInput { settings: chaos("huge"), ..election() };
    assert!(matches!(CHAOS.ask(&input, &limits), Err(CallError::Unreadable(_))));
    let input = PromotionInput { settings: chaos("huge"), ..promotion() };
    assert!(matches!(CHAOS.ask(&input, &limits), Err(CallError::Unreadable(_))));
}

/// As much as may be remembered, of as many nodes as a large cluster has, within what a call may use.
#[test]
fn a_thousand_full_memories_go_in_and_come_out() {
    let memory = |node: u64| [&node.to_le_bytes()[..], &[7; MEMORY_BYTES_MAX - 8]].concat();
    let node = |id| NodeEvidence { memory: memory(id), ..NodeEvidence::answering(id, NodeRole::Leaf) };
    let input = DetectionInput {
        settings: chaos("remember"),
        nodes: (1..=1024).map(node).collect(),
        ..DetectionInput::default()
    };
    let (verdicts, stats) = CHAOS.ask(&input, &CallLimits::default()).unwrap();
    println!("{} of fuel, {} bytes", stats.fuel, stats.memory_bytes);
    for verdict in verdicts {
        let mut expected = memory(verdict.node);
        expected[0] = !expected[0];
        assert_eq!(verdict.memory, expected, "of {}", verdict.node);
    }
}

#[test]
fn a_flood_of_lines_is_cut() {
    let input = DetectionInput { settings: chaos("flood"), ..detection() };
    let (_, stats) = CHAOS.ask(&input, &CallLimits::default()).unwrap();
    assert!(stats.log[0].text.starts_with("line 0 of a flood"));
    assert!(stats.log.iter().map(|line| line.text.len()).sum::<usize>() <= 4 << 10);
}

#[test]
fn a_module_can_be_asked_again_after_a_trap() {
    let bad = DetectionInput { settings: chaos("panic"), ..detection() };
    let good = detection();
    for _ in 0..3 {
        assert!(CHAOS.ask(&bad, &CallLimits::default()).is_err());
        assert_eq!(CHAOS.ask(&good, &CallLimits::default()).unwrap().0, Classic.detect(&good));
    }
}

#[test]
fn without_a_binding_classic_decides_and_says_so() {
    let decision = Decider::default().decide(&mut detection());
    assert_eq!(decision.verdict, Classic.detect(&detection()));
    assert_eq!(decision.fallback.as_deref(), Some("no policy is bound"));
}

/// A shadow of one group is asked about that group, and the policy that decides about everybody, as before.
#[test]
fn a_shadow_of_a_group_cuts_no_question() {
    let classic = HOST.compile(BUILTINS[0].bytes).unwrap();
    let mut bindings = bound_everywhere(&classic, &Settings::new());
    bindings.shadow(DecisionPoint::Detection, BoundFor::Group(2), binding(&CHAOS, &chaos("always")));
    let decider = Decider::new(bindings);
    let node = |id, group| NodeEvidence { group, ..NodeEvidence::answering(id, NodeRole::Leaf) };
    let whole = DetectionInput { nodes: vec![node(1, 1), node(2, 2)], ..detection() };
    let mut parts = decider.parts(whole.clone());
    assert_eq!(parts, [whole]);
    assert_eq!(decider.decide(&mut parts[0]).verdict.len(), 2);
    let report = report_of(&decider, 1);
    let subjects: Vec<&str> = report.disagreements.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects, ["n2"]);
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
        assert!(builtin.name != "classic" || module.manifest().decision_points == DecisionPoint::ALL);
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
            decider.decide(&mut detection());
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
                        let decision = decider.decide(&mut detection());
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
        let decision = decider.decide(&mut input);
        assert_eq!((decision.module.as_str(), &decision.fallback), ("chaos", &None));
        decision.verdict[0].health
    };
    let most = u32::try_from(200 * DETECTION_CEILING).unwrap();
    assert_eq!(judged(most - 1, 0), Health::Healthy, "its own opinion");
    assert_eq!(judged(most, 0), Health::Failed);
    assert_eq!(judged(200, 30), Health::Failed);

    let waited = |silent_ms| {
        let decision = decider.decide(&mut DegradeInput { silent_ms, ..degrade() });
        assert_eq!((decision.module.as_str(), &decision.fallback), ("chaos", &None));
        decision.verdict.choice
    };
    assert_eq!(waited(5_000 * DEGRADE_CEILING - 1), DegradeChoice::Wait);
    assert_eq!(waited(5_000 * DEGRADE_CEILING), DegradeChoice::Degrade);
}
