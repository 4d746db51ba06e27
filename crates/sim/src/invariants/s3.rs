//! S3: a primary stops waiting for a replica only after it has applied the catalog command that made it Async.
//!
//! Looked at when a primary commits: whoever is Ready or Sync in the catalog that the leaf acts under must have it. That
//! catalog is durable, so that the primary waits after a crash as well.

use baton_model::{Lsn, NodeId, PartitionId};

use super::losses::may_lack;
use super::s2;
use crate::world::World;

pub(super) fn committed(world: &World, me: usize, partition: PartitionId, lsn: Lsn) -> Result<(), String> {
    let leaf = world.leaf(me);
    let id = world.nodes[me].id;
    if leaf.disk.synced.mirror < leaf.mirror {
        return Err(format!("{id} acts under a catalog that is not on its disk"));
    }
    let under = world.acts_under(me);
    let Some(known) = under.partition(partition) else { return Ok(()) };
    if world.catalog().partition(partition).is_none() {
        return Ok(()); // It was dropped, which not everybody knows yet.
    }
    let Some(chronicle) = world.checks.chronicles.get(&partition) else { return Ok(()) };
    let expected = |replica: &NodeId| *replica != id && s2::is_known_by(under, world, *replica);
    for replica in known.in_sync_replicas().filter(expected) {
        let has = chronicle.has(s2::durable(world, World::position(replica), partition), lsn);
        if !has && !may_lack(world, known, replica) && !s2::is_removed(world, replica, partition) {
            return Err(format!(
                "{id} commits {lsn} of {partition} without {replica}, which is not async at {} v{}",
                known.epoch, known.version
            ));
        }
    }
    Ok(())
}
