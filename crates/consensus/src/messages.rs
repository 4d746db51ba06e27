//! What the members say to each other, as bytes (postcard).

use baton_model::{Blob, CatalogIndex};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::types::{SnapshotMeta, Types, Vote};

/// A request of one member to another.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    TransferLeader(TransferLeaderRequest<Types>),
    SnapshotPiece(SnapshotPiece),
    SnapshotEnd(SnapshotEnd),
}

/// The answer to the request of the same name.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    TransferLeader(TransferLeaderResponse<Types>),
    PieceTaken,
    Snapshot(SnapshotResponse<Types>),
}

/// One sending of one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) from: u64,
    pub(crate) term: u64,
    /// Goes up with every snapshot that the sender's process sends.
    pub(crate) number: u64,
}

/// Some bytes of a snapshot. The whole is the rows of the catalog, each as its length (4 bytes, little-endian) and its
/// postcard bytes; pieces are cut anywhere.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotPiece {
    pub(crate) transfer: Transfer,
    /// Where these bytes begin in the whole. A piece at 0 begins anew.
    pub(crate) offset: u64,
    pub(crate) bytes: Blob,
}

/// All bytes were sent: put it in place.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub(crate) transfer: Transfer,
    /// How many bytes the whole has.
    pub(crate) length: u64,
    pub(crate) index: CatalogIndex,
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
}
