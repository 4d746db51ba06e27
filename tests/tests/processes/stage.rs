//! Clusters that several tests share, and what all tests on a cluster do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::view::{Event, Instance};
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{
    Client, Cluster, ClusterSpec, Journal, Load, Moment, Readback, Writers, on_cluster, scenario,
};

/// The longest that a hurt cluster may take until all its nodes are up and all replicas are in sync again.
pub const HEAL_BOUND: Duration = Duration::from_secs(60);

/// Refused as things are; see the table of errors.
pub const REFUSED: u16 = 1706;

/// The cluster that the last test left behind, with the name of its shape. One at a time: clusters in the background
/// would disturb what is measured.
static LEFT: Mutex<Option<(&'static str, Cluster)>> = Mutex::new(None);

/// A shape of cluster that several tests share, one after another.
pub struct Shared {
    /// Unlike that of any other shape.
    pub name: &'static str,
    /// How it is started.
    pub spec: fn() -> ClusterSpec,
    /// What stands after `CREATE DATABASE stage`; none without a database.
    pub database: Option<&'static str>,
}

impl Shared {
    /// Runs a test on it: with every node up, every replica in sync, and no tables of writers, before.
    /// If the test fails, the next one gets a cluster of its own.
    pub fn run(&self, test: impl AsyncFnOnce(&Cluster) -> Result<()>) {
        let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (same, other) = match left {
            Some((name, cluster)) if name == self.name => (Some(cluster), None),
            other => (None, other),
        };
        drop(other);
        scenario::run(async {
            let cluster = match same {
                Some(cluster) => cluster,
                None => self.start().await?,
            };
            cluster
                .judged(async || {
                    heal(&cluster).await?;
                    if self.database.is_some() {
                        drop_tables(&cluster).await?;
                    }
                    test(&cluster).await
                })
                .await?;
            *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.name, cluster));
            Ok(())
        });
    }

    async fn start(&self) -> Result<Cluster> {
        let cluster = Cluster::start(&(self.spec)()).await?;
        if let Some(options) = self.database {
            cluster.create_database(options).await?;
        }
        Ok(cluster)
    }
}

/// Runs a test on a cluster of its own.
pub fn alone(spec: ClusterSpec, test: impl AsyncFnOnce(&Cluster) -> Result<()>) {
    leave_none();
    on_cluster(spec, test);
}

/// Takes down the cluster that the last test left behind.
pub fn leave_none() {
    drop(LEFT.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Every node runs, and every replica is in sync.
pub async fn heal(cluster: &Cluster) -> Result<()> {
    for node in cluster.refresh().await? {
        if node.pid.is_some() {
            cluster.cont(&node.name)?;
        }
    }
    cluster.restart_all().await?;
    cluster.master(HEAL_BOUND).await?;
    let mut client = cluster.any_aggregator().await?;
    let created = client.rows(&format!("SHOW DATABASES LIKE '{DATABASE}'")).await?;
    if !created.is_empty() {
        cluster.all_in_sync(HEAL_BOUND).await?;
    }
    Ok(())
}

/// Drops the tables of writers.
pub async fn drop_tables(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    for load in Load::ALL {
        client.run(&format!("DROP TABLE IF EXISTS {}", load.table())).await?;
    }
    client.close().await;
    Ok(())
}

/// Stops the writers and reads everything back through a node.
pub async fn read_back(cluster: &Cluster, writers: Writers, via: &str) -> Result<Journal> {
    let loads = writers.loads().to_vec();
    let journal = writers.finish().await?;
    read_back_again(cluster, &journal, &loads, via).await?;
    Ok(journal)
}

/// Reads everything back through a node.
pub async fn read_back_again(cluster: &Cluster, journal: &Journal, loads: &[Load], via: &str) -> Result<()> {
    let mut client = cluster.conn(via).await?;
    let found = Readback::through(&mut client, journal, loads).await?;
    println!("    {found}; errors {:?}", journal.errors());
    ensure!(found.acknowledged > 0, "nobody wrote anything");
    found.check()
}

/// Two writers of every load, through these nodes.
pub fn every_load(via: &[&str]) -> Vec<Plan> {
    Load::ALL.into_iter().map(|load| Plan::new(load, 2, via)).collect()
}

/// Writers of sharded tables, which need no master aggregator.
pub fn sharded_loads(via: &[&str]) -> Vec<Plan> {
    [Load::Rows, Load::Lines, Load::Counters].into_iter().map(|load| Plan::new(load, 2, via)).collect()
}

/// The first event of a kind about a node, after a moment, as some aggregator knows it.
pub async fn event_about(
    cluster: &Cluster,
    kind: &str,
    node: &str,
    from: Moment,
    bound: Duration,
) -> Result<Event> {
    let address = cluster.node(node)?.address();
    wait_until(&format!("{kind} about {node}"), bound, async || {
        let events = cluster.any_aggregator().await?.events_since(from).await?;
        Ok(events.into_iter().find(|event| event.kind == kind && event.details.contains(&address)))
    })
    .await
}

/// Every event after a moment.
pub async fn events_since(cluster: &Cluster, from: Moment) -> Result<Vec<Event>> {
    cluster.any_aggregator().await?.events_since(from).await
}

/// The ordinals of the partitions whose primaries a leaf has, whether they can be used or not.
pub async fn primaries_of(cluster: &Cluster, leaf: &str) -> Result<Vec<u64>> {
    let id = cluster.id(leaf)?;
    let instances = cluster.any_aggregator().await?.instances(DATABASE).await?;
    let held = instances.iter().filter(|instance| instance.is_primary() && instance.node == id);
    Ok(held.map(|instance| instance.ordinal).collect())
}

/// Waits until every primary that this leaf had has been taken over by others.
pub async fn taken_over(cluster: &Cluster, leaf: &str, bound: Duration) -> Result<()> {
    wait_while_not(&format!("every primary of {leaf} is taken over"), bound, async || {
        Ok(primaries_of(cluster, leaf).await?.is_empty())
    })
    .await
}

/// The master aggregator, and the other aggregators.
pub async fn master_and_others(cluster: &Cluster) -> Result<(String, Vec<String>)> {
    let master = cluster.master(HEAL_BOUND).await?;
    let others = cluster.aggregators().into_iter().filter(|name| *name != master).collect();
    Ok((master, others))
}

/// Waits until an aggregator names another master aggregator than the one that was; gives its name.
pub async fn another_master(cluster: &Cluster, old: &str, via: &str, bound: Duration) -> Result<String> {
    wait_until(&format!("{via} names another master than {old}"), bound, async || {
        let address = cluster.conn(via).await?.master().await?;
        let name = address.and_then(|address| cluster.name_of(&address));
        Ok(name.filter(|name| name != old))
    })
    .await
}

/// Waits until all aggregators name the same master aggregator.
pub async fn one_master(cluster: &Cluster, bound: Duration) -> Result<()> {
    wait_while_not("all aggregators name the same master", bound, async || {
        let mut named = Vec::new();
        for name in cluster.aggregators() {
            named.push(cluster.conn(&name).await?.master().await?);
        }
        named.dedup();
        Ok(named.len() == 1 && named[0].is_some())
    })
    .await
}

/// Hands the office to an aggregator that sleeps: that is refused, and there is a master aggregator all the same.
pub async fn promote_a_sleeper(cluster: &Cluster) -> Result<()> {
    let (master, others) = master_and_others(cluster).await?;
    let (target, witness) = (cluster.node(&others[0])?, &others[1]);
    let mut at_master = cluster.conn(&master).await?;
    let mut at_witness = cluster.conn(witness).await?;
    let table = format!("{DATABASE}.made_after_all");

    let asleep = cluster.stop(&target.name)?;
    let promote = format!("PROMOTE AGGREGATOR '{}':{} TO MASTER", target.host, target.port);
    match at_master.run(&promote).await {
        Ok(_) => anyhow::bail!("the office was handed to {}, which sleeps", target.name),
        Err(fault) => println!("    after {:.3} s: {fault}", Moment::now().ms_after(asleep) / 1e3),
    }
    at_witness.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY)")).await?;
    ensure_below("DDL all the same", Moment::now().since(asleep), Duration::from_secs(15))?;

    cluster.cont(&target.name)?;
    one_master(cluster, Duration::from_secs(15)).await?;
    at_witness.run(&format!("DROP TABLE {table}")).await?;
    Ok(())
}

/// A leaf that holds primaries.
pub async fn leaf_with_primaries(cluster: &Cluster) -> Result<String> {
    let mut most = (0, String::new());
    for leaf in cluster.leaves() {
        let held = primaries_of(cluster, &leaf).await?.len();
        if held > most.0 {
            most = (held, leaf);
        }
    }
    ensure!(most.0 > 0, "no leaf holds a primary");
    Ok(most.1)
}

/// Whether a measured time is what it should be, within a tolerance, both in milliseconds.
pub fn ensure_ms(what: &str, measured: f64, wanted: f64, tolerance: f64) -> Result<()> {
    println!("    {what}: {:.3} s (should be {:.1} ± {:.1})", measured / 1e3, wanted / 1e3, tolerance / 1e3);
    ensure!(
        (measured - wanted).abs() <= tolerance,
        "{what}: {:.3} s, should be {:.1} s ± {:.1} s",
        measured / 1e3,
        wanted / 1e3,
        tolerance / 1e3
    );
    Ok(())
}

/// Whether a measured time is short enough.
pub fn ensure_below(what: &str, measured: Duration, limit: Duration) -> Result<()> {
    println!("    {what}: {:.3} s (at most {:.1})", measured.as_secs_f64(), limit.as_secs_f64());
    ensure!(
        measured <= limit,
        "{what}: {:.3} s, at most {:.1} s",
        measured.as_secs_f64(),
        limit.as_secs_f64()
    );
    Ok(())
}

/// A leaf as statements name it.
pub fn quoted(cluster: &Cluster, leaf: &str) -> Result<String> {
    let node = cluster.node(leaf)?;
    Ok(format!("'{}':{}", node.host, node.port))
}

/// All instances of the database that the tests use.
pub async fn instances(cluster: &Cluster) -> Result<Vec<Instance>> {
    cluster.any_aggregator().await?.instances(DATABASE).await
}

/// The name of the leaf that is primary of a partition.
pub async fn primary_of(cluster: &Cluster, ordinal: u64) -> Result<String> {
    let found = instances(cluster).await?;
    let primary = found.iter().find(|one| one.ordinal == ordinal && one.is_primary());
    cluster.name_of_id(primary.context("it has none")?.node).context("its leaf has no name")
}

/// The state of a leaf as `SHOW LEAVES` prints it at the master aggregator.
pub async fn state_of(client: &mut Client, cluster: &Cluster, leaf: &str) -> Result<String> {
    let address = cluster.node(leaf)?.address();
    let states = client.leaf_states().await?;
    Ok(states.into_iter().find(|(of, _)| *of == address).context("it is not shown")?.1)
}

/// Partition 0 of a table `t`, on two leaves: its replica misses the row 2, and then its primary is killed for good. Says
/// which was the primary, which the replica, and when the primary was killed.
pub async fn lose_all_but_an_old_copy(
    cluster: &Cluster,
    client: &mut Client,
) -> Result<(String, String, Moment)> {
    let primary = primary_of(cluster, 0).await?;
    let replica = cluster.leaves().into_iter().find(|leaf| *leaf != primary).context("there is one")?;
    let missing = cluster.kill9(&replica).await?.at;
    client.run_within(HEAL_BOUND, &format!("INSERT INTO {DATABASE}.t VALUES (2)")).await?;
    event_about(cluster, "NODE_OFFLINE", &replica, missing, HEAL_BOUND).await?;
    let killed = cluster.kill9(&primary).await?.at;
    cluster.restart(&replica).await?;
    wait_while_not("both are known as they are", HEAL_BOUND, async || {
        let primary = state_of(client, cluster, &primary).await?;
        let replica = state_of(client, cluster, &replica).await?;
        Ok(primary == "offline" && replica == "online")
    })
    .await?;
    Ok((primary, replica, killed))
}
