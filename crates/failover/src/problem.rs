//! What is wrong, by name.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use baton_catalog::{Catalog, Partition, PlanKind, PlanStep, StepStatus};
use baton_model::{Incarnation, InstanceRole, NodeId, NodeRole, NodeState, PartitionId, StoreId, SyncState};

use crate::placement::pair_of;
use crate::sight::Sight;

/// An abnormal fact, and what is needed to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A node that the catalog counts on is judged failed.
    DeadNode {
        /// The node.
        node: NodeId,
        /// Its role.
        role: NodeRole,
        /// The detection policy's reason.
        reason: String,
    },
    /// A node answers, but the catalog does not count on it, or knows another run of it.
    ReturnedNode {
        /// The node.
        node: NodeId,
        /// The run that answers.
        incarnation: Incarnation,
        /// The data directory that it runs on.
        store: StoreId,
        /// Whether it may lack what the run before did not sync.
        lost_tail: bool,
    },
    /// A partition's primary is dead, and there are replicas that may take over.
    DeadPrimary {
        /// The partition.
        partition: PartitionId,
        /// `Sync` replicas on leaves that are well; never empty.
        candidates: Vec<NodeId>,
    },
    /// A partition's primary is dead, and nobody may take over (case 2 of the source documents).
    NoInSyncReplica {
        /// The partition.
        partition: PartitionId,
        /// Why there is nobody.
        reason: String,
    },
    /// A primary that is well waits for a replica whose leaf is dead.
    DeadReplica {
        /// The partition.
        partition: PartitionId,
        /// The leaf of the replica.
        replica: NodeId,
    },
    /// A partition has fewer instances than the redundancy level asks for, and there is a leaf for one more.
    MissingReplica {
        /// The partition.
        partition: PartitionId,
        /// The leaf that could hold it.
        leaf: NodeId,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadNode { node, role, reason } => write!(f, "Dead{role} {node}: {reason}"),
            Self::ReturnedNode { node, incarnation, .. } => write!(f, "ReturnedNode {node} as {incarnation}"),
            Self::DeadPrimary { partition, candidates } => {
                write!(f, "DeadPrimary {partition} candidates={candidates:?}")
            }
            Self::NoInSyncReplica { partition, reason } => write!(f, "NoInSyncReplica {partition}: {reason}"),
            Self::DeadReplica { partition, replica } => write!(f, "DeadReplica {partition} on {replica}"),
            Self::MissingReplica { partition, leaf } => write!(f, "MissingReplica {partition} for {leaf}"),
        }
    }
}

/// Who has answered within this is soon heard again.
const JUST_NOW: Duration = Duration::from_secs(1);

/// Everything that is wrong, nodes first. `observer` is the master aggregator itself, which judges others only.
#[must_use]
pub fn problems(catalog: &Catalog, sight: &Sight, observer: NodeId) -> Vec<Problem> {
    let mut found = Vec::new();
    // What they have may be another thing than what the catalog counts on, and their next answer says so or not.
    let mut unsettled = BTreeSet::new();
    let auto_attach = catalog.switch("auto_attach");
    for node in catalog.nodes().filter(|node| node.id != observer) {
        let Some(seen) = sight.nodes.get(&node.id) else { continue };
        let judged = match node.role {
            NodeRole::Leaf => catalog.switch("leaf_failure_detection"),
            NodeRole::Aggregator => catalog.switch("aggregator_failure_detection"),
        };
        if sight.is_failed(node.id) {
            // Whichever run it was that failed: the one that the catalog knows is gone, too.
            if node.is_online() && judged {
                let reason = seen.reason.clone();
                found.push(Problem::DeadNode { node: node.id, role: node.role, reason });
            }
        } else if sight.is_well(node.id)
            && let Some((incarnation, store)) = seen.answered_as
        {
            let changed = incarnation != node.incarnation || store != node.store;
            // A leaf that an operator took out comes back by an operator's word alone.
            let may_return =
                auto_attach && node.state != NodeState::Detached && !sight.held_back.contains_key(&node.id);
            let returns = changed && node.is_online() || !node.is_online() && may_return;
            if returns && sight.is_news(node.id) {
                let lost_tail = seen.lost_tail;
                found.push(Problem::ReturnedNode { node: node.id, incarnation, store, lost_tail });
            } else if returns {
                unsettled.insert(node.id);
            }
        }
    }
    let returning: Vec<NodeId> = found
        .iter()
        .filter_map(|problem| match problem {
            Problem::ReturnedNode { node, .. } => Some(*node),
            _ => None,
        })
        .collect();
    let answered_just_now = |node: NodeId| {
        let pong = sight.nodes.get(&node).and_then(|seen| seen.last_pong);
        unsettled.contains(&node) && pong.is_some_and(|pong| sight.now.since(pong) < JUST_NOW)
    };
    let dying: Vec<NodeId> = found
        .iter()
        .filter_map(|problem| match problem {
            Problem::DeadNode { node, .. } => Some(*node),
            _ => None,
        })
        .collect();
    let dead =
        |node: NodeId| dying.contains(&node) || !catalog.node(node).is_some_and(|known| known.is_online());
    let is_given_up = |node: NodeId| catalog.node(node).is_some_and(|known| !known.is_online());
    let redundancy = catalog.number("redundancy_level");
    for partition in catalog.partitions() {
        // What comes back, or is about to, changes what its partitions need: the next look sees it.
        if partition.instances().any(|node| returning.contains(&node) || answered_just_now(node)) {
            continue;
        }
        if !partition.has_able_primary() || dead(partition.primary) {
            found.extend(without_primary(catalog, sight, partition, &dead, &unsettled));
        } else {
            let dead_replicas = partition.in_sync_replicas().filter(|replica| {
                dead(*replica)
                    && !unsettled.contains(&partition.primary)
                    && sight.is_well_since_failure_of(partition.primary, *replica, is_given_up(*replica))
            });
            found.extend(
                dead_replicas.map(|replica| Problem::DeadReplica { partition: partition.id, replica }),
            );
            if redundancy > 1
                && partition.replicas.is_empty()
                && let Some(leaf) = pair_of(catalog, partition.primary)
                && !dead(leaf)
                && !catalog.is_set_aside(partition.id, leaf)
                && !is_planned_otherwise(catalog, partition.id, leaf)
            {
                found.push(Problem::MissingReplica { partition: partition.id, leaf });
            }
        }
    }
    found
}

/// Whether an operator's plan has to do with the partition, or empties the leaf. One that made a leaf ready for its removal
/// counts until the next plan of the database: the removal comes after its end.
fn is_planned_otherwise(catalog: &Catalog, id: PartitionId, leaf: NodeId) -> bool {
    let Some(plan) = catalog.plan_of(id.database) else { return false };
    if plan.status.is_over() {
        return plan.status == StepStatus::Success
            && plan.kind == PlanKind::RemoveLeaf
            && plan.emptied.contains(&leaf);
    }
    let is_open = |step: &PlanStep| step.partition == id && !step.status.is_over();
    plan.emptied.contains(&leaf) || catalog.plan_steps(plan.id).any(is_open)
}

/// None while it is not clear whether a candidate lives: to wait costs a moment, to promote a dead one costs the
/// partition. None, too, while the old primary may still show what it reads.
fn without_primary(
    catalog: &Catalog,
    sight: &Sight,
    partition: &Partition,
    dead: &dyn Fn(NodeId) -> bool,
    unsettled: &BTreeSet<NodeId>,
) -> Option<Problem> {
    let failed = partition.primary;
    let safe: Vec<NodeId> = partition.promotable().filter(|node| !dead(*node)).collect();
    let given_up = catalog.node(failed).is_some_and(|node| !node.is_online());
    let may_lead =
        |node: &NodeId| !unsettled.contains(node) && sight.is_well_since_failure_of(*node, failed, given_up);
    let candidates: Vec<NodeId> = safe.iter().copied().filter(may_lead).collect();
    // Checklist 11: not before it has ceased to read. A primary that came back without all
    // of its data does not read at all.
    if !candidates.is_empty() && dead(failed) && sight.may_read(failed) {
        return None;
    }
    if !candidates.is_empty() {
        return Some(Problem::DeadPrimary { partition: partition.id, candidates });
    }
    if !safe.is_empty() {
        return None;
    }
    let others: Vec<String> = partition
        .instances()
        .skip(1)
        .map(|node| {
            let state = match partition.role_of(node) {
                Some(InstanceRole::Replica(SyncState::Sync)) => "sync, but offline",
                _ => "not in sync",
            };
            format!("the replica on {} is {state}", catalog.address_of(node))
        })
        .collect();
    let what = match partition {
        Partition { primary_lost: true, .. } => "lost its data",
        Partition { primary_unsure: true, .. } if !dead(failed) => "may have lost what it had not synced",
        _ => "is offline",
    };
    let reason = format!(
        "the primary on {} {what}, and {}",
        catalog.address_of(failed),
        if others.is_empty() { "there is no replica".to_owned() } else { others.join(", ") }
    );
    Some(Problem::NoInSyncReplica { partition: partition.id, reason })
}
