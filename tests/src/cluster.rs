//! A cluster of real processes in a folder of its own.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, SqlFault};
use crate::cluster_file::{ClusterFile, ClusterSpec};
use crate::disk::SmallDisk;
use crate::guard::Guard;
use crate::moment::Moment;
use crate::network::Internet;
use crate::toolbox::{Node, Toolbox};
use crate::wait::wait_until;
use crate::writers::DATABASE;

/// The longest that a killed process may take to be gone.
const GONE_BOUND: Duration = Duration::from_secs(10);

/// How to log in at a node.
#[derive(Clone, Debug)]
pub struct Login {
    host: String,
    port: u16,
    password: String,
}

impl Login {
    /// Connects as `root`.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn connect(&self) -> Result<Client, SqlFault> {
        Client::connect(&self.host, self.port, "root", &self.password, None).await
    }
}

/// When a process was killed. Its sockets close in between, which takes a moment where processors are busy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Killed {
    /// When the signal was sent.
    pub at: Moment,
    /// When the process was gone: from then on, whoever connects is refused.
    pub gone: Moment,
}

/// What a cluster stands on, beside this machine as it is.
#[derive(Clone, Copy, Default)]
pub struct Ground<'a> {
    /// The hosts that [`ClusterSpec::on_hosts`] names.
    pub internet: Option<&'a Internet>,
    /// A node whose data folder is a disk of so many bytes.
    pub small_disk: Option<(&'a str, u64)>,
}

/// A running cluster. When it is dropped, nothing is left of it.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    toolbox: Toolbox,
    password: String,
    /// By name. Ports, data folders and ids stay; `role` is that of the start, and pids follow restarts.
    nodes: Mutex<BTreeMap<String, Node>>,
    // Unmounted before the guard removes the folder that it is in.
    small_disk: Option<SmallDisk>,
    _guard: Guard,
}

/// A process stops within this.
const STOPPED_MAX: Duration = Duration::from_secs(5);

/// Whether every thread of a process is stopped.
fn is_stopped(pid: Pid) -> Result<bool> {
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        // A thread may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        // The name, in brackets, may have spaces and brackets in it.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The binary under test.
///
/// # Errors
/// When `BATON_BIN` does not name one.
pub fn binary() -> Result<PathBuf> {
    let named = env::var_os("BATON_BIN")
        .context("BATON_BIN is not set: it names the program `baton`; `cargo xtask test` sets it")?;
    fs::canonicalize(&named).with_context(|| format!("there is no {}", named.display()))
}

impl Cluster {
    /// Sets a cluster up as specified.
    ///
    /// # Errors
    /// When the toolbox fails, or a setting is refused.
    pub async fn start(spec: &ClusterSpec) -> Result<Self> {
        Self::start_on(spec, Ground::default()).await
    }

    /// Sets a cluster up as specified, on hosts or disks of its own.
    ///
    /// # Errors
    /// When the toolbox fails, or a setting is refused.
    pub async fn start_on(spec: &ClusterSpec, ground: Ground<'_>) -> Result<Self> {
        let cluster = Self::set_up(spec.to_file(), ground).await?;
        let mut master = cluster.any_aggregator().await?;
        for (name, value) in &spec.variables {
            master.run(&format!("SET GLOBAL {name} = '{value}'")).await.with_context(|| name.clone())?;
        }
        if let Some(policy) = &spec.policy {
            master.run(&format!("SET POLICY ALL = {policy}")).await.with_context(|| policy.clone())?;
        }
        master.close().await;
        Ok(cluster)
    }

    /// Sets a cluster up from a cluster file, moved to free ports.
    ///
    /// # Errors
    /// When the toolbox fails.
    pub async fn start_from(file: ClusterFile) -> Result<Self> {
        Self::set_up(file, Ground::default()).await
    }

    async fn set_up(file: ClusterFile, ground: Ground<'_>) -> Result<Self> {
        let binary = binary()?;
        let folder =
            tempfile::Builder::new().prefix("baton-").tempdir().context("no temporary folder")?.keep();
        let state_dir = folder.join("state");
        let guard = Guard::over(&binary, &folder, &state_dir)?;
        let file = file.on_free_ports()?;
        let path = folder.join("cluster.yaml");
        file.write(&path)?;
        let mut toolbox = Toolbox::new(&binary, &state_dir);
        if let Some(internet) = ground.internet {
            toolbox = toolbox.starting_with(internet.starter(&binary, &folder)?);
        }
        let data_of = |name: &str| state_dir.join("data").join(name);
        let small_disk =
            ground.small_disk.map(|(name, bytes)| SmallDisk::mount(&data_of(name), bytes)).transpose()?;
        let (password, nodes) = (file.root_password(), Mutex::default());
        let cluster = Self { folder, toolbox, password, nodes, small_disk, _guard: guard };
        cluster.toolbox.setup_cluster(&path).await.map_err(|error| cluster.with_logs(error))?;
        cluster.refresh().await?;
        Ok(cluster)
    }

    /// The toolbox.
    #[must_use]
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// The folder of everything of this cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The disk that can be filled, if the cluster was started with one.
    #[must_use]
    pub fn small_disk(&self) -> Option<&SmallDisk> {
        self.small_disk.as_ref()
    }

    /// The password of `root`.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Every node as the toolbox sees it now.
    ///
    /// # Errors
    /// When the toolbox fails.
    pub async fn refresh(&self) -> Result<Vec<Node>> {
        let listed = self.toolbox.list_nodes().await?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for node in &listed {
            nodes.insert(node.name.clone(), node.clone());
        }
        Ok(listed)
    }

    /// A node as it was last seen.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node(&self, name: &str) -> Result<Node> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(name).cloned().with_context(|| format!("there is no node {name}"))
    }

    /// The names of all aggregators, in order.
    #[must_use]
    pub fn aggregators(&self) -> Vec<String> {
        self.names(|node| !node.is_leaf())
    }

    /// The names of all leaves, in order.
    #[must_use]
    pub fn leaves(&self) -> Vec<String> {
        self.names(Node::is_leaf)
    }

    fn names(&self, which: impl Fn(&Node) -> bool) -> Vec<String> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.values().filter(|node| which(node)).map(|node| node.name.clone()).collect()
    }

    /// The name of the node at `host:port`.
    #[must_use]
    pub fn name_of(&self, address: &str) -> Option<String> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.values().find(|node| node.address() == address).map(|node| node.name.clone())
    }

    /// The name of the node with this id in the catalog.
    #[must_use]
    pub fn name_of_id(&self, id: u64) -> Option<String> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.values().find(|node| node.node_id == Some(id)).map(|node| node.name.clone())
    }

    /// The id of a node in the catalog.
    ///
    /// # Errors
    /// When there is no node of that name, or it has no id.
    pub fn id(&self, name: &str) -> Result<u64> {
        self.node(name)?.node_id.with_context(|| format!("{name} has no id in the catalog"))
    }

    /// How to log in at a node.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn login(&self, name: &str) -> Result<Login> {
        let node = self.node(name)?;
        Ok(Login { host: node.host, port: node.port, password: self.password.clone() })
    }

    /// A connection to a node, as `root`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn conn(&self, name: &str) -> Result<Client> {
        self.login(name)?.connect().await.with_context(|| format!("cannot connect to {name}"))
    }

    /// A connection to the first aggregator that takes one.
    ///
    /// # Errors
    /// When none does.
    pub async fn any_aggregator(&self) -> Result<Client> {
        let mut refused = Vec::new();
        for name in self.aggregators() {
            match self.conn(&name).await {
                Ok(client) => return Ok(client),
                Err(error) => refused.push(format!("{error:#}")),
            }
        }
        bail!("no aggregator can be connected to: {}", refused.join("; "))
    }

    /// Creates [`DATABASE`], with `options` after its name, and waits until all its replicas are in sync.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn create_database(&self, options: &str) -> Result<()> {
        let mut client = self.any_aggregator().await?;
        client.run(&format!("CREATE DATABASE {DATABASE} {options}")).await?;
        client.close().await;
        Ok(())
    }

    /// `kill -9`; returns when the process is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill9(&self, name: &str) -> Result<Killed> {
        let (at, pid) = self.signal(name, Signal::SIGKILL)?;
        let watched = tokio::task::spawn_blocking(move || {
            while !is_gone(pid) && Moment::now().since(at) < GONE_BOUND {
                std::thread::sleep(Duration::from_millis(1));
            }
            Moment::now()
        });
        let gone = watched.await.context("nobody watches the killed process")?;
        ensure!(is_gone(pid), "the killed {name} is not gone after {} s", GONE_BOUND.as_secs());
        Ok(Killed { at, gone })
    }

    /// SIGSTOP; returns the moment of it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self, name: &str) -> Result<Moment> {
        let (at, pid) = self.signal(name, Signal::SIGSTOP)?;
        // A signal waits for a thread that takes it, and until then all the others go on: on a busy machine for as long
        // as an acknowledgement takes.
        let began = Instant::now();
        while !is_stopped(pid)? {
            ensure!(
                began.elapsed() < STOPPED_MAX,
                "{name}, process {pid}, does not stop within {STOPPED_MAX:?}"
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(at)
    }

    /// SIGCONT; returns the moment of it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cont(&self, name: &str) -> Result<Moment> {
        Ok(self.signal(name, Signal::SIGCONT)?.0)
    }

    fn signal(&self, name: &str, signal: Signal) -> Result<(Moment, Pid)> {
        let pid = Pid::from_raw(self.node(name)?.pid.with_context(|| format!("{name} does not run"))?);
        let at = Moment::now();
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {name}, process {pid}"))?;
        Ok((at, pid))
    }

    /// Starts a node that does not run; returns when it accepts SQL.
    ///
    /// # Errors
    /// When the toolbox fails.
    pub async fn restart(&self, name: &str) -> Result<()> {
        self.toolbox.start_node(name).await.map_err(|error| self.with_logs(error))?;
        self.refresh().await.map(drop)
    }

    /// Starts every node that does not run; returns when all accept SQL.
    ///
    /// # Errors
    /// When the toolbox fails.
    pub async fn restart_all(&self) -> Result<()> {
        self.toolbox.start_all().await.map_err(|error| self.with_logs(error))?;
        self.refresh().await.map(drop)
    }

    /// SIGTERM; returns when the process is gone.
    ///
    /// # Errors
    /// When the toolbox fails.
    pub async fn terminate(&self, name: &str) -> Result<()> {
        self.toolbox.stop_node(name, false).await
    }

    /// Removes everything in the data folder of a node that does not run.
    ///
    /// # Errors
    /// When it runs, or the folder cannot be removed.
    pub fn wipe(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        if let Some(pid) = node.pid
            && !is_gone(Pid::from_raw(pid))
        {
            bail!("{name} runs: its disk cannot be wiped");
        }
        fs::remove_dir_all(&node.datadir).with_context(|| format!("cannot wipe {}", node.datadir.display()))
    }

    /// Waits until some aggregator says who the master aggregator is, and that one says so itself; gives its name.
    ///
    /// # Errors
    /// When the bound is reached.
    pub async fn master(&self, bound: Duration) -> Result<String> {
        wait_until("there is a master aggregator", bound, async || self.master_now().await).await
    }

    async fn master_now(&self) -> Result<Option<String>> {
        for name in self.aggregators() {
            let Ok(mut client) = self.conn(&name).await else { continue };
            if client.master().await?.and_then(|address| self.name_of(&address)).as_ref() == Some(&name) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The last lines of every node's log that warn of something, below the error.
    #[must_use]
    pub fn with_logs(&self, error: anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        for log in fs::read_dir(self.toolbox.state_dir().join("logs")).into_iter().flatten().flatten() {
            let content = fs::read_to_string(log.path()).unwrap_or_default();
            let loud = |line: &&str| ["WARN", "ERROR", "panicked"].iter().any(|mark| line.contains(mark));
            let lines: Vec<&str> = content.lines().filter(loud).collect();
            for line in lines.iter().skip(lines.len().saturating_sub(8)) {
                text.push_str(&format!("\n  {}: {line}", log.file_name().to_string_lossy()));
            }
        }
        anyhow::Error::msg(text)
    }
}

/// Whether the process has ended, with all its threads: only then are its ports and files free. One that has, and that
/// nobody has asked for yet, has ended too.
fn is_gone(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return true;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let first_has_ended = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    first_has_ended && threads() <= 1
}
