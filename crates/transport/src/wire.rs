//! Envelopes and statuses: how headers, bodies and refusals look as gRPC.

#[allow(missing_docs, clippy::all)]
mod generated {
    tonic::include_proto!("baton.v1");
}

use baton_model::{CatalogIndex, ClusterId, NodeId};
use bytes::Bytes;
use tonic::{Code, Status};

pub(crate) use generated::Envelope;
pub(crate) use generated::peer_client::PeerClient;
pub(crate) use generated::peer_server::{Peer, PeerServer};

use crate::{CallRefused, Header, MESSAGE_BYTES_MAX, Refusal};

/// Bytes of an encoded envelope, at most.
pub(crate) const ENVELOPE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024;

impl Envelope {
    /// A message with its header.
    pub(crate) fn sealed(header: &Header, body: Bytes) -> Self {
        Self {
            cluster_id: Bytes::copy_from_slice(&header.cluster_id.0.to_be_bytes()),
            from_node: header.from_node.0,
            term: header.term,
            catalog_index: header.catalog_index.0,
            wire_version: header.wire_version,
            body,
        }
    }

    /// A message whose header is known from the one before it.
    pub(crate) fn plain(body: Bytes) -> Self {
        Self { body, ..Self::default() }
    }

    /// The header and the body.
    pub(crate) fn unsealed(self) -> Result<(Header, Bytes), CallRefused> {
        let cluster_id: [u8; 16] = self.cluster_id.as_ref().try_into().map_err(|_| {
            CallRefused::new(Refusal::Malformed, format!("a cluster id of {} bytes", self.cluster_id.len()))
        })?;
        let header = Header {
            cluster_id: ClusterId(u128::from_be_bytes(cluster_id)),
            from_node: NodeId(self.from_node),
            term: self.term,
            catalog_index: CatalogIndex(self.catalog_index),
            wire_version: self.wire_version,
        };
        Ok((header, self.body))
    }
}

impl From<CallRefused> for Status {
    fn from(refused: CallRefused) -> Self {
        let details = postcard::to_stdvec(&refused).unwrap_or_default();
        Self::with_details(Code::FailedPrecondition, refused.to_string(), details.into())
    }
}

/// The refusal that a status carries, if it is one.
pub(crate) fn refusal(status: &Status) -> Option<CallRefused> {
    (status.code() == Code::FailedPrecondition).then(|| postcard::from_bytes(status.details()).ok()).flatten()
}
