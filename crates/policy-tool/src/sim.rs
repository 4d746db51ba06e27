//! `baton sim`: a policy in a library of faults, beside another one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use baton_policy::Settings;
use baton_policy_host::{BUILTINS, Module, PolicyHost};
use baton_sim::lab::{Measured, Row, Scenario, Spread, library, play};
use baton_sim::policies::Shelf;
use clap::Args;
use serde::Serialize;

use crate::ask::{load, settings};
use crate::error::{PolicyToolError, io};
use crate::html;
use crate::report::Report;
use crate::sandboxed::Sandboxed;

/// Its name on the shelf of a world.
const PLAYED: &str = "played";

/// `baton sim`.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// The policy: a component, or the name of one that comes with Baton
    #[arg(long, value_name = "POLICY", default_value = "classic")]
    policy: String,
    /// Another one, to compare it with
    #[arg(long, value_name = "POLICY")]
    against: Option<String>,
    /// A setting of the policy; may be given more than once
    #[arg(long = "with", value_name = "NAME=VALUE")]
    with: Vec<String>,
    /// A scenario of one's own; may be given more than once
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// All scenarios that come with Baton, which is so anyway if no file is given
    #[arg(long)]
    library: bool,
    /// Only the scenario of this name; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many seeds of each scenario
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    first: u64,
    /// Write a report with timelines there
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print the result as one JSON object, and no progress
    #[arg(long, short)]
    json: bool,
}

/// One policy in all scenarios.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) policy: String,
    pub(crate) hash: String,
    pub(crate) rows: Vec<Row>,
    /// The first seed of each scenario.
    pub(crate) samples: Vec<Measured>,
    /// Decisions that it could not make.
    failed: u64,
}

/// Plays what was asked for.
#[must_use]
pub fn sim(args: &SimArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all rules held.
fn run(args: &SimArgs) -> Result<bool, PolicyToolError> {
    let report = Report { json: args.json };
    let scenarios = scenarios(args)?;
    let host = PolicyHost::new()?;
    let mut labs = vec![lab(args, &report, &host, &scenarios, &args.policy, &settings(&args.with)?)?];
    if let Some(other) = &args.against {
        labs.push(lab(args, &report, &host, &scenarios, other, &Settings::new())?);
    }
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&scenarios, &labs)).map_err(io("write", path))?;
    }
    let held = labs.iter().flat_map(|lab| &lab.rows).all(|row| row.broken.is_empty());
    report.result(&told(args, &scenarios, &labs, held), || for_people(args, &scenarios, &labs, held));
    Ok(held)
}

fn scenarios(args: &SimArgs) -> Result<Vec<Scenario>, PolicyToolError> {
    let bad = |place: String, why: &dyn std::fmt::Display| PolicyToolError::BadScenario {
        place,
        why: why.to_string(),
    };
    let mut scenarios = Vec::new();
    if args.library || args.scenario.is_empty() {
        scenarios = library().map_err(|error| bad("the library".to_owned(), &error))?;
    }
    for path in &args.scenario {
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        let name = path
            .file_stem()
            .map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned());
        let scenario = Scenario::parse(&name, &text);
        scenarios.push(scenario.map_err(|error| bad(path.display().to_string(), &error))?);
    }
    if !args.only.is_empty() {
        let known: Vec<String> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
        if let Some(unknown) = args.only.iter().find(|name| !known.contains(name)) {
            return Err(bad(format!("'{unknown}'"), &format!("there are {}", known.join(", "))));
        }
        scenarios.retain(|scenario| args.only.contains(&scenario.name));
    }
    Ok(scenarios)
}

/// A component by its file, or by the name of one that comes with Baton.
fn policy(host: &PolicyHost, name: &str) -> Result<Arc<Module>, PolicyToolError> {
    match BUILTINS.iter().find(|builtin| builtin.name == name) {
        Some(builtin) => host
            .compile(builtin.bytes)
            .map_err(|error| PolicyToolError::Load { path: PathBuf::from(name), error }),
        None => Ok(load(Path::new(name))?.0),
    }
}

fn lab(
    args: &SimArgs,
    report: &Report,
    host: &PolicyHost,
    scenarios: &[Scenario],
    name: &str,
    settings: &Settings,
) -> Result<Lab, PolicyToolError> {
    let module = policy(host, name)?;
    for point in &module.manifest().decision_points {
        module.check(*point, settings)?;
    }
    let played = Sandboxed::new(Arc::clone(&module));
    let mut lab = Lab {
        policy: module.name().to_owned(),
        hash: module.hash().to_owned(),
        rows: Vec::new(),
        samples: Vec::new(),
        failed: 0,
    };
    for scenario in scenarios {
        report.progress(&format!("{}: {}, {} seeds", lab.policy, scenario.name, args.seeds));
        let measured = seeds(args, scenario, &played, settings);
        lab.rows.push(Row::of(scenario, &measured));
        lab.samples.extend(measured.into_iter().next());
    }
    lab.failed = played.failed();
    Ok(lab)
}

/// Plays all seeds of a scenario, as many at a time as there are cores; the answers are in the order of the seeds.
fn seeds(args: &SimArgs, scenario: &Scenario, played: &Sandboxed, settings: &Settings) -> Vec<Measured> {
    let count = usize::try_from(args.seeds).unwrap_or(usize::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
    let next = AtomicUsize::new(0);
    let (told, heard) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (told, next) = (told.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let mut shelf = Shelf::default();
                    shelf.put(PLAYED, Rc::new(played.clone()));
                    let measured = play(scenario, args.first + number as u64, shelf, PLAYED, settings);
                    if told.send((number, measured)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    drop(told);
    let mut all: Vec<(usize, Measured)> = heard.into_iter().collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, measured)| measured).collect()
}

// ---- what is told

#[derive(Serialize)]
struct Told<'a> {
    seeds: u64,
    first: u64,
    held: bool,
    policies: Vec<ToldLab<'a>>,
}

#[derive(Serialize)]
struct ToldLab<'a> {
    policy: &'a str,
    sha256: &'a str,
    /// Decisions that it could not make, and native classic did.
    fallbacks: u64,
    scenarios: Vec<ToldRow<'a>>,
}

#[derive(Serialize)]
struct ToldRow<'a> {
    scenario: &'a str,
    about: &'a str,
    seeds: usize,
    noticed: usize,
    detection_ms: ToldSpread,
    write_gap_ms: ToldSpread,
    master_gap_ms: ToldSpread,
    needless_failovers: usize,
    broken: &'a [String],
}

#[derive(Serialize)]
struct ToldSpread {
    median: Option<u64>,
    p99: Option<u64>,
}

impl From<Spread> for ToldSpread {
    fn from(Spread { median, p99 }: Spread) -> Self {
        Self { median, p99 }
    }
}

fn told<'a>(args: &SimArgs, scenarios: &'a [Scenario], labs: &'a [Lab], held: bool) -> Told<'a> {
    let row = |(row, scenario): (&'a Row, &'a Scenario)| ToldRow {
        scenario: &row.scenario,
        about: &scenario.about,
        seeds: row.seeds,
        noticed: row.noticed,
        detection_ms: row.detection_ms.into(),
        write_gap_ms: row.write_gap_ms.into(),
        master_gap_ms: row.master_gap_ms.into(),
        needless_failovers: row.needless,
        broken: &row.broken,
    };
    let lab = |lab: &'a Lab| ToldLab {
        policy: &lab.policy,
        sha256: &lab.hash,
        fallbacks: lab.failed,
        scenarios: lab.rows.iter().zip(scenarios).map(row).collect(),
    };
    Told { seeds: args.seeds, first: args.first, held, policies: labs.iter().map(lab).collect() }
}

/// Seconds of a number of milliseconds, or that there is none.
pub(crate) fn seconds(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.2}", ms as f64 / 1_000.0))
}

fn spread(of: Spread) -> String {
    format!("{} / {}", seconds(of.median), seconds(of.p99))
}

fn for_people(args: &SimArgs, scenarios: &[Scenario], labs: &[Lab], held: bool) -> String {
    let mut text = format!(
        "Seconds, as median / p99 of {} seeds; 3 aggregators, 4 leaves, 8 partitions, heartbeats every 150 ms.\n\n",
        args.seeds
    );
    text.push_str("| scenario | policy | noticed | detection | write gap | MA gap | needless | rules |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for (number, scenario) in scenarios.iter().enumerate() {
        for lab in labs {
            let Some(row) = lab.rows.get(number) else { continue };
            let noticed = if scenario.fails.is_empty() {
                "-".to_owned()
            } else {
                format!("{} of {}", row.noticed, row.seeds)
            };
            text.push_str(&format!(
                "| {} | {} | {noticed} | {} | {} | {} | {} | {} |\n",
                row.scenario,
                lab.policy,
                spread(row.detection_ms),
                spread(row.write_gap_ms),
                spread(row.master_gap_ms),
                row.needless,
                if row.broken.is_empty() { "held" } else { "BROKEN" }
            ));
        }
    }
    for lab in labs {
        for row in &lab.rows {
            row.broken
                .iter()
                .for_each(|why| text.push_str(&format!("\n{}, {}: {why}", lab.policy, row.scenario)));
        }
        if lab.failed > 0 {
            text.push_str(&format!(
                "\n{} gave no valid answer {} times; native classic decided instead. `baton policy run` shows why.\n",
                lab.policy, lab.failed
            ));
        }
    }
    if let Some(path) = &args.html {
        text.push_str(&format!("\nThe report with timelines is {}.\n", path.display()));
    }
    if !held {
        text.push_str(
            "\nA rule was broken: that is a defect of Baton, whatever the policy does. Please report it.\n",
        );
    }
    text
}
