//! S2: a write is acknowledged only when every member of the in-sync set has it, as durable as the database demands.
//!
//! Looked at when a leaf answers, by the catalog version that the leaf acts under, on the disks of all members. After
//! that the primary of the newest catalog has it for ever: looked at when something is acknowledged, when the catalog
//! moves, and when a disk may have lost something.

use baton_catalog::{Catalog, Partition};
use baton_model::{Lsn, NodeId, PartitionId};

use super::losses::may_lack;
use super::s4;
use crate::world::{Stored, World};

/// What counts as durable of a copy.
pub(super) fn durable(world: &World, node: usize, partition: PartitionId) -> Option<&Stored> {
    let disk = &world.leaf(node).disk;
    // While it is unsynced, the operating system has it, until the machine loses power. Once it is not, all that was ever
    // acknowledged is on the disk.
    let unsynced = world.catalog().partition(partition).is_some_and(|known| known.unsynced);
    if unsynced { disk.now.copies.get(&partition) } else { disk.synced.copies.get(&partition) }
}

/// Whether a disk is the one that the newest catalog knows; of another one nothing is expected.
pub(super) fn is_known(world: &World, node: NodeId) -> bool {
    is_known_by(world.catalog(), world, node)
}

/// Whether a disk is the one that a catalog knows.
pub(super) fn is_known_by(catalog: &Catalog, world: &World, node: NodeId) -> bool {
    catalog.node(node).is_some_and(|known| known.store == world.nodes[World::position(node)].store)
}

/// Whether a replica was taken away, and what its leaf had is removed. A primary that does not know it yet waited for it
/// and was told that it had everything; nobody counts on it any more.
pub(super) fn is_removed(world: &World, node: NodeId, partition: PartitionId) -> bool {
    let taken = world.catalog().partition(partition).is_none_or(|known| known.role_of(node).is_none());
    taken && !world.leaf(World::position(node)).disk.now.copies.contains_key(&partition)
}

pub(super) fn acknowledged(world: &World, me: usize, partition: PartitionId, lsn: Lsn) -> Result<(), String> {
    let under = world.acts_under(me);
    let Some(known) = under.partition(partition) else { return Ok(()) };
    let Some(chronicle) = world.checks.chronicles.get(&partition) else { return Ok(()) };
    if world.catalog().partition(partition).is_none() {
        return Ok(()); // It was dropped, which not everybody knows yet.
    }
    let id = world.nodes[me].id;
    // Of a replica that is Ready, S3 says at the commit that it has it, if it was Ready then. It may have become so since,
    // while the answer to a retry was on its way.
    let promotable = known.replicas.keys().copied().filter(|replica| s4::may_be_promoted(known, *replica));
    for member in std::iter::once(id).chain(promotable) {
        let position = World::position(member);
        if is_known_by(under, world, member)
            && !may_lack(world, known, member)
            && !is_removed(world, member, partition)
            && !chronicle.has(durable(world, position, partition), lsn)
        {
            return Err(format!(
                "{id} acknowledges {lsn} of {partition} at {} v{}, but {member} does not have it",
                known.epoch, known.version
            ));
        }
    }
    Ok(())
}

pub(super) fn primary_has(world: &World, known: &Partition) -> Result<(), String> {
    let Some(chronicle) = world.checks.chronicles.get(&known.id) else { return Ok(()) };
    let primary = known.primary;
    // One that may lack something goes on only if nobody may have it.
    if !known.has_able_primary() || !is_known(world, primary) || may_lack(world, known, primary) {
        return Ok(());
    }
    if chronicle.is_had_by(durable(world, World::position(primary), known.id)) {
        return Ok(());
    }
    Err(format!(
        "{primary} is primary of {} at {} v{}, but has not {}, which was acknowledged",
        known.id, known.epoch, known.version, chronicle.acknowledged
    ))
}

/// At rest, everybody who holds a partition has everything that was ever acknowledged.
pub(super) fn still_has(world: &World, me: usize, partition: PartitionId) -> Result<(), String> {
    let id = world.nodes[me].id;
    let holds = world.catalog().partition(partition).is_some_and(|known| known.role_of(id).is_some());
    let Some(chronicle) = world.checks.chronicles.get(&partition).filter(|_| holds) else { return Ok(()) };
    if world.is_given_up(partition) || chronicle.is_had_by(durable(world, me, partition)) {
        return Ok(());
    }
    Err(format!("at rest, {id} has not {} of {partition}, which was acknowledged", chronicle.acknowledged))
}
