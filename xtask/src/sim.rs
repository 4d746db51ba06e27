//! Builds the simulator and lets it run: a program of its own, `crates/sim`, compiled for speed from cores alone.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::checkout;

/// What the simulator is told; see `cargo xtask sim --help`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// `--seeds N`, `--seed S`, and what else `--help` says
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Cargo's words for the simulator.
pub const PROFILE: [&str; 4] = ["--profile", "sim", "--package", "baton-sim"];

/// Builds it if need be and runs it; success if every rule held.
///
/// # Errors
/// When it cannot be built or started.
pub fn run(args: &SimArgs) -> Result<ExitCode> {
    let mut command = checkout::cargo(&["run", "--quiet"])?;
    command.args(PROFILE).args(["--bin", "baton-sim", "--"]).args(&args.args);
    let status = command.status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
