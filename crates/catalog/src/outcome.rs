//! How the catalog answers.

use std::fmt;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{CatalogIndex, DatabaseId, Epoch, NodeId, PartitionId, SyncState, TableId};
use serde::{Deserialize, Serialize};

use crate::objects::REFERENCE_POLICY;
use crate::row::RowKey;

/// What a command came to. The same on every node.
pub type Outcome = Result<Reply, Rejection>;

/// The answer to an entry, and the rows that the shell must make durable with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Applied {
    /// What the proposer is told.
    pub outcome: Outcome,
    /// The keys of the rows that were written or went. Written in one batch with the index, or not at all.
    pub changed: Vec<RowKey>,
}

/// What a command that was carried out answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Carried out, at this index.
    Done {
        /// The index of its entry.
        index: CatalogIndex,
    },
    /// Rows of a reference table were written.
    Written {
        /// How many the client is told.
        affected_rows: u64,
        /// The first AUTO_INCREMENT value.
        last_insert_id: u64,
        /// The index of its entry.
        index: CatalogIndex,
    },
    /// A node got this id.
    Node(NodeId),
    /// The first of the values taken.
    AutoIncrement(u64),
    /// A plan got this id.
    Plan(u64),
    /// The outcomes of a batch.
    Batch(Vec<Outcome>),
}

/// Why a command was not carried out. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rejection {
    /// The cluster exists already.
    AlreadyFounded,
    /// The cluster does not exist yet.
    NotFounded,
    /// A node with this address is in the cluster.
    NodeExists(String),
    /// No such node.
    NoSuchNode(NodeId),
    /// The command is about another role.
    WrongRole(NodeId),
    /// The evidence is about another run of the process.
    OtherIncarnation(NodeId),
    /// The node is in that state already.
    NoChange(NodeId),
    /// No such partition.
    NoSuchPartition(PartitionId),
    /// The partition is at another epoch.
    OtherEpoch(PartitionId, Epoch),
    /// The partition has moved on; it is at this version.
    OtherVersion(PartitionId, u64),
    /// The replica is in a state that does not allow it (S4).
    NotSync(PartitionId, NodeId),
    /// A replica's state cannot go from where it is to this one.
    NoSuchTransition(PartitionId, NodeId, SyncState),
    /// The node is offline.
    NodeOffline(NodeId),
    /// Nobody serves the partition now.
    PartitionOffline(PartitionId),
    /// The partition's database does not ask for synced writes, or its primary has lost its data.
    StillUnsynced(PartitionId),
    /// The instance exists already.
    InstanceExists(PartitionId, NodeId),
    /// The database exists.
    DatabaseExists(String),
    /// No such database.
    NoSuchDatabase(String),
    /// The table exists.
    TableExists(String),
    /// No such table, `db.table`.
    NoSuchTable(String),
    /// The table's id is gone: it was dropped meanwhile.
    TableGone(TableId),
    /// A reference table has moved on: compute the write again.
    TableChanged(TableId),
    /// No such variable.
    NoSuchVariable(String),
    /// The user exists.
    UserExists(String),
    /// No such user.
    NoSuchUser(String),
    /// Nothing was granted to the user for this; the user and the scope.
    NotGranted(String, String),
    /// `root` is in every cluster and may do everything.
    RootStays,
    /// The variable does not take this value; and why.
    BadValue(String, String, String),
    /// What was bound before at this decision point is not what it was a moment ago.
    BoundMeanwhile(String),
    /// No such policy.
    NoSuchPolicy(String),
    /// The policy cannot be bound to this decision point.
    NotADecisionPointOf(String, String),
    /// Another module has the name, or the hash.
    PolicyExists(String),
    /// The policy has no module of this hash.
    NoSuchVersion(String, String),
    /// The policy is bound at this decision point.
    PolicyBound(String, String),
    /// The policy belongs to every cluster.
    PolicyBuiltIn(String),
    /// The module is in quarantine; and why.
    Quarantined(String, String),
    /// The policy is not in quarantine.
    NotQuarantined(String),
    /// Nothing is bound there; the decision point and its scope.
    NotBound(String, String),
    /// What decides at this decision point for the whole cluster is replaced, never removed.
    ClusterBinding(String),
    /// Nothing was bound there before; the decision point and its scope.
    NothingBefore(String, String),
    /// No such availability group.
    NoSuchGroup(u32),
    /// A limit would be exceeded; which.
    Limit(String),
    /// The database has an id that is not this one.
    NoSuchDatabaseId(DatabaseId),
    /// The database is not being restored (any more).
    NotRestoring(DatabaseId),
    /// The leaf is detached.
    Detached(NodeId),
    /// The leaf is the primary of this partition, and another one could be.
    StillPrimary(PartitionId, NodeId),
    /// The leaf is the only one that could serve this partition.
    LastCopy(PartitionId, NodeId),
    /// Too few copies of the partition would be left (S7).
    TooFewCopies(PartitionId),
    /// The partition has a primary that serves, or one that may be promoted without loss.
    NotLost(PartitionId),
    /// What the leaf has of the partition was set aside.
    SetAside(PartitionId, NodeId),
    /// The leaf holds so many instances.
    HoldsInstances(NodeId, u64),
    /// A plan of this database is under way.
    PlanRunning(DatabaseId),
    /// There is no such plan, or step of it, that is under way.
    NoSuchPlan(u64),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyFounded => f.write_str("This node already belongs to a cluster"),
            Self::NotFounded => {
                f.write_str("This node belongs to no cluster; run BOOTSTRAP AGGREGATOR first")
            }
            Self::NodeExists(address) => write!(f, "Node {address} is already in the cluster"),
            Self::NoSuchNode(node) => write!(f, "There is no node {node} in the cluster"),
            Self::WrongRole(node) => write!(f, "Node {node} has another role"),
            Self::OtherIncarnation(node) => write!(f, "Node {node} was restarted meanwhile"),
            Self::NoChange(node) => write!(f, "Node {node} is in that state already"),
            Self::NoSuchPartition(partition) => write!(f, "There is no partition {partition}"),
            Self::OtherEpoch(partition, epoch) => write!(f, "Partition {partition} is at epoch {epoch} now"),
            Self::OtherVersion(partition, version) => {
                write!(f, "Partition {partition} has changed meanwhile (version {version})")
            }
            Self::NotSync(partition, node) => {
                write!(f, "The instance of {partition} on {node} is not in sync and cannot be promoted")
            }
            Self::NoSuchTransition(partition, node, state) => {
                write!(f, "The instance of {partition} on {node} cannot become {state} from where it is")
            }
            Self::NodeOffline(node) => write!(f, "Node {node} is offline"),
            Self::StillUnsynced(partition) => {
                write!(f, "Partition {partition} is not to be taken for synced")
            }
            Self::PartitionOffline(partition) => {
                write!(f, "Nobody serves partition {partition} now; try again once it is served")
            }
            Self::InstanceExists(partition, node) => write!(f, "Node {node} already holds {partition}"),
            Self::DatabaseExists(name) => write!(f, "Can't create database '{name}'; database exists"),
            Self::NoSuchDatabase(name) => write!(f, "Unknown database '{name}'"),
            Self::TableExists(name) => write!(f, "Table '{name}' already exists"),
            Self::NoSuchTable(name) => write!(f, "Table '{name}' doesn't exist"),
            Self::TableGone(table) => write!(f, "Table {table} was dropped meanwhile"),
            Self::TableChanged(table) => write!(f, "Table {table} was written to meanwhile"),
            Self::NoSuchVariable(name) => write!(f, "Unknown system variable '{name}'"),
            Self::UserExists(name) => write!(
                f,
                "Operation CREATE USER failed for '{name}'@'%': there is one; ALTER USER changes its password"
            ),
            Self::NoSuchUser(name) => write!(f, "There is no user '{name}'@'%'; CREATE USER makes one"),
            Self::NotGranted(name, scope) => {
                write!(f, "There is no such grant defined for user '{name}' on {scope}; see SHOW GRANTS FOR")
            }
            Self::RootStays => f.write_str("root is in every cluster and may do everything"),
            Self::BadValue(name, value, why) => {
                write!(f, "Variable '{name}' can't be set to the value of '{value}': {why}")
            }
            Self::BoundMeanwhile(point) => {
                write!(
                    f,
                    "What decides at '{point}' was changed meanwhile; see SHOW POLICY BINDINGS and say it again"
                )
            }
            Self::NoSuchPolicy(name) => write!(f, "There is no policy '{name}'; see SHOW POLICIES"),
            Self::NotADecisionPointOf(policy, point) => {
                write!(f, "Policy '{policy}' does not decide at '{point}'; see SHOW POLICIES")
            }
            Self::PolicyExists(name) => write!(
                f,
                "Policy '{name}' is there already as another module; CREATE OR REPLACE POLICY puts a new version beside it"
            ),
            Self::NoSuchVersion(name, hash) => {
                write!(f, "Policy '{name}' has no version with hash {hash}; see SHOW POLICIES")
            }
            Self::PolicyBound(name, place) => {
                write!(
                    f,
                    "Policy '{name}' is bound at {place}; bind another one there first, see SHOW POLICY BINDINGS"
                )
            }
            Self::PolicyBuiltIn(name) => write!(f, "Policy '{name}' belongs to every cluster and stays"),
            Self::Quarantined(name, why) => {
                write!(f, "Policy '{name}' is in quarantine: {why}; RELEASE POLICY `{name}` lets it out")
            }
            Self::NotQuarantined(name) => write!(f, "Policy '{name}' is not in quarantine"),
            Self::NotBound(point, scope) => {
                write!(f, "Nothing is bound at '{point}'{scope}; see SHOW POLICY BINDINGS")
            }
            Self::ClusterBinding(point) => write!(
                f,
                "Somebody decides at '{point}' for the whole cluster always; SET POLICY {point} = {REFERENCE_POLICY} instead"
            ),
            Self::NothingBefore(point, scope) => write!(
                f,
                "Nothing was bound at '{point}'{scope} before that is still known; SET POLICY says what is to be"
            ),
            Self::NoSuchGroup(group) => write!(f, "There is no availability group {group}: it is 1 or 2"),
            Self::Limit(which) => write!(f, "Limit exceeded: {which}"),
            Self::NoSuchDatabaseId(id) => write!(f, "There is no database {id}"),
            Self::NotRestoring(id) => write!(f, "Database {id} is not being restored"),
            Self::Detached(node) => write!(f, "Leaf {node} is detached; ATTACH LEAF takes it back"),
            Self::StillPrimary(partition, node) => {
                write!(f, "Leaf {node} is the primary of {partition}, which is to be handed over first")
            }
            Self::LastCopy(partition, node) => {
                write!(f, "Leaf {node} is the only one that could serve {partition}")
            }
            Self::TooFewCopies(partition) => {
                write!(f, "Too few copies of {partition} would be left that are in sync and online")
            }
            Self::NotLost(partition) => {
                write!(f, "Partition {partition} is served, or can be without losing anything")
            }
            Self::SetAside(partition, node) => {
                write!(f, "What {node} has of {partition} was set aside; CLEAR ORPHAN DATABASES removes it")
            }
            Self::HoldsInstances(node, count) => {
                write!(f, "Leaf {node} still holds {count} instances of partitions")
            }
            Self::PlanRunning(id) => {
                write!(f, "A plan for {id} is under way; see SHOW REBALANCE ALL DATABASES STATUS")
            }
            Self::NoSuchPlan(id) => write!(f, "Plan {id} is not under way"),
        }
    }
}

impl std::error::Error for Rejection {}

impl From<&Rejection> for SqlError {
    fn from(rejection: &Rejection) -> Self {
        let code = match rejection {
            Rejection::DatabaseExists(_) => ErrorCode::DatabaseExists,
            Rejection::NoSuchDatabase(_) | Rejection::NoSuchDatabaseId(_) => ErrorCode::UnknownDatabase,
            Rejection::TableExists(_) => ErrorCode::TableExists,
            Rejection::NoSuchTable(_) | Rejection::TableGone(_) => ErrorCode::NoSuchTable,
            Rejection::NoSuchVariable(_) => ErrorCode::UnknownVariable,
            Rejection::BadValue(..) => ErrorCode::WrongValueForVariable,
            Rejection::Limit(_) => ErrorCode::TooBig,
            Rejection::UserExists(_) | Rejection::NoSuchUser(_) | Rejection::RootStays => {
                ErrorCode::CannotUser
            }
            Rejection::NotGranted(..) => ErrorCode::NonexistingGrant,
            _ => ErrorCode::OperationRefused,
        };
        Self::new(code, rejection.to_string())
    }
}
