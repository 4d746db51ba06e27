//! Single-row inserts a second, each acknowledged by primary and Sync replica before the next of its client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec};
use futures::future::try_join_all;

use crate::figure::Figure;

const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);

/// How a statement is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Text,
    Prepared,
}

/// Measures 1, 8 and 32 clients, in text and prepared.
pub async fn measure() -> Result<()> {
    let cluster = Cluster::start(&ClusterSpec::new(1, 2)).await?;
    for (durability, options) in
        [("", "PARTITIONS 8"), (", ASYNC DURABILITY", "WITH ASYNC DURABILITY PARTITIONS 8")]
    {
        cluster.create_database(options).await?;
        cluster.all_in_sync(Duration::from_secs(60)).await?;
        let mut client = cluster.conn("a1").await?;
        client
            .run(&format!(
                "CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(40) NOT NULL)"
            ))
            .await?;
        let next = Arc::new(AtomicU64::new(0));
        for clients in [1, 8, 32] {
            for (protocol, name) in [(Protocol::Text, "text"), (Protocol::Prepared, "prepared")] {
                let (rate, p99_ms) = run(&cluster, clients, protocol, &next).await?;
                Figure {
                    what: format!("inserts/s, {clients} clients, {name}{durability}"),
                    goal: String::new(),
                    measured: format!("{rate:.0} /s"),
                    met: None,
                    note: format!("99 % within {p99_ms:.1} ms"),
                }
                .print()?;
            }
        }
        client.run(&format!("DROP DATABASE {DATABASE}")).await?;
    }
    Ok(())
}

/// Inserts a second, and the 99th percentile of one insert in milliseconds.
async fn run(
    cluster: &Cluster,
    clients: usize,
    protocol: Protocol,
    next: &Arc<AtomicU64>,
) -> Result<(f64, f64)> {
    let connections = try_join_all((0..clients).map(|_| cluster.conn("a1"))).await?;
    let measuring = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|client| {
            let (next, measuring, stop) = (Arc::clone(next), Arc::clone(&measuring), Arc::clone(&stop));
            tokio::spawn(work(client, protocol, next, measuring, stop))
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    measuring.store(true, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(MEASURED).await;
    measuring.store(false, Ordering::Relaxed);
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
    Ok((latencies.len() as f64 / took.as_secs_f64(), p99.as_secs_f64() * 1e3))
}

async fn work(
    mut client: Client,
    protocol: Protocol,
    next: Arc<AtomicU64>,
    measuring: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let prepared = format!("INSERT INTO {DATABASE}.t (id, n, name) VALUES (?, ?, ?)");
    while !stop.load(Ordering::Relaxed) {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        match protocol {
            Protocol::Text => {
                let sql = format!(
                    "INSERT INTO {DATABASE}.t (id, n, name) VALUES ({id}, {}, 'somebody')",
                    id % 1000
                );
                client.run(&sql).await?;
            }
            Protocol::Prepared => {
                client.execute(&prepared, (id, id % 1000, "somebody")).await?;
            }
        }
        if measuring.load(Ordering::Relaxed) {
            latencies.push(began.elapsed());
        }
    }
    client.close().await;
    Ok(latencies)
}
