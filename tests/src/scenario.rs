//! A test on a cluster: starts it, runs the test within a bound, and when it fails tells what the cluster says of it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::cluster_file::ClusterSpec;
use crate::moment::Moment;
use crate::wait::wait_while_not;
use crate::writers::DATABASE;

/// The longest that any one test on a cluster may take.
const SCENARIO_BOUND: Duration = Duration::from_secs(300);

/// How many of the last events are shown of a failed test.
const EVENTS_SHOWN: usize = 40;

/// Runs a test on a cluster of its own; the cluster is gone afterwards.
///
/// # Panics
/// When the cluster cannot be started, the test fails, or its bound is reached.
pub fn on_cluster(spec: ClusterSpec, test: impl AsyncFnOnce(&Cluster) -> Result<()>) {
    run(async {
        let cluster = Cluster::start(&spec).await?;
        cluster.judged(async || test(&cluster).await).await
    });
}

/// Runs a test that needs no cluster, or makes its own.
///
/// # Panics
/// When it fails.
pub fn run(test: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.context("cannot start a runtime").and_then(|runtime| runtime.block_on(test));
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

impl Cluster {
    /// Runs a test within the bound of all tests; its error gets what the cluster says of itself.
    ///
    /// # Errors
    /// The test's, or that the bound was reached.
    pub async fn judged(&self, test: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        match tokio::time::timeout(SCENARIO_BOUND, test()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.explained(error).await),
            Err(_) => {
                let error = anyhow::Error::msg(format!("it did not end within {SCENARIO_BOUND:?}"));
                Err(self.explained(error).await)
            }
        }
    }

    /// Waits until every partition of [`DATABASE`] is served and has a replica that is in sync.
    ///
    /// # Errors
    /// When the bound is reached.
    pub async fn all_in_sync(&self, bound: Duration) -> Result<()> {
        wait_while_not("every partition is served and has a replica in sync", bound, async || {
            let instances = self.any_aggregator().await?.instances(DATABASE).await?;
            let partitions =
                instances.iter().map(|instance| instance.ordinal).max().map_or(0, |last| last + 1);
            Ok((0..partitions).all(|ordinal| {
                let mut of_this = instances.iter().filter(|instance| instance.ordinal == ordinal);
                of_this.clone().any(|instance| instance.serves())
                    && of_this.any(|instance| instance.is_sync())
            }) && partitions > 0)
        })
        .await
    }

    async fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        let events = async { self.any_aggregator().await?.events_since(Moment::default()).await };
        match tokio::time::timeout(Duration::from_secs(10), events).await {
            Ok(Ok(events)) => {
                text.push_str("\n  the last events:");
                for event in events.iter().skip(events.len().saturating_sub(EVENTS_SHOWN)) {
                    text.push_str(&format!("\n  {} {:<20} {}", event.at, event.kind, event.details));
                }
            }
            Ok(Err(fault)) => text.push_str(&format!("\n  the events cannot be read: {fault:#}")),
            Err(_) => text.push_str("\n  the events cannot be read: no answer"),
        }
        self.with_logs(anyhow::Error::msg(text))
    }
}
