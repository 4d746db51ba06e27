//! BACKUP, RESTORE and SNAPSHOT of a database, as the master aggregator has them carried out.
//!
//! A backup: the leaves write their own partitions, each at one LSN; what of the database is in the catalog is written
//! here; the manifest comes last and makes it a backup.
//! A restore: a database that nobody sees is created, the leaves take their partitions in, and at the end it is seen. If
//! anything fails before, it goes again; if the master aggregator does, the next one sees to that.
//!
//! * S12: both run under the statement's id, and are asked about until they are over. What a lost master aggregator
//!   had finished is found finished: a backup by its manifest, a restore by its outcome in the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_archive::{
    Archive, ArchiveError, ArchivedFile, ArchivedPartition, ArchivedTable, Manifest, RowsFile, read_rows,
};
use baton_catalog::{Catalog, Command, Database, Entry, ReferenceWrite, Rejection, Severity, event_type};
use baton_failover::placement;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{BACKUP_FILE_BYTES, RESTORE_RECORD_BYTES};
use baton_model::{
    ArchivePlace, Blob, CatalogIndex, DatabaseId, Key, NodeId, PartitionId, StatementId, TableId, TableKind,
    TableSchema,
};
use baton_sql::BackupStatement;
use futures::future::try_join_all;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Aggregator;
use super::execute::refusal;
use crate::server::wall_clock_ms;
use crate::wire::{
    ArchiveNews, BEGUN, BackupRequest, DataRefusal, ForwardAnswer, ForwardRefusal, Opening, Request,
    Response, RestoreRequest, decode,
};

/// A leaf that is at work on a partition says so within a second; after this much silence it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Between two attempts at a partition.
const RETRY: Duration = Duration::from_millis(200);
/// Leaves hear within this that their part of a backup is not wanted any more.
const LEAVES_HEAR: Duration = Duration::from_secs(1);
/// A leaf takes no longer to write a snapshot.
const SNAPSHOT: Duration = Duration::from_secs(60);
/// What the reference system does not let be backed up.
const INTERNAL: &[&str] = &["information_schema", "memsql", "cluster", "sharding"];

fn archive_error(error: ArchiveError) -> SqlError {
    SqlError::new(ErrorCode::ArchiveFailed, error.to_string())
}

fn refused(text: impl Into<String>) -> SqlError {
    SqlError::new(ErrorCode::OperationRefused, text)
}

fn folder_of(name: &str) -> Result<String, SqlError> {
    let fits = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-. $".contains(c));
    if fits && !name.starts_with('.') {
        return Ok(format!("{name}.backup"));
    }
    Err(SqlError::new(ErrorCode::WrongArguments, format!("'{name}' cannot be the name of a backup")))
}

/// What a restore is to make of a backup.
struct Wish {
    backup: String,
    name: String,
    from: ArchivePlace,
    replication: Option<baton_model::ReplicationMode>,
    durability: Option<baton_model::Durability>,
    partitions: Option<u32>,
}

impl Aggregator {
    /// Carries out one of these statements as the master aggregator.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn execute_backup(
        self: &Arc<Self>,
        id: StatementId,
        statement: BackupStatement,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let aggregator = Arc::clone(self);
        self.long
            .run(id, || async move {
                match statement {
                    BackupStatement::Backup { database, name, to, timeout_ms } => {
                        let limit = timeout_ms.map_or(Duration::MAX, Duration::from_millis);
                        aggregator.backup(id, &database, &name, &to, limit).await
                    }
                    BackupStatement::Restore { backup, name, from, replication, durability, partitions } => {
                        let wish = Wish { backup, name, from, replication, durability, partitions };
                        aggregator.restore(id, &wish).await
                    }
                    BackupStatement::Snapshot { database, replicas } => {
                        aggregator.snapshot(&database, replicas).await
                    }
                }
            })
            .await
    }

    fn database_named(catalog: &Catalog, name: &str) -> Result<Database, SqlError> {
        if INTERNAL.iter().any(|internal| name.eq_ignore_ascii_case(internal)) {
            let text = format!(
                "Operation 'BACKUP DATABASE' can't be executed on internal database('{name}') utilized by SingleStore."
            );
            return Err(SqlError::new(ErrorCode::InternalDatabase, text));
        }
        let unknown = || SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{name}'"));
        catalog.database(name).cloned().ok_or_else(unknown)
    }

    async fn backup(
        self: &Arc<Self>,
        id: StatementId,
        database: &str,
        name: &str,
        place: &ArchivePlace,
        limit: Duration,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let catalog = self.current_catalog().await?;
        let found = Self::database_named(&catalog, database)?;
        let folder = folder_of(name)?;
        let archive =
            tokio::task::block_in_place(|| Archive::open(place, &folder, true)).map_err(archive_error)?;
        let run = format!("{:016x}", rand::random::<u64>());
        let manifest = match archive.manifest().await.map_err(archive_error)? {
            // A master aggregator before this one had come to the end of it (S12).
            Some(manifest) if manifest.statement == id => manifest,
            Some(_) => return Err(refused(format!("There is a backup '{name}' in {place} already")).into()),
            None => {
                let writing = self.write_files(id, &catalog, &found, &archive, place, (&folder, &run));
                let written = timeout(limit, writing).await.unwrap_or_else(|_| {
                    Err(refused(format!("The backup took longer than {} ms", limit.as_millis())).into())
                });
                match written {
                    Ok(manifest) => finish_backup(&archive, manifest, place, &run).await?,
                    Err(error) => {
                        remove_attempt(&archive, &run).await;
                        return Err(error);
                    }
                }
            }
        };
        let bytes: u64 = manifest.files().map(|file| file.bytes).sum();
        let rows: u64 = manifest.files().map(|file| file.rows).sum();
        info!(database, bytes, rows, place = %place, "backed up");
        let command = Command::RecordEvent {
            severity: Severity::Notice,
            event_type: event_type::BACKUP_DB.into(),
            node: None,
            details: format!("{database}: {rows} rows, {bytes} bytes, to {place} as '{name}'"),
        };
        self.commit(id, command).await.map(|answer| ForwardAnswer { affected_rows: 1, ..answer })
    }

    /// Writes everything but the manifest, which would make a backup of it.
    async fn write_files(
        self: &Arc<Self>,
        id: StatementId,
        catalog: &Catalog,
        database: &Database,
        archive: &Archive,
        place: &ArchivePlace,
        (folder, run): (&str, &str),
    ) -> Result<Manifest, ForwardRefusal> {
        let begun = format!("{run}/{BEGUN}");
        archive.put(&begun, b"A backup was begun here.\n".to_vec(), 0).await.map_err(archive_error)?;
        let tables: Vec<ArchivedTable> = catalog
            .tables(database.id)
            .map(|table| ArchivedTable {
                schema: table.schema.clone(),
                auto_increment_next: table.auto_increment_next,
            })
            .collect();
        let sharded = tables.iter().filter(|table| table.schema.kind == TableKind::Sharded);
        let sharded: Vec<TableId> = sharded.map(|table| table.schema.id).collect();
        let of_partition = |partition: PartitionId| {
            let opening = Opening::Backup(Box::new(BackupRequest {
                partition,
                tables: sharded.clone(),
                place: place.clone(),
                folder: folder.to_owned(),
                run: run.to_owned(),
            }));
            async move {
                match self.at_primary(partition, &opening).await? {
                    ArchiveNews::Archived(archived) => Ok(archived),
                    _ => Err(SqlError::new(
                        ErrorCode::UnknownError,
                        "A leaf gave an answer to another question",
                    )),
                }
            }
        };
        let parts = catalog.partitions_of(database.id).map(|partition| of_partition(partition.id));
        let partitions: Vec<ArchivedPartition> = try_join_all(parts).await?;
        // After the partitions: the rows of a table that is seen in both are never older here than there.
        let current = self.current_catalog().await?;
        let same = |table: &ArchivedTable| current.table_by_id(table.schema.id).is_some();
        if current.database_by_id(database.id).is_none() || !tables.iter().all(same) {
            return Err(refused("A table was dropped while the database was backed up; do it again").into());
        }
        let reference = archive_reference(&current, &tables, archive, run).await?;
        let tables = tables
            .into_iter()
            .map(|table| ArchivedTable {
                auto_increment_next: current
                    .table_by_id(table.schema.id)
                    .map_or(table.auto_increment_next, |now| now.auto_increment_next),
                ..table
            })
            .collect();
        Ok(Manifest {
            format: Manifest::format(),
            statement: id,
            database: database.name.clone(),
            at_ms: wall_clock_ms(),
            replication: database.replication,
            durability: database.durability,
            tables,
            partitions,
            reference,
        })
    }

    /// Has the primary of a partition do long work, through failovers: the next primary begins anew.
    async fn at_primary(&self, partition: PartitionId, opening: &Opening) -> Result<ArchiveNews, SqlError> {
        let mut deadline = Instant::now() + self.buffer_time();
        loop {
            let mut last = "its primary is offline".to_owned();
            if let Some((_, address)) = self.primary(partition)? {
                let mut heard = None;
                match self.hear_out(&address, opening, &mut heard).await {
                    Ok(ArchiveNews::Refused(DataRefusal::Failed(error))) => return Err(error),
                    Ok(ArchiveNews::Refused(refusal)) => last = format!("{refusal:?}"),
                    Ok(news) => return Ok(news),
                    Err(why) => last = why,
                }
                // It was at work until then: what it waits for begins there.
                if let Some(heard) = heard {
                    deadline = deadline.max(heard + self.buffer_time());
                }
            }
            if Instant::now() >= deadline {
                let name = self.context.catalog().partition_name(partition);
                let text = format!("Partition {name} has no master instance that could do it: {last}");
                return Err(SqlError::new(ErrorCode::NoMasterInstance, text));
            }
            let mut catalogs = self.context.watch_catalog();
            catalogs.borrow_and_update();
            tokio::select! {
                _ = catalogs.changed() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    /// The last thing that a leaf says of work that goes on, and when it last said that it does.
    async fn hear_out(
        &self,
        address: &str,
        opening: &Opening,
        heard: &mut Option<Instant>,
    ) -> Result<ArchiveNews, String> {
        let (_hold, mut inbound) =
            self.context.open(address, opening).await.map_err(|error| error.to_string())?;
        loop {
            match timeout(SILENCE_MAX, inbound.recv()).await {
                Ok(Some(Ok(bytes))) => match decode(&bytes).map_err(|garbled| garbled.to_string())? {
                    ArchiveNews::Alive => *heard = Some(Instant::now()),
                    news => return Ok(news),
                },
                Ok(Some(Err(lost))) => return Err(lost.to_string()),
                Ok(None) => return Err("it ended too early".into()),
                Err(_) => return Err(format!("{address} said nothing for {SILENCE_MAX:?}")),
            }
        }
    }

    async fn restore(
        self: &Arc<Self>,
        id: StatementId,
        wish: &Wish,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let catalog = self.current_catalog().await?;
        // What a lost master aggregator had begun of this statement.
        let left: Vec<DatabaseId> =
            catalog.restores().filter(|restore| restore.statement == id).map(|left| left.database).collect();
        for database in left {
            self.abort_restore(database, "it is begun anew by another master aggregator").await?;
        }
        if catalog.database(&wish.name).is_some() {
            let text = format!("Can't create database '{}'; database exists", wish.name);
            return Err(SqlError::new(ErrorCode::DatabaseExists, text).into());
        }
        let folder = folder_of(&wish.backup)?;
        let opened = tokio::task::block_in_place(|| Archive::open(&wish.from, &folder, false));
        let archive = opened.map_err(archive_error)?;
        let manifest = archive.manifest().await.map_err(archive_error)?.ok_or_else(|| {
            let text = format!("There is no backup '{}' in {}", wish.backup, wish.from);
            SqlError::new(ErrorCode::ArchiveFailed, text)
        })?;
        check_files(&archive, &manifest, wish).await?;
        let count = wish.partitions.unwrap_or(manifest.partitions.len() as u32);
        let redundancy = catalog.number("redundancy_level");
        let placements = self
            .placing(&catalog, |placer| placement(&catalog, &wish.name, count, redundancy, placer))
            .map_err(|error| refused(error.to_string()))?;
        let begin = Command::BeginRestore {
            statement: id,
            name: wish.name.clone(),
            replication: wish.replication.unwrap_or(manifest.replication),
            durability: wish.durability.unwrap_or(manifest.durability),
            placements,
            tables: manifest.tables.iter().map(|t| (t.schema.clone(), t.auto_increment_next)).collect(),
        };
        self.propose_now(begin).await?;
        let catalog = self.current_catalog().await?;
        let database = catalog.restores().filter(|restore| restore.statement == id).last();
        let database = database.ok_or(ForwardRefusal::Unknown)?.database;
        let filled = self.fill(&catalog, database, &archive, &manifest, (wish, &folder)).await;
        let (rows, bytes) = match filled {
            Ok(filled) => filled,
            Err(error) => {
                let reason = match &error {
                    ForwardRefusal::Failed(error) => error.message.clone(),
                    _ => "the master aggregator was lost".into(),
                };
                // If it cannot be said now, the next master aggregator says it.
                if let Err(error) = self.abort_restore(database, &reason).await {
                    warn!(?error, %database, "what a failed restore has left is removed later");
                }
                return Err(error);
            }
        };
        let details = format!("{rows} rows, {bytes} bytes, from '{}' in {}", wish.backup, wish.from);
        let finished = self.commit(id, Command::FinishRestore { database, details }).await;
        if let Err(ForwardRefusal::Failed(error)) = &finished {
            let _ = self.abort_restore(database, &error.message).await;
        }
        finished.map(|answer| ForwardAnswer { affected_rows: 1, ..answer })
    }

    /// Removes what there is of a restore that is not finished; whoever has done so before was right.
    async fn abort_restore(&self, database: DatabaseId, reason: &str) -> Result<(), ForwardRefusal> {
        let command = Command::AbortRestore { database, reason: reason.to_owned() };
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        match self.propose(entry).await.map_err(refusal)? {
            Ok(_) | Err(Rejection::NotRestoring(_)) => Ok(()),
            Err(rejection) => Err((&rejection).into()),
        }
    }

    async fn propose_now(&self, command: Command) -> Result<(), ForwardRefusal> {
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        match self.propose(entry).await.map_err(refusal)? {
            Ok(_) => Ok(()),
            Err(rejection) => Err((&rejection).into()),
        }
    }

    /// Brings everything back into a database that nobody sees; answers with the rows and the bytes.
    async fn fill(
        self: &Arc<Self>,
        catalog: &Catalog,
        database: DatabaseId,
        archive: &Archive,
        manifest: &Manifest,
        (wish, folder): (&Wish, &str),
    ) -> Result<(u64, u64), ForwardRefusal> {
        let renamed: BTreeMap<TableId, TableSchema> = manifest
            .tables
            .iter()
            .filter_map(|table| {
                let now = catalog.table(database, &table.schema.name)?;
                Some((table.schema.id, now.schema.clone()))
            })
            .collect();
        let reference = self.restore_reference(&renamed, archive, &manifest.reference).await?;
        let count = catalog.partitions_of(database).count();
        let cut_anew = count != manifest.partitions.len();
        let tables: Vec<(TableId, TableSchema)> =
            renamed.iter().map(|(old, schema)| (*old, schema.clone())).collect();
        let of_partition = |partition: PartitionId| {
            let own = manifest.partitions.iter().filter(|p| cut_anew || p.ordinal == partition.ordinal);
            let opening = Opening::Restore(Box::new(RestoreRequest {
                partition,
                place: wish.from.clone(),
                folder: folder.to_owned(),
                files: own.flat_map(|archived| archived.files.clone()).collect(),
                tables: tables.clone(),
                cut_into: cut_anew.then_some(count as u32),
            }));
            async move {
                match self.at_primary(partition, &opening).await? {
                    ArchiveNews::Restored(rows) => Ok(rows),
                    _ => Err(SqlError::new(
                        ErrorCode::UnknownError,
                        "A leaf gave an answer to another question",
                    )),
                }
            }
        };
        let parts = catalog.partitions_of(database).map(|partition| of_partition(partition.id));
        let rows = reference + try_join_all(parts).await?.into_iter().sum::<u64>();
        let expected: u64 = manifest.files().map(|file| file.rows).sum();
        if rows != expected {
            let text = format!("{rows} rows came back instead of {expected}");
            return Err(SqlError::new(ErrorCode::BackupIncomplete, text).into());
        }
        Ok((rows, manifest.files().map(|file| file.bytes).sum()))
    }

    async fn restore_reference(
        &self,
        tables: &BTreeMap<TableId, TableSchema>,
        archive: &Archive,
        files: &[ArchivedFile],
    ) -> Result<u64, ForwardRefusal> {
        let mut versions: BTreeMap<TableId, u64> = BTreeMap::new();
        let mut written = 0;
        for file in files {
            let bytes = archive.read(file).await.map_err(archive_error)?;
            let damaged =
                |what: String| archive_error(ArchiveError::Damaged { name: file.name.clone(), what });
            let rows = read_rows(&bytes).map_err(damaged)?;
            let mut rows = rows.into_iter().peekable();
            while let Some((old, ..)) = rows.peek().copied() {
                let table =
                    tables.get(&old).ok_or_else(|| damaged(format!("it has rows of table {old}")))?.id;
                let mut chunk: Vec<(Key, Option<Blob>)> = Vec::new();
                let mut size = 0;
                while size < RESTORE_RECORD_BYTES
                    && let Some((_, key, row)) = rows.next_if(|(of, ..)| *of == old)
                {
                    size += key.len() + row.len();
                    chunk.push((key.to_vec(), Some(Blob::new(row))));
                }
                let version = versions.entry(table).or_insert(1);
                let affected_rows = chunk.len() as u64;
                written += affected_rows;
                self.propose_now(Command::WriteReference(ReferenceWrite {
                    table,
                    expected_version: *version,
                    rows: chunk,
                    affected_rows,
                    last_insert_id: 0,
                }))
                .await?;
                *version += 1;
            }
        }
        Ok(written)
    }

    /// Drops what a lost master aggregator has left of restores: nobody is at work on them.
    pub fn abandoned_restores(&self, catalog: &Catalog) -> Vec<Command> {
        let abandoned = catalog.restores().filter(|restore| !self.long.is_running(restore.statement));
        let reason = "the master aggregator that restored it was lost";
        abandoned.map(|r| Command::AbortRestore { database: r.database, reason: reason.into() }).collect()
    }

    /// Has every primary, or every instance, of a database bring its rows to disk and cut its log.
    async fn snapshot(&self, database: &str, replicas: bool) -> Result<ForwardAnswer, ForwardRefusal> {
        let catalog = self.current_catalog().await?;
        let database = Self::database_named(&catalog, database)?;
        let instances: Vec<(PartitionId, NodeId)> = catalog
            .partitions_of(database.id)
            .flat_map(|partition| {
                let all = partition.instances().map(|node| (partition.id, node));
                all.take(if replicas { usize::MAX } else { 1 }).collect::<Vec<_>>()
            })
            .collect();
        let one = |(partition, node): (PartitionId, NodeId)| {
            let address = catalog.node(node).map(|node| node.rpc_address()).unwrap_or_default();
            let name = format!("{} on {}", catalog.partition_name(partition), catalog.address_of(node));
            async move {
                let failed = |why: String| {
                    SqlError::new(ErrorCode::LeafUnreachable, format!("No snapshot of {name}: {why}"))
                };
                match self.context.ask(&address, &Request::Snapshot { partition }, SNAPSHOT).await {
                    Ok(Response::Snapshotted(Ok(_))) => Ok(()),
                    Ok(Response::Snapshotted(Err(DataRefusal::Failed(error)))) => Err(error),
                    Ok(Response::Snapshotted(Err(refusal))) => Err(failed(format!("{refusal:?}"))),
                    Ok(_) => Err(failed("it gave an answer to another question".into())),
                    Err(error) => Err(failed(error.to_string())),
                }
            }
        };
        try_join_all(instances.into_iter().map(one)).await?;
        Ok(ForwardAnswer { affected_rows: 0, last_insert_id: 0, index: CatalogIndex(0) })
    }
}

/// Makes a backup of what was written. If nobody knows whether it is one, nothing is removed.
async fn finish_backup(
    archive: &Archive,
    manifest: Manifest,
    place: &ArchivePlace,
    run: &str,
) -> Result<Manifest, ForwardRefusal> {
    match archive.finish(&manifest).await {
        Ok(true) => {}
        Ok(false) => {
            remove_attempt(archive, run).await;
            return Err(refused(format!("Somebody else has written a backup to {place} meanwhile")).into());
        }
        Err(error) => {
            let text = format!(
                "Whether the backup in {place} is finished is not known: {error}. Do BACKUP DATABASE again: it says so if \
                 it is, and removes what this attempt has left if it is not"
            );
            return Err(SqlError::new(ErrorCode::OutcomeUnknown, text).into());
        }
    }
    if let Err(error) = archive.remove_attempts(&manifest).await {
        warn!(%error, "what attempts of a backup have left could not be removed");
    }
    Ok(manifest)
}

/// Removes what a failed attempt has written, and then what leaves wrote that had not heard of its end.
async fn remove_attempt(archive: &Archive, run: &str) {
    for pause in [Duration::ZERO, LEAVES_HEAR] {
        sleep(pause).await;
        if let Err(error) = archive.remove_below(run).await {
            warn!(%error, "what a failed backup has left could not be removed");
        }
    }
}

/// Every file is there, with its size. That each is what was written is seen when it is read.
async fn check_files(archive: &Archive, manifest: &Manifest, wish: &Wish) -> Result<(), SqlError> {
    let mut without = BTreeSet::new();
    for partition in &manifest.partitions {
        for file in &partition.files {
            if archive.size(&file.name).await.map_err(archive_error)? != Some(file.bytes) {
                without.insert(partition.ordinal);
            }
        }
    }
    if let Some(first) = without.first() {
        let text = format!(
            "Restoring partitions on {}. Couldn't find backup file for partition {first} of database {} (there are {} partitions without backup files).",
            wish.from,
            wish.backup,
            without.len(),
        );
        return Err(SqlError::new(ErrorCode::BackupIncomplete, text));
    }
    Ok(())
}

async fn archive_reference(
    catalog: &Catalog,
    tables: &[ArchivedTable],
    archive: &Archive,
    run: &str,
) -> Result<Vec<ArchivedFile>, SqlError> {
    let mut files = Vec::new();
    let mut file = RowsFile::default();
    for table in tables.iter().filter(|table| table.schema.kind == TableKind::Reference) {
        for (key, row) in catalog.reference_rows(table.schema.id) {
            file.push(table.schema.id, key, row);
            if file.bytes() >= BACKUP_FILE_BYTES {
                let name = format!("{run}/reference-{:06}.rows", files.len());
                let (bytes, rows) = std::mem::take(&mut file).finish();
                files.push(archive.put(&name, bytes, rows).await.map_err(archive_error)?);
            }
        }
    }
    if !file.is_empty() {
        let name = format!("{run}/reference-{:06}.rows", files.len());
        let (bytes, rows) = file.finish();
        files.push(archive.put(&name, bytes, rows).await.map_err(archive_error)?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_stays_within_its_place() {
        assert_eq!(folder_of("shop").unwrap(), "shop.backup");
        assert_eq!(folder_of("ünter 2").unwrap(), "ünter 2.backup");
        for name in ["", "..", ".hidden", "a/b", "a\\b", "a\0b"] {
            assert!(folder_of(name).is_err(), "{name:?}");
        }
    }
}
