//! Why a command of the toolbox failed, in words for whoever typed it.

use std::io;
use std::path::PathBuf;

use crate::client::ClientError;
use crate::cluster_file::ClusterFileError;
use crate::process::ProcessError;

/// Why a command failed. The text says what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The cluster file is wrong.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// A process could not be started, signalled or waited for.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file or folder of the toolbox could not be used.
    #[error("cannot {verb} {path}: {error}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The record of the cluster is not one.
    #[error("{path} is no record of a cluster ({reason}); it was written by another version, or damaged")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another command holds the state folder.
    #[error("{0} is locked by another command of the toolbox that does not end")]
    Locked(PathBuf),
    /// There is a cluster already.
    #[error("{0} holds a cluster already; say delete-cluster --yes first, or use another --state-dir")]
    Exists(PathBuf),
    /// There is no cluster.
    #[error("{0} holds no cluster; say setup-cluster first, or give the right --state-dir")]
    NoCluster(PathBuf),
    /// No aggregator could be asked.
    #[error("no aggregator runs here; start one: baton admin start-node --all")]
    NoAggregator,
    /// A setting of one node was to be changed.
    #[error(
        "'{0}' is set for the whole cluster: add --set-global; what concerns one node is on its command line"
    )]
    NotGlobal(String),
    /// Something is wrong with the cluster; it was told what.
    #[error("{0} of these want something to be done")]
    Unwell(usize),
    /// There is no such node.
    #[error("there is no node '{name}'; there are: {known}")]
    NoSuchNode {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Nobody said yes.
    #[error("not done: say --yes to go on without a question")]
    NotConfirmed,
    /// An address is not one of this machine.
    #[error("node '{node}': {host} is no address of this machine ({reason}); for now every host must be")]
    ForeignHost {
        /// The node.
        node: String,
        /// Its host.
        host: String,
        /// What the operating system said.
        reason: io::Error,
    },
    /// A port is taken.
    #[error(
        "node '{node}': its {purpose} {host}:{port} cannot be used ({reason}); give another in the cluster file"
    )]
    PortTaken {
        /// The node.
        node: String,
        /// `port`, `rpc_port` or `http_port`.
        purpose: &'static str,
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the operating system said.
        reason: io::Error,
    },
    /// A data folder holds something.
    #[error("node '{node}': its data folder {path} is not empty; empty it, or give another `datadir`")]
    DataDirNotEmpty {
        /// The node.
        node: String,
        /// The folder.
        path: PathBuf,
    },
    /// A node did not come to accept SQL.
    #[error("node '{node}' does not accept SQL: {reason}\nread {log}")]
    NotServing {
        /// The node.
        node: String,
        /// What was seen last.
        reason: String,
        /// Its log.
        log: PathBuf,
    },
    /// A statement that builds the cluster failed.
    #[error("'{statement}' failed at node '{node}': {error}\nread {log}")]
    Statement {
        /// The statement; passwords are left out.
        statement: String,
        /// Where it was sent.
        node: String,
        /// What came back.
        error: Box<ClientError>,
        /// The node's log.
        log: PathBuf,
    },
    /// The cluster did not come to be whole.
    #[error("the cluster is not whole after {seconds} s: {reason}\nread the logs in {logs}")]
    NotWhole {
        /// How long it had.
        seconds: u64,
        /// What is missing.
        reason: String,
        /// The folder of the logs.
        logs: PathBuf,
    },
    /// Setup failed half-way.
    #[error("{cause}\nwhat was started still runs; say `baton admin --state-dir {state_dir} delete-cluster --yes` before another try", state_dir = .state_dir.display())]
    HalfWay {
        /// Why.
        cause: Box<AdminError>,
        /// The state folder.
        state_dir: PathBuf,
    },
    /// Several nodes failed, each for its reason.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<AdminError>),
}

impl AdminError {
    pub(crate) fn io(verb: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { verb, path: path.into(), error }
    }

    /// Nothing, the one, or all of them.
    pub(crate) fn gather(outcomes: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let mut errors: Vec<Self> = outcomes.into_iter().filter_map(Result::err).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}
