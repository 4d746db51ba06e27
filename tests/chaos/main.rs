//! Hurts clusters of real processes for as long as it is told, and says what came of it.
//!
//! Exit code 0 only if nothing was violated. `cargo xtask chaos` builds and runs it, as root.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use baton_tests::chaos::{self, Fault, Plan, Report};
use baton_tests::{Cluster, Moment, disk, network};
use clap::Parser;
use serde::Serialize;

/// A cluster is hurt in so many rounds before it is replaced by a new one.
const ROUNDS_OF_A_CLUSTER: u64 = 12;
/// A round that takes longer has failed.
const ROUND_BOUND: Duration = Duration::from_secs(600);

/// What to do.
#[derive(Parser)]
#[command(about = "Hurts a cluster in every way and compares what clients were promised with what is there.")]
struct Args {
    /// For how many minutes rounds are begun; at least one is
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Decides the plans: round r of seed s has the plan of round 0 of seed s + r
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these faults, with commas in between
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// One JSON object at the end instead of text
    #[arg(long)]
    json: bool,
}

/// What all rounds have shown.
#[derive(Default, Serialize)]
struct Verdict {
    success: bool,
    seed: u64,
    rounds: u64,
    took_s: f64,
    longest_heal_s: f64,
    /// Of all rounds.
    sum: Report,
    /// The command that runs the round again in which something was violated.
    again: Option<String>,
    /// Where the folder of that cluster is, with its logs.
    kept: Option<PathBuf>,
    /// Why it ended before its time.
    error: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut verdict = Verdict { seed: args.seed, ..Verdict::default() };
    let began = Instant::now();
    let outcome = enter().and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                outcome = rounds(&args, &mut verdict) => outcome,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            }
        })
    });
    verdict.took_s = began.elapsed().as_secs_f64();
    verdict.error = outcome.err().map(|error| format!("{error:#}"));
    verdict.success = verdict.error.is_none() && verdict.sum.violations.is_empty() && verdict.rounds > 0;
    if args.json {
        match serde_json::to_string_pretty(&verdict) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("error: {error}"),
        }
    } else {
        print(&verdict);
    }
    if verdict.success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The namespaces come first: threads that are started later are in them.
fn enter() -> Result<tokio::runtime::Runtime> {
    network::enter_own_namespace()?;
    disk::enter_own_mounts()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")
}

async fn rounds(args: &Args, verdict: &mut Verdict) -> Result<()> {
    let faults = if args.faults.is_empty() { Fault::all().collect() } else { args.faults.clone() };
    let end = Instant::now() + Duration::from_secs_f64(args.minutes.max(0.0) * 60.0);
    let began = Moment::now();
    let tell = |at: Moment, text: &str| {
        if !args.json {
            println!("{:>9.3} s  {text}", at.ms_after(began) / 1e3);
        }
    };
    let internet = chaos::internet()?;
    let mut standing: Option<Cluster> = None;
    while verdict.rounds == 0 || Instant::now() < end {
        let seed = args.seed.wrapping_add(verdict.rounds);
        if verdict.rounds.is_multiple_of(ROUNDS_OF_A_CLUSTER) {
            drop(standing.take());
        }
        let cluster = match &standing {
            Some(cluster) => cluster,
            None => {
                tell(Moment::now(), "a new cluster of 3 aggregators and 4 leaves, each on a host of its own");
                standing.insert(chaos::cluster(&internet).await?)
            }
        };
        let plan = Plan::of(seed, &faults);
        tell(Moment::now(), &format!("round {}, seed {seed}: {plan}", verdict.rounds));
        let mut tell_of_round = |at: Moment, text: &str| tell(at, &format!("  {text}"));
        let round = chaos::round(cluster, &internet, &plan, seed, &mut tell_of_round);
        let report = match tokio::time::timeout(ROUND_BOUND, round).await {
            Ok(Ok(report)) => report,
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => anyhow::anyhow!("the round did not end within {} s", ROUND_BOUND.as_secs()),
                };
                keep(args, verdict, seed, cluster)?;
                return Err(cluster.with_logs(error));
            }
        };
        verdict.rounds += 1;
        let violated = !report.violations.is_empty();
        tell(Moment::now(), &format!("  {}", in_short(&report)));
        add(verdict, report);
        if violated {
            keep(args, verdict, seed, cluster)?;
            return Ok(());
        }
    }
    Ok(())
}

/// Says how to run the round again, and moves what there is of the cluster out of the guard's way.
fn keep(args: &Args, verdict: &mut Verdict, seed: u64, cluster: &Cluster) -> Result<()> {
    let faults: Vec<String> = args.faults.iter().map(ToString::to_string).collect();
    let only = if faults.is_empty() { String::new() } else { format!(" --faults {}", faults.join(",")) };
    verdict.again = Some(format!("cargo xtask chaos --minutes 0 --seed {seed}{only}"));
    let kept =
        tempfile::Builder::new().prefix("baton-chaos-").tempdir().context("no folder for logs")?.keep();
    let logs = cluster.toolbox().state_dir().join("logs");
    for log in std::fs::read_dir(&logs).with_context(|| format!("no logs in {}", logs.display()))? {
        let log = log?;
        std::fs::copy(log.path(), kept.join(log.file_name())).context("a log cannot be kept")?;
    }
    verdict.kept = Some(kept);
    Ok(())
}

fn in_short(report: &Report) -> String {
    let numbers = &report.numbers;
    let mut text = format!(
        "{} acknowledged, {} unknown, {} surely not done, {} reads; errors {:?}",
        numbers.acknowledged, numbers.unknown, numbers.undone, numbers.reads, numbers.errors
    );
    if numbers.stale_reads > 0 {
        text.push_str(&format!("; {} stale reads (there are no read leases)", numbers.stale_reads));
    }
    if !report.transactions {
        text.push_str("; no transactions");
    }
    text
}

fn add(verdict: &mut Verdict, report: Report) {
    verdict.longest_heal_s = verdict.longest_heal_s.max(report.healed_s);
    let sum = &mut verdict.sum;
    for (fault, count) in report.faults {
        *sum.faults.entry(fault).or_default() += count;
    }
    sum.numbers.add(&report.numbers);
    sum.healed_s += report.healed_s;
    sum.transactions |= report.transactions;
    sum.violations.extend(report.violations);
}

fn print(verdict: &Verdict) {
    println!();
    for violation in &verdict.sum.violations {
        println!("VIOLATED {violation}");
    }
    if let Some(error) = &verdict.error {
        println!("FAILED {error}");
    }
    let made: u64 = verdict.sum.faults.values().sum();
    println!("chaos: {} rounds in {:.0} s, seed {}", verdict.rounds, verdict.took_s, verdict.seed);
    println!("chaos: {made} faults: {:?}", verdict.sum.faults);
    println!("chaos: {}", in_short(&verdict.sum));
    println!("chaos: whole again after {:.1} s at the longest", verdict.longest_heal_s);
    if let Some(kept) = &verdict.kept {
        println!("chaos: the logs are in {}", kept.display());
    }
    if let Some(again) = &verdict.again {
        println!("next: {again}    (the same plan; real time makes it another run)");
    }
    println!("{}", if verdict.success { "nothing was violated" } else { "VIOLATED" });
}
