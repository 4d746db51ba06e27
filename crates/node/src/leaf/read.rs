//! Reads at the primary: rows by key, and scans that evaluate filter and projection here.
//!
//! A read sees what is committed and applied, through one view of the partition, or nothing: whether this instance
//! still serves, and may show it (`lease.rs`), is asked once the view is open, since what it applies as a replica is
//! another primary's present, and what it has as a primary that was replaced is the past.
//!
//! A transaction that is prepared may be committed, and acknowledged, before its rows are applied here. So whoever reads
//! one of them waits for its end first, and opens the view then: what was acknowledged before a read began is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::MESSAGE_BYTES_MAX;
use baton_model::{Key, TableId};
use baton_replication::transaction::Overlay;
use baton_sql::{Access, LeafScan, ScanRequest};
use baton_storage::{ReadView, StoreError};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::chunk::Chunk;
use super::overlay::overlaid;
use super::tenure::Tenure;
use super::{Leaf, heavy, lease};
use crate::context::STREAM_CAPACITY;
use crate::wire::{DataRefusal, GetRequest, ScanNews, Within, encode};

/// Of a message's bytes, those around the rows of a [`GetRequest`], and around each row.
const ANSWER_BYTES: usize = 64;
const ROW_FRAME_BYTES: usize = 8;
/// A reader that gets no rows is told at least this often that there may be some yet.
const ALIVE_EVERY: Duration = Duration::from_millis(500);
/// How long a read waits for the end of a transaction that may be committed already, before whoever asked asks again.
pub const IN_DOUBT_MAX: Duration = Duration::from_secs(3);

impl Leaf {
    /// The encoded rows of some keys, in their order.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub async fn get(&self, request: &GetRequest) -> Result<Vec<Option<Vec<u8>>>, DataRefusal> {
        let instance = self.instance(request.partition)?;
        let tenure = instance.tenure().ok_or(DataRefusal::NotPrimary)?;
        let overlay = tenure.overlay_of(request.within.as_ref(), request.table)?;
        let deadline = lease::patience();
        loop {
            tenure.until_it_may_show(deadline).await?;
            tenure.settled(request.table, |key| request.keys.contains(key), IN_DOUBT_MAX).await?;
            let rows = heavy::run(request.keys.len(), || get(&tenure, &overlay, request));
            match tenure.may_show() {
                Err(DataRefusal::NoLease) if Instant::now() < deadline.into_std() => {}
                answer => return answer.and(rows),
            }
        }
    }

    /// Streams the rows of a scan. The stream ends early if its reader goes away.
    ///
    /// # Errors
    /// [`DataRefusal::NotPrimary`].
    pub async fn scan(
        &self,
        request: ScanRequest,
        within: Option<Within>,
    ) -> Result<mpsc::Receiver<Bytes>, DataRefusal> {
        let instance = self.instance(request.partition)?;
        let tenure = instance.tenure().ok_or(DataRefusal::NotPrimary)?;
        let table = request.schema.id;
        let reading = Reading { overlay: tenure.overlay_of(within.as_ref(), table)?, tenure, within };
        let is_meant = |key: &Key| match &request.access {
            Access::Keys(keys) => keys.contains(key),
            Access::Prefix(prefix) => key.starts_with(prefix),
            Access::All => true,
        };
        // Whether it may is asked again once the view is open.
        reading.tenure.until_it_may_show(lease::patience()).await?;
        reading.tenure.settled(table, is_meant, IN_DOUBT_MAX).await?;
        let (news, rows) = mpsc::channel(STREAM_CAPACITY);
        tokio::task::spawn_blocking(move || {
            let last = match scan(&reading, &request, &news) {
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

fn too_big(what: &str) -> DataRefusal {
    let text =
        format!("{what} at most {MESSAGE_BYTES_MAX} bytes of one partition; ask for fewer rows at once");
    DataRefusal::Failed(SqlError::new(ErrorCode::TooBig, text))
}

/// Who reads, and what its transaction has written to the table.
struct Reading {
    tenure: Arc<Tenure>,
    within: Option<Within>,
    overlay: Overlay,
}

impl Reading {
    /// Whether it sees the row with this key at all.
    fn sees(&self, table: TableId, key: &Key) -> bool {
        self.within.is_none_or(|within| {
            let row = (table, key.clone());
            !within.locked_only
                || self.tenure.participant(|participant| participant.has_locked(within.transaction, &row))
        })
    }
}

/// All keys are read at one moment: a statement that changes several rows is seen as a whole or not at all.
fn get(
    tenure: &Tenure,
    overlay: &Overlay,
    request: &GetRequest,
) -> Result<Vec<Option<Vec<u8>>>, DataRefusal> {
    let (store, partition, table) = (tenure.store(), request.partition, request.table);
    if request.keys.len() == 1 {
        return get_each(overlay, request, |key| store.get(partition, table, key));
    }
    let read = |view: &ReadView<'_>| get_each(overlay, request, |key| view.get(table, key));
    store.view(partition, read).map_err(disk)?
}

fn get_each(
    overlay: &Overlay,
    request: &GetRequest,
    read: impl Fn(&Key) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Vec<Option<Vec<u8>>>, DataRefusal> {
    let mut bytes = ANSWER_BYTES;
    let mut rows = Vec::with_capacity(request.keys.len());
    for key in &request.keys {
        let row = match overlay.get(key) {
            Some(row) => row.as_ref().map(|row| row.to_vec()),
            None => read(key).map_err(disk)?,
        };
        bytes += row.as_ref().map_or(0, Vec::len) + ROW_FRAME_BYTES;
        if bytes > MESSAGE_BYTES_MAX {
            return Err(too_big("Rows by key are"));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn scan(reading: &Reading, request: &ScanRequest, news: &mpsc::Sender<Bytes>) -> Result<(), DataRefusal> {
    let sending = Sending {
        scan: LeafScan::compile(request).map_err(DataRefusal::Failed)?,
        chunk: Chunk::default(),
        news,
        said: Instant::now(),
        alive_every: ALIVE_EVERY,
    };
    let read = |view: &ReadView<'_>| {
        reading.tenure.may_show()?;
        sending.send(reading, view, request)
    };
    reading.tenure.store().view(request.partition, read).map_err(disk)?
}

/// A scan on its way to its reader.
struct Sending<'a> {
    scan: LeafScan,
    chunk: Chunk,
    news: &'a mpsc::Sender<Bytes>,
    /// When the reader was told something.
    said: Instant,
    alive_every: Duration,
}

impl Sending<'_> {
    fn send(
        mut self,
        reading: &Reading,
        view: &ReadView<'_>,
        request: &ScanRequest,
    ) -> Result<(), DataRefusal> {
        let table = request.schema.id;
        let prefix = match &request.access {
            Access::Keys(keys) => {
                for key in keys {
                    let row = match reading.overlay.get(key) {
                        Some(row) => row.as_ref().map(|row| row.to_vec()),
                        None => view.get(table, key).map_err(disk)?,
                    };
                    if let Some(row) = row
                        && reading.sees(table, key)
                        && !self.take(&row)?
                    {
                        return Ok(());
                    }
                }
                return self.feed().map(drop);
            }
            Access::Prefix(prefix) => prefix.as_slice(),
            Access::All => &[],
        };
        for stored in overlaid(view, table, prefix, &reading.overlay) {
            let (key, row) = stored.map_err(disk)?;
            if reading.sees(table, &key) && !self.take(&row)? {
                return Ok(());
            }
        }
        self.feed().map(drop)
    }

    /// Takes a row as it is stored. Answers whether more are wanted.
    fn take(&mut self, row: &[u8]) -> Result<bool, DataRefusal> {
        self.chunk.push(row).map_err(disk)?;
        if self.chunk.is_full() { self.feed() } else { Ok(true) }
    }

    /// Evaluates what was gathered, and tells the reader. Answers whether more is wanted.
    fn feed(&mut self) -> Result<bool, DataRefusal> {
        let batch = self.scan.feed(self.chunk.rows()).map_err(DataRefusal::Failed)?;
        self.chunk.clear();
        if let Some(batch) = batch {
            let message = encode(&ScanNews::Batch(batch));
            if message.len() > MESSAGE_BYTES_MAX {
                return Err(too_big("Rows that are evaluated together are"));
            }
            if self.news.blocking_send(message.into()).is_err() {
                return Ok(false);
            }
            self.said = Instant::now();
        } else if self.news.is_closed() {
            return Ok(false);
        } else if self.said.elapsed() >= self.alive_every {
            // If there is no room for it, the reader has other news to read.
            let _ = self.news.try_send(encode(&ScanNews::Alive).into());
            self.said = Instant::now();
        }
        Ok(!self.scan.is_done())
    }
}

#[cfg(test)]
mod tests {
    use baton_model::{DatabaseId, PartitionId, TableId, TableKind, TableSchema};

    use super::*;
    use crate::wire::decode;

    fn request() -> ScanRequest {
        let schema = TableSchema {
            id: TableId(1),
            database: DatabaseId(1),
            name: "t".into(),
            kind: TableKind::Sharded,
            columns: vec![],
            primary_key: vec![],
            shard_key: vec![],
        };
        ScanRequest {
            partition: PartitionId { database: DatabaseId(1), ordinal: 0 },
            schema,
            projection: vec![],
            filter: None,
            limit: None,
            access: Access::All,
        }
    }

    #[test]
    fn a_reader_without_rows_hears_that_the_scan_goes_on_and_one_that_is_gone_ends_it() {
        let (news, mut reader) = mpsc::channel(2);
        let mut sending = Sending {
            scan: LeafScan::compile(&request()).unwrap(),
            chunk: Chunk::default(),
            news: &news,
            said: Instant::now(),
            alive_every: Duration::ZERO,
        };
        // Nothing was gathered: it is as if the filter had refused all of it.
        for _ in 0..5 {
            assert_eq!(sending.feed(), Ok(true));
        }
        assert!(matches!(decode(&reader.try_recv().unwrap()), Ok(ScanNews::Alive)));
        drop(reader);
        assert_eq!(sending.feed(), Ok(false));
    }
}
