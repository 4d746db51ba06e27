//! S4: only a replica that is Sync in the catalog may be promoted, and every such replica has all that was acknowledged.
//!
//! Looked at when the committed catalog moves, when something is acknowledged, when a log is cut, and when a disk may
//! have lost something; on the disk, and not on what the instance says of itself.

use baton_catalog::{Catalog, Command, Partition};
use baton_failover::{Plan, Sight};
use baton_model::{Lsn, NodeId, PartitionId, SyncState};

use super::losses::may_lack;
use super::s2;
use crate::world::World;

/// Said here once more, so that a mistake in the catalog is not a mistake of its check.
pub(super) fn may_be_promoted(known: &Partition, node: NodeId) -> bool {
    known.replicas.get(&node) == Some(&SyncState::Sync)
}

/// A partition changes hands only to a replica that was Sync.
pub(super) fn moved(catalog: &Catalog, before: Option<&Partition>, after: &Partition) -> Result<(), String> {
    let Some(before) = before.filter(|before| before.primary != after.primary) else { return Ok(()) };
    if may_be_promoted(before, after.primary) {
        return Ok(());
    }
    Err(format!(
        "at {} {} took over {} from {}, but was {:?}",
        catalog.index(),
        after.primary,
        after.id,
        before.primary,
        before.replicas.get(&after.primary)
    ))
}

/// A primary is said to have lost its data only if the disk is gone that the catalog knew.
pub(super) fn lost(
    world: &World,
    catalog: &Catalog,
    before: Option<&Partition>,
    after: &Partition,
) -> Result<(), String> {
    let node = after.primary;
    let is_new = after.primary_lost && before.is_some_and(|before| !before.primary_lost);
    let known = catalog.node(node).map(|known| known.store);
    if !is_new || known != Some(world.nodes[World::position(node)].store) {
        return Ok(());
    }
    Err(format!("{node} is said to have lost its data of {}, and has it", after.id))
}

pub(super) fn promotable_have(world: &World, known: &Partition) -> Result<(), String> {
    let Some(chronicle) = world.checks.chronicles.get(&known.id) else { return Ok(()) };
    for (replica, _) in known.replicas.iter().filter(|(replica, _)| may_be_promoted(known, **replica)) {
        if s2::is_known(world, *replica)
            && !may_lack(world, known, *replica)
            && !chronicle.is_had_by(s2::durable(world, World::position(*replica), known.id))
        {
            return Err(format!(
                "{replica} of {} may be promoted at {} v{}, but has not {}, which was acknowledged",
                known.id, known.epoch, known.version, chronicle.acknowledged
            ));
        }
    }
    Ok(())
}

/// A plan counts on nobody whom its maker has heard as another run than the catalog knows: neither to take over, nor to go
/// on alone.
pub(super) fn planned(catalog: &Catalog, sight: &Sight, plan: &Plan) -> Result<(), String> {
    let mut counted = plan.commands.iter().filter_map(|command| match command {
        Command::PromoteInstance { to, .. } => Some(*to),
        Command::SetSyncState { partition, .. } => catalog.partition(*partition).map(|known| known.primary),
        _ => None,
    });
    let is_another = |node: &NodeId| {
        let known = catalog.node(*node).map(|known| (known.incarnation, known.store));
        sight.nodes.get(node).is_some_and(|seen| seen.answered_as.is_some() && seen.answered_as != known)
    };
    match counted.find(is_another) {
        Some(node) => {
            Err(format!("a plan counts on {node}, which answers as another run: {:?}", plan.commands))
        }
        None => Ok(()),
    }
}

/// Whoever counts cuts nothing that was acknowledged, not even to get it again.
pub(super) fn cut(node: NodeId, partition: PartitionId, acknowledged: Lsn, last: Lsn) -> Result<(), String> {
    if last >= acknowledged {
        return Ok(());
    }
    Err(format!("{node} counts for {partition} and cuts after {last}, but {acknowledged} was acknowledged"))
}
