//! How a member calls the others.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use baton_catalog::Catalog;
use baton_model::NodeId;
use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use crate::config::{
    REPLICATION_BYTES_PER_SECOND, REPLICATION_TIMEOUT, SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_TIMEOUT,
};
use crate::errors::WireError;
use crate::log_store::{decode, encode};
use crate::messages::{Answer, Request, SnapshotEnd, SnapshotPiece, Transfer};
use crate::types::{Address, Snapshot, Types, Vote};

/// Carries the bytes of one member's requests to another, whose [`crate::ControlGroup::handle`] answers them.
#[async_trait]
pub trait RaftWire: Send + Sync + 'static {
    /// Calls a member and waits for its answer, `timeout` at most.
    ///
    /// `address` is the `host:port` of the RPC listener that the group knows the member by.
    /// Requests have up to about 20 MiB; several may be on their way to one member at once.
    async fn call(
        &self,
        target: NodeId,
        address: String,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, WireError>;
}

/// Makes the connections of one member.
pub(crate) struct Connections {
    pub(crate) me: u64,
    pub(crate) wire: Arc<dyn RaftWire>,
}

impl RaftNetworkFactory<Types> for Connections {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, address: &Address) -> Connection {
        Connection {
            me: self.me,
            target,
            address: address.to_string(),
            wire: Arc::clone(&self.wire),
            patience: REPLICATION_TIMEOUT,
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, address: &Address) -> Connection {
        // A heartbeat says that the leader lives now; one that is late says nothing, and the next is on its way.
        Connection { patience: Duration::ZERO, ..self.new_client(target, address).await }
    }
}

/// The way to one other member.
pub(crate) struct Connection {
    me: u64,
    target: u64,
    address: String,
    wire: Arc<dyn RaftWire>,
    /// How long an append may take at least, whatever openraft asks for: it asks for a heartbeat's time, in which a
    /// big message and a slow disk do not fit.
    patience: Duration,
}

impl Connection {
    async fn call(
        &self,
        action: RPCTypes,
        request: &Request,
        timeout: Duration,
    ) -> Result<Answer, RPCError<Types>> {
        let failed = |why: &dyn std::fmt::Display| RPCError::Network(NetworkError::from_string(why));
        let request = Bytes::from(encode(request).map_err(|error| failed(&error))?);
        let timeout = timeout + time_for(request.len());
        let call = self.wire.call(NodeId(self.target), self.address.clone(), request, timeout);
        let answer = match tokio::time::timeout(timeout, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(WireError::Unreachable(why))) => {
                return Err(RPCError::Unreachable(Unreachable::from_string(why)));
            }
            Ok(Err(WireError::Failed(why))) => return Err(failed(&why)),
            Ok(Err(WireError::Timeout)) | Err(_) => {
                return Err(RPCError::Timeout(Timeout { action, id: self.me, target: self.target, timeout }));
            }
        };
        decode(&answer).map_err(|error| failed(&error))
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let transfer = Transfer { from: self.me, term: vote.leader_id.term, number };
        let catalog: Arc<Catalog> = snapshot.snapshot;

        let mut length = 0;
        let mut buffer = Vec::new();
        for row in catalog.rows() {
            put_row(&row, &mut buffer)?;
            while buffer.len() >= SNAPSHOT_PIECE_BYTES_MAX {
                let rest = buffer.split_off(SNAPSHOT_PIECE_BYTES_MAX);
                length += self.send_piece(transfer, length, std::mem::replace(&mut buffer, rest)).await?;
            }
        }
        length += self.send_piece(transfer, length, buffer).await?;

        let end = SnapshotEnd { transfer, length, index: catalog.index(), vote, meta: snapshot.meta };
        match self.call(RPCTypes::InstallSnapshot, &Request::SnapshotEnd(end), SNAPSHOT_TIMEOUT).await? {
            Answer::Snapshot(answer) => Ok(answer),
            _ => Err(other_answer()),
        }
    }

    /// Answers with the number of bytes that were sent.
    async fn send_piece(
        &self,
        transfer: Transfer,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, RPCError<Types>> {
        let length = bytes.len() as u64;
        let piece = Request::SnapshotPiece(SnapshotPiece { transfer, offset, bytes: bytes.into() });
        match self.call(RPCTypes::InstallSnapshot, &piece, REPLICATION_TIMEOUT).await? {
            Answer::PieceTaken => Ok(length),
            _ => Err(other_answer()),
        }
    }
}

/// What a message takes on a slow connection, beside the time that any takes.
fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / REPLICATION_BYTES_PER_SECOND as f64)
}

fn put_row(row: &baton_catalog::CatalogRow, buffer: &mut Vec<u8>) -> Result<(), RPCError<Types>> {
    let broken = |why: &dyn std::fmt::Display| RPCError::Network(NetworkError::from_string(why));
    let bytes = encode(row).map_err(|error| broken(&error))?;
    let length = u32::try_from(bytes.len()).map_err(|error| broken(&error))?;
    buffer.extend(length.to_le_bytes());
    buffer.extend(bytes);
    Ok(())
}

fn other_answer() -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string("the answer belongs to another request"))
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = Arc<Catalog>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let timeout = option.hard_ttl().max(self.patience);
        match self.call(RPCTypes::AppendEntries, &Request::Append(request), timeout).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(other_answer()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::Vote, &Request::Vote(request), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(other_answer()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::Vote, &Request::PreVote(request), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(other_answer()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self
            .call(RPCTypes::TransferLeader, &Request::TransferLeader(request), option.hard_ttl())
            .await?
        {
            Answer::TransferLeader(answer) => Ok(answer),
            _ => Err(other_answer()),
        }
    }
}
