//! What an operator does to a cluster that works: partitions are handed over, leaves go out and come back, everything is
//! balanced; and no client sees an error.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::client::{Record, refused_with};
use baton_tests::view::Instance;
use baton_tests::wait::{holds_for, wait_while_not};
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{Client, Cluster, ClusterSpec, Load, Moment, Stray, StraySpec, Writers};

use crate::stage::{
    HEAL_BOUND, REFUSED, alone, another_master, events_since, instances, leaf_with_primaries,
    lose_all_but_an_old_copy, master_and_others, primaries_of, primary_of, quoted, read_back, sharded_loads,
    state_of,
};

/// The longest that a client may wait for a write while its partition is handed over, with nothing else going on.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// The primaries of each leaf.
async fn spread(cluster: &Cluster) -> Result<Vec<usize>> {
    let mut counts = Vec::new();
    for leaf in cluster.leaves() {
        counts.push(primaries_of(cluster, &leaf).await?.len());
    }
    Ok(counts)
}

fn actions(rows: &[Record]) -> Result<Vec<String>> {
    rows.iter().map(|row| row.required("Action")).collect()
}

/// Starts two leaves of their own and adds them, one to each availability group.
async fn add_a_pair(cluster: &Cluster, client: &mut Client) -> Result<Vec<Stray>> {
    let mut strays = Vec::new();
    for group in [1, 2] {
        let folder = cluster.folder().join(format!("stray{group}"));
        let stray = StraySpec::new("leaf", folder.clone())?.start(&folder.with_extension("log"), "").await?;
        client.run(&format!("ADD LEAF root@{} INTO GROUP {group}", stray.quoted())).await?;
        strays.push(stray);
    }
    Ok(strays)
}

#[test]
fn a_partition_is_handed_over_within_100_ms_and_no_client_notices() {
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut plan = Plan::new(Load::Rows, 1, &["a1"]);
        plan.rest = Duration::from_millis(1);
        let writers = Writers::start(cluster, &[plan]).await?;
        writers.all_write(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let old = primary_of(cluster, 0).await?;
            let to = cluster.leaves().into_iter().find(|leaf| *leaf != old).context("there is one leaf")?;
            let begun = Moment::now();
            client.run(&format!("PROMOTE PARTITION {DATABASE}:0 ON {}", quoted(cluster, &to)?)).await?;
            writers.more(5, HEAL_BOUND).await?;
            ensure!(primary_of(cluster, 0).await? == to, "it was not handed over to {to}");
            let gap = writers.journal().gap(begun, Moment::now()).context("nobody wrote")?;
            pauses.push(gap.length());
            // The old primary has no need of a copy, and is in sync all the time.
            let found = instances(cluster).await?;
            ensure!(found.iter().any(Instance::is_sync), "the old primary is not in sync: {found:?}");
        }
        pauses.sort_unstable();
        println!("    write pauses of 10 hand-overs: {pauses:?}");
        ensure!(pauses[pauses.len() / 2] <= PAUSE_MAX, "the median pause is {:?}", pauses[pauses.len() / 2]);
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "{:?}", journal.errors());
        Ok(())
    });
}

#[test]
fn partitions_are_handed_over_under_load_and_only_to_who_is_in_sync() {
    alone(ClusterSpec::new(2, 2), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1", "a2"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let mut client = cluster.conn("a2").await?;
        for round in 0..6 {
            for ordinal in 0..4 {
                let old = primary_of(cluster, ordinal).await?;
                let to = cluster.leaves().into_iter().find(|leaf| *leaf != old).context("there is one")?;
                let kill = if round % 3 == 2 { " KILL" } else { "" };
                let statement =
                    format!("PROMOTE PARTITION {DATABASE}:{ordinal} ON {}{kill}", quoted(cluster, &to)?);
                client.run(&statement).await?;
            }
        }
        writers.all_write(HEAL_BOUND).await?;
        // A replica that sleeps does not take over, and whoever was primary goes on.
        let sleeper = leaf_with_primaries(cluster).await?;
        let other = cluster.leaves().into_iter().find(|leaf| *leaf != sleeper).context("there is one")?;
        for ordinal in 0..4 {
            client
                .run(&format!("PROMOTE PARTITION {DATABASE}:{ordinal} ON {}", quoted(cluster, &other)?))
                .await?;
        }
        cluster.stop(&sleeper)?;
        let refused =
            client.run(&format!("PROMOTE PARTITION {DATABASE}:0 ON {}", quoted(cluster, &sleeper)?)).await;
        println!("    {}", refused_with(REFUSED, refused)?);
        writers.all_write(HEAL_BOUND).await?;
        cluster.cont(&sleeper)?;
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "{:?}", journal.errors());
        for (statement, what) in [
            (format!("PROMOTE PARTITION {DATABASE}:99 ON {}", quoted(cluster, "l1")?), "no such partition"),
            (format!("PROMOTE PARTITION {DATABASE}:0 ON '127.0.0.1':1"), "no such leaf"),
        ] {
            println!("    {what}: {}", refused_with(REFUSED, client.run(&statement).await)?);
        }
        Ok(())
    });
}

#[test]
fn a_leaf_is_detached_and_attached_under_load_and_no_client_notices() {
    alone(ClusterSpec::new(1, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        let (leaf, pair) = (quoted(cluster, "l1")?, quoted(cluster, "l2")?);
        client.run(&format!("DETACH LEAF {leaf} ENSURE_PARTITION_SAFETY")).await?;
        ensure!(state_of(&mut client, cluster, "l1").await? == "detached", "it is not detached");
        ensure!(primaries_of(cluster, "l1").await?.is_empty(), "it has primaries");
        writers.all_write(HEAL_BOUND).await?;

        // The other one is all that there is now.
        let refused = client.run(&format!("DETACH LEAF {pair} ENSURE_PARTITION_SAFETY")).await;
        println!("    {}", refused_with(REFUSED, refused)?);
        let both = client.run(&format!("DETACH LEAVES ({leaf}, {pair})")).await;
        println!("    {}", refused_with(REFUSED, both)?);

        // It may be stopped and started: nobody attaches it, and nobody fails it over.
        let stopped = cluster.kill9("l1").await?.at;
        cluster.restart("l1").await?;
        holds_for("the leaf stays detached", Duration::from_secs(3), async || {
            Ok(state_of(&mut client, cluster, "l1").await? == "detached")
        })
        .await?;
        let events = events_since(cluster, stopped).await?;
        ensure!(events.iter().all(|event| !event.kind.starts_with("NODE_O")), "{events:?}");

        client.run(&format!("ATTACH LEAF {leaf}")).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        wait_while_not("primaries went back", HEAL_BOUND, async || Ok(spread(cluster).await? == [2, 2]))
            .await?;
        let status = client.rows(&format!("SHOW REBALANCE STATUS ON {DATABASE}")).await?;
        ensure!(status.len() == 2, "two primaries went back: {status:?}");
        ensure!(actions(&status)?.iter().all(|action| action == "PROMOTE PARTITION WITH REPOINT"));
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "{:?}", journal.errors());
        Ok(())
    });
}

#[test]
fn new_leaves_get_their_part_and_old_ones_are_emptied_under_load() {
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 8").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &sharded_loads(&["a1"])).await?;
        writers.more(500, HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        let strays = add_a_pair(cluster, &mut client).await?;
        let plan = client.rows(&format!("EXPLAIN REBALANCE PARTITIONS ON {DATABASE}")).await?;
        let planned = actions(&plan)?;
        let count = |action: &str| planned.iter().filter(|planned| *planned == action).count();
        ensure!(count("COPY PARTITION") == 8 && count("PROMOTE PARTITION WITH DROP") == 4, "{planned:?}");
        // As the check before a cluster is taken offline asks: of every database.
        let of_all = client.rows("EXPLAIN REBALANCE PARTITIONS").await?;
        ensure!(actions(&of_all)? == planned, "{:?}", actions(&of_all)?);
        ensure!(
            of_all.iter().all(|row| row.text("Database").as_deref() == Some(DATABASE)),
            "whose are they?"
        );
        ensure!(client.rows("EXPLAIN RESTORE REDUNDANCY").await?.is_empty(), "nothing is to be restored");
        client.run_within(HEAL_BOUND, &format!("REBALANCE PARTITIONS ON {DATABASE}")).await?;
        let again = client.rows(&format!("EXPLAIN REBALANCE PARTITIONS ON {DATABASE}")).await?;
        ensure!(again.is_empty(), "it is not balanced: {:?}", actions(&again)?);
        let held = instances(cluster).await?;
        let mut nodes: Vec<u64> = held.iter().map(|one| one.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        ensure!(nodes.len() == 4 && held.len() == 16, "{held:?}");
        let status = client.rows("SELECT STATUS FROM information_schema.MV_REBALANCE_STATUS").await?;
        ensure!(status.iter().all(|row| row.text("STATUS").as_deref() == Some("success")), "{status:?}");
        writers.all_write(HEAL_BOUND).await?;

        // What was moved away is gone from the old leaves' disks: nothing there is an orphan.
        let orphans = client.rows("EXPLAIN CLEAR ORPHAN DATABASES").await?;
        ensure!(orphans.is_empty(), "{orphans:?}");

        // The first pair leaves. Nothing is lost, and nobody notices.
        let (first, second) = (quoted(cluster, "l1")?, quoted(cluster, "l2")?);
        client.run_within(HEAL_BOUND, &format!("REMOVE LEAVES ({first}, {second})")).await?;
        let held = instances(cluster).await?;
        ensure!(held.len() == 16 && held.iter().all(|one| one.usable), "{held:?}");
        ensure!(client.leaf_states().await?.len() == 2, "they are still shown");
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "{:?}", journal.errors());
        for stray in strays {
            stray.kill9().await?;
        }
        Ok(())
    });
}

#[test]
fn a_plan_is_gone_on_with_by_the_next_master_aggregator() {
    alone(ClusterSpec::new(3, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 8").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let (master, others) = master_and_others(cluster).await?;
        let via: Vec<&str> = others.iter().map(String::as_str).collect();
        let writers = Writers::start(cluster, &sharded_loads(&via)).await?;
        writers.more(500, HEAL_BOUND).await?;
        let mut client = cluster.conn(&others[0]).await?;
        let strays = add_a_pair(cluster, &mut client).await?;
        // The statement is on its way when its master aggregator dies; whoever is next ends what it began.
        let mut asking = cluster.conn(&others[0]).await?;
        let statement = format!("REBALANCE PARTITIONS ON {DATABASE}");
        let asked = tokio::spawn(async move { asking.run_within(HEAL_BOUND, &statement).await });
        wait_while_not("the plan has begun", HEAL_BOUND, async || {
            let status = client.rows(&format!("SHOW REBALANCE STATUS ON {DATABASE}")).await?;
            Ok(status.iter().any(|row| row.text("Status").as_deref() == Some("running")))
        })
        .await?;
        cluster.kill9(&master).await?;
        another_master(cluster, &master, &others[0], HEAL_BOUND).await?;
        asked.await??;
        let plan = client.rows(&format!("EXPLAIN REBALANCE PARTITIONS ON {DATABASE}")).await?;
        ensure!(plan.is_empty(), "it is not balanced: {:?}", actions(&plan)?);
        let journal = read_back(cluster, writers, &others[1]).await?;
        ensure!(journal.errors().is_empty(), "{:?}", journal.errors());
        for stray in strays {
            stray.kill9().await?;
        }
        Ok(())
    });
}

#[test]
fn what_only_an_operator_may_give_up_is_given_up_once_and_on_record() {
    alone(ClusterSpec::new(1, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY)")).await?;
        client.run(&format!("INSERT INTO {DATABASE}.t VALUES (1)")).await?;
        let (primary, replica, killed) = lose_all_but_an_old_copy(cluster, &mut client).await?;
        let on = quoted(cluster, &replica)?;
        let promote = client.run(&format!("PROMOTE PARTITION {DATABASE}:0 ON {on}")).await;
        println!("    {}", refused_with(REFUSED, promote)?);
        let attach = client.run(&format!("ATTACH PARTITION {DATABASE}:0 ON {on}")).await;
        let loss = refused_with(REFUSED, attach)?;
        println!("    {loss}");
        ensure!(loss.contains("is lost") && loss.contains("FORCE"), "it does not say what is lost");
        let cleared = client.run("CLEAR ORPHAN DATABASES").await?;
        ensure!(cleared.affected_rows == 0, "there is no orphan yet");
        client.run(&format!("ATTACH PARTITION {DATABASE}:0 ON {on} FORCE")).await?;
        let rows = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await?;
        ensure!(rows == "1", "{rows} rows are there");
        let events = events_since(cluster, killed).await?;
        ensure!(events.iter().filter(|event| event.kind == "PARTITION_FORCED").count() == 1, "{events:?}");

        // The old primary returns: what it has is kept until the operator has looked at it.
        cluster.restart(&primary).await?;
        wait_while_not("the orphan is shown", HEAL_BOUND, async || {
            let status = client.rows("SHOW CLUSTER STATUS").await?;
            Ok(status.iter().any(|row| row.text("ROLE").as_deref() == Some("Orphan")))
        })
        .await?;
        holds_for("the orphan stays", Duration::from_secs(2), async || {
            Ok(client.rows("EXPLAIN CLEAR ORPHAN DATABASES").await?.len() == 1)
        })
        .await?;
        let cleared = client.run("CLEAR ORPHAN DATABASES").await?;
        ensure!(cleared.affected_rows == 1, "{} orphans were removed", cleared.affected_rows);
        cluster.all_in_sync(HEAL_BOUND).await?;
        let status = client.rows("SHOW CLUSTER STATUS").await?;
        ensure!(status.iter().all(|row| row.text("ROLE").as_deref() != Some("Orphan")), "{status:?}");
        Ok(())
    });
}
