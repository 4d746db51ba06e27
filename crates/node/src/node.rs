//! A node from its start to its end.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_model::limits::CONNECTIONS_MAX;
use baton_model::{ClusterId, Incarnation, NodeId, NodeRole, StoreId};
use baton_transport::heartbeat::Pulse;
use baton_transport::{Clock, Identity as Place, Member, RpcServer, ServeError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::aggregator::{Aggregator, ClientSessions};
use crate::config::NodeConfig;
use crate::context::Context;
use crate::identity::{DataDir, IdentityError};
use crate::leaf::{Leaf, LeafError, open_data};
use crate::local_sql::LeafSessions;
use crate::server::{Role, Server};
use crate::{http, vitals};

/// Descriptors for all client connections, other nodes and files.
const DESCRIPTORS_WANTED: u64 = CONNECTIONS_MAX as u64 + 4096;
/// At its end, a node waits this long for what is under way.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Why a node does not start. Each has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error(
        "cannot listen on {host}:{port} for {what}: {error}; stop whoever has the port, or give --{flag}"
    )]
    Port {
        /// What it is for.
        what: &'static str,
        /// The flag that changes it.
        flag: &'static str,
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        error: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The data cannot be used.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The RPC listener.
    #[error(transparent)]
    Rpc(#[from] ServeError),
    /// The data directory belongs to a member of the cluster that listens elsewhere.
    #[error(
        "the data directory belongs to {node} of cluster {cluster}, whose RPC port is {expected}, but this node was given {given}; give the right --data-dir or the right ports"
    )]
    OtherPlace {
        /// The member.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
        /// Its RPC port.
        expected: u16,
        /// What was given.
        given: u16,
    },
    /// An aggregator that was a member has lost what it promised to the others.
    #[error(
        "the control group's log in {0} is gone, and this node must not vote without it: wipe the data directory, REMOVE the aggregator, and ADD it again"
    )]
    ControlLost(PathBuf),
    /// Something else.
    #[error("{0}")]
    Internal(String),
}

impl StartError {
    /// The process's exit code: 2 usage, 3 a port, 4 the data directory, 1 anything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Port { .. } => 3,
            Self::Identity(_) | Self::Leaf(_) | Self::OtherPlace { .. } | Self::ControlLost(_) => 4,
            Self::Rpc(_) | Self::Internal(_) => 1,
        }
    }
}

/// Every client is a descriptor, and so is every file of a store: one that cannot be opened stops the node. A service
/// is often given 1024 of them, and may take more by itself.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most).map(|()| most));
    match raised {
        Ok(most) if most < DESCRIPTORS_WANTED => {
            warn!(most, wanted = DESCRIPTORS_WANTED, "this process may open few files and connections");
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "the number of files that may be open cannot be raised"),
    }
}

/// Refuses a data directory of a member that listens elsewhere, of this cluster or of another. Only the RPC port is
/// compared, which the node itself has told the cluster: hosts and SQL ports may be mapped on their way to others.
///
/// # Errors
/// [`StartError::OtherPlace`].
pub fn check_place(context: &Context) -> Result<(), StartError> {
    let (catalog, config) = (context.catalog(), &context.config);
    let (Some(cluster), Some(own)) = (catalog.cluster(), catalog.node(context.node())) else { return Ok(()) };
    let (expected, given) = (own.rpc_port, config.rpc_port);
    if expected == given {
        return Ok(());
    }
    Err(StartError::OtherPlace { node: own.id, cluster, expected, given })
}

fn listen(
    config: &NodeConfig,
    what: &'static str,
    flag: &'static str,
    port: u16,
) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Port { what, flag, host: config.host.clone(), port, error };
    let listener = TcpListener::bind((config.host.as_str(), port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Runs a node until SIGTERM or SIGINT, or until it must stop by itself.
///
/// # Errors
/// [`StartError`], before anything was changed outside the data directory.
pub async fn run(config: NodeConfig) -> Result<(), StartError> {
    raise_descriptor_limit();
    let sql = listen(&config, "SQL", "port", config.sql_port)?;
    let rpc = listen(&config, "RPC", "rpc-port", config.rpc_port)?;
    let web = listen(&config, "HTTP", "http-port", config.http_port)?;
    let internal = |error: io::Error| StartError::Internal(error.to_string());
    let (dir, mut identity) = DataDir::open(&config.data_dir, config.role, StoreId(rand::random()))?;
    // Before anybody is told which life this data is of.
    let data = match config.role {
        NodeRole::Leaf => Some(open_data(&dir, &mut identity, StoreId(rand::random()))?),
        NodeRole::Aggregator => None,
    };
    let member = identity.cluster.map(|cluster_id| Member { cluster_id, node: identity.node });
    let incarnation = Incarnation(rand::random());
    let pulse = Arc::new(Pulse::new(Place::new(member), incarnation, identity.store));
    let shutdown = CancellationToken::new();
    // However this ends: what was started knows that it is to stop.
    let _stop = shutdown.clone().drop_guard();
    let context = Arc::new(Context::new(
        config.clone(),
        Clock::start(),
        Arc::clone(&pulse),
        dir,
        identity,
        shutdown.clone(),
    ));
    let role = match data {
        Some(data) => {
            let leaf = Leaf::start(Arc::clone(&context), data)?;
            check_place(&context)?;
            Role::Leaf(leaf)
        }
        None => Role::Aggregator(Aggregator::start(Arc::clone(&context)).await?),
    };
    let server = Arc::new(Server { context: Arc::clone(&context), role });
    let rpc = RpcServer::start(rpc, pulse, context.clock, Arc::clone(&server))?;
    tokio::spawn(vitals::measure(Arc::clone(&server)));
    let web = tokio::net::TcpListener::from_std(web).map_err(internal)?;
    let web = tokio::spawn(http::serve(web, Arc::clone(&server)));
    let sql = tokio::net::TcpListener::from_std(sql).map_err(internal)?;
    let clients = match &server.role {
        Role::Leaf(_) => {
            let sessions = Arc::new(LeafSessions(Arc::clone(&context)));
            tokio::spawn(baton_gateway::serve(sql, sessions, shutdown.clone()))
        }
        Role::Aggregator(aggregator) => {
            let sessions = Arc::new(ClientSessions(Arc::clone(aggregator)));
            tokio::spawn(baton_gateway::serve(sql, sessions, shutdown.clone()))
        }
    };
    info!(
        role = %config.role,
        node = %context.node(),
        sql = format!("{}:{}", config.host, config.sql_port),
        rpc = config.rpc_port,
        http = config.http_port,
        data_dir = %config.data_dir.display(),
        "the node runs"
    );
    let asked = wait_for_the_end(&shutdown).await?;
    shutdown.cancel();
    let ending = async {
        let _ = clients.await;
        rpc.stop().await;
        if let Role::Aggregator(aggregator) = &server.role
            && let Some(group) = aggregator.group()
        {
            group.shutdown().await;
        }
        if let Role::Leaf(leaf) = &server.role {
            leaf.stop().await;
        }
        let _ = web.await;
    };
    if tokio::time::timeout(LAST_WORDS, ending).await.is_err() {
        warn!("some work did not end in time; it is as if the node had been killed");
    }
    info!("the node has stopped");
    if asked {
        Ok(())
    } else {
        Err(StartError::Internal("the node stopped by itself; its log says why".into()))
    }
}

/// Whether it was asked for.
async fn wait_for_the_end(shutdown: &CancellationToken) -> Result<bool, StartError> {
    let internal = |error: io::Error| StartError::Internal(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        () = shutdown.cancelled() => return Ok(false),
    }
    Ok(true)
}
