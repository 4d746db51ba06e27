//! How long writes pause while a partition's primary is handed over on purpose, in a cluster that is idle but for the
//! one client that writes.

use std::time::Duration;

use anyhow::{Context, Result};
use baton_tests::client::SqlFault;
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{Cluster, ClusterSpec, Load, Moment, Writers};

use crate::figure::Figure;
use crate::spread::{median, range};

const BOUND: Duration = Duration::from_secs(60);
const SWITCHOVERS: usize = 20;
const GOAL: Duration = Duration::from_millis(100);
/// A statement that is valid and not supported, and one that cannot be parsed.
const NO_SUCH_STATEMENT: [u16; 2] = [1235, 1064];

/// Hands a partition over again and again.
pub async fn measure() -> Result<()> {
    let cluster = Cluster::start(&ClusterSpec::new(1, 2)).await?;
    cluster.create_database("PARTITIONS 1").await?;
    cluster.all_in_sync(BOUND).await?;
    let plan = Plan { rest: Duration::ZERO, ..Plan::new(Load::Rows, 1, &["a1"]) };
    let writers = Writers::start(&cluster, &[plan]).await?;
    writers.all_write(BOUND).await?;
    let mut client = cluster.conn("a1").await?;
    let mut pauses = Vec::new();
    while pauses.len() < SWITCHOVERS {
        let instances = client.instances(DATABASE).await?;
        let to = instances.iter().find(|instance| instance.is_sync()).context("no replica is in sync")?;
        let name = cluster.name_of_id(to.node).context("an unknown leaf")?;
        let node = cluster.node(&name)?;
        let began = Moment::now();
        let promote = format!("PROMOTE PARTITION {DATABASE}:0 ON '{}':{}", node.host, node.port);
        match client.run(&promote).await {
            Err(SqlFault::Answered { number, .. }) if NO_SUCH_STATEMENT.contains(&number) => {
                eprintln!("there is no planned switchover to measure");
                return Ok(());
            }
            done => done?,
        };
        writers.all_write(BOUND).await?;
        let gap = writers.journal().gap(began, Moment::now()).context("nobody wrote")?;
        pauses.push(gap.length().as_secs_f64() * 1e3);
        cluster.all_in_sync(BOUND).await?;
    }
    let middle = median(&pauses);
    let mut note = range(&pauses, 0, "ms");
    if middle > GOAL.as_secs_f64() * 1e3 {
        note.push_str(&format!("; {:.2} times the goal", middle / 1e3 / GOAL.as_secs_f64()));
    }
    Figure {
        what: format!("write pause of a planned switchover, median of {SWITCHOVERS}"),
        goal: format!("≤ {} ms", GOAL.as_millis()),
        measured: format!("{middle:.0} ms"),
        met: Some(middle <= GOAL.as_secs_f64() * 1e3),
        note,
    }
    .print()
}
