//! A partition as it was at one moment.
//!
//! Everything read through one view is of the same LSN, and nothing that is written meanwhile changes it. A view keeps
//! old versions of rows alive, so it is made for one statement or one copy, and given up then.

use std::ops::Bound;

use baton_model::{Key, Lsn, PartitionId, TableId};
use rocksdb::{DB, IteratorMode, Snapshot};

use super::{SUBJECT, StoredRow, keys};
use crate::engine::{self, after_prefix};
use crate::error::StoreError;

/// A partition at one LSN. Lives within [`super::DataStore::view`].
pub struct ReadView<'a> {
    snapshot: Snapshot<'a>,
    partition: PartitionId,
    applied: Lsn,
}

impl<'a> ReadView<'a> {
    pub(super) fn new(engine: &'a DB, partition: PartitionId) -> Result<Self, StoreError> {
        let snapshot = engine.snapshot();
        let applied = snapshot.get(keys::applied(partition)).map_err(StoreError::read(SUBJECT))?;
        let applied = applied.as_deref().map_or(Ok(Lsn(0)), keys::lsn)?;
        Ok(Self { snapshot, partition, applied })
    }

    /// The LSN of the view: it holds exactly what was applied up to it.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// A row.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot.get(keys::row(self.partition, table, key)).map_err(StoreError::read(SUBJECT))
    }

    /// Small state, as it was when the rows were.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot.get(keys::meta(self.partition, name)).map_err(StoreError::read(SUBJECT))
    }

    /// The rows of a table between two keys, in key order.
    pub fn scan(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<(Key, Vec<u8>), StoreError>> + '_ {
        let row = |key: &[u8]| keys::row(self.partition, table, key);
        // The key right after another one is that key and a zero byte.
        let after = |key: &[u8]| {
            let mut key = row(key);
            key.push(0);
            key
        };
        let lower = match from {
            Bound::Included(key) => row(key),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => row(&[]),
        };
        let upper = match to {
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => row(key),
            Bound::Unbounded => after_prefix(&row(&[])),
        };
        self.rows(lower, upper).map(|row| row.map(|(_, key, row)| (key, row)))
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(super) fn snapshot(&self) -> &Snapshot<'a> {
        &self.snapshot
    }

    fn rows(
        &self,
        lower: Vec<u8>,
        upper: Vec<u8>,
    ) -> impl Iterator<Item = Result<StoredRow, StoreError>> + '_ {
        // RocksDB takes a range whose end is not behind its beginning for a mistake; here it is just empty.
        let range = (lower < upper).then(|| engine::range(lower, upper));
        range.into_iter().flat_map(|mut range| {
            range.fill_cache(false);
            self.snapshot.iterator_opt(IteratorMode::Start, range).map(|entry| {
                let (key, row) = entry.map_err(StoreError::read(SUBJECT))?;
                let (table, key) = keys::row_of(&key)?;
                Ok((table, key, row.into_vec()))
            })
        })
    }
}

impl std::fmt::Debug for ReadView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadView({} at {})", self.partition, self.applied)
    }
}
