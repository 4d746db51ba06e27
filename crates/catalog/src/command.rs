//! What can be asked of the catalog.

use std::collections::{BTreeMap, BTreeSet};

use baton_model::{
    AggregatorRole, Blob, ClusterId, DatabaseId, Durability, Epoch, Incarnation, Key, NodeId, NodeRole,
    PartitionId, ReplicationMode, StatementId, StoreId, SyncState, TableId, TableSchema,
};
use serde::{Deserialize, Serialize};

use crate::grants::{GrantScope, Privilege};
use crate::objects::{BindingScope, Decision, PolicyModule, Severity};
use crate::plans::{PlanAction, PlanKind, StepStatus};

/// A command on its way through the control group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The client statement that it carries out. A second entry with the same id is answered with the first
    /// outcome and changes nothing (S12). Only a reference write that was computed from an older version of its
    /// table has no outcome by that: it is computed again, and comes again.
    pub statement: Option<StatementId>,
    /// The proposer's wall clock, in milliseconds since 1970 UTC; stamps events, decides nothing.
    pub at_ms: u64,
    /// What to do.
    pub command: Command,
}

/// A node that joins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewNode {
    /// The host under which the others reach it.
    pub host: String,
    /// The port of its SQL listener.
    pub sql_port: u16,
    /// The port of its RPC listener.
    pub rpc_port: u16,
    /// The port of its HTTP listener.
    pub http_port: u16,
    /// What it is for.
    pub role: NodeRole,
    /// Its part in the control group; of an aggregator only.
    pub aggregator_role: Option<AggregatorRole>,
    /// Its availability group; of a leaf only.
    pub availability_group: Option<u32>,
    /// The run of its process.
    pub incarnation: Incarnation,
    /// Its data directory.
    pub store: StoreId,
}

/// Where the instances of a new partition go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstancePlacement {
    /// The leaf of the primary.
    pub primary: NodeId,
    /// The leaves of the replicas.
    pub replicas: Vec<NodeId>,
}

/// A step of an operator's plan that is yet to be taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewStep {
    /// What is done.
    pub action: PlanAction,
    /// To which partition.
    pub ordinal: u32,
    /// On which leaf: where the copy goes, who becomes primary, or whose instance goes.
    pub target: NodeId,
    /// Of a promotion: who was primary when the plan was made.
    pub from: Option<NodeId>,
    /// Steps of one phase may be taken at the same time; phases follow each other by number.
    pub phase: u32,
}

/// A module that is to decide, or to be asked beside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewBinding {
    /// At these decision points; all of them, or none.
    pub decision_points: Vec<String>,
    /// For what.
    pub scope: BindingScope,
    /// Whether it is only asked beside the one that decides.
    pub shadow: bool,
    /// The module's name.
    pub policy: String,
    /// The module's hash.
    pub hash: String,
    /// The module's settings.
    pub settings: BTreeMap<String, String>,
    /// SHA-256 of the report that it is let in by, in hex.
    pub report: Option<String>,
}

impl NewBinding {
    /// A module that is to decide for the whole cluster, without a report.
    #[must_use]
    pub fn of_cluster(
        decision_points: Vec<String>,
        policy: String,
        hash: String,
        settings: BTreeMap<String, String>,
    ) -> Self {
        let (scope, shadow, report) = (BindingScope::Cluster, false, None);
        Self { decision_points, scope, shadow, policy, hash, settings, report }
    }
}

/// A write of a reference table's rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReferenceWrite {
    /// The table.
    pub table: TableId,
    /// The table version that the write was computed from; if it has moved, the write is refused.
    pub expected_version: u64,
    /// Each key with its new row, or None where the row goes.
    pub rows: Vec<(Key, Option<Blob>)>,
    /// What the client is told.
    pub affected_rows: u64,
    /// What the client is told.
    pub last_insert_id: u64,
}

/// A change of the catalog. Each carries its preconditions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a cluster: names it, adds its first aggregator, and installs the built-in policies.
    FoundCluster {
        /// The new cluster's id.
        cluster: ClusterId,
        /// The aggregator that founds it; a voting member.
        node: NewNode,
        /// The built-in modules.
        policies: Vec<PolicyModule>,
        /// Decision point and module name.
        bindings: Vec<(String, String)>,
    },
    /// Adds a node; refused if its `host:port` is taken. Answers with its id.
    AddNode(NewNode),
    /// Forgets an aggregator.
    RemoveNode {
        /// The aggregator.
        node: NodeId,
    },
    /// Says that a node does not serve.
    SetNodeOffline {
        /// The node.
        node: NodeId,
        /// The run of its process that the evidence is about.
        incarnation: Incarnation,
        /// Why, for people.
        reason: String,
    },
    /// Says that a node serves (again), as this run, on this data directory.
    SetNodeOnline {
        /// The node.
        node: NodeId,
        /// The run that answered.
        incarnation: Incarnation,
        /// The data directory it runs on.
        store: StoreId,
        /// Whether what the run before did not sync may be gone: its machine went down under it. Counts only if this
        /// is another run than the catalog knows.
        lost_tail: bool,
    },
    /// Makes a `Sync` replica the primary at the next epoch (S4); the old primary becomes an `Async` replica.
    PromoteInstance {
        /// The partition.
        partition: PartitionId,
        /// The epoch that ends.
        epoch: Epoch,
        /// The node of the replica.
        to: NodeId,
        /// Why, for people.
        reason: String,
    },
    /// Says that a partition has no primary that could serve; changes no role.
    NotePartitionOffline {
        /// The partition.
        partition: PartitionId,
        /// Why, for people.
        reason: String,
    },
    /// Moves a replica along `Async → Ready → Sync`, or back to `Async` (S3).
    SetSyncState {
        /// The partition.
        partition: PartitionId,
        /// The epoch of the primary that asks.
        epoch: Epoch,
        /// The version of the partition that it acts under.
        version: u64,
        /// The node of the replica.
        replica: NodeId,
        /// Its new state.
        state: SyncState,
        /// Why, for people.
        reason: String,
    },
    /// Adds an empty `Async` replica of a partition.
    AddReplica {
        /// The partition.
        partition: PartitionId,
        /// The version that the plan was made from.
        version: u64,
        /// The leaf that gets it.
        node: NodeId,
    },
    /// Makes a `Sync` replica the primary at the next epoch (S4), as planned, while the old primary is well: that one
    /// has all that it ever acknowledged, so it stays `Sync`, and the partition is not without a second copy for a
    /// moment.
    HandOver {
        /// The partition.
        partition: PartitionId,
        /// The epoch that ends.
        epoch: Epoch,
        /// The node of the replica.
        to: NodeId,
        /// Why, for people.
        reason: String,
    },
    /// Takes a replica away. Its primary must serve, and so many instances of the in-sync set, the primary among them,
    /// must be left on leaves that are online (S7).
    DropReplica {
        /// The partition.
        partition: PartitionId,
        /// The node of the replica.
        node: NodeId,
        /// Copies that must be left; the primary is one.
        copies_left: u32,
        /// Why, for people.
        reason: String,
    },
    /// An operator's explicit word, for a partition that nobody serves and nobody may be promoted in: this node is its
    /// primary, with what it has (S4). What the old primary has is set aside: nothing removes it but
    /// [`Command::ForgetOrphan`].
    ForcePrimary {
        /// The partition.
        partition: PartitionId,
        /// The epoch that ends.
        epoch: Epoch,
        /// The leaf that serves from now on: one with a copy, or one without, and then the partition is empty.
        to: NodeId,
        /// What may be lost by it, for people.
        loss: String,
    },
    /// Says that a copy that was set aside is not on its leaf any more.
    ForgetOrphan {
        /// The partition.
        partition: PartitionId,
        /// The leaf.
        node: NodeId,
    },
    /// Takes a leaf out of use: nothing on it counts for anybody. Refused while it is the primary of a partition of
    /// which another leaf could be.
    DetachLeaf {
        /// The leaf.
        node: NodeId,
        /// Whether it may be the only one that could serve a partition, which is offline from then on.
        last_copies: bool,
        /// Why, for people.
        reason: String,
    },
    /// Takes a leaf that was detached, or given up, into use again, as this run, on this data directory.
    AttachLeaf {
        /// The leaf.
        node: NodeId,
        /// The run that answered.
        incarnation: Incarnation,
        /// The data directory it runs on.
        store: StoreId,
        /// Whether this run may lack what the last one had not synced.
        lost_tail: bool,
    },
    /// Forgets a leaf.
    RemoveLeaf {
        /// The leaf.
        node: NodeId,
        /// Whether it may hold instances. Its replicas are forgotten with it; a partition of which it is the primary is
        /// offline until an operator says who else is.
        force: bool,
    },
    /// Begins an operator's plan for a database; answers with its id. The database's last plan is forgotten.
    StartPlan {
        /// The database.
        database: DatabaseId,
        /// What it is for.
        kind: PlanKind,
        /// Leaves on which nothing is to be left: what they hold is not counted on.
        emptied: BTreeSet<NodeId>,
        /// Its steps, by phase.
        steps: Vec<NewStep>,
    },
    /// Says how a step of a plan is.
    NoteStep {
        /// The plan.
        plan: u64,
        /// The number of the step, from 0.
        step: u32,
        /// How it is.
        status: StepStatus,
        /// Why, for people; empty if there is nothing to say.
        details: String,
    },
    /// Ends a plan.
    EndPlan {
        /// The plan.
        plan: u64,
        /// How it ended.
        status: StepStatus,
        /// Why, for people; empty if there is nothing to say.
        details: String,
    },
    /// Creates a database with these placements, one per partition.
    CreateDatabase {
        /// Its name.
        name: String,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// Whether its replicas rise to `Sync`.
        replication: ReplicationMode,
        /// Whether a write waits for the disk.
        durability: Durability,
        /// Where its partitions go.
        placements: Vec<InstancePlacement>,
    },
    /// Changes what a database promises from now on. What is None stays.
    AlterDatabase {
        /// Its name.
        name: String,
        /// Whether its replicas rise to `Sync`.
        replication: Option<ReplicationMode>,
        /// Whether a write waits for the disk.
        durability: Option<Durability>,
    },
    /// Says that everything that was acknowledged in a partition is synced on every member of its in-sync set, and that
    /// whatever is acknowledged from now on will be.
    NoteSynced {
        /// The partition.
        partition: PartitionId,
        /// The epoch of the primary that says so.
        epoch: Epoch,
        /// The version of the partition that it acts under.
        version: u64,
    },
    /// Drops a database with everything in it.
    DropDatabase {
        /// Its name.
        name: String,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// Creates a table. The ids in the schema are ignored and given here.
    CreateTable {
        /// The name of its database.
        database: String,
        /// Its definition.
        schema: TableSchema,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// Drops a table with its rows.
    DropTable {
        /// The name of its database.
        database: String,
        /// Its name.
        table: String,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// Creates a database that nobody sees until its rows are back: see [`Command::FinishRestore`].
    BeginRestore {
        /// The statement that restores it. Another attempt has another database.
        statement: StatementId,
        /// Its name, which nobody may have by then.
        name: String,
        /// Whether its replicas rise to `Sync`.
        replication: ReplicationMode,
        /// Whether a write waits for the disk.
        durability: Durability,
        /// Where its partitions go.
        placements: Vec<InstancePlacement>,
        /// Its tables, and of each the next AUTO_INCREMENT value. The ids in the schemas are ignored and given here.
        tables: Vec<(TableSchema, u64)>,
    },
    /// Lets everybody see a restored database.
    FinishRestore {
        /// The database.
        database: DatabaseId,
        /// From where, for people.
        details: String,
    },
    /// Drops a database that was not restored to its end.
    AbortRestore {
        /// The database.
        database: DatabaseId,
        /// Why, for people.
        reason: String,
    },
    /// Sets a global variable.
    SetVariable {
        /// Its name, in lower case.
        name: String,
        /// Its value, as text.
        value: String,
    },
    /// Changes a user's password.
    SetPassword {
        /// The user.
        user: String,
        /// SHA1(SHA1(password)); None is the empty password.
        password_hash: Option<[u8; 20]>,
    },
    /// Installs a policy module, which is the current one of its name from then on. The one that is current already
    /// may come again, with a signature that it had not.
    InstallPolicy {
        /// The module.
        module: PolicyModule,
        /// Whether another one of that name may be there. It is kept beside, and what is bound stays bound.
        replace: bool,
    },
    /// Forgets a policy with all its versions. Refused while it is bound anywhere.
    DropPolicy {
        /// Its name.
        name: String,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// Lets a module decide, or be asked beside, from this index on.
    BindPolicy(NewBinding),
    /// Removes bindings; all of them, or none. One that decides for the whole cluster is replaced, never removed.
    UnbindPolicy {
        /// At these decision points.
        decision_points: Vec<String>,
        /// For what.
        scope: BindingScope,
        /// Whether those that are only asked beside.
        shadow: bool,
    },
    /// Binds what was bound before; at all of the decision points, or at none.
    RollbackPolicy {
        /// At these decision points, each with the hash of the module that was bound before: what was checked is what is
        /// bound, whatever happened meanwhile.
        back_to: BTreeMap<String, String>,
        /// For what.
        scope: BindingScope,
    },
    /// Says that a module is not to decide any more, wherever it is bound.
    QuarantinePolicy {
        /// The module's hash.
        hash: String,
        /// Why, for people.
        reason: String,
    },
    /// Lets the modules of a name decide again.
    ReleasePolicy {
        /// The name.
        name: String,
    },
    /// Says until when a node is under maintenance.
    MarkMaintenance {
        /// The node.
        node: NodeId,
        /// Milliseconds since 1970 UTC, by the proposer's wall clock, at most `MAINTENANCE_MAX_MS` ahead; None is not
        /// (any more).
        until_ms: Option<u64>,
    },
    /// Takes AUTO_INCREMENT values. Answers with the first of `count`.
    TakeAutoIncrement {
        /// The table.
        table: TableId,
        /// How many.
        count: u64,
        /// The first must be at least this.
        at_least: u64,
    },
    /// Writes rows of a reference table.
    WriteReference(ReferenceWrite),
    /// Keeps a decision.
    RecordDecision(Decision),
    /// Keeps an event.
    RecordEvent {
        /// How much it matters.
        severity: Severity,
        /// One of [`crate::event_type`].
        event_type: String,
        /// The node it is about.
        node: Option<NodeId>,
        /// What happened.
        details: String,
    },
    /// Several commands in one entry. Each is applied or refused by itself; the answer has one outcome for each.
    Batch(Vec<Command>),
    /// Changes what an aggregator is in the control group.
    SetAggregatorRole {
        /// The aggregator.
        node: NodeId,
        /// What it is to be.
        role: AggregatorRole,
    },
    /// Creates a user who may do nothing yet.
    CreateUser {
        /// The user.
        user: String,
        /// Whether it is no matter if there is one.
        if_not_exists: bool,
        /// SHA1(SHA1(password)); None is the empty password.
        password_hash: Option<[u8; 20]>,
    },
    /// Forgets a user. Its connections go on, and may do no more than finish what they have open.
    DropUser {
        /// The user.
        user: String,
        /// Whether it is no matter if there is none.
        if_exists: bool,
    },
    /// Lets a user do more.
    Grant {
        /// The user.
        user: String,
        /// What it may do.
        privileges: BTreeSet<Privilege>,
        /// With what.
        scope: GrantScope,
    },
    /// Lets a user do less.
    Revoke {
        /// The user.
        user: String,
        /// What it may not do any more.
        privileges: BTreeSet<Privilege>,
        /// With what: exactly what was granted.
        scope: GrantScope,
    },
    /// Takes everything from a user that it was granted.
    RevokeAll {
        /// The user.
        user: String,
    },
}
