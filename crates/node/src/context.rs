//! What every part of a node shares: who it is, its clock, its way to the others, and the newest catalog.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{ClusterId, NodeId};
use baton_transport::heartbeat::Pulse;
use baton_transport::{CallError, Clock, Inbound, Member, Peers};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::NodeConfig;
use crate::identity::{DataDir, Identity, IdentityError};
use crate::wire::{Opening, Request, Response, decode, encode};

/// Messages that wait on one stream, at most.
pub const STREAM_CAPACITY: usize = 64;

/// Shared by all tasks of a node.
pub struct Context {
    /// What the node was told at its start.
    pub config: NodeConfig,
    /// Its monotonic clock.
    pub clock: Clock,
    /// What it says of itself.
    pub pulse: Arc<Pulse>,
    /// Its way to the others.
    pub peers: Peers,
    /// Ends when the node is to stop.
    pub shutdown: CancellationToken,
    dir: DataDir,
    identity: Mutex<Identity>,
    catalog: watch::Sender<Arc<Catalog>>,
}

/// A question was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The call failed; see [`CallError::is_surely_undone`].
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer is none to this question.
    #[error("{0} gave an answer that this version cannot read")]
    Garbled(String),
}

impl AskError {
    /// Whether the peer surely did nothing (S12).
    #[must_use]
    pub fn is_surely_undone(&self) -> bool {
        match self {
            Self::Call(error) => error.is_surely_undone(),
            Self::Garbled(_) => false,
        }
    }
}

impl Context {
    /// A node that starts, with what its directory says.
    #[must_use]
    pub fn new(
        config: NodeConfig,
        clock: Clock,
        pulse: Arc<Pulse>,
        dir: DataDir,
        identity: Identity,
        shutdown: CancellationToken,
    ) -> Self {
        let catalog = watch::Sender::new(Arc::new(Catalog::default()));
        let peers = Peers::default();
        Self { config, clock, pulse, peers, shutdown, dir, identity: Mutex::new(identity), catalog }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// What the directory says.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This node's id; 0 before it joined a cluster.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).node
    }

    /// Becomes a member of a cluster, durably. A second time with the same words does nothing.
    ///
    /// # Errors
    /// [`IdentityError::OtherCluster`], or the disk's.
    pub fn join(
        &self,
        cluster: ClusterId,
        node: NodeId,
        aggregators: Vec<String>,
    ) -> Result<(), IdentityError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = identity.cluster
            && (found != cluster || identity.node != node)
        {
            return Err(IdentityError::OtherCluster { found, wanted: cluster });
        }
        let joined = Identity { cluster: Some(cluster), node, aggregators, ..identity.clone() };
        self.dir.write(&joined)?;
        *identity = joined;
        self.pulse.identity().set(Some(Member { cluster_id: cluster, node }));
        Ok(())
    }

    /// Notes, durably, that the control group's log of this node was made.
    ///
    /// # Errors
    /// The disk's.
    pub fn note_control(&self) -> Result<(), IdentityError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if !identity.has_control {
            let noted = Identity { has_control: true, ..identity.clone() };
            self.dir.write(&noted)?;
            *identity = noted;
        }
        Ok(())
    }

    /// The newest catalog.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// Every newer catalog.
    #[must_use]
    pub fn watch_catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// Tells all parts of a newer catalog.
    pub fn publish_catalog(&self, catalog: Arc<Catalog>) {
        self.pulse.set_catalog_index(catalog.index());
        self.catalog.send_replace(catalog);
    }

    /// Asks another node.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(
        &self,
        address: &str,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response, AskError> {
        let header = self.pulse.header();
        let answer = self.peers.call(address, header, encode(request).into(), timeout).await?;
        decode(&answer).map_err(|_| AskError::Garbled(address.to_owned()))
    }

    /// Opens a stream to another node.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn open(
        &self,
        address: &str,
        opening: &Opening,
    ) -> Result<(mpsc::Sender<Bytes>, Inbound), CallError> {
        let header = self.pulse.header();
        self.peers.open(address, header, encode(opening).into(), STREAM_CAPACITY).await
    }
}
