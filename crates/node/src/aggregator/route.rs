//! The way to the primaries, through a failover if need be.
//!
//! A statement whose partition has no primary, or whose primary is lost while it works, waits for the next one, for at
//! most `failover_buffer_ms` and as the `retry` policy says. It keeps its id, so it is done once, whoever did it (S12).
//!
//! An error that would come away with another attempt is no answer once an earlier attempt may have been carried out:
//! a row lock that cannot be had may be that attempt's own.

use std::time::Duration;

use async_trait::async_trait;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::RECORD_BYTES_MAX;
use baton_model::{Key, NodeId, PartitionId, StatementId, TableId};
use baton_sql::{BatchStream, ScanRequest, Scanner};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{sleep, sleep_until};
use tracing::debug;

use super::Aggregator;
use super::patience::{Awaited, Patience};
use super::transaction::Reading;
use crate::context::AskError;
use crate::wire::{
    DataRefusal, GetRequest, Opening, Request, Response, ScanNews, Within, WriteOperation, WriteRequest,
    decode, encode,
};

/// Between two attempts, if nothing tells that it is worth one earlier.
const RETRY: Duration = Duration::from_millis(20);

/// How an attempt went.
pub enum Attempt<T> {
    /// It was answered.
    Done(T),
    /// It was answered with this error.
    Failed(SqlError),
    /// Nothing was done.
    NotYet(String),
    /// It may have been done.
    Unsure(String),
}

impl Aggregator {
    /// The primary to ask now.
    ///
    /// # Errors
    /// If the partition does not exist (any more).
    pub fn primary(&self, partition: PartitionId) -> Result<Option<(NodeId, String)>, SqlError> {
        let catalog = self.context.catalog();
        if catalog.partition(partition).is_none() {
            return Err(SqlError::new(
                ErrorCode::UnknownDatabase,
                "Unknown database: it was dropped meanwhile",
            ));
        }
        Ok(catalog.serving(partition).map(|node| (node.id, node.rpc_address())))
    }

    /// Ends when the catalog names another primary, or none.
    async fn primary_is_no_longer(&self, partition: PartitionId, node: NodeId) {
        let mut catalogs = self.context.watch_catalog();
        loop {
            if catalogs.borrow_and_update().serving(partition).map(|node| node.id) != Some(node) {
                return;
            }
            if catalogs.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Attempts something at a partition's primary, and at the next one, until it is answered.
    ///
    /// # Errors
    /// What the primary says; 1777 if surely nothing was done in time, 1180 if that is unknown.
    pub async fn through_failover<T, F: Future<Output = Attempt<T>> + Send>(
        &self,
        partition: PartitionId,
        attempt: impl Fn(String) -> F + Send,
    ) -> Result<T, SqlError> {
        let mut patience = self.patience(Awaited::Primary(partition));
        loop {
            match self.primary(partition)? {
                None => patience.last = "its primary is offline".into(),
                Some((node, address)) => {
                    let outcome = tokio::select! {
                        outcome = attempt(address.clone()) => outcome,
                        () = self.primary_is_no_longer(partition, node) => {
                            Attempt::Unsure(format!("{address} is not its primary any more"))
                        }
                        () = sleep_until(patience.deadline()) => {
                            Attempt::Unsure(format!("{address} did not answer in time"))
                        }
                    };
                    match outcome {
                        Attempt::Done(answer) => return Ok(answer),
                        Attempt::Failed(error) if patience.uncertain.is_some() && error.code.retryable() => {
                            patience.last = error.message;
                        }
                        Attempt::Failed(error) => return Err(error),
                        Attempt::NotYet(why) => patience.last = why,
                        Attempt::Unsure(why) => patience.uncertain = Some(why),
                    }
                }
            }
            if !patience.goes_on() {
                let name = self.context.catalog().partition_name(partition);
                return Err(give_up(patience, &name));
            }
            debug!(%partition, last = patience.last, uncertain = ?patience.uncertain, "waiting for a primary");
            let mut catalogs = self.context.watch_catalog();
            catalogs.borrow_and_update();
            tokio::select! {
                _ = catalogs.changed() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    /// Has one partition write, and answers with the affected rows.
    ///
    /// # Errors
    /// [`SqlError`]: 1777 if nothing was done, 1180 if that is unknown, or what the leaf said.
    pub async fn write(
        &self,
        partition: PartitionId,
        statement: StatementId,
        operation: WriteOperation,
    ) -> Result<u64, SqlError> {
        let lock_wait_ms = self.context.catalog().number("lock_wait_timeout_ms");
        let request = Request::Write(WriteRequest { partition, statement, lock_wait_ms, operation });
        // Encoded once, sent as often as need be.
        let body = Bytes::from(encode(&request));
        drop(request);
        if body.len() > RECORD_BYTES_MAX {
            let text = format!("A statement writes at most {RECORD_BYTES_MAX} bytes in one partition");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        let timeout = self.buffer_time() + Duration::from_millis(lock_wait_ms);
        self.through_failover(partition, |address| async {
            let address = address;
            let header = self.context.pulse.header();
            match self.context.peers.call(&address, header, body.clone(), timeout).await {
                Err(error) if error.is_surely_undone() => Attempt::NotYet(error.to_string()),
                Err(error) => Attempt::Unsure(error.to_string()),
                Ok(answer) => match decode(&answer) {
                    Ok(Response::Written(Ok(affected))) => Attempt::Done(affected),
                    Ok(Response::Written(Err(refusal))) => refused(refusal),
                    _ => Attempt::Unsure(AskError::Garbled(address).to_string()),
                },
            }
        })
        .await
    }

    /// Reads rows of one partition by key, in the order of the keys.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn get(
        &self,
        partition: PartitionId,
        table: TableId,
        keys: Vec<Key>,
        within: Option<Within>,
    ) -> Result<Vec<Option<Vec<u8>>>, SqlError> {
        let request = Request::Get(GetRequest { partition, table, keys, within });
        let found = self
            .through_failover(partition, |address| async {
                let address = address;
                match self.context.ask(&address, &request, baton_model::limits::CALL_TIMEOUT).await {
                    Err(error) => Attempt::NotYet(error.to_string()),
                    Ok(Response::Rows(Ok(rows))) => Attempt::Done(rows),
                    Ok(Response::Rows(Err(refusal))) => refused(refusal),
                    Ok(_) => Attempt::NotYet(AskError::Garbled(address).to_string()),
                }
            })
            .await;
        found.map_err(known_undone)
    }
}

/// A read changes nothing: its outcome is never unknown.
fn known_undone(error: SqlError) -> SqlError {
    if error.code == ErrorCode::OutcomeUnknown {
        return SqlError::new(ErrorCode::LeafUnreachable, error.message);
    }
    error
}

/// What a leaf's refusal makes of an attempt.
pub fn refused<T>(refusal: DataRefusal) -> Attempt<T> {
    match refusal {
        DataRefusal::InDoubt => Attempt::NotYet("the end of a transaction there is not known yet".into()),
        DataRefusal::RolledBack | DataRefusal::Deadlock => {
            let text = "What the transaction did in a partition is gone; try restarting transaction";
            Attempt::Failed(SqlError::new(ErrorCode::Deadlock, text))
        }
        DataRefusal::NotPrimary => Attempt::NotYet("the leaf is not its primary (yet)".into()),
        DataRefusal::NoLease => Attempt::NotYet("the leaf has no lease to read".into()),
        DataRefusal::Busy => Attempt::NotYet("too many writes wait there".into()),
        DataRefusal::HandingOver => Attempt::NotYet("the leaf hands it over to another one".into()),
        DataRefusal::Deposed => Attempt::Unsure("the leaf stopped being its primary".into()),
        DataRefusal::Failed(error) => Attempt::Failed(error),
    }
}

fn give_up(patience: Patience<'_>, name: &str) -> SqlError {
    match patience.uncertain {
        Some(why) => SqlError::new(
            ErrorCode::OutcomeUnknown,
            format!("Whether the statement was carried out in partition {name} is unknown: {why}"),
        ),
        None => SqlError::new(
            ErrorCode::NoMasterInstance,
            format!("Partition {name} has no master instance: {}", patience.last),
        ),
    }
}

/// Scans through an aggregator; for a transaction, as it reads.
#[derive(Clone)]
pub struct LeafScanner(pub std::sync::Arc<Aggregator>, pub Option<Reading>);

impl std::fmt::Debug for LeafScanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeafScanner")
    }
}

#[async_trait]
impl Scanner for LeafScanner {
    /// Up to the first batch a scan goes through a failover; after it, a lost leaf is the query's error.
    async fn scan(&self, request: ScanRequest) -> Result<BatchStream, SqlError> {
        let partition = request.partition;
        let within = self.1.as_ref().and_then(|reading| reading.of(partition, request.schema.id));
        let opening = Opening::Scan(Box::new(request), within);
        let begun = self
            .0
            .through_failover(partition, |address| async {
                let address = address;
                let (hold, mut inbound) = match self.0.context.open(&address, &opening).await {
                    Ok(stream) => stream,
                    Err(error) => return Attempt::NotYet(error.to_string()),
                };
                match next(&mut inbound).await {
                    Ok(ScanNews::Refused(refusal)) => refused(refusal),
                    // It has begun, though it may have found nothing yet.
                    Ok(first) => Attempt::Done((hold, inbound, first)),
                    Err(why) => Attempt::NotYet(why),
                }
            })
            .await
            .map_err(known_undone)?;
        let (hold, inbound, first) = begun;
        let state = Some((hold, inbound, Some(first)));
        let batches = futures::stream::unfold(state, |state| async move {
            let (hold, mut inbound, first) = state?;
            let mut news = match first {
                Some(first) => Ok(first),
                None => next(&mut inbound).await,
            };
            while matches!(news, Ok(ScanNews::Alive)) {
                news = next(&mut inbound).await;
            }
            match news {
                Ok(ScanNews::Alive) => None, // Taken above.
                Ok(ScanNews::Batch(batch)) => Some((Ok(batch), Some((hold, inbound, None)))),
                Ok(ScanNews::End) => None,
                Ok(ScanNews::Refused(DataRefusal::Failed(error))) => Some((Err(error), None)),
                Ok(ScanNews::Refused(refusal)) => Some((Err(lost(&format!("{refusal:?}"))), None)),
                Err(why) => Some((Err(lost(&why)), None)),
            }
        });
        Ok(batches.boxed())
    }
}

fn lost(why: &str) -> SqlError {
    SqlError::new(
        ErrorCode::LeafUnreachable,
        format!("A leaf was lost while it sent rows; send the query again: {why}"),
    )
}

/// The next message of a scan, within a bound.
async fn next(inbound: &mut baton_transport::Inbound) -> Result<ScanNews, String> {
    match tokio::time::timeout(baton_model::limits::CALL_TIMEOUT, inbound.recv()).await {
        Ok(Some(Ok(bytes))) => decode(&bytes).map_err(|garbled| garbled.to_string()),
        Ok(Some(Err(lost))) => Err(lost.to_string()),
        Ok(None) => Err("it ended too early".into()),
        Err(_) => Err("it said nothing in time".into()),
    }
}
