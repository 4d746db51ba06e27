//! The catalog as rows, as it lies on disk and as a snapshot streams it.

use baton_model::{
    Blob, CatalogIndex, ClusterId, DatabaseId, Key, NodeId, PartitionId, StatementId, TableId,
};
use serde::{Deserialize, Serialize};

use crate::catalog::Counters;
use crate::objects::{
    Binding, BindingKey, Database, Decision, Event, Node, Partition, PolicyModule, PolicyVersions,
    Quarantine, Restore, SetAside, Table, User,
};
use crate::outcome::Outcome;
use crate::plans::{OperatorPlan, PlanStep};

/// Names a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each names the row of the same name")]
pub enum RowKey {
    Cluster,
    Counters,
    Node(NodeId),
    Database(DatabaseId),
    Table(TableId),
    Partition(PartitionId),
    Variable(String),
    User(String),
    Policy(String),
    Module(String),
    Binding(BindingKey),
    Quarantine(String),
    Event(u64),
    Decision(u64),
    Outcome(StatementId),
    ReferenceRow(TableId, Key),
    Restore(DatabaseId),
    SetAside(PartitionId, NodeId),
    Plan(u64),
    PlanStep(u64, u32),
}

/// A row. A snapshot is these, in any order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each holds the object of the same name")]
pub enum CatalogRow {
    Cluster(ClusterId),
    Counters(Counters),
    Node(Node),
    Database(Database),
    Table(Table),
    Partition(Partition),
    Variable(String, String),
    User(User),
    Policy(PolicyVersions),
    Module(PolicyModule),
    Binding(Binding),
    Quarantine(Quarantine),
    Event(Event),
    Decision(Decision),
    Outcome(StatementId, CatalogIndex, Outcome),
    ReferenceRow(TableId, Key, Blob),
    Restore(Restore),
    SetAside(SetAside),
    Plan(OperatorPlan),
    PlanStep(PlanStep),
}

impl CatalogRow {
    /// The key of this row.
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            Self::Cluster(_) => RowKey::Cluster,
            Self::Counters(_) => RowKey::Counters,
            Self::Node(node) => RowKey::Node(node.id),
            Self::Database(database) => RowKey::Database(database.id),
            Self::Table(table) => RowKey::Table(table.schema.id),
            Self::Partition(partition) => RowKey::Partition(partition.id),
            Self::Variable(name, _) => RowKey::Variable(name.clone()),
            Self::User(user) => RowKey::User(user.name.clone()),
            Self::Policy(policy) => RowKey::Policy(policy.name.clone()),
            Self::Module(module) => RowKey::Module(module.hash.clone()),
            Self::Binding(binding) => RowKey::Binding(binding.key()),
            Self::Quarantine(quarantine) => RowKey::Quarantine(quarantine.hash.clone()),
            Self::Event(event) => RowKey::Event(event.id),
            Self::Decision(decision) => RowKey::Decision(decision.id),
            Self::Outcome(statement, _, _) => RowKey::Outcome(*statement),
            Self::ReferenceRow(table, key, _) => RowKey::ReferenceRow(*table, key.clone()),
            Self::Restore(restore) => RowKey::Restore(restore.database),
            Self::SetAside(copy) => RowKey::SetAside(copy.partition, copy.node),
            Self::Plan(plan) => RowKey::Plan(plan.id),
            Self::PlanStep(step) => RowKey::PlanStep(step.plan, step.number),
        }
    }
}
