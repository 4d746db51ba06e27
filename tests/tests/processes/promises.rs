//! What a database promises: while it is altered, after a power cut, and of the reads of a primary that may be none.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::wait::wait_while_not;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec, Moment, Writers};

use crate::stage::{
    HEAL_BOUND, alone, ensure_below, events_since, leaf_with_primaries, primaries_of, read_back,
    sharded_loads, taken_over,
};

async fn details(client: &mut Client) -> Result<String> {
    let rows = client.rows("SHOW DATABASES EXTENDED").await?;
    let row = rows.iter().find(|row| row.text("Database").as_deref() == Some(DATABASE));
    row.context("the database is not shown")?.required("Details")
}

#[test]
fn what_a_database_promises_is_changed_under_load_and_nothing_acknowledged_is_lost() {
    alone(ClusterSpec::new(1, 2).policy("swift"), async |cluster| {
        cluster.create_database("WITH ASYNC DURABILITY PARTITIONS 8").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        ensure!(details(&mut client).await? == "async durability, sync replication");

        for _ in 0..3 {
            let began = Moment::now();
            client.run(&format!("ALTER DATABASE {DATABASE} WITH SYNC DURABILITY")).await?;
            ensure_below("synced everywhere", Moment::now().since(began), Duration::from_secs(5))?;
            ensure!(details(&mut client).await? == "sync durability, sync replication", "an OK means all");
            writers.all_write(HEAL_BOUND).await?;
            client.run(&format!("ALTER DATABASE {DATABASE} WITH ASYNC DURABILITY ASYNC REPLICATION")).await?;
            let instances = client.instances(DATABASE).await?;
            ensure!(instances.iter().all(|instance| instance.is_primary() || !instance.is_sync()));
            writers.all_write(HEAL_BOUND).await?;
            client.run(&format!("ALTER DATABASE {DATABASE} WITH SYNC REPLICATION")).await?;
            cluster.all_in_sync(HEAL_BOUND).await?;
        }
        client.run(&format!("ALTER DATABASE {DATABASE} WITH SYNC DURABILITY")).await?;

        let leaf = leaf_with_primaries(cluster).await?;
        cluster.kill9(&leaf).await?;
        taken_over(cluster, &leaf, Duration::from_secs(15)).await?;
        writers.all_write(HEAL_BOUND).await?;
        cluster.restart(&leaf).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        Ok(())
    });
}

/// The leaf's next start finds that the machine has gone down under it.
fn pretend_power_cut(cluster: &Cluster, leaf: &str) -> Result<()> {
    let mark = cluster.node(leaf)?.datadir.join("run.json");
    let text = fs::read_to_string(&mark).with_context(|| mark.display().to_string())?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    ensure!(text.contains(boot.trim()), "{text} names another boot");
    fs::write(&mark, text.replace(boot.trim(), "the-boot-before"))?;
    Ok(())
}

/// Checklist 9: under `ASYNC DURABILITY` a killed leaf goes on as the primary that it was; one whose machine went down
/// gives way to its replica.
#[test]
fn a_leaf_whose_machine_lost_power_gives_way_and_a_killed_one_does_not() {
    // Under classic a leaf that is back at once is never judged failed.
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("WITH ASYNC DURABILITY PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let leaf = leaf_with_primaries(cluster).await?;
        let held = primaries_of(cluster, &leaf).await?;

        let killed = cluster.kill9(&leaf).await?.at;
        cluster.restart(&leaf).await?;
        writers.all_write(HEAL_BOUND).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        ensure!(primaries_of(cluster, &leaf).await? == held, "a killed process has lost nothing");
        let events = events_since(cluster, killed).await?;
        ensure!(events.iter().all(|event| event.kind != "PARTITION_PROMOTED"), "{events:?}");

        let killed = cluster.kill9(&leaf).await?.at;
        pretend_power_cut(cluster, &leaf)?;
        cluster.restart(&leaf).await?;
        taken_over(cluster, &leaf, Duration::from_secs(10)).await?;
        writers.all_write(HEAL_BOUND).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let events = events_since(cluster, killed).await?;
        let unsure = events.iter().filter(|event| event.details.contains("perhaps without")).count();
        ensure!(unsure > 0, "{events:?}");
        ensure!(events.iter().all(|event| event.kind != "NODE_OFFLINE"), "{events:?}");

        // Everything at once, and the machines with it: the pair is waited for, and goes on.
        let leaves = cluster.leaves();
        for leaf in &leaves {
            cluster.kill9(leaf).await?;
            pretend_power_cut(cluster, leaf)?;
        }
        cluster.restart_all().await?;
        writers.all_write(HEAL_BOUND).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}

/// Checklist 11: without a master aggregator nobody confirms leases: writes go on, reads wait for the next one; and with
/// `leaf_read_lease = OFF` they do not.
#[test]
fn reads_wait_for_a_master_aggregator_and_writes_do_not() {
    const ELECTION_MS: u64 = 4_000;
    let spec = ClusterSpec::new(3, 2).variable("consensus_election_timeout", ELECTION_MS);
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 2").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        for lease in ["ON", "OFF"] {
            let master = cluster.master(HEAL_BOUND).await?;
            let child = cluster.aggregators().into_iter().find(|name| *name != master).context("no child")?;
            let mut client = cluster.conn(&child).await?;
            client.run(&format!("SET GLOBAL leaf_read_lease = {lease}")).await?;
            client.run(&format!("CREATE TABLE IF NOT EXISTS {DATABASE}.t (id BIGINT PRIMARY KEY)")).await?;
            client.run(&format!("REPLACE INTO {DATABASE}.t VALUES (1), (2), (3)")).await?;
            // Leaves hear of a variable with the catalog.
            wait_while_not("every leaf reads", HEAL_BOUND, async || {
                Ok(client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await? == "3")
            })
            .await?;
            cluster.kill9(&master).await?;
            // What was lent before has ended.
            tokio::time::sleep(Duration::from_millis(1_000)).await;
            let sent = Moment::now();
            client.run(&format!("REPLACE INTO {DATABASE}.t VALUES (4)")).await?;
            ensure_below("a write without a master", Moment::now().since(sent), Duration::from_secs(1))?;
            let count = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await?;
            let waited = Moment::now().since(sent);
            ensure!(count == "4", "{count} of 4 rows");
            if lease == "ON" {
                ensure!(waited > Duration::from_secs(1), "a read without a lease waited for {waited:?} only");
                ensure_below("a read after the election", waited, Duration::from_secs(8))?;
            } else {
                ensure_below("a read without a master", waited, Duration::from_secs(1))?;
            }
            cluster.restart(&master).await?;
            client.run(&format!("DELETE FROM {DATABASE}.t")).await?;
        }
        Ok(())
    });
}

/// Checklist 11: a primary that slept through its replacement wakes, and an aggregator that slept as well asks it for what
/// a client wants to know by now. Both believe in the catalog of before; the lease is all that is between them and an
/// answer from the past.
#[test]
fn a_primary_that_wakes_deposed_answers_nothing_from_the_past() {
    let spec = ClusterSpec::new(3, 2).policy("swift");
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        let master = cluster.master(HEAL_BOUND).await?;
        let sleeper = cluster.aggregators().into_iter().find(|name| *name != master).context("no child")?;
        let mut writing = cluster.conn(&master).await?;
        writing.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, round BIGINT)")).await?;
        writing.run(&format!("INSERT INTO {DATABASE}.t VALUES (1, 0)")).await?;
        for round in 1..=5 {
            cluster.all_in_sync(HEAL_BOUND).await?;
            let mut reading = cluster.conn(&sleeper).await?;
            let select = format!("SELECT round FROM {DATABASE}.t WHERE id = 1");
            ensure!(reading.value(&select).await? == (round - 1).to_string());
            let instances = writing.instances(DATABASE).await?;
            let primary = instances.iter().find(|instance| instance.is_primary()).context("no primary")?;
            let primary = cluster.name_of_id(primary.node).context("an unknown leaf")?;

            cluster.stop(&sleeper)?;
            cluster.stop(&primary)?;
            wait_while_not("the sleeping primary is replaced", HEAL_BOUND, async || {
                let instances = writing.instances(DATABASE).await?;
                let held = instances.iter().find(|instance| instance.is_primary());
                Ok(held.and_then(|held| cluster.name_of_id(held.node)).is_some_and(|now| now != primary))
            })
            .await?;
            writing.run(&format!("UPDATE {DATABASE}.t SET round = {round} WHERE id = 1")).await?;
            // Asked after the write was acknowledged, and waiting for both to wake.
            let asked = tokio::spawn(async move { reading.value(&select).await });
            tokio::time::sleep(Duration::from_millis(100)).await;
            cluster.cont(&primary)?;
            cluster.cont(&sleeper)?;
            let read = asked.await??;
            ensure!(read == round.to_string(), "round {round}: a read from the past: {read}");
        }
        Ok(())
    });
}
