//! The documented behaviour: what `classic` sees, and how long it takes to say so.

use std::time::Duration;

use anyhow::ensure;
use baton_tests::client::SqlFault;
use baton_tests::wait::{holds_for, wait_until};
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{ClusterSpec, Load, Moment, Writers};

use crate::stage::{
    HEAL_BOUND, Shared, ensure_below, ensure_ms, event_about, events_since, leaf_with_primaries,
    primaries_of, promote_a_sleeper, read_back, sharded_loads, taken_over,
};

static CLUSTER: Shared = Shared {
    name: "three voters and four leaves under classic",
    spec: || ClusterSpec::new(3, 4),
    database: Some("PARTITIONS 8"),
};

#[test]
fn a_leaf_that_refuses_connections_is_failed_over_after_3_seconds() {
    CLUSTER.run(async |cluster| {
        let writers = Writers::start(cluster, &sharded_loads(&["a2", "a3"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let leaf = leaf_with_primaries(cluster).await?;

        let killed = cluster.kill9(&leaf).await?;
        let offline = event_about(cluster, "NODE_OFFLINE", &leaf, killed.at, Duration::from_secs(10)).await?;
        ensure_ms("detection of a killed leaf", offline.at.ms_after(killed.gone), 3000.0, 300.0)?;
        taken_over(cluster, &leaf, Duration::from_secs(5)).await?;
        writers.all_write(Duration::from_secs(5)).await?;

        cluster.restart(&leaf).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        writers.all_write(Duration::from_secs(5)).await?;
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        Ok(())
    });
}

#[test]
fn a_silent_leaf_is_failed_over_after_30_seconds_and_does_no_harm_when_it_wakes() {
    CLUSTER.run(async |cluster| {
        let writers = Writers::start(cluster, &sharded_loads(&["a2", "a3"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let leaf = leaf_with_primaries(cluster).await?;

        let stopped = cluster.stop(&leaf)?;
        let offline = event_about(cluster, "NODE_OFFLINE", &leaf, stopped, Duration::from_secs(40)).await?;
        ensure_ms("detection of a silent leaf", offline.at.ms_after(stopped), 30_000.0, 500.0)?;
        taken_over(cluster, &leaf, Duration::from_secs(5)).await?;
        writers.all_write(Duration::from_secs(10)).await?;

        let woken = cluster.cont(&leaf)?;
        event_about(cluster, "NODE_ONLINE", &leaf, woken, Duration::from_secs(10)).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        holds_for("the woken leaf is primary of nothing", Duration::from_secs(1), async || {
            Ok(primaries_of(cluster, &leaf).await?.is_empty())
        })
        .await?;
        writers.all_write(Duration::from_secs(5)).await?;
        read_back(cluster, writers, "a1").await?;
        Ok(())
    });
}

#[test]
fn a_killed_master_is_replaced_after_30_seconds_and_what_children_forward_waits_for_it() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(HEAL_BOUND).await?;
        let children: Vec<String> =
            cluster.aggregators().into_iter().filter(|name| *name != master).collect();
        let via: Vec<&str> = children.iter().map(String::as_str).collect();
        let mut plans = sharded_loads(&via);
        plans.push(Plan::new(Load::Reference, 2, &via));
        let writers = Writers::start(cluster, &plans).await?;
        writers.all_write(HEAL_BOUND).await?;

        let killed = cluster.kill9(&master).await?.at;
        // While there is no master, sharded tables are written, and DDL at a child waits.
        let mut child = cluster.conn(&children[0]).await?;
        let ddl = async {
            let done =
                child.run(&format!("CREATE TABLE {DATABASE}.made_meanwhile (id BIGINT PRIMARY KEY)")).await;
            done.map(|_| Moment::now())
        };
        let promoted = wait_until("another master is elected", Duration::from_secs(45), async || {
            let events = events_since(cluster, killed).await?;
            Ok(events.into_iter().find(|event| event.kind == "NOTIFY_AGGREGATOR_PROMOTED"))
        });
        let (ddl, promoted) = tokio::join!(ddl, promoted);
        let (ddl, promoted) = (ddl.map_err(|fault: SqlFault| anyhow::anyhow!("DDL: {fault}"))?, promoted?);
        // The timeout of 30 s, and up to a second to notice it and be elected.
        ensure_ms("a new master under classic", promoted.at.ms_after(killed), 30_500.0, 1_500.0)?;
        ensure_below("DDL after the election", ddl.since(promoted.at), Duration::from_secs(3))?;
        let sharded = writers.journal().of(|writer| writers.loads()[writer] != Load::Reference);
        let gap = sharded.gap(killed, Moment::now()).map(|gap| gap.length()).unwrap_or_default();
        ensure_below("write gap of sharded tables without a master", gap, Duration::from_secs(1))?;
        writers.all_write(Duration::from_secs(10)).await?;

        cluster.restart(&master).await?;
        let journal = read_back(cluster, writers, &master).await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        child.run(&format!("DROP TABLE {DATABASE}.made_meanwhile")).await?;
        Ok(())
    });
}

#[test]
fn the_office_is_not_handed_to_an_aggregator_that_sleeps() {
    // Nobody is judged failed within the 30 s of this policy: the target counts as online all the time.
    CLUSTER.run(promote_a_sleeper);
}
