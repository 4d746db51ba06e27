//! A primary does not wait for a silent replica for ever, and never goes on without the master aggregator's word.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::wait::wait_while_not;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec, Moment};

use crate::stage::{
    HEAL_BOUND, alone, ensure_below, ensure_ms, events_since, leaf_with_primaries, taken_over,
};

/// `sync_replica_timeout_ms` where nobody has set it.
const SYNC_REPLICA_TIMEOUT_MS: f64 = 5000.0;

async fn insert(client: &mut Client, id: u64) -> Result<Duration> {
    let sent = Moment::now();
    client.run(&format!("INSERT INTO {DATABASE}.t VALUES ({id})")).await?;
    Ok(Moment::now().since(sent))
}

/// The sync state of the only replica, as `SHOW PARTITIONS EXTENDED` has it.
async fn sync_state(cluster: &Cluster) -> Result<String> {
    let instances = cluster.conn("a1").await?.instances(DATABASE).await?;
    let replica = instances.into_iter().find(|instance| !instance.is_primary()).context("no replica")?;
    replica.sync_state.context("the replica has no sync state")
}

#[test]
fn a_write_waits_5_seconds_for_a_silent_replica_which_is_async_until_it_wakes() {
    // Without detection, nobody but the primary notices.
    let spec = ClusterSpec::new(1, 2).variable("leaf_failure_detection", "OFF");
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY)")).await?;
        let primary = leaf_with_primaries(cluster).await?;
        let leaves = cluster.leaves();
        let replica = leaves.iter().find(|leaf| **leaf != primary).context("there is one leaf")?;
        insert(&mut client, 1).await?;

        let stopped = cluster.stop(replica)?;
        let waited = insert(&mut client, 2).await?;
        ensure_ms(
            "a write while the replica is silent",
            waited.as_secs_f64() * 1e3,
            SYNC_REPLICA_TIMEOUT_MS,
            1000.0,
        )?;
        let state = sync_state(cluster).await?;
        ensure!(state == "async", "a write went on while the replica is {state}");
        ensure_below("the next write", insert(&mut client, 3).await?, Duration::from_secs(1))?;

        cluster.cont(replica)?;
        wait_while_not("the replica is in sync again", HEAL_BOUND, async || {
            Ok(sync_state(cluster).await? == "sync")
        })
        .await?;
        ensure_below("a write with the replica", insert(&mut client, 4).await?, Duration::from_secs(1))?;
        let events = events_since(cluster, stopped).await?;
        ensure!(events.iter().all(|event| event.kind != "NODE_OFFLINE"), "{events:?}");

        // It has what was written while it slept: it can take over.
        client.run("SET GLOBAL leaf_failure_detection = ON").await?;
        cluster.kill9(&primary).await?;
        taken_over(cluster, &primary, Duration::from_secs(15)).await?;
        let count = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await?;
        ensure!(count == "4", "{count} of 4 rows are there");
        Ok(())
    });
}

/// The `degrade` decision point: swift lets a write wait for 3 s, and what it decided is told with its input.
#[test]
fn under_swift_a_write_waits_3_seconds_for_a_silent_replica_and_the_decision_is_told() {
    let spec = ClusterSpec::new(1, 2).policy("swift").variable("leaf_failure_detection", "OFF");
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY)")).await?;
        let primary = leaf_with_primaries(cluster).await?;
        let leaves = cluster.leaves();
        let replica = leaves.iter().find(|leaf| **leaf != primary).context("there is one leaf")?;
        insert(&mut client, 1).await?;

        let stopped = cluster.stop(replica)?;
        let waited = insert(&mut client, 2).await?;
        ensure_ms("a write under swift", waited.as_secs_f64() * 1e3, 3_000.0, 1_000.0)?;
        let decisions = client.decisions_since(stopped).await?;
        let decision =
            decisions.iter().find(|decision| decision.point == "degrade").context("it is not told")?;
        ensure!(decision.policy == "swift" && decision.fallback.is_empty(), "{decision:?}");
        ensure!(decision.subject.starts_with(&format!("{DATABASE}_0 on ")), "{decision:?}");
        ensure!(decision.verdict == "degrade", "{decision:?}");
        ensure!(decision.reason.contains("1 writes wait"), "{decision:?}");
        ensure!(decision.input.contains("\"waiting_writes\":1"), "{decision:?}");
        cluster.cont(replica)?;
        cluster.all_in_sync(HEAL_BOUND).await
    });
}
