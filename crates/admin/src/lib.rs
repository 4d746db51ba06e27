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

mod asking;
mod client;
mod cluster_file;
mod data_lock;
mod delete;
mod doctor;
mod error;
mod http;
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
    /// Stop nodes and start them again
    RestartNode(Which),
    /// Show one node: what the toolbox knows of it, and what it says of itself
    DescribeNode {
        /// The node of this name
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Show the aggregators as the cluster sees them: which of them leads, and who votes
    ShowAggregators,
    /// Show the leaves as the cluster sees them
    ShowLeaves,
    /// Show where each copy of each partition is
    ShowCluster,
    /// Set a variable of the cluster
    UpdateConfig {
        /// Its name; dashes count as underscores
        #[arg(long, value_name = "NAME")]
        key: String,
        /// Its new value
        #[arg(long, value_name = "VALUE")]
        value: String,
        /// For the whole cluster, and for good
        #[arg(long)]
        set_global: bool,
    },
    /// Have every copy of a database write a snapshot, so that it starts quickly
    SnapshotDatabase {
        /// The database
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Back a database up
    CreateBackup {
        /// The database
        #[arg(long, value_name = "NAME")]
        database: String,
        /// A folder that every leaf reaches, as an absolute path
        #[arg(long, value_name = "PLACE")]
        to: String,
    },
    /// Make a database from a backup
    RestoreBackup {
        /// The backup's name: that of the database it is of
        #[arg(long, value_name = "NAME")]
        backup: String,
        /// What the new database is to be called, if not the same
        #[arg(long = "as", value_name = "NAME")]
        as_name: Option<String>,
        /// Where the backup is
        #[arg(long, value_name = "PLACE")]
        from: String,
    },
    /// Look the cluster through for what will hurt later; ends with 1 if something wants to be done
    Doctor,
    /// Kill every node and remove its data, its log, and the state folder's record of the cluster
    DeleteCluster,
}

/// What `show-aggregators` shows: what the documents do, and the id.
const AGGREGATOR_COLUMNS: [&str; 8] = [
    "Host",
    "Port",
    "State",
    "Opened_Connections",
    "Average_Roundtrip_Latency_ms",
    "Master_Aggregator",
    "Role",
    "NodeID",
];

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
        AdminCommand::RestartNode(which) => {
            nodes::restart_nodes(&state_dir, which.name.as_deref(), report).await
        }
        AdminCommand::DescribeNode { name } => nodes::describe_node(&state_dir, &name, report).await,
        AdminCommand::ShowAggregators => {
            asking::show(&state_dir, "show-aggregators", "SHOW AGGREGATORS", &AGGREGATOR_COLUMNS, report)
                .await
        }
        AdminCommand::ShowLeaves => asking::show(&state_dir, "show-leaves", "SHOW LEAVES", &[], report).await,
        AdminCommand::ShowCluster => {
            asking::show(&state_dir, "show-cluster", "SHOW CLUSTER STATUS", &[], report).await
        }
        AdminCommand::UpdateConfig { key, value, set_global } => {
            if !set_global {
                return Err(AdminError::NotGlobal(key));
            }
            report.confirm(args.yes, &format!("Set {key} to {value} for the whole cluster?"))?;
            let statement = asking::set_global(&key, &value);
            asking::say(&state_dir, &[statement], &format!("{key} is {value}"), report, asking::ANSWER_BOUND)
                .await
        }
        AdminCommand::SnapshotDatabase { name } => {
            let done = format!("every copy of {name} has a snapshot");
            asking::say(&state_dir, &asking::snapshot(&name), &done, report, asking::LONG_BOUND).await
        }
        AdminCommand::CreateBackup { database, to } => {
            let done = format!("{database} is backed up in {to}");
            asking::say(&state_dir, &[asking::backup(&database, &to)], &done, report, asking::LONG_BOUND)
                .await
        }
        AdminCommand::RestoreBackup { backup, as_name, from } => {
            let done = format!("{} is restored", as_name.as_deref().unwrap_or(&backup));
            let statement = asking::restore(&backup, as_name.as_deref(), &from);
            asking::say(&state_dir, &[statement], &done, report, asking::LONG_BOUND).await
        }
        AdminCommand::Doctor => doctor::doctor(&state_dir, report).await,
        AdminCommand::DeleteCluster => {
            let question = format!("Delete the cluster of {} with all its data?", state_dir.path().display());
            report.confirm(args.yes, &question)?;
            delete::delete_cluster(&state_dir, report).await
        }
    }
}
