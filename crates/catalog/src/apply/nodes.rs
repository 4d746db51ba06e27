//! Nodes: joining, leaving, failing, returning.

use baton_model::{
    AggregatorRole, ClusterId, Durability, Incarnation, NodeId, NodeRole, NodeState, PartitionId, StoreId,
    SyncState,
};

use super::Step;
use super::policies::check_policies;
use crate::command::NewNode;
use crate::objects::{Node, PolicyModule, Severity, User, event_type};
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
        let root = User { name: "root".into(), password_hash: None };
        self.catalog.users.insert(root.name.clone(), root);
        self.changed.insert(RowKey::User("root".into()));
        self.add_node(node)?;
        for module in policies {
            self.install_policy(module)?;
        }
        for (point, policy) in bindings {
            self.bind_policy(std::slice::from_ref(point), policy, &std::collections::BTreeMap::new())?;
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

    pub(super) fn set_node_offline(&mut self, id: NodeId, incarnation: Incarnation, reason: &str) -> Outcome {
        let node = self.catalog.nodes.get_mut(&id).ok_or(Rejection::NoSuchNode(id))?;
        if node.incarnation != incarnation {
            return Err(Rejection::OtherIncarnation(id));
        }
        if node.state == NodeState::Offline {
            return Err(Rejection::NoChange(id));
        }
        node.state = NodeState::Offline;
        let text = format!("{} {}: {reason}", node.role, node.address());
        self.changed.insert(RowKey::Node(id));
        self.event(Severity::Warning, event_type::NODE_OFFLINE, Some(id), text);
        self.done()
    }

    /// A node answers. If its process was restarted, its primaries go on under a new epoch, so that what a dead
    /// process may have sent and the new one no longer has can be told apart (S6).
    /// If its data directory is another one, nothing it held counts any more (S4).
    pub(super) fn set_node_online(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        store: StoreId,
    ) -> Outcome {
        let node = self.catalog.nodes.get_mut(&id).ok_or(Rejection::NoSuchNode(id))?;
        let restarted = node.incarnation != incarnation;
        let lost = node.store != store;
        let was_offline = node.state == NodeState::Offline;
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
        }
        self.changed.insert(RowKey::Node(id));
        self.event(Severity::Notice, event_type::NODE_ONLINE, Some(id), text);

        let held: Vec<PartitionId> =
            self.catalog.partitions.values().filter(|p| p.role_of(id).is_some()).map(|p| p.id).collect();
        for partition_id in held {
            let unsynced = self
                .catalog
                .databases
                .get(&partition_id.database)
                .is_some_and(|database| database.durability == Durability::Async);
            let name = self.catalog.partition_name(partition_id);
            let partition = self.catalog.partitions.get_mut(&partition_id).expect("it was just listed");
            if partition.primary == id {
                if !lost && !restarted {
                    // Only cut off: nobody has taken over, and it goes on where it was.
                    if was_offline && !partition.primary_lost {
                        let text = format!("{name} is served again");
                        self.event(Severity::Notice, event_type::PARTITION_ONLINE, Some(id), text);
                    }
                    continue;
                }
                partition.primary_lost |= lost;
                if restarted {
                    partition.epoch = partition.epoch.next();
                }
            } else if lost || (restarted && unsynced) {
                partition.replicas.insert(id, SyncState::Async);
            } else {
                continue;
            }
            // Even if it was Async: what its primary knows of it is about data that is gone, so a request that was
            // made from that knowledge must be refused (S4).
            partition.version += 1;
            let event = if !partition.primary_lost && partition.primary == id {
                let text = format!("{name} goes on at epoch {}", partition.epoch);
                Some((Severity::Notice, event_type::PARTITION_ONLINE, text))
            } else if partition.primary == id {
                let text = format!("{name}: the primary came back without its data");
                Some((Severity::Error, event_type::PARTITION_OFFLINE, text))
            } else {
                None
            };
            self.changed.insert(RowKey::Partition(partition_id));
            if let Some((severity, kind, text)) = event {
                self.event(severity, kind, Some(id), text);
            }
        }
        self.done()
    }
}
