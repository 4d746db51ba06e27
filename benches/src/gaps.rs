//! How long clients wait for their next acknowledged write when a node is killed, over many kills under `swift`.

use std::time::Duration;

use anyhow::{Context, Result};
use baton_tests::wait::wait_while_not;
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{Cluster, ClusterSpec, Load, Moment, Readback, Writers};

use crate::figure::Figure;

const HEAL_BOUND: Duration = Duration::from_secs(60);
const LEAF_GOAL: Duration = Duration::from_millis(500);
const MASTER_GOAL: Duration = Duration::from_millis(600);

/// Kills a leaf so often, and then the master aggregator.
pub async fn measure(kills: usize) -> Result<()> {
    let cluster = Cluster::start(
        &ClusterSpec::new(3, 4).policy("swift").variable("failover_initial_grace_interval_seconds", 0),
    )
    .await?;
    cluster.create_database("PARTITIONS 8").await?;
    cluster.all_in_sync(HEAL_BOUND).await?;
    let leaves = kill_leaves(&cluster, kills).await?;
    tell("write gap, leaf killed", &leaves, Some(LEAF_GOAL))?;
    let masters = kill_masters(&cluster, kills).await?;
    let (reference, sharded): (Vec<Duration>, Vec<Duration>) = masters.into_iter().unzip();
    tell("write gap of reference tables, master aggregator killed", &reference, Some(MASTER_GOAL))?;
    tell("write gap of sharded tables, master aggregator killed", &sharded, Some(MASTER_GOAL))
}

async fn kill_leaves(cluster: &Cluster, kills: usize) -> Result<Vec<Duration>> {
    let plans = [Plan::new(Load::Rows, 6, &["a2", "a3"]), Plan::new(Load::Counters, 2, &["a2", "a3"])];
    let writers = Writers::start(cluster, &plans).await?;
    let mut gaps = Vec::new();
    while gaps.len() < kills {
        writers.all_write(HEAL_BOUND).await?;
        let leaf = leading_leaf(cluster).await?;
        let at = cluster.kill9(&leaf).await?.at;
        let id = cluster.id(&leaf)?;
        wait_while_not("its primaries are taken over", HEAL_BOUND, async || {
            let instances = cluster.any_aggregator().await?.instances(DATABASE).await?;
            Ok(instances.iter().all(|instance| !instance.is_primary() || instance.node != id))
        })
        .await?;
        writers.all_write(HEAL_BOUND).await?;
        gaps.push(writers.journal().gap(at, Moment::now()).context("nobody wrote")?.length());
        cluster.restart(&leaf).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
    }
    read_back(cluster, writers).await?;
    Ok(gaps)
}

/// The gaps of the reference table, which is the master aggregator's, and of sharded tables, which are not.
async fn kill_masters(cluster: &Cluster, kills: usize) -> Result<Vec<(Duration, Duration)>> {
    let mut gaps = Vec::new();
    let mut client = cluster.any_aggregator().await?;
    for table in [Load::Rows, Load::Reference] {
        client.run(&format!("DROP TABLE IF EXISTS {}", table.table())).await?;
    }
    let all = cluster.aggregators();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let plans = [Plan::new(Load::Reference, 3, &all), Plan::new(Load::Rows, 6, &all)];
    let writers = Writers::start(cluster, &plans).await?;
    while gaps.len() < kills {
        writers.all_write(HEAL_BOUND).await?;
        let master = cluster.master(HEAL_BOUND).await?;
        let at = cluster.kill9(&master).await?.at;
        writers.all_write(HEAL_BOUND).await?;
        let (journal, now) = (writers.journal(), Moment::now());
        let of = |load: Load| {
            let gap = journal.of(|writer| writers.loads()[writer] == load).gap(at, now);
            gap.map(|gap| gap.length()).context("nobody wrote")
        };
        gaps.push((of(Load::Reference)?, of(Load::Rows)?));
        cluster.restart(&master).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
    }
    read_back(cluster, writers).await?;
    Ok(gaps)
}

/// A gap counts only where nothing was lost for it.
async fn read_back(cluster: &Cluster, writers: Writers) -> Result<()> {
    let loads = writers.loads().to_vec();
    let journal = writers.finish().await?;
    Readback::through(&mut cluster.any_aggregator().await?, &journal, &loads).await?.check()
}

/// The leaf that leads most partitions.
async fn leading_leaf(cluster: &Cluster) -> Result<String> {
    let instances = cluster.any_aggregator().await?.instances(DATABASE).await?;
    let led = |leaf: &String| {
        let id = cluster.node(leaf).ok().and_then(|node| node.node_id);
        instances.iter().filter(|instance| instance.is_primary() && Some(instance.node) == id).count()
    };
    cluster.leaves().into_iter().max_by_key(led).context("there are no leaves")
}

fn tell(what: &str, gaps: &[Duration], goal: Option<Duration>) -> Result<()> {
    let mut gaps = gaps.to_vec();
    gaps.sort_unstable();
    let at = |part: f64| gaps.get(((gaps.len() as f64 * part).ceil() as usize).saturating_sub(1)).copied();
    let median = at(0.5).context("nothing was measured")?;
    let (p99, longest) = (at(0.99).unwrap_or_default(), gaps.last().copied().unwrap_or_default());
    let mut note = format!("99 % within {:.3} s, longest {:.3} s", p99.as_secs_f64(), longest.as_secs_f64());
    if let Some(goal) = goal.filter(|goal| median > *goal) {
        note.push_str(&format!("; {:.2} times the goal", median.as_secs_f64() / goal.as_secs_f64()));
    }
    Figure {
        what: format!("{what}, median of {}", gaps.len()),
        goal: goal.map_or_else(String::new, |goal| format!("≤ {:.1} s", goal.as_secs_f64())),
        measured: format!("{:.3} s", median.as_secs_f64()),
        met: goal.map(|goal| median <= goal),
        note,
    }
    .print()
}
