//! The commands of this repository, run as `cargo xtask <command>`.
//!
//! A command is a module with a `run`: it prints what it does, and at the end what to do next.
//! All of them work from any folder of the repository and honour `CARGO_TARGET_DIR`.
//! Not here: anything a cluster needs at run time; that is the binary's, in `crates/baton`.

mod bench;
mod chaos;
mod checklist;
mod checkout;
mod demo;
mod floors;
mod house;
mod policies;
mod programs;
mod root;
mod setup;
mod sim;
mod tables;
mod testing;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// One command of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The commands of this repository.")]
enum Task {
    /// Install what is missing to build and test: C++ compiler, libclang, wasm target, test tools
    Setup,
    /// Check format, dependency directions, built-in policies, clippy and docs; warnings are errors
    Verify,
    /// Set up, build in release, and run every test
    Test(testing::TestArgs),
    /// Set up, build, and run the main job: a cluster that is hurt in every way and goes on
    Demo(demo::DemoArgs),
    /// Hurt clusters of real processes for as long as it is told, with plans drawn from a seed
    Chaos(chaos::ChaosArgs),
    /// Measure, print one table with goals, and keep it in benches/RESULTS.md
    Bench(bench::BenchArgs),
    /// Let whole simulated clusters live and fail, and check every rule of the safety kernel
    Sim(sim::SimArgs),
    /// Build the built-in policies as WASM components
    Policies {
        /// Change nothing; fail if the components in the repository differ from what their source gives
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match perform(Task::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => {
            setup::run(setup::Purpose::Test)?;
            println!("next: cargo xtask test");
            Ok(ExitCode::SUCCESS)
        }
        Task::Verify => verify::run(),
        Task::Test(args) => testing::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Chaos(args) => chaos::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Sim(args) => sim::run(&args),
        Task::Policies { check } => policies::build(check).map(|()| ExitCode::SUCCESS),
    }
}
