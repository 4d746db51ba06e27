//! Partitions: who is primary, and who must be waited for.

use baton_model::{Epoch, NodeId, PartitionId, ReplicationMode, SyncState, mutated};

use super::Step;
use crate::objects::{Partition, Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn partition(&self, id: PartitionId) -> Result<&Partition, Rejection> {
        self.catalog.partitions.get(&id).ok_or(Rejection::NoSuchPartition(id))
    }

    /// The only way by which a partition changes hands.
    pub(super) fn promote_instance(
        &mut self,
        id: PartitionId,
        epoch: Epoch,
        to: NodeId,
        reason: &str,
    ) -> Outcome {
        let partition = self.partition(id)?;
        if partition.epoch != epoch {
            return Err(Rejection::OtherEpoch(id, partition.epoch));
        }
        // S4: whatever a policy or an operator asked for, only a Sync replica takes over.
        if partition.replicas.get(&to) != Some(&SyncState::Sync) && !mutated!(PromoteAsync) {
            return Err(Rejection::NotSync(id, to));
        }
        if !self.catalog.nodes.get(&to).is_some_and(|node| node.is_online()) {
            return Err(Rejection::NodeOffline(to));
        }
        let name = self.catalog.partition_name(id);
        let partition = self.catalog.partitions.get_mut(&id).expect("it was just found");
        let old = partition.primary;
        partition.replicas.remove(&to);
        partition.replicas.insert(old, SyncState::Async);
        partition.primary = to;
        (partition.primary_lost, partition.primary_unsure) = (false, false);
        partition.epoch = epoch.next(); // S1: by one, and only here and at a primary's return.
        partition.version += 1;
        let text = format!(
            "{name}: {} takes over from {} at epoch {}: {reason}",
            self.catalog.address_of(to),
            self.catalog.address_of(old),
            epoch.next(),
        );
        self.changed.insert(RowKey::Partition(id));
        self.event(Severity::Warning, event_type::PARTITION_PROMOTED, Some(to), text);
        self.done()
    }

    pub(super) fn note_partition_offline(&mut self, id: PartitionId, reason: &str) -> Outcome {
        let primary = self.partition(id)?.primary;
        let text = format!("{}: {reason}", self.catalog.partition_name(id));
        self.event(Severity::Error, event_type::PARTITION_OFFLINE, Some(primary), text);
        self.done()
    }

    /// Every accepted command moves the version, even where the state stays: a primary that asks for `Async` must be
    /// sure that no older request of its own can still be committed after the answer (S3).
    pub(super) fn set_sync_state(
        &mut self,
        id: PartitionId,
        epoch: Epoch,
        version: u64,
        replica: NodeId,
        state: SyncState,
        reason: &str,
    ) -> Outcome {
        let partition = self.partition(id)?;
        if partition.epoch != epoch && !mutated!(SkipEpochCheck) {
            return Err(Rejection::OtherEpoch(id, partition.epoch));
        }
        if partition.version != version && !mutated!(SkipEpochCheck) {
            return Err(Rejection::OtherVersion(id, partition.version));
        }
        let from = *partition.replicas.get(&replica).ok_or(Rejection::NoSuchNode(replica))?;
        let sync_replication = self
            .catalog
            .databases
            .get(&id.database)
            .is_some_and(|database| database.replication == ReplicationMode::Sync);
        let online = self.catalog.nodes.get(&replica).is_some_and(|node| node.is_online());
        let allowed = match (from, state) {
            // S4: while the primary does not serve, or is not sure to have everything, its Sync replicas are the only ones
            // who could.
            (SyncState::Sync, SyncState::Async) => self.catalog.serving(id).is_some(),
            (_, SyncState::Async) => true,
            (SyncState::Async, SyncState::Ready) | (SyncState::Ready, SyncState::Sync) => {
                sync_replication && online && partition.has_able_primary()
            }
            _ => false,
        };
        if !allowed {
            return Err(Rejection::NoSuchTransition(id, replica, state));
        }
        let name = self.catalog.partition_name(id);
        let address = self.catalog.address_of(replica);
        let partition = self.catalog.partitions.get_mut(&id).expect("it was just found");
        partition.replicas.insert(replica, state);
        partition.version += 1;
        self.changed.insert(RowKey::Partition(id));
        let severity = if state == SyncState::Async { Severity::Warning } else { Severity::Notice };
        let text = format!("{name}: the replica on {address} is {state}: {reason}");
        self.event(severity, event_type::REPLICA_STATE, Some(replica), text);
        self.done()
    }

    pub(super) fn add_replica(&mut self, id: PartitionId, version: u64, node: NodeId) -> Outcome {
        let partition = self.partition(id)?;
        if partition.version != version {
            return Err(Rejection::OtherVersion(id, partition.version));
        }
        if partition.role_of(node).is_some() {
            return Err(Rejection::InstanceExists(id, node));
        }
        let target = self.catalog.nodes.get(&node).ok_or(Rejection::NoSuchNode(node))?;
        if !target.is_leaf() {
            return Err(Rejection::WrongRole(node));
        }
        if self.catalog.is_set_aside(id, node) {
            return Err(Rejection::SetAside(id, node));
        }
        let text = format!("{}: new replica on {}", self.catalog.partition_name(id), target.address());
        let partition = self.catalog.partitions.get_mut(&id).expect("it was just found");
        partition.replicas.insert(node, SyncState::Async);
        partition.version += 1;
        self.changed.insert(RowKey::Partition(id));
        self.event(Severity::Notice, event_type::REPLICA_STATE, Some(node), text);
        self.done()
    }
}
