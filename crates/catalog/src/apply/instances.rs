//! Instances as an operator's plan moves them: hand-over, removal, and the one promotion that may lose something.
//!
//! * S1: an epoch moves by one in each of the two ways in which a primary changes here.
//! * S4: `force_primary` is the only promotion of what is not `Sync`. It is refused as long as anything better is there,
//!   no policy and no plan of the master aggregator's own says it, and it leaves an event.
//! * S7: a replica goes only while its primary serves and so many others are left; what `force_primary` passes over is
//!   set aside, not forgotten.

use baton_model::{Epoch, NodeId, PartitionId, ReplicationMode, SyncState};

use super::Step;
use crate::objects::{SetAside, Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    fn is_online(&self, node: NodeId) -> bool {
        self.catalog.nodes.get(&node).is_some_and(|node| node.is_online())
    }

    /// Like `promote_instance`, but the old primary is well and has all that was ever acknowledged, so it stays `Sync`:
    /// the new one waits for it from its first record on (S2).
    pub(super) fn hand_over(&mut self, id: PartitionId, epoch: Epoch, to: NodeId, reason: &str) -> Outcome {
        let partition = self.partition(id)?;
        if partition.epoch != epoch {
            return Err(Rejection::OtherEpoch(id, partition.epoch));
        }
        if partition.replicas.get(&to) != Some(&SyncState::Sync) {
            return Err(Rejection::NotSync(id, to)); // S4
        }
        let old = partition.primary;
        let able = partition.has_able_primary();
        if let Some(offline) = [old, to].into_iter().find(|node| !self.is_online(*node)) {
            return Err(Rejection::NodeOffline(offline));
        }
        if !able {
            return Err(Rejection::NodeOffline(old));
        }
        let name = self.catalog.partition_name(id);
        let sync = self
            .catalog
            .databases
            .get(&id.database)
            .is_some_and(|database| database.replication == ReplicationMode::Sync);
        let Some(partition) = self.catalog.partitions.get_mut(&id) else {
            return Err(Rejection::NoSuchPartition(id));
        };
        partition.replicas.remove(&to);
        partition.replicas.insert(old, if sync { SyncState::Sync } else { SyncState::Async });
        partition.primary = to;
        partition.epoch = epoch.next();
        partition.version += 1;
        let text = format!(
            "{name}: {} hands over to {} at epoch {}: {reason}",
            self.catalog.address_of(old),
            self.catalog.address_of(to),
            epoch.next(),
        );
        self.changed.insert(RowKey::Partition(id));
        self.event(Severity::Notice, event_type::PARTITION_HANDED_OVER, Some(to), text);
        self.done()
    }

    pub(super) fn drop_replica(
        &mut self,
        id: PartitionId,
        node: NodeId,
        copies_left: u32,
        reason: &str,
    ) -> Outcome {
        let partition = self.partition(id)?;
        if partition.primary == node {
            return Err(Rejection::StillPrimary(id, node));
        }
        if !partition.replicas.contains_key(&node) {
            return Err(Rejection::NoSuchNode(node));
        }
        // S7: without a primary that serves, what is here may be the last that there is.
        if !partition.has_able_primary() || !self.is_online(partition.primary) {
            return Err(Rejection::TooFewCopies(id));
        }
        let others = partition.in_sync_replicas().filter(|other| *other != node && self.is_online(*other));
        let left = 1 + u32::try_from(others.count()).unwrap_or(u32::MAX);
        if left < copies_left {
            return Err(Rejection::TooFewCopies(id));
        }
        let text = format!(
            "{}: the replica on {} goes: {reason}",
            self.catalog.partition_name(id),
            self.catalog.address_of(node)
        );
        if let Some(partition) = self.catalog.partitions.get_mut(&id) {
            partition.replicas.remove(&node);
            partition.version += 1;
        }
        self.changed.insert(RowKey::Partition(id));
        self.event(Severity::Notice, event_type::REPLICA_DROPPED, Some(node), text);
        self.done()
    }

    pub(super) fn force_primary(&mut self, id: PartitionId, epoch: Epoch, to: NodeId, loss: &str) -> Outcome {
        let partition = self.partition(id)?;
        if partition.epoch != epoch {
            return Err(Rejection::OtherEpoch(id, partition.epoch));
        }
        let target = self.catalog.nodes.get(&to).ok_or(Rejection::NoSuchNode(to))?;
        if !target.is_leaf() {
            return Err(Rejection::WrongRole(to));
        }
        if !target.is_online() {
            return Err(Rejection::NodeOffline(to));
        }
        let serves = partition.has_able_primary() && self.is_online(partition.primary);
        if serves || partition.promotable().any(|node| self.is_online(node)) {
            return Err(Rejection::NotLost(id));
        }
        let old = partition.primary;
        // What came back without its data has nothing to set aside.
        let keeps = old != to && !partition.primary_lost && self.catalog.nodes.contains_key(&old);
        let name = self.catalog.partition_name(id);
        let Some(partition) = self.catalog.partitions.get_mut(&id) else {
            return Err(Rejection::NoSuchPartition(id));
        };
        partition.replicas.remove(&to);
        partition.replicas.values_mut().for_each(|state| *state = SyncState::Async);
        partition.primary = to;
        (partition.primary_lost, partition.primary_unsure) = (false, false);
        partition.epoch = epoch.next();
        partition.version += 1;
        self.changed.insert(RowKey::Partition(id));
        self.give_up();
        self.forget_orphans(|copy| copy.partition == id && copy.node == to);
        if keeps {
            let copy = SetAside { partition: id, node: old, epoch };
            self.catalog.set_aside.insert((id, old), copy);
            self.changed.insert(RowKey::SetAside(id, old));
        }
        let text = format!(
            "{name}: by an operator's word {} is the primary at epoch {}: {loss}",
            self.catalog.address_of(to),
            epoch.next()
        );
        self.event(Severity::Error, event_type::PARTITION_FORCED, Some(to), text);
        self.done()
    }

    pub(super) fn forget_orphan(&mut self, id: PartitionId, node: NodeId) -> Outcome {
        self.forget_orphans(|copy| copy.partition == id && copy.node == node);
        let text = format!(
            "{}: the copy of it on {} is no orphan any more",
            self.catalog.partition_name(id),
            self.catalog.address_of(node)
        );
        self.event(Severity::Notice, event_type::ORPHAN_CLEARED, Some(node), text);
        self.done()
    }

    /// Forgets that copies were set aside.
    pub(super) fn forget_orphans(&mut self, which: impl Fn(&SetAside) -> bool) {
        let gone: Vec<_> = self.catalog.set_aside.values().filter(|copy| which(copy)).cloned().collect();
        for copy in gone {
            self.catalog.set_aside.remove(&(copy.partition, copy.node));
            self.changed.insert(RowKey::SetAside(copy.partition, copy.node));
        }
    }
}
