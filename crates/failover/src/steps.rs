//! What is to be done about one step of an operator's plan, in the state in which things are now.
//!
//! The answer is made from the catalog alone, each time anew, so it does not matter who began the step or how far it
//! had come: the next master aggregator asks the same question and goes on.
//! [`check`] plays a plan through before it begins.

use std::collections::{BTreeMap, BTreeSet};

use baton_catalog::{Catalog, Command, Database, NewStep, PlanAction, PlanStep};
use baton_model::{InstanceRole, NodeId, PartitionId, ReplicationMode, SyncState};

use crate::cells::copies;

/// What to do about a step now.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// It is done.
    Done,
    /// What it needs is under way; why, for people.
    Wait(String),
    /// It needs what nobody may be about to do, and fails if that lasts; why, for people.
    Stuck(String),
    /// Propose these.
    Propose(Vec<Command>),
    /// Have the primary stop taking writes, and hand over.
    HandOver {
        /// The partition.
        partition: PartitionId,
        /// The replica that takes over.
        to: NodeId,
    },
    /// The catalog is as it should be; what the leaf still has is to be removed there. What cannot be is an orphan.
    RemoveData {
        /// The partition.
        partition: PartitionId,
        /// The leaf.
        node: NodeId,
    },
    /// It cannot be done any more; why, for people.
    Failed(String),
}

/// What to do about a step. `caught_up` says of a replica that never becomes `Sync`, that of a database with
/// `ASYNC REPLICATION`, whether it has what its primary has.
#[must_use]
pub fn next(catalog: &Catalog, step: &PlanStep, caught_up: &dyn Fn(NodeId, PartitionId) -> bool) -> Next {
    let id = step.partition;
    let (Some(partition), Some(database)) = (catalog.partition(id), catalog.database_by_id(id.database))
    else {
        return Next::Failed("the database was dropped".into());
    };
    let is_online = |node: NodeId| catalog.node(node).is_some_and(|node| node.is_online());
    let address = catalog.address_of(step.target);
    let role = partition.role_of(step.target);
    let target_is_gone = || Next::Failed(format!("{address} is not online"));
    let unserved = || Next::Stuck("the partition is not served".into());
    let served = catalog.serving(id).is_some();
    match step.action {
        PlanAction::Copy => match role {
            Some(InstanceRole::Primary | InstanceRole::Replica(SyncState::Sync)) => Next::Done,
            _ if !is_online(step.target) => target_is_gone(),
            _ if !served => unserved(),
            Some(InstanceRole::Replica(_)) => {
                if database.replication == ReplicationMode::Async && caught_up(step.target, id) {
                    return Next::Done;
                }
                Next::Wait("the copy is not in sync yet".into())
            }
            None if catalog.is_set_aside(id, step.target) => {
                Next::Failed(format!("{address} has an orphan of it; CLEAR ORPHAN DATABASES removes it"))
            }
            None => Next::Propose(vec![Command::AddReplica {
                partition: id,
                version: partition.version,
                node: step.target,
            }]),
        },
        PlanAction::PromoteWithDrop | PlanAction::PromoteWithRepoint => match role {
            Some(InstanceRole::Primary) => {
                let old = step.from.filter(|_| step.action == PlanAction::PromoteWithDrop);
                old.map_or(Next::Done, |old| take_away(catalog, database, step, old))
            }
            None => Next::Failed(format!("{address} holds no instance of it")),
            _ if !is_online(step.target) => target_is_gone(),
            _ if !served => unserved(),
            Some(InstanceRole::Replica(SyncState::Sync)) => Next::HandOver { partition: id, to: step.target },
            // No replica of it rises any more, and a plan that waits for one would keep every other one from beginning.
            Some(InstanceRole::Replica(_)) if database.replication == ReplicationMode::Async => {
                Next::Failed("with ASYNC REPLICATION no replica is in sync, so its primary stays".into())
            }
            Some(InstanceRole::Replica(_)) => Next::Wait(format!("the replica on {address} is not in sync")),
        },
        PlanAction::Drop => take_away(catalog, database, step, step.target),
    }
}

fn take_away(catalog: &Catalog, database: &Database, step: &PlanStep, node: NodeId) -> Next {
    let id = step.partition;
    let Some(partition) = catalog.partition(id) else { return Next::Done };
    match partition.role_of(node) {
        None => Next::RemoveData { partition: id, node },
        Some(InstanceRole::Primary) => {
            Next::Failed(format!("{} is the primary of it", catalog.address_of(node)))
        }
        Some(InstanceRole::Replica(_)) => {
            let emptied = catalog.plan(step.plan).map(|plan| plan.emptied.clone()).unwrap_or_default();
            let copies_left = copies_left(catalog, database, &emptied, node);
            let is_online = |node: &NodeId| catalog.node(*node).is_some_and(|node| node.is_online());
            let present = partition.instances().filter(|other| *other != node).filter(is_online).count();
            let others =
                partition.in_sync_replicas().filter(|other| *other != node).filter(is_online).count();
            if catalog.serving(id).is_none() || present < copies_left as usize {
                return Next::Stuck("too few other copies are there".into());
            }
            if 1 + others < copies_left as usize {
                return Next::Wait("too few other copies are in sync".into());
            }
            let reason = "planned".into();
            Next::Propose(vec![Command::DropReplica { partition: id, node, copies_left, reason }])
        }
    }
}

/// How many copies in sync must be left when one goes from this leaf: all that the redundancy level asks for, as far as
/// leaves are online to hold them that the plan does not empty.
#[must_use]
pub fn copies_left(catalog: &Catalog, database: &Database, emptied: &BTreeSet<NodeId>, from: NodeId) -> u32 {
    if database.replication == ReplicationMode::Async {
        return 1;
    }
    let offline = catalog.leaves().filter(|leaf| !leaf.is_online()).map(|leaf| leaf.id);
    let without: BTreeSet<NodeId> = offline.chain(emptied.iter().copied()).chain([from]).collect();
    u32::try_from(copies(catalog, catalog.number("redundancy_level"), &without)).unwrap_or(1)
}

/// Plays a plan through: every step must be possible after those before it, and none may leave a partition without its
/// primary, twice on one leaf, or with fewer copies than it had or the redundancy level asks for (S7). `emptied` are the
/// leaves on which the plan leaves nothing.
///
/// # Errors
/// The first step that may not be taken, and why.
pub fn check(
    catalog: &Catalog,
    database: &Database,
    emptied: &BTreeSet<NodeId>,
    steps: &[NewStep],
) -> Result<(), String> {
    let mut at: BTreeMap<u32, (NodeId, BTreeSet<NodeId>)> = BTreeMap::new();
    let mut phase = 0;
    let wanted = |from| copies_left(catalog, database, emptied, from) as usize;
    for (number, step) in steps.iter().enumerate() {
        let fails = |why: &str| Err(format!("step {number}, {} {}: {why}", step.action, step.ordinal));
        if step.phase < phase {
            return fails("its phase is over");
        }
        phase = step.phase;
        let id = PartitionId { database: database.id, ordinal: step.ordinal };
        let Some(partition) = catalog.partition(id) else { return fails("there is no such partition") };
        if !catalog.node(step.target).is_some_and(|node| node.is_leaf()) {
            return fails("its target is no leaf");
        }
        let (primary, leaves) =
            at.entry(step.ordinal).or_insert_with(|| (partition.primary, partition.instances().collect()));
        match step.action {
            PlanAction::Copy => {
                if !leaves.insert(step.target) {
                    return fails("there is an instance of it already");
                }
            }
            PlanAction::PromoteWithDrop | PlanAction::PromoteWithRepoint => {
                if !leaves.contains(&step.target) || step.from != Some(*primary) {
                    return fails("it is not between its primary and a replica");
                }
                let old = std::mem::replace(primary, step.target);
                if step.action == PlanAction::PromoteWithDrop
                    && let Err(why) = goes(leaves, old, step.target, wanted(old))
                {
                    return fails(why);
                }
            }
            PlanAction::Drop => {
                if let Err(why) = goes(leaves, step.target, *primary, wanted(step.target)) {
                    return fails(why);
                }
            }
        }
    }
    Ok(())
}

/// Takes an instance away, as far as the plan is concerned.
fn goes(
    leaves: &mut BTreeSet<NodeId>,
    leaf: NodeId,
    primary: NodeId,
    wanted: usize,
) -> Result<(), &'static str> {
    let before = leaves.len();
    if leaf == primary {
        return Err("it is the primary");
    }
    if !leaves.remove(&leaf) {
        return Err("there is no instance of it");
    }
    if leaves.len() < wanted.min(before) { Err("too few copies are left") } else { Ok(()) }
}
