//! The main job, for people: a cluster of 3 voting aggregators and 4 leaves is hurt in every way, and goes on.
//!
//! Exit code 0 only if every check in it held. `cargo xtask demo` builds and runs it.

mod acts;
mod evidence;
mod script;
mod table;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;

use crate::script::Script;

/// The whole job takes less.
const DEMO_BOUND: Duration = Duration::from_secs(178);

/// What the demo is told.
#[derive(Parser)]
#[command(about = "Starts a cluster, hurts it, and shows how it goes on.")]
struct Args {
    /// The cluster file; its ports are replaced by free ones
    #[arg(long)]
    cluster_file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let colours = !args.json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut script = Script::new(args.json, colours);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(perform(&args, &mut script)));
    if let Err(error) = outcome {
        script.failed(&format!("{error:#}"));
    }
    script.end()
}

/// Runs the job; a bound reached or Ctrl-C end it, and its cluster.
async fn perform(args: &Args, script: &mut Script) -> Result<()> {
    tokio::select! {
        outcome = tokio::time::timeout(DEMO_BOUND, acts::perform(&args.cluster_file, script)) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => bail!("the demo did not end within {} s", DEMO_BOUND.as_secs()),
        },
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}
