//! Leaves that an operator takes into use, out of it, and out of the cluster.
//!
//! * S7: nothing that could serve is given up unless the operator says so, and none is left in doubt about what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_catalog::{Catalog, Command, Database, Entry, Node, Partition, PlanAction, PlanKind, Rejection};
use baton_failover::{Wishes, check, orphans, rebalance};
use baton_model::errors::SqlError;
use baton_model::{NodeId, NodeState, ReplicationMode, StatementId, SyncState};
use baton_sql::Address;
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::Aggregator;
use super::cluster::refused;
use super::maintenance::{Done, leaf_at, listed, primaries_held};
use crate::wire::ForwardRefusal;

/// Before a leaf is detached, replicas elsewhere get so long to catch up, so that they can take over.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// A leaf that is to be attached must answer within this.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Primaries that leave a leaf at the same time.
const HAND_OVERS_AT_ONCE: usize = 16;

/// How a leaf is treated on its way out.
#[derive(Clone, Copy)]
pub(super) struct Leaving {
    /// Writes that are under way are not waited for.
    pub kill: bool,
    /// `ENSURE_PARTITION_SAFETY`.
    pub safe: bool,
}

impl Aggregator {
    /// Detaches leaves: their primaries are handed over first, so that no client notices.
    pub(super) async fn detach_leaves(&self, id: StatementId, leaves: &[NodeId], how: Leaving) -> Done {
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
        self.commit(id, Command::Batch(commands)).await?;
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
                    // Whoever may be promoted is about to be.
                    is_waiting |= heir(&catalog, partition, leaves, &held).is_some();
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

    /// Attaches a leaf, or all that are detached or wait to be used again and can be; of the others it is said why not.
    pub(super) async fn attach_leaves(
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
        let mut kept_out = Vec::new();
        for id in wanted {
            let Some(node) = catalog.node(id).filter(|node| !node.is_online()) else { continue };
            match self.attach_one(catalog, node, force).await {
                Ok(()) => attached.push(id),
                Err(ForwardRefusal::Failed(why)) if leaf.is_none() => {
                    // Nobody asked by its name for one that is away.
                    if node.state != NodeState::Offline {
                        kept_out.push(why.message);
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        }
        if balance && !attached.is_empty() {
            self.give_back_to(&attached).await?;
        }
        if kept_out.is_empty() {
            return Ok(attached.len() as u64);
        }
        let text =
            format!("{} leaves were attached, and these were not: {}", attached.len(), listed(&kept_out));
        Err(refused(text).into())
    }

    async fn attach_one(&self, catalog: &Catalog, node: &Node, force: bool) -> Result<(), ForwardRefusal> {
        let Some(command) = timeout(ANSWER_MAX, self.hear(node.id)).await.ok().flatten() else {
            return Err(refused(format!("{} does not answer", node.address())).into());
        };
        if !force {
            self.refuse_conflicts(catalog, node).await?;
        }
        self.do_it(command).await
    }

    /// What attaches a leaf as the run that answers now: what is remembered of it may be older than what the catalog says.
    /// None if it is judged failed.
    async fn hear(&self, leaf: NodeId) -> Option<Command> {
        let begun = self.context.clock.now();
        let mut judged = self.judged();
        loop {
            judged.borrow_and_update();
            let sight = self.sight(&self.context.catalog());
            let seen = sight.nodes.get(&leaf)?;
            if sight.is_failed(leaf) {
                return None;
            }
            if sight.is_well(leaf)
                && seen.asked_at.is_some_and(|asked| asked > begun)
                && let Some((incarnation, store)) = seen.answered_as
            {
                let lost_tail = seen.lost_tail;
                return Some(Command::AttachLeaf { node: leaf, incarnation, store, lost_tail });
            }
            judged.changed().await.ok()?;
        }
    }

    /// A leaf with data that the catalog does not give to it is attached by `FORCE` alone.
    async fn refuse_conflicts(&self, catalog: &Catalog, node: &Node) -> Result<(), ForwardRefusal> {
        let told = self.told_by(node).await.map_err(refused)?;
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
            let made =
                self.placing(&catalog, |placer| rebalance(&catalog, database, &Wishes::default(), placer));
            let Ok(mut steps) = made else { continue };
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

    pub(super) async fn remove_leaves(
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
                let made = self.placing(&catalog, |placer| rebalance(&catalog, &database, &wishes, placer));
                let steps = made.map_err(|why| {
                    refused(format!("{why}; REMOVE LEAF ... FORCE removes it all the same"))
                })?;
                self.plan(None, &catalog, &database, PlanKind::RemoveLeaf, &wishes.without, steps).await?;
            }
        }
        let commands: Vec<Command> =
            leaves.iter().map(|node| Command::RemoveLeaf { node: *node, force }).collect();
        self.try_out(&commands).await?;
        self.commit(id, Command::Batch(commands)).await?;
        Ok(leaves.len() as u64)
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
        .is_some_and(|database| database.replication == ReplicationMode::Sync);
    rises
        && catalog.serving(partition.id).is_some()
        && partition.replicas.iter().any(|(leaf, state)| {
            *state != SyncState::Sync
                && !leaving.contains(leaf)
                && catalog.node(*leaf).is_some_and(|node| node.is_online())
        })
}
