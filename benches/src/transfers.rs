//! Transactions over two partitions: two rows are changed and committed. Of eight partitions, in seven of eight cases the
//! rows lie in two.
//!
//! Each client has rows of its own: what is measured is the commit, and not who waits for whose lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use baton_tests::client::SqlFault;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec};

use crate::load;

const SETTLE_BOUND: Duration = Duration::from_secs(60);
const CLIENTS: [usize; 3] = [1, 8, 32];
const CLIENTS_MAX: u64 = 32;
/// Rows of all clients together.
const ROWS: u64 = CLIENTS_MAX * 64;
/// A statement that is valid, and not supported.
const NOT_SUPPORTED: u16 = 1235;

/// Measures 1, 8 and 32 clients, with each promise that a database can make.
pub async fn measure() -> Result<()> {
    let pair = Cluster::start(&ClusterSpec::new(1, 2)).await?;
    with(&pair, "", "PARTITIONS 8").await?;
    with(&pair, ", ASYNC DURABILITY", "WITH ASYNC DURABILITY PARTITIONS 8").await?;
    drop(pair);
    let alone = Cluster::start(&ClusterSpec::new(1, 2).without_replicas()).await?;
    with(&alone, ", no replica", "PARTITIONS 8").await
}

async fn with(cluster: &Cluster, promise: &str, options: &str) -> Result<()> {
    let mut client = cluster.conn("a1").await?;
    match client.run("BEGIN").await {
        Err(SqlFault::Answered { number: NOT_SUPPORTED, .. }) => {
            eprintln!("there are no transactions to measure");
            return Ok(());
        }
        began => began?,
    };
    client.run("ROLLBACK").await?;
    cluster.create_database(options).await?;
    if !promise.contains("no replica") {
        cluster.all_in_sync(SETTLE_BOUND).await?;
    }
    client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")).await?;
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 0)")).collect();
    client.run(&format!("INSERT INTO {DATABASE}.t VALUES {}", rows.join(", "))).await?;
    let next = Arc::new(AtomicU64::new(0));
    for clients in CLIENTS {
        let draws = Arc::clone(&next);
        let transfer = move |mut client: Client, number: usize| {
            // Two rows of its own, other ones each time.
            let mine = ROWS / CLIENTS_MAX;
            let (first, draw) = (number as u64 * mine, draws.fetch_add(1, Ordering::Relaxed));
            let (from, to) = (first + draw % mine, first + (draw + 1 + draw / mine % (mine - 1)) % mine);
            async move {
                client.run("BEGIN").await?;
                client.run(&format!("UPDATE {DATABASE}.t SET n = n - 1 WHERE id = {from}")).await?;
                client.run(&format!("UPDATE {DATABASE}.t SET n = n + 1 WHERE id = {to}")).await?;
                client.run("COMMIT").await?;
                Ok(client)
            }
        };
        let what = format!("two-row transactions/s over 8 partitions, {clients} clients{promise}");
        load::figure(cluster, what, clients, transfer).await?;
    }
    client.run(&format!("DROP DATABASE {DATABASE}")).await?;
    Ok(())
}
