//! Nodes that the toolbox did not start: those that join a running cluster, and those that must refuse to start.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::cluster::binary;
use crate::ports;
use crate::toolbox::Node;
use crate::wait::wait_until;

/// The longest that a node may take to accept SQL, or to refuse to start.
const START_BOUND: Duration = Duration::from_secs(30);

/// What a node is told on its command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StraySpec {
    /// `aggregator` or `leaf`.
    pub role: String,
    /// SQL port, RPC port, HTTP port; all on 127.0.0.1.
    pub ports: [u16; 3],
    /// Where it keeps everything.
    pub data_dir: PathBuf,
}

impl StraySpec {
    /// A node on free ports.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(role: &str, data_dir: PathBuf) -> Result<Self> {
        let free = ports::free(3)?;
        Ok(Self { role: role.to_owned(), ports: [free[0], free[1], free[2]], data_dir })
    }

    /// A node in the place of one that does not run: the same ports, the same data folder.
    #[must_use]
    pub fn in_place_of(node: &Node) -> Self {
        Self {
            role: if node.is_leaf() { "leaf" } else { "aggregator" }.to_owned(),
            ports: [node.port, node.rpc_port, node.http_port],
            data_dir: node.datadir.clone(),
        }
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.args(["node", "--role", &self.role, "--host", "127.0.0.1"]);
        for (flag, port) in ["--port", "--rpc-port", "--http-port"].into_iter().zip(self.ports) {
            command.arg(flag).arg(port.to_string());
        }
        command.arg("--data-dir").arg(&self.data_dir).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Starts it; returns when it accepts SQL from `root` with this password.
    ///
    /// # Errors
    /// When it ends, or does not accept SQL in time.
    pub async fn start(&self, log: &Path, password: &str) -> Result<Stray> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command()?;
        command.stdout(log.try_clone()?).stderr(log);
        let mut stray = Stray { spec: self.clone(), child: command.spawn().context("cannot start a node")? };
        wait_until("the new node accepts SQL", START_BOUND, async || {
            if let Some(status) = stray.child.try_wait()? {
                anyhow::bail!("it ended with {status}");
            }
            stray.conn(password).await.map(Some)
        })
        .await?
        .close()
        .await;
        Ok(stray)
    }

    /// Starts it and waits for its end, which must come by itself; gives its exit code and all that it said.
    ///
    /// # Errors
    /// When it does not end, or was ended by a signal.
    pub async fn run_to_end(&self) -> Result<(i32, String)> {
        run_to_end(self.command()?).await
    }
}

/// Runs the binary with these arguments to its end; gives its exit code and all that it said.
///
/// # Errors
/// When it does not end, or was ended by a signal.
pub async fn run_baton(arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    run_to_end(command).await
}

async fn run_to_end(mut command: Command) -> Result<(i32, String)> {
    let output = tokio::time::timeout(START_BOUND, command.output());
    let output = output.await.context("it goes on running")?.context("it cannot be started")?;
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let code = output.status.code().with_context(|| format!("it ended with {}: {said}", output.status))?;
    Ok((code, said))
}

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Stray {
    spec: StraySpec,
    child: Child,
}

impl Stray {
    /// How it was started.
    #[must_use]
    pub fn spec(&self) -> &StraySpec {
        &self.spec
    }

    /// `'host':port`, as statements about nodes name it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("'127.0.0.1':{}", self.spec.ports[0])
    }

    /// `host:port`, as `SHOW` statements name it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.spec.ports[0])
    }

    /// A connection to it as `root`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn conn(&self, password: &str) -> Result<Client> {
        Ok(Client::connect("127.0.0.1", self.spec.ports[0], "root", password, None).await?)
    }

    /// `kill -9`; returns when it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill9(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill a node")
    }
}
