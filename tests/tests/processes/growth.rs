//! Nodes that join, and nodes that lost everything.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::wait::wait_while_not;
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{Cluster, ClusterSpec, Load, Moment, StraySpec, Writers};

use crate::stage::{
    HEAL_BOUND, alone, another_master, ensure_below, event_about, events_since, every_load,
    master_and_others, read_back, sharded_loads, taken_over,
};

/// Fills a table with some megabytes, so that a copy of it takes a moment.
async fn fill(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    client
        .run(&format!("CREATE TABLE {DATABASE}.filling (id BIGINT PRIMARY KEY, text VARCHAR(500))"))
        .await?;
    let text = "x".repeat(400);
    for batch in 0..20 {
        let rows: Vec<String> = (0..1000).map(|i| format!("({}, '{text}')", batch * 1000 + i)).collect();
        client.run(&format!("INSERT INTO {DATABASE}.filling VALUES {}", rows.join(", "))).await?;
    }
    client.close().await;
    Ok(())
}

async fn filling_is_there(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    let count =
        client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.filling WHERE LENGTH(text) = 400")).await?;
    ensure!(count == "20000", "{count} of 20000 rows are there");
    Ok(())
}

#[test]
fn a_new_leaf_gets_a_copy_while_the_cluster_works_and_can_take_over() {
    let spec = ClusterSpec::new(1, 1).without_replicas().policy("swift");
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        fill(cluster).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.all_write(HEAL_BOUND).await?;

        let stray = StraySpec::new("leaf", cluster.folder().join("stray"))?;
        let stray = stray.start(&cluster.folder().join("stray.log"), "").await?;
        let mut client = cluster.conn("a1").await?;
        client.run("SET GLOBAL redundancy_level = 2").await?;
        client.run(&format!("ADD LEAF root@{} INTO GROUP 2", stray.quoted())).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        writers.all_write(Duration::from_secs(10)).await?;

        cluster.kill9("l1").await?;
        taken_over(cluster, "l1", Duration::from_secs(10)).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        filling_is_there(cluster).await?;
        read_back(cluster, writers, "a1").await?;
        stray.kill9().await
    });
}

#[test]
fn a_leaf_that_lost_its_disk_gets_everything_anew() {
    alone(ClusterSpec::new(1, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        fill(cluster).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.all_write(HEAL_BOUND).await?;

        let killed = cluster.kill9("l1").await?.at;
        taken_over(cluster, "l1", Duration::from_secs(10)).await?;
        cluster.wipe("l1")?;
        cluster.restart("l1").await?;
        event_about(cluster, "NODE_ONLINE", "l1", killed, HEAL_BOUND).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;

        // Now everything that l2 has is asked of l1.
        cluster.kill9("l2").await?;
        taken_over(cluster, "l2", Duration::from_secs(10)).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        filling_is_there(cluster).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}

/// A leaf keeps no more than 16 copies for others, and one that was fetched makes room for the next at once.
#[test]
fn a_leaf_that_lost_many_small_partitions_gets_them_one_after_the_other() {
    alone(ClusterSpec::new(1, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 48").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let killed = cluster.kill9("l1").await?.at;
        taken_over(cluster, "l1", Duration::from_secs(10)).await?;
        cluster.wipe("l1")?;
        cluster.restart("l1").await?;
        event_about(cluster, "NODE_ONLINE", "l1", killed, HEAL_BOUND).await?;
        // A copy that was begun and left alone is held for half a minute; 48 of these would take two.
        cluster.all_in_sync(Duration::from_secs(45)).await?;
        Ok(())
    });
}

#[test]
fn a_leaf_that_was_wiped_while_nobody_looked_does_not_lose_the_partition() {
    // The disk is gone before the failure was detected: the leaf comes back at once, as primary, with nothing.
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.more(300, HEAL_BOUND).await?;
        cluster.kill9("l1").await?;
        cluster.wipe("l1")?;
        cluster.restart("l1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}

#[test]
fn a_voter_that_lost_its_disk_is_removed_and_added_again_and_counts_for_the_quorum() {
    alone(ClusterSpec::new(3, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &every_load(&["a2"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let lost = cluster.node("a3")?;
        cluster.kill9("a3").await?;
        cluster.wipe("a3")?;
        let mut client = cluster.conn("a2").await?;
        client.run(&format!("REMOVE AGGREGATOR '{}':{}", lost.host, lost.port)).await?;
        let stray = StraySpec::in_place_of(&lost).start(&cluster.folder().join("stray.log"), "").await?;
        client.run(&format!("ADD AGGREGATOR root@{} AS VOTING MEMBER", stray.quoted())).await?;
        wait_while_not("the new voter knows the database", HEAL_BOUND, async || {
            let mut at_new = stray.conn(cluster.password()).await?;
            Ok(at_new.rows(&format!("SHOW DATABASES LIKE '{DATABASE}'")).await?.len() == 1)
        })
        .await?;

        // Without the first voter, only the new one can complete the majority.
        cluster.kill9("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.by_two (id BIGINT PRIMARY KEY)")).await?;
        writers.all_write(Duration::from_secs(20)).await?;
        read_back(cluster, writers, "a2").await?;
        stray.kill9().await
    });
}

#[test]
fn a_master_that_comes_back_empty_is_replaced() {
    // Whoever answers at its address is another, and knows nothing: the others must not take it for the master.
    // Pings are rare here and the others sleep until it is back, so that none of them sees that it was ever gone.
    let spec = ClusterSpec::new(3, 2).policy("swift").variable("heartbeat_interval_ms", 3000);
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let (master, others) = master_and_others(cluster).await?;
        let via: Vec<&str> = others.iter().map(String::as_str).collect();
        let writers = Writers::start(cluster, &every_load(&via)).await?;
        writers.all_write(HEAL_BOUND).await?;

        let lost = cluster.node(&master)?;
        for name in &others {
            cluster.stop(name)?;
        }
        cluster.kill9(&master).await?;
        cluster.wipe(&master)?;
        let stray = StraySpec::in_place_of(&lost).start(&cluster.folder().join("stray.log"), "").await?;
        let woken = Moment::now();
        for name in &others {
            cluster.cont(name)?;
        }
        let mut client = cluster.conn(via[0]).await?;
        client.run(&format!("CREATE TABLE {DATABASE}.by_two (id BIGINT PRIMARY KEY)")).await?;
        ensure_below("DDL through another", Moment::now().since(woken), Duration::from_secs(10))?;
        let elected = another_master(cluster, &master, via[0], Duration::from_secs(5)).await?;
        let events = events_since(cluster, woken).await?;
        let said = events.iter().find(|event| event.kind == "NOTIFY_AGGREGATOR_PROMOTED");
        println!("    {}", said.map_or("", |event| event.details.as_str()));
        ensure!(others.contains(&elected), "{elected} is master");
        writers.all_write(Duration::from_secs(10)).await?;
        // It is not taken for a member of the cluster either.
        ensure!(stray.conn("").await?.rows("SHOW DATABASES LIKE 'stage'").await?.is_empty());
        read_back(cluster, writers, via[1]).await?;
        stray.kill9().await
    });
}

#[test]
fn a_cluster_of_one_copy_serves_and_comes_back() {
    alone(ClusterSpec::new(1, 2).without_replicas().policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        let writers = Writers::start(cluster, &[Plan::new(Load::Rows, 4, &["a1"])]).await?;
        writers.more(200, HEAL_BOUND).await?;
        cluster.kill9("l1").await?;
        cluster.restart("l1").await?;
        writers.all_write(HEAL_BOUND).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}
