//! S7: the last copy of a partition is never dropped by automation.
//!
//! Looked at when an instance throws its copy away to take another, when a leaf removes what the catalog does not give
//! to it, and when a plan is made. Somebody else must have, on
//! a disk, all that was acknowledged; and a copy that may be promoted is never thrown away.

use baton_catalog::Command;
use baton_failover::Plan;
use baton_model::PartitionId;

use super::losses::kept;
use super::{s2, s4};
use crate::world::World;

pub(super) fn wiped(world: &World, me: usize, partition: PartitionId) -> Result<(), String> {
    let id = world.nodes[me].id;
    let here = world.leaf(me).disk.now.copies.get(&partition);
    if here.is_none_or(|copy| copy.importing || copy.applied.0 == 0) {
        return Ok(());
    }
    let known = world.catalog().partition(partition);
    if world.counts_on(me, partition) && known.is_some_and(|known| s4::may_be_promoted(known, id)) {
        return Err(format!("{id} throws its copy of {partition} away, and may be promoted"));
    }
    let Some(chronicle) = world.checks.chronicles.get(&partition) else { return Ok(()) };
    let is_member = |other: usize| world.catalog().node(world.nodes[other].id).is_some();
    let has = |other: usize| {
        is_member(other) && chronicle.is_had_by(world.leaf(other).disk.now.copies.get(&partition))
    };
    if world.checks.losses.is_bereft(partition) {
        return Err(format!("{id} throws its copy of {partition} away while nobody has all of it"));
    }
    if chronicle.is_had_by(here) && !world.leaves().any(|other| other != me && has(other)) {
        return Err(format!("{id} throws its copy of {partition} away, and nobody else has it"));
    }
    Ok(())
}

/// What the catalog gives to nobody here goes only while somebody who counts has all that was acknowledged.
pub(super) fn removed(world: &World, me: usize, partition: PartitionId) -> Result<(), String> {
    let id = world.nodes[me].id;
    let Some(known) = world.catalog().partition(partition) else { return Ok(()) };
    if known.role_of(id).is_some() {
        return Err(format!("{id} removes its copy of {partition}, which the catalog gives to it"));
    }
    let Some(chronicle) = world.checks.chronicles.get(&partition) else { return Ok(()) };
    let has = |other: usize| {
        let has_all = chronicle.is_had_by(s2::durable(world, other, partition));
        // Where nobody has all any more, whoever counts goes on with what it has.
        let node = world.nodes[other].id;
        let least = world.checks.losses.least(partition, node);
        let has_enough = least.is_some_and(|least| kept(world, chronicle, node) >= least);
        world.counts_on(other, partition) && (has_all || has_enough)
    };
    if world.leaves().any(|other| other != me && has(other)) {
        return Ok(());
    }
    Err(format!("{id} removes its copy of {partition}, and nobody who counts has it"))
}

/// No plan against a problem removes anything.
pub(super) fn planned(plan: &Plan) -> Result<(), String> {
    let removes = plan.commands.iter().find(|command| {
        matches!(
            command,
            Command::DropDatabase { .. } | Command::DropTable { .. } | Command::RemoveNode { .. }
        )
    });
    match removes {
        Some(command) => Err(format!("a plan has {command:?}")),
        None => Ok(()),
    }
}
