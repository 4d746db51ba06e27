//! Plans that move instances: `REBALANCE PARTITIONS`, the going back of primaries after `ATTACH LEAF`, and what has to
//! be moved before `REMOVE LEAF`.
//!
//! All copies are made before any primary moves, and nothing is dropped before all primaries have moved, so that
//! whatever is cut short has left more copies than there were, never fewer.
//! Left alone is what cannot be moved without a risk: partitions that nobody serves, and those of which a leaf is
//! offline. In a database with `ASYNC REPLICATION` no replica ever becomes `Sync`, so its primaries stay where they are
//! (S4).

use std::collections::BTreeSet;
use std::fmt;

use baton_catalog::{Catalog, Database, NewStep, Partition, PlanAction};
use baton_model::{NodeId, ReplicationMode};
use baton_policy::Present;

use crate::cells::{Cell, cells};
use crate::layout::{Place, Placer, Task};
use crate::redundancy::restore_redundancy;

/// What is wanted beside balance.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// Leaves on which nothing is to be left.
    pub without: BTreeSet<NodeId>,
    /// Whether what leaves have of other databases counts.
    pub full: bool,
}

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoPlan {
    /// There is no leaf left that could hold anything.
    NoLeaf,
    /// So many partitions cannot leave a leaf that is to be emptied, and why; the first is named.
    Stuck(String),
}

impl fmt::Display for NoPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeaf => f.write_str("No other leaf is online that could hold the partitions"),
            Self::Stuck(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NoPlan {}

/// The phases of a plan, in their order.
pub(crate) const COPY: u32 = 1;
pub(crate) const PROMOTE: u32 = 2;
pub(crate) const DROP: u32 = 3;

/// The steps that balance a database, with as few moves as may be. None are needed if it is balanced.
///
/// # Errors
/// [`NoPlan`].
pub fn rebalance(
    catalog: &Catalog,
    database: &Database,
    wishes: &Wishes,
    placer: &mut Placer<'_>,
) -> Result<Vec<NewStep>, NoPlan> {
    if database.replication == ReplicationMode::Async {
        return of_async(catalog, database, wishes);
    }
    let is_online = |leaf: &NodeId| catalog.node(*leaf).is_some_and(|node| node.is_online());
    let redundancy = catalog.number("redundancy_level");
    let usable: Vec<Cell> = cells(catalog, redundancy, &wishes.without)
        .into_iter()
        .filter(|cell| cell.leaves.iter().all(is_online))
        .collect();
    let may_move = |partition: &Partition| {
        catalog.serving(partition.id).is_some()
            && partition.instances().all(|leaf| is_online(&leaf) || wishes.without.contains(&leaf))
    };
    let (moved, kept): (Vec<&Partition>, Vec<&Partition>) =
        catalog.partitions_of(database.id).partition(|partition| may_move(partition));
    if let Some(stuck) = kept.iter().find(|p| p.instances().any(|leaf| wishes.without.contains(&leaf))) {
        return Err(NoPlan::Stuck(format!(
            "{} cannot be moved now: it is not served, or another leaf that holds it is not online",
            catalog.partition_name(stuck.id)
        )));
    }
    // Nothing is balanced while no leaf and its counterpart are both online.
    if moved.is_empty() || usable.is_empty() && wishes.without.is_empty() {
        return Ok(Vec::new());
    }
    let present: Vec<Present> = moved
        .iter()
        .map(|partition| Present {
            leaves: partition
                .instances()
                .filter(|leaf| !wishes.without.contains(leaf))
                .map(|n| n.0)
                .collect(),
            primary: Some(partition.primary.0),
        })
        .collect();
    let task = Task {
        database: &database.name,
        id: Some(database.id),
        count_others: wishes.full,
        partitions: present,
    };
    let places = placer.lay_out(catalog, task, &usable).ok_or(NoPlan::NoLeaf)?;
    Ok(steps(&moved, &places))
}

/// The way from where instances are to where they are to be.
fn steps(partitions: &[&Partition], places: &[Place]) -> Vec<NewStep> {
    let mut steps = Vec::new();
    for (partition, place) in partitions.iter().zip(places) {
        let step = |action, target, from, phase| NewStep {
            action,
            ordinal: partition.id.ordinal,
            target,
            from,
            phase,
        };
        for leaf in place.leaves.iter().filter(|leaf| partition.role_of(**leaf).is_none()) {
            steps.push(step(PlanAction::Copy, *leaf, None, COPY));
        }
        let old = partition.primary;
        if place.primary != old {
            let action = if place.leaves.contains(&old) {
                PlanAction::PromoteWithRepoint
            } else {
                PlanAction::PromoteWithDrop
            };
            steps.push(step(action, place.primary, Some(old), PROMOTE));
        }
        for leaf in partition.replicas.keys().filter(|leaf| !place.leaves.contains(leaf)) {
            steps.push(step(PlanAction::Drop, *leaf, None, DROP));
        }
    }
    steps.sort_by_key(|step| step.phase);
    steps
}

/// Primaries stay; replicas come where they are missing, and go from leaves that are to be emptied.
fn of_async(catalog: &Catalog, database: &Database, wishes: &Wishes) -> Result<Vec<NewStep>, NoPlan> {
    if let Some(partition) =
        catalog.partitions_of(database.id).find(|partition| wishes.without.contains(&partition.primary))
    {
        return Err(NoPlan::Stuck(format!(
            "{} has ASYNC REPLICATION: no replica of it is in sync, so its primary cannot move",
            catalog.partition_name(partition.id)
        )));
    }
    let mut steps = restore_redundancy(catalog, database, &wishes.without);
    for partition in catalog.partitions_of(database.id) {
        for leaf in partition.replicas.keys().filter(|leaf| wishes.without.contains(leaf)) {
            let ordinal = partition.id.ordinal;
            steps.push(NewStep { action: PlanAction::Drop, ordinal, target: *leaf, from: None, phase: DROP });
        }
    }
    Ok(steps)
}
