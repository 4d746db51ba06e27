//! What a decision costs, in the sandbox and natively. Goal: at most 25 µs for detection over 3 nodes in the sandbox.

use std::hint::black_box;

use baton_model::NodeRole;
use baton_policy::{
    Candidate, Classic, DetectionInput, ElectionInput, NodeEvidence, Policy, PromotionInput, Settings,
    Vitals, VoterView, Witness,
};
use baton_policy_host::{BUILTINS, CallLimits, PolicyHost};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// A node as a running cluster sees it: a full history, vitals and two witnesses.
fn node(id: u64) -> NodeEvidence {
    NodeEvidence {
        misses: u32::from(id.is_multiple_of(3)),
        rtt_mean_us: 240,
        rtt_deviation_us: 60,
        pong_intervals_ms: vec![150; 32].into(),
        vitals: Some(Vitals {
            loop_delay_ms: 1,
            fsync_ms: 2,
            apply_backlog: 0,
            free_disk_bytes: 1 << 40,
            ..Default::default()
        }),
        witnesses: [1, 2]
            .map(|observer| Witness { observer, misses: 0, refusals: 0, timeouts: 0, age_ms: 90 })
            .into_iter()
            .collect(),
        ..NodeEvidence::answering(id, NodeRole::Leaf)
    }
}

fn detection(nodes: u64) -> DetectionInput {
    DetectionInput {
        heartbeat_interval_ms: 150,
        nodes: (1..=nodes).map(node).collect(),
        ..Default::default()
    }
}

fn election() -> ElectionInput {
    let voter = |node| VoterView {
        node,
        reachable: true,
        sees_master: Some(true),
        log_index: 100,
        ..Default::default()
    };
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
        master: node(1),
        voters: vec![voter(3)],
        campaigns: 0,
        since_last_campaign_ms: None,
        unled_ms: 0,
        ..Default::default()
    }
}

fn promotion() -> PromotionInput {
    let candidate = |node| Candidate {
        node,
        lsn: Some(1_000),
        group: 2,
        primaries_held: 4,
        last_pong_age_ms: 40,
        rtt_mean_us: 240,
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
        candidates: vec![candidate(3), candidate(4)],
        ..Default::default()
    }
}

fn decisions(criterion: &mut Criterion) {
    let host = PolicyHost::new().expect("this machine runs policies");
    let limits = CallLimits::default();
    let mut group = criterion.benchmark_group("decision");
    for nodes in [3, 64, 1_024] {
        let input = detection(nodes);
        group.bench_function(BenchmarkId::new("detection/native", nodes), |bencher| {
            bencher.iter(|| Classic.detect(black_box(&input)));
        });
    }
    for builtin in BUILTINS {
        let module = host.compile(builtin.bytes).expect("a built-in policy");
        for nodes in [3, 64, 1_024] {
            let input = detection(nodes);
            group.bench_function(BenchmarkId::new(format!("detection/{}", builtin.name), nodes), |bencher| {
                bencher.iter(|| module.ask(black_box(&input), &limits).expect("an answer"));
            });
        }
        let input = election();
        group.bench_function(format!("election/{}", builtin.name), |bencher| {
            bencher.iter(|| module.ask(black_box(&input), &limits).expect("an answer"));
        });
        let input = promotion();
        group.bench_function(format!("promotion/{}", builtin.name), |bencher| {
            bencher.iter(|| module.ask(black_box(&input), &limits).expect("an answer"));
        });
    }
    group.bench_function("compile/classic", |bencher| {
        bencher.iter(|| host.compile(black_box(BUILTINS[0].bytes)).expect("a built-in policy"));
    });
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
