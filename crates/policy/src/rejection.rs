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
    /// The memory of this node has so many bytes, more than [`MEMORY_BYTES_MAX`].
    MemoryTooLong(u64, usize),
    /// A reason has so many bytes, more than [`REASON_BYTES_MAX`].
    ReasonTooLong(usize),
    /// Nobody is ranked.
    NobodyRanked,
    /// This node is ranked or rejected, but is no candidate.
    NoCandidate(u64),
    /// This node is ranked or rejected more than once.
    NamedTwice(u64),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(node) => write!(f, "node {node} got no verdict"),
            Self::AnsweredTwice(node) => write!(f, "node {node} got more than one verdict"),
            Self::UnknownNode(node) => write!(f, "node {node} got a verdict but was not asked about"),
            Self::MemoryTooLong(node, bytes) => {
                write!(f, "the memory of node {node} has {bytes} bytes, more than {MEMORY_BYTES_MAX}")
            }
            Self::ReasonTooLong(bytes) => {
                write!(f, "a reason has {bytes} bytes, more than {REASON_BYTES_MAX}")
            }
            Self::NobodyRanked => f.write_str("no candidate is ranked"),
            Self::NoCandidate(node) => write!(f, "node {node} is no candidate"),
            Self::NamedTwice(node) => write!(f, "candidate {node} is named more than once"),
        }
    }
}

impl std::error::Error for Rejection {}

pub(crate) fn check_reason(reason: &str) -> Result<(), Rejection> {
    if reason.len() > REASON_BYTES_MAX { Err(Rejection::ReasonTooLong(reason.len())) } else { Ok(()) }
}
