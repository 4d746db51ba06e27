//! How fast a database goes into a backup and comes back, and what writers feel of a replica that catches up.
//!
//! Bytes are those of the rows' texts. A backup is written to the disk of this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec};

use crate::figure::Figure;
use crate::load::RUNS;
use crate::spread::{median, percentile_ms, range};

const BOUND: Duration = Duration::from_secs(300);
/// A row's text, and rows of one statement.
const TEXT_BYTES: usize = 1000;
const ROWS: usize = 1000;
/// Statements that fill the table before it is backed up: 200 MB.
const STATEMENTS: usize = 200;
/// Statements that are written while the replica is away: 1 GB.
const AWAY: usize = 1000;
/// Writers beside it, and how long they are looked at before.
const WRITERS: usize = 4;
const BEFORE: Duration = Duration::from_secs(5);

/// Measures both.
pub async fn measure() -> Result<()> {
    backups().await?;
    writes_beside_a_catch_up().await
}

async fn table(cluster: &Cluster, statements: usize) -> Result<Client> {
    let mut client = cluster.conn("a1").await?;
    client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, text VARCHAR(1000))")).await?;
    write(&mut client, 0, statements).await?;
    Ok(client)
}

async fn write(client: &mut Client, from: usize, statements: usize) -> Result<()> {
    // Text that is not all the same: the disk compresses.
    let text =
        |id: usize| format!("{:0>16x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(TEXT_BYTES / 16 + 1);
    for statement in from..from + statements {
        let ids = statement * ROWS..(statement + 1) * ROWS;
        let rows: Vec<String> = ids.map(|id| format!("({id}, '{}')", &text(id)[..TEXT_BYTES])).collect();
        client.run(&format!("INSERT INTO {DATABASE}.t VALUES {}", rows.join(", "))).await?;
    }
    Ok(())
}

/// Runs a statement; how many seconds it took.
async fn timed(client: &mut Client, sql: &str) -> Result<f64> {
    let began = Instant::now();
    client.run_within(BOUND, sql).await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn backups() -> Result<()> {
    let cluster = Cluster::start(&ClusterSpec::new(1, 2).policy("swift")).await?;
    cluster.create_database("PARTITIONS 4").await?;
    let mut client = table(&cluster, STATEMENTS).await?;
    cluster.all_in_sync(BOUND).await?;
    let megabytes = (STATEMENTS * ROWS * TEXT_BYTES) as f64 / 1e6;
    let place = cluster.folder().join("backups");
    let place = place.to_str().context("a path in UTF-8")?.to_owned();
    let (mut out, mut back, mut anew) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let backup = format!("BACKUP DATABASE {DATABASE} AS run_{run} TO '{place}'");
        out.push(megabytes / timed(&mut client, &backup).await?);
        let restore = format!("RESTORE DATABASE run_{run} FROM '{place}'");
        back.push(megabytes / timed(&mut client, &restore).await?);
        client.run(&format!("DROP DATABASE run_{run}")).await?;
        anew.push(megabytes / timed(&mut client, &format!("{restore} PARTITIONS 3")).await?);
        client.run(&format!("DROP DATABASE run_{run}")).await?;
    }
    for (what, rates) in [
        ("backup of 4 partitions to a folder", out),
        ("restore of 4 partitions from a folder", back),
        ("restore of 4 partitions into 3", anew),
    ] {
        Figure {
            what: what.to_owned(),
            goal: String::new(),
            measured: format!("{:.0} MB/s", median(&rates)),
            met: None,
            note: format!("two leaves on this machine, each row on both; {}", range(&rates, 0, "MB/s")),
        }
        .print()?;
    }
    Ok(())
}

/// Writers of single rows, until they are told to stop; how long each write took.
async fn beside(cluster: &Cluster, until: impl AsyncFnOnce() -> Result<()>) -> Result<Vec<Duration>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (mut client, stop) = (cluster.conn("a1").await?, Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.run(&format!("REPLACE INTO {DATABASE}.t VALUES (-{}, 'beside')", writer + 1)).await?;
                took.push(began.elapsed());
            }
            anyhow::Ok(took)
        }));
    }
    until().await?;
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await??);
    }
    all.sort_unstable();
    Ok(all)
}

async fn writes_beside_a_catch_up() -> Result<()> {
    let cluster = Cluster::start(&ClusterSpec::new(1, 2)).await?;
    cluster.create_database("PARTITIONS 1").await?;
    let mut client = table(&cluster, 1).await?;
    cluster.all_in_sync(BOUND).await?;
    let instances = client.instances(DATABASE).await?;
    let replica = instances.iter().find(|instance| !instance.is_primary()).context("there is no replica")?;
    let replica = cluster.name_of_id(replica.node).context("an unknown node")?;
    cluster.kill9(&replica).await?;
    client.run("SET GLOBAL log_bytes_kept = 4294967296").await?;
    write(&mut client, 1, AWAY).await?;
    let quiet = beside(&cluster, async || {
        tokio::time::sleep(BEFORE).await;
        Ok(())
    })
    .await?;
    let mut took = Duration::ZERO;
    let busy = beside(&cluster, async || {
        let began = Instant::now();
        cluster.restart(&replica).await?;
        cluster.all_in_sync(BOUND).await?;
        took = began.elapsed();
        Ok(())
    })
    .await?;
    Figure {
        what: "99 % of single-row writes while a replica catches up 1 GB".to_owned(),
        goal: String::new(),
        measured: format!("{:.1} ms", percentile_ms(&busy, 99)),
        met: None,
        note: format!(
            "half within {:.1} ms, the longest {:.0} ms; before it 99 % within {:.1} ms and half within {:.1} ms; in sync after {:.0} s; {WRITERS} writers",
            percentile_ms(&busy, 50),
            busy.last().map_or(0.0, |longest| longest.as_secs_f64() * 1e3),
            percentile_ms(&quiet, 99),
            percentile_ms(&quiet, 50),
            took.as_secs_f64(),
        ),
    }
    .print()
}
