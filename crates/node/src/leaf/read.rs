//! Reads at the primary: rows by key, and scans that evaluate filter and projection here.
//!
//! A read sees what is committed and applied, through one view of the partition.

use std::ops::Bound;
use std::sync::Arc;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Row, decode_row};
use baton_sql::{Access, LeafScan, ScanRequest};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::Leaf;
use super::partition::PartitionHandle;
use crate::context::STREAM_CAPACITY;
use crate::wire::{DataRefusal, GetRequest, ScanNews, encode};

/// Rows that are evaluated together.
const CHUNK_ROWS: usize = 1024;

impl Leaf {
    /// The encoded rows of some keys, in their order.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub fn get(&self, request: &GetRequest) -> Result<Vec<Option<Vec<u8>>>, DataRefusal> {
        let instance = self.instance(request.partition)?;
        if !instance.serves() {
            return Err(DataRefusal::NotPrimary);
        }
        let rows = request.keys.iter().map(|key| instance.store.get(request.partition, request.table, key));
        rows.collect::<Result<_, _>>().map_err(disk)
    }

    /// Streams the rows of a scan. The stream ends early if its reader goes away.
    ///
    /// # Errors
    /// [`DataRefusal::NotPrimary`].
    pub fn scan(&self, request: ScanRequest) -> Result<mpsc::Receiver<Bytes>, DataRefusal> {
        let instance = self.instance(request.partition)?;
        if !instance.serves() {
            return Err(DataRefusal::NotPrimary);
        }
        let (news, rows) = mpsc::channel(STREAM_CAPACITY);
        tokio::task::spawn_blocking(move || {
            let last = match scan(&instance, &request, &news) {
                Ok(()) => ScanNews::End,
                Err(refusal) => ScanNews::Refused(refusal),
            };
            let _ = news.blocking_send(encode(&last).into());
        });
        Ok(rows)
    }
}

fn disk(error: impl std::fmt::Display) -> DataRefusal {
    DataRefusal::Failed(SqlError::new(ErrorCode::UnknownError, error.to_string()))
}

fn scan(
    instance: &Arc<PartitionHandle>,
    request: &ScanRequest,
    news: &mpsc::Sender<Bytes>,
) -> Result<(), DataRefusal> {
    let mut scan = LeafScan::compile(request).map_err(DataRefusal::Failed)?;
    let table = request.schema.id;
    let mut feed = |rows: &mut Vec<Row>| -> Result<bool, DataRefusal> {
        let batch = scan.feed(rows).map_err(DataRefusal::Failed)?;
        rows.clear();
        let gone =
            batch.is_some_and(|batch| news.blocking_send(encode(&ScanNews::Batch(batch)).into()).is_err());
        Ok(gone || scan.is_done())
    };
    instance
        .store
        .view(request.partition, |view| {
            let mut rows: Vec<Row> = Vec::with_capacity(CHUNK_ROWS);
            let prefix = match &request.access {
                Access::Keys(keys) => {
                    for key in keys {
                        if let Some(bytes) = view.get(table, key).map_err(disk)? {
                            rows.push(decode_row(&bytes).map_err(disk)?);
                        }
                    }
                    return feed(&mut rows).map(drop);
                }
                Access::Prefix(prefix) => prefix.clone(),
                Access::All => Vec::new(),
            };
            for stored in view.scan(table, Bound::Included(prefix.as_slice()), Bound::Unbounded) {
                let (key, bytes) = stored.map_err(disk)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                rows.push(decode_row(&bytes).map_err(disk)?);
                if rows.len() == CHUNK_ROWS && feed(&mut rows)? {
                    return Ok(());
                }
            }
            feed(&mut rows).map(drop)
        })
        .map_err(disk)?
}
