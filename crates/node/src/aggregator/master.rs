//! The way to the master aggregator, for commands and for statements, through an election if need be.
//!
//! * S12: a statement travels with its id. Whatever became of the first attempt, the master aggregator that answers
//!   the last one looks the id up before it does anything.

use std::time::Duration;

use baton_catalog::{Entry, Outcome};
use baton_consensus::ProposeError;
use baton_model::CatalogIndex;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::CATALOG_ENTRY_BYTES_MAX;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Aggregator;
use super::patience::{Awaited, Patience};
use crate::wire::{ForwardAnswer, ForwardRefusal, ForwardRequest, Request, Response};

/// Between two attempts to find the master aggregator.
const RETRY: Duration = Duration::from_millis(50);
/// A statement that names something unknown waits no longer for the catalog to know it.
const CATCH_UP: Duration = Duration::from_secs(1);
/// One attempt at a forwarded statement takes no longer; the next one asks for its outcome.
const ATTEMPT: Duration = Duration::from_secs(60);

/// A command could not be proposed.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// Nobody is, or this node is not, the master aggregator. Nothing was done.
    #[error("no master aggregator could be reached")]
    NoMaster,
    /// It has too many bytes. Nothing was done.
    #[error("it has {0} bytes, and at most {CATALOG_ENTRY_BYTES_MAX} may be written at once")]
    TooBig(usize),
    /// It may have been committed or not.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

impl From<ProposalError> for SqlError {
    fn from(error: ProposalError) -> Self {
        match error {
            ProposalError::NoMaster => Self::new(
                ErrorCode::ConnectToMaster,
                "Error connecting to master: no master aggregator is known; an election may be under way",
            ),
            ProposalError::TooBig(_) => Self::new(
                ErrorCode::TooBig,
                format!(
                    "A statement of the master aggregator writes at most {CATALOG_ENTRY_BYTES_MAX} bytes"
                ),
            ),
            ProposalError::Unknown(why) => Self::new(
                ErrorCode::OutcomeUnknown,
                format!(
                    "The master aggregator was lost; whether the statement was carried out is unknown: {why}"
                ),
            ),
        }
    }
}

/// Nobody could carry it out, or it is unknown who did.
fn given_up(patience: Patience<'_>) -> SqlError {
    let mut error: SqlError =
        patience.uncertain.map_or(ProposalError::NoMaster, ProposalError::Unknown).into();
    if !patience.last.is_empty() {
        error.message.push_str(&format!("; {}", patience.last));
    }
    error
}

impl Aggregator {
    /// How long a statement is held while there is no master aggregator, or a partition has no primary.
    #[must_use]
    pub fn buffer_time(&self) -> Duration {
        Duration::from_millis(self.context.catalog().number("failover_buffer_ms"))
    }

    /// Proposes here, as the master aggregator.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub async fn propose(&self, entry: Entry) -> Result<Outcome, ProposalError> {
        let group = self.group().ok_or(ProposalError::NoMaster)?;
        match group.propose(entry).await {
            Ok(outcome) => Ok(outcome),
            Err(ProposeError::NotLeader { .. }) => Err(ProposalError::NoMaster),
            Err(ProposeError::TooBig(bytes)) => Err(ProposalError::TooBig(bytes)),
            Err(error) => Err(ProposalError::Unknown(error.to_string())),
        }
    }

    /// Proposes here or at the master aggregator, once.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub async fn propose_at_master(&self, entry: Entry) -> Result<Outcome, ProposalError> {
        let status = self.group_status();
        if status.is_leader {
            return self.propose(entry).await;
        }
        let address = self.master_address().ok_or(ProposalError::NoMaster)?;
        match self.context.ask(&address, &Request::Propose(entry), baton_model::limits::CALL_TIMEOUT).await {
            Ok(Response::Proposed(Ok(outcome))) => Ok(outcome),
            Ok(Response::Proposed(Err(ForwardRefusal::NotTheMaster))) => Err(ProposalError::NoMaster),
            Ok(_) => Err(ProposalError::Unknown(format!("{address} cannot say"))),
            Err(error) if error.is_surely_undone() => Err(ProposalError::NoMaster),
            Err(error) => Err(ProposalError::Unknown(error.to_string())),
        }
    }

    /// Proposes an entry that carries a statement id, until its outcome is known or the buffer time is over.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn propose_surely(&self, entry: Entry) -> Result<Outcome, SqlError> {
        assert!(entry.statement.is_some(), "S12: only what has an id may be proposed again");
        let mut patience = self.patience(Awaited::Master);
        loop {
            match self.propose_at_master(entry.clone()).await {
                Ok(outcome) => return Ok(outcome),
                Err(ProposalError::NoMaster) => {}
                Err(error @ ProposalError::TooBig(_)) => return Err(error.into()),
                Err(ProposalError::Unknown(why)) => patience.uncertain = Some(why),
            }
            if !patience.goes_on() {
                return Err(given_up(patience));
            }
            self.wait_for_news(patience.deadline()).await;
        }
    }

    /// Has a statement executed by the master aggregator, through an election if need be.
    /// `uncertain` says why it may have been carried out already, by an attempt before or within this call.
    ///
    /// # Errors
    /// [`SqlError`]; 1826 if this node became the master aggregator and must execute it itself.
    pub async fn forward(
        &self,
        request: ForwardRequest,
        uncertain: &mut Option<String>,
    ) -> Result<ForwardAnswer, SqlError> {
        if !self.context.catalog().switch("enable_query_forwarding") {
            return Err(SqlError::new(
                ErrorCode::NotTheMaster,
                "Not the master: enable_query_forwarding is OFF, send the statement to the master aggregator",
            ));
        }
        let mut patience = self.patience(Awaited::Master);
        let request = Request::Forward(request);
        loop {
            if let Some(address) = self.master_address() {
                // Whoever is master aggregator next knows what became of it: no need to wait for a dead one.
                let asked = self.context.ask(&address, &request, ATTEMPT);
                let answer = tokio::select! {
                    answer = asked => Some(answer),
                    () = self.master_is_no_longer(&address) => None,
                };
                match answer {
                    Some(Ok(Response::Forwarded(Ok(answer)))) => {
                        self.wait_for_index(answer.index).await;
                        return Ok(answer);
                    }
                    Some(Ok(Response::Forwarded(Err(ForwardRefusal::Failed(error))))) => return Err(error),
                    Some(Ok(Response::Forwarded(Err(ForwardRefusal::NotTheMaster)))) => {}
                    // It takes as long as it takes.
                    Some(Ok(Response::Forwarded(Err(ForwardRefusal::StillRunning)))) => {
                        patience.begin_anew();
                        *uncertain = Some(format!("{address} was at work on it"));
                    }
                    Some(Err(error)) if error.is_surely_undone() => debug!(%error, "not forwarded"),
                    Some(Err(error)) => *uncertain = Some(error.to_string()),
                    Some(Ok(_)) => *uncertain = Some(format!("{address} cannot say")),
                    None => *uncertain = Some(format!("{address} is not the master aggregator any more")),
                }
            } else if self.group_status().is_leader {
                // This node became the master aggregator meanwhile: it asks itself, by the same way as others.
                return Err(SqlError::new(
                    ErrorCode::NotTheMaster,
                    "Not the master: this aggregator became the master aggregator meanwhile; send it again",
                ));
            }
            patience.uncertain.clone_from(uncertain);
            if !patience.goes_on() {
                uncertain.take();
                return Err(given_up(patience));
            }
            self.wait_for_news(patience.deadline()).await;
        }
    }

    /// Where the master aggregator is, if it is another node and known.
    #[must_use]
    pub fn master_address(&self) -> Option<String> {
        let leader = self.group_status().leader?;
        if leader == self.context.node() {
            return None;
        }
        self.context.catalog().node(leader).map(|node| node.rpc_address())
    }

    async fn master_is_no_longer(&self, address: &str) {
        let mut statuses = self.watch_group();
        loop {
            if self.master_address().is_some_and(|now| now != address) || self.group_status().is_leader {
                return;
            }
            if statuses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn wait_for_news(&self, deadline: Instant) {
        let mut statuses = self.watch_group();
        tokio::select! {
            _ = statuses.changed() => {}
            () = sleep(RETRY) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }

    /// Brings this node's catalog up to what is committed now; says whether it is newer than what was seen.
    ///
    /// A child's catalog is a moment behind: what a statement names and is not in it may have been created just now,
    /// through another aggregator.
    pub async fn catch_up(&self, seen: CatalogIndex) -> bool {
        if let Some(address) = self.master_address() {
            let answer = self.context.ask(&address, &Request::CatalogIndex, CATCH_UP).await;
            if let Ok(Response::CatalogIndex(Some(index))) = answer {
                self.wait_for_index(index).await;
            }
        }
        self.context.catalog().index() > seen
    }

    /// Waits, a bounded time, until this node's catalog has an index: a client reads its own changes.
    pub async fn wait_for_index(&self, index: CatalogIndex) {
        let waited =
            super::supervisor::until(self, Duration::from_secs(5), |catalog| catalog.index() >= index);
        if waited.await.is_err() {
            debug!(%index, "this node's catalog is behind the master aggregator's answer");
        }
    }
}
