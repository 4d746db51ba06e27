//! How long it takes from the verdict on a leaf until every partition that it led is served by another, under `swift`.
//!
//! The verdict is the moment that the recorded decision says. Served are partitions once the instances on the other
//! leaf say so themselves, in its `/metrics`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::cluster_file::ClusterSpec;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::{Cluster, Moment};

use crate::figure::Figure;
use crate::gauge::{gauge, processor_use};
use crate::spread::{median, range};

/// Partitions of one database, at most.
const PARTITIONS_MAX: usize = 1024;
/// Thousands of replicas come to be in sync within this.
const SETTLE_BOUND: Duration = Duration::from_secs(300);
const PROMOTED_BOUND: Duration = Duration::from_secs(60);
const GOAL: Duration = Duration::from_millis(500);
/// The number of primaries that the goal is for.
const GOAL_PRIMARIES: usize = 2048;
/// A leaf with nothing to do is watched for so long, once instances have come to rest.
const IDLE: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(4);
const LEAVES: [&str; 2] = ["l1", "l2"];

/// Measures leaves with so many primaries, each so often.
pub async fn measure(primaries: &[usize], kills: usize) -> Result<()> {
    for count in primaries {
        one(*count, kills).await?;
    }
    Ok(())
}

async fn one(primaries: usize, kills: usize) -> Result<()> {
    let cluster = Cluster::start(
        &ClusterSpec::new(3, 2).policy("swift").variable("failover_initial_grace_interval_seconds", 0),
    )
    .await?;
    let mut client = cluster.any_aggregator().await?;
    let mut databases = Vec::new();
    let mut left = primaries;
    while left > 0 {
        let partitions = left.min(PARTITIONS_MAX);
        let name = format!("many{}", databases.len());
        client.run_within(SETTLE_BOUND, &format!("CREATE DATABASE {name} PARTITIONS {partitions}")).await?;
        databases.push(name);
        left -= partitions;
    }
    let began = Moment::now();
    settle(&cluster, &databases, primaries).await?;
    // A primary serves once its replica has its first record: before that, a replica that dies comes back empty, and
    // gets a copy of nothing.
    wait_while_not("every primary serves", SETTLE_BOUND, async || {
        let mut serving = 0;
        for leaf in LEAVES {
            serving += gauge(&cluster.node(leaf)?, "baton_primaries_serving").await?;
        }
        Ok(serving == primaries as u64)
    })
    .await?;
    let settled = Moment::now().since(began);
    eprintln!("  {primaries} partitions are in sync after {:.1} s", settled.as_secs_f64());

    // Half of the partitions are led by each leaf: after this, all by the other one.
    kill(&cluster, 0, primaries, &databases).await?;
    let mut leading = 1;
    let idle = idle(&cluster, primaries, leading).await?;
    let (mut took, mut planned) = (Vec::new(), Vec::new());
    while took.len() < kills {
        let failover =
            kill(&cluster, leading, primaries, &databases).await?.context("it was not promoted")?;
        took.push(failover.promoted_ms / 1e3);
        planned.push(failover.committed_ms);
        leading = 1 - leading;
    }
    let (middle, has_goal) = (median(&took), primaries == GOAL_PRIMARIES);
    let mut note = format!("{}; the plan is proposed after {:.0} ms", range(&took, 3, "s"), median(&planned));
    if has_goal && middle > GOAL.as_secs_f64() {
        note.push_str(&format!("; {:.2} times the goal", middle / GOAL.as_secs_f64()));
    }
    Figure {
        what: format!("from verdict to all promoted, leaf with {primaries} primaries"),
        goal: if has_goal { format!("≤ {:.1} s", GOAL.as_secs_f64()) } else { String::new() },
        measured: format!("{middle:.3} s"),
        met: has_goal.then_some(middle <= GOAL.as_secs_f64()),
        note,
    }
    .print()?;
    idle.print()
}

/// How a failover went, in milliseconds after the verdict.
struct Failover {
    committed_ms: f64,
    promoted_ms: f64,
}

/// Kills a leaf and starts it again, and waits until all is in sync; None if it led only some of the partitions.
async fn kill(
    cluster: &Cluster,
    leaf: usize,
    primaries: usize,
    databases: &[String],
) -> Result<Option<Failover>> {
    let (name, other) = (LEAVES[leaf], cluster.node(LEAVES[1 - leaf])?);
    let led = gauge(&cluster.node(name)?, "baton_primaries_serving").await?;
    let at = cluster.kill9(name).await?.at;
    wait_while_not("the other leaf serves everything", PROMOTED_BOUND, async || {
        Ok(gauge(&other, "baton_primaries_serving").await? == primaries as u64)
    })
    .await?;
    let promoted = Moment::now();
    let address = cluster.node(name)?.address();
    let verdict = wait_until("the verdict is recorded", PROMOTED_BOUND, async || {
        let decisions = cluster.any_aggregator().await?.decisions_since(at).await?;
        let about = |subject: &str| subject.split([' ', ',']).any(|word| word == address);
        Ok(decisions.into_iter().find(|one| one.point == "detection" && about(&one.subject)))
    })
    .await?;
    let offline = wait_until("the failure is an event", PROMOTED_BOUND, async || {
        let events = cluster.any_aggregator().await?.events_since(at).await?;
        Ok(events.into_iter().find(|event| event.kind == "PARTITION_PROMOTED"))
    })
    .await?;
    cluster.restart(name).await?;
    settle(cluster, databases, primaries).await?;
    let whole = led == primaries as u64;
    Ok(whole.then(|| Failover {
        committed_ms: offline.at.ms_after(verdict.at),
        promoted_ms: promoted.ms_after(verdict.at),
    }))
}

/// Waits until every partition is served, and has a replica in sync.
async fn settle(cluster: &Cluster, databases: &[String], primaries: usize) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    wait_while_not("every partition has a replica in sync", SETTLE_BOUND, async || {
        let mut in_sync = 0;
        for database in databases {
            let instances = client.instances(database).await?;
            ensure!(instances.iter().all(|instance| instance.usable), "a leaf is offline");
            in_sync += instances.iter().filter(|instance| instance.is_sync()).count();
        }
        // Thousands of rows each time: not as fast as one can look.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(in_sync == primaries)
    })
    .await
}

/// What a leaf with so many primaries costs while nobody asks anything of it.
async fn idle(cluster: &Cluster, primaries: usize, leaf: usize) -> Result<Figure> {
    tokio::time::sleep(REST).await;
    cluster.refresh().await?;
    let node = cluster.node(LEAVES[leaf])?;
    Ok(Figure {
        what: format!("processor use of an idle leaf with {primaries} primaries"),
        goal: String::new(),
        measured: format!("{:.1} %", processor_use(&node, IDLE).await?),
        met: None,
        note: "of one processor".into(),
    })
}
