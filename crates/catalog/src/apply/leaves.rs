//! Leaves as an operator takes them out of use, back into it, and out of the cluster.

use baton_model::{Incarnation, NodeId, NodeState, PartitionId, StoreId, SyncState};

use super::Step;
use crate::objects::{Partition, Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    fn leaf(&self, id: NodeId) -> Result<(NodeState, String), Rejection> {
        let node = self.catalog.nodes.get(&id).ok_or(Rejection::NoSuchNode(id))?;
        if node.is_leaf() { Ok((node.state, node.address())) } else { Err(Rejection::WrongRole(id)) }
    }

    /// The partitions of which a leaf holds an instance.
    fn held(&self, id: NodeId) -> Vec<Partition> {
        self.catalog.partitions.values().filter(|p| p.role_of(id).is_some()).cloned().collect()
    }

    /// Whether another leaf may be promoted in a partition without any loss.
    fn has_heir(&self, partition: &Partition, than: NodeId) -> bool {
        let online = |node: NodeId| self.catalog.nodes.get(&node).is_some_and(|node| node.is_online());
        partition.promotable().any(|node| node != than && online(node))
    }

    fn is_served(&self, id: PartitionId) -> bool {
        self.catalog.serving(id).is_some()
    }

    /// Its replicas are `Async` from the moment at which nobody counts on it, so a primary stops waiting for them (S3);
    /// only where no primary serves they stay what they are, for they may be all that there is.
    pub(super) fn detach_leaf(&mut self, id: NodeId, last_copies: bool, reason: &str) -> Outcome {
        let (state, address) = self.leaf(id)?;
        if state == NodeState::Detached {
            return Err(Rejection::NoChange(id));
        }
        let held = self.held(id);
        for partition in &held {
            let is_last = if partition.primary == id {
                if !partition.primary_lost && self.has_heir(partition, id) {
                    return Err(Rejection::StillPrimary(partition.id, id));
                }
                true
            } else {
                let promotable = partition.replicas.get(&id) == Some(&SyncState::Sync);
                promotable && !self.is_served(partition.id) && !self.has_heir(partition, id)
            };
            if is_last && !last_copies && state == NodeState::Online {
                return Err(Rejection::LastCopy(partition.id, id));
            }
        }
        for partition in &held {
            let served = self.is_served(partition.id);
            let counted = partition.replicas.get(&id).is_some_and(|state| *state != SyncState::Async);
            if partition.primary == id && served {
                let text = format!(
                    "{}: its only primary, on {address}, is detached",
                    self.catalog.partition_name(partition.id)
                );
                self.event(Severity::Error, event_type::PARTITION_OFFLINE, Some(id), text);
            } else if served
                && counted
                && let Some(partition) = self.catalog.partitions.get_mut(&partition.id)
            {
                partition.replicas.insert(id, SyncState::Async);
                partition.version += 1;
                self.changed.insert(RowKey::Partition(partition.id));
            }
        }
        if let Some(node) = self.catalog.nodes.get_mut(&id) {
            node.state = NodeState::Detached;
        }
        self.changed.insert(RowKey::Node(id));
        self.event(
            Severity::Notice,
            event_type::NODE_DETACHED,
            Some(id),
            format!("Leaf {address}: {reason}"),
        );
        self.done()
    }

    pub(super) fn attach_leaf(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        store: StoreId,
        lost_tail: bool,
    ) -> Outcome {
        self.leaf(id)?;
        self.bring_online(id, incarnation, store, lost_tail)
    }

    pub(super) fn remove_leaf(&mut self, id: NodeId, force: bool) -> Outcome {
        let (_, address) = self.leaf(id)?;
        let held = self.held(id);
        if !force && !held.is_empty() {
            return Err(Rejection::HoldsInstances(id, held.len() as u64));
        }
        if let Some(partition) = held.iter().find(|p| p.primary == id && self.has_heir(p, id)) {
            return Err(Rejection::StillPrimary(partition.id, id));
        }
        for partition in &held {
            if partition.primary == id {
                let text = format!(
                    "{}: its only primary, on {address}, was removed from the cluster",
                    self.catalog.partition_name(partition.id)
                );
                self.event(Severity::Error, event_type::PARTITION_OFFLINE, Some(id), text);
            } else if let Some(partition) = self.catalog.partitions.get_mut(&partition.id) {
                partition.replicas.remove(&id);
                partition.version += 1;
                let waits_for_nobody = partition.primary_unsure && partition.promotable().next().is_none();
                partition.primary_unsure &= !waits_for_nobody;
                let (partition, primary) = (partition.id, partition.primary);
                self.changed.insert(RowKey::Partition(partition));
                if waits_for_nobody {
                    self.give_up();
                    let text = format!(
                        "{}: goes on with what its primary has; {address}, which may have had more, was removed",
                        self.catalog.partition_name(partition)
                    );
                    self.event(Severity::Error, event_type::PARTITION_FORCED, Some(primary), text);
                }
            }
        }
        self.forget_orphans(|copy| copy.node == id);
        self.catalog.nodes.remove(&id);
        self.changed.insert(RowKey::Node(id));
        self.event(Severity::Notice, event_type::LEAF_REMOVE, Some(id), format!("{address} removed"));
        self.done()
    }
}
