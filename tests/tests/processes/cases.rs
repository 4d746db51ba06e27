//! What happens where nobody may take over: it is said, clients are told in time, and it ends when a leaf returns.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::client::refused_with;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::DATABASE;
use baton_tests::{Cluster, ClusterSpec, Moment, Writers};

use crate::stage::{
    HEAL_BOUND, alone, ensure_ms, event_about, events_since, leaf_with_primaries, primaries_of, read_back,
    sharded_loads, taken_over,
};

const BUFFER_MS: u64 = 3000;

fn small() -> ClusterSpec {
    ClusterSpec::new(1, 2).policy("swift").variable("failover_buffer_ms", BUFFER_MS)
}

/// The names of the partitions whose primaries a leaf has.
async fn partitions_of(cluster: &Cluster, leaf: &str) -> Result<Vec<String>> {
    let held = primaries_of(cluster, leaf).await?;
    Ok(held.iter().map(|ordinal| format!("{DATABASE}_{ordinal}")).collect())
}

/// Waits until each of these partitions is said to be offline.
async fn said_offline(cluster: &Cluster, partitions: &[String], from: Moment) -> Result<()> {
    wait_while_not(&format!("{partitions:?} are said to be offline"), Duration::from_secs(10), async || {
        let events = events_since(cluster, from).await?;
        let offline = |name: &String| {
            let about = format!("{name}:");
            events.iter().any(|event| event.kind == "PARTITION_OFFLINE" && event.details.starts_with(&about))
        };
        Ok(partitions.iter().all(offline))
    })
    .await
}

/// A write whose rows fall on every partition.
async fn write_everywhere(cluster: &Cluster, first: u64) -> Result<u64, baton_tests::SqlFault> {
    let mut client = cluster
        .login("a1")
        .map_err(|error| baton_tests::SqlFault::Unanswered(error.to_string()))?
        .connect()
        .await?;
    let rows: Vec<String> = (first..first + 200).map(|id| format!("({id}, 'everywhere')")).collect();
    client
        .run(&format!("INSERT INTO {DATABASE}.everywhere VALUES {}", rows.join(", ")))
        .await
        .map(|done| done.affected_rows)
}

#[test]
fn a_partition_with_an_async_replica_goes_offline_and_comes_back_with_its_leaf() {
    alone(small(), async |cluster| {
        cluster.create_database("WITH ASYNC REPLICATION PARTITIONS 4").await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.everywhere (id BIGINT PRIMARY KEY, note TEXT)")).await?;
        ensure!(write_everywhere(cluster, 0).await? == 200);
        let leaf = leaf_with_primaries(cluster).await?;
        let partitions = partitions_of(cluster, &leaf).await?;

        let killed = cluster.kill9(&leaf).await?.at;
        said_offline(cluster, &partitions, killed).await?;
        let sent = Moment::now();
        refused_with(1777, write_everywhere(cluster, 1000).await)?;
        ensure_ms("an error after the buffer time", Moment::now().ms_after(sent), BUFFER_MS as f64, 1000.0)?;
        refused_with(1777, client.rows(&format!("SELECT COUNT(*) FROM {DATABASE}.everywhere")).await)?;
        let events = events_since(cluster, killed).await?;
        ensure!(
            events.iter().all(|event| event.kind != "PARTITION_PROMOTED"),
            "an async replica was promoted"
        );

        cluster.restart(&leaf).await?;
        let there = wait_until("the partitions are served again", Duration::from_secs(15), async || {
            let count = client.rows(&format!("SELECT id FROM {DATABASE}.everywhere WHERE id < 1000")).await?;
            Ok(Some(count.len()))
        })
        .await?;
        ensure!(there == 200, "{there} of 200 rows are there");
        ensure!(write_everywhere(cluster, 2000).await? == 200);
        Ok(())
    });
}

#[test]
fn a_partition_whose_replica_fell_behind_goes_offline_and_loses_nothing() {
    alone(small(), async |cluster| {
        cluster.create_database("WITH SYNC REPLICATION PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.everywhere (id BIGINT PRIMARY KEY, note TEXT)")).await?;
        ensure!(write_everywhere(cluster, 0).await? == 200);

        // l2 sleeps: all is l1's, and what is written now l1 alone has.
        cluster.stop("l2")?;
        taken_over(cluster, "l2", Duration::from_secs(20)).await?;
        ensure!(write_everywhere(cluster, 1000).await? == 200);
        let instances = client.instances(DATABASE).await?;
        ensure!(instances.iter().all(|instance| !instance.is_sync()), "{instances:?}");
        let partitions = partitions_of(cluster, "l1").await?;
        ensure!(partitions.len() == 4, "{partitions:?}");

        let killed = cluster.kill9("l1").await?.at;
        said_offline(cluster, &partitions, killed).await?;
        // The one that wakes has a copy of each, and none of them may serve.
        let woken = cluster.cont("l2")?;
        event_about(cluster, "NODE_ONLINE", "l2", woken, HEAL_BOUND).await?;
        refused_with(1777, write_everywhere(cluster, 2000).await)?;
        refused_with(1777, client.rows(&format!("SELECT COUNT(*) FROM {DATABASE}.everywhere")).await)?;
        let events = events_since(cluster, killed).await?;
        let promoted = events.iter().find(|event| event.kind == "PARTITION_PROMOTED");
        ensure!(promoted.is_none(), "a copy that lacks writes was promoted: {promoted:?}");

        cluster.restart("l1").await?;
        let count = wait_until("the partitions are served again", Duration::from_secs(15), async || {
            Ok(Some(client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.everywhere")).await?))
        })
        .await?;
        ensure!(count == "400", "{count} of 400 rows are there");
        cluster.all_in_sync(HEAL_BOUND).await?;
        ensure!(write_everywhere(cluster, 3000).await? == 200);
        Ok(())
    });
}

#[test]
fn a_pair_that_is_lost_is_said_to_be_offline_and_the_first_that_returns_serves() {
    alone(small().variable("failover_buffer_ms", 1000), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.all_write(HEAL_BOUND).await?;

        let killed = Moment::now();
        tokio::try_join!(cluster.kill9("l1"), cluster.kill9("l2"))?;
        let all: Vec<String> = (0..4).map(|ordinal| format!("{DATABASE}_{ordinal}")).collect();
        event_about(cluster, "NODE_OFFLINE", "l1", killed, Duration::from_secs(10)).await?;
        event_about(cluster, "NODE_OFFLINE", "l2", killed, Duration::from_secs(10)).await?;
        said_offline(cluster, &all, killed).await?;
        let mut client = cluster.conn("a1").await?;
        refused_with(1777, client.rows("SELECT COUNT(*) FROM stage.filed").await)?;

        cluster.restart("l2").await?;
        // l2 serves what it was primary of, and takes over what it was in sync with.
        writers.all_write(Duration::from_secs(20)).await?;
        cluster.restart("l1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}
