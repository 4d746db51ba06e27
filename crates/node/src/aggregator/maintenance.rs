//! Operators' statements about leaves, instances and their placement, executed by the master aggregator: which there are,
//! and those that are plans. `attach_detach.rs` has those about leaves, `orphans.rs` those about what was lost.
//!
//! Each one looks at what is so now and does what is missing, so a retry of it, at this master aggregator or at the next,
//! goes on where the first attempt ended (S12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_catalog::{
    Catalog, Command, Database, Entry, NewStep, Node, Partition, PlanAction, PlanKind, Rejection, Reply,
    StepStatus,
};
use baton_failover::{Wishes, check, rebalance, restore_redundancy};
use baton_model::errors::SqlError;
use baton_model::{CatalogIndex, NodeId, PartitionId, StatementId};
use baton_sql::{Address, Maintenance, PartitionName};

use super::Aggregator;
use super::attach_detach::Leaving;
use super::cluster::refused;
use super::execute::refusal;
use crate::server::wall_clock_ms;
use crate::wire::{ForwardAnswer, ForwardRefusal};

/// Names that are listed in an error, at most.
const NAMES_MAX: usize = 8;

/// So much was done, or why it was not.
pub(super) type Done = Result<u64, ForwardRefusal>;

impl Aggregator {
    /// Executes a statement of an operator: to its end, however long that takes.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn execute_maintenance(
        self: &Arc<Self>,
        id: StatementId,
        statement: Maintenance,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let aggregator = Arc::clone(self);
        self.long.run(id, || async move { aggregator.maintain(id, statement).await }).await
    }

    async fn maintain(
        &self,
        id: StatementId,
        statement: Maintenance,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let catalog = &*self.current_catalog().await?;
        // Plans go on after their entry is committed, and so do their retries.
        let outcome = catalog.outcome(id).filter(|outcome| !matches!(outcome, Ok(Reply::Plan(_))));
        if let Some(outcome) = outcome {
            return super::execute::answer(outcome.clone(), catalog.index());
        }
        let affected_rows = match statement {
            Maintenance::PromotePartition { partition, to, kill } => {
                let to = leaf_at(catalog, &to)?.id;
                let partition = partition_named(catalog, &partition)?.id;
                self.switch_over(Some(id), partition, to, kill, "PROMOTE PARTITION").await?;
                1
            }
            Maintenance::CopyPartition { partition, to } => {
                let target = leaf_at(catalog, &to)?.id;
                self.single_step(id, catalog, &partition, PlanAction::Copy, target).await?
            }
            Maintenance::DropPartition { partition, on } => {
                let target = leaf_at(catalog, &on)?.id;
                self.single_step(id, catalog, &partition, PlanAction::Drop, target).await?
            }
            Maintenance::AttachPartition { partition, on, force } => {
                self.attach_partition(id, catalog, &partition, &on, force).await?
            }
            Maintenance::AttachLeaf { leaf, force, rebalance } => {
                self.attach_leaves(catalog, leaf.as_ref(), force, rebalance).await?
            }
            Maintenance::DetachLeaves { leaves, kill, safe } => {
                let leaves = leaves_at(catalog, &leaves)?;
                self.detach_leaves(id, &leaves, Leaving { kill, safe }).await?
            }
            Maintenance::RemoveLeaves { leaves, force, kill, safe } => {
                let leaves = leaves_at(catalog, &leaves)?;
                self.remove_leaves(id, catalog, &leaves, force, Leaving { kill, safe }).await?
            }
            Maintenance::ClearOrphans => self.clear_orphans().await?,
            Maintenance::StopRebalance { database } => {
                let database = database_named(catalog, &database)?.id;
                match catalog.plan_of(database).filter(|plan| !plan.status.is_over()) {
                    Some(plan) => {
                        let (plan, details) = (plan.id, "STOP REBALANCE".to_owned());
                        self.do_it(Command::EndPlan { plan, status: StepStatus::Cancelled, details }).await?;
                        1
                    }
                    None => 0,
                }
            }
            Maintenance::RestoreRedundancy { database } => {
                let database = database_named(catalog, &database)?.clone();
                let steps = restore_redundancy(catalog, &database, &BTreeSet::new());
                self.plan(Some(id), catalog, &database, PlanKind::RestoreRedundancy, &BTreeSet::new(), steps)
                    .await?
            }
            Maintenance::RestoreAll | Maintenance::RebalancePartitionsOfAll => {
                return Err(
                    refused("It can be explained for every database, and done for one: … ON db").into()
                );
            }
            Maintenance::Rebalance { database, full, force, all_online } => {
                self.rebalance_one(Some(id), &database, full, force, all_online).await?
            }
            Maintenance::RebalanceAll { all_online } => {
                let mut names: Vec<String> = catalog.databases().map(|known| known.name.clone()).collect();
                names.sort_unstable();
                let mut done = 0;
                for name in names {
                    done += self.rebalance_one(None, &name, true, false, all_online).await?;
                }
                done
            }
        };
        let index = self.group().map_or(CatalogIndex(0), |group| group.catalog().index());
        Ok(ForwardAnswer { affected_rows, last_insert_id: 0, index })
    }

    /// Proposes one command without an id: it is done anew if the statement comes again, and refused then.
    pub(super) async fn do_it(&self, command: Command) -> Result<(), ForwardRefusal> {
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        match self.propose(entry).await.map_err(refusal)? {
            Ok(_) => Ok(()),
            Err(rejection) => Err((&rejection).into()),
        }
    }

    // ---- plans

    /// Begins a plan and waits for its end. Answers with the number of its steps; 0 if nothing is to be done.
    pub(super) async fn plan(
        &self,
        id: Option<StatementId>,
        catalog: &Catalog,
        database: &Database,
        kind: PlanKind,
        emptied: &BTreeSet<NodeId>,
        steps: Vec<NewStep>,
    ) -> Done {
        let begun = id.and_then(|id| catalog.outcome(id)).cloned();
        let count = steps.len() as u64;
        let outcome = match begun {
            Some(outcome) => outcome,
            None if steps.is_empty() => return Ok(0),
            None => {
                check(catalog, database, emptied, &steps).map_err(refused)?;
                let emptied = emptied.clone();
                let command = Command::StartPlan { database: database.id, kind, emptied, steps };
                let entry = Entry { statement: id, at_ms: wall_clock_ms(), command };
                self.propose(entry).await.map_err(refusal)?
            }
        };
        match outcome {
            Ok(Reply::Plan(plan)) => self.await_plan(plan).await.map(|()| count.max(1)),
            Ok(_) => Err(ForwardRefusal::Unknown),
            Err(rejection) => Err((&rejection).into()),
        }
    }

    async fn single_step(
        &self,
        id: StatementId,
        catalog: &Catalog,
        name: &PartitionName,
        action: PlanAction,
        target: NodeId,
    ) -> Done {
        let partition = partition_named(catalog, name)?;
        let database = database_named(catalog, &name.database)?;
        let step = NewStep { action, ordinal: partition.id.ordinal, target, from: None, phase: 1 };
        self.plan(Some(id), catalog, database, PlanKind::Rebalance, &BTreeSet::new(), vec![step]).await
    }

    async fn rebalance_one(
        &self,
        id: Option<StatementId>,
        name: &str,
        full: bool,
        force: bool,
        all_online: bool,
    ) -> Done {
        let mut catalog = self.current_catalog().await?;
        let database = database_named(&catalog, name)?.clone();
        if all_online {
            ensure_all_online(&catalog)?;
        }
        let mut done = 0;
        if force {
            done = self.force_lost(&catalog, &database).await?;
            catalog = self.current_catalog().await?;
        }
        let steps = rebalance_steps(self, &catalog, &database, full)?;
        Ok(done + self.plan(id, &catalog, &database, PlanKind::Rebalance, &BTreeSet::new(), steps).await?)
    }

    /// What an operator's statement would do, for EXPLAIN.
    ///
    /// # Errors
    /// That it could not be done.
    pub(super) fn steps_of(
        &self,
        catalog: &Catalog,
        statement: &Maintenance,
    ) -> Result<Vec<(Database, PlanKind, NewStep)>, SqlError> {
        let of = |database: &Database, kind: PlanKind, steps: Vec<NewStep>| {
            steps.into_iter().map(|step| (database.clone(), kind, step)).collect::<Vec<_>>()
        };
        match statement {
            Maintenance::RestoreRedundancy { database } => {
                let database = database_named(catalog, database)?;
                let steps = restore_redundancy(catalog, database, &BTreeSet::new());
                Ok(of(database, PlanKind::RestoreRedundancy, steps))
            }
            Maintenance::RestoreAll => {
                let steps = |database| restore_redundancy(catalog, database, &BTreeSet::new());
                let each = by_name(catalog).into_iter();
                Ok(each.flat_map(|it| of(it, PlanKind::RestoreRedundancy, steps(it))).collect())
            }
            Maintenance::Rebalance { database, full, force, all_online } => {
                let database = database_named(catalog, database)?;
                if *all_online {
                    ensure_all_online(catalog)?;
                }
                let lost: Vec<String> =
                    lost_partitions(catalog, database).map(|p| catalog.partition_name(p.id)).collect();
                if *force && !lost.is_empty() {
                    let text = format!(
                        "FORCE would first give each of {} the best copy that a leaf has as its primary, or begin it \
                         anew, empty; what comes after that cannot be said before",
                        listed(&lost)
                    );
                    return Err(refused(text));
                }
                Ok(of(database, PlanKind::Rebalance, rebalance_steps(self, catalog, database, *full)?))
            }
            Maintenance::RebalancePartitionsOfAll => {
                let mut all = Vec::new();
                for database in by_name(catalog) {
                    all.extend(of(
                        database,
                        PlanKind::Rebalance,
                        rebalance_steps(self, catalog, database, false)?,
                    ));
                }
                Ok(all)
            }
            Maintenance::RebalanceAll { all_online } => {
                if *all_online {
                    ensure_all_online(catalog)?;
                }
                let mut all = Vec::new();
                for database in by_name(catalog) {
                    all.extend(of(
                        database,
                        PlanKind::Rebalance,
                        rebalance_steps(self, catalog, database, true)?,
                    ));
                }
                Ok(all)
            }
            _ => Err(refused("This statement has no plan to explain")),
        }
    }
}

fn by_name(catalog: &Catalog) -> Vec<&Database> {
    let mut databases: Vec<&Database> = catalog.databases().collect();
    databases.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    databases
}

/// `ENSURE_ONLINE_NODES`.
fn ensure_all_online(catalog: &Catalog) -> Result<(), SqlError> {
    let Some(away) = catalog.leaves().find(|leaf| !leaf.is_online()) else { return Ok(()) };
    Err(refused(format!("Leaf {} is {} (ENSURE_ONLINE_NODES)", away.address(), away.state)))
}

/// The plan of `REBALANCE PARTITIONS`. What lacks a copy and cannot be balanced, because a leaf is away, gets its copy all
/// the same.
fn rebalance_steps(
    aggregator: &Aggregator,
    catalog: &Catalog,
    database: &Database,
    full: bool,
) -> Result<Vec<NewStep>, SqlError> {
    let wishes = Wishes { full, ..Wishes::default() };
    let steps = aggregator
        .placing(catalog, |placer| rebalance(catalog, database, &wishes, placer))
        .map_err(|why| refused(why.to_string()))?;
    let mut all = restore_redundancy(catalog, database, &BTreeSet::new());
    all.retain(|copy| steps.iter().all(|step| step.ordinal != copy.ordinal));
    all.extend(steps);
    all.sort_by_key(|step| step.phase);
    Ok(all)
}

/// Partitions that nobody serves, or could without a loss.
pub(super) fn lost_partitions<'a>(
    catalog: &'a Catalog,
    database: &Database,
) -> impl Iterator<Item = &'a Partition> {
    let online = |node: NodeId| catalog.node(node).is_some_and(|node| node.is_online());
    catalog
        .partitions_of(database.id)
        .filter(move |p| catalog.serving(p.id).is_none() && !p.promotable().any(online))
}

pub(super) fn leaf_at<'a>(catalog: &'a Catalog, address: &Address) -> Result<&'a Node, SqlError> {
    catalog.node_at(&address.host, address.port).filter(|node| node.is_leaf()).ok_or_else(|| {
        refused(format!("There is no leaf {}:{}; see SHOW LEAVES", address.host, address.port))
    })
}

pub(super) fn leaves_at(catalog: &Catalog, addresses: &[Address]) -> Result<Vec<NodeId>, SqlError> {
    addresses.iter().map(|address| leaf_at(catalog, address).map(|node| node.id)).collect()
}

pub(super) fn database_named<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Database, SqlError> {
    catalog.database(name).ok_or_else(|| SqlError::from(&Rejection::NoSuchDatabase(name.to_owned())))
}

pub(super) fn partition_named<'a>(
    catalog: &'a Catalog,
    name: &PartitionName,
) -> Result<&'a Partition, SqlError> {
    let database = database_named(catalog, &name.database)?.id;
    let id = PartitionId { database, ordinal: name.ordinal };
    catalog.partition(id).ok_or_else(|| refused(format!("There is no partition {name}")))
}

pub(super) fn primaries_held(catalog: &Catalog) -> BTreeMap<NodeId, usize> {
    let mut held = BTreeMap::new();
    for partition in catalog.partitions() {
        *held.entry(partition.primary).or_default() += 1;
    }
    held
}

/// Some names, and how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
