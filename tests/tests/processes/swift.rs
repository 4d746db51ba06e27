//! `swift`: failures are seen at once where the evidence is hard, and with a witness where it is not.

use std::time::Duration;

use anyhow::{Context, ensure};
use baton_tests::client::SqlFault;
use baton_tests::wait::wait_until;
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{ClusterSpec, Load, Moment, Writers};

use crate::stage::{
    HEAL_BOUND, Shared, alone, another_master, ensure_below, event_about, events_since, every_load,
    leaf_with_primaries, master_and_others, one_master, promote_a_sleeper, read_back, sharded_loads,
    taken_over,
};

pub static CLUSTER: Shared = Shared {
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

#[test]
fn a_killed_master_is_replaced_within_two_seconds() {
    CLUSTER.run(async |cluster| {
        let (master, children) = master_and_others(cluster).await?;
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
        let (master, children) = master_and_others(cluster).await?;
        let via: Vec<&str> = children.iter().map(String::as_str).collect();
        let writers = Writers::start(cluster, &every_load(&via)).await?;
        writers.all_write(HEAL_BOUND).await?;
        let mut at_old = cluster.conn(&master).await?;
        let stopped = cluster.stop(&master)?;
        let elected = another_master(cluster, &master, via[0], Duration::from_secs(15)).await?;
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
        one_master(cluster, Duration::from_secs(10)).await?;
        at_new.run(&format!("DROP TABLE IF EXISTS {DATABASE}.by_the_old_one")).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        read_back(cluster, writers, &master).await?;
        Ok(())
    });
}

#[test]
fn the_office_is_not_handed_to_an_aggregator_that_sleeps() {
    CLUSTER.run(promote_a_sleeper);
}

#[test]
fn of_five_voters_two_are_lost_with_the_master_and_a_follower_never_leads() {
    alone(ClusterSpec::new(5, 2).followers(1).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let follower = "a6";
        let (master, others) = master_and_others(cluster).await?;
        let voters: Vec<&str> = others.iter().map(String::as_str).filter(|name| *name != follower).collect();
        let (lost, left) = voters.split_first().context("there are no other voters")?;
        let mut at_follower = cluster.conn(follower).await?;
        let rows = at_follower.rows("SHOW AGGREGATORS EXTENDED").await?;
        let mut roles: Vec<String> = rows.iter().filter_map(|row| row.text("Role")).collect();
        roles.sort();
        ensure!(
            roles
                == ["Follower", "Leader", "Voting Member", "Voting Member", "Voting Member", "Voting Member"],
            "{roles:?}"
        );
        let via: Vec<&str> = left.iter().copied().chain([follower]).collect();
        let writers = Writers::start(cluster, &every_load(&via)).await?;
        writers.all_write(HEAL_BOUND).await?;

        let (killed, _) = tokio::try_join!(cluster.kill9(&master), cluster.kill9(lost))?;
        at_follower.run(&format!("CREATE TABLE {DATABASE}.by_three (id BIGINT PRIMARY KEY)")).await?;
        ensure_below("DDL through the follower", Moment::now().since(killed.at), Duration::from_secs(3))?;
        let promoted = wait_until("the new master says so", Duration::from_secs(5), async || {
            let events = events_since(cluster, killed.at).await?;
            Ok(events.into_iter().find(|event| event.kind == "NOTIFY_AGGREGATOR_PROMOTED"))
        })
        .await?;
        ensure_below("another master", promoted.at.since(killed.at), Duration::from_secs(2))?;
        let elected = another_master(cluster, &master, follower, Duration::from_secs(5)).await?;
        ensure!(left.contains(&elected.as_str()), "{elected} leads, and has no vote");
        writers.all_write(Duration::from_secs(10)).await?;

        cluster.restart_all().await?;
        one_master(cluster, HEAL_BOUND).await?;
        writers.all_write(Duration::from_secs(10)).await?;
        read_back(cluster, writers, follower).await?;
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
