//! The command: many seeds on all cores, or one seed with its story.
//!
//! Each seed is one thread's business from its begin to its end. What is printed about seeds does not depend on how long
//! they took; only the last line does, which says how fast the simulation is.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use baton_sim::invariants::Violation;
use baton_sim::kernel::S;
use baton_sim::policies::Shelf;
use baton_sim::run::{Report, run, setup_of};
use baton_sim::setup::Setup;
use baton_sim::story::Detail;

/// Seeds of a run that names no number: about two minutes on two cores.
const SEEDS: u64 = 2_500;
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// Lines of the story that are shown of a seed that fails among many.
const STORY_LINES: usize = 40;
/// Failing seeds whose story is shown; of all others only what was broken.
const STORIES: usize = 3;
/// How fast the simulation is meant to be: simulated seconds per second of one core.
const SPEED_MIN: f64 = 1_000.0;

const HELP: &str = "\
Lets whole clusters live and fail, and looks whether the rules of the safety kernel hold.

Usage: cargo xtask sim [OPTIONS]

  --seeds N      How many seeds (2500)
  --first S      The first of them (0)
  --seed S       One seed, with its story
  --everything   Of one seed, every message and every effect
  --jobs N       How many seeds at a time; as many as there are cores
  --json         One JSON object on the standard output instead of text
  --speed        Only measure how fast the simulation is
  --mutant NAME  Break this rule; in a build with the feature `mutants` alone
  --help         This text";

/// What was asked for. Read by hand: what reads arguments well takes longer to compile than all cores.
#[derive(Debug, Default)]
struct Args {
    seeds: Option<u64>,
    first: u64,
    seed: Option<u64>,
    everything: bool,
    jobs: Option<usize>,
    json: bool,
    speed: bool,
    help: bool,
    #[cfg(feature = "mutants")]
    mutant: Option<baton_model::mutant::Mutant>,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self::default();
        while let Some(word) = words.next() {
            let (name, mut value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || value.take().or_else(|| words.next()).ok_or(format!("{name} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("'{text}' is no number"));
            match name.as_str() {
                "--seeds" => args.seeds = Some(number(value()?)?),
                "--first" => args.first = number(value()?)?,
                "--seed" => args.seed = Some(number(value()?)?),
                "--jobs" => args.jobs = usize::try_from(number(value()?)?).ok(),
                "--everything" => args.everything = true,
                "--json" => args.json = true,
                "--speed" => args.speed = true,
                "--help" | "-h" => args.help = true,
                #[cfg(feature = "mutants")]
                "--mutant" => args.mutant = Some(mutant(&value()?)?),
                _ => return Err(format!("there is no option {name}; see --help")),
            }
        }
        Ok(args)
    }
}

#[cfg(feature = "mutants")]
fn mutant(name: &str) -> Result<baton_model::mutant::Mutant, String> {
    let all = baton_model::mutant::Mutant::ALL;
    let found = all.into_iter().find(|mutant| format!("{mutant:?}").eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("there are {all:?}"))
}

impl Args {
    /// Before each seed, in its thread.
    fn prepare(&self) {
        #[cfg(feature = "mutants")]
        baton_model::mutant::Mutant::set(self.mutant);
    }
}

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if args.help {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if args.speed {
        println!("{}", told_speed(speed()));
        return ExitCode::SUCCESS;
    }
    match args.seed {
        Some(seed) => one(&args, seed),
        None => many(&args),
    }
}

/// One seed, with its story as it happens.
fn one(args: &Args, seed: u64) -> ExitCode {
    args.prepare();
    let setup = setup_of(seed);
    if !args.json {
        println!("seed {seed}: {setup:?}");
    }
    let detail = match (args.json, args.everything) {
        (true, _) => Detail::Nothing,
        (false, false) => Detail::Story,
        (false, true) => Detail::Everything,
    };
    let report = run(setup, Shelf::default(), detail, true);
    if args.json {
        println!("{}", json(std::slice::from_ref(&report), None));
    } else {
        for violation in &report.violations {
            println!("{}", told(violation));
        }
        println!("{}", summary(&report));
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Many seeds, on all cores.
fn many(args: &Args) -> ExitCode {
    let started = Instant::now();
    let jobs =
        args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let seeds = args.seeds.unwrap_or(SEEDS);
    let next = AtomicU64::new(args.first);
    let end = args.first.saturating_add(seeds);
    let mut reports: Vec<Report> = Vec::new();
    // A core that panics is a finding like any other, and told with its seed.
    panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        let (told, heard) = mpsc::sync_channel::<Report>(64);
        for _ in 0..jobs {
            let (told, next) = (told.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    args.prepare();
                    let lived = panic::catch_unwind(AssertUnwindSafe(|| {
                        run(setup_of(seed), Shelf::default(), Detail::Nothing, false)
                    }));
                    let report = lived.unwrap_or_else(|payload| {
                        let text = payload
                            .downcast_ref::<String>()
                            .cloned()
                            .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                            .unwrap_or_default();
                        Report {
                            violations: vec![Violation { at: 0, invariant: "panic", what: text }],
                            ..Report::empty(seed)
                        }
                    });
                    if told.send(report).is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let mut said = Instant::now();
        for report in heard {
            if let Some(first) = report.violations.first()
                && !args.json
            {
                println!("seed {} fails: {}", report.seed, self::told(first));
            }
            reports.push(report);
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                let failed = reports.iter().filter(|report| !report.violations.is_empty()).count();
                eprintln!("sim: {} of {} seeds, {failed} failed", reports.len(), seeds);
            }
        }
    });
    let _ = panic::take_hook();
    reports.sort_by_key(|report| report.seed);
    let failed: Vec<&Report> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
    let speed = speed();
    if args.json {
        println!("{}", json(&reports, Some(speed)));
    } else {
        for report in failed.iter().take(STORIES) {
            tell(args, report);
        }
        println!("{}", totals(&reports, started.elapsed()));
        println!("{} seeds passed, {} failed", reports.len() - failed.len(), failed.len());
        println!("{}", told_speed(speed));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How a seed came to fail: its last lines, and the command that shows all of them.
fn tell(args: &Args, report: &Report) {
    println!();
    println!("seed {}, its last {STORY_LINES} lines:", report.seed);
    args.prepare();
    let again = panic::catch_unwind(|| run(setup_of(report.seed), Shelf::default(), Detail::Story, false));
    if let Ok(again) = again {
        let lines: Vec<&str> = again.story.lines().collect();
        for line in &lines[lines.len().saturating_sub(STORY_LINES)..] {
            println!("  {line}");
        }
    }
    println!("replay: cargo xtask sim --seed {}", report.seed);
    println!("with every message: cargo xtask sim --seed {} --everything", report.seed);
    println!();
}

fn told(violation: &Violation) -> String {
    let Violation { at, invariant, what } = violation;
    format!("{invariant} is broken at {}.{:06} s: {what}", at / S, at % S)
}

fn summary(report: &Report) -> String {
    let [written, read, undone, unknown] = report.statements;
    let [committed, rolled_back, in_doubt] = report.transactions;
    format!(
        "seed {}: {} s, rest after {} s, {} events, {} faults; {written} written, {read} read, {undone} undone, \
         {unknown} unknown; transactions: {committed} committed, {rolled_back} rolled back, {in_doubt} unknown; \
         digest {:016x}; {}",
        report.seed,
        report.simulated / S,
        report.rested_after / S,
        report.events,
        report.faults,
        report.digest,
        if report.violations.is_empty() { "all rules held" } else { "FAILED" }
    )
}

fn totals(reports: &[Report], took: Duration) -> String {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    format!(
        "sim: {} seeds in {:.0} s: {} simulated s, {} faults, {} events; {} written, {} read, {} undone, {} unknown; \
         transactions: {} committed, {} rolled back, {} unknown; rest after {} s at most; {} partitions left to their operator, \
         {} shortened by power cuts under ASYNC DURABILITY",
        reports.len(),
        took.as_secs_f64(),
        sum(|r| r.simulated) / S,
        sum(|r| r.faults),
        sum(|r| r.events),
        sum(|r| r.statements[0]),
        sum(|r| r.statements[1]),
        sum(|r| r.statements[2]),
        sum(|r| r.statements[3]),
        sum(|r| r.transactions[0]),
        sum(|r| r.transactions[1]),
        sum(|r| r.transactions[2]),
        reports.iter().map(|report| report.rested_after).max().unwrap_or_default() / S,
        sum(|r| r.given_up as u64),
        sum(|r| r.shortened as u64),
    )
}

/// Simulated seconds of three aggregators and four leaves under load, and what they took of one core.
#[derive(Clone, Copy)]
struct Speed {
    simulated_s: f64,
    core_s: f64,
    statements: u64,
    transactions: u64,
}

fn speed() -> Speed {
    let before = core_time();
    let report = run(Setup::calm(1), Shelf::default(), Detail::Nothing, false);
    let core_s = match (before, core_time()) {
        (Some(before), Some(after)) => (after - before).as_secs_f64(),
        // Without it, the time that passed, in which others may have had the core.
        _ => report.took_s,
    };
    Speed {
        simulated_s: report.simulated as f64 / S as f64,
        core_s,
        statements: report.statements.iter().sum(),
        transactions: report.transactions.iter().sum(),
    }
}

/// How long this thread has had a core, by Linux's word.
fn core_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn told_speed(speed: Speed) -> String {
    let rate = speed.simulated_s / speed.core_s;
    let goal = if rate >= SPEED_MIN { "" } else { ", which is below its goal" };
    format!(
        "speed: {rate:.0} simulated seconds of 3 aggregators and 4 leaves, at {:.0} statements and {:.1} transactions a \
         second, per second of one core{goal} ({SPEED_MIN:.0})",
        speed.statements as f64 / speed.simulated_s,
        speed.transactions as f64 / speed.simulated_s
    )
}

fn json(reports: &[Report], speed: Option<Speed>) -> String {
    let failures: Vec<String> = reports
        .iter()
        .flat_map(|report| report.violations.first().map(|violation| (report.seed, violation)))
        .map(|(seed, violation)| {
            format!(
                r#"{{"seed":{seed},"invariant":"{}","at_us":{},"what":"{}"}}"#,
                violation.invariant,
                violation.at,
                violation.what.escape_default()
            )
        })
        .collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let speed = speed.map_or_else(String::new, |speed| {
        format!(r#","simulated_s_per_core_s":{:.0}"#, speed.simulated_s / speed.core_s)
    });
    format!(
        r#"{{"seeds":{},"failures":[{}],"simulated_us":{},"faults":{},"events":{},"written":{},"read":{},"undone":{},"unknown":{},"committed":{},"rolled_back":{},"in_doubt":{},"rested_after_us_max":{},"given_up":{},"shortened":{}{speed}}}"#,
        reports.len(),
        failures.join(","),
        sum(|r| r.simulated),
        sum(|r| r.faults),
        sum(|r| r.events),
        sum(|r| r.statements[0]),
        sum(|r| r.statements[1]),
        sum(|r| r.statements[2]),
        sum(|r| r.statements[3]),
        sum(|r| r.transactions[0]),
        sum(|r| r.transactions[1]),
        sum(|r| r.transactions[2]),
        reports.iter().map(|report| report.rested_after).max().unwrap_or_default(),
        sum(|r| r.given_up as u64),
        sum(|r| r.shortened as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, String> {
        Args::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn options_are_read_with_their_values() {
        let args = parse(&["--seeds", "7", "--first=3", "--json"]).expect("they are good");
        assert_eq!((args.seeds, args.first, args.json), (Some(7), 3, true));
        assert!(parse(&["--seed"]).is_err_and(|error| error.contains("needs a value")));
        assert!(parse(&["--seed", "x"]).is_err_and(|error| error.contains("no number")));
        assert!(parse(&["--sedes", "1"]).is_err_and(|error| error.contains("no option")));
    }

    #[test]
    fn the_help_names_the_default() {
        assert!(HELP.contains(&format!("({SEEDS})")));
    }
}
