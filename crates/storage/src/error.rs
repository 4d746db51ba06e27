//! Why a store could not do something.

use std::path::PathBuf;

/// A store failed. Nothing of the call it came from was done, but the store is not to be trusted with another write:
/// whoever gets one of these while a promise depends on the store stops the node.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder could not be opened as a store: it is in use by another process, damaged, or unreadable.
    #[error("cannot open the store in {}: {source}", dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// RocksDB failed at reading or writing.
    #[error("cannot {verb} {subject}: {source}")]
    Engine {
        /// `read`, `write`.
        verb: &'static str,
        /// Of what.
        subject: &'static str,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// A file beside the stores could not be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// `read`, `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Bytes on disk are none that this version writes.
    #[error("{subject} is not readable: {why}")]
    Unreadable {
        /// Of what.
        subject: &'static str,
        /// What is wrong with them.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn read(subject: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |source| Self::Engine { verb: "read", subject, source }
    }

    pub(crate) fn write(subject: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |source| Self::Engine { verb: "write", subject, source }
    }

    pub(crate) fn file(verb: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }

    pub(crate) fn unreadable(subject: &'static str, why: impl ToString) -> Self {
        Self::Unreadable { subject, why: why.to_string() }
    }
}
