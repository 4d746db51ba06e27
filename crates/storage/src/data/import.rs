//! Taking over a copy of a partition from another leaf.
//!
//! The copy comes in chunks, each of its own batch. A mark stands from the first batch to the last, so that a copy that
//! a crash cut in half is recognised at the next opening and removed (S4: it is no copy).

use baton_model::{Lsn, PartitionId};
use rocksdb::WriteBatch;

use super::{DataStore, RowChunk, SUBJECT, delete_prefix, keys};
use crate::error::StoreError;

impl DataStore {
    /// Empties a partition and marks it as being imported, in one batch, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn import_begin(&self, partition: PartitionId) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        delete_prefix(&mut batch, &keys::partition(partition));
        batch.put(keys::importing(partition), []);
        self.write(batch)
    }

    /// Writes rows of the copy, unsynced.
    ///
    /// # Errors
    /// If the partition is not being imported, or the disk cannot be written.
    pub fn import_chunk(&self, partition: PartitionId, rows: &RowChunk) -> Result<(), StoreError> {
        self.check_importing(partition)?;
        let mut batch = WriteBatch::default();
        for (table, key, row) in rows {
            batch.put(keys::row(partition, *table, key), row);
        }
        self.write(batch)
    }

    /// Makes the copy a partition: the LSN of the view it was exported from, its small state, and the mark's end, in
    /// one batch, unsynced. Its log is empty; the next record is the one after `applied`.
    ///
    /// # Errors
    /// If the partition is not being imported, or the disk cannot be written.
    pub fn import_finish(
        &self,
        partition: PartitionId,
        applied: Lsn,
        meta: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        self.check_importing(partition)?;
        let mut batch = WriteBatch::default();
        batch.delete(keys::importing(partition));
        for (name, bytes) in meta {
            batch.put(keys::meta(partition, name), bytes);
        }
        batch.put(keys::applied(partition), applied.0.to_be_bytes());
        self.write(batch)
    }

    fn is_importing(&self, partition: PartitionId) -> Result<bool, StoreError> {
        Ok(self.engine.get(keys::importing(partition)).map_err(StoreError::read(SUBJECT))?.is_some())
    }

    fn check_importing(&self, partition: PartitionId) -> Result<(), StoreError> {
        if self.is_importing(partition)? {
            Ok(())
        } else {
            Err(StoreError::unreadable(SUBJECT, format!("{partition} is not being imported")))
        }
    }

    /// Removes what an import that was cut off has left.
    pub(super) fn drop_half_imported(&self) -> Result<(), StoreError> {
        for partition in self.partitions()? {
            if self.is_importing(partition)? {
                tracing::warn!("the import of partition {partition} was cut off; what came of it is removed");
                self.drop_partition(partition)?;
            }
        }
        Ok(())
    }
}
