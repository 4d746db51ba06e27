//! Measures what a cluster of real processes on this machine can do, and prints one JSON object per figure.
//!
//! `cargo xtask bench` runs it after the criterion benches of the crates, and makes one table of both.
//! The clients run on the same machine as the cluster: the figures are what is left for it.

mod activation;
mod archives;
mod copying;
mod detection;
mod figure;
mod gaps;
mod gauge;
mod inserts;
mod lab;
mod load;
mod memory;
mod promotion;
mod spread;
mod switchover;
mod transfers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// A group of figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
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
    /// Backup and restore, and writes beside a catch-up.
    Archives,
    /// The write pause of planned switchovers.
    Switchover,
    /// The detection loop over a thousand nodes.
    Detection,
    /// Until another policy decides.
    Activation,
    /// What each policy does in the library of faults.
    Lab,
}

/// What to measure.
#[derive(Parser)]
struct Args {
    /// Only this
    #[arg(long)]
    only: Option<Part>,
    /// How often a leaf, and the master aggregator, are killed
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// How many primaries the leaf has that dies, with commas in between
    #[arg(long, value_delimiter = ',', default_values_t = [8, 256, 2048])]
    primaries: Vec<usize>,
    /// How often such a leaf is killed
    #[arg(long, default_value_t = 5)]
    promotions: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(&args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Result<()> {
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Inserts) {
        inserts::measure().await?;
    }
    if wanted(Part::Transfers) {
        transfers::measure().await?;
    }
    if wanted(Part::Memory) {
        memory::measure().await?;
    }
    if wanted(Part::Gaps) {
        gaps::measure(args.kills).await?;
    }
    if wanted(Part::Promotion) {
        promotion::measure(&args.primaries, args.promotions).await?;
    }
    if wanted(Part::Copying) {
        copying::measure().await?;
    }
    if wanted(Part::Archives) {
        archives::measure().await?;
    }
    if wanted(Part::Switchover) {
        switchover::measure().await?;
    }
    if wanted(Part::Detection) {
        detection::measure().await?;
    }
    if wanted(Part::Activation) {
        activation::measure().await?;
    }
    if wanted(Part::Lab) {
        tokio::task::block_in_place(lab::measure)?;
    }
    Ok(())
}
