//! `swift`: failures are seen at once where the evidence is hard, and with a witness where it is not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::client::SqlFault;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{Cluster, ClusterSpec, Load, Moment, Writers};

use crate::stage::{
    HEAL_BOUND, Shared, ensure_below, event_about, every_load, leaf_with_primaries, read_back, sharded_loads,
    taken_over,
};

static CLUSTER: Shared = Shared {
    name: "three voters and four leaves under swift",
    spec: || ClusterSpec::new(3, 4).policy("swift"),
    database: Some("PARTITIONS 8"),
};

#[test]
fn a_killed_leaf_is_failed_over_within_a_second() {
    CLUSTER.run(async |cluster| {
        let writers = Writers::start(cluster, &sharded_loads(&["a2", "a3"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let leaf = leaf_with_primaries(cluster).await?;
        let killed = cluster.kill9(&leaf).await?;
        let offline = event_about(cluster, "NODE_OFFLINE", &leaf, killed.at, Duration::from_secs(5)).await?;
        ensure_below("detection", offline.at.since(killed.gone), Duration::from_secs(1))?;
        taken_over(cluster, &leaf, Duration::from_secs(5)).await?;
        writers.all_write(Duration::from_secs(5)).await?;
        let gap = writers.journal().gap(killed.at, Moment::now()).context("nobody wrote")?.length();
        ensure_below("write gap", gap, Duration::from_millis(1500))?;
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        Ok(())
    });
}

#[test]
fn a_silent_leaf_is_failed_over_when_another_aggregator_hears_nothing_either() {
    CLUSTER.run(async |cluster| {
        let writers = Writers::start(cluster, &sharded_loads(&["a2", "a3"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let leaf = leaf_with_primaries(cluster).await?;
        let stopped = cluster.stop(&leaf)?;
        let offline = event_about(cluster, "NODE_OFFLINE", &leaf, stopped, Duration::from_secs(10)).await?;
        // Five misses, and the witness's report on the next pong.
        ensure_below("detection", offline.at.since(stopped), Duration::from_millis(1800))?;
        taken_over(cluster, &leaf, Duration::from_secs(5)).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        let woken = cluster.cont(&leaf)?;
        event_about(cluster, "NODE_ONLINE", &leaf, woken, Duration::from_secs(10)).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        writers.all_write(Duration::from_secs(5)).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}

/// The aggregators that are not the master, and the master.
async fn children(cluster: &Cluster) -> Result<(String, Vec<String>)> {
    let master = cluster.master(HEAL_BOUND).await?;
    let children = cluster.aggregators().into_iter().filter(|name| *name != master).collect();
    Ok((master, children))
}

#[test]
fn a_killed_master_is_replaced_within_two_seconds() {
    CLUSTER.run(async |cluster| {
        let (master, children) = children(cluster).await?;
        let via: Vec<&str> = children.iter().map(String::as_str).collect();
        let writers = Writers::start(cluster, &every_load(&via)).await?;
        writers.all_write(HEAL_BOUND).await?;
        let killed = cluster.kill9(&master).await?.at;
        let mut child = cluster.conn(via[0]).await?;
        child.run(&format!("CREATE TABLE {DATABASE}.made_meanwhile (id BIGINT PRIMARY KEY)")).await?;
        ensure_below("DDL through a child", Moment::now().since(killed), Duration::from_secs(3))?;
        writers.all_write(Duration::from_secs(10)).await?;
        let gap = writers.journal().gap(killed, Moment::now()).context("nobody wrote")?.length();
        ensure_below("write gap, reference tables included", gap, Duration::from_secs(2))?;
        child.run(&format!("DROP TABLE {DATABASE}.made_meanwhile")).await?;
        cluster.restart(&master).await?;
        let journal = read_back(cluster, writers, &master).await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        Ok(())
    });
}

#[test]
fn a_master_that_sleeps_and_wakes_deposed_refuses_or_forwards_and_splits_no_brain() {
    CLUSTER.run(async |cluster| {
        let (master, children) = children(cluster).await?;
        let via: Vec<&str> = children.iter().map(String::as_str).collect();
        let writers = Writers::start(cluster, &every_load(&via)).await?;
        writers.all_write(HEAL_BOUND).await?;
        let mut at_old = cluster.conn(&master).await?;
        let stopped = cluster.stop(&master)?;
        let elected = wait_until("the others elect a master", Duration::from_secs(15), async || {
            let address = cluster.conn(via[0]).await?.master().await?;
            let name = address.and_then(|address| cluster.name_of(&address));
            Ok(name.filter(|name| *name != master))
        })
        .await?;
        println!(
            "    {elected} is master {:.3} s after {master} slept",
            Moment::now().ms_after(stopped) / 1e3
        );
        writers.all_write(Duration::from_secs(15)).await?;

        // It wakes, and at once is asked for what only a master may do.
        cluster.cont(&master)?;
        let asked =
            at_old.run(&format!("CREATE TABLE {DATABASE}.by_the_old_one (id BIGINT PRIMARY KEY)")).await;
        let made = match asked {
            Ok(_) => true,
            Err(SqlFault::Answered { number: 1290 | 1826 | 1053 | 1218 | 2013, .. }) => false,
            Err(fault) => anyhow::bail!("the old master answers {fault}"),
        };
        let mut at_new = cluster.conn(&elected).await?;
        let seen = at_new.rows(&format!("SHOW TABLES FROM {DATABASE} LIKE 'by_the_old_one'")).await?;
        ensure!(
            !made || seen.len() == 1,
            "the deposed master says that it made a table that the new one does not have"
        );
        wait_while_not("all aggregators name the same master", Duration::from_secs(10), async || {
            let mut named = Vec::new();
            for name in cluster.aggregators() {
                named.push(cluster.conn(&name).await?.master().await?);
            }
            named.dedup();
            Ok(named.len() == 1 && named[0].is_some())
        })
        .await?;
        at_new.run(&format!("DROP TABLE IF EXISTS {DATABASE}.by_the_old_one")).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        read_back(cluster, writers, &master).await?;
        Ok(())
    });
}

#[test]
fn writes_are_done_once_while_leaves_are_killed_one_after_another() {
    CLUSTER.run(async |cluster| {
        let mut plans = every_load(&["a2", "a3"]);
        plans.push(Plan::new(Load::Counters, 4, &["a1", "a2", "a3"]));
        let writers = Writers::start(cluster, &plans).await?;
        for leaf in ["l1", "l2", "l3", "l4", "l1", "l2"] {
            writers.all_write(Duration::from_secs(20)).await?;
            cluster.kill9(leaf).await?;
            taken_over(cluster, leaf, Duration::from_secs(10)).await?;
            writers.all_write(Duration::from_secs(20)).await?;
            cluster.restart(leaf).await?;
            cluster.all_in_sync(HEAL_BOUND).await?;
        }
        writers.all_write(Duration::from_secs(20)).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}
