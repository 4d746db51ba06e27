//! What an operator copies, drops, takes out, forgets and forces by hand, and what is refused to him.

use anyhow::{Context, Result, ensure};
use baton_tests::client::refused_with;
use baton_tests::wait::wait_while_not;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec};

use crate::stage::{
    HEAL_BOUND, REFUSED, alone, event_about, events_since, instances, lose_all_but_an_old_copy, primary_of,
    quoted, state_of, taken_over,
};

/// The leaves that hold an instance of a partition.
async fn holders(cluster: &Cluster, ordinal: u64) -> Result<Vec<String>> {
    let held = instances(cluster).await?;
    let of = held.iter().filter(|one| one.ordinal == ordinal);
    of.map(|one| cluster.name_of_id(one.node).context("its leaf has no name")).collect()
}

async fn count(client: &mut Client) -> Result<String> {
    client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await
}

#[test]
fn copies_are_made_and_dropped_by_hand_and_redundancy_is_restored() {
    alone(ClusterSpec::new(1, 4).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 2").await?;
        let mut client = cluster.conn("a1").await?;
        client.run("CREATE DATABASE second PARTITIONS 2").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY)")).await?;
        client.run(&format!("INSERT INTO {DATABASE}.t VALUES (1), (2), (3)")).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let before = holders(cluster, 0).await?;
        let other =
            cluster.leaves().into_iter().find(|leaf| !before.contains(leaf)).context("all have it")?;
        let to = quoted(cluster, &other)?;
        client.run_within(HEAL_BOUND, &format!("COPY PARTITION {DATABASE}:0 TO {to}")).await?;
        ensure!(holders(cluster, 0).await?.contains(&other), "the copy is not there");
        cluster.all_in_sync(HEAL_BOUND).await?;
        client.run_within(HEAL_BOUND, &format!("DROP PARTITION {DATABASE}:0 ON {to}")).await?;
        ensure!(!holders(cluster, 0).await?.contains(&other), "the copy is there");
        for wrong in [
            format!("COPY PARTITION {DATABASE}:0 TO '127.0.0.1':1"),
            format!("COPY PARTITION {DATABASE}:9 TO {to}"),
            format!("COPY PARTITION {DATABASE}:0 TO {}", quoted(cluster, &before[0])?),
            format!("DROP PARTITION {DATABASE}:0 ON {to}"),
            format!("DROP PARTITION {DATABASE}:0 ON {}", quoted(cluster, &primary_of(cluster, 0).await?)?),
            format!("REMOVE LEAVES ({to}, '127.0.0.1':1)"),
        ] {
            println!("    {wrong}: {}", refused_with(REFUSED, client.run(&wrong).await)?);
        }
        ensure!(client.leaf_states().await?.len() == 4, "a leaf was removed");

        // What is balanced stays as it is, in one database and in all.
        client.run_within(HEAL_BOUND, "REBALANCE ALL DATABASES").await?;
        for nothing in [
            format!("STOP REBALANCE ON {DATABASE}"),
            format!("RESTORE REDUNDANCY ON {DATABASE}"),
            "REBALANCE ALL DATABASES ENSURE_ONLINE_NODES".to_owned(),
        ] {
            let done = client.run_within(HEAL_BOUND, &nothing).await?;
            ensure!(done.affected_rows == 0, "{nothing}: {}", done.affected_rows);
        }

        // A leaf and its disk are gone for good: its copies are made elsewhere, and EXPLAIN says so before.
        let gone = before.first().context("nobody holds it")?.clone();
        let killed = cluster.kill9(&gone).await?.at;
        event_about(cluster, "NODE_OFFLINE", &gone, killed, HEAL_BOUND).await?;
        taken_over(cluster, &gone, HEAL_BOUND).await?;
        let online = "REBALANCE ALL DATABASES ENSURE_ONLINE_NODES";
        ensure!(refused_with(REFUSED, client.run(online).await)?.contains("offline"));
        for explained in ["REBALANCE PARTITIONS ON second", "RESTORE REDUNDANCY ON second"] {
            let plan = client.rows(&format!("EXPLAIN {explained}")).await?;
            ensure!(!plan.is_empty(), "{explained} would do nothing");
        }
        client.run_within(HEAL_BOUND, "REBALANCE ALL DATABASES").await?;
        client.run_within(HEAL_BOUND, &format!("REMOVE LEAF {} FORCE", quoted(cluster, &gone)?)).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let left = holders(cluster, 0).await?;
        ensure!(left.len() == 2 && !left.contains(&gone), "{left:?}");
        ensure!(count(&mut client).await? == "3");
        Ok(())
    });
}

/// A leaf that gives no answer may have the best copy, as long as it counts as online.
#[test]
fn nothing_is_forced_past_a_leaf_that_does_not_answer() {
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY)")).await?;
        client.run(&format!("INSERT INTO {DATABASE}.t VALUES (1)")).await?;
        let (_, replica, killed) = lose_all_but_an_old_copy(cluster, &mut client).await?;

        // What is left of the partition is on a leaf that is stopped, and counts as online for half a minute.
        let on = quoted(cluster, &replica)?;
        cluster.stop(&replica)?;
        let force = format!("REBALANCE PARTITIONS ON {DATABASE} FORCE");
        let attach = format!("ATTACH PARTITION {DATABASE}:0 ON {on} FORCE");
        for refused in [&force, &attach] {
            let why = refused_with(REFUSED, client.run(refused).await)?;
            ensure!(why.contains("does not say what it has"), "{refused}: {why}");
        }
        cluster.cont(&replica)?;
        let why = refused_with(REFUSED, client.rows(&format!("EXPLAIN {force}")).await)?;
        ensure!(why.contains(&format!("{DATABASE}_0")), "{why}");
        let forced = wait_while_not("it answers again, and is forced", HEAL_BOUND, async || {
            Ok(client.run(&force).await.is_ok())
        });
        forced.await?;
        ensure!(count(&mut client).await? == "1", "not the copy that was there");
        let events = events_since(cluster, killed).await?;
        ensure!(events.iter().filter(|event| event.kind == "PARTITION_FORCED").count() == 1, "{events:?}");
        Ok(())
    });
}

/// A leaf that hangs, and that nobody misses yet under classic, is attached by no memory of how it was.
#[test]
fn a_leaf_is_attached_only_as_what_answers_now() {
    alone(ClusterSpec::new(1, 2).policy("classic"), async |cluster| {
        cluster.create_database("PARTITIONS 2").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        let leaf = quoted(cluster, "l1")?;
        client.run_within(HEAL_BOUND, &format!("DETACH LEAF {leaf}")).await?;
        let attach = format!("ATTACH LEAF {leaf} FORCE");
        cluster.stop("l1")?;
        let why = refused_with(REFUSED, client.run_within(HEAL_BOUND, &attach).await)?;
        ensure!(why.contains("does not answer"), "{why}");
        ensure!(state_of(&mut client, cluster, "l1").await? == "detached", "it is attached");
        cluster.cont("l1")?;
        let back = wait_while_not("it is attached", HEAL_BOUND, async || {
            Ok(client.run_within(HEAL_BOUND, &attach).await.is_ok())
        });
        back.await?;
        cluster.all_in_sync(HEAL_BOUND).await
    });
}

#[test]
fn leaves_are_taken_out_and_back_as_far_as_they_can_be() {
    alone(ClusterSpec::new(1, 4).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let mut client = cluster.conn("a1").await?;
        client.run("SET GLOBAL leaf_failover_fanout = load_balanced").await?;
        // l1 and l3 are of the first group, l2 and l4 of the other.
        let all: Vec<String> =
            cluster.leaves().iter().map(|leaf| quoted(cluster, leaf)).collect::<Result<_>>()?;
        let across = format!("DETACH LEAVES ({}, {})", all[0], all[1]);
        println!("    {}", refused_with(REFUSED, client.run(&across).await)?);
        let group = format!("DETACH LEAVES ({}, {}) KILL ENSURE_PARTITION_SAFETY", all[0], all[2]);
        client.run_within(HEAL_BOUND, &group).await?;
        for leaf in ["l1", "l3"] {
            ensure!(state_of(&mut client, cluster, leaf).await? == "detached", "{leaf} is not detached");
        }
        let last = format!("DETACH LEAF {} ENSURE_PARTITION_SAFETY", all[1]);
        ensure!(refused_with(REFUSED, client.run(&last).await)?.contains("ENSURE_PARTITION_SAFETY"));

        let attached = client.run_within(HEAL_BOUND, "ATTACH LEAF ALL").await?;
        ensure!(attached.affected_rows == 2, "{} leaves were attached", attached.affected_rows);
        cluster.all_in_sync(HEAL_BOUND).await?;

        // One of two is away: the other one is attached all the same, and its name is told.
        client.run_within(HEAL_BOUND, &format!("DETACH LEAF {}", all[2])).await?;
        let killed = cluster.kill9("l1").await?.at;
        event_about(cluster, "NODE_OFFLINE", "l1", killed, HEAL_BOUND).await?;
        client.run_within(HEAL_BOUND, &format!("DETACH LEAF {}", all[0])).await?;
        let why = refused_with(REFUSED, client.run("ATTACH LEAF ALL").await)?;
        let address = cluster.node("l1")?.address();
        ensure!(why.contains(&address) && why.contains("1 leaves were attached"), "{why}");
        ensure!(state_of(&mut client, cluster, "l3").await? == "online", "l3 is not attached");
        cluster.restart("l1").await?;
        let back = wait_while_not("it is attached", HEAL_BOUND, async || {
            Ok(client.run(&format!("ATTACH LEAF {} FORCE NO REBALANCE", all[0])).await.is_ok())
        });
        back.await?;
        cluster.all_in_sync(HEAL_BOUND).await?;

        // And one goes for good.
        client
            .run_within(HEAL_BOUND, &format!("REMOVE LEAF {} KILL ENSURE_PARTITION_SAFETY", all[2]))
            .await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        ensure!(instances(cluster).await?.iter().all(|one| one.usable), "something is not usable");
        // Nobody fills it again, and it is not known any more.
        let again = format!("REMOVE LEAF {}", all[2]);
        println!("    {}", refused_with(REFUSED, client.run(&again).await)?);
        ensure!(client.leaf_states().await?.len() == 3, "it is still shown");
        Ok(())
    });
}
