//! `baton admin`, as programs drive it: arguments in, JSON out.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

/// The longest that any of its commands may take.
const COMMAND_BOUND: Duration = Duration::from_secs(180);

/// A node as `list-nodes` tells of it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its id in the catalog, if one is known.
    #[serde(rename = "nodeID")]
    pub node_id: Option<u64>,
    /// Its name in the cluster file.
    pub name: String,
    /// `Master`, `Aggregator` or `Leaf`, as of today.
    pub role: String,
    /// The host under which others reach it.
    pub host: String,
    /// The port of its SQL listener.
    pub port: u16,
    /// The port of its RPC listener.
    pub rpc_port: u16,
    /// The port of its HTTP listener.
    pub http_port: u16,
    /// Its process, if it runs.
    pub pid: Option<i32>,
    /// `Running`, `Stopped` or `Unknown`.
    pub process_state: String,
    /// Its data folder.
    pub datadir: PathBuf,
}

impl Node {
    /// `host:port` of its SQL listener, as `SHOW` statements name it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether it is a leaf.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        self.role == "Leaf"
    }
}

#[derive(Deserialize)]
struct Listed {
    nodes: Vec<Node>,
}

/// The toolbox with its state folder.
#[derive(Clone, Debug)]
pub struct Toolbox {
    binary: PathBuf,
    /// What it starts nodes with.
    starter: PathBuf,
    state_dir: PathBuf,
}

impl Toolbox {
    /// Of that binary, in that folder.
    #[must_use]
    pub fn new(binary: &Path, state_dir: &Path) -> Self {
        Self { binary: binary.to_owned(), starter: binary.to_owned(), state_dir: state_dir.to_owned() }
    }

    /// The same, with another program to start nodes with.
    #[must_use]
    pub fn starting_with(self, starter: PathBuf) -> Self {
        Self { starter, ..self }
    }

    /// The binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Sets a cluster up; returns when it serves.
    ///
    /// # Errors
    /// With what the toolbox said.
    pub async fn setup_cluster(&self, file: &Path) -> Result<()> {
        let file = file.to_str().context("the path of the cluster file is no UTF-8")?;
        self.run(&["setup-cluster", "--cluster-file", file, "--yes", "--json"]).await.map(drop)
    }

    /// Every node, as of now.
    ///
    /// # Errors
    /// With what the toolbox said.
    pub async fn list_nodes(&self) -> Result<Vec<Node>> {
        let listed: Listed = self.json(&["list-nodes", "--json"]).await?;
        Ok(listed.nodes)
    }

    /// Starts a node; returns when it accepts SQL.
    ///
    /// # Errors
    /// With what the toolbox said.
    pub async fn start_node(&self, name: &str) -> Result<()> {
        self.run(&["start-node", "--name", name]).await.map(drop)
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// With what the toolbox said.
    pub async fn start_all(&self) -> Result<()> {
        self.run(&["start-node", "--all"]).await.map(drop)
    }

    /// Stops a node: SIGTERM, or SIGKILL by force.
    ///
    /// # Errors
    /// With what the toolbox said.
    pub async fn stop_node(&self, name: &str, force: bool) -> Result<()> {
        let mut arguments = vec!["stop-node", "--name", name];
        arguments.extend(force.then_some("--force"));
        self.run(&arguments).await.map(drop)
    }

    /// Stops every node.
    ///
    /// # Errors
    /// With what the toolbox said.
    pub async fn stop_all(&self, force: bool) -> Result<()> {
        let mut arguments = vec!["stop-node", "--all"];
        arguments.extend(force.then_some("--force"));
        self.run(&arguments).await.map(drop)
    }

    /// Any command whose answer is JSON.
    ///
    /// # Errors
    /// With what the toolbox said, or when the answer has another shape.
    pub async fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let printed = self.run(arguments).await?;
        serde_json::from_str(&printed)
            .with_context(|| format!("`baton admin {}` printed no such JSON: {printed}", arguments.join(" ")))
    }

    /// Any command; what it printed.
    ///
    /// # Errors
    /// When it ends with another code than 0, with what it said, or does not end.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let typed = format!("baton admin {}", arguments.join(" "));
        let output = Command::new(&self.binary)
            .args(["admin", "--state-dir"])
            .arg(&self.state_dir)
            .args(arguments)
            .env("BATON_BIN", &self.starter)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMAND_BOUND, output)
            .await
            .with_context(|| format!("`{typed}` did not end within {} s", COMMAND_BOUND.as_secs()))?
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{typed}` ended with {}\n{}{printed}", output.status, said.trim_end());
        }
        Ok(printed)
    }
}
