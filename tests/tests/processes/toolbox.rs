//! The toolbox sees every process of a node, however it was started, and says what it sees.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::cluster::binary;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::{Client, Cluster, ClusterSpec, Moment, Node};
use tokio::process::{Child, Command};

use crate::stage::{HEAL_BOUND, alone, ensure_below};

fn pair_of_nodes() -> ClusterSpec {
    ClusterSpec::new(1, 1).without_replicas()
}

/// How a person may start a node.
#[derive(Clone, Copy, Debug)]
enum Hand {
    /// By a file that says everything.
    Config,
    /// With `--data-dir=X` as one word.
    EqualsSign,
}

/// Starts a node by hand. It is killed when dropped.
fn start_by_hand(cluster: &Cluster, node: &Node, hand: Hand) -> Result<Child> {
    let mut command = Command::new(binary()?);
    command.arg("node");
    match hand {
        Hand::Config => {
            let file = cluster.folder().join("by-hand.toml");
            let text = format!(
                "role = 'leaf'\nport = {}\nrpc_port = {}\nhttp_port = {}\ndata_dir = '{}'\n",
                node.port,
                node.rpc_port,
                node.http_port,
                node.datadir.display()
            );
            std::fs::write(&file, text)?;
            command.arg("--config").arg(file);
        }
        Hand::EqualsSign => {
            command.args(["--role=leaf", &format!("--port={}", node.port)]);
            command.arg(format!("--rpc-port={}", node.rpc_port));
            command.arg(format!("--http-port={}", node.http_port));
            command.arg(format!("--data-dir={}", node.datadir.display()));
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().context("cannot start a node by hand")
}

/// Waits until the toolbox lists this process as the node's.
async fn listed_as(cluster: &Cluster, name: &str, process: &Child) -> Result<()> {
    let pid = process.id().map(u32::cast_signed);
    wait_while_not(&format!("{name} is listed as {pid:?}"), Duration::from_secs(20), async || {
        cluster.refresh().await?;
        let node = cluster.node(name)?;
        Ok(node.process_state == "Running" && node.pid == pid)
    })
    .await
}

async fn ended(process: &mut Child) -> Result<()> {
    let ended = tokio::time::timeout(Duration::from_secs(10), process.wait());
    ended.await.context("the process goes on running")?.map(drop).context("nobody waits for the process")
}

#[test]
fn a_node_started_by_hand_is_listed_stopped_and_deleted_like_any_other() {
    alone(pair_of_nodes(), async |cluster| {
        let node = cluster.node("l1")?;
        let toolbox = cluster.toolbox();
        for (hand, force) in [(Hand::Config, false), (Hand::EqualsSign, true)] {
            toolbox.stop_node("l1", false).await?;
            let mut process = start_by_hand(cluster, &node, hand)?;
            listed_as(cluster, "l1", &process).await?;
            toolbox.start_node("l1").await?;
            cluster.conn("l1").await?.close().await;
            toolbox.stop_node("l1", force).await.with_context(|| format!("{hand:?}"))?;
            ended(&mut process).await?;
            cluster.refresh().await?;
            ensure!(cluster.node("l1")?.process_state == "Stopped", "{hand:?}");
        }
        let mut process = start_by_hand(cluster, &node, Hand::Config)?;
        listed_as(cluster, "l1", &process).await?;
        toolbox.run(&["delete-cluster", "--yes"]).await?;
        ended(&mut process).await?;
        ensure!(!node.datadir.exists(), "{} is still there", node.datadir.display());
        Ok(())
    });
}

#[test]
fn a_suspended_node_is_not_said_to_be_started() {
    alone(pair_of_nodes(), async |cluster| {
        let asleep = cluster.stop("l1")?;
        let refusal = cluster.toolbox().start_node("l1").await;
        let text = format!("{:#}", refusal.err().context("a suspended node counts as started")?);
        println!("    {text}");
        ensure_below("the error", Moment::now().since(asleep), Duration::from_secs(10))?;
        for word in ["l1", "suspended", "kill -CONT", "--force"] {
            ensure!(text.contains(word), "it does not say {word:?}: {text}");
        }
        cluster.cont("l1")?;
        cluster.toolbox().start_node("l1").await
    });
}

#[test]
fn a_node_whose_password_was_changed_by_sql_counts_as_started() {
    alone(pair_of_nodes(), async |cluster| {
        let mut client = cluster.conn("a1").await?;
        client.run("ALTER USER 'root' IDENTIFIED BY 'another'").await?;
        let node = cluster.node("l1")?;
        let log_in = async || Client::connect(&node.host, node.port, "root", "another", None).await;
        wait_until("the leaf knows the new password", HEAL_BOUND, async || Ok(Some(log_in().await?))).await?;
        cluster.toolbox().stop_node("l1", false).await?;
        cluster.toolbox().start_node("l1").await?;
        log_in().await?.close().await;
        cluster.toolbox().start_all().await
    });
}
