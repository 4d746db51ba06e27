//! A whole partition as files: what one leaf makes and another one takes in.
//!
//! The files are RocksDB's own tables with the keys of this store, so that taking them in moves files and writes no row
//! again. They hold the rows of every table, whoever made it: who adds a table with an id of its own need not come here.
//!
//! * All files of one copy are of one view, at one LSN.
//! * A copy takes the place of a partition as a whole: a mark stands from before the first of what was there goes until
//!   everything of the copy is there, and what a crash finds under the mark is removed at the next opening (S4).

use std::path::{Path, PathBuf};

use baton_model::{Lsn, PartitionId};
use rocksdb::{IngestExternalFileOptions, SstFileWriter, WriteBatch};

use super::{DataStore, SUBJECT, delete_prefix, keys};
use crate::engine::{self, after_prefix};
use crate::error::StoreError;

/// A whole partition is read from end to end.
const READAHEAD_BYTES: usize = 2 << 20;
/// Bytes that are read between two questions whether to go on.
const ASK_EVERY: usize = 256 << 10;

/// A key and a row, as they are stored.
type Entry = (Box<[u8]>, Box<[u8]>);

/// A partition's rows as files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The rows are as of this LSN.
    pub at: Lsn,
    /// The small state that was asked for, as it was when the rows were.
    pub meta: Vec<Option<Vec<u8>>>,
    /// The files in the order of their keys; none if there are no rows.
    pub files: Vec<PathBuf>,
}

impl DataStore {
    /// Writes all rows of a partition, as they are now, as files of about `file_bytes` into a folder that is there and
    /// empty. Each file is on disk when this returns. None if `going` said no, which is asked now and then.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub fn export_files(
        &self,
        partition: PartitionId,
        meta: &[&str],
        dir: &Path,
        file_bytes: u64,
        mut going: impl FnMut(u64) -> bool,
    ) -> Result<Option<Exported>, StoreError> {
        self.view(partition, |view| export(view, meta, dir, file_bytes, &mut going))?
    }

    /// Lets files that [`DataStore::export_files`] made of the same partition take the place of everything that is here
    /// of it: rows, log and small state. The files are moved. Unsynced at the end; after a crash, the partition is as
    /// before, or empty, or all of it is there. The next record of its log is the one after `applied`.
    ///
    /// # Errors
    /// If the disk cannot be written, or a file is none of these.
    pub fn install_files(
        &self,
        partition: PartitionId,
        files: &[PathBuf],
        applied: Lsn,
        meta: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        self.empty_and_mark(partition)?;
        self.take_in(files)?;
        self.fill_and_unmark(partition, applied, meta)
    }

    pub(super) fn empty_and_mark(&self, partition: PartitionId) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        delete_prefix(&mut batch, &keys::partition(partition));
        batch.put(keys::importing(partition), []);
        self.write(batch)?;
        // The mark must be on disk before the files are the store's: they come in beside its log of writes. And what
        // goes must not lie in memory, or taking the files in would hold up everybody's writes until it is out.
        self.engine.flush().map_err(StoreError::write(SUBJECT))
    }

    /// All of them or none.
    pub(super) fn take_in(&self, files: &[PathBuf]) -> Result<(), StoreError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.engine.ingest_external_file_opts(&options, files.to_vec()).map_err(StoreError::write(SUBJECT))
    }

    fn fill_and_unmark(
        &self,
        partition: PartitionId,
        applied: Lsn,
        meta: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
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

    /// Removes what a copy that a crash cut in half has left.
    pub(super) fn drop_half_imported(&self) -> Result<(), StoreError> {
        for partition in self.partitions()? {
            if self.is_importing(partition)? {
                tracing::warn!("a copy of partition {partition} was cut off; what came of it is removed");
                self.drop_partition(partition)?;
            }
        }
        Ok(())
    }
}

fn export(
    view: &super::ReadView<'_>,
    meta: &[&str],
    dir: &Path,
    file_bytes: u64,
    going: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Exported>, StoreError> {
    let meta = meta.iter().map(|name| view.meta(name)).collect::<Result<_, _>>()?;
    let options = engine::table_options();
    let mut files = Vec::new();
    let mut writer: Option<SstFileWriter<'_>> = None;
    let mut unasked = 0;
    for entry in view.entries() {
        let (key, row) = entry?;
        if writer.is_none() {
            let path = dir.join(format!("{:06}.sst", files.len()));
            let begun = SstFileWriter::create(&options);
            begun.open(&path).map_err(StoreError::write(SUBJECT))?;
            files.push(path);
            writer = Some(begun);
        }
        let Some(file) = writer.as_mut() else { continue };
        file.put(&key, &row).map_err(StoreError::write(SUBJECT))?;
        unasked += key.len() + row.len();
        if unasked >= ASK_EVERY {
            if !going(unasked as u64) {
                return Ok(None);
            }
            unasked = 0;
            if file.file_size() >= file_bytes {
                file.finish().map_err(StoreError::write(SUBJECT))?;
                writer = None;
            }
        }
    }
    if let Some(mut last) = writer {
        last.finish().map_err(StoreError::write(SUBJECT))?;
    }
    Ok(Some(Exported { at: view.applied(), meta, files }))
}

impl super::ReadView<'_> {
    /// All rows of the partition as they are stored, in the order of their keys.
    fn entries(&self) -> impl Iterator<Item = Result<Entry, StoreError>> + '_ {
        let all = keys::rows(self.partition());
        let mut range = engine::range(all.clone(), after_prefix(&all));
        range.fill_cache(false);
        range.set_readahead_size(READAHEAD_BYTES);
        self.snapshot()
            .iterator_opt(rocksdb::IteratorMode::Start, range)
            .map(|entry| entry.map_err(StoreError::read(SUBJECT)))
    }
}
