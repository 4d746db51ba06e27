//! Tells a leaf the catalog: what it misses, then every entry as it is applied.

use std::time::Duration;

use baton_catalog::CatalogRow;
use baton_consensus::{CatalogFeed, Feed};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::context::STREAM_CAPACITY;
use crate::wire::{CatalogNews, encode};

/// A watcher is told at least this often that its source lives.
const ALIVE: Duration = Duration::from_millis(500);
/// Bytes of a snapshot's rows that travel together, about: a row of a reference table may be big.
const CHUNK_BYTES: usize = 1 << 20;

/// The stream for one watcher; it ends when the watcher goes away.
#[must_use]
pub fn serve(mut feed: CatalogFeed) -> mpsc::Receiver<Bytes> {
    let (news, stream) = mpsc::channel(STREAM_CAPACITY);
    tokio::spawn(async move {
        loop {
            let next = match timeout(ALIVE, feed.next()).await {
                Err(_) => CatalogNews::Alive,
                Ok(None) => return,
                Ok(Some(Feed::Entry { index, entry })) => {
                    CatalogNews::Entry(index, Box::new(baton_catalog::Entry::clone(&entry)))
                }
                Ok(Some(Feed::Snapshot(catalog))) => {
                    let rows: Vec<CatalogRow> = catalog.rows().collect();
                    let begin = CatalogNews::Snapshot { index: catalog.index(), rows: rows.len() as u64 };
                    if news.send(encode(&begin).into()).await.is_err() {
                        return;
                    }
                    for chunk in chunks(rows) {
                        if news.send(encode(&CatalogNews::Rows(chunk)).into()).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
            };
            if news.send(encode(&next).into()).await.is_err() {
                return;
            }
        }
    });
    stream
}

/// The rows in parts of about [`CHUNK_BYTES`], at least one row each.
fn chunks(rows: Vec<CatalogRow>) -> impl Iterator<Item = Vec<CatalogRow>> {
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut chunk = vec![rows.next()?];
        let mut bytes = encode(&chunk[0]).len();
        while let Some(row) = rows.next_if(|row| {
            bytes += encode(row).len();
            bytes <= CHUNK_BYTES
        }) {
            chunk.push(row);
        }
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use baton_catalog::{Catalog, Command, Entry};
    use baton_model::{AggregatorRole, CatalogIndex, ClusterId, Incarnation, NodeRole, StoreId};

    use super::*;

    #[test]
    fn a_snapshot_is_cut_by_bytes_and_nothing_of_it_is_left_out() {
        let mut catalog = Catalog::default();
        let node = baton_catalog::NewNode {
            host: "a".into(),
            sql_port: 1,
            rpc_port: 2,
            http_port: 3,
            role: NodeRole::Aggregator,
            aggregator_role: Some(AggregatorRole::VotingMember),
            availability_group: None,
            incarnation: Incarnation(1),
            store: StoreId(1),
        };
        let (policies, bindings) = (Vec::new(), Vec::new());
        let command = Command::FoundCluster { cluster: ClusterId(1), node, policies, bindings };
        catalog.apply(CatalogIndex(1), &Entry { statement: None, at_ms: 1, command });
        for n in 2..200_u64 {
            let command = Command::RecordEvent {
                severity: baton_catalog::Severity::Notice,
                event_type: "TEST".into(),
                node: None,
                details: "x".repeat(if n % 50 == 0 { CHUNK_BYTES * 2 } else { 10_000 }),
            };
            catalog.apply(CatalogIndex(n), &Entry { statement: None, at_ms: n, command });
        }
        let rows: Vec<CatalogRow> = catalog.rows().collect();
        let sent: Vec<Vec<CatalogRow>> = chunks(rows.clone()).collect();
        assert!(sent.len() > 3, "{} parts", sent.len());
        for chunk in &sent {
            let bytes: usize = chunk.iter().map(|row| encode(row).len()).sum();
            assert!(bytes <= CHUNK_BYTES || chunk.len() == 1, "{bytes} bytes in {} rows", chunk.len());
        }
        let all: Vec<CatalogRow> = sent.into_iter().flatten().collect();
        assert!(all.iter().map(encode).eq(rows.iter().map(encode)));
    }
}
