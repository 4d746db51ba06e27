//! A partition on its way into an archive, and out of one, carried by its primary.
//!
//! * What goes out is one view of the partition, at one LSN, of the tables that were asked for. Files are small enough to
//!   be made in memory, and each is written as a whole.
//! * What comes in is written as clients write: through the log, to every in-sync replica. So it is as safe as any row
//!   when it is said to be back. A file is checked before the first of its rows is written.
//!
//! Not here: what makes files a backup, and whether anybody sees what is restored.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use baton_archive::{Archive, ArchiveError, ArchivedPartition, RowsFile, read_rows};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{BACKUP_FILE_BYTES, BACKUPS_AT_ONCE, RESTORE_RECORD_BYTES};
use baton_model::{Lsn, PartitionId, StatementId, TableId, TableSchema, decode_row};
use baton_replication::{Mutation, Write, WriteError};
use baton_sql::ordinal;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::interval;
use tracing::info;

use super::partition::Input;
use super::read::IN_DOUBT_MAX;
use super::tenure::Tenure;
use super::{Leaf, lease};
use crate::wire::{ArchiveNews, BEGUN, BackupRequest, DataRefusal, RestoreRequest, encode};

/// The master aggregator hears of work that goes on at least this often.
const ALIVE: Duration = Duration::from_secs(1);
/// Records of one restored partition that wait for their commit, at most.
const RECORDS_AHEAD: usize = 4;

/// Partitions that this leaf writes or reads at once.
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BACKUPS_AT_ONCE)))
    }
}

impl Leaf {
    /// Writes a partition to an archive. Ends early if nobody listens any more.
    pub fn backup(self: &Arc<Self>, request: BackupRequest) -> mpsc::Receiver<Bytes> {
        let leaf = Arc::clone(self);
        self.tell_of(async move {
            let partition = request.partition;
            let archived = leaf.archive(request).await?;
            let (files, at) = (archived.files.len(), archived.at);
            info!(%partition, %at, files, "a partition is in an archive");
            Ok(ArchiveNews::Archived(archived))
        })
    }

    /// Takes in what an archive has of a partition. Ends early if nobody listens any more.
    pub fn restore(self: &Arc<Self>, request: RestoreRequest) -> mpsc::Receiver<Bytes> {
        let leaf = Arc::clone(self);
        self.tell_of(async move {
            let partition = request.partition;
            let rows = leaf.take_in(request).await?;
            info!(%partition, rows, "a partition is back from an archive");
            Ok(ArchiveNews::Restored(rows))
        })
    }

    /// Does work when it is its turn, and says that it goes on, and what came of it.
    fn tell_of(
        &self,
        work: impl Future<Output = Result<ArchiveNews, DataRefusal>> + Send + 'static,
    ) -> mpsc::Receiver<Bytes> {
        let (sender, news) = mpsc::channel(1);
        let turns = Arc::clone(&self.turns.0);
        tokio::spawn(async move {
            let work = async {
                let _turn = turns.acquire().await;
                work.await
            };
            tokio::pin!(work);
            let gone = sender.clone();
            let mut alive = interval(ALIVE);
            let last = loop {
                tokio::select! {
                    done = &mut work => break done.unwrap_or_else(ArchiveNews::Refused),
                    () = gone.closed() => return,
                    _ = alive.tick() => {
                        if sender.send(encode(&ArchiveNews::Alive).into()).await.is_err() {
                            return;
                        }
                    }
                }
            };
            let _ = sender.send(encode(&last).into()).await;
        });
        news
    }

    /// Cuts the log of an instance, and brings everything that this leaf has to disk as tables, so that a start has
    /// nothing to replay. Answers with how far the rows are that are surely there.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub async fn snapshot(&self, partition: PartitionId) -> Result<Lsn, DataRefusal> {
        let instance = self.instance(partition)?;
        let applied = instance.ask(|reply| Input::Snapshot { reply }).await.ok_or(DataRefusal::NotPrimary)?;
        let store = Arc::clone(&self.store);
        let flushed = tokio::task::spawn_blocking(move || store.flush()).await;
        flushed.map_err(defect)?.map_err(defect)?;
        Ok(applied)
    }

    async fn archive(&self, request: BackupRequest) -> Result<ArchivedPartition, DataRefusal> {
        let BackupRequest { partition, tables, place, folder, run } = request;
        let instance = self.instance(partition)?;
        let tenure = instance.tenure().ok_or(DataRefusal::NotPrimary)?;
        let opened = tokio::task::block_in_place(|| Archive::open(&place, &folder, false));
        let archive = opened.map_err(failed)?;
        if archive.size(&format!("{run}/{BEGUN}")).await.map_err(failed)?.is_none() {
            let text =
                format!("{place} is not the same folder on {} and at the master aggregator", self.name());
            return Err(DataRefusal::Failed(SqlError::new(ErrorCode::OperationRefused, text)));
        }
        tenure.until_it_may_show(lease::patience()).await?;
        for table in &tables {
            // What is committed elsewhere already is not to be missed here.
            tenure.settled(*table, |_| true, IN_DOUBT_MAX).await?;
        }
        let (sender, mut files) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || read_out(&tenure, &tables, &sender));
        // Each attempt has names of its own.
        let attempt: u32 = rand::random();
        let mut archived = Vec::new();
        while let Some(file) = files.recv().await {
            let name = format!("{run}/p{:04}-{attempt:08x}-{:06}.rows", partition.ordinal, archived.len());
            let (bytes, rows) = RowsFile::finish(file);
            archived.push(archive.put(&name, bytes, rows).await.map_err(failed)?);
        }
        let at = reading.await.map_err(defect)??;
        Ok(ArchivedPartition { ordinal: partition.ordinal, at, files: archived })
    }

    fn name(&self) -> String {
        self.context.catalog().address_of(self.context.node())
    }

    async fn take_in(&self, request: RestoreRequest) -> Result<u64, DataRefusal> {
        let RestoreRequest { partition, place, folder, files, tables, cut_into } = request;
        let instance = self.instance(partition)?;
        let epoch = instance.tenure().ok_or(DataRefusal::NotPrimary)?.epoch();
        let opened = tokio::task::block_in_place(|| Archive::open(&place, &folder, false));
        let archive = opened.map_err(failed)?;
        let sieve =
            Sieve { tables: tables.into_iter().collect(), own: cut_into.map(|n| (partition.ordinal, n)) };
        let mut rows = 0;
        for file in files {
            let bytes = archive.read(&file).await.map_err(failed)?;
            let writes = tokio::task::block_in_place(|| sieve.writes(&bytes, file.rows))
                .map_err(|what| failed(ArchiveError::Damaged { name: file.name.clone(), what }))?;
            rows += writes.iter().map(|write| write.affected_rows).sum::<u64>();
            let mut written = futures::stream::iter(writes)
                .map(|write| instance.ask(move |reply| Input::Write { epoch, write, reply }))
                .buffer_unordered(RECORDS_AHEAD);
            while let Some(outcome) = written.next().await {
                match outcome {
                    Some(Ok(_)) => {}
                    Some(Err(WriteError::TooManyInFlight)) => return Err(DataRefusal::Busy),
                    // Whatever became of it: all of it comes again, at the next primary.
                    Some(Err(WriteError::NotPrimary | WriteError::HandingOver | WriteError::Deposed))
                    | None => {
                        return Err(DataRefusal::NotPrimary);
                    }
                }
            }
        }
        Ok(rows)
    }
}

/// Reads the rows of these tables, as of one LSN, into files, as fast as they are taken.
fn read_out(tenure: &Tenure, tables: &[TableId], files: &mpsc::Sender<RowsFile>) -> Result<Lsn, DataRefusal> {
    let read = |view: &baton_storage::ReadView<'_>| {
        // What is seen from here on was seen of its primary.
        tenure.may_show()?;
        let mut file = RowsFile::default();
        for table in tables {
            for stored in view.scan(*table, Bound::Unbounded, Bound::Unbounded) {
                let (key, row) = stored.map_err(defect)?;
                file.push(*table, &key, &row);
                if file.bytes() >= BACKUP_FILE_BYTES
                    && files.blocking_send(std::mem::take(&mut file)).is_err()
                {
                    return Err(DataRefusal::NotPrimary); // Nobody listens any more.
                }
            }
        }
        if !file.is_empty() {
            let _ = files.blocking_send(file);
        }
        Ok(view.applied())
    };
    tenure.store().view(tenure.partition(), read).map_err(defect)?
}

/// Finds in a file what belongs into one partition.
struct Sieve {
    tables: BTreeMap<TableId, TableSchema>,
    /// Which of how many it is, if not all rows are its own.
    own: Option<(u32, u32)>,
}

impl Sieve {
    /// The rows of a file as writes.
    fn writes(&self, bytes: &[u8], expected: u64) -> Result<Vec<Write>, String> {
        let rows = read_rows(bytes)?;
        if rows.len() as u64 != expected {
            return Err(format!("it has {} rows instead of {expected}", rows.len()));
        }
        let mut writes = Vec::new();
        let mut mutations = Vec::new();
        let mut size = 0;
        for (table, key, row) in rows {
            let schema =
                self.tables.get(&table).ok_or_else(|| format!("it has rows of an unknown table {table}"))?;
            let key = key.to_vec();
            if let Some((own, count)) = self.own {
                let decoded = decode_row(row).map_err(|error| error.to_string())?;
                if ordinal(schema, &decoded, &key, count) != own {
                    continue;
                }
            }
            let mutation = Mutation { table: schema.id, key, row: Some(row.to_vec().into()) };
            size += mutation.bytes();
            mutations.push(mutation);
            if size >= RESTORE_RECORD_BYTES {
                writes.push(write(std::mem::take(&mut mutations)));
                size = 0;
            }
        }
        if !mutations.is_empty() {
            writes.push(write(mutations));
        }
        Ok(writes)
    }
}

fn write(mutations: Vec<Mutation>) -> Write {
    let affected_rows = mutations.len() as u64;
    Write { statement: StatementId(rand::random()), affected_rows, mutations }
}

fn failed(error: ArchiveError) -> DataRefusal {
    DataRefusal::Failed(SqlError::new(ErrorCode::ArchiveFailed, error.to_string()))
}

fn defect(error: impl std::fmt::Display) -> DataRefusal {
    DataRefusal::Failed(SqlError::new(ErrorCode::UnknownError, error.to_string()))
}

#[cfg(test)]
mod tests {
    use baton_model::{Column, ColumnType, DatabaseId, Datum, TableKind, encode_key, encode_row};

    use super::*;

    fn schema() -> TableSchema {
        let column = Column {
            name: "id".into(),
            column_type: ColumnType::Text,
            nullable: false,
            default: None,
            auto_increment: false,
        };
        TableSchema {
            id: TableId(70),
            database: DatabaseId(7),
            name: "t".into(),
            kind: TableKind::Sharded,
            columns: vec![column],
            primary_key: vec![0],
            shard_key: vec![0],
        }
    }

    fn file(rows: u32, bytes: usize) -> (Vec<u8>, u64) {
        let mut file = RowsFile::default();
        for n in 0..rows {
            let key = format!("{n:0>10}");
            let row = [Datum::Text(format!("{key:x<bytes$}"))];
            file.push(TableId(1), &encode_key(&[Datum::Text(key)]).unwrap(), &encode_row(&row));
        }
        file.finish()
    }

    fn sieve(own: Option<(u32, u32)>) -> Sieve {
        Sieve { tables: BTreeMap::from([(TableId(1), schema())]), own }
    }

    #[test]
    fn every_row_comes_into_one_partition_under_its_new_table() {
        let (bytes, rows) = file(1000, 4);
        let all = sieve(None).writes(&bytes, rows).unwrap();
        assert_eq!(all.iter().map(|write| write.affected_rows).sum::<u64>(), 1000);
        assert!(all.iter().flat_map(|write| &write.mutations).all(|m| m.table == TableId(70)));
        let of = |ordinal| {
            let writes = sieve(Some((ordinal, 3))).writes(&bytes, rows).unwrap();
            writes.into_iter().flat_map(|write| write.mutations).map(|m| m.key).collect::<Vec<_>>()
        };
        let mut cut: Vec<_> = (0..3).flat_map(of).collect();
        assert!((0..3).all(|ordinal| of(ordinal).len() > 200));
        cut.sort();
        let mut whole: Vec<_> = all.into_iter().flat_map(|write| write.mutations).map(|m| m.key).collect();
        whole.sort();
        assert_eq!(cut, whole);
    }

    #[test]
    fn a_record_of_the_log_is_not_too_big() {
        let (bytes, rows) = file(400, 60_000);
        let writes = sieve(None).writes(&bytes, rows).unwrap();
        assert!(writes.len() > 5);
        let size = |write: &Write| write.mutations.iter().map(Mutation::bytes).sum::<usize>();
        assert!(writes.iter().all(|write| size(write) < RESTORE_RECORD_BYTES + 300_000));
    }

    #[test]
    fn what_is_not_what_the_manifest_says_is_refused() {
        let (bytes, rows) = file(10, 4);
        assert!(sieve(None).writes(&bytes, rows + 1).is_err());
        assert!(sieve(None).writes(&bytes[..bytes.len() - 1], rows).is_err());
        let unknown = Sieve { tables: BTreeMap::new(), own: None };
        assert!(unknown.writes(&bytes, rows).unwrap_err().contains("unknown table"));
    }
}
