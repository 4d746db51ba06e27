//! `baton sim`: a policy in a library of faults, beside another one.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use baton_policy::Settings;
use baton_policy_host::{BUILTINS, Module, PolicyHost};
use baton_sim::lab::{Measured, Row, Scenario, Spread, library, play};
use baton_sim::policies::Shelf;
use clap::Args;
use serde::Serialize;

use crate::ask::{load, settings, write_whole};
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
    /// Decisions that it could not make, and why not one of them.
    failed: u64,
    why: Option<String>,
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
    // Whatever can be mistyped is looked at before anything is played.
    let mut players = vec![Player::new(&host, &args.policy, settings(&args.with)?)?];
    if let Some(other) = &args.against {
        players.push(Player::new(&host, other, Settings::new())?);
    }
    if let Some(path) = &args.html {
        write_whole(path, b"")?;
    }
    let labs: Vec<Lab> = players.iter().map(|player| player.play(args, &report, &scenarios)).collect();
    let held = labs.iter().flat_map(|lab| &lab.rows).all(|row| row.broken.is_empty());
    report.result(&told(args, &scenarios, &labs, held), || for_people(args, &scenarios, &labs, held));
    if let Some(path) = &args.html {
        write_whole(path, html::page(&scenarios, &labs).as_bytes())?;
    }
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
        None if !Path::new(name).exists() => Err(PolicyToolError::NoSuchPolicy {
            name: name.to_owned(),
            known: BUILTINS.map(|builtin| builtin.name).join(", "),
        }),
        None => Ok(load(Path::new(name))?.0),
    }
}

/// A policy with its settings.
struct Player {
    module: Arc<Module>,
    settings: Settings,
}

impl Player {
    fn new(host: &PolicyHost, name: &str, settings: Settings) -> Result<Self, PolicyToolError> {
        let module = policy(host, name)?;
        for point in &module.manifest().decision_points {
            module.check(*point, &settings)?;
        }
        Ok(Self { module, settings })
    }

    /// Its name, with its settings.
    fn label(&self) -> String {
        let set: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let name = self.module.name();
        if set.is_empty() { name.to_owned() } else { format!("{name} {}", set.join(" ")) }
    }

    fn play(&self, args: &SimArgs, report: &Report, scenarios: &[Scenario]) -> Lab {
        let played = Sandboxed::new(Arc::clone(&self.module));
        let mut lab = Lab {
            policy: self.label(),
            hash: self.module.hash().to_owned(),
            rows: Vec::new(),
            samples: Vec::new(),
            failed: 0,
            why: None,
        };
        for scenario in scenarios {
            report.progress(&format!("{}: {}, {} seeds", lab.policy, scenario.name, args.seeds));
            let measured = seeds(args, scenario, &played, &self.settings);
            lab.rows.push(Row::of(scenario, args.first, &measured));
            lab.samples.extend(measured.into_iter().next());
        }
        (lab.failed, lab.why) = (played.failed(), played.why());
        lab
    }
}

/// Plays all seeds of a scenario, as many at a time as there are cores; the answers are in the order of the seeds.
fn seeds(args: &SimArgs, scenario: &Scenario, played: &Sandboxed, settings: &Settings) -> Vec<Measured> {
    let count = usize::try_from(args.seeds).unwrap_or(usize::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
    let next = AtomicUsize::new(0);
    let play_some = || {
        let mut mine = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return mine;
            }
            let mut shelf = Shelf::default();
            shelf.put(PLAYED, Rc::new(played.clone()));
            let seed = args.first + number as u64;
            let life = AssertUnwindSafe(|| play(scenario, seed, shelf, PLAYED, settings));
            let mut measured = panic::catch_unwind(life).unwrap_or_else(|_| Measured {
                broken: vec!["panic: see above".to_owned()],
                ..Measured::default()
            });
            // Only the first is shown as it went.
            if number > 0 {
                measured.moments = Vec::new();
            }
            mine.push((number, measured));
        }
    };
    let mut all: Vec<(usize, Measured)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(play_some)).collect();
        let played = threads.into_iter().map(|thread| thread.join());
        played.flat_map(|mine| mine.unwrap_or_else(|payload| panic::resume_unwind(payload))).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, measured)| measured).collect()
}

// ---- what is told

/// What `policy_gate` reads as well: `seeds`, `whole_library`, and of each policy `hash` and `passed`.
#[derive(Serialize)]
struct Told<'a> {
    seeds: u64,
    first: u64,
    held: bool,
    /// Whether all scenarios that come with Baton were played.
    whole_library: bool,
    policies: Vec<ToldLab<'a>>,
}

#[derive(Serialize)]
struct ToldLab<'a> {
    policy: &'a str,
    /// SHA-256 of the component, as 64 hexadecimal digits.
    hash: &'a str,
    /// Whether no rule was broken, and the cluster came to rest in time after each scenario.
    passed: bool,
    /// Decisions that it could not make, and native classic did; and why not one of them.
    fallbacks: u64,
    fallback: Option<&'a str>,
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
    /// In how many seeds the cluster did not come to rest in time.
    restless: usize,
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
        restless: row.restless,
        broken: &row.broken,
    };
    let lab = |lab: &'a Lab| ToldLab {
        policy: &lab.policy,
        hash: &lab.hash,
        passed: lab.rows.iter().all(|row| row.broken.is_empty() && row.restless == 0),
        fallbacks: lab.failed,
        fallback: lab.why.as_deref(),
        scenarios: lab.rows.iter().zip(scenarios).map(row).collect(),
    };
    let whole_library = args.only.is_empty() && (args.library || args.scenario.is_empty());
    Told {
        seeds: args.seeds,
        first: args.first,
        held,
        whole_library,
        policies: labs.iter().map(lab).collect(),
    }
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
    text.push_str(
        "| scenario | policy | noticed | detection | write gap | MA gap | needless | at rest | rules |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for number in 0..scenarios.len() {
        for lab in labs {
            let Some(row) = lab.rows.get(number) else { continue };
            let noticed =
                if row.wanted { format!("{} of {}", row.noticed, row.seeds) } else { "-".to_owned() };
            text.push_str(&format!(
                "| {} | {} | {noticed} | {} | {} | {} | {} | {} | {} |\n",
                row.scenario,
                lab.policy,
                spread(row.detection_ms),
                spread(row.write_gap_ms),
                spread(row.master_gap_ms),
                row.needless,
                if row.restless == 0 { "yes".to_owned() } else { format!("not {}", row.restless) },
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
                "\n{} gave no valid answer {} times, and native classic decided instead: {}\n",
                lab.policy,
                lab.failed,
                lab.why.as_deref().unwrap_or("unknown")
            ));
        }
    }
    if labs.iter().flat_map(|lab| &lab.rows).any(|row| row.restless > 0) {
        text.push_str(
            "\nWhere the cluster did not come to rest in time after the last fault, the policy may hold somebody back for \
             longer than that.\n",
        );
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
