//! Why an answer is no answer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of a reason, at most.
pub const REASON_BYTES_MAX: usize = 1 << 10;
/// Bytes that a policy may remember of one node, at most.
pub const MEMORY_BYTES_MAX: usize = 4 << 10;

/// Why a verdict is refused. The decision is then made by [`Classic`](crate::Classic) (S8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rejection {
    /// This node of the input got no verdict.
    Unanswered(u64),
    /// This node got more than one verdict.
    AnsweredTwice(u64),
    /// This node is not in the input.
    UnknownNode(u64),
    /// The columns of the answer are not of one length, or the memory is not as long as they say.
    UnevenColumns,
    /// There is no reason of this number.
    NoReason(u32),
    /// The memory of this node has so many bytes, more than [`MEMORY_BYTES_MAX`].
    MemoryTooLong(u64, usize),
    /// A reason has so many bytes, more than [`REASON_BYTES_MAX`].
    ReasonTooLong(usize),
    /// Nobody is ranked.
    NobodyRanked,
    /// This node is ranked or rejected, but is no candidate.
    NoCandidate(u64),
    /// This node is named more than once.
    NamedTwice(u64),
    /// There are so many places for so many partitions.
    WrongPlaces(usize, usize),
    /// There is no cell of this number.
    NoCell(u32),
    /// This node may not be the primary of a partition in the cell of this number.
    NoHead(u64, u32),
    /// The stage of this number, from 1, has no node.
    EmptyStage(u32),
    /// The stage of this number, from 1, comes too late or mixes what comes one after the other.
    StageOutOfOrder(u32),
    /// The stage of this number, from 1, would stop the cluster: it takes both copies of something, or the majority.
    StageStopsService(u32),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(node) => write!(f, "node {node} got no verdict"),
            Self::AnsweredTwice(node) => write!(f, "node {node} got more than one verdict"),
            Self::UnknownNode(node) => write!(f, "node {node} got a verdict but was not asked about"),
            Self::UnevenColumns => f.write_str(
                "the columns of the answer do not have an entry for each node, or its memory is not as long as they say",
            ),
            Self::NoReason(reason) => write!(f, "there is no reason {reason}"),
            Self::MemoryTooLong(node, bytes) => {
                write!(f, "the memory of node {node} has {bytes} bytes, more than {MEMORY_BYTES_MAX}")
            }
            Self::ReasonTooLong(bytes) => {
                write!(f, "a reason has {bytes} bytes, more than {REASON_BYTES_MAX}")
            }
            Self::NobodyRanked => f.write_str("no candidate is ranked"),
            Self::NoCandidate(node) => write!(f, "node {node} is no candidate"),
            Self::NamedTwice(node) => write!(f, "node {node} is named more than once"),
            Self::WrongPlaces(places, partitions) => {
                write!(f, "there are {places} places for {partitions} partitions")
            }
            Self::NoCell(cell) => write!(f, "there is no cell {cell}"),
            Self::NoHead(node, cell) => write!(f, "node {node} may not be primary in cell {cell}"),
            Self::EmptyStage(stage) => write!(f, "stage {stage} has no node"),
            Self::StageOutOfOrder(stage) => {
                write!(f, "stage {stage} is out of order, or mixes nodes that come one after the other")
            }
            Self::StageStopsService(stage) => {
                write!(
                    f,
                    "stage {stage} would stop the cluster: both groups, a last copy, or half of the voters"
                )
            }
        }
    }
}

impl std::error::Error for Rejection {}

pub(crate) fn check_reason(reason: &str) -> Result<(), Rejection> {
    if reason.len() > REASON_BYTES_MAX { Err(Rejection::ReasonTooLong(reason.len())) } else { Ok(()) }
}
