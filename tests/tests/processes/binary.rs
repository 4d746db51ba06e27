//! The node binary says what is wrong, and ends with a code that says so too.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::stray::run_baton;
use baton_tests::{ClusterSpec, StraySpec, scenario};

use crate::stage::alone;

fn said(what: &str, (code, text): &(i32, String), words: &[&str]) -> Result<()> {
    println!("    {what}: exit code {code}: {}", text.lines().last().unwrap_or_default());
    ensure!(*code != 0, "{what}: ended with 0: {text}");
    ensure!(*code != 101 && !text.contains("panicked"), "{what}: panicked: {text}");
    let lower = text.to_lowercase();
    for word in words {
        ensure!(lower.contains(&word.to_lowercase()), "{what}: does not say {word:?}: {text}");
    }
    Ok(())
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    scenario::run(async {
        let folder = tempfile::tempdir()?;
        for (i, kind) in ["SQL", "RPC", "HTTP"].into_iter().enumerate() {
            let spec = StraySpec::new("leaf", folder.path().join(kind))?;
            let _taken =
                TcpListener::bind(("127.0.0.1", spec.ports[i])).context("a free port is not free")?;
            said(kind, &spec.run_to_end().await?, &["in use", &spec.ports[i].to_string()])?;
        }
        Ok(())
    });
}

#[test]
fn a_data_folder_of_another_role_is_a_clear_error() {
    scenario::run(async {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let leaf = StraySpec::new("leaf", data.clone())?.start(&folder.path().join("log"), "").await?;
        let second = StraySpec::new("leaf", data.clone())?;
        said("a folder in use", &second.run_to_end().await?, &[&data.to_string_lossy()])?;
        leaf.kill9().await?;
        let aggregator = StraySpec::new("aggregator", data)?;
        said("a leaf's folder for an aggregator", &aggregator.run_to_end().await?, &["leaf", "aggregator"])
    });
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    alone(ClusterSpec::new(1, 1).without_replicas(), async |first| {
        let second = baton_tests::Cluster::start(&ClusterSpec::new(1, 1).without_replicas()).await?;
        let foreign = first.node("l1")?;
        let mut client = second.conn("a1").await?;
        let login = format!("root:'{}'@'{}':{}", first.password(), foreign.host, foreign.port);
        let refusal = client.run(&format!("ADD LEAF {login}")).await;
        let fault = refusal.err().context("a leaf of another cluster was added")?;
        println!("    {fault}");
        ensure!(fault.number().is_some() && fault.to_string().contains("cluster"), "{fault}");
        // And it goes on serving its own.
        first.create_database("PARTITIONS 2").await?;
        let mut own = first.conn("a1").await?;
        own.run("CREATE TABLE stage.t (id BIGINT PRIMARY KEY)").await?;
        own.run("INSERT INTO stage.t VALUES (1), (2), (3)").await?;
        Ok(())
    });
}

#[test]
fn a_data_folder_of_another_cluster_is_a_clear_error() {
    alone(ClusterSpec::new(1, 1).without_replicas(), async |first| {
        let second = baton_tests::Cluster::start(&ClusterSpec::new(1, 1).without_replicas()).await?;
        // Every node has its catalog: its partitions are there.
        first.create_database("PARTITIONS 2").await?;
        for name in ["l1", "a1"] {
            let (owner, other) = (first.node(name)?, second.node(name)?);
            first.kill9(name).await?;
            second.kill9(name).await?;
            let misled = StraySpec { data_dir: owner.datadir, ..StraySpec::in_place_of(&other) };
            let (code, text) = misled.run_to_end().await?;
            ensure!(code == 4, "exit code {code}: {text}");
            let words = ["belongs to", "cluster", "--data-dir"];
            said(&format!("the folder of another cluster's {name}"), &(code, text), &words)?;
        }
        Ok(())
    });
}

#[test]
fn what_a_node_is_not_told_is_a_clear_error() {
    scenario::run(async {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let data = data.to_str().context("no UTF-8")?;
        said("no role", &run_baton(&["node", "--data-dir", data]).await?, &["role"])?;
        said("no data folder", &run_baton(&["node", "--role", "leaf"]).await?, &["data"])?;
        said(
            "an unknown role",
            &run_baton(&["node", "--role", "twig", "--data-dir", data]).await?,
            &["twig"],
        )?;
        said(
            "no such file",
            &run_baton(&["node", "--config", "/no/such/node.toml"]).await?,
            &["/no/such/node.toml"],
        )?;
        let file = folder.path().join("node.toml");
        std::fs::write(&file, "role = 'leaf'\ncolour = 'red'\n")?;
        let file = file.to_str().context("no UTF-8")?;
        said("an unknown key", &run_baton(&["node", "--config", file]).await?, &["colour"])
    });
}

#[test]
fn a_node_is_configured_by_a_file_and_stops_cleanly() {
    scenario::run(async {
        let folder = tempfile::tempdir()?;
        let ports = baton_tests::ports::free(3)?;
        let file = folder.path().join("node.toml");
        let text = format!(
            "role = 'aggregator'\nhost = '127.0.0.1'\nport = {}\nrpc_port = {}\nhttp_port = {}\ndata_dir = '{}'\n",
            ports[0],
            ports[1],
            ports[2],
            folder.path().join("data").display()
        );
        std::fs::write(&file, text)?;
        let mut node = tokio::process::Command::new(baton_tests::cluster::binary()?)
            .args(["node", "--config"])
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        baton_tests::wait_until("it accepts SQL", Duration::from_secs(20), async || {
            Ok(Some(baton_tests::Client::connect("127.0.0.1", ports[0], "root", "", None).await?))
        })
        .await?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(node.id().context("it has ended")?)?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = tokio::time::timeout(Duration::from_secs(15), node.wait())
            .await
            .context("SIGTERM does not end it")??;
        ensure!(status.success(), "SIGTERM ends it with {status}");
        Ok(())
    });
}
