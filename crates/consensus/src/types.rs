//! What openraft is told about our types, and short names for what it makes of them.

use std::fmt;
use std::sync::Arc;

use baton_catalog::{Entry, Outcome};
use baton_model::Blob;
use openraft::impls::leader_id_std::LeaderId;
use openraft::type_config::alias;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::state_machine::StateMachine;

openraft::declare_raft_types!(
    /// One leader per term, so that a term names a leader (S10).
    pub(crate) Types:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = Address,
        Term = u64,
        LeaderId = LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = openraft::impls::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Types, StateMachine>;
pub(crate) type LogEntry = alias::EntryOf<Types>;
pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type Membership = alias::StoredMembershipOf<Types>;
pub(crate) type Metrics = openraft::RaftMetrics<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = alias::SnapshotOf<Types, Arc<baton_catalog::Catalog>>;

/// Where the other members reach a member: the address of its RPC listener.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Address {
    /// The host.
    pub host: String,
    /// The port of its RPC listener.
    pub rpc_port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.rpc_port)
    }
}

/// An entry with its bytes. It is encoded once, where it is proposed, and decoded once, where it arrives; log, wire and
/// watchers share both.
#[derive(Clone)]
pub(crate) struct Proposal {
    pub(crate) entry: Arc<Entry>,
    bytes: Blob,
}

impl Proposal {
    pub(crate) fn new(entry: Entry) -> Result<Self, postcard::Error> {
        let bytes = postcard::to_stdvec(&entry)?;
        Ok(Self { entry: Arc::new(entry), bytes: bytes.into() })
    }

    /// Its size on the wire and on disk, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.entry, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an entry of {} bytes", self.size())
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Blob::deserialize(deserializer)?;
        let entry = postcard::from_bytes(&bytes).map_err(serde::de::Error::custom)?;
        Ok(Self { entry: Arc::new(entry), bytes })
    }
}

#[cfg(test)]
mod tests {
    use baton_catalog::Command;

    use super::*;

    #[test]
    fn a_proposal_comes_back_as_it_went() {
        let command = Command::SetVariable { name: "auto_attach".into(), value: "ON".into() };
        let proposal = Proposal::new(Entry { statement: None, at_ms: 7, command }).unwrap();
        let bytes = postcard::to_stdvec(&proposal).unwrap();
        let back: Proposal = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.entry, proposal.entry);
        assert_eq!(back.size(), proposal.size());
        assert!(postcard::from_bytes::<Proposal>(&bytes[..bytes.len() - 1]).is_err());
    }
}
