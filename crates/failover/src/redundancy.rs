//! Plans that copy what has too few copies, and move nothing: `RESTORE REDUNDANCY`.

use std::collections::{BTreeMap, BTreeSet};

use baton_catalog::{Catalog, Database, NewStep, PlanAction};
use baton_model::NodeId;

use crate::cells::{copies, group, is_load_balanced};
use crate::placement::pair_of;
use crate::rebalance::COPY;

/// One copy more for each partition that is served and has fewer instances on leaves that are online than the
/// redundancy level asks for: on the primary's pair if that can be, else on the leaf of the other group that has least.
/// Leaves of `without` get none, and what they have does not count.
#[must_use]
pub fn restore_redundancy(
    catalog: &Catalog,
    database: &Database,
    without: &BTreeSet<NodeId>,
) -> Vec<NewStep> {
    let wanted = copies(catalog, catalog.number("redundancy_level"), without);
    let is_online = |leaf: NodeId| catalog.node(leaf).is_some_and(|node| node.is_online());
    let counts = |leaf: NodeId| is_online(leaf) && !without.contains(&leaf);
    let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
    for leaf in catalog.partitions().flat_map(|partition| partition.instances().collect::<Vec<_>>()) {
        *held.entry(leaf).or_default() += 1;
    }
    let mut steps = Vec::new();
    for partition in catalog.partitions_of(database.id) {
        let served = catalog.serving(partition.id).is_some();
        if !served || partition.instances().filter(|leaf| counts(*leaf)).count() >= wanted {
            continue;
        }
        let own = catalog.node(partition.primary).and_then(|node| node.availability_group);
        let may = |leaf: &NodeId| {
            counts(*leaf) && partition.role_of(*leaf).is_none() && !catalog.is_set_aside(partition.id, *leaf)
        };
        let pair = pair_of(catalog, partition.primary).filter(may).filter(|_| !is_load_balanced(catalog));
        let other = if own == Some(1) { 2 } else { 1 };
        let others = group(catalog, other, without).into_iter().map(|node| node.id).filter(may);
        let least = others.min_by_key(|leaf| (held.get(leaf).copied().unwrap_or_default(), *leaf));
        if let Some(target) = pair.or(least) {
            *held.entry(target).or_default() += 1;
            let ordinal = partition.id.ordinal;
            steps.push(NewStep { action: PlanAction::Copy, ordinal, target, from: None, phase: COPY });
        }
    }
    steps
}
