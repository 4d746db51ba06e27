//! S4: only a replica that is Sync in the catalog may be promoted, and every such replica has all that was acknowledged.
//!
//! Looked at when the committed catalog moves, when something is acknowledged, when a log is cut, and when a disk may
//! have lost something; on the disk, and not on what the instance says of itself.

use baton_catalog::{Catalog, Partition};
use baton_model::{Lsn, NodeId, PartitionId, SyncState};

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

pub(super) fn promotable_have(world: &World, known: &Partition) -> Result<(), String> {
    let Some(chronicle) = world.checks.chronicles.get(&known.id) else { return Ok(()) };
    for (replica, _) in known.replicas.iter().filter(|(replica, _)| may_be_promoted(known, **replica)) {
        if s2::is_known(world, *replica)
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

/// Whoever counts cuts nothing that was acknowledged, not even to get it again.
pub(super) fn cut(node: NodeId, partition: PartitionId, acknowledged: Lsn, last: Lsn) -> Result<(), String> {
    if last >= acknowledged {
        return Ok(());
    }
    Err(format!("{node} counts for {partition} and cuts after {last}, but {acknowledged} was acknowledged"))
}
