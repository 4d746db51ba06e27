//! What a backup is made of.
//!
//! A text for people and programs: JSON, and after it the SHA-256 of that JSON.

use baton_model::{Durability, Lsn, ReplicationMode, StatementId, TableSchema};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;
const SEAL: &str = "\nsha256:";

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Its name within the backup's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Of all of it, in hex.
    pub sha256: String,
    /// How many rows it has.
    pub rows: u64,
}

/// One table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedTable {
    /// Its definition. Its id is the one by which the files name it.
    pub schema: TableSchema,
    /// The next AUTO_INCREMENT value that nobody was given.
    pub auto_increment_next: u64,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedPartition {
    /// Which one.
    pub ordinal: u32,
    /// All its rows are as of this LSN.
    pub at: Lsn,
    /// Its files, in the order of their rows' keys.
    pub files: Vec<ArchivedFile>,
}

/// A whole backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this text and of the files.
    pub format: u32,
    /// The statement that made it (S12).
    pub statement: StatementId,
    /// The database.
    pub database: String,
    /// When it was begun, in milliseconds since 1970 UTC. Decides nothing.
    pub at_ms: u64,
    /// Of the database.
    pub replication: ReplicationMode,
    /// Of the database.
    pub durability: Durability,
    /// All its tables.
    pub tables: Vec<ArchivedTable>,
    /// All its partitions, by ordinal.
    pub partitions: Vec<ArchivedPartition>,
    /// The rows of its reference tables.
    pub reference: Vec<ArchivedFile>,
}

impl Manifest {
    /// The format of what is written now.
    #[must_use]
    pub const fn format() -> u32 {
        FORMAT
    }

    /// Every file that belongs to it.
    pub fn files(&self) -> impl Iterator<Item = &ArchivedFile> {
        self.partitions.iter().flat_map(|partition| &partition.files).chain(&self.reference)
    }

    /// The text.
    ///
    /// # Panics
    /// Never: everything in it can be JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is JSON");
        let seal = hex::encode(Sha256::digest(&text));
        text.push_str(SEAL);
        text.push_str(&seal);
        text.push('\n');
        text.into_bytes()
    }

    /// Reads the text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let (json, seal) = text.rsplit_once(SEAL).ok_or("it has no end")?;
        if seal.trim_end() != hex::encode(Sha256::digest(json)) {
            return Err("its checksum is another one".into());
        }
        let format = |text: &str| Some(serde_json::from_str::<Format>(text).ok()?.format);
        match format(json) {
            Some(FORMAT) => {}
            Some(other) => return Err(format!("it has format {other}, and this version reads {FORMAT}")),
            None => return Err("it names no format".into()),
        }
        let manifest: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let ordinals = manifest.partitions.iter().map(|partition| partition.ordinal);
        if manifest.partitions.is_empty() || !ordinals.eq(0..manifest.partitions.len() as u32) {
            return Err("its partitions are not numbered from 0 up".into());
        }
        Ok(manifest)
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn manifest() -> Manifest {
        let file = |name: &str| ArchivedFile { name: name.into(), bytes: 3, sha256: "00".into(), rows: 1 };
        Manifest {
            format: FORMAT,
            statement: StatementId(u128::MAX - 1),
            database: "shop".into(),
            at_ms: 1,
            replication: ReplicationMode::Sync,
            durability: Durability::Async,
            tables: vec![],
            partitions: vec![ArchivedPartition { ordinal: 0, at: Lsn(u64::MAX), files: vec![file("a/0")] }],
            reference: vec![file("a/r")],
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_not_otherwise() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest()));
        assert_eq!(manifest().files().count(), 2);
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 10] {
            assert!(Manifest::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for position in (0..bytes.len() - 1).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[position] ^= 1;
            assert!(Manifest::from_bytes(&bytes).is_err(), "another byte at {position}");
        }
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        let newer = Manifest { format: FORMAT + 1, ..manifest() };
        assert!(Manifest::from_bytes(&newer.to_bytes()).unwrap_err().contains("format 2"));
        let gap = Manifest {
            partitions: vec![ArchivedPartition { ordinal: 1, at: Lsn(1), files: vec![] }],
            ..manifest()
        };
        assert!(Manifest::from_bytes(&gap.to_bytes()).is_err());
    }
}
