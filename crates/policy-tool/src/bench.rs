//! `baton policy bench`: what a decision costs, in the sandbox and natively.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use baton_model::NodeRole;
use baton_policy::{Classic, DetectionInput, NodeEvidence, Question};
use baton_policy_host::CallLimits;
use baton_policy_view::{Asked, View, each_view};
use serde::Serialize;

use crate::ask::{check, cost, load};
use crate::error::PolicyToolError;
use crate::fuel::Used;
use crate::record::read_view;
use crate::report::Report;

/// Calls that are not measured, at first.
const WARM_UP: u32 = 200;
/// How far apart pings are in the question that is made up.
const HEARTBEAT_INTERVAL_MS: u64 = 150;

#[derive(Serialize)]
struct Measured {
    policy: String,
    point: String,
    calls: u32,
    /// Of one decision in a fresh instance, in microseconds.
    p50_us: f64,
    p99_us: f64,
    decisions_per_s: f64,
    /// Of the same question, answered by native classic, in microseconds.
    classic_native_p50_us: f64,
    used: Used,
}

pub(crate) fn bench(
    report: &Report,
    policy: &Path,
    input: Option<&Path>,
    nodes: u32,
    calls: u32,
) -> Result<(), PolicyToolError> {
    let (module, _) = load(policy)?;
    let mut view = match input {
        Some(path) => read_view(path)?,
        None => healthy(nodes),
    };
    check(&module, view.point(), view.settings_mut())?;
    let limits = CallLimits::default();
    let failed = |error| PolicyToolError::Call { policy: module.name().to_owned(), error };
    let mut used = Used::of(&view, &cost(&module, &view, &limits).map_err(failed)?);
    for _ in 0..WARM_UP {
        cost(&module, &view, &limits).map_err(failed)?;
        classic(&view);
    }
    let mut times = Vec::with_capacity(calls as usize);
    let started = Instant::now();
    for _ in 0..calls {
        let before = Instant::now();
        cost(&module, &view, &limits).map_err(failed)?;
        times.push(before.elapsed().as_nanos());
    }
    let took = started.elapsed().as_secs_f64();
    let mut native = Vec::with_capacity(calls as usize);
    for _ in 0..calls {
        let before = Instant::now();
        classic(&view);
        native.push(before.elapsed().as_nanos());
    }
    times.sort_unstable();
    native.sort_unstable();
    used.micros = u64::try_from(percentile(&times, 50) / 1_000).unwrap_or(u64::MAX);
    let measured = Measured {
        policy: module.name().to_owned(),
        point: view.point().to_string(),
        calls,
        p50_us: percentile(&times, 50) as f64 / 1_000.0,
        p99_us: percentile(&times, 99) as f64 / 1_000.0,
        decisions_per_s: f64::from(calls) / took.max(1e-9),
        classic_native_p50_us: percentile(&native, 50) as f64 / 1_000.0,
        used,
    };
    report.result(&measured, || {
        let subject = match &view {
            View::Detection(asked) => format!("detection over {} nodes", asked.input.nodes.len()),
            other => other.point().to_string(),
        };
        format!(
            "{}, {subject}, {calls} decisions, each in a fresh instance:\n\
             p50 {:.1} µs, p99 {:.1} µs, {:.0} a second\n\
             native classic on the same question: p50 {:.2} µs\n{}",
            measured.policy,
            measured.p50_us,
            measured.p99_us,
            measured.decisions_per_s,
            measured.classic_native_p50_us,
            measured.used.lines()
        )
    });
    Ok(())
}

/// Has native classic answer.
fn classic(view: &View) {
    each_view!(view, asked => drop(black_box(asked.input.answer_of(&Classic))));
}

/// The value below which so many of a hundred lie; of sorted values, 0 of none.
fn percentile(sorted: &[u128], percent: usize) -> u128 {
    sorted.get(sorted.len().saturating_mul(percent) / 100).or(sorted.last()).copied().unwrap_or(0)
}

/// A cluster in which nothing is wrong.
fn healthy(nodes: u32) -> View {
    let node = |id: u32| NodeEvidence {
        rtt_mean_us: 300,
        rtt_deviation_us: 60,
        pong_intervals_ms: vec![150; 32].into(),
        ..NodeEvidence::answering(u64::from(id), NodeRole::Leaf)
    };
    let input = DetectionInput {
        now_ms: 60_000,
        heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
        nodes: (1..=nodes).map(node).collect(),
        ..DetectionInput::default()
    };
    View::Detection(Asked { input, verdict: None })
}
