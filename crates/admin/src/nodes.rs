//! Nodes one by one: list, start, stop.

use std::path::PathBuf;
use std::process::Child;

use futures::future::join_all;
use serde::Serialize;

use crate::error::AdminError;
use crate::http;
use crate::process::{self, Awaited, Presence, presence};
use crate::report::{Report, table};
use crate::serving::{Login, await_all};
use crate::state::{ClusterState, NodeRecord, StateDir};
use crate::survey::{View, address, survey};

/// The whole cluster, as `list-nodes` prints it.
#[derive(Serialize)]
pub(crate) struct Listing {
    nodes: Vec<ListedNode>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedNode {
    #[serde(rename = "nodeID")]
    node_id: Option<u64>,
    name: String,
    role: &'static str,
    host: String,
    port: u16,
    rpc_port: u16,
    http_port: u16,
    pid: Option<i32>,
    process_state: &'static str,
    datadir: PathBuf,
}

impl Listing {
    /// The nodes with what the cluster says of them now, or, where it says nothing, what was known last.
    pub(crate) fn of(state: &ClusterState, view: Option<&View>) -> Self {
        let nodes = state.nodes.iter().map(|node| {
            let address = address(node);
            let is_master = view.is_some_and(|view| view.master.as_ref() == Some(&address));
            let presence = presence(node);
            ListedNode {
                node_id: view.and_then(|view| view.ids.get(&address).copied()).or(node.node_id),
                name: node.name.clone(),
                role: match (node.role.is_aggregator(), is_master) {
                    (false, _) => "Leaf",
                    (true, true) => "Master",
                    (true, false) => "Aggregator",
                },
                host: node.host.clone(),
                port: node.port,
                rpc_port: node.rpc_port,
                http_port: node.http_port,
                pid: presence.pid(),
                process_state: match presence {
                    Presence::Running(_) => "Running",
                    Presence::Stopped => "Stopped",
                    Presence::Unknown => "Unknown",
                },
                datadir: node.datadir.clone(),
            }
        });
        Self { nodes: nodes.collect() }
    }

    pub(crate) fn table(&self) -> String {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let rows: Vec<Vec<String>> = self
            .nodes
            .iter()
            .map(|node| {
                vec![
                    node.name.clone(),
                    node.role.into(),
                    or_dash(node.node_id.map(|id| id.to_string())),
                    format!("{}:{}", node.host, node.port),
                    node.process_state.into(),
                    or_dash(node.pid.map(|pid| pid.to_string())),
                    node.rpc_port.to_string(),
                    node.http_port.to_string(),
                    node.datadir.display().to_string(),
                ]
            })
            .collect();
        table(&["Name", "Role", "NodeID", "Address", "State", "Pid", "RPC", "HTTP", "Data folder"], &rows)
    }
}

/// `list-nodes`.
pub(crate) async fn list_nodes(dir: &StateDir, report: &Report) -> Result<(), AdminError> {
    let state = dir.read()?;
    let view = survey(&state).await;
    let listing = Listing::of(&state, view.as_ref());
    report.result(&listing, || listing.table());
    Ok(())
}

/// `describe-node`.
pub(crate) async fn describe_node(dir: &StateDir, name: &str, report: &Report) -> Result<(), AdminError> {
    let state = dir.read()?;
    let node = state.node(name)?;
    let view = survey(&state).await;
    let mut listing = Listing::of(&state, view.as_ref());
    listing.nodes.retain(|listed| listed.name == name);
    let described = Described {
        node: listing.nodes.pop(),
        online: view.map(|view| view.online.contains(&address(node))),
        log: dir.log(name),
        health: http::health(node).await,
    };
    report.result(&described, || serde_json::to_string_pretty(&described).unwrap_or_default());
    Ok(())
}

/// One node, as `describe-node` prints it.
#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    node: Option<ListedNode>,
    /// Whether the cluster counts on it; null if nobody says.
    online: Option<bool>,
    log: PathBuf,
    /// What it says of itself at `/healthz`; null if nothing.
    health: Option<serde_json::Value>,
}

/// `restart-node`.
pub(crate) async fn restart_nodes(
    dir: &StateDir,
    name: Option<&str>,
    report: &Report,
) -> Result<(), AdminError> {
    stop(dir, name, false, report).await?;
    start_nodes(dir, name, report).await
}

/// What a command did to a node.
#[derive(Serialize)]
struct Change {
    name: String,
    pid: Option<i32>,
    done: &'static str,
}

#[derive(Serialize)]
struct Changes {
    nodes: Vec<Change>,
}

impl Changes {
    fn table(&self) -> String {
        self.nodes.iter().map(|change| format!("{}: {}\n", change.name, change.done)).collect()
    }
}

/// The node of that name, or all.
fn chosen<'a>(state: &'a ClusterState, name: Option<&str>) -> Result<Vec<&'a NodeRecord>, AdminError> {
    match name {
        Some(name) => Ok(vec![state.node(name)?]),
        None => Ok(state.nodes.iter().collect()),
    }
}

/// `start-node`: all are started before any is waited for, since they may need each other.
/// One that runs already is waited for as well: whoever asks for a node to be started wants one that serves.
pub(crate) async fn start_nodes(
    dir: &StateDir,
    name: Option<&str>,
    report: &Report,
) -> Result<(), AdminError> {
    let state = dir.read()?;
    let mut changes = Vec::new();
    let mut awaited = Vec::new();
    for node in chosen(&state, name)? {
        let (process, done) = match presence(node) {
            Presence::Running(pid) => (Awaited::Found(pid), "runs already"),
            Presence::Stopped | Presence::Unknown => {
                report.progress(&format!("starting {}", node.name));
                (Awaited::Started(start(dir, node)?), "started")
            }
        };
        changes.push(Change { name: node.name.clone(), pid: Some(process.pid()), done });
        awaited.push((node, process));
    }
    for node in await_all(dir, awaited, Login::maybe(&state.root_password)).await? {
        report.note(&format!(
            "node '{node}' serves, but refuses the password that root had when the cluster was set up: it was changed \
             by SQL, or the node lost its disk"
        ));
    }
    let changes = Changes { nodes: changes };
    report.result(&changes, || changes.table());
    Ok(())
}

/// `stop-node`.
pub(crate) async fn stop_nodes(
    dir: &StateDir,
    name: Option<&str>,
    force: bool,
    report: &Report,
) -> Result<(), AdminError> {
    let changes = stop(dir, name, force, report).await?;
    report.result(&changes, || changes.table());
    Ok(())
}

/// By request the aggregators go first, so that none of them fails the leaves over that follow.
async fn stop(
    dir: &StateDir,
    name: Option<&str>,
    force: bool,
    report: &Report,
) -> Result<Changes, AdminError> {
    let state = dir.read()?;
    let nodes = chosen(&state, name)?;
    let (aggregators, leaves): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|node| node.role.is_aggregator());
    let waves = if force { vec![[aggregators, leaves].concat()] } else { vec![aggregators, leaves] };
    let mut changes = Vec::new();
    for wave in waves {
        let stopped = join_all(wave.iter().map(|node| async {
            report.progress(&format!("stopping {}", node.name));
            let pid = process::stop(node, force).await?;
            dir.note_pid(&node.name, None)?;
            let done = if pid.is_some() { "stopped" } else { "was stopped already" };
            Ok(Change { name: node.name.clone(), pid, done })
        }));
        let (done, failed): (Vec<_>, Vec<_>) = stopped.await.into_iter().partition(Result::is_ok);
        changes.extend(done.into_iter().flatten());
        AdminError::gather(failed.into_iter().map(|outcome: Result<Change, AdminError>| outcome.map(drop)))?;
    }
    Ok(Changes { nodes: changes })
}

/// Starts a node's process and notes which it is.
pub(crate) fn start(dir: &StateDir, node: &NodeRecord) -> Result<Child, AdminError> {
    let child = process::start(node, &dir.log(&node.name))?;
    dir.note_pid(&node.name, Some(child.id().cast_signed()))?;
    Ok(child)
}
