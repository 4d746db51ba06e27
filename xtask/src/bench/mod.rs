//! Measures everything that has a goal, and more, and makes one table of it.
//!
//! Small things are measured by the criterion benches of the crates, one node's control group by a bench of its own,
//! and what a whole cluster does by the program in `benches/`.
//! The table is kept with date, machine and command in `benches/RESULTS.md`; a run of a part only prints it.

mod criterion;
mod machine;
mod table;

use std::fs;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::programs::Programs;
use crate::{checkout, setup};
use table::Figure;

const RESULTS: &str = "benches/RESULTS.md";

/// A part of the measurements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// Decisions, ticks, catalog commands, and the control group on three nodes in one process.
    Crates,
    /// Clusters of real processes, with all of what follows.
    Cluster,
    /// Single-row inserts a second.
    Inserts,
    /// Transactions over two partitions a second.
    Transfers,
    /// Resident memory of idle nodes.
    Memory,
    /// Write gaps over many kills.
    Gaps,
    /// From the verdict on a leaf until all that it led is served.
    Promotion,
    /// Provisioning and catch-up.
    Copying,
    /// Backups and restores.
    Archives,
    /// The write pause of planned switchovers.
    Switchover,
}

impl Part {
    /// The word of the cluster benches for it; None for all of them.
    fn of_cluster(self) -> Option<String> {
        let word = self.to_possible_value().map(|value| value.get_name().to_owned());
        word.filter(|_| !matches!(self, Self::Crates | Self::Cluster))
    }
}

/// What to measure.
#[derive(Args)]
pub struct BenchArgs {
    /// Only this part; the results are not kept
    #[arg(long)]
    only: Option<Part>,
}

/// Measures, prints, and keeps the table; success whether goals are met or missed.
///
/// # Errors
/// When something is missing, or a bench fails.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    setup::run(setup::Purpose::Build)?;
    let mut figures = Vec::new();
    if matches!(args.only, None | Some(Part::Crates)) {
        figures.extend(criterion::measure()?);
    }
    if args.only != Some(Part::Crates) {
        figures.extend(measure_cluster(args.only.and_then(Part::of_cluster))?);
    }
    let text = table::markdown(&figures);
    println!("\n{text}");
    if args.only.is_none() {
        let path = checkout::root()?.join(RESULTS);
        fs::write(&path, format!("{}\n{text}", machine::heading()?)).context("cannot keep the results")?;
        println!("bench: kept in {RESULTS}");
    }
    let missed = figures.iter().filter(|figure| figure.met == Some(false)).count();
    let goals = figures.iter().filter(|figure| figure.met.is_some()).count();
    println!("bench: {} of {goals} goals met", goals - missed);
    Ok(ExitCode::SUCCESS)
}

/// Runs the cluster benches; they print a figure a line.
fn measure_cluster(only: Option<String>) -> Result<Vec<Figure>> {
    let programs = Programs::build()?;
    let mut command = Command::new(programs.path("baton-benches")?);
    command.env("BATON_BIN", programs.path("baton")?).stderr(Stdio::inherit());
    if let Some(only) = only {
        command.args(["--only", &only]);
    }
    eprintln!("  $ {}", checkout::printed(&command));
    let output = command.output().context("cannot start the cluster benches")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the cluster benches ended with {}: {printed}", output.status);
    }
    printed.lines().map(Figure::read).collect()
}
