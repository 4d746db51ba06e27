//! The toolbox sees every process of a node, however it was started, and says what it sees.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::cluster::binary;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec, Moment, Node};
use serde_json::Value;
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

#[test]
fn the_toolbox_shows_describes_sets_backs_up_and_restarts() {
    alone(pair_of_nodes(), async |cluster| {
        let toolbox = cluster.toolbox();
        cluster.create_database("PARTITIONS 2").await?;
        let boxed = toolbox.run(&["show-aggregators"]).await?;
        let lines: Vec<&str> = boxed.lines().collect();
        ensure!(lines[0].starts_with("+--") && lines[1].starts_with("| Host"), "{boxed}");
        ensure!(lines[2].contains("| Connections") && boxed.contains("| Leader"), "{boxed}");
        ensure!(boxed.contains("null"), "what is unknown is null, as in the documents: {boxed}");
        let aggregators: Value = toolbox.json(&["show-aggregators", "--json"]).await?;
        ensure!(aggregators[0]["Role"] == "Leader" && aggregators[0]["State"] == "online", "{aggregators}");
        let leaves: Value = toolbox.json(&["show-leaves", "--json"]).await?;
        let port = cluster.node("l1")?.port.to_string();
        ensure!(leaves[0]["Port"].as_str() == Some(port.as_str()), "{leaves}");
        let copies: Value = toolbox.json(&["show-cluster", "--json"]).await?;
        ensure!(copies.as_array().is_some_and(|copies| copies.len() >= 2), "{copies}");

        let described: Value = toolbox.json(&["describe-node", "--name", "l1", "--json"]).await?;
        ensure!(described["name"] == "l1" && described["online"] == true, "{described}");
        ensure!(described["health"]["role"] == "Leaf" && described["log"].is_string(), "{described}");
        let unknown = toolbox.run(&["describe-node", "--name", "nobody"]).await;
        let unknown = format!("{:#}", unknown.err().context("nobody is described")?);
        ensure!(unknown.contains("there are: a1, l1"), "{unknown}");

        let set = |global: &'static [&'static str]| {
            let words = ["update-config", "--key", "failover-buffer-ms", "--value", "1234", "--yes"];
            [&words[..], global].concat()
        };
        let own = format!("{:#}", toolbox.run(&set(&[])).await.err().context("of one node?")?);
        ensure!(own.contains("--set-global"), "{own}");
        toolbox.run(&set(&["--set-global"])).await?;
        let mut client = cluster.conn("a1").await?;
        ensure!(client.value("SELECT @@failover_buffer_ms").await? == "1234", "it is not set");
        let wrong = ["update-config", "--key", "nonsense", "--value", "1", "--set-global", "--yes"];
        let wrong = format!("{:#}", toolbox.run(&wrong).await.err().context("there is no such variable")?);
        ensure!(wrong.contains("Unknown system variable 'nonsense'"), "{wrong}");

        client.run(&format!("CREATE TABLE {DATABASE}.kept (id BIGINT PRIMARY KEY)")).await?;
        client.run(&format!("INSERT INTO {DATABASE}.kept VALUES (1), (2), (3)")).await?;
        toolbox.run(&["snapshot-database", "--name", DATABASE]).await?;
        let place = cluster.folder().join("backups");
        let place = place.to_str().context("not UTF-8")?;
        toolbox.run(&["create-backup", "--database", DATABASE, "--to", place]).await?;
        toolbox.run(&["restore-backup", "--backup", DATABASE, "--as", "again", "--from", place]).await?;
        ensure!(client.value("SELECT COUNT(*) FROM again.kept").await? == "3", "not all of it is back");

        let before = cluster.node("l1")?.pid;
        toolbox.run(&["restart-node", "--name", "l1"]).await?;
        cluster.refresh().await?;
        ensure!(cluster.node("l1")?.pid != before, "it is the same process");
        wait_until("its rows are served again", HEAL_BOUND, async || {
            Ok(Some(client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.kept")).await?))
        })
        .await?;
        Ok(())
    });
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_mends_it() {
    alone(ClusterSpec::new(3, 4), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let toolbox = cluster.toolbox();
        // All on one host, as tests are: that is a note, and no fault.
        let found: Value = toolbox.json(&["doctor", "--json"]).await?;
        let notes = found.as_array().context("no list")?;
        ensure!(notes.len() == 1 && notes[0]["severity"] == "note", "{found}");

        let mut client = cluster.conn("a1").await?;
        client.run("SET GLOBAL leaf_failure_detection = OFF").await?;
        cluster.kill9("l2").await?;
        let said = format!("{:#}", toolbox.run(&["doctor"]).await.err().context("all is well?")?);
        for words in [
            "critical: l2 does not run",
            "baton admin start-node --name l2",
            "warning: a leaf that fails is not failed over",
            "SET GLOBAL leaf_failure_detection = ON",
            "2 of these want something to be done",
        ] {
            ensure!(said.contains(words), "it does not say {words:?}: {said}");
        }
        // What it says mends it.
        toolbox.start_node("l2").await?;
        client.run("SET GLOBAL leaf_failure_detection = ON").await?;
        wait_until("nothing is wrong any more", HEAL_BOUND, async || {
            toolbox.run(&["doctor"]).await.map(Some)
        })
        .await?;
        Ok(())
    });
}
