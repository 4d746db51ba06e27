//! The partitions that a leaf holds: of each its log, its rows and its small state.
//!
//! * Rows and the LSN they were applied up to go in one batch, so no view ever shows the one without the other.
//! * A copy that is half there is known as such and is empty again after a restart, never taken for a whole one (S4).
//! * The store knows which life of the data directory it belongs to, so that an empty one is never taken for the one
//!   that was lost (S4).
//! * Everything is unsynced until [`DataStore::barrier`] says otherwise; what is there after a crash is a prefix of the
//!   writes (see the crate's header).
//!
//! Not here: epochs, commit points, what a record means. The caller keeps them in records and in the small state.

mod keys;
mod log;
mod sst;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_model::{Key, Lsn, PartitionId, StoreId, TableId};
use rocksdb::{DBRawIterator, WriteBatch};

use crate::barrier::SyncBarrier;
use crate::engine::{self, Engine, after_prefix};
use crate::error::StoreError;

pub use log::LogBounds;
pub use sst::Exported;
pub use view::ReadView;

const SUBJECT: &str = "the partitions";

const WRITE_BUFFER_BYTES: usize = 16 << 20;

/// A change of one row: its table, its key, and its new bytes, or None where the row goes.
pub type Mutation = (TableId, Key, Option<Vec<u8>>);

/// A row as it is stored: its table, its key and its bytes.
pub type StoredRow = (TableId, Key, Vec<u8>);

/// All partitions of one leaf. Every method may be called from any thread; those that read rows may take long and
/// belong on a thread that may block.
pub struct DataStore {
    engine: Engine,
    barrier: SyncBarrier,
    /// Is there once a sync has failed.
    unsynced: PathBuf,
}

impl DataStore {
    /// Opens, or creates, the store in the folder `data/` of a leaf's data directory, and empties every partition
    /// into which a copy was not taken in to its end.
    ///
    /// # Errors
    /// If the folder is no store or is in use.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let engine = engine::open(dir, WRITE_BUFFER_BYTES)?;
        let unsynced = dir.with_extension("unsynced");
        let barrier = SyncBarrier::new(Arc::clone(&engine), "data", Some(unsynced.clone()));
        let store = Self { engine, barrier, unsynced };
        store.drop_half_imported()?;
        Ok(store)
    }

    /// Whether a sync has failed, in this run of the process or an earlier one, since [`DataStore::forget_failure`]: what
    /// was not synced then may be gone. Yes, too, if that cannot be told.
    #[must_use]
    pub fn has_failed_to_sync(&self) -> bool {
        self.unsynced.try_exists().unwrap_or(true)
    }

    /// That a sync has failed is noted elsewhere.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget_failure(&self) -> std::io::Result<()> {
        match std::fs::remove_file(&self.unsynced) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The barrier that makes it durable.
    #[must_use]
    pub fn barrier(&self) -> &SyncBarrier {
        &self.barrier
    }

    /// The life of the data directory that the store was made in; None if it was made just now.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn store_id(&self) -> Result<Option<StoreId>, StoreError> {
        let bytes = self.engine.get(keys::STORE_ID).map_err(StoreError::read(SUBJECT))?;
        bytes.as_deref().map(|bytes| keys::lsn(bytes).map(|number| StoreId(number.0))).transpose()
    }

    /// Writes down the life of the data directory, durably.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn set_store_id(&self, id: StoreId) -> Result<(), StoreError> {
        self.engine.put(keys::STORE_ID, id.0.to_be_bytes()).map_err(StoreError::write(SUBJECT))?;
        self.barrier.wait_blocking();
        Ok(())
    }

    /// Every partition of which anything is stored, by id.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn partitions(&self) -> Result<Vec<PartitionId>, StoreError> {
        let mut found = Vec::new();
        let mut iterator: DBRawIterator<'_> = self.engine.raw_iterator();
        iterator.seek_to_first();
        while let Some(key) = iterator.key().filter(|key| *key < keys::STORE_ID) {
            let partition = keys::partition_of(key)?;
            found.push(partition);
            iterator.seek(after_prefix(&keys::partition(partition)));
        }
        iterator.status().map_err(StoreError::read(SUBJECT))?;
        Ok(found)
    }

    /// Every table of which a partition has rows, by id. Reads one row of each.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn tables(&self, partition: PartitionId) -> Result<Vec<TableId>, StoreError> {
        let mut found = Vec::new();
        let all = keys::rows(partition);
        let mut iterator = self.engine.raw_iterator_opt(engine::range(all.clone(), after_prefix(&all)));
        iterator.seek_to_first();
        while let Some(key) = iterator.key() {
            let table = keys::table_of(key)?;
            found.push(table);
            iterator.seek(after_prefix(&keys::table(partition, table)));
        }
        iterator.status().map_err(StoreError::read(SUBJECT))?;
        Ok(found)
    }

    /// Removes everything of a partition, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn drop_partition(&self, partition: PartitionId) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        delete_prefix(&mut batch, &keys::partition(partition));
        self.write(batch)
    }

    /// Removes the rows of one table of a partition, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn drop_table_rows(&self, partition: PartitionId, table: TableId) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        delete_prefix(&mut batch, &keys::table(partition, table));
        self.write(batch)
    }

    /// Writes rows, the LSN that they are applied up to, and any small state that belongs to them, in one batch,
    /// unsynced. If a key comes twice, the later one holds.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn apply(
        &self,
        partition: PartitionId,
        applied: Lsn,
        mutations: impl IntoIterator<Item = Mutation>,
        meta: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for (table, key, row) in mutations {
            let key = keys::row(partition, table, &key);
            match row {
                Some(row) => batch.put(key, row),
                None => batch.delete(key),
            }
        }
        for (name, bytes) in meta {
            batch.put(keys::meta(partition, name), bytes);
        }
        batch.put(keys::applied(partition), applied.0.to_be_bytes());
        self.write(batch)
    }

    /// The LSN that a partition's rows are applied up to; 0 if there is no such partition.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn applied(&self, partition: PartitionId) -> Result<Lsn, StoreError> {
        let bytes = self.engine.get(keys::applied(partition)).map_err(StoreError::read(SUBJECT))?;
        bytes.as_deref().map_or(Ok(Lsn(0)), keys::lsn)
    }

    /// A row, as it is now.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn get(
        &self,
        partition: PartitionId,
        table: TableId,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.get(keys::row(partition, table, key)).map_err(StoreError::read(SUBJECT))
    }

    /// Lets `read` look at a partition as it is now, whatever is written meanwhile.
    ///
    /// # Errors
    /// If the disk cannot be read. What `read` itself answers is handed through.
    pub fn view<T>(
        &self,
        partition: PartitionId,
        read: impl FnOnce(&ReadView<'_>) -> T,
    ) -> Result<T, StoreError> {
        Ok(read(&ReadView::new(&self.engine, partition)?))
    }

    /// Small state that the caller keeps under a name, such as the epoch history.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn meta(&self, partition: PartitionId, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.get(keys::meta(partition, name)).map_err(StoreError::read(SUBJECT))
    }

    /// Keeps small state under a name, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn put_meta(&self, partition: PartitionId, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.engine.put(keys::meta(partition, name), bytes).map_err(StoreError::write(SUBJECT))
    }

    /// Writes everything that is in memory to tables on disk, of all partitions, so that a start has nothing to replay.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.engine.flush().map_err(StoreError::write(SUBJECT))
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.engine.write(batch).map_err(StoreError::write(SUBJECT))
    }
}

impl std::fmt::Debug for DataStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataStore({})", self.engine.path().display())
    }
}

fn delete_prefix(batch: &mut WriteBatch, prefix: &[u8]) {
    batch.delete_range(prefix.to_vec(), after_prefix(prefix));
}

#[cfg(test)]
mod tests;
