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
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{RECORD_BYTES_MAX, ROW_BYTES_MAX, STATEMENT_ROWS_MAX};
use baton_model::{Blob, Datum, Epoch, Key, StatementId, TableId, encode_row};
use baton_replication::{Grant, Known, Mutation, Owner, StatementOutcome, Write, WriteError};
use baton_sql::{Access, Change, CompiledChange};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::chunk::Chunk;
use super::partition::{Input, PartitionHandle};
use super::{Leaf, heavy};
use crate::wire::{DataRefusal, WriteOperation, WriteRequest};

impl Leaf {
    /// Carries out a write and answers with the affected rows. Goes on to its end even if the caller goes away.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub async fn write(self: &Arc<Self>, request: WriteRequest) -> Result<u64, DataRefusal> {
        let instance = self.instance(request.partition)?;
        let running = tokio::spawn(async move { write(&instance, request).await });
        running.await.unwrap_or_else(|error| {
            let text = format!("the write was lost to a defect of the leaf: {error}");
            Err(DataRefusal::Failed(SqlError::new(ErrorCode::UnknownError, text)))
        })
    }
}

async fn write(instance: &Arc<PartitionHandle>, request: WriteRequest) -> Result<u64, DataRefusal> {
    let epoch = instance.serving_epoch().ok_or(DataRefusal::NotPrimary)?;
    let WriteRequest { statement, lock_wait_ms, operation, .. } = request;
    let patience = Duration::from_millis(lock_wait_ms);
    let _run = instance.runs.begin(statement).await;
    match operation {
        WriteOperation::Insert { table, replace, rows } => {
            let keys = rows.iter().map(|(key, _)| (table, key.clone()));
            let _locks = match lock(instance, epoch, statement, keys, patience).await? {
                Locked::Now(locks) => locks,
                Locked::Done(affected) => return Ok(affected),
            };
            let made = heavy::run(rows.len(), || insert(instance, table, replace, rows));
            still_serves(instance, epoch)?;
            let (mutations, affected_rows) = shown(instance, epoch, made)?;
            commit(instance, epoch, Write { statement, affected_rows, mutations }).await
        }
        WriteOperation::Change { program, count_found } => {
            let table = program.schema.id;
            let access = program.access.clone();
            let compiled = Arc::new(program.compile().map_err(DataRefusal::Failed)?);
            let keys = match access {
                Access::Keys(keys) => keys,
                Access::Prefix(prefix) => {
                    let meant = meant(instance, epoch, table, Some(prefix), &compiled).await;
                    shown(instance, epoch, meant)?
                }
                Access::All => {
                    let meant = meant(instance, epoch, table, None, &compiled).await;
                    shown(instance, epoch, meant)?
                }
            };
            let wanted = keys.iter().map(|key| (table, key.clone()));
            let _locks = match lock(instance, epoch, statement, wanted, patience).await? {
                Locked::Now(locks) => locks,
                Locked::Done(affected) => return Ok(affected),
            };
            let made = heavy::run(keys.len(), || change(instance, table, &keys, &compiled));
            still_serves(instance, epoch)?;
            let (mutations, unchanged) = shown(instance, epoch, made)?;
            let affected_rows = mutations.len() as u64 + if count_found { unchanged } else { 0 };
            if mutations.is_empty() {
                instance.may_show(epoch)?;
                return Ok(affected_rows);
            }
            commit(instance, epoch, Write { statement, affected_rows, mutations }).await
        }
    }
}

/// What was read so far was read of the primary of this epoch.
fn still_serves(instance: &PartitionHandle, epoch: Epoch) -> Result<(), DataRefusal> {
    if instance.serving_epoch() == Some(epoch) { Ok(()) } else { Err(DataRefusal::NotPrimary) }
}

/// An error of a statement says something of the rows that were read; it is one only if they are the present.
fn shown<T>(
    instance: &PartitionHandle,
    epoch: Epoch,
    made: Result<T, DataRefusal>,
) -> Result<T, DataRefusal> {
    if matches!(made, Err(DataRefusal::Failed(_))) {
        instance.may_show(epoch)?;
    }
    made
}

/// A statement with its rows locked, unless it needs none of it.
enum Locked {
    Now(Locks),
    /// It was carried out before, with so many rows.
    Done(u64),
}

async fn lock(
    instance: &Arc<PartitionHandle>,
    epoch: Epoch,
    statement: StatementId,
    keys: impl IntoIterator<Item = (TableId, Key)>,
    patience: Duration,
) -> Result<Locked, DataRefusal> {
    let (locks, wait) = Locks::want(instance, keys);
    if let Some(granted) = wait {
        // Its first run may be over, and others hold the rows now.
        if let Some(affected) = earlier(instance, statement).await? {
            return Ok(Locked::Done(affected));
        }
        if !matches!(timeout(patience, granted).await, Ok(Ok(()))) {
            // If it was deposed meanwhile, the rows may be free elsewhere.
            still_serves(instance, epoch)?;
            let text = format!(
                "Lock wait timeout exceeded after {} ms; try restarting transaction",
                patience.as_millis()
            );
            return Err(DataRefusal::Failed(SqlError::new(ErrorCode::LockWaitTimeout, text)));
        }
    }
    Ok(match earlier(instance, statement).await? {
        Some(affected) => Locked::Done(affected),
        None => Locked::Now(locks),
    })
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

async fn commit(instance: &Arc<PartitionHandle>, epoch: Epoch, write: Write) -> Result<u64, DataRefusal> {
    committed(instance.ask(|reply| Input::Write { epoch, write, reply }).await)
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

fn stored(instance: &PartitionHandle, table: TableId, key: &Key) -> Result<Option<Vec<u8>>, DataRefusal> {
    instance.store.get(instance.partition(), table, key).map_err(disk)
}

fn disk(error: impl std::fmt::Display) -> DataRefusal {
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
    instance: &PartitionHandle,
    table: TableId,
    replace: bool,
    rows: Vec<(Key, Blob)>,
) -> Result<(Vec<Mutation>, u64), DataRefusal> {
    let mut affected = 0;
    let mut new: BTreeMap<Key, Blob> = BTreeMap::new();
    for (key, row) in rows {
        let exists = new.contains_key(&key) || stored(instance, table, &key)?.is_some();
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
        let mutation = Mutation { table, key, row: Some(row) };
        bytes.add(&mutation)?;
        mutations.push(mutation);
    }
    Ok((mutations, affected))
}

fn change(
    instance: &PartitionHandle,
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
        if let Some(row) = stored(instance, table, key)? {
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
    instance: &Arc<PartitionHandle>,
    epoch: Epoch,
    table: TableId,
    prefix: Option<Key>,
    compiled: &Arc<CompiledChange>,
) -> Result<Vec<Key>, DataRefusal> {
    let (instance, compiled) = (Arc::clone(instance), Arc::clone(compiled));
    let found = tokio::task::spawn_blocking(move || {
        instance.store.view(instance.partition(), |view| {
            still_serves(&instance, epoch)?;
            let from = prefix.as_deref().map_or(Bound::Unbounded, Bound::Included);
            let mut chosen = Vec::new();
            let mut keys: Vec<Key> = Vec::new();
            let mut chunk = Chunk::default();
            let mut stored = view.scan(table, from, Bound::Unbounded);
            loop {
                let next = match stored.next().transpose().map_err(disk)? {
                    Some((key, _)) if prefix.as_ref().is_some_and(|p| !key.starts_with(p)) => None,
                    next => next,
                };
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

/// Row locks that are given back when this goes.
struct Locks {
    instance: Arc<PartitionHandle>,
    number: u64,
}

impl Locks {
    /// Takes them, or queues for them; then the receiver says when they are had.
    fn want(
        instance: &Arc<PartitionHandle>,
        keys: impl IntoIterator<Item = (TableId, Key)>,
    ) -> (Self, Option<oneshot::Receiver<()>>) {
        let number = instance.next_owner();
        let locks = Self { instance: Arc::clone(instance), number };
        let mut table = instance.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match table.acquire(Owner::Statement(number), keys) {
            Grant::Now => None,
            Grant::Later => {
                let (grant, granted) = oneshot::channel();
                let mut waiters = instance.lock_waiters.lock().unwrap_or_else(PoisonError::into_inner);
                waiters.insert(number, grant);
                Some(granted)
            }
        };
        (locks, wait)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let mut table = self.instance.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = table.release(Owner::Statement(self.number));
        let mut waiters = self.instance.lock_waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.remove(&self.number);
        for owner in granted {
            if let Owner::Statement(number) = owner
                && let Some(grant) = waiters.remove(&number)
            {
                let _ = grant.send(());
            }
        }
    }
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
