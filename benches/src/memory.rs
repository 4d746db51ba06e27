//! Resident memory of nodes that have nothing to do.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use baton_tests::{Cluster, ClusterSpec};

use crate::figure::Figure;

const GOAL_MB: f64 = 150.0;

/// After the start, a node is left alone for so long.
const IDLE: Duration = Duration::from_secs(10);

/// Measures the largest of the aggregators and the largest of the leaves.
pub async fn measure() -> Result<()> {
    let cluster = Cluster::start(&ClusterSpec::new(3, 4)).await?;
    cluster.create_database("PARTITIONS 8").await?;
    cluster.all_in_sync(Duration::from_secs(60)).await?;
    tokio::time::sleep(IDLE).await;
    for (role, names) in [("aggregator", cluster.aggregators()), ("leaf", cluster.leaves())] {
        let mut sizes = Vec::new();
        for name in &names {
            sizes.push(resident_mb(cluster.node(name)?.pid.context("it does not run")?)?);
        }
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        let mut note = format!("largest of {}", names.len());
        if largest >= GOAL_MB {
            note.push_str(&format!("; {:.2} times the goal", largest / GOAL_MB));
        }
        Figure {
            what: format!("resident memory of an idle {role}"),
            goal: format!("< {GOAL_MB:.0} MB"),
            measured: format!("{largest:.0} MB"),
            met: Some(largest < GOAL_MB),
            note,
        }
        .print()?;
    }
    Ok(())
}

fn resident_mb(pid: i32) -> Result<f64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read the memory of a node")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(kilobytes * 1024.0 / 1e6)
}
