//! The toolbox, `baton admin`: a cluster's life from outside its nodes.
//!
//! It keeps a state folder with what it started (`cluster.json`, `logs/`, `data/`), and asks the nodes themselves,
//! through SQL, for everything that changes without it: who the master aggregator is, who is online.
//!
//! * Nodes outlive the toolbox: each is a process of its own group that writes to its log file.
//! * A process is a node only if it holds the lock on the node's data folder, or was started here to take it; a process
//!   id that was given to another program is never signalled.
//! * Every wait is bounded, and says what it waited for and which log to read.
//!
//! Not here: other machines. Every host of a cluster file is an address of this one.

mod client;
mod cluster_file;
mod data_lock;
mod delete;
mod error;
mod nodes;
mod process;
mod report;
mod serving;
mod setup;
mod state;
mod survey;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use cluster_file::{ClusterFileError, ClusterPlan, PlannedNode, PlannedRole};
pub use error::AdminError;
pub use state::{ClusterState, NodeRecord, StateDir};

use report::Report;

/// `baton admin`.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// The folder that holds what the toolbox knows of the cluster
    #[arg(long, value_name = "DIR", global = true, env = "BATON_STATE_DIR", default_value = ".baton")]
    state_dir: PathBuf,
    /// Print the result as JSON, and no progress
    #[arg(long, short, global = true)]
    json: bool,
    /// Ask nothing
    #[arg(long, short, global = true)]
    yes: bool,
    #[command(subcommand)]
    command: AdminCommand,
}

/// What the toolbox can do.
#[derive(Subcommand, Clone, Debug)]
enum AdminCommand {
    /// Start the nodes of a cluster file and make them a cluster; returns when all of it serves
    SetupCluster {
        /// The cluster file (see examples/)
        #[arg(long, value_name = "FILE.yaml")]
        cluster_file: PathBuf,
    },
    /// Show every node: its role as of today, and its process
    ListNodes,
    /// Start nodes; returns when they accept SQL
    StartNode(Which),
    /// Stop nodes; returns when they are gone
    StopNode {
        #[command(flatten)]
        which: Which,
        /// Kill instead of asking (SIGKILL); works on a stopped process too
        #[arg(long)]
        force: bool,
    },
    /// Kill every node and remove its data, its log, and the state folder's record of the cluster
    DeleteCluster,
}

/// Some nodes of the cluster.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// The node of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Every node
    #[arg(long, short)]
    all: bool,
}

/// Runs one command: the result goes to the standard output, progress and errors to the standard error.
pub async fn run(args: AdminArgs) -> ExitCode {
    let report = Report { json: args.json };
    match obey(args, &report).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn obey(args: AdminArgs, report: &Report) -> Result<(), AdminError> {
    let state_dir = StateDir::at(&args.state_dir)?;
    match args.command {
        AdminCommand::SetupCluster { cluster_file } => {
            report.confirm(args.yes, &format!("Set up the cluster of {}?", cluster_file.display()))?;
            setup::setup_cluster(&state_dir, &cluster_file, report).await
        }
        AdminCommand::ListNodes => nodes::list_nodes(&state_dir, report).await,
        AdminCommand::StartNode(which) => nodes::start_nodes(&state_dir, which.name.as_deref(), report).await,
        AdminCommand::StopNode { which, force } => {
            nodes::stop_nodes(&state_dir, which.name.as_deref(), force, report).await
        }
        AdminCommand::DeleteCluster => {
            let question = format!("Delete the cluster of {} with all its data?", state_dir.path().display());
            report.confirm(args.yes, &question)?;
            delete::delete_cluster(&state_dir, report).await
        }
    }
}
