//! The author's tool. `baton policy` begins a policy, builds it, tests it, looks into it, asks it, and replays with it
//! what a cluster has recorded; `baton sim` plays it in a library of faults.
//!
//! For that it needs no cluster: what it runs, it runs in the sandbox of the nodes, with the same limits. It signs
//! components as well, and installs, activates and takes them back on a cluster.
//!
//! * Results are on the standard output, progress on the standard error; with `--json` the result is one JSON object.
//! * Exit codes: 0 if it was done; 1 if not, if a test failed, or if a component did not repeat its own decisions; 2 for a
//!   command that cannot be understood. That another policy decides otherwise is no failure.

mod ask;
mod bench;
mod build;
mod cluster;
mod error;
mod fuel;
mod html;
mod inspect;
mod new;
mod record;
mod replay;
mod report;
mod run;
mod sandboxed;
mod sign;
mod sim;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use baton_policy::DecisionPoint;
use clap::{Args, Subcommand};

pub use error::PolicyToolError;
pub use sim::{SimArgs, sim};

use cluster::{Login, Place};
use report::Report;

/// `baton policy`.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// Print the result as one JSON object
    #[arg(long, short, global = true)]
    json: bool,
    #[command(subcommand)]
    command: PolicyCommand,
}

/// What the tool can do.
#[derive(Subcommand, Clone, Debug)]
enum PolicyCommand {
    /// Begin a policy: a crate in a folder of that name, with views and tests
    New {
        /// Its name: lower case letters, digits, `-`; a letter first
        name: String,
        /// The folder of baton-policy-sdk, policies/sdk in a checkout of Baton
        #[arg(long, value_name = "DIR")]
        sdk: PathBuf,
    },
    /// Compile a policy and make its component, NAME.wasm in its folder
    Build {
        /// The folder of the policy's crate
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Run a policy's own tests, then its views in the sandbox as well
    Test {
        /// The folder of the policy's crate; or a component, of which only the views are asked
        #[arg(default_value = ".")]
        policy: PathBuf,
        /// Write the verdicts of the views as they are now, instead of comparing
        #[arg(long)]
        update: bool,
    },
    /// Write the bindings of a policy in C: policy.h, policy.c, policy_component_type.o
    Bindings {
        /// The decision points that it answers
        #[arg(required = true)]
        decision_points: Vec<DecisionPoint>,
        /// Where they go
        #[arg(long, value_name = "DIR", default_value = "bindings")]
        out: PathBuf,
    },
    /// Make a component of a core module that was compiled with bindings
    Component {
        /// The core module
        module: PathBuf,
        /// The component
        #[arg(long, value_name = "FILE.wasm")]
        out: PathBuf,
    },
    /// Say what a component is: name, version, decision points, settings, imports, size, hash
    Inspect {
        /// The component
        policy: PathBuf,
    },
    /// Ask a policy one question: verdict, reasons, log, fuel, memory, time
    Run {
        /// The component
        policy: PathBuf,
        /// The question, as a view (one JSON object)
        #[arg(long, value_name = "VIEW.json")]
        input: PathBuf,
        /// The settings, instead of those of the view; given once for each
        #[arg(long = "with", value_name = "NAME=VALUE")]
        with: Vec<String>,
    },
    /// Measure what a decision costs in the sandbox, and what classic takes natively
    Bench {
        /// The component
        policy: PathBuf,
        /// A question to measure; without one, a detection over healthy nodes
        #[arg(long, value_name = "VIEW.json")]
        input: Option<PathBuf>,
        /// How many nodes the detection is over
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000), conflicts_with = "input")]
        nodes: u32,
        /// How many calls are measured
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        calls: u32,
    },
    /// Make a key to sign policies with; nobody else may read its file
    Keygen {
        /// The file of the secret key; it must not be there yet
        file: PathBuf,
    },
    /// Vouch for a component: writes COMPONENT.sig
    Sign {
        /// The component
        component: PathBuf,
        /// The file of the secret key, as keygen made it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Install a component on a cluster; it decides nothing by that
    Install {
        /// The component
        component: PathBuf,
        /// Who vouches for it; COMPONENT.sig if that is there
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
        /// Put it beside the versions of that name that are there
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        login: Login,
    },
    /// Let an installed policy decide
    Activate {
        /// Its name
        name: String,
        /// How the hash of its version begins; the current one without
        #[arg(long, value_name = "PREFIX")]
        version: Option<String>,
        /// A setting; may be given more than once
        #[arg(long = "with", value_name = "NAME=VALUE")]
        with: Vec<String>,
        #[command(flatten)]
        place: Place,
        /// What `baton sim --json` printed of it
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        login: Login,
    },
    /// Let decide what decided before
    Rollback {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        login: Login,
    },
    /// Decide again what was recorded, and show what would have been decided otherwise
    Replay {
        /// What was recorded: JSON lines, each a view with whatever else was recorded with it
        records: PathBuf,
        /// The component that decides
        #[arg(long, value_name = "POLICY.wasm")]
        policy: PathBuf,
        /// The settings, instead of those recorded; given once for each
        #[arg(long = "with", value_name = "NAME=VALUE")]
        with: Vec<String>,
        /// Show at most so many differences
        #[arg(long, default_value_t = 20)]
        show: usize,
    },
}

/// Does what was asked for.
#[must_use]
pub fn run(args: PolicyArgs) -> ExitCode {
    let report = Report { json: args.json };
    let done = match args.command {
        PolicyCommand::New { name, sdk } => new::new(&report, &name, &sdk),
        PolicyCommand::Build { folder } => build::build(&report, &folder),
        PolicyCommand::Test { policy, update } if policy.is_file() => {
            test::test_component(&report, &policy, update)
        }
        PolicyCommand::Test { policy, update } => test::test(&report, &policy, update),
        PolicyCommand::Bindings { decision_points, out } => build::bindings(&report, &decision_points, &out),
        PolicyCommand::Component { module, out } => build::encode(&report, &module, &out),
        PolicyCommand::Inspect { policy } => inspect::inspect(&report, &policy),
        PolicyCommand::Run { policy, input, with } => run::run(&report, &policy, &input, &with),
        PolicyCommand::Bench { policy, input, nodes, calls } => {
            bench::bench(&report, &policy, input.as_deref(), nodes, calls)
        }
        PolicyCommand::Keygen { file } => sign::keygen(&report, &file),
        PolicyCommand::Sign { component, key } => sign::sign(&report, &component, &key),
        PolicyCommand::Install { component, signature, replace, login } => {
            cluster::install(&report, &component, signature, replace, &login)
        }
        PolicyCommand::Activate { name, version, with, place, report: lab, login } => {
            cluster::activate(&report, &name, version.as_deref(), &with, &place, lab.as_deref(), &login)
        }
        PolicyCommand::Rollback { place, login } => cluster::rollback(&report, &place, &login),
        PolicyCommand::Replay { records, policy, with, show } => {
            replay::replay(&report, &records, &policy, &with, show)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
