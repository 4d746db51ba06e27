//! What the catalog holds: nodes, databases, tables, partitions, users, policies, events and decisions.

use std::collections::BTreeMap;

use baton_model::{
    AggregatorRole, Blob, CatalogIndex, DatabaseId, Durability, Epoch, Incarnation, InstanceRole, NodeId,
    NodeRole, NodeState, PartitionId, ReplicationMode, StatementId, StoreId, SyncState, TableSchema, mutated,
};
use serde::{Deserialize, Serialize};

use crate::grants::{GrantScope, Grants, Privilege, ROOT};

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The host under which the others reach it.
    pub host: String,
    /// The port of its SQL listener; with the host, its name for people.
    pub sql_port: u16,
    /// The port of its RPC listener.
    pub rpc_port: u16,
    /// The port of its HTTP listener.
    pub http_port: u16,
    /// What it is for.
    pub role: NodeRole,
    /// Its part in the control group; of an aggregator only.
    pub aggregator_role: Option<AggregatorRole>,
    /// Its availability group, 1 or 2; of a leaf only.
    pub availability_group: Option<u32>,
    /// Whether the master aggregator counts on it.
    pub state: NodeState,
    /// The run of its process that the catalog knows. A primary of another run is not one.
    pub incarnation: Incarnation,
    /// The data directory that the catalog knows.
    pub store: StoreId,
    /// The index at which it was marked offline last; 0 if it never was. A transaction that an aggregator began
    /// before is over (S9), even if that aggregator is back.
    pub offline_at: CatalogIndex,
    /// Until when it is under maintenance, by the master aggregator's wall clock: milliseconds since 1970 UTC. None if
    /// nobody said so.
    pub maintenance_until_ms: Option<u64>,
}

impl Node {
    /// `host:port` of its SQL listener.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.sql_port)
    }

    /// `host:port` of its RPC listener.
    #[must_use]
    pub fn rpc_address(&self) -> String {
        format!("{}:{}", self.host, self.rpc_port)
    }

    /// Whether it is a leaf.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        self.role == NodeRole::Leaf
    }

    /// Whether it counts for the quorum of the control group.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.aggregator_role == Some(AggregatorRole::VotingMember)
    }

    /// Whether the master aggregator counts on it.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.state == NodeState::Online
    }

    /// Whether it is under maintenance at a moment: milliseconds since 1970 UTC, by the master aggregator's wall clock.
    #[must_use]
    pub fn is_in_maintenance(&self, now_ms: u64) -> bool {
        self.maintenance_until_ms.is_some_and(|until_ms| now_ms < until_ms)
    }
}

/// A database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Database {
    /// Its id.
    pub id: DatabaseId,
    /// Its name.
    pub name: String,
    /// How many partitions it is cut into.
    pub partitions: u32,
    /// Whether its replicas rise to `Sync`.
    pub replication: ReplicationMode,
    /// Whether a write waits for the disk.
    pub durability: Durability,
}

/// A database on its way back from a backup. Nobody finds it by its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restore {
    /// The database.
    pub database: DatabaseId,
    /// The statement that restores it. Once nobody carries that out, what there is of the database goes.
    pub statement: StatementId,
}

/// A table, with what changes more often than its schema.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Its definition.
    pub schema: TableSchema,
    /// The next AUTO_INCREMENT value that nobody was given.
    pub auto_increment_next: u64,
    /// Of a reference table: goes up with every write, and a write must name the value it read.
    pub version: u64,
}

/// A partition: who holds it, and in which state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Partition {
    /// Its id.
    pub id: PartitionId,
    /// Moves with every change or renewal of its primary (S1).
    pub epoch: Epoch,
    /// Moves with every change of this partition; a command that names an older one is refused.
    pub version: u64,
    /// The node of the primary, which may be offline.
    pub primary: NodeId,
    /// Whether the primary came back without its data: it must not serve, and nobody may follow it.
    pub primary_lost: bool,
    /// Whether the primary came back without what it had not synced, while a `Sync` replica has everything: it must not
    /// serve. That replica takes over; or it loses its claim, and then the primary goes on with what it has.
    pub primary_unsure: bool,
    /// Whether something that was acknowledged may not be synced on every member of the in-sync set: always under
    /// `ASYNC DURABILITY`, and after that until a primary under `SYNC DURABILITY` says otherwise.
    pub unsynced: bool,
    /// The replicas and their states.
    pub replicas: BTreeMap<NodeId, SyncState>,
}

impl Partition {
    /// The role of the instance on a node; None if it holds none.
    #[must_use]
    pub fn role_of(&self, node: NodeId) -> Option<InstanceRole> {
        if self.primary == node {
            return Some(InstanceRole::Primary);
        }
        self.replicas.get(&node).map(|state| InstanceRole::Replica(*state))
    }

    /// The replicas that the primary must wait for (S2): the `Ready` and the `Sync` ones.
    pub fn in_sync_replicas(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().filter(|(_, state)| **state != SyncState::Async).map(|(node, _)| *node)
    }

    /// The replicas that may be promoted (S4): the `Sync` ones.
    pub fn promotable(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas
            .iter()
            .filter(|(_, state)| **state == SyncState::Sync || mutated!(PromoteAsync))
            .map(|(node, _)| *node)
    }

    /// Whether the primary may act, as far as its data goes.
    #[must_use]
    pub fn has_able_primary(&self) -> bool {
        !self.primary_lost && !self.primary_unsure
    }

    /// Every node that holds an instance, the primary's first.
    pub fn instances(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::once(self.primary).chain(self.replicas.keys().copied())
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// SHA1(SHA1(password)), as `mysql_native_password` wants it; None is the empty password.
    pub password_hash: Option<[u8; 20]>,
    /// What it may do. `root` may do everything, whatever is here.
    pub grants: Grants,
}

impl User {
    /// Whether it may do this here.
    #[must_use]
    pub fn may(&self, privilege: Privilege, of: &GrantScope) -> bool {
        self.name == ROOT || self.grants.hold(privilege, of)
    }

    /// Whether it may do anything at all in a database.
    #[must_use]
    pub fn may_enter(&self, database: &str) -> bool {
        self.name == ROOT || self.grants.hold_any_in(database)
    }
}

/// The policy that every cluster has: no statement drops it.
pub const REFERENCE_POLICY: &str = "classic";

/// Who vouches for a policy module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicySignature {
    /// The public key, 64 hexadecimal digits.
    pub key: String,
    /// The signature by it, 128 hexadecimal digits.
    pub signature: String,
}

/// A policy module: a WASM component and its name. Never changes, but for its signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyModule {
    /// The name that `SET POLICY` uses.
    pub name: String,
    /// The version that the module says it has.
    pub version: String,
    /// SHA-256 of the bytes, in hex.
    pub hash: String,
    /// The decision points that it can be bound to.
    pub decision_points: Vec<String>,
    /// The component.
    pub bytes: Blob,
    /// Who vouches for it, if anybody does.
    pub signature: Option<PolicySignature>,
}

/// The modules of one name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyVersions {
    /// The name.
    pub name: String,
    /// The hashes of its modules, in the order in which they were installed; the last one is the current one.
    pub hashes: Vec<String>,
}

/// What a binding is for. The narrowest one decides: a database's, then a group's, then the cluster's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum BindingScope {
    /// Everything that has no binding of its own.
    Cluster,
    /// What is decided about a database.
    Database(DatabaseId),
    /// What is decided about the leaves of an availability group, 1 or 2.
    Group(u32),
}

/// Names a binding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BindingKey {
    /// The decision point.
    pub decision_point: String,
    /// For what.
    pub scope: BindingScope,
    /// Whether the module is only asked beside the one that decides.
    pub shadow: bool,
}

/// A module with the settings that it is asked with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BoundModule {
    /// The module's name.
    pub policy: String,
    /// The module's hash at the time of binding, so that the binding means the same bytes for ever.
    pub hash: String,
    /// The module's settings.
    pub settings: BTreeMap<String, String>,
    /// SHA-256 of the report that it was let in by, in hex; None if it needed none.
    pub report: Option<String>,
}

/// Which module decides at a decision point, or is asked beside, and with which settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// One of the names of decision points, in lower case.
    pub decision_point: String,
    /// For what.
    pub scope: BindingScope,
    /// Whether the module is only asked beside the one that decides.
    pub shadow: bool,
    /// The module's name.
    pub policy: String,
    /// The module's hash at the time of binding, so that the binding means the same bytes for ever.
    pub hash: String,
    /// The module's settings.
    pub settings: BTreeMap<String, String>,
    /// SHA-256 of the report that it was let in by, in hex; None if it needed none.
    pub report: Option<String>,
    /// What was bound before, the last one last: what a rollback comes back to.
    pub previous: Vec<BoundModule>,
}

impl Binding {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> BindingKey {
        let Self { decision_point, scope, shadow, .. } = self;
        BindingKey { decision_point: decision_point.clone(), scope: *scope, shadow: *shadow }
    }

    /// What is bound now.
    #[must_use]
    pub fn module(&self) -> BoundModule {
        let Self { policy, hash, settings, report, .. } = self.clone();
        BoundModule { policy, hash, settings, report }
    }

    /// Whether it needs the module of this hash, now or after a rollback.
    #[must_use]
    pub fn needs(&self, hash: &str) -> bool {
        self.hash == hash || self.previous.iter().any(|module| module.hash == hash)
    }
}

/// A module that does not decide, whatever is bound, until an operator releases it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// The module's hash.
    pub hash: String,
    /// The module's name.
    pub policy: String,
    /// Why, for people.
    pub reason: String,
    /// Since when, by the master aggregator's wall clock: milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// How much an event matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Severity {
    /// Something happened.
    Notice,
    /// Something should be looked at.
    Warning,
    /// Something is broken.
    Error,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        })
    }
}

/// A copy that was set aside when an operator named another primary (S4): it may have what that one has not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetAside {
    /// The partition.
    pub partition: PartitionId,
    /// The leaf that has it.
    pub node: NodeId,
    /// The epoch in which it was the primary.
    pub epoch: Epoch,
}

/// The names of events. Where the reference system has one, it is used.
pub mod event_type {
    /// A node joined or came back.
    pub const NODE_ONLINE: &str = "NODE_ONLINE";
    /// A node was judged failed.
    pub const NODE_OFFLINE: &str = "NODE_OFFLINE";
    /// A leaf was taken out of use.
    pub const NODE_DETACHED: &str = "NODE_DETACHED";
    /// A leaf was removed.
    pub const LEAF_REMOVE: &str = "LEAF_REMOVE";
    /// A leaf was added.
    pub const LEAF_ADD: &str = "LEAF_ADD";
    /// An aggregator was added.
    pub const AGGREGATOR_ADD: &str = "AGGREGATOR_ADD";
    /// An aggregator was removed.
    pub const AGGREGATOR_REMOVE: &str = "AGGREGATOR_REMOVE";
    /// An aggregator became the master aggregator.
    pub const NOTIFY_AGGREGATOR_PROMOTED: &str = "NOTIFY_AGGREGATOR_PROMOTED";
    /// An instance became primary.
    pub const PARTITION_PROMOTED: &str = "PARTITION_PROMOTED";
    /// A partition was handed over from a primary that was well.
    pub const PARTITION_HANDED_OVER: &str = "PARTITION_HANDED_OVER";
    /// An operator named a primary, whatever may be lost by it (S4).
    pub const PARTITION_FORCED: &str = "PARTITION_FORCED";
    /// A replica was taken away.
    pub const REPLICA_DROPPED: &str = "REPLICA_DROPPED";
    /// Data that the catalog gives to nobody was removed from a leaf.
    pub const ORPHAN_CLEARED: &str = "ORPHAN_CLEARED";
    /// An operator's plan began.
    pub const REBALANCE_STARTED: &str = "REBALANCE_STARTED";
    /// An operator's plan ended.
    pub const REBALANCE_FINISHED: &str = "REBALANCE_FINISHED";
    /// A partition has no primary that could serve.
    pub const PARTITION_OFFLINE: &str = "PARTITION_OFFLINE";
    /// A partition is served again by the primary it had.
    pub const PARTITION_ONLINE: &str = "PARTITION_ONLINE";
    /// A replica's sync state changed.
    pub const REPLICA_STATE: &str = "REPLICA_STATE";
    /// A database was created.
    pub const DATABASE_CREATED: &str = "DATABASE_CREATED";
    /// What a database promises was changed.
    pub const DATABASE_ALTERED: &str = "DATABASE_ALTERED";
    /// A database was backed up.
    pub const BACKUP_DB: &str = "BACKUP_DB";
    /// A database was restored from a backup, or was not.
    pub const RESTORE_DB: &str = "RESTORE_DB";
    /// A database was dropped.
    pub const DATABASE_DROPPED: &str = "DATABASE_DROPPED";
    /// A global variable was set.
    pub const VARIABLE_SET: &str = "VARIABLE_SET";
    /// A policy module was installed.
    pub const POLICY_INSTALLED: &str = "POLICY_INSTALLED";
    /// A policy was bound to a decision point.
    pub const POLICY_BOUND: &str = "POLICY_BOUND";
    /// A policy was dropped.
    pub const POLICY_DROPPED: &str = "POLICY_DROPPED";
    /// A binding was removed.
    pub const POLICY_UNBOUND: &str = "POLICY_UNBOUND";
    /// A policy failed too often, and does not decide any more.
    pub const POLICY_QUARANTINED: &str = "POLICY_QUARANTINED";
    /// An operator let a policy out of quarantine.
    pub const POLICY_RELEASED: &str = "POLICY_RELEASED";
    /// An operator said until when a node is under maintenance.
    pub const MAINTENANCE_MARKED: &str = "MAINTENANCE_MARKED";
    /// An operator said that a node is not under maintenance any more.
    pub const MAINTENANCE_ENDED: &str = "MAINTENANCE_ENDED";
    /// A policy failed and the built-in one decided.
    pub const POLICY_FALLBACK: &str = "POLICY_FALLBACK";
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Goes up by one with every event.
    pub id: u64,
    /// When it was proposed, by the master aggregator's wall clock: milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// How much it matters.
    pub severity: Severity,
    /// One of [`event_type`].
    pub event_type: String,
    /// The node it is about.
    pub node: Option<NodeId>,
    /// What happened, for people.
    pub details: String,
}

/// A policy's verdict that was acted on, with what it was made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Goes up by one with every decision; given at apply.
    pub id: u64,
    /// When it was made, by the deciding node's wall clock: milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The node that decided.
    pub node: NodeId,
    /// `detection`, `election`, `promotion`.
    pub decision_point: String,
    /// What it was about, for people: `leaf 127.0.0.1:3310`, `shop_3`.
    pub subject: String,
    /// The verdict, for people: `failed`, `promote n6`.
    pub verdict: String,
    /// The policy's reason.
    pub reason: String,
    /// The name of the module that decided, or `classic (native)`.
    pub policy: String,
    /// The module's hash; empty for the native one.
    pub hash: String,
    /// The input, as JSON.
    pub input: String,
    /// The whole verdict, as JSON; empty if it was not kept.
    pub answer: String,
    /// Fuel spent.
    pub fuel: u64,
    /// Microseconds spent.
    pub micros: u64,
    /// Why the bound module did not decide; empty if it did.
    pub fallback: String,
}
