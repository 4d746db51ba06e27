//! What each policy does in the library of faults, played natively: seconds until a fault is noticed, seconds without a
//! write, and who is failed without need.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use baton_policy::{Classic, Policy, Settings};
use baton_policy_business_hours::BusinessHours;
use baton_policy_calm::Calm;
use baton_policy_gray_aware::GrayAware;
use baton_policy_phi_accrual::PhiAccrual;
use baton_policy_swift::Swift;
use baton_policy_two_witness::TwoWitness;
use baton_policy_zone_aware::ZoneAware;
use baton_sim::lab::{Row, Scenario, Spread, library, play};
use baton_sim::policies::Shelf;

use crate::figure::Figure;

/// How often each scenario is played under each policy.
const SEEDS: u64 = 20;

const POLICIES: [&str; 8] =
    ["classic", "swift", "phi-accrual", "two-witness", "gray-aware", "calm", "zone-aware", "business-hours"];

fn policy(name: &str) -> Rc<dyn Policy> {
    match name {
        "swift" => Rc::new(Swift),
        "phi-accrual" => Rc::new(PhiAccrual),
        "two-witness" => Rc::new(TwoWitness),
        "gray-aware" => Rc::new(GrayAware),
        "calm" => Rc::new(Calm),
        "zone-aware" => Rc::new(ZoneAware),
        "business-hours" => Rc::new(BusinessHours),
        _ => Rc::new(Classic),
    }
}

fn row(scenario: &Scenario, name: &str) -> Row {
    let mut shelf = Shelf::default();
    shelf.put(name, policy(name));
    let seeds = 1..=SEEDS;
    let played: Vec<_> =
        seeds.map(|seed| play(scenario, seed, shelf.clone(), name, &Settings::new())).collect();
    Row::of(scenario, 1, &played)
}

/// Plays every scenario under every policy.
pub fn measure() -> Result<()> {
    let scenarios = library()?;
    let jobs: Vec<(usize, usize)> =
        (0..scenarios.len()).flat_map(|at| (0..POLICIES.len()).map(move |name| (at, name))).collect();
    let next = AtomicUsize::new(0);
    let rows: Mutex<BTreeMap<(usize, usize), Row>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some((at, name)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = row(&scenarios[*at], POLICIES[*name]);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).insert((*at, *name), row);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (mut broken, mut restless) = (0, 0);
    for (at, scenario) in scenarios.iter().enumerate() {
        let of: Vec<&Row> = (0..POLICIES.len()).filter_map(|name| rows.get(&(at, name))).collect();
        broken += of.iter().map(|row| row.broken.len()).sum::<usize>();
        restless += of.iter().map(|row| row.restless).sum::<usize>();
        if of.iter().any(|row| row.wanted) {
            let noticed = |row: &Row| {
                if row.noticed == 0 { "never".to_owned() } else { seconds(row.detection_ms) }
            };
            figure(scenario, "until noticed", &of, noticed)?;
        }
        figure(scenario, "without a write", &of, |row| seconds(row.write_gap_ms))?;
        if of.iter().any(|row| row.needless > 0) {
            figure(scenario, "failed without need", &of, |row| row.needless.to_string())?;
        }
    }
    Figure {
        what: "lab: rules broken, clusters that did not come to rest".to_owned(),
        goal: "0, 0".to_owned(),
        measured: format!("{broken}, {restless}"),
        met: Some(broken + restless == 0),
        note: format!("{} scenarios, {} policies, {SEEDS} seeds each", scenarios.len(), POLICIES.len()),
    }
    .print()
}

/// The middle one, in seconds.
fn seconds(of: Spread) -> String {
    of.median.map_or_else(|| "-".to_owned(), |ms| format!("{}.{:02} s", ms / 1000, ms % 1000 / 10))
}

/// Classic as what is measured, and the others beside.
fn figure(scenario: &Scenario, what: &str, of: &[&Row], value: impl Fn(&Row) -> String) -> Result<()> {
    let mut values = POLICIES.iter().zip(of).map(|(name, row)| format!("{name} {}", value(row)));
    let measured = values.next().context("no policy was played")?;
    let note = values.collect::<Vec<_>>().join(", ");
    let what = format!("lab, {}: {what}", scenario.name);
    Figure { what, goal: String::new(), measured, met: None, note }.print()
}
