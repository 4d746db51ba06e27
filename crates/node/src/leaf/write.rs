//! Writes at the primary: lock the rows, read them, make mutations of the statement, and have them committed.
//!
//! Isolation is READ COMMITTED: a row that the statement's condition chose is locked and then read again, and whether
//! it is still meant is decided on what was read under the lock.
//!
//! * S12: whether the statement is in the log already is asked after its rows are locked and before they are read, so
//!   a retry never sees its own first run as somebody else's.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::STATEMENT_ROWS_MAX;
use baton_model::{Blob, Key, Row, StatementId, TableId, decode_row, encode_row};
use baton_replication::{Grant, Known, Mutation, Owner, StatementOutcome, Write, WriteError};
use baton_sql::{Access, Change, CompiledChange};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Leaf;
use super::partition::{Input, PartitionHandle};
use crate::wire::{DataRefusal, WriteOperation, WriteRequest};

/// Rows that are evaluated together.
const CHUNK_ROWS: usize = 1024;

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
    if !instance.serves() {
        return Err(DataRefusal::NotPrimary);
    }
    let patience = Duration::from_millis(request.lock_wait_ms);
    match request.operation {
        WriteOperation::Insert { table, replace, rows } => {
            let _locks =
                Locks::take(instance, rows.iter().map(|(key, _)| (table, key.clone())), patience).await?;
            if let Some(affected) = earlier(instance, request.statement).await? {
                return Ok(affected);
            }
            let (mutations, affected_rows) = insert(instance, table, replace, rows)?;
            commit(instance, request.statement, mutations, affected_rows).await
        }
        WriteOperation::Change(program) => {
            let table = program.schema.id;
            let access = program.access.clone();
            let compiled = Arc::new(program.compile().map_err(DataRefusal::Failed)?);
            let keys = match access {
                Access::Keys(keys) => keys,
                Access::Prefix(prefix) => meant(instance, table, Some(prefix), &compiled).await?,
                Access::All => meant(instance, table, None, &compiled).await?,
            };
            let _locks = Locks::take(instance, keys.iter().map(|key| (table, key.clone())), patience).await?;
            if let Some(affected) = earlier(instance, request.statement).await? {
                return Ok(affected);
            }
            let (mutations, affected_rows) = change(instance, table, &keys, &compiled)?;
            if mutations.is_empty() {
                return Ok(0);
            }
            commit(instance, request.statement, mutations, affected_rows).await
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

async fn commit(
    instance: &Arc<PartitionHandle>,
    statement: StatementId,
    mutations: Vec<Mutation>,
    affected_rows: u64,
) -> Result<u64, DataRefusal> {
    let write = Write { statement, affected_rows, mutations };
    committed(instance.ask(|reply| Input::Write { write, reply }).await)
}

fn committed(outcome: Option<Result<StatementOutcome, WriteError>>) -> Result<u64, DataRefusal> {
    match outcome {
        Some(Ok(outcome)) => Ok(outcome.affected_rows),
        Some(Err(WriteError::NotPrimary)) => Err(DataRefusal::NotPrimary),
        Some(Err(WriteError::TooManyInFlight)) => Err(DataRefusal::Busy),
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
    let mutations = new.into_iter().map(|(key, row)| Mutation { table, key, row: Some(row) }).collect();
    Ok((mutations, affected))
}

fn change(
    instance: &PartitionHandle,
    table: TableId,
    keys: &[Key],
    compiled: &CompiledChange,
) -> Result<(Vec<Mutation>, u64), DataRefusal> {
    let mut mutations = Vec::new();
    for chunk in keys.chunks(CHUNK_ROWS) {
        let mut present: Vec<&Key> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for key in chunk {
            if let Some(bytes) = stored(instance, table, key)? {
                rows.push(decode_row(&bytes).map_err(disk)?);
                present.push(key);
            }
        }
        let changes = compiled.evaluate(&rows).map_err(DataRefusal::Failed)?;
        for (key, change) in present.into_iter().zip(changes) {
            let row = match change {
                None | Some(Change::Unchanged) => continue,
                Some(Change::Update(row)) => Some(Blob::from(encode_row(&row))),
                Some(Change::Delete) => None,
            };
            mutations.push(Mutation { table, key: key.clone(), row });
        }
    }
    let affected = mutations.len() as u64;
    Ok((mutations, affected))
}

/// The keys of the rows that a condition chooses, without locks.
async fn meant(
    instance: &Arc<PartitionHandle>,
    table: TableId,
    prefix: Option<Key>,
    compiled: &Arc<CompiledChange>,
) -> Result<Vec<Key>, DataRefusal> {
    let (instance, compiled) = (Arc::clone(instance), Arc::clone(compiled));
    let found = tokio::task::spawn_blocking(move || {
        instance.store.view(instance.partition(), |view| {
            let from = prefix.as_deref().map_or(Bound::Unbounded, Bound::Included);
            let mut chosen = Vec::new();
            let mut keys: Vec<Key> = Vec::new();
            let mut rows: Vec<Row> = Vec::new();
            let mut stored = view.scan(table, from, Bound::Unbounded);
            loop {
                let next = match stored.next().transpose().map_err(disk)? {
                    Some((key, _)) if prefix.as_ref().is_some_and(|p| !key.starts_with(p)) => None,
                    next => next,
                };
                let ended = next.is_none();
                if let Some((key, bytes)) = next {
                    rows.push(decode_row(&bytes).map_err(disk)?);
                    keys.push(key);
                }
                if rows.len() == CHUNK_ROWS || ended {
                    let changes = compiled.evaluate(&rows).map_err(DataRefusal::Failed)?;
                    let meant = keys.drain(..).zip(changes).filter(|(_, change)| change.is_some());
                    chosen.extend(meant.map(|(key, _)| key));
                    rows.clear();
                    if chosen.len() > STATEMENT_ROWS_MAX {
                        let text =
                            format!("a statement changes at most {STATEMENT_ROWS_MAX} rows of a partition");
                        return Err(DataRefusal::Failed(SqlError::new(ErrorCode::TooBig, text)));
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
    owner: Owner,
}

impl Locks {
    async fn take(
        instance: &Arc<PartitionHandle>,
        keys: impl IntoIterator<Item = (TableId, Key)>,
        patience: Duration,
    ) -> Result<Self, DataRefusal> {
        let owner = Owner(instance.next_owner());
        let locks = Self { instance: Arc::clone(instance), owner };
        let granted = {
            let mut table = instance.locks.lock().unwrap_or_else(PoisonError::into_inner);
            match table.acquire(owner, keys) {
                Grant::Now => return Ok(locks),
                Grant::Later => {
                    let (grant, granted) = oneshot::channel();
                    let mut waiters = instance.lock_waiters.lock().unwrap_or_else(PoisonError::into_inner);
                    waiters.insert(owner.0, grant);
                    granted
                }
            }
        };
        match timeout(patience, granted).await {
            Ok(Ok(())) => Ok(locks),
            _ => {
                let text = format!(
                    "Lock wait timeout exceeded after {} ms; try restarting transaction",
                    patience.as_millis()
                );
                Err(DataRefusal::Failed(SqlError::new(ErrorCode::LockWaitTimeout, text)))
            }
        }
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let mut table = self.instance.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = table.release(self.owner);
        let mut waiters = self.instance.lock_waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.remove(&self.owner.0);
        for owner in granted {
            if let Some(grant) = waiters.remove(&owner.0) {
                let _ = grant.send(());
            }
        }
    }
}
