//! What an aggregator keeps for the control group: its vote, its log, and the catalog's rows beside them.
//!
//! The bytes of votes and entries are the consensus crate's. The log is contiguous; entries leave it only at its two
//! ends. Everything is unsynced until [`ControlStore::barrier`] says otherwise.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{Direction, IteratorMode, WriteBatch};

use crate::barrier::SyncBarrier;
use crate::catalog::CatalogStore;
use crate::engine::{self, Engine};
use crate::error::StoreError;

/// The store's keys begin with one of these; the catalog's rows use 3 and 4.
const META: u8 = 1;
const LOG: u8 = 2;

const SUBJECT: &str = "the control log";

const WRITE_BUFFER_BYTES: usize = 16 << 20;

/// A small thing that is kept beside the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ControlMeta {
    /// The vote.
    Vote = 1,
    /// The id of the last entry that was purged.
    Purged = 2,
    /// Who this member is.
    Member = 3,
}

/// The control group's log and the catalog's rows of one aggregator.
pub struct ControlStore {
    engine: Engine,
    barrier: Arc<SyncBarrier>,
    catalog: CatalogStore,
}

impl ControlStore {
    /// Opens, or creates, the store in the folder `control/` of an aggregator's data directory.
    ///
    /// # Errors
    /// If the folder is no store or is in use.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let engine = engine::open(dir, WRITE_BUFFER_BYTES)?;
        let barrier = Arc::new(SyncBarrier::new(Arc::clone(&engine), "control", None));
        let catalog = CatalogStore::beside(Arc::clone(&engine), Arc::clone(&barrier));
        Ok(Self { engine, barrier, catalog })
    }

    /// The catalog's rows.
    #[must_use]
    pub fn catalog(&self) -> &CatalogStore {
        &self.catalog
    }

    /// The barrier that makes log, vote and rows durable.
    #[must_use]
    pub fn barrier(&self) -> &SyncBarrier {
        &self.barrier
    }

    /// Reads a small thing.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn meta(&self, name: ControlMeta) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.get(meta_key(name)).map_err(StoreError::read(SUBJECT))
    }

    /// Writes a small thing, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn put_meta(&self, name: ControlMeta, bytes: &[u8]) -> Result<(), StoreError> {
        self.engine.put(meta_key(name), bytes).map_err(StoreError::write(SUBJECT))
    }

    /// Appends entries, or overwrites those with the same indexes, in one batch, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn append(&self, entries: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for (index, bytes) in entries {
            batch.put(log_key(index), bytes);
        }
        self.write(batch)
    }

    /// The entries with indexes from `from` (inclusive) to `to` (exclusive), oldest first, until they have
    /// `bytes_max` bytes; the first is given whatever its size.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        if from >= to {
            return Ok(found);
        }
        let range = engine::range(log_key(from).to_vec(), log_key(to).to_vec());
        for entry in self.engine.iterator_opt(IteratorMode::Start, range) {
            let (key, value) = entry.map_err(StoreError::read(SUBJECT))?;
            bytes += value.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push((index_of(&key)?, value.into_vec()));
        }
        Ok(found)
    }

    /// The entry with the greatest index.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn last_entry(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let range = engine::range(vec![LOG], vec![LOG + 1]);
        let end = [LOG + 1];
        match self.engine.iterator_opt(IteratorMode::From(&end, Direction::Reverse), range).next() {
            None => Ok(None),
            Some(entry) => {
                let (key, value) = entry.map_err(StoreError::read(SUBJECT))?;
                Ok(Some((index_of(&key)?, value.into_vec())))
            }
        }
    }

    /// Cuts the log's end: every entry from this index on goes. Unsynced: an entry that comes back after a crash is
    /// cut again, since whatever was appended in its place is behind the cut in the write-ahead log.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn truncate_from(&self, index: u64) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(log_key(index).to_vec(), vec![LOG + 1]);
        self.write(batch)
    }

    /// Cuts the log's beginning: every entry up to this index, inclusive, goes, and `purged` is kept as
    /// [`ControlMeta::Purged`], in one batch, unsynced.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn purge_through(&self, index: u64, purged: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(vec![LOG], log_key(index.saturating_add(1)).to_vec());
        batch.put(meta_key(ControlMeta::Purged), purged);
        self.write(batch)
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.engine.write(batch).map_err(StoreError::write(SUBJECT))
    }
}

impl std::fmt::Debug for ControlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControlStore({})", self.engine.path().display())
    }
}

fn meta_key(name: ControlMeta) -> [u8; 2] {
    [META, name as u8]
}

fn log_key(index: u64) -> [u8; 9] {
    let mut key = [LOG; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> Result<u64, StoreError> {
    match key.split_first() {
        Some((&LOG, index)) if index.len() == 8 => {
            Ok(u64::from_be_bytes(index.try_into().expect("it has 8 bytes")))
        }
        _ => Err(StoreError::unreadable(SUBJECT, "a key is no log index")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(store: &ControlStore) -> Vec<u64> {
        store.entries(0, u64::MAX, usize::MAX).unwrap().into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn the_log_is_cut_at_both_ends_and_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let store = ControlStore::open(dir.path()).unwrap();
        assert_eq!(store.last_entry().unwrap(), None);
        store.append((0..10).map(|index| (index, vec![7; 100]))).unwrap();
        store.truncate_from(8).unwrap();
        store.purge_through(2, b"two").unwrap();
        store.append([(8, b"eight".to_vec())]).unwrap();
        store.put_meta(ControlMeta::Vote, b"vote").unwrap();
        store.barrier().wait_blocking();
        assert!(store.barrier().last_sync_us() > 0);
        drop(store);

        let store = ControlStore::open(dir.path()).unwrap();
        assert_eq!(indexes(&store), vec![3, 4, 5, 6, 7, 8]);
        assert_eq!(store.last_entry().unwrap(), Some((8, b"eight".to_vec())));
        assert_eq!(store.meta(ControlMeta::Vote).unwrap().as_deref(), Some(&b"vote"[..]));
        assert_eq!(store.meta(ControlMeta::Purged).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(store.meta(ControlMeta::Member).unwrap(), None);
    }

    #[test]
    fn reading_stops_at_the_bytes_asked_for_but_gives_one_entry_at_least() {
        let dir = tempfile::tempdir().unwrap();
        let store = ControlStore::open(dir.path()).unwrap();
        store.append((0..10).map(|index| (index, vec![7; 100]))).unwrap();
        assert_eq!(store.entries(2, 9, 250).unwrap().len(), 2);
        assert_eq!(store.entries(2, 9, 1).unwrap().len(), 1);
        assert_eq!(store.entries(9, 9, 1).unwrap().len(), 0);
        assert_eq!(store.entries(10, 19, 1).unwrap().len(), 0);
    }

    #[test]
    fn the_rows_and_the_log_do_not_touch_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = ControlStore::open(dir.path()).unwrap();
        store.append([(0, vec![1]), (1, vec![2])]).unwrap();
        let row = baton_catalog::CatalogRow::Variable("a".into(), "1".into());
        store.catalog().write(b"x", baton_model::CatalogIndex(1), [row.clone()], []).unwrap();
        store.truncate_from(0).unwrap();
        assert_eq!(store.catalog().load().unwrap().rows, vec![row]);
        store.append([(0, vec![1])]).unwrap();
        store.catalog().replace(b"x", baton_model::CatalogIndex(2), []).unwrap();
        assert_eq!(indexes(&store), vec![0]);
    }

    #[test]
    fn one_sync_serves_many_waiters() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(ControlStore::open(dir.path()).unwrap());
        let (done, all) = std::sync::mpsc::channel();
        for index in 0..1000 {
            store.append([(index, vec![1])]).unwrap();
            let done = done.clone();
            store.barrier().after_sync(move || {
                let _ = done.send(index);
            });
        }
        drop(done);
        let answered: Vec<u64> = all.iter().collect();
        assert_eq!(answered, (0..1000).collect::<Vec<_>>());
        assert!(store.barrier().syncs() <= 1000);
    }

    #[test]
    fn a_dropped_store_has_answered_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let store = ControlStore::open(dir.path()).unwrap();
        let (done, all) = std::sync::mpsc::channel();
        for _ in 0..100 {
            let done = done.clone();
            store.barrier().after_sync(move || {
                let _ = done.send(());
            });
        }
        drop((store, done));
        assert_eq!(all.iter().count(), 100);
    }
}
