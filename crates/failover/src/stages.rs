//! What the `maintenance` decision point is asked: which nodes are to be worked on, and what depends on each.

use std::collections::BTreeMap;

use baton_catalog::Catalog;
use baton_model::NodeId;
use baton_policy::{MaintainedNode, MaintenanceInput, MaintenancePurpose};

use crate::sight::Sight;

/// The question in which order all nodes are worked on. `master` is the master aggregator.
#[must_use]
pub fn maintenance_input(
    catalog: &Catalog,
    sight: &Sight,
    master: NodeId,
    purpose: MaintenancePurpose,
) -> MaintenanceInput {
    let mut held: BTreeMap<NodeId, (u32, u32, u32)> = BTreeMap::new();
    for partition in catalog.partitions() {
        let able: Vec<NodeId> = std::iter::once(partition.primary)
            .filter(|_| partition.has_able_primary())
            .chain(partition.promotable())
            .filter(|node| catalog.node(*node).is_some_and(|node| node.is_online()))
            .collect();
        for leaf in partition.instances() {
            let (instances, primaries, last_copies) = held.entry(leaf).or_default();
            *instances += 1;
            *primaries += u32::from(leaf == partition.primary);
            *last_copies += u32::from(able == [leaf]);
        }
    }
    let node = |node: &baton_catalog::Node| {
        let (instances, primaries, last_copies) = held.get(&node.id).copied().unwrap_or_default();
        let seen = sight.nodes.get(&node.id);
        MaintainedNode {
            node: node.id.0,
            role: node.role,
            group: node.availability_group.unwrap_or(0),
            is_master: node.id == master,
            is_voter: node.is_voter(),
            is_online: node.is_online(),
            instances,
            primaries,
            last_copies,
            flaps_last_hour: seen.map_or(0, |seen| seen.flaps_last_hour),
            in_maintenance: seen.is_some_and(|seen| seen.in_maintenance),
        }
    };
    MaintenanceInput {
        now_ms: sight.now.as_millis(),
        wall_ms: sight.wall_ms,
        seed: sight.now.0,
        purpose,
        nodes: catalog.nodes().map(node).collect(),
        ..MaintenanceInput::default()
    }
}
