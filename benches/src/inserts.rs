//! Single-row inserts a second, each acknowledged by everybody who must have it before the next of its client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec};

use crate::load;

const SETTLE_BOUND: Duration = Duration::from_secs(60);
const CLIENTS: [usize; 3] = [1, 8, 32];

/// Measures 1, 8 and 32 clients, in text and prepared, with each promise that a database can make.
pub async fn measure() -> Result<()> {
    let pair = Cluster::start(&ClusterSpec::new(1, 2)).await?;
    with(&pair, "", "PARTITIONS 8").await?;
    with(&pair, ", ASYNC DURABILITY", "WITH ASYNC DURABILITY PARTITIONS 8").await?;
    drop(pair);
    let alone = Cluster::start(&ClusterSpec::new(1, 2).without_replicas()).await?;
    with(&alone, ", no replica", "PARTITIONS 8").await
}

async fn with(cluster: &Cluster, promise: &str, options: &str) -> Result<()> {
    cluster.create_database(options).await?;
    if !promise.contains("no replica") {
        cluster.all_in_sync(SETTLE_BOUND).await?;
    }
    let mut client = cluster.conn("a1").await?;
    client
        .run(&format!(
            "CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(40) NOT NULL)"
        ))
        .await?;
    let next = Arc::new(AtomicU64::new(0));
    for clients in CLIENTS {
        let what = |protocol: &str| format!("inserts/s, {clients} clients, {protocol}{promise}");
        let ids = Arc::clone(&next);
        let in_text = move |mut client: Client, _| {
            let id = ids.fetch_add(1, Ordering::Relaxed);
            async move {
                let values = format!("({id}, {}, 'somebody')", id % 1000);
                client.run(&format!("INSERT INTO {DATABASE}.t (id, n, name) VALUES {values}")).await?;
                Ok(client)
            }
        };
        load::figure(cluster, what("text"), clients, in_text).await?;
        let ids = Arc::clone(&next);
        let prepared = move |mut client: Client, _| {
            let id = ids.fetch_add(1, Ordering::Relaxed);
            async move {
                let statement = "INSERT INTO stage.t (id, n, name) VALUES (?, ?, ?)";
                client.execute(statement, (id, id % 1000, "somebody")).await?;
                Ok(client)
            }
        };
        load::figure(cluster, what("prepared"), clients, prepared).await?;
    }
    client.run(&format!("DROP DATABASE {DATABASE}")).await?;
    Ok(())
}
