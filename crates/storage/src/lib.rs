//! What a node keeps on disk, on RocksDB; no other crate knows that it is RocksDB.
//!
//! Below a node's data directory there is one store per concern:
//!
//! | folder | store | who | what |
//! |---|---|---|---|
//! | `control/` | [`ControlStore`] | aggregators | the control group's vote and log, and the catalog's rows |
//! | `catalog/` | [`CatalogStore`] | leaves | the mirror of the catalog's rows |
//! | `data/` | [`DataStore`] | leaves | the partitions' logs, rows and small state |
//! | `copies/made/` | [`CopyShelf`] | leaves | copies of partitions, for others to fetch |
//! | `copies/received/` | [`CopyInbox`] | leaves | copies of partitions, as far as they were fetched |
//!
//! What holds for all of them:
//! * Each store is one key space with one write-ahead log, so whatever is found after a crash is what a *prefix* of
//!   the writes left behind. Orders that matter ("rows before the log that made them is cut") are therefore kept by
//!   writing in that order, and need no sync of their own.
//! * A write is handed to the operating system before the call returns: it survives `kill -9`, but not a power cut.
//!   What must survive that waits for [`SyncBarrier`], which syncs once for all who wait (group commit).
//! * A failed sync aborts the process. After it nobody knows what is on the disk, so nothing may be acknowledged.
//!
//! Not here: what the bytes of a log record or a raft entry mean, and when something may be cut or dropped.

mod barrier;
mod catalog;
mod control;
mod copies;
mod data;
mod engine;
mod error;

pub use barrier::SyncBarrier;
pub use catalog::{CatalogStore, StoredCatalog};
pub use control::{ControlMeta, ControlStore};
pub use copies::{CopyFile, CopyInbox, CopyManifest, CopyShelf, ReceiveError};
pub use data::{DataStore, Exported, LogBounds, Mutation, ReadView, StoredRow};
pub use error::StoreError;
