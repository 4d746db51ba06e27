//! A client's transaction: its statements, its savepoints, and how it ends.
//!
//! What it has written lies in the workspaces of the partitions' primaries; here is only where they are. A statement that
//! fails in one partition is taken back in the others. If one of the workspaces is gone, so is the transaction: it is
//! rolled back as a whole, with error 1213, which clients know to begin again.
//!
//! A statement over several partitions that is its own transaction goes the same way, and is begun again through a
//! failover as long as nothing is decided.
//!
//! * S9: how it is committed is [`Coordinator`]'s to say; here its requests are sent, through a failover if need be.
//! * S12: the outcome of a COMMIT whose answer was lost can be asked for; see `outcome.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{CALL_TIMEOUT, RECORD_BYTES_MAX, SAVEPOINTS_MAX};
use baton_model::{DatabaseId, PartitionId, StatementId, TableId, TransactionId};
use baton_replication::deadlock;
use baton_replication::transaction::{
    Answer, CommitOutcome, Coordinator, CoordinatorEffect, CoordinatorEvent, Origin, Place, Request as Step,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::Aggregator;
use super::route::{Attempt, refused};
use crate::context::AskError;
use crate::server::wall_clock_us;
use crate::wire::{
    DataRefusal, Membership, Request, Response, TakeBackRequest, Within, WriteOperation, WriteRequest,
    WrittenWithin, decode, encode,
};

/// A statement that has waited for so long looks for a deadlock over several leaves; and so long between two looks.
const DEADLOCK_LOOK: Duration = Duration::from_millis(200);
/// How long a leaf may take to say who waits for whom.
const WAITS_TIMEOUT: Duration = Duration::from_millis(500);
/// A ROLLBACK answers once all partitions have given the locks back, or after this; they do it all the same.
const ROLLBACK_PATIENCE: Duration = Duration::from_millis(400);
/// Between two attempts of a statement that is its own transaction.
const AGAIN: Duration = Duration::from_millis(20);

/// How a statement of a transaction failed.
#[derive(Debug)]
pub enum Failure {
    /// It did nothing, and its transaction goes on.
    Statement(SqlError),
    /// Its transaction has to be rolled back.
    Transaction(SqlError),
}

/// A partition in which a transaction has a workspace.
#[derive(Clone, Copy, Debug)]
struct Workspace {
    place: Place,
    has_written: bool,
}

/// An open transaction. It is rolled back when it is dropped.
pub struct Transaction {
    aggregator: Arc<Aggregator>,
    id: TransactionId,
    /// READ ONLY.
    pub read_only: bool,
    origin: Option<Origin>,
    workspaces: BTreeMap<PartitionId, Workspace>,
    /// Every partition that was asked for anything.
    touched: BTreeSet<PartitionId>,
    /// Of its statements that wrote or locked, how many there were.
    statements: u32,
    /// Each with the number of statements before it, oldest first.
    savepoints: Vec<(String, u32)>,
    is_over: bool,
}

fn rolled_back(why: &str) -> Failure {
    let text = format!("{why}; the transaction was rolled back, try restarting transaction");
    Failure::Transaction(SqlError::new(ErrorCode::Deadlock, text))
}

fn in_deadlock() -> Failure {
    rolled_back("Deadlock found when trying to get lock")
}

impl Aggregator {
    /// Whether a transaction is open here.
    #[must_use]
    pub fn runs(&self, transaction: TransactionId) -> bool {
        self.transactions.lock().unwrap_or_else(PoisonError::into_inner).contains(&transaction)
    }

    fn note_running(&self, transaction: TransactionId, runs: bool) {
        let mut running = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        if runs {
            running.insert(transaction);
        } else {
            running.remove(&transaction);
        }
    }

    /// Whose a transaction is that begins to write now. Waits until the catalog knows this run of the process: before,
    /// leaves would take it for one that is gone.
    async fn origin(&self) -> Result<Origin, SqlError> {
        let incarnation = self.context.pulse.incarnation();
        let me = self.context.node();
        let known = super::supervisor::until(self, self.buffer_time(), |catalog| {
            catalog.node(me).is_some_and(|node| node.incarnation == incarnation)
        });
        known.await.map_err(|_| {
            let text = "The master aggregator has yet to learn that this aggregator was restarted";
            SqlError::new(ErrorCode::ConnectToMaster, text)
        })?;
        Ok(Origin { aggregator: me, incarnation, began_at: self.context.catalog().index() })
    }

    /// One statement over several partitions, all or nothing. It is begun again, through a failover too, until it is
    /// committed or may be.
    ///
    /// # Errors
    /// [`SqlError`]: 1180 if the outcome is unknown; after any other nothing was done.
    pub async fn write_everywhere(
        self: &Arc<Self>,
        operations: &[(PartitionId, WriteOperation)],
    ) -> Result<u64, SqlError> {
        let deadline = Instant::now() + self.buffer_time();
        loop {
            let mut transaction = Transaction::begin(self, false);
            let error = match transaction.write(operations.to_vec()).await {
                Ok(affected) => match transaction.commit_writes().await {
                    Ok(()) => return Ok(affected),
                    Err(error) if error.code == ErrorCode::OutcomeUnknown => return Err(error),
                    Err(error) => error,
                },
                Err(Failure::Statement(error)) => {
                    transaction.rollback().await;
                    return Err(error);
                }
                Err(Failure::Transaction(error)) => {
                    transaction.rollback().await;
                    error
                }
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            debug!(%error, "a statement over several partitions begins again");
            sleep(AGAIN).await;
        }
    }

    /// Sends a step of a commit to a partition's primary until it is answered; None if it is not, in time. However short
    /// statements are held in a failover, a commit that is under way is worth a moment.
    async fn send_step(&self, partition: PartitionId, request: Step) -> Option<Answer> {
        let request = Request::Transaction { partition, request };
        let least = Instant::now() + CALL_TIMEOUT;
        loop {
            let answer = self
                .through_failover(partition, |address| async {
                    let address = address;
                    match self.context.ask(&address, &request, CALL_TIMEOUT).await {
                        Ok(Response::Transaction(answer)) if answer.is_to_be_asked_again() => {
                            Attempt::NotYet(answer.to_string())
                        }
                        Ok(Response::Transaction(answer)) => Attempt::Done(answer),
                        Ok(_) => Attempt::Unsure(AskError::Garbled(address).to_string()),
                        Err(error) => Attempt::Unsure(error.to_string()),
                    }
                })
                .await;
            match answer {
                Ok(answer) => return Some(answer),
                Err(error) if error.code == ErrorCode::UnknownDatabase || Instant::now() >= least => {
                    debug!(%partition, %error, "a step of a commit was not answered");
                    return None;
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Has one partition carry out a statement of a transaction.
    async fn write_within(
        &self,
        request: WriteRequest,
        member: Membership,
    ) -> Result<WrittenWithin, Failure> {
        let (partition, lock_wait_ms) = (request.partition, request.lock_wait_ms);
        let body = Bytes::from(encode(&Request::WriteWithin(request, member)));
        if body.len() > RECORD_BYTES_MAX {
            let text = format!("A statement writes at most {RECORD_BYTES_MAX} bytes in one partition");
            return Err(Failure::Statement(SqlError::new(ErrorCode::TooBig, text)));
        }
        let patience = self.buffer_time() + Duration::from_millis(lock_wait_ms);
        self.as_member(partition, |address| async {
            let address = address;
            let header = self.context.pulse.header();
            match self.context.peers.call(&address, header, body.clone(), patience).await {
                Err(error) if error.is_surely_undone() => Attempt::NotYet(error.to_string()),
                Err(error) => Attempt::Unsure(error.to_string()),
                Ok(answer) => match decode(&answer) {
                    Ok(Response::WrittenWithin(answer)) => member_attempt(answer),
                    _ => Attempt::Unsure(AskError::Garbled(address).to_string()),
                },
            }
        })
        .await
    }

    async fn take_back(&self, request: TakeBackRequest) -> Result<WrittenWithin, Failure> {
        let question = Request::TakeBack(request);
        self.as_member(request.partition, |address| async {
            let address = address;
            match self.context.ask(&address, &question, CALL_TIMEOUT).await {
                Ok(Response::TakenBack(answer)) => member_attempt(answer),
                Ok(_) => Attempt::Unsure(AskError::Garbled(address).to_string()),
                Err(error) => Attempt::Unsure(error.to_string()),
            }
        })
        .await
    }

    /// Through a failover, in which a workspace is lost: then there is nothing to wait for.
    async fn as_member<F: Future<Output = Attempt<Result<WrittenWithin, Failure>>> + Send>(
        &self,
        partition: PartitionId,
        attempt: impl Fn(String) -> F + Send,
    ) -> Result<WrittenWithin, Failure> {
        match self.through_failover(partition, attempt).await {
            Ok(answer) => answer,
            // An attempt that is not answered may yet be carried out, in a workspace that nobody will commit.
            Err(error) if error.code == ErrorCode::OutcomeUnknown => Err(rolled_back(&error.message)),
            Err(error) => Err(Failure::Statement(error)),
        }
    }

    /// Ends once this transaction is in a circle of waits, and is the one in it to be rolled back: the youngest. A
    /// circle counts if it is seen twice in a row: leaves are asked one moment after another.
    async fn is_the_victim(&self, transaction: TransactionId) {
        let mut seen_before = None;
        loop {
            sleep(DEADLOCK_LOOK).await;
            let catalog = self.context.catalog();
            let leaves: Vec<String> =
                catalog.leaves().filter(|leaf| leaf.is_online()).map(|leaf| leaf.rpc_address()).collect();
            let questions = leaves.iter().map(|leaf| self.context.ask(leaf, &Request::Waits, WAITS_TIMEOUT));
            let mut waits = BTreeSet::new();
            for answer in join_all(questions).await {
                if let Ok(Response::Waits(more)) = answer {
                    waits.extend(more);
                }
            }
            let circle: Option<BTreeSet<TransactionId>> =
                deadlock(&waits, transaction).map(|circle| circle.into_iter().collect());
            let is_youngest = circle.as_ref().and_then(BTreeSet::last) == Some(&transaction);
            if is_youngest && circle == seen_before {
                return;
            }
            seen_before = circle;
        }
    }
}

/// What a leaf said to a member.
fn member_attempt(answer: Result<WrittenWithin, DataRefusal>) -> Attempt<Result<WrittenWithin, Failure>> {
    match answer {
        Ok(written) => Attempt::Done(Ok(written)),
        Err(DataRefusal::RolledBack) => Attempt::Done(Err(rolled_back(
            "What the transaction did in a partition is gone, with its primary or because it was idle",
        ))),
        Err(DataRefusal::Deadlock) => Attempt::Done(Err(in_deadlock())),
        Err(DataRefusal::Failed(error)) => Attempt::Done(Err(Failure::Statement(error))),
        Err(refusal) => refused(refusal),
    }
}

impl Transaction {
    /// A transaction that has done nothing yet.
    #[must_use]
    pub fn begin(aggregator: &Arc<Aggregator>, read_only: bool) -> Self {
        let id = TransactionId::new(u64::try_from(wall_clock_us()).unwrap_or(0), rand::random());
        aggregator.note_running(id, true);
        Self {
            aggregator: Arc::clone(aggregator),
            id,
            read_only,
            origin: None,
            workspaces: BTreeMap::new(),
            touched: BTreeSet::new(),
            statements: 0,
            savepoints: Vec::new(),
            is_over: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.id
    }

    fn database(&self) -> Option<DatabaseId> {
        self.touched.first().map(|partition| partition.database)
    }

    /// How it reads a partition. It sees of one table, if one is named, only rows that it has locked.
    #[must_use]
    pub fn reading(&self, locked: Option<TableId>) -> Reading {
        let places = self.workspaces.iter().map(|(partition, workspace)| (*partition, workspace.place));
        Reading { transaction: self.id, places: places.collect(), locked }
    }

    /// Carries out a statement in these partitions, all of the same database; in all or in none.
    ///
    /// # Errors
    /// [`Failure`]. After [`Failure::Transaction`], it has to be [rolled back](Self::rollback).
    pub async fn write(&mut self, operations: Vec<(PartitionId, WriteOperation)>) -> Result<u64, Failure> {
        let Some(database) = operations.first().map(|(partition, _)| partition.database) else {
            return Ok(0);
        };
        if self.database().is_some_and(|other| other != database) {
            let text = "A transaction writes to the tables of one database: COMMIT, and begin another one";
            return Err(Failure::Statement(SqlError::new(ErrorCode::NotSupported, text)));
        }
        let origin = match self.origin {
            Some(origin) => origin,
            None => *self.origin.insert(self.aggregator.origin().await.map_err(Failure::Statement)?),
        };
        self.statements += 1;
        let number = self.statements;
        let keep = self.savepoints.first().map_or(number, |(_, before)| before + 1);
        let lock_wait_ms = self.aggregator.context.catalog().number("lock_wait_timeout_ms");
        let statement = StatementId(rand::random());
        self.touched.extend(operations.iter().map(|(partition, _)| *partition));
        let aggregator = Arc::clone(&self.aggregator);
        let writes = operations.into_iter().map(|(partition, operation)| {
            let request = WriteRequest { partition, statement, lock_wait_ms, operation };
            let place = self.workspaces.get(&partition).map(|workspace| workspace.place);
            let member = Membership { transaction: self.id, origin, place, number, keep };
            let aggregator = &aggregator;
            async move { (partition, aggregator.write_within(request, member).await) }
        });
        let writes: Vec<_> = writes.collect();
        let outcomes = tokio::select! {
            outcomes = join_all(writes) => outcomes,
            () = aggregator.is_the_victim(self.id) => return Err(in_deadlock()),
        };
        let mut affected = 0;
        let mut failure: Option<Failure> = None;
        for (partition, outcome) in outcomes {
            match outcome {
                Ok(WrittenWithin { place, affected_rows, has_written }) => {
                    affected += affected_rows;
                    self.workspaces.insert(partition, Workspace { place, has_written });
                }
                Err(whole @ Failure::Transaction(_)) => failure = Some(whole),
                Err(one) => drop(failure.get_or_insert(one)),
            }
        }
        match failure {
            None => Ok(affected),
            Some(Failure::Statement(error)) => {
                self.take_back(number - 1).await?;
                Err(Failure::Statement(error))
            }
            Some(whole) => Err(whole),
        }
    }

    /// Takes back what came after so many statements, in every partition.
    async fn take_back(&mut self, after: u32) -> Result<(), Failure> {
        let aggregator = Arc::clone(&self.aggregator);
        let requests = self.workspaces.iter().map(|(partition, workspace)| {
            let request = TakeBackRequest {
                partition: *partition,
                transaction: self.id,
                place: workspace.place,
                after,
                begun: self.statements,
            };
            let aggregator = &aggregator;
            async move { (request.partition, aggregator.take_back(request).await) }
        });
        let requests: Vec<_> = requests.collect();
        for (partition, outcome) in join_all(requests).await {
            match outcome {
                Ok(WrittenWithin { place, has_written, .. }) => {
                    self.workspaces.insert(partition, Workspace { place, has_written });
                }
                // What could not be taken back must not be committed.
                Err(Failure::Statement(error)) => return Err(rolled_back(&error.message)),
                Err(whole) => return Err(whole),
            }
        }
        Ok(())
    }

    /// Sets a savepoint; one with this name is set anew.
    ///
    /// # Errors
    /// 1118 if there are too many.
    pub fn savepoint(&mut self, name: &str) -> Result<(), SqlError> {
        self.savepoints.retain(|(other, _)| other != name);
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            let text = format!("A transaction has at most {SAVEPOINTS_MAX} savepoints");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        self.savepoints.push((name.to_owned(), self.statements));
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints.iter().position(|(other, _)| other == name).ok_or_else(|| no_savepoint(name))
    }

    /// Takes back what came after a savepoint, and the savepoints after it. Locks stay.
    ///
    /// # Errors
    /// 1305; [`Failure::Transaction`].
    pub async fn rollback_to(&mut self, name: &str) -> Result<(), Failure> {
        let found = self.find(name).map_err(Failure::Statement)?;
        self.savepoints.truncate(found + 1);
        self.take_back(self.savepoints[found].1).await
    }

    /// Forgets a savepoint and those after it.
    ///
    /// # Errors
    /// 1305.
    pub fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let found = self.find(name)?;
        self.savepoints.truncate(found);
        Ok(())
    }

    /// Commits. Rows that it has locked and not written must still be locked: what it did may depend on them.
    ///
    /// # Errors
    /// 1213 if it was rolled back, 1180 if that cannot be known.
    pub async fn commit(mut self) -> Result<(), SqlError> {
        let only_locks = self.workspaces.values().any(|workspace| !workspace.has_written);
        if only_locks
            && let Err(Failure::Statement(error) | Failure::Transaction(error)) =
                self.take_back(self.statements).await
        {
            self.rollback().await;
            return Err(error);
        }
        self.commit_writes().await
    }

    /// Commits what it has written. Goes on to its end even if the caller goes away.
    async fn commit_writes(mut self) -> Result<(), SqlError> {
        self.is_over = true;
        let (aggregator, id) = (Arc::clone(&self.aggregator), self.id);
        let written: BTreeMap<PartitionId, Place> = self
            .workspaces
            .iter()
            .filter(|(_, workspace)| workspace.has_written)
            .map(|(partition, workspace)| (*partition, workspace.place))
            .collect();
        let others: Vec<PartitionId> =
            self.touched.iter().copied().filter(|partition| !written.contains_key(partition)).collect();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            match Coordinator::begin(id, &written) {
                Some((coordinator, effects)) => {
                    coordinate(&aggregator, coordinator, effects, others, tell).await;
                    aggregator.note_running(id, false);
                }
                None => {
                    aggregator.note_running(id, false);
                    let _ = tell.send(CommitOutcome::Committed);
                    release(&aggregator, id, others).await;
                }
            }
        });
        let outcome = told.await.unwrap_or(CommitOutcome::Unknown);
        match outcome {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::RolledBack(partition) => {
                let name = self.aggregator.context.catalog().partition_name(partition);
                let why = format!("What the transaction did in partition {name} was gone at its COMMIT");
                let (Failure::Statement(error) | Failure::Transaction(error)) = rolled_back(&why);
                Err(error)
            }
            CommitOutcome::Unknown => {
                let text = format!(
                    "Whether the transaction was committed is unknown: SHOW TRANSACTION OUTCOME '{id}' says it later"
                );
                Err(SqlError::new(ErrorCode::OutcomeUnknown, text))
            }
        }
    }

    /// Rolls back, and waits a moment for the locks to be given back.
    pub async fn rollback(mut self) {
        if let Some(releasing) = self.let_go() {
            let _ = timeout(ROLLBACK_PATIENCE, releasing).await;
        }
    }

    fn let_go(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let (aggregator, id) = (Arc::clone(&self.aggregator), self.id);
        aggregator.note_running(id, false);
        let touched: Vec<PartitionId> = std::mem::take(&mut self.touched).into_iter().collect();
        (!touched.is_empty()).then(|| tokio::spawn(async move { release(&aggregator, id, touched).await }))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        drop(self.let_go());
    }
}

/// The error of a savepoint that is not there.
pub fn no_savepoint(name: &str) -> SqlError {
    SqlError::new(ErrorCode::NoSavepoint, format!("SAVEPOINT {name} does not exist"))
}

/// Tells partitions to forget a transaction. Nothing of it is prepared or decided there.
async fn release(aggregator: &Arc<Aggregator>, transaction: TransactionId, partitions: Vec<PartitionId>) {
    let finish = || Step::Finish { transaction, commit: false };
    join_all(partitions.into_iter().map(|partition| aggregator.send_step(partition, finish()))).await;
}

/// Carries out what a coordinator wants, until there is nothing more to do. Those who only hold locks give them back
/// once the end is known.
async fn coordinate(
    aggregator: &Arc<Aggregator>,
    mut coordinator: Coordinator,
    begun: Vec<CoordinatorEffect>,
    only_locked: Vec<PartitionId>,
    tell: oneshot::Sender<CommitOutcome>,
) {
    let mut tell = Some(tell);
    let mut effects = begun;
    let mut sent = FuturesUnordered::new();
    let send =
        |partition, request| async move { (partition, aggregator.send_step(partition, request).await) };
    let transaction = coordinator.transaction();
    loop {
        for effect in effects {
            match effect {
                CoordinatorEffect::Send { partition, request } => {
                    sent.push(send(partition, request));
                }
                CoordinatorEffect::Conclude(outcome) => {
                    if let Some(tell) = tell.take() {
                        let _ = tell.send(outcome);
                    }
                    let finish = || Step::Finish { transaction, commit: false };
                    sent.extend(only_locked.iter().map(|partition| send(*partition, finish())));
                }
            }
        }
        let Some((partition, answer)) = sent.next().await else { return };
        effects = coordinator.step(match answer {
            Some(answer) => CoordinatorEvent::Answered { partition, answer },
            None => CoordinatorEvent::Unanswered { partition },
        });
    }
}

/// How a transaction reads: as the one with these workspaces.
#[derive(Clone, Debug)]
pub struct Reading {
    transaction: TransactionId,
    places: BTreeMap<PartitionId, Place>,
    locked: Option<TableId>,
}

impl Reading {
    /// How it reads a table in a partition; None is like everybody else.
    #[must_use]
    pub fn of(&self, partition: PartitionId, table: TableId) -> Option<Within> {
        let place = *self.places.get(&partition)?;
        Some(Within { transaction: self.transaction, place, locked_only: self.locked == Some(table) })
    }
}
