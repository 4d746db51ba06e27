//! BACKUP, RESTORE and SNAPSHOT of a database; their first word is taken.

use baton_model::{ArchivePlace, Secret};
use datafusion::sql::sqlparser::parser::Parser;

use super::database::{Modes, partition_count};
use super::source::Refusal;
use super::words::Words;
use crate::statement::BackupStatement;

/// A backup takes no longer than a week.
const TIMEOUT_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// `[DATABASE] db [AS name] TO place [TIMEOUT ms]`.
pub(super) fn backup(parser: &mut Parser<'_>) -> Result<BackupStatement, Refusal> {
    let _ = parser.take("DATABASE");
    let database = parser.name("the name of a database")?;
    let name = if parser.take("AS") { parser.name("a name")? } else { database.clone() };
    if parser.take("WITH") {
        for word in ["DIFFERENTIAL", "INIT"] {
            if parser.at(word) {
                return parser.unsupported(&format!("BACKUP WITH {word}"));
            }
        }
        return parser.refuse("TO");
    }
    parser.want("TO")?;
    let to = place(parser)?;
    let timeout_ms = if parser.take("TIMEOUT") {
        Some(parser.number("milliseconds, a week at most", 1..=TIMEOUT_MS_MAX)?)
    } else {
        None
    };
    Ok(BackupStatement::Backup { database, name, to, timeout_ms })
}

/// `[DATABASE] db [AS name] FROM place [WITH …] [PARTITIONS n]`.
pub(super) fn restore(parser: &mut Parser<'_>) -> Result<BackupStatement, Refusal> {
    let _ = parser.take("DATABASE");
    let backup = parser.name("the name of a backup")?;
    let name = if parser.take("AS") { parser.name("a name")? } else { backup.clone() };
    parser.want("FROM")?;
    let from = place(parser)?;
    let (mut modes, mut partitions) = (Modes::default(), None);
    while !parser.at_end() {
        if parser.take("PARTITIONS") {
            partitions = partition_count(parser)?;
            continue;
        }
        parser.want("WITH")?;
        if parser.at("FILE") {
            return parser.unsupported("RESTORE WITH FILE");
        }
        modes.read(parser)?;
    }
    let Modes { replication, durability } = modes;
    Ok(BackupStatement::Restore { backup, name, from, replication, durability, partitions })
}

/// `[DATABASE] db`, of the primaries or of all instances.
pub(super) fn snapshot(parser: &mut Parser<'_>, replicas: bool) -> Result<BackupStatement, Refusal> {
    let _ = parser.take("DATABASE");
    Ok(BackupStatement::Snapshot { database: parser.name("the name of a database")?, replicas })
}

/// `'path'`, or `S3 'bucket/path' [CONFIG '{…}'] [CREDENTIALS '{…}']`.
fn place(parser: &mut Parser<'_>) -> Result<ArchivePlace, Refusal> {
    if !parser.take("S3") {
        for other in ["GCS", "AZURE", "HDFS"] {
            if parser.at(other) {
                return parser.unsupported(&format!("a backup in {other}"));
            }
        }
        return Ok(ArchivePlace::Folder(parser.text("a path in quotes, or S3")?));
    }
    let path = parser.text("bucket and path in quotes")?;
    let (mut config, mut credentials) = (String::new(), Secret::default());
    loop {
        if parser.take("CONFIG") {
            config = parser.text("a JSON object in quotes")?;
        } else if parser.take("CREDENTIALS") {
            credentials = Secret::new(parser.text("a JSON object in quotes")?);
        } else {
            return Ok(ArchivePlace::S3 { path, config, credentials });
        }
    }
}
