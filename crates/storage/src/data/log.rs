//! The partitions' logs: records by LSN, without gaps.

use baton_model::{Lsn, PartitionId};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::{DataStore, SUBJECT, keys};
use crate::engine::{self, after_prefix};
use crate::error::StoreError;

/// The first and the last record that a log holds, both inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// The oldest record.
    pub first: Lsn,
    /// The newest record.
    pub last: Lsn,
}

impl DataStore {
    /// Appends records, or overwrites those with the same LSNs, in one batch, unsynced. The LSNs follow each other and
    /// the log's last one; that is the caller's to keep.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn append(
        &self,
        partition: PartitionId,
        records: &[(Lsn, impl AsRef<[u8]>)],
    ) -> Result<(), StoreError> {
        debug_assert!(records.windows(2).all(|pair| pair[0].0.next() == pair[1].0), "the records have a gap");
        let mut batch = WriteBatch::default();
        for (lsn, record) in records {
            batch.put(keys::record(partition, *lsn), record);
        }
        self.write(batch)
    }

    /// The log's bounds; None if it is empty. Of an empty log of a partition that was imported, or whose log was cut
    /// behind it, the next LSN is the one after [`DataStore::applied`].
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn log_bounds(&self, partition: PartitionId) -> Result<Option<LogBounds>, StoreError> {
        let Some(first) = self.end_of_log(partition, IteratorMode::Start)? else {
            return Ok(None);
        };
        let end = after_prefix(&keys::log(partition));
        let last = self.end_of_log(partition, IteratorMode::From(&end, Direction::Reverse))?;
        Ok(Some(LogBounds { first, last: last.unwrap_or(first) }))
    }

    /// About how many bytes a log has on disk; what was written last may be missing.
    #[must_use]
    pub fn log_bytes(&self, partition: PartitionId) -> u64 {
        let from = keys::log(partition);
        let to = after_prefix(&from);
        self.engine.get_approximate_sizes(&[rocksdb::Range::new(&from, &to)]).into_iter().sum()
    }

    fn end_of_log(&self, partition: PartitionId, mode: IteratorMode<'_>) -> Result<Option<Lsn>, StoreError> {
        let prefix = keys::log(partition);
        let range = engine::range(prefix.clone(), after_prefix(&prefix));
        match self.engine.iterator_opt(mode, range).next() {
            None => Ok(None),
            Some(entry) => {
                let (key, _) = entry.map_err(StoreError::read(SUBJECT))?;
                keys::lsn_of(&key).map(Some)
            }
        }
    }

    /// The records from an LSN (inclusive) on, oldest first: at most `records_max` of them and about `bytes_max`
    /// bytes, but one at least. None at all if the log does not hold `from`: it was cut, or is not that long yet.
    ///
    /// # Errors
    /// If the disk cannot be read, or the log has a gap.
    pub fn read_log(
        &self,
        partition: PartitionId,
        from: Lsn,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Lsn, Vec<u8>)>, StoreError> {
        let range = engine::range(keys::record(partition, from), after_prefix(&keys::log(partition)));
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut expected = from;
        for entry in self.engine.iterator_opt(IteratorMode::Start, range).take(records_max) {
            let (key, record) = entry.map_err(StoreError::read(SUBJECT))?;
            let lsn = keys::lsn_of(&key)?;
            if lsn != expected {
                if found.is_empty() {
                    break;
                }
                return Err(StoreError::unreadable(
                    SUBJECT,
                    format!("the log of {partition} has no {expected} before {lsn}"),
                ));
            }
            bytes += record.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push((lsn, record.into_vec()));
            expected = lsn.next();
        }
        Ok(found)
    }

    /// Cuts the log's end: every record after this LSN goes, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn truncate_after(&self, partition: PartitionId, lsn: Lsn) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(keys::record(partition, lsn.next()), after_prefix(&keys::log(partition)));
        self.write(batch)
    }

    /// Cuts the log's beginning: every record before this LSN goes, unsynced. Cheap per call, but each leaves a mark
    /// that readers pass until compaction, so cut thousands of records at a time.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn trim_before(&self, partition: PartitionId, lsn: Lsn) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(keys::log(partition), keys::record(partition, lsn));
        self.write(batch)
    }
}
