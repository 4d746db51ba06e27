//! A detection tick over 1,000 nodes (goal: at most 1 ms), and a whole interval of it with all pings and pongs.

use std::hint::black_box;
use std::time::Duration;

use baton_detector::{Detector, Effect, Event, Health, Report, Sighting};
use baton_model::{Instant, NodeId, NodeRole};
use criterion::{Criterion, criterion_group, criterion_main};

const NODES: u64 = 1000;
const OBSERVERS: u64 = 5;
const INTERVAL: Duration = Duration::from_millis(150);

/// A detector that has watched all nodes long enough to have everything it keeps of them.
fn settled() -> (Detector, Instant) {
    let mut detector = Detector::new(INTERVAL);
    let mut now = Instant(0);
    for node in (1..=NODES).map(NodeId) {
        detector.step(now, Event::Watch { node, role: NodeRole::Leaf, health: Health::Healthy });
        detector.step(now, Event::Connected { node });
    }
    for _ in 0..40 {
        now = now + INTERVAL;
        interval(&mut detector, now);
    }
    (detector, now)
}

/// A tick, its pings, and all pongs, those of the observers with what they see.
fn interval(detector: &mut Detector, now: Instant) {
    for effect in detector.step(now, Event::Tick) {
        if let Effect::Ping { node, seq } = effect {
            detector.step(now, Event::PingSent { node, seq });
            let sightings = if node.0 <= OBSERVERS {
                (1..=NODES)
                    .map(|other| Sighting {
                        node: NodeId(other),
                        misses: 0,
                        refusals: 0,
                        timeouts: 0,
                        age_ms: 75,
                    })
                    .collect()
            } else {
                vec![]
            };
            let at = now + Duration::from_millis(1);
            detector.step(at, Event::Pong { node, seq, report: Report::default(), sightings });
        }
    }
}

fn tick(criterion: &mut Criterion) {
    let (mut detector, mut now) = settled();
    criterion.bench_function("detector/tick_and_evidence/1000_nodes", |bencher| {
        bencher.iter(|| {
            now = now + INTERVAL;
            black_box(detector.step(now, Event::Tick));
            black_box(detector.observation(now))
        });
    });
    let (mut detector, mut now) = settled();
    criterion.bench_function("detector/whole_interval/1000_nodes", |bencher| {
        bencher.iter(|| {
            now = now + INTERVAL;
            interval(&mut detector, now);
            black_box(detector.observation(now))
        });
    });
}

criterion_group!(benches, tick);
criterion_main!(benches);
