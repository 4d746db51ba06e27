//! Builds the binary and `baton-chaos`, and lets it run as root: it is a program of its own, in `tests/chaos/`.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::programs::Programs;
use crate::{checkout, root, setup};

/// How much longer than its rounds are begun it may take: the last round, and taking the cluster down.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// For how long and how.
#[derive(Args)]
pub struct ChaosArgs {
    /// For how many minutes rounds are begun; at least one is
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Decides the plans of faults; real time makes each run another one all the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these faults, with commas in between; a name that is none is answered with all names
    #[arg(long)]
    faults: Option<String>,
    /// One JSON object on the standard output instead of text
    #[arg(long)]
    json: bool,
}

/// Sets up, builds and hurts clusters; success if nothing was violated.
///
/// # Errors
/// When something is missing that cannot be installed, the build fails, or we cannot be root.
pub fn run(args: &ChaosArgs) -> Result<ExitCode> {
    let as_root = root::prefix().context(
        "chaos makes network namespaces and mounts a disk, for which it must be root, and this is neither root nor \
         may it use sudo without a password; type this, in this terminal:\n  sudo -v && cargo xtask chaos",
    )?;
    setup::run(setup::Purpose::Test)?;
    let started = Instant::now();
    let programs = Programs::build()?;
    eprintln!("chaos: built in {:.0} s", started.elapsed().as_secs_f64());
    let mut command = Command::new(programs.path("baton-chaos")?);
    command.args(["--minutes", &args.minutes.to_string(), "--seed", &args.seed.to_string()]);
    if let Some(faults) = &args.faults {
        command.args(["--faults", faults]);
    }
    command.args(args.json.then_some("--json"));
    command.env("BATON_BIN", programs.path("baton")?);
    let limit = Duration::from_secs_f64(args.minutes.max(0.0) * 60.0) + GRACE;
    eprintln!("  $ {}", checkout::printed(&command));
    let mut command = if as_root.is_empty() { command } else { root::as_root(&command, as_root, limit) };
    let status = command.status().context("cannot start baton-chaos")?;
    if status.success() {
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("chaos: ended with {status}");
        Ok(ExitCode::FAILURE)
    }
}
