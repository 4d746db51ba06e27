//! Whatever happens in whatever order, the evidence is never worse than what was really seen.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_detector::{Detector, Effect, Event, Health, Report, Sighting};
use baton_model::limits::{HEARTBEAT_RETRY_MS, PONG_INTERVALS_KEPT};
use baton_model::{Instant, NodeId, NodeRole};
use proptest::prelude::*;

const INTERVAL: Duration = Duration::from_millis(150);

fn node() -> impl Strategy<Value = NodeId> {
    (1u64..4).prop_map(NodeId)
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Tick),
        2 => (node(), health()).prop_map(|(node, health)| Event::Watch { node, role: NodeRole::Leaf, health }),
        1 => node().prop_map(|node| Event::Unwatch { node }),
        3 => node().prop_map(|node| Event::Connected { node }),
        2 => node().prop_map(|node| Event::ConnectRefused { node }),
        2 => node().prop_map(|node| Event::ConnectTimedOut { node }),
        2 => node().prop_map(|node| Event::ConnectionLost { node }),
        4 => (node(), 0u64..20).prop_map(|(node, seq)| Event::PingSent { node, seq }),
        2 => (node(), 0u64..20, node(), 0u32..9).prop_map(|(node, seq, of, misses)| Event::Pong {
            node,
            seq,
            report: Report::default(),
            sightings: vec![Sighting { node: of, misses, refusals: 0, timeouts: 0, age_ms: 3 }],
        }),
        2 => (node(), health()).prop_map(|(node, health)| Event::Judged { node, health, memory: vec![1] }),
    ]
}

/// Events, each some milliseconds after the one before.
fn history() -> impl Strategy<Value = Vec<(u64, Event)>> {
    prop::collection::vec((0u64..400, event()), 1..200)
}

fn play(history: &[(u64, Event)], mut each: impl FnMut(&mut Detector, Instant, &Event, &[Effect])) {
    let mut detector = Detector::new(INTERVAL);
    let mut now = Instant(0);
    for (pause_ms, event) in history {
        now = now + Duration::from_millis(*pause_ms);
        let effects = detector.step(now, event.clone());
        each(&mut detector, now, event, &effects);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn same_events_give_same_effects(history in history()) {
        let mut first = vec![];
        play(&history, |d, now, _, effects| first.push((effects.to_vec(), d.observation(now))));
        let mut second = vec![];
        play(&history, |d, now, _, effects| second.push((effects.to_vec(), d.observation(now))));
        prop_assert_eq!(first, second);
    }

    #[test]
    fn there_are_never_more_misses_than_ticks(history in history()) {
        let mut ticks: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut worst = Ok(());
        play(&history, |detector, now, event, _| {
            match event {
                Event::Tick => ticks.values_mut().for_each(|count| *count += 1),
                Event::Pong { node, .. } | Event::Unwatch { node } => { ticks.insert(*node, 0); }
                Event::Watch { node, .. } => { ticks.entry(*node).or_default(); }
                _ => {}
            }
            for evidence in detector.evidence(now) {
                let seen = ticks.get(&evidence.node).copied().unwrap_or_default();
                if evidence.misses > seen {
                    worst = Err(format!("{} has {} misses in {seen} ticks", evidence.node, evidence.misses));
                }
                assert!(evidence.pong_intervals_ms.len() <= PONG_INTERVALS_KEPT);
            }
        });
        prop_assert_eq!(worst, Ok(()));
    }

    /// S11: on a live link, only a ping that left can be missed.
    #[test]
    fn nothing_sent_nothing_missed(history in history()) {
        let history: Vec<_> =
            history.into_iter().filter(|(_, event)| !matches!(event, Event::PingSent { .. })).collect();
        let mut before: BTreeMap<NodeId, (bool, u32)> = BTreeMap::new();
        play(&history, |detector, now, _, _| {
            let after: BTreeMap<_, _> =
                detector.evidence(now).into_iter().map(|e| (e.node, (e.connecting, e.misses))).collect();
            for (node, (connecting, misses)) in &after {
                if let Some((false, before)) = before.get(node) && !connecting {
                    assert!(misses <= before, "{node} missed a ping that never left");
                }
            }
            before = after;
        });
    }

    /// S11: a stall of any length, followed by any number of late ticks at once, adds at most one miss.
    #[test]
    fn a_stall_adds_at_most_one_miss(history in history(), stall_ms in 300u64..100_000, burst in 1usize..50) {
        let mut detector = Detector::new(INTERVAL);
        let mut now = Instant(0);
        for (pause_ms, event) in history {
            now = now + Duration::from_millis(pause_ms);
            detector.step(now, event);
        }
        let before = detector.evidence(now);
        now = now + Duration::from_millis(stall_ms);
        for _ in 0..burst {
            for effect in detector.step(now, Event::Tick) {
                if let Effect::Ping { node, seq } = effect {
                    detector.step(now, Event::PingSent { node, seq });
                }
            }
        }
        for (before, after) in before.iter().zip(detector.evidence(now)) {
            prop_assert!(after.misses <= before.misses + 1);
        }
    }

    #[test]
    fn each_change_of_health_is_reported_once(history in history()) {
        let mut known: BTreeMap<NodeId, Health> = BTreeMap::new();
        play(&history, |detector, now, event, effects| {
            match event {
                Event::Watch { node, health, .. } => { known.entry(*node).or_insert(*health); }
                Event::Unwatch { node } => { known.remove(node); }
                _ => {}
            }
            for effect in effects {
                if let Effect::HealthChanged { node, from, to } = effect {
                    assert_ne!(from, to);
                    assert_eq!(known.insert(*node, *to), Some(*from));
                }
            }
            for evidence in detector.evidence(now) {
                assert_eq!(known.get(&evidence.node), Some(&evidence.health));
            }
        });
    }

    /// But for one that is hurried: of any three attempts, the last starts a second after the first.
    #[test]
    fn attempts_start_a_second_apart_but_for_one_that_is_hurried(history in history()) {
        let mut started: BTreeMap<NodeId, Vec<Instant>> = BTreeMap::new();
        play(&history, |_, now, event, effects| {
            if let Event::Unwatch { node } = event {
                started.remove(node);
            }
            for effect in effects {
                if let Effect::Connect { node } = effect {
                    let before = started.entry(*node).or_default();
                    if let [.., first, _] = before[..] {
                        assert!(now.since(first) >= Duration::from_millis(HEARTBEAT_RETRY_MS));
                    }
                    before.push(now);
                }
            }
        });
    }
}
