//! Writes at the primary: lock the rows, read them, make mutations of the statement, and have them committed.
//!
//! Isolation is READ COMMITTED: a row that the statement's condition chose is locked and then read again, and whether
//! it is still meant is decided on what was read under the lock.
//!
//! * S12: whether the statement is in the log already is asked after its rows are locked and before they are read, so
//!   a retry never sees its own first run as somebody else's. It never waits for the locks of that run, but for its end,
//!   and gives up waiting for others' locks only if it still is in no log.
//! * S2: all that a statement reads, it reads while this instance serves in one epoch, and its write is taken in that
//!   epoch or not at all. Locks alone do not do: they hold nobody off who writes at another primary in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{RECORD_BYTES_MAX, ROW_BYTES_MAX, STATEMENT_ROWS_MAX};
use baton_model::{Blob, Datum, Key, StatementId, TableId, encode_row};
use baton_replication::transaction::Overlay;
use baton_replication::{Known, Mutation, StatementOutcome, Write, WriteError};
use baton_sql::{Access, Change, CompiledChange};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::chunk::Chunk;
use super::overlay::overlaid;
use super::partition::{Input, PartitionHandle};
use super::runs::Run;
use super::tenure::{StatementLock, Tenure, Waiting};
use super::{Leaf, heavy};
use crate::wire::{DataRefusal, WriteOperation, WriteRequest};

impl Leaf {
    /// Carries out a write and answers with the affected rows. Goes on to its end even if the caller goes away.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub async fn write(self: &Arc<Self>, request: WriteRequest) -> Result<u64, DataRefusal> {
        let instance = self.instance(request.partition)?;
        let leaf = Arc::clone(self);
        to_its_end(async move {
            let _room = leaf.room_to_write()?;
            write(&instance, request).await
        })
        .await
    }
}

impl Leaf {
    /// Writes may wait for a replica for as long as the master aggregator does not say otherwise. However many do, there is
    /// room for calls that do not write.
    ///
    /// # Errors
    /// [`DataRefusal::Busy`].
    pub(super) fn room_to_write(&self) -> Result<SemaphorePermit<'_>, DataRefusal> {
        self.writing.try_acquire().map_err(|_| DataRefusal::Busy)
    }
}

/// Does work that goes on to its end even if the caller goes away.
///
/// # Errors
/// What it fails with; [`DataRefusal::Failed`] if it panics.
pub async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, DataRefusal>> + Send + 'static,
) -> Result<T, DataRefusal> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        let text = format!("the write was lost to a defect of the leaf: {error}");
        Err(DataRefusal::Failed(SqlError::new(ErrorCode::UnknownError, text)))
    })
}

async fn write(instance: &Arc<PartitionHandle>, request: WriteRequest) -> Result<u64, DataRefusal> {
    let run = instance.runs.begin(request.statement).await;
    if let Some(answer) = run.earlier() {
        return answer;
    }
    let answer = write_once(instance, request, &run).await;
    if matches!(answer, Err(DataRefusal::Failed(_))) {
        run.ended(answer.clone());
    }
    answer
}

async fn write_once(
    instance: &Arc<PartitionHandle>,
    request: WriteRequest,
    run: &Run,
) -> Result<u64, DataRefusal> {
    let tenure = instance.tenure().ok_or(DataRefusal::NotPrimary)?;
    let WriteRequest { statement, lock_wait_ms, operation, .. } = request;
    let patience = Duration::from_millis(lock_wait_ms);
    let work = Work::of(operation)?;
    let keys = tenure.shown(work.keys(&tenure, &Overlay::new(), patience).await)?;
    let table = work.table();
    let wanted = keys.iter().map(|key| (table, key.clone()));
    let _locks = match lock(instance, &tenure, statement, wanted, patience).await? {
        Locked::Now(locks) => locks,
        Locked::Done(affected) => return Ok(affected),
    };
    let made =
        heavy::run(keys.len(), || work.make(&Rows { tenure: &tenure, overlay: &Overlay::new() }, &keys));
    tenure.still_serves()?;
    let Made { mutations, affected_rows } = tenure.shown(made)?;
    if mutations.is_empty() {
        run.ended(Ok(affected_rows));
        return Ok(affected_rows);
    }
    let write = Write { statement, affected_rows, mutations };
    committed(instance.ask(|reply| Input::Write { epoch: tenure.epoch(), write, reply }).await)
}

/// What a statement does to one partition.
pub enum Work {
    /// New rows.
    Insert { table: TableId, replace: bool, rows: Vec<(Key, Blob)> },
    /// UPDATE or DELETE; or, without a change, only locks.
    Change {
        table: TableId,
        access: Access,
        compiled: Arc<CompiledChange>,
        count_found: bool,
        locks_only: bool,
    },
}

/// What a statement comes to.
pub struct Made {
    /// What it changes.
    pub mutations: Vec<Mutation>,
    /// What its client is told.
    pub affected_rows: u64,
}

impl Work {
    /// What an operation asks for.
    ///
    /// # Errors
    /// If its program is none.
    pub fn of(operation: WriteOperation) -> Result<Self, DataRefusal> {
        let (program, count_found, locks_only) = match operation {
            WriteOperation::Insert { table, replace, rows } => {
                return Ok(Self::Insert { table, replace, rows });
            }
            WriteOperation::Lock { program } => (program, true, true),
            WriteOperation::Change { program, count_found } => (program, count_found, false),
        };
        let (table, access) = (program.schema.id, program.access.clone());
        let compiled = Arc::new(program.compile().map_err(DataRefusal::Failed)?);
        Ok(Self::Change { table, access, compiled, count_found, locks_only })
    }

    /// Its table.
    pub fn table(&self) -> TableId {
        match self {
            Self::Insert { table, .. } | Self::Change { table, .. } => *table,
        }
    }

    /// The keys of the rows that it may change, without locks.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub async fn keys(
        &self,
        tenure: &Arc<Tenure>,
        overlay: &Overlay,
        patience: Duration,
    ) -> Result<Vec<Key>, DataRefusal> {
        let (table, access, compiled) = match self {
            Self::Insert { rows, .. } => return Ok(rows.iter().map(|(key, _)| key.clone()).collect()),
            Self::Change { table, access, compiled, .. } => (*table, access, compiled),
        };
        let prefix = match access {
            Access::Keys(keys) => return Ok(keys.clone()),
            Access::Prefix(prefix) => Some(prefix.clone()),
            Access::All => None,
        };
        // A row that is chosen by what is committed already must not be missed.
        let is_meant = |key: &Key| prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix));
        tenure.settled(table, is_meant, patience).await?;
        meant(tenure, table, prefix, compiled, overlay.clone()).await
    }

    /// What it comes to, on its locked rows.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub fn make(&self, rows: &Rows<'_>, keys: &[Key]) -> Result<Made, DataRefusal> {
        match self {
            Self::Insert { table, replace, rows: new } => insert(rows, *table, *replace, new),
            Self::Change { table, compiled, count_found, locks_only, .. } => {
                let (mut mutations, unchanged) = change(rows, *table, keys, compiled)?;
                let affected_rows = mutations.len() as u64 + if *count_found { unchanged } else { 0 };
                if *locks_only {
                    mutations.clear();
                }
                Ok(Made { mutations, affected_rows })
            }
        }
    }
}

/// The rows of one table as a statement sees them: what is committed, under what its transaction has written.
pub struct Rows<'a> {
    /// The primary.
    pub tenure: &'a Tenure,
    /// What its transaction has written to this table.
    pub overlay: &'a Overlay,
}

impl Rows<'_> {
    fn get(&self, table: TableId, key: &Key) -> Result<Option<Vec<u8>>, DataRefusal> {
        match self.overlay.get(key) {
            Some(row) => Ok(row.as_ref().map(|row| row.to_vec())),
            None => self.tenure.store().get(self.tenure.partition(), table, key).map_err(disk),
        }
    }
}

/// A statement with its rows locked, unless it needs none of it.
enum Locked {
    Now(StatementLock),
    /// It was carried out before, with so many rows.
    Done(u64),
}

async fn lock(
    instance: &Arc<PartitionHandle>,
    tenure: &Arc<Tenure>,
    statement: StatementId,
    keys: impl IntoIterator<Item = (TableId, Key)>,
    patience: Duration,
) -> Result<Locked, DataRefusal> {
    let (locks, wait) = tenure.lock_for_statement(keys);
    if let Some(granted) = wait {
        // Its first run may be over, and others hold the rows now.
        if let Some(affected) = earlier(instance, statement).await? {
            return Ok(Locked::Done(affected));
        }
        wait_for(granted, tenure, patience).await?;
    }
    Ok(match earlier(instance, statement).await? {
        Some(affected) => Locked::Done(affected),
        None => Locked::Now(locks),
    })
}

/// Waits until locks are granted.
///
/// # Errors
/// 1205; [`DataRefusal::NotPrimary`] if the rows may be free elsewhere; [`DataRefusal::RolledBack`] if the transaction
/// that waits is over.
pub async fn wait_for(granted: Waiting, tenure: &Tenure, patience: Duration) -> Result<(), DataRefusal> {
    let granted = tokio::select! {
        granted = timeout(patience, granted) => granted,
        () = tenure.ended.cancelled() => return Err(DataRefusal::NotPrimary),
    };
    match granted {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(DataRefusal::RolledBack),
        Err(_) => {
            tenure.still_serves()?;
            let text = format!(
                "Lock wait timeout exceeded after {} ms; try restarting transaction",
                patience.as_millis()
            );
            Err(DataRefusal::Failed(SqlError::new(ErrorCode::LockWaitTimeout, text)))
        }
    }
}

/// What the statement came to, if it came before (S12).
async fn earlier(
    instance: &Arc<PartitionHandle>,
    statement: StatementId,
) -> Result<Option<u64>, DataRefusal> {
    match instance.ask(|reply| Input::Known { statement, reply }).await {
        None => Err(DataRefusal::NotPrimary),
        Some(Known::No) => Ok(None),
        // Committed or not, and whoever is primary: the core answers when it is sure.
        Some(Known::InFlight(_) | Known::Committed(_)) => {
            let outcome = instance.ask(|reply| Input::Await { statement, reply }).await;
            committed(outcome).map(Some)
        }
    }
}

fn committed(outcome: Option<Result<StatementOutcome, WriteError>>) -> Result<u64, DataRefusal> {
    match outcome {
        Some(Ok(outcome)) => Ok(outcome.affected_rows),
        Some(Err(WriteError::NotPrimary)) => Err(DataRefusal::NotPrimary),
        Some(Err(WriteError::TooManyInFlight)) => Err(DataRefusal::Busy),
        Some(Err(WriteError::HandingOver)) => Err(DataRefusal::HandingOver),
        // The task ended with the write in its hands: it may be in the log.
        Some(Err(WriteError::Deposed)) | None => Err(DataRefusal::Deposed),
    }
}

/// The disk's error, for a client.
pub fn disk(error: impl std::fmt::Display) -> DataRefusal {
    DataRefusal::Failed(SqlError::new(ErrorCode::UnknownError, error.to_string()))
}

fn too_big(text: String) -> DataRefusal {
    DataRefusal::Failed(SqlError::new(ErrorCode::TooBig, text))
}

/// A changed row as it is stored.
fn encoded(row: &[Datum]) -> Result<Blob, DataRefusal> {
    let bytes = encode_row(row);
    if bytes.len() > ROW_BYTES_MAX {
        return Err(too_big(format!("Row size too large: a row has at most {ROW_BYTES_MAX} bytes")));
    }
    Ok(bytes.into())
}

/// Counts the bytes of a statement's mutations: they are one record of the log, and a record that no message can hold
/// could never be replicated.
#[derive(Default)]
struct RecordBytes(usize);

impl RecordBytes {
    fn add(&mut self, mutation: &Mutation) -> Result<(), DataRefusal> {
        self.0 += mutation.bytes();
        if self.0 > RECORD_BYTES_MAX {
            let text =
                format!("A statement writes at most {RECORD_BYTES_MAX} bytes of rows in one partition");
            return Err(too_big(text));
        }
        Ok(())
    }
}

fn insert(
    stored: &Rows<'_>,
    table: TableId,
    replace: bool,
    rows: &[(Key, Blob)],
) -> Result<Made, DataRefusal> {
    let mut affected = 0;
    let mut new: BTreeMap<&Key, &Blob> = BTreeMap::new();
    for (key, row) in rows {
        let exists = new.contains_key(key) || stored.get(table, key)?.is_some();
        if exists && !replace {
            let text = "Duplicate entry for key 'PRIMARY'";
            return Err(DataRefusal::Failed(SqlError::new(ErrorCode::DuplicateEntry, text)));
        }
        // As MySQL counts: one for the row that goes, one for the row that comes.
        affected += if exists { 2 } else { 1 };
        new.insert(key, row);
    }
    let mut bytes = RecordBytes::default();
    let mut mutations = Vec::with_capacity(new.len());
    for (key, row) in new {
        let mutation = Mutation { table, key: key.clone(), row: Some(row.clone()) };
        bytes.add(&mutation)?;
        mutations.push(mutation);
    }
    Ok(Made { mutations, affected_rows: affected })
}

fn change(
    stored: &Rows<'_>,
    table: TableId,
    keys: &[Key],
    compiled: &CompiledChange,
) -> Result<(Vec<Mutation>, u64), DataRefusal> {
    let mut mutations = Vec::new();
    let mut bytes = RecordBytes::default();
    let mut unchanged = 0;
    let mut chunk = Chunk::default();
    let mut present: Vec<&Key> = Vec::new();
    for (position, key) in keys.iter().enumerate() {
        if let Some(row) = stored.get(table, key)? {
            chunk.push(&row).map_err(disk)?;
            present.push(key);
        }
        if !chunk.is_full() && position + 1 < keys.len() {
            continue;
        }
        let changes = compiled.evaluate(chunk.rows()).map_err(DataRefusal::Failed)?;
        chunk.clear();
        for (key, change) in present.drain(..).zip(changes) {
            let row = match change {
                None => continue,
                Some(Change::Unchanged) => {
                    unchanged += 1;
                    continue;
                }
                Some(Change::Update(row)) => Some(encoded(&row)?),
                Some(Change::Delete) => None,
            };
            let mutation = Mutation { table, key: key.clone(), row };
            bytes.add(&mutation)?;
            mutations.push(mutation);
        }
    }
    Ok((mutations, unchanged))
}

/// The keys of the rows that a condition chooses, without locks.
async fn meant(
    tenure: &Arc<Tenure>,
    table: TableId,
    prefix: Option<Key>,
    compiled: &Arc<CompiledChange>,
    overlay: Overlay,
) -> Result<Vec<Key>, DataRefusal> {
    let (tenure, compiled) = (Arc::clone(tenure), Arc::clone(compiled));
    let found = tokio::task::spawn_blocking(move || {
        tenure.store().view(tenure.partition(), |view| {
            tenure.still_serves()?;
            let prefix = prefix.unwrap_or_default();
            let mut chosen = Vec::new();
            let mut keys: Vec<Key> = Vec::new();
            let mut chunk = Chunk::default();
            let mut stored = overlaid(view, table, &prefix, &overlay);
            loop {
                let next = stored.next().transpose().map_err(disk)?;
                let ended = next.is_none();
                if let Some((key, row)) = next {
                    chunk.push(&row).map_err(disk)?;
                    keys.push(key);
                }
                if chunk.is_full() || ended {
                    let changes = compiled.evaluate(chunk.rows()).map_err(DataRefusal::Failed)?;
                    let meant = keys.drain(..).zip(changes).filter(|(_, change)| change.is_some());
                    chosen.extend(meant.map(|(key, _)| key));
                    chunk.clear();
                    if chosen.len() > STATEMENT_ROWS_MAX {
                        let text =
                            format!("a statement changes at most {STATEMENT_ROWS_MAX} rows of a partition");
                        return Err(too_big(text));
                    }
                }
                if ended {
                    return Ok(chosen);
                }
            }
        })
    });
    found.await.map_err(disk)?.map_err(disk)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_grew_beyond_its_limit_is_refused() {
        let grown = |bytes: usize| encoded(&[Datum::Text("x".repeat(bytes))]);
        assert!(grown(ROW_BYTES_MAX - 100).is_ok());
        let Err(DataRefusal::Failed(error)) = grown(ROW_BYTES_MAX) else { panic!("it is too big") };
        assert_eq!(error.code, ErrorCode::TooBig);
    }
}
