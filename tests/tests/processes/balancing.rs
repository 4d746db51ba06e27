//! What a load balancer asks a node, and a real one that follows the master aggregator.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::http::get_json;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::{Client, Cluster, ClusterSpec, Moment, StraySpec, ports};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::stage::{HEAL_BOUND, alone, another_master, ensure_below, master_and_others};
use crate::swift::CLUSTER;

/// The configuration that is shipped.
const HAPROXY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/haproxy.cfg");
/// HAProxy asks every 250 ms, and takes two answers for a no.
const FOLLOW_BOUND: Duration = Duration::from_secs(5);

/// Which of these paths a node answers with 200.
async fn holds(cluster: &Cluster, name: &str) -> Result<Vec<&'static str>> {
    let port = cluster.node(name)?.http_port;
    let mut holds = Vec::new();
    for path in ["/healthz", "/master", "/voting", "/aggregator", "/leaf"] {
        let (status, body) = get_json(port, path).await?;
        ensure!(matches!(status, 200 | 503), "{name} answers {path} with {status}");
        ensure!(body["ready"] == json!(status == 200), "{path} of {name}: {body}");
        ensure!(body["whyNot"].is_null() == (status == 200), "a no says why: {path} of {name}: {body}");
        if status == 200 {
            holds.push(path);
        }
    }
    Ok(holds)
}

#[test]
fn each_node_says_over_http_what_it_is() {
    CLUSTER.run(async |cluster| {
        let (master, others) = master_and_others(cluster).await?;
        for leaf in cluster.leaves() {
            ensure!(holds(cluster, &leaf).await? == ["/healthz", "/leaf"], "of {leaf}");
        }
        for other in &others {
            ensure!(holds(cluster, other).await? == ["/healthz", "/voting", "/aggregator"], "of {other}");
        }
        let of_master = holds(cluster, &master).await?;
        ensure!(of_master == ["/healthz", "/master", "/voting", "/aggregator"], "of {master}: {of_master:?}");

        cluster.kill9(&master).await?;
        let elected = another_master(cluster, &master, &others[0], Duration::from_secs(10)).await?;
        wait_while_not("the new master says so over HTTP", FOLLOW_BOUND, async || {
            Ok(holds(cluster, &elected).await?.contains(&"/master"))
        })
        .await?;
        let (status, told) = get_json(cluster.node(&others[0])?.http_port, "/healthz").await?;
        ensure!(status == 200 && told["master"] == json!(cluster.node(&elected)?.address()), "{told}");
        cluster.restart(&master).await?;
        wait_while_not("the old master is an aggregator again", HEAL_BOUND, async || {
            Ok(holds(cluster, &master).await? == ["/healthz", "/voting", "/aggregator"])
        })
        .await
    });
}

#[test]
fn a_leaf_that_the_cluster_gave_up_says_so_when_it_wakes() {
    CLUSTER.run(async |cluster| {
        let leaf = cluster.leaves().remove(0);
        let mut client = cluster.any_aggregator().await?;
        let address = cluster.node(&leaf)?.address();
        let (host, port) = address.split_once(':').context("no port")?;
        client.run(&format!("DETACH LEAF '{host}':{port}")).await?;
        let at = cluster.node(&leaf)?.http_port;
        wait_while_not("the detached leaf is not to be used", FOLLOW_BOUND, async || {
            let (status, body) = get_json(at, "/leaf").await?;
            Ok(status == 503 && body["state"] == json!("detached"))
        })
        .await?;
        ensure!(get_json(at, "/healthz").await?.0 == 200, "it is alive all the same");
        client.run(&format!("ATTACH LEAF '{host}':{port}")).await?;
        wait_while_not("the leaf is to be used again", HEAL_BOUND, async || {
            Ok(get_json(at, "/leaf").await?.0 == 200)
        })
        .await
    });
}

#[test]
fn a_node_of_no_cluster_says_no_to_everything() {
    crate::stage::leave_none();
    baton_tests::scenario::run(async {
        let folder = tempfile::tempdir()?;
        let spec = StraySpec::new("aggregator", folder.path().join("data"))?;
        let stray = spec.start(&folder.path().join("log"), "").await?;
        for path in ["/healthz", "/master", "/voting", "/aggregator", "/leaf"] {
            let (status, body) = get_json(spec.ports[2], path).await?;
            ensure!(status == 503 && body["cluster"].is_null(), "{path}: {status} {body}");
        }
        drop(stray);
        Ok(())
    });
}

/// A real HAProxy with the shipped configuration, moved to the ports of a cluster.
struct Balancer {
    _process: Child,
    log: PathBuf,
    any: u16,
    master: u16,
}

impl Balancer {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let free = ports::free(2)?;
        let (any, master) = (free[0], free[1]);
        let mut config = fs::read_to_string(HAPROXY).with_context(|| HAPROXY.to_owned())?;
        let mut moved = vec![("127.0.0.1:6033".to_owned(), any), ("127.0.0.1:6034".to_owned(), master)]
            .into_iter()
            .map(|(from, port)| (from, format!("127.0.0.1:{port}")))
            .collect::<Vec<_>>();
        for (name, port) in cluster.aggregators().into_iter().zip(3306_u16..) {
            let node = cluster.node(&name)?;
            let from = format!("127.0.0.1:{port} port {}", port + 20_000);
            moved.push((from, format!("127.0.0.1:{} port {}", node.port, node.http_port)));
        }
        for (from, to) in moved {
            ensure!(config.contains(&from), "{HAPROXY} does not name {from}");
            config = config.replace(&from, &to);
        }
        let path = cluster.folder().join("haproxy.cfg");
        fs::write(&path, config)?;
        let log = cluster.folder().join("haproxy.log");
        Ok(Self { _process: spawn(&path, &log)?, log, any, master })
    }

    /// Connects, and says which aggregator is behind it.
    async fn connect(&self, cluster: &Cluster, port: u16) -> Result<(Client, String)> {
        let mut client = Client::connect("127.0.0.1", port, "root", cluster.password(), None).await?;
        let behind: u16 = client.value("SELECT @@port").await?.parse()?;
        let named = |name: &String| cluster.node(name).is_ok_and(|node| node.port == behind);
        let name = cluster.aggregators().into_iter().find(named).context("behind it is no aggregator")?;
        Ok((client, name))
    }
}

fn spawn(config: &Path, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    // Debian has it where only root looks.
    let program =
        ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|it| Path::new(it).exists());
    let mut command = Command::new(program.unwrap_or("haproxy"));
    command.args(["-db", "-f"]).arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.kill_on_drop(true).spawn().context("cannot start haproxy; `cargo xtask setup` installs it")
}

/// FAQ 5 of the multi-datacenter document, and 6.2: who is connected to a master that dies connects again, and is led to
/// the new one.
#[test]
fn a_real_haproxy_follows_the_master_through_a_failover() {
    alone(ClusterSpec::new(3, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 2").await?;
        let balancer = Balancer::start(cluster).await?;
        let (old, _) = master_and_others(cluster).await?;
        // Until it has asked, it takes every server for well.
        let (mut client, _) = wait_until("haproxy leads to the master alone", FOLLOW_BOUND, async || {
            let mut last = None;
            for _ in 0..6 {
                let found = balancer.connect(cluster, balancer.master).await;
                let found = found.with_context(|| fs::read_to_string(&balancer.log).unwrap_or_default())?;
                if found.1 != old {
                    return Ok(None);
                }
                last = Some(found);
            }
            Ok(last)
        })
        .await?;
        client.run("CREATE TABLE stage.before (id BIGINT PRIMARY KEY)").await?;

        let killed = cluster.kill9(&old).await?.at;
        let lost = client.run("INSERT INTO stage.before VALUES (1)").await;
        ensure!(lost.is_err(), "a connection to a master that died is lost");
        let (mut client, new) =
            wait_until("haproxy leads to the new master", Duration::from_secs(10), async || {
                let found = balancer.connect(cluster, balancer.master).await?;
                Ok((found.1 != old).then_some(found))
            })
            .await?;
        println!("    {new} is reached {:.3} s after {old} was killed", Moment::now().ms_after(killed) / 1e3);
        ensure_below("the way to the new master", Moment::now().since(killed), Duration::from_secs(5))?;
        ensure!(cluster.master(HEAL_BOUND).await? == new, "it is led to the master");
        client.run("CREATE TABLE stage.after (id BIGINT PRIMARY KEY)").await?;

        // Any aggregator is behind the other address, but not the dead one.
        for _ in 0..6 {
            let (mut client, behind) = balancer.connect(cluster, balancer.any).await?;
            ensure!(behind != old, "a client is led to an aggregator that is dead");
            client.run("SELECT COUNT(*) FROM stage.before").await?;
        }
        cluster.restart(&old).await?;
        wait_while_not("the old master is among the others again", HEAL_BOUND, async || {
            let (_, behind) = balancer.connect(cluster, balancer.any).await?;
            Ok(behind == old)
        })
        .await?;
        let (_, behind) = balancer.connect(cluster, balancer.master).await?;
        ensure!(behind == new, "{behind} is behind the master's address, and {new} is the master");
        Ok(())
    });
}
