//! Builds the binary and the demo, and lets the demo run: it is a program of its own, in `tests/demo/`.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::programs::Programs;
use crate::{checkout, setup};

const CLUSTER_FILE: &str = "examples/cluster-3x4.yaml";

/// How to show it.
#[derive(Args)]
pub struct DemoArgs {
    /// One JSON object on the standard output instead of text
    #[arg(long)]
    json: bool,
}

/// Sets up, builds and runs the demo; success if every check in it held.
///
/// # Errors
/// When something is missing that cannot be installed, or the build fails.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    setup::run(setup::Purpose::Build)?;
    let started = Instant::now();
    let programs = Programs::build()?;
    eprintln!("demo: built in {:.0} s", started.elapsed().as_secs_f64());
    let mut command = Command::new(programs.path("baton-demo")?);
    command.arg("--cluster-file").arg(checkout::root()?.join(CLUSTER_FILE));
    command.args(args.json.then_some("--json"));
    command.env("BATON_BIN", programs.path("baton")?);
    let status = command.status().context("cannot start the demo")?;
    if status.success() {
        eprintln!("next: README.md says how to start a cluster that stays");
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("demo: ended with {status}");
        Ok(ExitCode::FAILURE)
    }
}
