//! Where backups lie: files in a folder or in a bucket, with a manifest that makes them one backup.
//!
//! * A backup is there once its manifest is, under its final name, and not before: it is written last, and only if there
//!   is none. What was written before and has no manifest is no backup.
//! * The manifest names every file with its size and its SHA-256, and carries its own; what does not fit is refused.
//! * Credentials are used, and neither printed nor kept.
//!
//! Not here: what is in a backup, and who writes which part of it.

mod archive;
mod manifest;
mod rows;

pub use archive::{Archive, ArchiveError};
pub use manifest::{ArchivedFile, ArchivedPartition, ArchivedTable, Manifest};
pub use rows::{ArchivedRow, RowsFile, read_rows};
