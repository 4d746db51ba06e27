//! `baton`: a node, the toolbox, or the tool of those who write policies.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use baton_admin::AdminArgs;
use baton_node::{ConfigFile, NodeConfig, NodeRoleName};
use baton_policy_tool::{PolicyArgs, SimArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// A highly available, sharded SQL cluster in which every failover decision is made by a sandboxed program.
#[derive(Parser, Debug)]
#[command(name = "baton", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run one node until SIGTERM. Exit codes: 2 usage, 3 a port is taken, 4 the data directory cannot be used
    Node(NodeArgs),
    /// Set up, start, stop, list and delete clusters on this machine
    Admin(AdminArgs),
    /// Begin, build, test, inspect, run, measure and replay policies; no cluster is needed
    Policy(PolicyArgs),
    /// Play a policy in a library of faults: how soon they are noticed, how long nobody can write, who is failed needlessly
    Sim(SimArgs),
}

/// A flag wins over the file.
#[derive(Args, Debug)]
struct NodeArgs {
    /// A TOML file with role, host, port, rpc_port, http_port, data_dir
    #[arg(long, value_name = "node.toml")]
    config: Option<PathBuf>,
    /// aggregator or leaf
    #[arg(long)]
    role: Option<NodeRoleName>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,
    /// The SQL port [default: 3306]
    #[arg(long)]
    port: Option<u16>,
    /// The port for other nodes [default: SQL port + 1000]
    #[arg(long)]
    rpc_port: Option<u16>,
    /// The port for monitoring [default: SQL port + 2000]
    #[arg(long)]
    http_port: Option<u16>,
    /// Where everything is kept
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// How the log is written to standard output; human on a terminal is coloured. RUST_LOG narrows it
    #[arg(long, value_enum, default_value = "human")]
    log_format: LogFormat,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum LogFormat {
    Human,
    Json,
}

/// At its end, a node waits this long for threads that are still at work.
const LAST_THREADS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match cli.command {
        Command::Admin(args) => runtime.block_on(baton_admin::run(args)),
        Command::Policy(args) => baton_policy_tool::run(args),
        Command::Sim(args) => baton_policy_tool::sim(&args),
        Command::Node(args) => {
            start_log(args.log_format);
            let ended = runtime.block_on(node(args));
            // Tasks are dropped, and threads that still read the disk are waited for: a store that is closed while it
            // is read takes the process down.
            runtime.shutdown_timeout(LAST_THREADS);
            ended
        }
    }
}

async fn node(args: NodeArgs) -> ExitCode {
    let flags = ConfigFile {
        role: args.role,
        host: args.host,
        port: args.port,
        rpc_port: args.rpc_port,
        http_port: args.http_port,
        data_dir: args.data_dir,
    };
    let config = match NodeConfig::complete(flags, args.config.as_ref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match baton_node::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "the node cannot run");
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // What openraft and its kind say is of interest to nobody who has no defect to find.
        EnvFilter::new("info,openraft=warn,openraft_rt=warn,h2=warn,hyper=warn")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal());
    match format {
        LogFormat::Human => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
