//! Clients that do one thing again and again, and how long each time took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use baton_tests::{Client, Cluster};
use futures::future::try_join_all;

use crate::figure::Figure;
use crate::spread::{median, percentile_ms, range};

const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);
/// Of so many runs the medians are told.
pub const RUNS: usize = 3;

/// What one run has shown.
struct Run {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Runs so many clients, each doing what `step` does with its connection and its number, and prints the figure.
pub async fn figure<S, F>(cluster: &Cluster, what: String, clients: usize, step: S) -> Result<()>
where
    S: Fn(Client, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Client>> + Send,
{
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(run(cluster, clients, step.clone()).await?);
    }
    let of = |part: fn(&Run) -> f64| runs.iter().map(part).collect::<Vec<_>>();
    let rates = of(|run| run.rate);
    let (p50, p99) = (median(&of(|run| run.p50_ms)), median(&of(|run| run.p99_ms)));
    Figure {
        what,
        goal: String::new(),
        measured: format!("{:.0} /s", median(&rates)),
        met: None,
        note: format!("half within {p50:.2} ms, 99 % within {p99:.1} ms; {}", range(&rates, 0, "/s")),
    }
    .print()
}

async fn run<S, F>(cluster: &Cluster, clients: usize, step: S) -> Result<Run>
where
    S: Fn(Client, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Client>> + Send,
{
    let connections = try_join_all((0..clients).map(|_| cluster.conn("a1"))).await?;
    let (measuring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(number, mut client)| {
            let (measuring, stop, step) = (Arc::clone(&measuring), Arc::clone(&stop), step.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    client = step(client, number).await?;
                    if measuring.load(Ordering::Relaxed) {
                        latencies.push(began.elapsed());
                    }
                }
                client.close().await;
                anyhow::Ok(latencies)
            })
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
    Ok(Run {
        rate: latencies.len() as f64 / took.as_secs_f64(),
        p50_ms: percentile_ms(&latencies, 50),
        p99_ms: percentile_ms(&latencies, 99),
    })
}
