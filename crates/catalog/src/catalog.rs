//! The catalog's state, how it is read, and how it becomes rows and comes back from them.
//!
//! It changes only in `apply`, and every change leaves the key of its row behind, so that what is on disk and what
//! is in memory cannot drift apart: `rows` of one catalog, loaded into an empty one, give an equal catalog.

use baton_model::{
    Blob, CatalogIndex, ClusterId, DatabaseId, Key, NodeId, PartitionId, StatementId, TableId, TableSchema,
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::objects::{
    Binding, BindingKey, BindingScope, Database, Decision, Event, Node, Partition, PolicyModule,
    PolicyVersions, Quarantine, Restore, SetAside, Table, User,
};
use crate::outcome::Outcome;
use crate::plans::{OperatorPlan, PlanStep};
use crate::row::{CatalogRow, RowKey};
use crate::variables;

/// The next of each kind of number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counters {
    pub(crate) node: u64,
    pub(crate) database: u64,
    pub(crate) table: u64,
    pub(crate) event: u64,
    pub(crate) decision: u64,
    pub(crate) plan: u64,
    /// When data that was committed was last given up: a database was dropped, or a primary was forced.
    pub(crate) given_up_ms: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { node: 1, database: 1, table: 1, event: 1, decision: 1, plan: 1, given_up_ms: 0 }
    }
}

/// The cluster's metadata at one index. A clone shares everything.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Catalog {
    pub(crate) index: CatalogIndex,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) counters: Counters,
    pub(crate) nodes: OrdMap<NodeId, Node>,
    pub(crate) databases: OrdMap<DatabaseId, Database>,
    pub(crate) tables: OrdMap<TableId, Table>,
    pub(crate) partitions: OrdMap<PartitionId, Partition>,
    pub(crate) variables: OrdMap<String, String>,
    pub(crate) users: OrdMap<String, User>,
    /// By name.
    pub(crate) policies: OrdMap<String, PolicyVersions>,
    /// By hash.
    pub(crate) modules: OrdMap<String, PolicyModule>,
    pub(crate) bindings: OrdMap<BindingKey, Binding>,
    /// By hash.
    pub(crate) quarantines: OrdMap<String, Quarantine>,
    pub(crate) events: OrdMap<u64, Event>,
    pub(crate) decisions: OrdMap<u64, Decision>,
    pub(crate) outcomes: OrdMap<StatementId, (CatalogIndex, Outcome)>,
    /// The outcomes by age, oldest first. Derived from `outcomes`.
    pub(crate) outcome_ages: OrdMap<(CatalogIndex, StatementId), ()>,
    pub(crate) reference_rows: OrdMap<(TableId, Key), Blob>,
    pub(crate) restores: OrdMap<DatabaseId, Restore>,
    pub(crate) set_aside: OrdMap<(PartitionId, NodeId), SetAside>,
    pub(crate) plans: OrdMap<u64, OperatorPlan>,
    pub(crate) plan_steps: OrdMap<(u64, u32), PlanStep>,
}

impl Catalog {
    /// The index of the last entry applied.
    #[must_use]
    pub fn index(&self) -> CatalogIndex {
        self.index
    }

    /// The cluster's id; None before the cluster is founded.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// All leaves, by id.
    pub fn leaves(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.is_leaf())
    }

    /// All aggregators, by id.
    pub fn aggregators(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| !node.is_leaf())
    }

    /// The node with this host and SQL port.
    #[must_use]
    pub fn node_at(&self, host: &str, sql_port: u16) -> Option<&Node> {
        self.nodes.values().find(|node| node.host == host && node.sql_port == sql_port)
    }

    /// `host:port` of a node, or its bare id if the catalog does not know it: for texts.
    #[must_use]
    pub fn address_of(&self, node: NodeId) -> String {
        self.node(node).map_or_else(|| node.to_string(), Node::address)
    }

    /// All databases that clients see, by id.
    pub fn databases(&self) -> impl Iterator<Item = &Database> {
        self.databases_and_hidden().filter(|database| !self.restores.contains_key(&database.id))
    }

    /// All databases, by id; also those that are being restored.
    pub fn databases_and_hidden(&self) -> impl Iterator<Item = &Database> {
        self.databases.values()
    }

    /// The databases that are being restored, by id.
    pub fn restores(&self) -> impl Iterator<Item = &Restore> {
        self.restores.values()
    }

    /// A database that clients see, by name. Names are matched exactly.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases().find(|database| database.name == name)
    }

    /// A database by id, seen or not.
    #[must_use]
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Database> {
        self.databases.get(&id)
    }

    /// The tables of a database, by id.
    pub fn tables(&self, database: DatabaseId) -> impl Iterator<Item = &Table> {
        self.tables.values().filter(move |table| table.schema.database == database)
    }

    /// A table by name, without case.
    #[must_use]
    pub fn table(&self, database: DatabaseId, name: &str) -> Option<&Table> {
        self.tables(database).find(|table| table.schema.name.eq_ignore_ascii_case(name))
    }

    /// A table by id.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Table> {
        self.tables.get(&id)
    }

    /// A table's schema by id.
    #[must_use]
    pub fn schema(&self, id: TableId) -> Option<&TableSchema> {
        self.tables.get(&id).map(|table| &table.schema)
    }

    /// The rows of a reference table, by key.
    pub fn reference_rows(&self, table: TableId) -> impl Iterator<Item = (&Key, &Blob)> {
        self.reference_rows
            .range((table, Key::new())..)
            .take_while(move |((of, _), _)| *of == table)
            .map(|((_, key), row)| (key, row))
    }

    /// A row of a reference table.
    #[must_use]
    pub fn reference_row(&self, table: TableId, key: &Key) -> Option<&Blob> {
        self.reference_rows.get(&(table, key.clone()))
    }

    /// All partitions, by id.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    /// The partitions of a database, by ordinal.
    pub fn partitions_of(&self, database: DatabaseId) -> impl Iterator<Item = &Partition> {
        let first = PartitionId { database, ordinal: 0 };
        let last = PartitionId { database, ordinal: u32::MAX };
        self.partitions.range(first..=last).map(|(_, partition)| partition)
    }

    /// A partition.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(&id)
    }

    /// A partition's name as a database on a leaf: `shop_3`.
    #[must_use]
    pub fn partition_name(&self, id: PartitionId) -> String {
        match self.databases.get(&id.database) {
            Some(database) => format!("{}_{}", database.name, id.ordinal),
            None => id.to_string(),
        }
    }

    /// The node that serves a partition now: its primary, if that is online and surely has its data.
    #[must_use]
    pub fn serving(&self, id: PartitionId) -> Option<&Node> {
        let partition = self.partitions.get(&id)?;
        let node = self.nodes.get(&partition.primary)?;
        (node.is_online() && partition.has_able_primary()).then_some(node)
    }

    /// When data that was committed was last given up: a database was dropped, an operator forced a primary, or a partition
    /// with ASYNC DURABILITY went on without what was not synced. In milliseconds since 1970 UTC, by the master
    /// aggregator's wall clock then; 0 if never. What partitions do not know of
    /// a transaction from before that may have been known to those that are gone.
    #[must_use]
    pub fn given_up_ms(&self) -> u64 {
        self.counters.given_up_ms
    }

    /// A global variable: what was set, or its default. None if there is no such variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let variable = variables::find(name)?;
        Some(self.variables.get(variable.name).cloned().unwrap_or_else(|| variable.default.to_owned()))
    }

    /// A global variable that is a number. Its default if what was set is none, which `apply` never lets in.
    ///
    /// # Panics
    /// If there is no such variable or its default is no number: a mistake in the caller, not in the input.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        let variable = variables::find(name).expect("the caller names a variable of the table");
        let value = self.variables.get(variable.name).map_or(variable.default, String::as_str);
        value.parse().unwrap_or_else(|_| variable.default.parse().expect("the default is a number"))
    }

    /// A global variable that is ON or OFF.
    #[must_use]
    pub fn switch(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("ON"))
    }

    /// All global variables with their values, by name.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        variables::ALL.iter().map(|variable| {
            (
                variable.name,
                self.variables.get(variable.name).map_or(variable.default, String::as_str).to_owned(),
            )
        })
    }

    /// A user.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The current module of each policy, by name.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyModule> {
        self.policies.keys().filter_map(|name| self.policy(name))
    }

    /// The current module of a policy.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&PolicyModule> {
        self.module(self.policies.get(name)?.hashes.last()?)
    }

    /// All modules of a policy that are kept, the current one last.
    pub fn policy_versions(&self, name: &str) -> impl DoubleEndedIterator<Item = &PolicyModule> {
        let hashes = self.policies.get(name).map(|policy| policy.hashes.as_slice()).unwrap_or_default();
        hashes.iter().filter_map(|hash| self.module(hash))
    }

    /// All modules, by hash.
    pub fn modules(&self) -> impl Iterator<Item = &PolicyModule> {
        self.modules.values()
    }

    /// A module by its hash.
    #[must_use]
    pub fn module(&self, hash: &str) -> Option<&PolicyModule> {
        self.modules.get(hash)
    }

    /// All bindings, by decision point, scope, and whether they are only asked beside.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.values()
    }

    /// What decides at a decision point for the whole cluster.
    #[must_use]
    pub fn binding(&self, decision_point: &str) -> Option<&Binding> {
        self.binding_at(decision_point, BindingScope::Cluster, false)
    }

    /// The binding of a decision point for exactly this.
    #[must_use]
    pub fn binding_at(&self, decision_point: &str, scope: BindingScope, shadow: bool) -> Option<&Binding> {
        self.bindings.get(&BindingKey { decision_point: decision_point.into(), scope, shadow })
    }

    /// The modules in quarantine, by hash.
    pub fn quarantines(&self) -> impl Iterator<Item = &Quarantine> {
        self.quarantines.values()
    }

    /// Why a module is in quarantine; None if it is not.
    #[must_use]
    pub fn quarantine(&self, hash: &str) -> Option<&Quarantine> {
        self.quarantines.get(hash)
    }

    /// A binding's scope behind its decision point, for texts: nothing for the cluster, else ` for database shop`.
    #[must_use]
    pub fn scope_text(&self, scope: BindingScope) -> String {
        match scope {
            BindingScope::Cluster => String::new(),
            BindingScope::Database(id) => match self.databases.get(&id) {
                Some(database) => format!(" for database {}", database.name),
                None => format!(" for database {id}"),
            },
            BindingScope::Group(group) => format!(" for group {group}"),
        }
    }

    /// The events kept, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.values()
    }

    /// The decisions kept, oldest first.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.decisions.values()
    }

    /// The copies that were set aside, by partition.
    pub fn set_aside(&self) -> impl Iterator<Item = &SetAside> {
        self.set_aside.values()
    }

    /// Whether what a leaf has of a partition was set aside.
    #[must_use]
    pub fn is_set_aside(&self, partition: PartitionId, node: NodeId) -> bool {
        self.set_aside.contains_key(&(partition, node))
    }

    /// The last plan of each database that ever had one, by id.
    pub fn plans(&self) -> impl Iterator<Item = &OperatorPlan> {
        self.plans.values()
    }

    /// A plan, if it is the last of its database.
    #[must_use]
    pub fn plan(&self, id: u64) -> Option<&OperatorPlan> {
        self.plans.get(&id)
    }

    /// The last plan of a database.
    #[must_use]
    pub fn plan_of(&self, database: DatabaseId) -> Option<&OperatorPlan> {
        self.plans.values().find(|plan| plan.database == database)
    }

    /// The steps of a plan, by number.
    pub fn plan_steps(&self, plan: u64) -> impl Iterator<Item = &PlanStep> {
        self.plan_steps.range((plan, 0)..=(plan, u32::MAX)).map(|(_, step)| step)
    }

    /// The outcome of a statement that was carried out before, if it is still remembered (S12).
    #[must_use]
    pub fn outcome(&self, statement: StatementId) -> Option<&Outcome> {
        self.outcomes.get(&statement).map(|(_, outcome)| outcome)
    }

    /// The row with this key; None if there is none (any more).
    #[must_use]
    pub fn row(&self, key: &RowKey) -> Option<CatalogRow> {
        match key {
            RowKey::Cluster => self.cluster.map(CatalogRow::Cluster),
            RowKey::Counters => Some(CatalogRow::Counters(self.counters)),
            RowKey::Node(id) => self.nodes.get(id).cloned().map(CatalogRow::Node),
            RowKey::Database(id) => self.databases.get(id).cloned().map(CatalogRow::Database),
            RowKey::Table(id) => self.tables.get(id).cloned().map(CatalogRow::Table),
            RowKey::Partition(id) => self.partitions.get(id).cloned().map(CatalogRow::Partition),
            RowKey::Variable(name) => {
                self.variables.get(name).map(|value| CatalogRow::Variable(name.clone(), value.clone()))
            }
            RowKey::User(name) => self.users.get(name).cloned().map(CatalogRow::User),
            RowKey::Policy(name) => self.policies.get(name).cloned().map(CatalogRow::Policy),
            RowKey::Module(hash) => self.modules.get(hash).cloned().map(CatalogRow::Module),
            RowKey::Binding(key) => self.bindings.get(key).cloned().map(CatalogRow::Binding),
            RowKey::Quarantine(hash) => self.quarantines.get(hash).cloned().map(CatalogRow::Quarantine),
            RowKey::Event(id) => self.events.get(id).cloned().map(CatalogRow::Event),
            RowKey::Decision(id) => self.decisions.get(id).cloned().map(CatalogRow::Decision),
            RowKey::Outcome(statement) => self
                .outcomes
                .get(statement)
                .map(|(index, outcome)| CatalogRow::Outcome(*statement, *index, outcome.clone())),
            RowKey::ReferenceRow(table, key) => self
                .reference_rows
                .get(&(*table, key.clone()))
                .map(|row| CatalogRow::ReferenceRow(*table, key.clone(), row.clone())),
            RowKey::Restore(database) => self.restores.get(database).cloned().map(CatalogRow::Restore),
            RowKey::SetAside(partition, node) => {
                self.set_aside.get(&(*partition, *node)).cloned().map(CatalogRow::SetAside)
            }
            RowKey::Plan(id) => self.plans.get(id).cloned().map(CatalogRow::Plan),
            RowKey::PlanStep(plan, number) => {
                self.plan_steps.get(&(*plan, *number)).cloned().map(CatalogRow::PlanStep)
            }
        }
    }

    /// Every row, for a snapshot. With [`Catalog::index`] it is the whole catalog.
    pub fn rows(&self) -> impl Iterator<Item = CatalogRow> + '_ {
        let of_cluster = self.cluster.map(CatalogRow::Cluster);
        std::iter::once(CatalogRow::Counters(self.counters))
            .chain(of_cluster)
            .chain(self.nodes.values().cloned().map(CatalogRow::Node))
            .chain(self.databases.values().cloned().map(CatalogRow::Database))
            .chain(self.tables.values().cloned().map(CatalogRow::Table))
            .chain(self.partitions.values().cloned().map(CatalogRow::Partition))
            .chain(self.variables.iter().map(|(n, v)| CatalogRow::Variable(n.clone(), v.clone())))
            .chain(self.users.values().cloned().map(CatalogRow::User))
            .chain(self.policies.values().cloned().map(CatalogRow::Policy))
            .chain(self.modules.values().cloned().map(CatalogRow::Module))
            .chain(self.bindings.values().cloned().map(CatalogRow::Binding))
            .chain(self.quarantines.values().cloned().map(CatalogRow::Quarantine))
            .chain(self.events.values().cloned().map(CatalogRow::Event))
            .chain(self.decisions.values().cloned().map(CatalogRow::Decision))
            .chain(self.outcomes.iter().map(|(s, (i, o))| CatalogRow::Outcome(*s, *i, o.clone())))
            .chain(
                self.reference_rows
                    .iter()
                    .map(|((t, k), r)| CatalogRow::ReferenceRow(*t, k.clone(), r.clone())),
            )
            .chain(self.restores.values().cloned().map(CatalogRow::Restore))
            .chain(self.set_aside.values().cloned().map(CatalogRow::SetAside))
            .chain(self.plans.values().cloned().map(CatalogRow::Plan))
            .chain(self.plan_steps.values().cloned().map(CatalogRow::PlanStep))
    }

    /// The catalog that these rows are, at this index.
    #[must_use]
    pub fn from_rows(index: CatalogIndex, rows: impl IntoIterator<Item = CatalogRow>) -> Self {
        let mut catalog = Self { index, ..Self::default() };
        for row in rows {
            catalog.load(row);
        }
        catalog
    }

    fn load(&mut self, row: CatalogRow) {
        match row {
            CatalogRow::Cluster(cluster) => self.cluster = Some(cluster),
            CatalogRow::Counters(counters) => self.counters = counters,
            CatalogRow::Node(node) => drop(self.nodes.insert(node.id, node)),
            CatalogRow::Database(database) => drop(self.databases.insert(database.id, database)),
            CatalogRow::Table(table) => drop(self.tables.insert(table.schema.id, table)),
            CatalogRow::Partition(partition) => drop(self.partitions.insert(partition.id, partition)),
            CatalogRow::Variable(name, value) => drop(self.variables.insert(name, value)),
            CatalogRow::User(user) => drop(self.users.insert(user.name.clone(), user)),
            CatalogRow::Policy(policy) => drop(self.policies.insert(policy.name.clone(), policy)),
            CatalogRow::Module(module) => drop(self.modules.insert(module.hash.clone(), module)),
            CatalogRow::Binding(binding) => drop(self.bindings.insert(binding.key(), binding)),
            CatalogRow::Quarantine(quarantine) => {
                drop(self.quarantines.insert(quarantine.hash.clone(), quarantine))
            }
            CatalogRow::Event(event) => drop(self.events.insert(event.id, event)),
            CatalogRow::Decision(decision) => drop(self.decisions.insert(decision.id, decision)),
            CatalogRow::Outcome(statement, index, outcome) => {
                self.outcome_ages.insert((index, statement), ());
                self.outcomes.insert(statement, (index, outcome));
            }
            CatalogRow::ReferenceRow(table, key, row) => drop(self.reference_rows.insert((table, key), row)),
            CatalogRow::Restore(restore) => drop(self.restores.insert(restore.database, restore)),
            CatalogRow::SetAside(copy) => drop(self.set_aside.insert((copy.partition, copy.node), copy)),
            CatalogRow::Plan(plan) => drop(self.plans.insert(plan.id, plan)),
            CatalogRow::PlanStep(step) => drop(self.plan_steps.insert((step.plan, step.number), step)),
        }
    }
}
