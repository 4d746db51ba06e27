//! Copies of partitions as files: made on one leaf, received on another.
//!
//! A copy has a manifest that names every file with its size, its SHA-256 and the CRC-32 of each of its chunks. Whoever
//! receives it checks each chunk before it is written and each file before it counts, so that a copy whose files are all
//! there is what was made.
//!
//! * What was received survives a restart: chunks that are on disk and right are not asked for again.
//! * A made copy without its manifest was cut off, and goes; the manifest is written last.
//!
//! Not here: who wants a copy of whom, how chunks travel, and when a copy is given up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use baton_model::{Lsn, PartitionId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::DataStore;
use crate::error::StoreError;

/// Bytes of one file of a copy, about.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of one chunk of a file; the last one is smaller.
const CHUNK_BYTES: u64 = 1 << 20;
const MANIFEST: &str = "manifest";

/// One file of a copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyFile {
    /// Its size.
    pub bytes: u64,
    /// Of all of it.
    pub sha256: [u8; 32],
    /// Of each chunk, in order.
    pub crc32: Vec<u32>,
}

impl CopyFile {
    /// How many bytes a chunk has; 0 if there is no such chunk.
    fn chunk_bytes(&self, chunk: usize) -> u64 {
        self.bytes.saturating_sub(chunk as u64 * CHUNK_BYTES).min(CHUNK_BYTES)
    }
}

/// What a copy is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyManifest {
    /// The partition.
    pub partition: PartitionId,
    /// Its number. A node gives each number once.
    pub copy: u64,
    /// The rows are as of this LSN.
    pub at: Lsn,
    /// The small state that was kept with them, as it was then.
    pub meta: Vec<Option<Vec<u8>>>,
    /// Its files.
    pub files: Vec<CopyFile>,
}

impl CopyManifest {
    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The chunks of all files: file, chunk.
    pub fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.files.iter().enumerate().flat_map(|(n, file)| (0..file.crc32.len()).map(move |chunk| (n, chunk)))
    }
}

/// The copies that a leaf has made.
#[derive(Debug)]
pub struct CopyShelf {
    dir: PathBuf,
}

impl CopyShelf {
    /// Opens, or creates, the folder `copies/made/` of a leaf's data directory, and removes what was not finished.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let shelf = Self { dir: dir.to_owned() };
        create_dir(dir)?;
        for folder in folders(dir)? {
            if read_manifest(&folder).is_none() {
                remove_dir(&folder)?;
            }
        }
        Ok(shelf)
    }

    fn folder(&self, copy: u64) -> PathBuf {
        self.dir.join(format!("{copy:016x}"))
    }

    /// Makes a copy of a partition as it is now, with some of its small state. The number has not been given before.
    /// None if `going` said no, which is asked now and then with the bytes read since; then nothing is left.
    ///
    /// # Errors
    /// If the disk cannot be read or written. Nothing is left then, if possible.
    pub fn make(
        &self,
        store: &DataStore,
        partition: PartitionId,
        copy: u64,
        meta: &[&str],
        going: impl FnMut(u64) -> bool,
    ) -> Result<Option<CopyManifest>, StoreError> {
        let folder = self.folder(copy);
        create_dir(&folder)?;
        let made = Self::fill(&folder, store, partition, copy, meta, going);
        if !matches!(made, Ok(Some(_))) {
            remove_dir(&folder)?;
        }
        made
    }

    fn fill(
        folder: &Path,
        store: &DataStore,
        partition: PartitionId,
        copy: u64,
        meta: &[&str],
        going: impl FnMut(u64) -> bool,
    ) -> Result<Option<CopyManifest>, StoreError> {
        let Some(exported) = store.export_files(partition, meta, folder, FILE_BYTES, going)? else {
            return Ok(None);
        };
        let files = exported.files.iter().map(|path| digest(path)).collect::<Result<_, _>>()?;
        let manifest = CopyManifest { partition, copy, at: exported.at, meta: exported.meta, files };
        write_manifest(folder, &manifest)?;
        Ok(Some(manifest))
    }

    /// Every copy that is there, with the time at which it was last read or made.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn copies(&self) -> Result<Vec<(CopyManifest, SystemTime)>, StoreError> {
        let mut found = Vec::new();
        for folder in folders(&self.dir)? {
            if let Some(manifest) = read_manifest(&folder) {
                found.push((manifest, used(&folder)));
            }
        }
        Ok(found)
    }

    /// A copy that is there.
    #[must_use]
    pub fn manifest(&self, copy: u64) -> Option<CopyManifest> {
        read_manifest(&self.folder(copy))
    }

    /// A chunk of a file of a copy, unchecked: whoever receives it has the manifest.
    ///
    /// # Errors
    /// If it is not there, or the disk cannot be read.
    pub fn read(&self, manifest: &CopyManifest, file: usize, chunk: usize) -> Result<Vec<u8>, StoreError> {
        let path = self.folder(manifest.copy).join(file_name(file));
        let bytes = manifest.files.get(file).map_or(0, |file| file.chunk_bytes(chunk));
        let read = || {
            let mut open = File::open(&path)?;
            open.seek(SeekFrom::Start(chunk as u64 * CHUNK_BYTES))?;
            let mut buffer = vec![0; usize::try_from(bytes).unwrap_or_default()];
            open.read_exact(&mut buffer)?;
            Ok(buffer)
        };
        read().map_err(StoreError::file("read", &path))
    }

    /// Notes that a copy is of use now.
    pub fn touch(&self, copy: u64) {
        touch(&self.folder(copy));
    }

    /// Removes a copy, if it is there. Whoever reads it finds that it is gone.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn remove(&self, copy: u64) -> Result<(), StoreError> {
        remove_dir(&self.folder(copy))
    }
}

/// What does not fit the manifest of a copy that is received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A chunk is not the one that is next.
    #[error("chunk {chunk} of file {file} is not the one that is next")]
    OutOfOrder {
        /// The file.
        file: usize,
        /// The chunk.
        chunk: usize,
    },
    /// A chunk, or a whole file, is not what was made.
    #[error("file {file} of the copy is damaged: {what}")]
    Damaged {
        /// The file.
        file: usize,
        /// What is.
        what: &'static str,
    },
}

/// A copy of one partition that a leaf receives; there is one at a time. What was received of another one is removed.
#[derive(Debug)]
pub struct CopyInbox {
    folder: PathBuf,
    manifest: CopyManifest,
    /// The file and the chunk that are next.
    next: (usize, usize),
    open: Option<File>,
}

impl CopyInbox {
    /// Begins to receive a copy, or goes on where it was left, below the folder `copies/received/` of a leaf's data
    /// directory.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub fn begin(dir: &Path, manifest: CopyManifest) -> Result<Self, StoreError> {
        let of_partition = inbox(dir, manifest.partition);
        create_dir(&of_partition)?;
        let folder = of_partition.join(format!("{:016x}", manifest.copy));
        for other in folders(&of_partition)? {
            // The same number with other contents would be another node's.
            if other != folder || read_manifest(&other).as_ref() != Some(&manifest) {
                remove_dir(&other)?;
            }
        }
        if !folder.exists() {
            create_dir(&folder)?;
            write_manifest(&folder, &manifest)?;
        }
        let mut inbox = Self { folder, manifest, next: (0, 0), open: None };
        inbox.find_next()?;
        Ok(inbox)
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.join(file_name(file))
    }

    fn part(&self, file: usize) -> PathBuf {
        self.folder.join(format!("{}.part", file_name(file)))
    }

    /// The first chunk that is not here; files that are complete were checked when they became so.
    fn find_next(&mut self) -> Result<(), StoreError> {
        while self.next.0 < self.manifest.files.len() && self.path(self.next.0).exists() {
            self.next.0 += 1;
        }
        let (file, part) = (self.next.0, self.part(self.next.0));
        let Some(known) = self.manifest.files.get(file).filter(|_| part.exists()) else { return Ok(()) };
        let mut open =
            OpenOptions::new().read(true).write(true).open(&part).map_err(StoreError::file("read", &part))?;
        let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
        for (chunk, crc32) in known.crc32.iter().enumerate() {
            let bytes = usize::try_from(known.chunk_bytes(chunk)).unwrap_or_default();
            // What a power cut tore ends what counts.
            if open.read_exact(&mut buffer[..bytes]).is_err() || crc32fast::hash(&buffer[..bytes]) != *crc32 {
                break;
            }
            self.next.1 = chunk + 1;
        }
        let keep = self.next.1 as u64 * CHUNK_BYTES;
        let keep = keep.min(known.bytes);
        open.set_len(keep).map_err(StoreError::file("write", &part))?;
        open.seek(SeekFrom::Start(keep)).map_err(StoreError::file("write", &part))?;
        self.open = Some(open);
        if self.next.1 == known.crc32.len() {
            // All of it was here, but for its check. A file that is wrong as a whole comes again as a whole.
            if let Err(ReceiveError::Store(error)) = self.finish_file() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The file and the chunk from which on it is to be sent.
    #[must_use]
    pub fn next(&self) -> (usize, usize) {
        self.next
    }

    /// Whether all of it is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.next.0 >= self.manifest.files.len()
    }

    /// Takes the chunk that is next.
    ///
    /// # Errors
    /// [`ReceiveError`]. A file that turns out wrong as a whole is removed, and is the next one again.
    pub fn receive(&mut self, file: usize, chunk: usize, bytes: &[u8]) -> Result<(), ReceiveError> {
        let known = self.manifest.files.get(file).filter(|_| (file, chunk) == self.next);
        let known = known.ok_or(ReceiveError::OutOfOrder { file, chunk })?;
        if known.chunk_bytes(chunk) != bytes.len() as u64
            || known.crc32.get(chunk) != Some(&crc32fast::hash(bytes))
        {
            return Err(ReceiveError::Damaged { file, what: "the checksum of a chunk is another one" });
        }
        let last = chunk + 1 == known.crc32.len();
        let part = self.part(file);
        if self.open.is_none() {
            self.open = Some(File::create(&part).map_err(StoreError::file("write", &part))?);
        }
        if let Some(open) = self.open.as_mut() {
            open.write_all(bytes).map_err(StoreError::file("write", &part))?;
        }
        self.next.1 += 1;
        if last { self.finish_file() } else { Ok(()) }
    }

    fn finish_file(&mut self) -> Result<(), ReceiveError> {
        let file = self.next.0;
        let part = self.part(file);
        if let Some(open) = self.open.take() {
            open.sync_all().map_err(StoreError::file("write", &part))?;
        }
        if digest(&part)? != self.manifest.files[file] {
            self.next.1 = 0;
            fs::remove_file(&part).map_err(StoreError::file("write", &part))?;
            return Err(ReceiveError::Damaged { file, what: "the checksum of all of it is another one" });
        }
        fs::rename(&part, self.path(file)).map_err(StoreError::file("write", &part))?;
        sync_dir(&self.folder)?;
        self.next = (file + 1, 0);
        Ok(())
    }

    /// Lets a copy of which all was received take the place of a partition; see [`DataStore::install_files`].
    ///
    /// # Errors
    /// If it is not all there, or the disk cannot be read or written.
    pub fn install(
        dir: &Path,
        store: &DataStore,
        partition: PartitionId,
        copy: u64,
        at: Lsn,
        meta: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        let folder = inbox(dir, partition).join(format!("{copy:016x}"));
        let manifest = read_manifest(&folder).filter(|m| m.partition == partition && m.at == at);
        let manifest = manifest.ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "it is not the manifest of this copy");
            StoreError::File { verb: "read", path: folder.join(MANIFEST), source }
        })?;
        let files: Vec<PathBuf> =
            (0..manifest.files.len()).map(|file| folder.join(file_name(file))).collect();
        // Before anything of what is here goes.
        for (path, file) in files.iter().zip(&manifest.files) {
            let found = fs::metadata(path).map_err(StoreError::file("read", path))?.len();
            if found != file.bytes {
                let what = format!("{} has {found} bytes instead of {}", path.display(), file.bytes);
                return Err(StoreError::unreadable("a copy", what));
            }
        }
        store.install_files(partition, &files, at, meta)?;
        remove_dir(&folder)
    }

    /// Removes what was received, and not looked at since before then.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub fn sweep(dir: &Path, kept: Duration) -> Result<(), StoreError> {
        for of_partition in folders(dir)? {
            for folder in folders(&of_partition)? {
                if used(&folder).elapsed().is_ok_and(|unused| unused > kept) {
                    remove_dir(&folder)?;
                }
            }
        }
        Ok(())
    }
}

fn inbox(dir: &Path, partition: PartitionId) -> PathBuf {
    dir.join(partition.to_string())
}

fn file_name(file: usize) -> String {
    format!("{file:06}.sst")
}

fn digest(path: &Path) -> Result<CopyFile, StoreError> {
    let read = || {
        let mut open = File::open(path)?;
        let mut found = CopyFile { bytes: 0, sha256: [0; 32], crc32: Vec::new() };
        let mut sha256 = Sha256::new();
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            if Read::by_ref(&mut open).take(CHUNK_BYTES).read_to_end(&mut chunk)? == 0 {
                break;
            }
            found.bytes += chunk.len() as u64;
            found.crc32.push(crc32fast::hash(&chunk));
            sha256.update(&chunk);
        }
        found.sha256 = sha256.finalize().into();
        Ok(found)
    };
    read().map_err(StoreError::file("read", path))
}

fn read_manifest(folder: &Path) -> Option<CopyManifest> {
    let bytes = fs::read(folder.join(MANIFEST)).ok()?;
    postcard::from_bytes(&bytes).ok()
}

/// Written whole or not at all.
fn write_manifest(folder: &Path, manifest: &CopyManifest) -> Result<(), StoreError> {
    let (path, part) = (folder.join(MANIFEST), folder.join("manifest.part"));
    let bytes = postcard::to_stdvec(manifest).map_err(|error| StoreError::unreadable("a manifest", error))?;
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().map_err(StoreError::file("write", &path))?;
    sync_dir(folder)
}

/// When a copy was last of use: the time of its folder.
fn used(folder: &Path) -> SystemTime {
    fs::metadata(folder).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn touch(folder: &Path) {
    // What comes of it only decides how long a copy is kept.
    let _ = File::open(folder).and_then(|open| open.set_modified(SystemTime::now()));
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
    };
    read().map_err(StoreError::file("read", dir))
}

fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::file("write", dir))
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("write", dir)(error)),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|open| open.sync_all()).map_err(StoreError::file("write", dir))
}

#[cfg(test)]
mod tests;
