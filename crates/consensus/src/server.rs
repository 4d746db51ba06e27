//! How a member answers the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_catalog::{Catalog, CatalogRow};
use bytes::Bytes;
use openraft::raft::{AppendEntriesResponse, VoteRequest};

use crate::errors::HandleError;
use crate::log_store::{decode, encode};
use crate::messages::{Answer, Request, SnapshotEnd, SnapshotPiece, Transfer};
use crate::types::{Raft, Snapshot};

/// Answers the requests of the other members.
///
/// * S10: a member that has just started does not know whom it has promised its lease to before, so it grants no vote
///   until that lease must have ended; only an election that the leader itself asks for is helped at once.
///
/// At most one snapshot is on its way in: that of the last leader to begin.
pub(crate) struct Server {
    raft: Raft,
    grace: Instant,
    heard: Arc<LeaderHeard>,
    incoming: Mutex<Option<Incoming>>,
}

/// When this member last heard from somebody who leads it. A process that answers pings need not lead anybody.
pub(crate) struct LeaderHeard(Mutex<Instant>);

impl LeaderHeard {
    /// A member that starts listens from now on.
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago that was.
    pub(crate) fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// A snapshot of which some pieces have come.
struct Incoming {
    transfer: Transfer,
    /// The bytes that have come.
    length: u64,
    rows: Vec<CatalogRow>,
    /// The beginning of a row whose end is in the next piece.
    rest: Vec<u8>,
}

impl Server {
    /// `grace` is when a lease that was promised before the start has ended.
    pub(crate) fn new(raft: Raft, grace: Instant, heard: Arc<LeaderHeard>) -> Self {
        Self { raft, grace, heard, incoming: Mutex::default() }
    }

    pub(crate) async fn handle(&self, request: &[u8]) -> Result<Bytes, HandleError> {
        let request: Request = decode(request).map_err(unreadable)?;
        let stopped = |why: &dyn std::fmt::Display| HandleError::Stopped(why.to_string());
        let answer = match request {
            Request::Append(request) => {
                let answer = self.raft.append_entries(request).await.map_err(|error| stopped(&error))?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.heard.note();
                }
                Answer::Append(answer)
            }
            Request::Vote(VoteRequest { leadership_transfer: false, .. }) | Request::PreVote(_)
                if Instant::now() < self.grace =>
            {
                return Err(HandleError::JustStarted);
            }
            Request::Vote(request) => {
                Answer::Vote(self.raft.vote(request).await.map_err(|error| stopped(&error))?)
            }
            Request::PreVote(request) => {
                Answer::Vote(self.raft.pre_vote(request).await.map_err(|error| stopped(&error))?)
            }
            Request::TransferLeader(request) => Answer::TransferLeader(
                self.raft.handle_transfer_leader(request).await.map_err(|error| stopped(&error))?,
            ),
            Request::SnapshotPiece(piece) => {
                self.take_piece(&piece)?;
                self.heard.note();
                Answer::PieceTaken
            }
            Request::SnapshotEnd(end) => {
                let snapshot = self.take_snapshot(&end)?;
                let installed = self.raft.install_full_snapshot(end.vote, snapshot).await;
                Answer::Snapshot(installed.map_err(|error| stopped(&error))?)
            }
        };
        encode(&answer).map(Bytes::from).map_err(unreadable)
    }

    fn incoming(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_piece(&self, piece: &SnapshotPiece) -> Result<(), HandleError> {
        let mut slot = self.incoming();
        if piece.offset == 0 {
            *slot =
                Some(Incoming { transfer: piece.transfer, length: 0, rows: Vec::new(), rest: Vec::new() });
        }
        let incoming = slot
            .as_mut()
            .filter(|incoming| incoming.transfer == piece.transfer && incoming.length == piece.offset)
            .ok_or(HandleError::PieceMissing)?;
        incoming.take(&piece.bytes)
    }

    fn take_snapshot(&self, end: &SnapshotEnd) -> Result<Snapshot, HandleError> {
        let incoming = self
            .incoming()
            .take_if(|incoming| incoming.transfer == end.transfer)
            .filter(|incoming| incoming.length == end.length && incoming.rest.is_empty())
            .ok_or(HandleError::PieceMissing)?;
        let catalog = Catalog::from_rows(end.index, incoming.rows);
        Ok(Snapshot { meta: end.meta.clone(), snapshot: Arc::new(catalog) })
    }
}

impl Incoming {
    fn take(&mut self, bytes: &[u8]) -> Result<(), HandleError> {
        self.length += bytes.len() as u64;
        self.rest.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some((length, after)) = self.rest[taken..].split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some(row) = after.get(..length) else { break };
            self.rows.push(decode(row).map_err(unreadable)?);
            taken += 4 + length;
        }
        self.rest.drain(..taken);
        Ok(())
    }
}

fn unreadable(error: std::io::Error) -> HandleError {
    HandleError::Unreadable(error.to_string())
}
