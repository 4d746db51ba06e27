//! Who speaks, for which cluster, and knowing what; and the refusal of what does not belong here.
//!
//! * S10: a message of another cluster is refused by [`check`]; whether a term is too old is for the handler to say,
//!   because only it knows which messages are commands.

use std::fmt;

use arc_swap::ArcSwapOption;
use baton_model::{CatalogIndex, ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// The version of the messages between nodes. Nodes of different versions refuse each other.
pub const WIRE_VERSION: u32 = 4;

/// What travels with every message, so that it can be refused before anybody looks at its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The sender's cluster; zero if it is in none yet.
    pub cluster_id: ClusterId,
    /// The sender; zero if it is in no cluster yet.
    pub from_node: NodeId,
    /// The control group's term that the sender knows.
    pub term: u64,
    /// The catalog version that the sender acts under.
    pub catalog_index: CatalogIndex,
    /// The version of the sender's messages.
    pub wire_version: u32,
}

/// A node's place in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
}

/// Who this process is: a member of one cluster, or of none yet. Read at every message, changed about once in a life.
#[derive(Debug, Default)]
pub struct Identity(ArcSwapOption<Member>);

impl Identity {
    /// Of the given member, or of nobody yet.
    #[must_use]
    pub fn new(member: Option<Member>) -> Self {
        Self(ArcSwapOption::from_pointee(member))
    }

    /// Who this process is now.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.0.load().as_deref().copied()
    }

    /// From now on this process is that member, or nobody again.
    pub fn set(&self, member: Option<Member>) {
        self.0.store(member.map(std::sync::Arc::new));
    }
}

/// Refuses another wire version, and another cluster.
/// A process that is in no cluster yet lets every cluster pass: its handler must refuse all but the messages by which
/// a cluster takes it in.
///
/// # Errors
/// [`Refusal::WireVersion`] or [`Refusal::WrongCluster`].
pub fn check(identity: &Identity, header: &Header) -> Result<(), CallRefused> {
    if header.wire_version != WIRE_VERSION {
        return Err(CallRefused::new(
            Refusal::WireVersion,
            format!("this node speaks version {WIRE_VERSION}, the sender {}", header.wire_version),
        ));
    }
    match identity.member() {
        Some(member) if member.cluster_id != header.cluster_id => Err(CallRefused::new(
            Refusal::WrongCluster,
            format!("this node is of cluster {}, the sender of {}", member.cluster_id, header.cluster_id),
        )),
        _ => Ok(()),
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The sender's messages are of another version.
    WireVersion,
    /// The sender is of another cluster (S10).
    WrongCluster,
    /// This node is in no cluster yet, and the request is not one that takes it in.
    NotJoined,
    /// The sender acts under a term that is over (S10).
    Deposed,
    /// The request makes no sense to this node.
    Malformed,
    /// This node has too much to do.
    Busy,
    /// This node does not do such things now: it stops, or its role is another one.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WireVersion => "wire version",
            Self::WrongCluster => "wrong cluster",
            Self::NotJoined => "not joined",
            Self::Deposed => "deposed",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A request was refused: nothing of it was done, and it may be sent again (S12).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{refusal}: {message}")]
pub struct CallRefused {
    /// Why.
    pub refusal: Refusal,
    /// Why, for people.
    pub message: String,
}

impl CallRefused {
    /// A refusal with a sentence for people.
    pub fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self { refusal, message: message.into() }
    }
}
