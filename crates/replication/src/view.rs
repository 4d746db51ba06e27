//! What an instance is told of the catalog.
//!
//! Not here: what it makes of that, and how the catalog comes to say so.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::limits::{LOG_BYTES_KEPT, LOG_RECORDS_KEPT, SYNC_REPLICA_TIMEOUT_MS};
use baton_model::{Durability, Epoch, Incarnation, NodeId, PartitionId, ReplicationMode, SyncState};

/// Times and limits that the catalog sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a replica that is waited for may say nothing before it is usually given up. The master aggregator says
    /// when; here it only bounds when the first report is due.
    pub sync_replica_timeout: Duration,
    /// Records of the log that are kept behind its applied end, at most.
    pub log_records_kept: u64,
    /// Bytes of the log that are kept behind its applied end, about, at most.
    pub log_bytes_kept: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sync_replica_timeout: Duration::from_millis(SYNC_REPLICA_TIMEOUT_MS),
            log_records_kept: LOG_RECORDS_KEPT,
            log_bytes_kept: LOG_BYTES_KEPT,
        }
    }
}

/// What the newest catalog says about the partition. The shell has it durable before it hands it over, so that a
/// primary that is waited for by the catalog's word is waited for after a crash as well (S3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The partition's epoch.
    pub epoch: Epoch,
    /// The partition's version.
    pub version: u64,
    /// Who is primary.
    pub primary: NodeId,
    /// Whether this process may act, if it is the primary: the catalog knows this run of it, and its data is whole.
    pub armed: bool,
    /// The replicas, their states, and whether their nodes are online.
    pub replicas: BTreeMap<NodeId, (SyncState, bool)>,
    /// Whether replicas are meant to rise to `Sync`.
    pub sync_replication: bool,
    /// Whether a write is to be synced before it is acknowledged. The shell syncs accordingly from the step on that
    /// brings this view.
    pub sync_durability: bool,
    /// Whether the catalog believes that something acknowledged may not be synced everywhere.
    pub unsynced: bool,
    /// Times and limits.
    pub settings: Settings,
}

impl View {
    /// What the catalog says of a partition, as its instance on node `me` must see it in this run of its process.
    /// None if the catalog does not know one of them.
    #[must_use]
    pub fn of(catalog: &Catalog, id: PartitionId, me: NodeId, run: Incarnation) -> Option<Self> {
        let partition = catalog.partition(id)?;
        let node = catalog.node(me)?;
        let database = catalog.database_by_id(id.database)?;
        let online = |node: NodeId| catalog.node(node).is_some_and(|node| node.is_online());
        Some(Self {
            epoch: partition.epoch,
            version: partition.version,
            primary: partition.primary,
            armed: node.incarnation == run && partition.has_able_primary(),
            replicas: partition
                .replicas
                .iter()
                .map(|(node, state)| (*node, (*state, online(*node))))
                .collect(),
            sync_replication: database.replication == ReplicationMode::Sync,
            sync_durability: database.durability == Durability::Sync,
            unsynced: partition.unsynced,
            settings: Settings {
                sync_replica_timeout: Duration::from_millis(catalog.number("sync_replica_timeout_ms")),
                log_records_kept: catalog.number("log_records_kept"),
                log_bytes_kept: catalog.number("log_bytes_kept"),
            },
        })
    }
}
