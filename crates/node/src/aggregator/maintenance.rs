//! Operators' statements about leaves, instances and their placement, executed by the master aggregator.
//!
//! Each one looks at what is so now and does what is missing, so a retry of it, at this master aggregator or at the next,
//! goes on where the first attempt ended (S12).
//!
//! * S4: `FORCE` on `ATTACH PARTITION` and `REBALANCE PARTITIONS` is the only way to a primary that is not in sync. What
//!   may be lost by it is said before, and kept as an event.
//! * S7: data is removed from a leaf only while its partition is served elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_catalog::{
    Catalog, Command, Database, Entry, NewStep, Node, Partition, PlanAction, PlanKind, Rejection, Reply,
    StepStatus,
};
use baton_failover::{Wishes, check, may_clear, orphans, rebalance, restore_redundancy};
use baton_model::errors::SqlError;
use baton_model::{CatalogIndex, Epoch, Lsn, NodeId, NodeState, PartitionId, StatementId, SyncState};
use baton_sql::{Address, Maintenance, PartitionName};
use futures::StreamExt;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::Aggregator;
use super::cluster::refused;
use super::execute::refusal;
use crate::server::wall_clock_ms;
use crate::wire::{ForwardAnswer, ForwardRefusal, InstanceStatus, Request, Response};

/// A statement waits no longer for a plan's end; the plan goes on.
const PLAN_MAX: Duration = Duration::from_secs(50);
/// Before a leaf is detached, replicas elsewhere get so long to catch up, so that they can take over.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Primaries that leave a leaf at the same time.
const HAND_OVERS_AT_ONCE: usize = 16;
/// A leaf must say within this what it has.
const ASK: Duration = Duration::from_secs(2);
/// Names that are listed in an error, at most.
const NAMES_MAX: usize = 8;

type Done = Result<u64, ForwardRefusal>;

/// How a leaf is treated on its way out.
#[derive(Clone, Copy)]
struct Leaving {
    kill: bool,
    safe: bool,
}

impl Aggregator {
    /// Executes a statement of an operator.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn execute_maintenance(
        &self,
        id: StatementId,
        statement: Maintenance,
        catalog: &Catalog,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let affected_rows = match statement {
            Maintenance::PromotePartition { partition, to, kill } => {
                if let Some(outcome) = catalog.outcome(id) {
                    return super::execute::answer(outcome.clone(), catalog.index());
                }
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
                if let Some(outcome) = catalog.outcome(id) {
                    return super::execute::answer(outcome.clone(), catalog.index());
                }
                self.attach_partition(id, catalog, &partition, &on, force).await?
            }
            Maintenance::AttachLeaf { leaf, force, rebalance } => {
                self.attach_leaves(catalog, leaf.as_ref(), force, rebalance).await?
            }
            Maintenance::DetachLeaves { leaves, kill, safe } => {
                let leaves = leaves_at(catalog, &leaves)?;
                self.detach_leaves(&leaves, Leaving { kill, safe }).await?
            }
            Maintenance::RemoveLeaves { leaves, force, kill, safe } => {
                // Those that an earlier attempt removed are gone.
                let known = leaves.iter().filter(|at| catalog.node_at(&at.host, at.port).is_some());
                let known: Vec<Address> = known.cloned().collect();
                if known.is_empty() && catalog.outcome(id).is_none() {
                    leaves_at(catalog, &leaves)?;
                }
                let leaves = leaves_at(catalog, &known)?;
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
    async fn do_it(&self, command: Command) -> Result<(), ForwardRefusal> {
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        match self.propose(entry).await.map_err(refusal)? {
            Ok(_) => Ok(()),
            Err(rejection) => Err((&rejection).into()),
        }
    }

    // ---- plans

    /// Begins a plan and waits for its end. Answers with the number of its steps; 0 if nothing is to be done.
    async fn plan(
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
            Ok(Reply::Plan(plan)) => self.await_plan(plan, PLAN_MAX).await.map(|()| count.max(1)),
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
        if all_online && let Some(away) = catalog.leaves().find(|leaf| !leaf.is_online()) {
            let text = format!("Leaf {} is {} (ENSURE_ONLINE_NODES)", away.address(), away.state);
            return Err(refused(text).into());
        }
        let mut done = 0;
        if force {
            done = self.force_lost(&catalog, &database).await?;
            catalog = self.current_catalog().await?;
        }
        let wishes = Wishes { full, ..Wishes::default() };
        let steps = rebalance(&catalog, &database, &wishes).map_err(|why| refused(why.to_string()))?;
        // What lacks a copy and cannot be balanced, because a leaf is away, gets its copy all the same.
        let mut all = restore_redundancy(&catalog, &database, &BTreeSet::new());
        all.retain(|copy| steps.iter().all(|step| step.ordinal != copy.ordinal));
        all.extend(steps);
        all.sort_by_key(|step| step.phase);
        Ok(done + self.plan(id, &catalog, &database, PlanKind::Rebalance, &BTreeSet::new(), all).await?)
    }

    // ---- leaves

    /// Detaches leaves: their primaries are handed over first, so that no client notices.
    async fn detach_leaves(&self, leaves: &[NodeId], how: Leaving) -> Done {
        let catalog = self.current_catalog().await?;
        let groups: BTreeSet<_> = leaves
            .iter()
            .filter_map(|leaf| catalog.node(*leaf))
            .map(|node| node.availability_group)
            .collect();
        if groups.len() > 1 {
            return Err(refused("Leaves of different availability groups are not detached together").into());
        }
        let open: Vec<NodeId> = leaves
            .iter()
            .copied()
            .filter(|leaf| catalog.node(*leaf).is_some_and(|node| node.state != NodeState::Detached))
            .collect();
        if open.is_empty() {
            return Ok(0);
        }
        let reason = "DETACH LEAF";
        self.move_away(&open, how, reason).await?;
        let command = |node: &NodeId| Command::DetachLeaf {
            node: *node,
            last_copies: !how.safe,
            reason: reason.to_owned(),
        };
        let commands: Vec<Command> = open.iter().map(command).collect();
        // All or nothing: first on a copy of the catalog, where it costs nothing.
        self.try_out(&commands).await?;
        for command in commands {
            self.do_it(command).await?;
        }
        Ok(open.len() as u64)
    }

    /// Whether these commands can be carried out one after the other, as things are now.
    async fn try_out(&self, commands: &[Command]) -> Result<(), ForwardRefusal> {
        let mut trial = Catalog::clone(&*self.current_catalog().await?);
        for command in commands {
            let entry = Entry { statement: None, at_ms: 0, command: command.clone() };
            let index = trial.index().next();
            if let Err(rejection) = trial.apply(index, &entry).outcome {
                return Err(refused(readable(&trial, &rejection)).into());
            }
        }
        Ok(())
    }

    /// Hands over every primary on these leaves for which there is, or soon will be, a replica in sync elsewhere.
    async fn move_away(&self, leaves: &[NodeId], how: Leaving, reason: &str) -> Result<(), ForwardRefusal> {
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            let catalog = self.current_catalog().await?;
            if how.safe {
                self.refuse_last_copies(&catalog, leaves)?;
            }
            let mut held = primaries_held(&catalog);
            let mut moves = Vec::new();
            let mut is_waiting = false;
            for partition in catalog.partitions().filter(|p| leaves.contains(&p.primary)) {
                if catalog.serving(partition.id).is_none() {
                    continue;
                }
                match heir(&catalog, partition, leaves, &held) {
                    Some(to) => {
                        *held.entry(to).or_default() += 1;
                        moves.push((partition.id, to));
                    }
                    None => is_waiting |= may_have_heir(&catalog, partition, leaves),
                }
            }
            if moves.is_empty() && (!is_waiting || Instant::now() >= deadline) {
                return Ok(());
            }
            let moving = moves.into_iter().map(|(id, to)| self.switch_over(None, id, to, how.kill, reason));
            let mut moved = futures::stream::iter(moving).buffer_unordered(HAND_OVERS_AT_ONCE);
            while let Some(outcome) = moved.next().await {
                outcome?;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// `ENSURE_PARTITION_SAFETY`: what these leaves serve must be in sync elsewhere, or about to be.
    fn refuse_last_copies(&self, catalog: &Catalog, leaves: &[NodeId]) -> Result<(), SqlError> {
        let none = BTreeMap::new();
        let last: Vec<String> = catalog
            .partitions()
            .filter(|partition| {
                let here = partition.instances().any(|leaf| leaves.contains(&leaf));
                let served_elsewhere = catalog.serving(partition.id).is_some_and(|n| !leaves.contains(&n.id));
                here && !served_elsewhere
                    && heir(catalog, partition, leaves, &none).is_none()
                    && !may_have_heir(catalog, partition, leaves)
            })
            .map(|partition| catalog.partition_name(partition.id))
            .collect();
        if last.is_empty() {
            return Ok(());
        }
        let text = format!("No other copy is in sync of {} (ENSURE_PARTITION_SAFETY)", listed(&last));
        Err(refused(text))
    }

    /// Attaches a leaf, or all that are detached or wait to be used again.
    async fn attach_leaves(
        &self,
        catalog: &Catalog,
        leaf: Option<&Address>,
        force: bool,
        balance: bool,
    ) -> Done {
        let wanted: Vec<NodeId> = match leaf {
            Some(address) => vec![leaf_at(catalog, address)?.id],
            None => catalog.leaves().filter(|node| !node.is_online()).map(|node| node.id).collect(),
        };
        let mut attached = Vec::new();
        for id in wanted {
            let Some(node) = catalog.node(id).filter(|node| !node.is_online()) else { continue };
            let sight = self.judged().borrow().sight();
            let well = sight.nodes.get(&id).filter(|_| sight.is_well(id));
            let seen = well.and_then(|seen| Some((seen.answered_as?, seen.lost_tail)));
            let Some(((incarnation, store), lost_tail)) = seen else {
                if leaf.is_none() && node.state == NodeState::Offline {
                    continue; // Nobody asked for this one by its name.
                }
                return Err(refused(format!("{} does not answer", node.address())).into());
            };
            if !force {
                self.refuse_conflicts(catalog, node).await?;
            }
            self.do_it(Command::AttachLeaf { node: id, incarnation, store, lost_tail }).await?;
            attached.push(id);
        }
        if balance && !attached.is_empty() {
            self.give_back_to(&attached).await?;
        }
        Ok(attached.len() as u64)
    }

    /// A leaf with data that the catalog does not give to it is attached by `FORCE` alone.
    async fn refuse_conflicts(&self, catalog: &Catalog, node: &Node) -> Result<(), ForwardRefusal> {
        let told = self.told_by(node).await;
        let found = orphans(catalog, told.iter().map(|one| (node.id, one.partition)));
        if found.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = found.iter().map(|(_, id)| catalog.partition_name(*id)).collect();
        let text = format!(
            "{} has data that the cluster does not count on: {}; ATTACH LEAF ... FORCE leaves it as orphans",
            node.address(),
            listed(&names)
        );
        Err(refused(text).into())
    }

    /// Begins the plans by which primaries go back to leaves that were attached; they go on by themselves.
    async fn give_back_to(&self, leaves: &[NodeId]) -> Result<(), ForwardRefusal> {
        let catalog = self.current_catalog().await?;
        let spread = catalog.variable("leaf_failover_fanout").is_some_and(|fanout| fanout == "load_balanced");
        for database in catalog.databases() {
            let holds = catalog
                .partitions_of(database.id)
                .any(|partition| leaves.iter().any(|leaf| partition.role_of(*leaf).is_some()));
            let Ok(mut steps) = rebalance(&catalog, database, &Wishes::default()) else { continue };
            if !spread {
                steps.retain(|step| step.action == PlanAction::PromoteWithRepoint);
            }
            if !(holds || spread)
                || steps.is_empty()
                || check(&catalog, database, &BTreeSet::new(), &steps).is_err()
            {
                continue;
            }
            let kind = PlanKind::AttachLeaf;
            match self
                .do_it(Command::StartPlan { database: database.id, kind, emptied: BTreeSet::new(), steps })
                .await
            {
                // Another plan of it is under way, or it was dropped meanwhile.
                Ok(()) | Err(ForwardRefusal::Failed(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    async fn remove_leaves(
        &self,
        id: StatementId,
        catalog: &Catalog,
        leaves: &[NodeId],
        force: bool,
        how: Leaving,
    ) -> Done {
        if force {
            self.move_away(leaves, how, "REMOVE LEAF").await?;
        } else {
            let wishes = Wishes { without: leaves.iter().copied().collect(), full: false };
            let mut databases: Vec<Database> = catalog.databases().cloned().collect();
            databases.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            for database in databases {
                let catalog = self.current_catalog().await?;
                let steps = rebalance(&catalog, &database, &wishes).map_err(|why| {
                    refused(format!("{why}; REMOVE LEAF ... FORCE removes it all the same"))
                })?;
                self.plan(None, &catalog, &database, PlanKind::RemoveLeaf, &wishes.without, steps).await?;
            }
        }
        let commands: Vec<Command> =
            leaves.iter().map(|node| Command::RemoveLeaf { node: *node, force }).collect();
        self.try_out(&commands).await?;
        let removed = commands.len() as u64;
        if removed > 0 {
            self.commit(id, Command::Batch(commands)).await?;
        }
        Ok(removed)
    }

    // ---- orphans and what was lost

    async fn told_by(&self, leaf: &Node) -> Vec<InstanceStatus> {
        match self.context.ask(&leaf.rpc_address(), &Request::Instances, ASK).await {
            Ok(Response::Instances(told)) => told,
            _ => Vec::new(),
        }
    }

    /// What every leaf that answers has, whatever the catalog gives to it.
    pub(super) async fn told_by_all(&self, catalog: &Catalog) -> BTreeMap<NodeId, Vec<InstanceStatus>> {
        let leaves: Vec<&Node> = catalog.leaves().collect();
        let answers = join_all(leaves.iter().map(|leaf| self.told_by(leaf))).await;
        leaves.iter().map(|leaf| leaf.id).zip(answers).collect()
    }

    /// The orphans that leaves have, and whether each may be removed now.
    pub(super) async fn orphans_now(&self, catalog: &Catalog) -> Vec<(NodeId, PartitionId, bool)> {
        let told = self.told_by_all(catalog).await;
        let held = told.iter().flat_map(|(node, of)| of.iter().map(|one| (*node, one.partition)));
        orphans(catalog, held)
            .into_iter()
            .map(|(node, partition)| (node, partition, may_clear(catalog, node, partition)))
            .collect()
    }

    async fn clear_orphans(&self) -> Done {
        let catalog = self.current_catalog().await?;
        let found = self.orphans_now(&catalog).await;
        let mut cleared = 0;
        let mut kept = Vec::new();
        for (node, partition, may) in &found {
            let name = format!("{} on {}", catalog.partition_name(*partition), catalog.address_of(*node));
            if !may {
                kept.push(format!("{name}: its partition has no primary that serves"));
                continue;
            }
            match self.remove_data(&catalog, *partition, *node).await {
                Ok(()) => {
                    self.do_it(Command::ForgetOrphan { partition: *partition, node: *node }).await?;
                    cleared += 1;
                }
                Err(why) => kept.push(format!("{name}: {why}")),
            }
        }
        // A copy that was set aside on a leaf that answers and has it no more.
        let told = self.told_by_all(&catalog).await;
        for copy in catalog.set_aside() {
            let gone = told
                .get(&copy.node)
                .is_some_and(|of| !of.is_empty() && of.iter().all(|one| one.partition != copy.partition));
            if gone && !found.iter().any(|(node, id, _)| (*node, *id) == (copy.node, copy.partition)) {
                self.do_it(Command::ForgetOrphan { partition: copy.partition, node: copy.node }).await?;
            }
        }
        if kept.is_empty() {
            return Ok(cleared);
        }
        Err(refused(format!("{cleared} orphans were removed, and these were not: {}", listed(&kept))).into())
    }

    /// Gives a leaf's data back to its partition: as a replica if the partition is served, as its primary if nobody
    /// else can be, and then only if the operator accepts what may be lost.
    async fn attach_partition(
        &self,
        id: StatementId,
        catalog: &Catalog,
        name: &PartitionName,
        on: &Address,
        force: bool,
    ) -> Done {
        let partition = partition_named(catalog, name)?;
        let leaf = leaf_at(catalog, on)?;
        if catalog.serving(partition.id).is_some() {
            if catalog.is_set_aside(partition.id, leaf.id) {
                if !force {
                    let text = format!(
                        "What {} has of {name} was set aside, and may have writes that its primary does not have; \
                         FORCE makes a replica of it, and they are lost",
                        leaf.address()
                    );
                    return Err(refused(text).into());
                }
                let (partition, node) = (partition.id, leaf.id);
                self.do_it(Command::ForgetOrphan { partition, node }).await?;
            }
            let (version, node) = (partition.version, leaf.id);
            self.commit(id, Command::AddReplica { partition: partition.id, version, node }).await?;
            return Ok(1);
        }
        let told = self.told_by(leaf).await;
        let Some(copy) = told.iter().find(|one| one.partition == partition.id) else {
            let text = format!(
                "{} has nothing of {name}; REBALANCE PARTITIONS ON {} FORCE makes it anew, empty",
                leaf.address(),
                name.database
            );
            return Err(refused(text).into());
        };
        let loss = self.loss(catalog, partition, leaf.id, Some((copy.epoch, copy.last)));
        if !force {
            return Err(refused(format!("{loss}; FORCE does it all the same")).into());
        }
        let (id_of, epoch, to) = (partition.id, partition.epoch, leaf.id);
        self.commit(id, Command::ForcePrimary { partition: id_of, epoch, to, loss }).await?;
        Ok(1)
    }

    /// What may be lost when this copy, or none, becomes the primary.
    fn loss(
        &self,
        catalog: &Catalog,
        partition: &Partition,
        to: NodeId,
        copy: Option<(Epoch, Lsn)>,
    ) -> String {
        let name = catalog.partition_name(partition.id);
        let told = self.positions.told();
        let old = catalog.address_of(partition.primary);
        let known = match told.get(&(partition.primary, partition.id)) {
            Some(last) => format!("its primary on {old} had the log up to {last} when it was last heard"),
            None => format!("its primary on {old} was not heard since this master aggregator is in office"),
        };
        let to = catalog.address_of(to);
        match copy {
            Some((epoch, last)) => format!(
                "{name}: {known}, and the copy on {to} ends at {last} of {epoch}: what was acknowledged after that is lost"
            ),
            None => format!(
                "{name}: {known}, and no copy is there: it begins anew, empty, on {to}, and all of it is lost"
            ),
        }
    }

    /// `REBALANCE PARTITIONS … FORCE`: every partition that nobody serves or could without a loss gets the best copy that
    /// a leaf has as its primary, or begins anew.
    async fn force_lost(&self, catalog: &Catalog, database: &Database) -> Done {
        let online = |node: NodeId| catalog.node(node).is_some_and(|node| node.is_online());
        let lost: Vec<&Partition> = catalog
            .partitions_of(database.id)
            .filter(|p| catalog.serving(p.id).is_none() && !p.promotable().any(online))
            .collect();
        if lost.is_empty() {
            return Ok(0);
        }
        let told = self.told_by_all(catalog).await;
        let mut held = primaries_held(catalog);
        let mut forced = 0;
        for partition in lost {
            let copies = told.iter().filter(|(node, _)| online(**node)).filter_map(|(node, of)| {
                let own = of.iter().find(|one| one.partition == partition.id)?;
                let lost = partition.primary == *node && partition.primary_lost;
                (!lost).then_some((own.epoch, own.last, *node))
            });
            let best = copies.max_by_key(|(epoch, last, node)| (*epoch, *last, std::cmp::Reverse(*node)));
            let (to, copy) = match best {
                Some((epoch, last, node)) => (node, Some((epoch, last))),
                None => {
                    let empty = catalog.leaves().filter(|leaf| leaf.is_online()).map(|leaf| leaf.id);
                    let least = empty.min_by_key(|leaf| (held.get(leaf).copied().unwrap_or_default(), *leaf));
                    let Some(leaf) = least else {
                        return Err(refused("No leaf is online; see SHOW LEAVES").into());
                    };
                    (leaf, None)
                }
            };
            *held.entry(to).or_default() += 1;
            let loss = self.loss(catalog, partition, to, copy);
            let (id, epoch) = (partition.id, partition.epoch);
            self.do_it(Command::ForcePrimary { partition: id, epoch, to, loss }).await?;
            forced += 1;
        }
        Ok(forced)
    }

    /// What an operator's statement would do, for EXPLAIN.
    ///
    /// # Errors
    /// That it could not be done.
    pub(super) fn steps_of(
        catalog: &Catalog,
        statement: &Maintenance,
    ) -> Result<Vec<(Database, PlanKind, NewStep)>, SqlError> {
        let rebalanced = |database: &Database, full: bool| {
            let wishes = Wishes { full, ..Wishes::default() };
            rebalance(catalog, database, &wishes).map_err(|why| refused(why.to_string()))
        };
        let of = |database: &Database, kind: PlanKind, steps: Vec<NewStep>| {
            steps.into_iter().map(|step| (database.clone(), kind, step)).collect::<Vec<_>>()
        };
        match statement {
            Maintenance::RestoreRedundancy { database } => {
                let database = database_named(catalog, database)?;
                let steps = restore_redundancy(catalog, database, &BTreeSet::new());
                Ok(of(database, PlanKind::RestoreRedundancy, &BTreeSet::new(), steps))
            }
            Maintenance::Rebalance { database, full, .. } => {
                let database = database_named(catalog, database)?;
                Ok(of(database, PlanKind::Rebalance, rebalanced(database, *full)?))
            }
            Maintenance::RebalanceAll { .. } => {
                let mut databases: Vec<&Database> = catalog.databases().collect();
                databases.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                let mut all = Vec::new();
                for database in databases {
                    all.extend(of(database, PlanKind::Rebalance, rebalanced(database, true)?));
                }
                Ok(all)
            }
            _ => Err(refused("This statement has no plan to explain")),
        }
    }
}

/// A rejection with addresses and names instead of ids, where an operator reads it.
fn readable(catalog: &Catalog, rejection: &Rejection) -> String {
    match rejection {
        Rejection::StillPrimary(partition, node) => format!(
            "{} is still the primary of {}; another copy is in sync, but it was not handed over",
            catalog.address_of(*node),
            catalog.partition_name(*partition)
        ),
        Rejection::LastCopy(partition, node) => format!(
            "{} has the only copy of {} that could serve (ENSURE_PARTITION_SAFETY)",
            catalog.address_of(*node),
            catalog.partition_name(*partition)
        ),
        Rejection::HoldsInstances(node, count) => {
            format!("{} still holds {count} instances of partitions", catalog.address_of(*node))
        }
        other => other.to_string(),
    }
}

fn leaf_at<'a>(catalog: &'a Catalog, address: &Address) -> Result<&'a Node, SqlError> {
    catalog.node_at(&address.host, address.port).filter(|node| node.is_leaf()).ok_or_else(|| {
        refused(format!("There is no leaf {}:{}; see SHOW LEAVES", address.host, address.port))
    })
}

fn leaves_at(catalog: &Catalog, addresses: &[Address]) -> Result<Vec<NodeId>, SqlError> {
    addresses.iter().map(|address| leaf_at(catalog, address).map(|node| node.id)).collect()
}

fn database_named<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Database, SqlError> {
    catalog.database(name).ok_or_else(|| SqlError::from(&Rejection::NoSuchDatabase(name.to_owned())))
}

fn partition_named<'a>(catalog: &'a Catalog, name: &PartitionName) -> Result<&'a Partition, SqlError> {
    let database = database_named(catalog, &name.database)?.id;
    let id = PartitionId { database, ordinal: name.ordinal };
    catalog.partition(id).ok_or_else(|| refused(format!("There is no partition {name}")))
}

fn primaries_held(catalog: &Catalog) -> BTreeMap<NodeId, usize> {
    let mut held = BTreeMap::new();
    for partition in catalog.partitions() {
        *held.entry(partition.primary).or_default() += 1;
    }
    held
}

/// Who takes over when these leaves leave: the replica in sync whose leaf has the fewest primaries.
fn heir(
    catalog: &Catalog,
    partition: &Partition,
    leaving: &[NodeId],
    held: &BTreeMap<NodeId, usize>,
) -> Option<NodeId> {
    partition
        .promotable()
        .filter(|leaf| !leaving.contains(leaf) && catalog.node(*leaf).is_some_and(|node| node.is_online()))
        .min_by_key(|leaf| (held.get(leaf).copied().unwrap_or_default(), *leaf))
}

/// Whether a replica elsewhere may still become one that could take over.
fn may_have_heir(catalog: &Catalog, partition: &Partition, leaving: &[NodeId]) -> bool {
    let rises = catalog
        .database_by_id(partition.id.database)
        .is_some_and(|database| database.replication == baton_model::ReplicationMode::Sync);
    rises
        && catalog.serving(partition.id).is_some()
        && partition.replicas.iter().any(|(leaf, state)| {
            *state != SyncState::Sync
                && !leaving.contains(leaf)
                && catalog.node(*leaf).is_some_and(|node| node.is_online())
        })
}

/// Some names, and how many more there are.
fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
