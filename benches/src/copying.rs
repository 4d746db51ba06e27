//! How fast a leaf gets what it lacks: everything, after its disk was lost, and the log, after it was away.
//!
//! Bytes are those of the rows' texts. The time runs from the start of the leaf's process until all of its replicas are in
//! sync: a leaf begins to copy before the catalog counts on it again, so no later moment is the beginning.

use std::time::Duration;

use anyhow::Result;
use baton_tests::wait::wait_while_not;
use baton_tests::writers::DATABASE;
use baton_tests::{Cluster, ClusterSpec, Moment};

use crate::figure::Figure;
use crate::load::RUNS;
use crate::spread::{median, range};

const BOUND: Duration = Duration::from_secs(180);
/// A row's text, and rows of one statement.
const TEXT_BYTES: usize = 1000;
const ROWS: usize = 1000;
/// Statements that fill the table, and that are written while the leaf is away.
const STATEMENTS: usize = 120;
const LEAF: &str = "l2";

/// Measures both.
pub async fn measure() -> Result<()> {
    let cluster = Cluster::start(
        &ClusterSpec::new(1, 2).policy("swift").variable("failover_initial_grace_interval_seconds", 0),
    )
    .await?;
    cluster.create_database("PARTITIONS 4").await?;
    cluster.all_in_sync(BOUND).await?;
    let mut client = cluster.conn("a1").await?;
    client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, text VARCHAR(1000))")).await?;
    let mut next = 0;
    write(&cluster, &mut next).await?;
    let megabytes = (STATEMENTS * ROWS * TEXT_BYTES) as f64 / 1e6;

    let (mut provisioned, mut caught_up) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        away(&cluster).await?;
        cluster.wipe(LEAF)?;
        let rows: f64 = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await?.parse()?;
        provisioned.push(rows * TEXT_BYTES as f64 / 1e6 / back(&cluster).await?.as_secs_f64());
        // All of what is written now is the log's to bring.
        away(&cluster).await?;
        write(&cluster, &mut next).await?;
        caught_up.push(megabytes / back(&cluster).await?.as_secs_f64());
    }
    for (what, rates) in [
        ("provisioning of a leaf that lost its disk", provisioned),
        ("catch-up of a leaf that was away", caught_up),
    ] {
        Figure {
            what: what.to_owned(),
            goal: String::new(),
            measured: format!("{:.0} MB/s", median(&rates)),
            met: None,
            note: format!("from the start of its process until in sync; {}", range(&rates, 0, "MB/s")),
        }
        .print()?;
    }
    Ok(())
}

async fn write(cluster: &Cluster, next: &mut usize) -> Result<()> {
    let mut client = cluster.conn("a1").await?;
    // Text that is not all the same: the disk compresses.
    let text =
        |id: usize| format!("{:0>16x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(TEXT_BYTES / 16 + 1);
    for _ in 0..STATEMENTS {
        let rows: Vec<String> =
            (*next..*next + ROWS).map(|id| format!("({id}, '{}')", &text(id)[..TEXT_BYTES])).collect();
        client.run(&format!("INSERT INTO {DATABASE}.t VALUES {}", rows.join(", "))).await?;
        *next += ROWS;
    }
    client.close().await;
    Ok(())
}

/// Kills the leaf, and waits until the catalog does not count on it any more and others lead what it led.
async fn away(cluster: &Cluster) -> Result<()> {
    let killed = Moment::now();
    cluster.kill9(LEAF).await?;
    told(cluster, killed, "NODE_OFFLINE").await?;
    let id = cluster.id(LEAF)?;
    wait_while_not("the leaf leads nothing", BOUND, async || {
        let instances = cluster.conn("a1").await?.instances(DATABASE).await?;
        Ok(instances.iter().all(|instance| instance.node != id || !instance.is_primary()))
    })
    .await
}

/// Starts the leaf; how long it took until all its replicas were in sync.
async fn back(cluster: &Cluster) -> Result<Duration> {
    let started = Moment::now();
    cluster.restart(LEAF).await?;
    told(cluster, started, "NODE_ONLINE").await?;
    cluster.all_in_sync(BOUND).await?;
    Ok(Moment::now().since(started))
}

/// Waits until the cluster has told this of the leaf.
async fn told(cluster: &Cluster, since: Moment, kind: &str) -> Result<()> {
    let address = cluster.node(LEAF)?.address();
    let what = format!("{kind} of {LEAF}");
    wait_while_not(&what, BOUND, async || {
        let events = cluster.conn("a1").await?.events_since(since).await?;
        Ok(events.iter().any(|event| event.kind == kind && event.details.contains(&address)))
    })
    .await
}
