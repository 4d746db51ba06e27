//! In which order nodes are worked on.

use std::collections::BTreeMap;

use baton_model::NodeRole;

use crate::{MaintainedNode, MaintenanceInput, MaintenancePurpose, MaintenanceStage, MaintenanceVerdict};

/// The stages of a restart, a stop or a start.
pub(super) fn stages(input: &MaintenanceInput) -> MaintenanceVerdict {
    let of = |wanted: fn(&&MaintainedNode) -> bool| input.nodes.iter().filter(wanted).collect::<Vec<_>>();
    let leaves = of(|node| node.role == NodeRole::Leaf);
    let children = of(|node| node.role == NodeRole::Aggregator && !node.is_master);
    let master = of(|node| node.is_master);
    let together = |nodes: &[&MaintainedNode], reason: &str| stage(nodes.iter().copied(), reason);
    let alone = |nodes: &[&MaintainedNode], reason: &str| -> Vec<MaintenanceStage> {
        nodes.iter().map(|node| stage([*node], reason)).collect()
    };
    let (stages, reason) = match input.purpose {
        MaintenancePurpose::Restart => {
            let mut stages = by_group(&leaves);
            stages.extend(alone(&children, "one aggregator after the other keeps the majority"));
            stages.extend(alone(&master, "the master aggregator last: it is handed over once"));
            (stages, "one availability group after the other, then the aggregators")
        }
        MaintenancePurpose::Stop => {
            let stages = vec![
                together(&master, "nothing is failed over any more"),
                together(&children, "no statement comes any more"),
                together(&leaves, "nobody asks them any more"),
            ];
            (stages, "master aggregator, children, leaves")
        }
        MaintenancePurpose::Start => {
            let stages = vec![
                together(&leaves, "they recover their data before anybody asks"),
                together(&children, "the leaves are there"),
                together(&master, "the master aggregator last: nothing is failed over meanwhile"),
            ];
            (stages, "leaves, children, master aggregator")
        }
    };
    let stages = stages.into_iter().filter(|stage| !stage.nodes.is_empty()).collect();
    MaintenanceVerdict { stages, reason: reason.to_owned() }
}

/// The leaves of one group after those of the other; one leaf after the other in a group of which a leaf has the only
/// copy of something.
fn by_group(leaves: &[&MaintainedNode]) -> Vec<MaintenanceStage> {
    let mut groups: BTreeMap<u32, Vec<&MaintainedNode>> = BTreeMap::new();
    for leaf in leaves {
        groups.entry(leaf.group).or_default().push(*leaf);
    }
    let mut stages = Vec::new();
    for (group, leaves) in groups {
        if leaves.iter().any(|leaf| leaf.last_copies > 0) {
            let reason =
                format!("a leaf of group {group} has the only copy of something: one after the other");
            stages.extend(leaves.into_iter().map(|leaf| stage([leaf], &reason)));
        } else {
            stages.push(stage(leaves, &format!("group {group} at once: the other one serves")));
        }
    }
    stages
}

fn stage<'a>(nodes: impl IntoIterator<Item = &'a MaintainedNode>, reason: &str) -> MaintenanceStage {
    MaintenanceStage { nodes: nodes.into_iter().map(|node| node.node).collect(), reason: reason.to_owned() }
}
