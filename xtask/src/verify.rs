//! Everything about the sources that can be judged without running them.
//!
//! All checks run even if an early one fails, the quick ones first, so that one run shows all there is to mend.
//! Clippy and rustdoc use the release profile: they share the build scripts (RocksDB) with tests and demo.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::house::House;
use crate::{checklist, checkout, floors, policies, setup, tables};

/// A check: what it is called, how it is done, and what to do where it fails.
struct Check {
    name: &'static str,
    perform: fn() -> Result<()>,
    remedy: &'static str,
}

const CHECKS: &[Check] = &[
    Check { name: "format", perform: format, remedy: "cargo fmt --all" },
    Check { name: "dependency directions", perform: directions, remedy: "see xtask/src/floors.rs" },
    Check { name: "checklist", perform: checklist::check, remedy: "see docs/checklist.md" },
    Check { name: "tables", perform: tables::check, remedy: "add the row to docs/operations.md" },
    Check { name: "built-in policies", perform: || policies::build(true), remedy: "cargo xtask policies" },
    Check { name: "clippy", perform: clippy, remedy: "mend the warnings above" },
    Check { name: "docs", perform: docs, remedy: "mend the warnings above" },
];

/// Runs all checks and prints what came of each; failure if one failed.
///
/// # Errors
/// When something needed to build is missing and cannot be installed.
pub fn run() -> Result<ExitCode> {
    setup::run(setup::Purpose::Build)?;
    let mut report: Vec<(&Check, Duration, Result<()>)> = Vec::new();
    for check in CHECKS {
        println!("verify: {}", check.name);
        let started = Instant::now();
        let outcome = (check.perform)();
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}");
        }
        report.push((check, started.elapsed(), outcome));
    }
    println!();
    for (check, took, outcome) in &report {
        let said = match outcome {
            Ok(()) => "ok".to_owned(),
            Err(_) => format!("FAILED; next: {}", check.remedy),
        };
        println!("verify: {:<22} {:>6.1} s  {said}", check.name, took.as_secs_f64());
    }
    if report.iter().all(|(_, _, outcome)| outcome.is_ok()) {
        println!("next: cargo xtask test");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

fn format() -> Result<()> {
    shown(&["fmt", "--all", "--check"])
}

fn directions() -> Result<()> {
    let house = House::of_this_checkout()?;
    let breaches = floors::breaches(&house);
    for breach in &breaches {
        eprintln!("  {breach}");
    }
    match breaches.len() {
        0 => {
            println!("  {} members, all arrows point down", house.rooms.len());
            Ok(())
        }
        count => bail!("{count} breaches of the rules of the house"),
    }
}

fn clippy() -> Result<()> {
    shown(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn docs() -> Result<()> {
    let mut command: Command = checkout::cargo(&["doc", "--release", "--workspace", "--no-deps"])?;
    command.env("RUSTDOCFLAGS", "-D warnings");
    checkout::run_shown(command)
}

fn shown(arguments: &[&str]) -> Result<()> {
    checkout::run_shown(checkout::cargo(arguments)?)
}
