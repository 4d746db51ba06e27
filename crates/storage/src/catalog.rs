//! The catalog's rows on disk.
//!
//! What was applied, its index and the rows it changed go in one batch, so a row is never seen without the index that
//! made it. A leaf's mirror is a store of its own; an aggregator's rows lie beside its control log, so that the log is
//! never cut before the rows it made are at least as safe (one write-ahead log, see the crate's header).

use std::path::Path;
use std::sync::Arc;

use baton_catalog::{CatalogRow, RowKey};
use baton_model::CatalogIndex;
use rocksdb::{DB, IteratorMode, WriteBatch};
use serde::{Deserialize, Serialize};

use crate::barrier::SyncBarrier;
use crate::engine::{self, Engine, after_prefix};
use crate::error::StoreError;

/// The folder's keys begin with one of these; `control` uses 1 and 2.
const APPLIED: &[u8] = &[3];
const ROWS: u8 = 4;

const SUBJECT: &str = "the catalog";

/// Bytes of the mirror's memtable: the catalog is small.
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// The catalog as it lies on disk.
#[derive(Debug, Default)]
pub struct StoredCatalog {
    /// What the writer kept beside the rows, as it was given; None in an empty store.
    pub applied: Option<Vec<u8>>,
    /// The index of the last entry that the rows contain; 0 in an empty store.
    pub index: CatalogIndex,
    /// All rows, in no particular order.
    pub rows: Vec<CatalogRow>,
}

/// The rows of one catalog.
#[derive(Clone)]
pub struct CatalogStore {
    engine: Engine,
    barrier: Arc<SyncBarrier>,
}

/// What is written beside the rows.
#[derive(Serialize, Deserialize)]
struct AppliedRecord {
    index: CatalogIndex,
    applied: Vec<u8>,
}

impl CatalogStore {
    /// Opens, or creates, a leaf's mirror in the folder `catalog/` of its data directory.
    ///
    /// # Errors
    /// If the folder is no store or is in use.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let engine = engine::open(dir, WRITE_BUFFER_BYTES)?;
        let barrier = Arc::new(SyncBarrier::new(Arc::clone(&engine), "catalog", None));
        Ok(Self { engine, barrier })
    }

    /// The rows that lie beside a control log.
    pub(crate) fn beside(engine: Engine, barrier: Arc<SyncBarrier>) -> Self {
        Self { engine, barrier }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// If the disk cannot be read, or a row is none of this version's.
    pub fn load(&self) -> Result<StoredCatalog, StoreError> {
        let Some(bytes) = self.engine.get(APPLIED).map_err(StoreError::read(SUBJECT))? else {
            return Ok(StoredCatalog::default());
        };
        let AppliedRecord { index, applied } = decode(&bytes)?;
        let range = engine::range(vec![ROWS], vec![ROWS + 1]);
        let mut rows = Vec::new();
        for entry in self.engine.iterator_opt(IteratorMode::Start, range) {
            let (_, value) = entry.map_err(StoreError::read(SUBJECT))?;
            rows.push(decode(&value)?);
        }
        Ok(StoredCatalog { applied: Some(applied), index, rows })
    }

    /// Writes what one or more entries changed, with the index of the last of them, in one batch, unsynced.
    /// `applied` is kept for the writer and handed back by [`CatalogStore::load`].
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn write(
        &self,
        applied: &[u8],
        index: CatalogIndex,
        puts: impl IntoIterator<Item = CatalogRow>,
        deletes: impl IntoIterator<Item = RowKey>,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for key in deletes {
            batch.delete(row_key(&key)?);
        }
        put_rows(&mut batch, puts)?;
        self.finish(batch, applied, index)
    }

    /// Replaces everything by other rows, in one batch, unsynced: after a crash there is the old catalog or the new
    /// one, never a mixture.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn replace(
        &self,
        applied: &[u8],
        index: CatalogIndex,
        rows: impl IntoIterator<Item = CatalogRow>,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(vec![ROWS], after_prefix(&[ROWS]));
        put_rows(&mut batch, rows)?;
        self.finish(batch, applied, index)
    }

    /// The barrier that makes it durable. A leaf waits for it before it acts on what it mirrored, since an instance
    /// must not forget an epoch that it has acted under (S5).
    #[must_use]
    pub fn barrier(&self) -> &SyncBarrier {
        &self.barrier
    }

    fn finish(&self, mut batch: WriteBatch, applied: &[u8], index: CatalogIndex) -> Result<(), StoreError> {
        batch.put(APPLIED, encode(&AppliedRecord { index, applied: applied.to_vec() })?);
        write(&self.engine, batch)
    }
}

impl std::fmt::Debug for CatalogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CatalogStore({})", self.engine.path().display())
    }
}

fn write(engine: &DB, batch: WriteBatch) -> Result<(), StoreError> {
    engine.write(batch).map_err(StoreError::write(SUBJECT))
}

fn put_rows(batch: &mut WriteBatch, rows: impl IntoIterator<Item = CatalogRow>) -> Result<(), StoreError> {
    for row in rows {
        batch.put(row_key(&row.key())?, encode(&row)?);
    }
    Ok(())
}

fn row_key(key: &RowKey) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(key, vec![ROWS]).map_err(|error| StoreError::unreadable(SUBJECT, error))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|error| StoreError::unreadable(SUBJECT, error))
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| StoreError::unreadable(SUBJECT, error))
}

#[cfg(test)]
mod tests {
    use baton_model::{ClusterId, NodeId};

    use super::*;

    fn variable(name: &str, value: &str) -> CatalogRow {
        CatalogRow::Variable(name.into(), value.into())
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let store = CatalogStore::open(dir.path()).unwrap();
        assert!(store.load().unwrap().applied.is_none());
        store.write(b"one", CatalogIndex(1), [variable("a", "1"), variable("b", "1")], []).unwrap();
        store
            .write(
                b"two",
                CatalogIndex(2),
                [variable("a", "2")],
                [RowKey::Variable("b".into()), RowKey::Node(NodeId(1))],
            )
            .unwrap();
        drop(store);

        let stored = CatalogStore::open(dir.path()).unwrap().load().unwrap();
        assert_eq!(stored.applied.as_deref(), Some(&b"two"[..]));
        assert_eq!(stored.index, CatalogIndex(2));
        assert_eq!(stored.rows, vec![variable("a", "2")]);
    }

    #[test]
    fn replacing_leaves_nothing_of_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let store = CatalogStore::open(dir.path()).unwrap();
        store.write(b"", CatalogIndex(1), (0..100).map(|n| variable(&n.to_string(), "old")), []).unwrap();
        store
            .replace(b"new", CatalogIndex(9), [CatalogRow::Cluster(ClusterId(7)), variable("5", "new")])
            .unwrap();
        let stored = store.load().unwrap();
        assert_eq!(stored.index, CatalogIndex(9));
        assert_eq!(stored.rows, vec![CatalogRow::Cluster(ClusterId(7)), variable("5", "new")]);
    }

    #[test]
    fn a_store_in_use_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let _held = CatalogStore::open(dir.path()).unwrap();
        assert!(matches!(CatalogStore::open(dir.path()), Err(StoreError::Open { .. })));
    }
}
