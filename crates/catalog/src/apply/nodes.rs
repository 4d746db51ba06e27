//! Nodes: joining, leaving, failing, returning.

use std::collections::BTreeMap;

use baton_model::{
    AggregatorRole, CatalogIndex, ClusterId, Incarnation, NodeId, NodeRole, NodeState, PartitionId, StoreId,
    SyncState, mutated,
};

use super::Step;
use super::policies::check_policies;
use crate::command::{NewBinding, NewNode};
use crate::grants::ROOT;
use crate::objects::{Node, PolicyModule, Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn found_cluster(
        &mut self,
        cluster: ClusterId,
        node: &NewNode,
        policies: &[PolicyModule],
        bindings: &[(String, String)],
    ) -> Outcome {
        if self.catalog.cluster.is_some() {
            return Err(Rejection::AlreadyFounded);
        }
        check_policies(policies, bindings)?;
        self.catalog.cluster = Some(cluster);
        self.changed.insert(RowKey::Cluster);
        self.create_user(ROOT, false, None)?;
        self.add_node(node)?;
        for module in policies {
            self.install_policy(module, true)?;
        }
        for (point, policy) in bindings {
            let hash = self.catalog.policy(policy).map(|module| module.hash.clone()).unwrap_or_default();
            let points = vec![point.clone()];
            self.bind_policy(&NewBinding::of_cluster(points, policy.clone(), hash, BTreeMap::new()))?;
        }
        self.done()
    }

    pub(super) fn add_node(&mut self, new: &NewNode) -> Result<NodeId, Rejection> {
        if self.catalog.node_at(&new.host, new.sql_port).is_some() {
            return Err(Rejection::NodeExists(format!("{}:{}", new.host, new.sql_port)));
        }
        let id = NodeId(self.catalog.counters.node);
        self.catalog.counters.node += 1;
        let leaf = new.role == NodeRole::Leaf;
        let node = Node {
            id,
            host: new.host.clone(),
            sql_port: new.sql_port,
            rpc_port: new.rpc_port,
            http_port: new.http_port,
            role: new.role,
            aggregator_role: if leaf {
                None
            } else {
                Some(new.aggregator_role.unwrap_or(AggregatorRole::Follower))
            },
            availability_group: if leaf { Some(new.availability_group.unwrap_or(1)) } else { None },
            state: NodeState::Online,
            incarnation: new.incarnation,
            store: new.store,
            offline_at: CatalogIndex(0),
            maintenance_until_ms: None,
        };
        let kind = if leaf { event_type::LEAF_ADD } else { event_type::AGGREGATOR_ADD };
        self.event(Severity::Notice, kind, Some(id), format!("{} added as {id}", node.address()));
        self.catalog.nodes.insert(id, node);
        self.changed.extend([RowKey::Counters, RowKey::Node(id)]);
        Ok(id)
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Outcome {
        let node = self.catalog.nodes.get(&id).ok_or(Rejection::NoSuchNode(id))?;
        if node.is_leaf() {
            return Err(Rejection::WrongRole(id));
        }
        let address = node.address();
        self.catalog.nodes.remove(&id);
        self.changed.insert(RowKey::Node(id));
        self.event(Severity::Notice, event_type::AGGREGATOR_REMOVE, Some(id), format!("{address} removed"));
        self.done()
    }

    pub(super) fn set_aggregator_role(&mut self, id: NodeId, role: AggregatorRole) -> Outcome {
        let node = self.catalog.nodes.get_mut(&id).ok_or(Rejection::NoSuchNode(id))?;
        if node.is_leaf() {
            return Err(Rejection::WrongRole(id));
        }
        if node.aggregator_role == Some(role) {
            return Err(Rejection::NoChange(id));
        }
        node.aggregator_role = Some(role);
        self.changed.insert(RowKey::Node(id));
        self.done()
    }

    pub(super) fn set_node_offline(&mut self, id: NodeId, incarnation: Incarnation, reason: &str) -> Outcome {
        let index = self.catalog.index;
        let node = self.catalog.nodes.get_mut(&id).ok_or(Rejection::NoSuchNode(id))?;
        if node.incarnation != incarnation {
            return Err(Rejection::OtherIncarnation(id));
        }
        if node.state != NodeState::Online {
            return Err(Rejection::NoChange(id));
        }
        node.state = NodeState::Offline;
        node.offline_at = index;
        let text = format!("{} {}: {reason}", node.role, node.address());
        self.changed.insert(RowKey::Node(id));
        self.event(Severity::Warning, event_type::NODE_OFFLINE, Some(id), text);
        self.done()
    }

    /// A node answers. If its process was restarted, its primaries go on under a new epoch, so that what a dead
    /// process may have sent and the new one no longer has can be told apart (S6).
    /// If its data directory is another one, nothing it held counts any more (S4).
    /// If its machine went down under it, what it had not synced does not count (checklist 9).
    pub(super) fn set_node_online(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        store: StoreId,
        lost_tail: bool,
    ) -> Outcome {
        let node = self.catalog.nodes.get(&id).ok_or(Rejection::NoSuchNode(id))?;
        if node.state == NodeState::Detached {
            return Err(Rejection::Detached(id));
        }
        self.bring_online(id, incarnation, store, lost_tail)
    }

    /// The same, whatever state the node is in.
    pub(super) fn bring_online(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        store: StoreId,
        lost_tail: bool,
    ) -> Outcome {
        let node = self.catalog.nodes.get_mut(&id).ok_or(Rejection::NoSuchNode(id))?;
        let restarted = node.incarnation != incarnation;
        let lost = node.store != store;
        let was_offline = node.state != NodeState::Online;
        if !restarted && !lost && !was_offline {
            return Err(Rejection::NoChange(id));
        }
        node.state = NodeState::Online;
        node.incarnation = incarnation;
        node.store = store;
        let mut text = format!("{} {}", node.role, node.address());
        if restarted {
            text.push_str(", restarted");
        }
        if lost {
            text.push_str(", with an empty disk");
        } else if restarted && lost_tail {
            text.push_str(", perhaps without what it had not synced");
        }
        self.changed.insert(RowKey::Node(id));
        self.event(Severity::Notice, event_type::NODE_ONLINE, Some(id), text);
        if lost {
            self.forget_orphans(|copy| copy.node == id);
        }

        let lost_tail = restarted && lost_tail && !mutated!(IgnoreLostTail);
        let held: Vec<PartitionId> =
            self.catalog.partitions.values().filter(|p| p.role_of(id).is_some()).map(|p| p.id).collect();
        for partition in held {
            let returned = Returned { restarted, lost, lost_tail, was_offline };
            self.instance_returned(partition, id, returned);
        }
        self.done()
    }

    fn instance_returned(&mut self, partition_id: PartitionId, id: NodeId, returned: Returned) {
        let Returned { restarted, lost, lost_tail, was_offline } = returned;
        let name = self.catalog.partition_name(partition_id);
        let partition = self.catalog.partitions.get_mut(&partition_id).expect("it was just listed");
        let was_able = partition.has_able_primary();
        let is_primary = partition.primary == id;
        if is_primary {
            if !lost && !restarted {
                // Only cut off: nobody has taken over, and it goes on where it was.
                if was_offline && was_able {
                    let text = format!("{name} is served again");
                    self.event(Severity::Notice, event_type::PARTITION_ONLINE, Some(id), text);
                }
                return;
            }
            partition.primary_lost |= lost;
            if restarted && !mutated!(KeepEpochAtRestart) {
                partition.epoch = partition.epoch.next();
            }
            partition.primary_unsure |= lost_tail && partition.unsynced;
        } else if lost || (lost_tail && partition.unsynced) {
            partition.replicas.insert(id, SyncState::Async);
        } else {
            return;
        }
        // Else nobody is left who surely has more than the primary.
        let has_heir = partition.promotable().next().is_some();
        partition.primary_unsure &= has_heir;
        // Even if it was Async: what its primary knows of it is about data that is gone, so a request that was
        // made from that knowledge must be refused (S4).
        partition.version += 1;
        let (primary, epoch) = (partition.primary, partition.epoch);
        // What was acknowledged may be gone for good: it goes on with what the primary's disk has.
        let unsynced = partition.unsynced && partition.has_able_primary();
        let gives_up = unsynced && (if is_primary { lost_tail } else { !was_able });
        let event = if gives_up && is_primary {
            let text = format!(
                "{name} goes on at epoch {epoch} with what its primary has: what was not synced may be gone"
            );
            Some((Severity::Warning, event_type::PARTITION_ONLINE, text))
        } else if partition.has_able_primary() && is_primary {
            Some((Severity::Notice, event_type::PARTITION_ONLINE, format!("{name} goes on at epoch {epoch}")))
        } else if partition.has_able_primary() && !was_able {
            let text = format!(
                "{name} goes on at epoch {epoch} with what its primary has: nobody is left who surely has more"
            );
            Some((Severity::Warning, event_type::PARTITION_ONLINE, text))
        } else if !is_primary {
            None
        } else if partition.primary_lost {
            let text = format!("{name}: the primary came back without its data");
            Some((Severity::Error, event_type::PARTITION_OFFLINE, text))
        } else {
            let text =
                format!("{name}: the primary came back, perhaps without what only its replicas have now");
            Some((Severity::Warning, event_type::PARTITION_OFFLINE, text))
        };
        self.changed.insert(RowKey::Partition(partition_id));
        if gives_up {
            self.give_up();
        }
        if let Some((severity, kind, text)) = event {
            self.event(severity, kind, Some(primary), text);
        }
    }
}

/// How a node came back.
struct Returned {
    /// As another run of its process.
    restarted: bool,
    /// With another data directory.
    lost: bool,
    /// As another run, and perhaps without what the one before had not synced.
    lost_tail: bool,
    was_offline: bool,
}
