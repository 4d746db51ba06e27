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
/// Rows of a snapshot that travel together.
const CHUNK_ROWS: usize = 256;

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
                    for chunk in rows.chunks(CHUNK_ROWS) {
                        let rows = CatalogNews::Rows(chunk.to_vec());
                        if news.send(encode(&rows).into()).await.is_err() {
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
