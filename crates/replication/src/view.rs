//! What an instance is told of the catalog.

use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{Durability, Incarnation, NodeId, PartitionId, ReplicationMode};

use crate::instance::{Settings, View};

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
