//! Operators who take leaves out of use and back into it, and replace them.
//!
//! Played as `aggregator/attach_detach.rs` of `baton-node` does it, but that what a statement waits for is looked at now
//! and then, by whoever is master aggregator: an operator whose statement was lost says it again.

use std::collections::BTreeSet;

use baton_catalog::{Catalog, Command, Partition, PlanKind};
use baton_failover::Wishes;
use baton_model::{NodeId, NodeState, PartitionId, ReplicationMode, SyncState};

use super::Cure;
use crate::kernel::{MS, Time};
use crate::world::{Order, World};

/// Between two looks whether a leaf may go.
const LOOK_AGAIN: Time = 300 * MS;
/// An operator gives up after so many.
const LOOKS_MAX: u32 = 40;

/// How a leaf is treated on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaving {
    leaf: usize,
    /// Writes that are under way are not waited for.
    kill: bool,
    /// Whether it must not be the only one that could serve anything.
    safe: bool,
    /// It is not detached but removed; what it holds may be moved first, or not.
    removed: Option<Removal>,
    looks: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Removal {
    /// `REMOVE LEAF`: everything is moved away.
    Emptied,
    /// `REMOVE LEAF … FORCE`: its primaries go to their replicas, and there is one copy less of the rest.
    Forced,
}

impl World {
    /// `DETACH LEAF`, and later `ATTACH LEAF`.
    pub(super) fn detach_leaf(&mut self) {
        let leaf = self.random_leaf();
        let rng = &mut self.nemesis.rng;
        let (kill, safe) = (rng.per_mille(300), rng.coin());
        self.leaves_step_by_step(Leaving { leaf, kill, safe, removed: None, looks: 0 });
    }

    /// `ADD LEAF` and `REMOVE LEAF`, in either order: machines are replaced, and never more than the network has places for.
    pub(super) fn replace_leaf(&mut self) {
        let leaves = self.catalog().leaves().count();
        if leaves > self.setup.leaves {
            self.remove_leaf();
        } else if leaves < self.setup.leaves || self.nemesis.rng.coin() {
            self.add_leaf();
        } else if self.has_room_for_a_node() {
            // It will be replaced.
            self.remove_leaf();
        }
    }

    fn add_leaf(&mut self) {
        if self.has_room_for_a_node() {
            let group = self.smaller_group();
            let command = Command::AddNode(self.new_leaf(group));
            self.operator_says(command);
        }
    }

    fn smaller_group(&self) -> u32 {
        let count =
            |group: u32| self.catalog().leaves().filter(|n| n.availability_group == Some(group)).count();
        if count(2) < count(1) { 2 } else { 1 }
    }

    fn remove_leaf(&mut self) {
        let leaf = self.random_leaf();
        let rng = &mut self.nemesis.rng;
        let removed = Some(if rng.per_mille(300) { Removal::Forced } else { Removal::Emptied });
        let kill = rng.per_mille(300);
        self.leaves_step_by_step(Leaving { leaf, kill, safe: false, removed, looks: 0 });
    }

    /// The next step of a leaf on its way out.
    pub(super) fn leaves_step_by_step(&mut self, mut leaving: Leaving) {
        leaving.looks += 1;
        let master = self.acting_leaders().first().map(|id| Self::position(*id));
        let id = self.nodes[leaving.leaf].id;
        let catalog = self.catalog().clone();
        let Some(node) = catalog.node(id) else { return };
        let is_over = leaving.removed.is_none() && node.state == NodeState::Detached;
        if leaving.looks > LOOKS_MAX || is_over {
            return self.cure_later(Cure::Attach(leaving.leaf));
        }
        if let Some(master) = master {
            match leaving.removed {
                Some(Removal::Emptied) => self.empty_leaf(master, &catalog, id),
                _ => self.move_away(master, &catalog, leaving),
            }
        }
        self.cure_after(LOOK_AGAIN, Cure::Leave(leaving));
    }

    /// Its primaries are handed over as far as there is, or will be, somebody to take them; then it goes.
    fn move_away(&mut self, master: usize, catalog: &Catalog, leaving: Leaving) {
        let leaf = self.nodes[leaving.leaf].id;
        let served = catalog.partitions().filter(|p| p.primary == leaf && catalog.serving(p.id).is_some());
        let (mut moves, mut waits) = (Vec::new(), false);
        for partition in served {
            match heir(catalog, partition, leaf) {
                Some(to) => moves.push((partition.id, to)),
                None => waits |= may_have_heir(catalog, partition, leaf),
            }
        }
        for (partition, to) in &moves {
            let order =
                Order { partition: *partition, to: *to, kill: leaving.kill, statement: None, step: None };
            self.switch_over(master, order);
        }
        if !moves.is_empty() || waits && leaving.looks < LOOKS_MAX / 2 {
            return;
        }
        if leaving.removed.is_some() {
            // Whoever forces it has looked whether everything is somewhere else.
            let is_primary = catalog.partitions().any(|partition| partition.primary == leaf);
            if !is_primary && self.can_spare(leaving.leaf) {
                self.operator_says(Command::RemoveLeaf { node: leaf, force: true });
            }
            return;
        }
        let reason = "DETACH LEAF".to_owned();
        self.operator_says(Command::DetachLeaf { node: leaf, last_copies: !leaving.safe, reason });
    }

    /// Plans take everything away from it, one database after the other; then it goes.
    fn empty_leaf(&mut self, master: usize, catalog: &Catalog, leaf: NodeId) {
        let holds = |partition: &Partition| partition.role_of(leaf).is_some();
        let Some(partition) = catalog.partitions().find(|partition| holds(partition)) else {
            return self.operator_says(Command::RemoveLeaf { node: leaf, force: false });
        };
        let database = partition.id.database;
        if catalog.plan_of(database).is_none_or(|plan| plan.status.is_over()) {
            let wishes = Wishes { without: BTreeSet::from([leaf]), full: false };
            self.begin_plan(master, database, PlanKind::RemoveLeaf, &wishes);
        }
    }

    /// `ATTACH LEAF … FORCE`, if it was detached and answers. Its primaries may come back to it.
    pub(super) fn attach_leaf(&mut self, leaf: usize) {
        let id = self.nodes[leaf].id;
        let catalog = self.catalog().clone();
        if catalog.node(id).is_none_or(|node| node.state != NodeState::Detached) {
            return;
        }
        let Some(master) = self.acting_leaders().first().map(|id| Self::position(*id)) else { return };
        let Some((incarnation, store, lost_tail)) = self.run_seen(master, id) else { return };
        self.operator_says(Command::AttachLeaf { node: id, incarnation, store, lost_tail });
        let databases: BTreeSet<_> = catalog.partitions().map(|partition| partition.id.database).collect();
        if self.nemesis.rng.coin() {
            for database in databases {
                self.begin_plan(master, database, PlanKind::AttachLeaf, &Wishes::default());
            }
        }
    }
}

/// Who takes over from a leaf.
fn heir(catalog: &Catalog, partition: &Partition, from: NodeId) -> Option<NodeId> {
    let online = |leaf: &NodeId| catalog.node(*leaf).is_some_and(|node| node.is_online());
    partition.promotable().find(|leaf| *leaf != from && online(leaf))
}

/// Whether a replica elsewhere may still become one that could.
fn may_have_heir(catalog: &Catalog, partition: &Partition, from: NodeId) -> bool {
    let PartitionId { database, .. } = partition.id;
    let rises =
        catalog.database_by_id(database).is_some_and(|known| known.replication == ReplicationMode::Sync);
    let online = |leaf: &NodeId| catalog.node(*leaf).is_some_and(|node| node.is_online());
    let mut others = partition.replicas.iter().filter(|(leaf, _)| **leaf != from && online(leaf));
    rises && others.any(|(_, state)| *state != SyncState::Sync)
}
