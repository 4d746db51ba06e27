//! S9: what belongs together is all there or not at all.
//!
//! Looked at on disks, after every end and start of a process and at rest: the rows of a copy are exactly what the
//! committed log makes of them up to where the copy says it is. So of a statement over several rows of a partition there
//! are all rows or none, whatever was cut short.
//! Transactions over partitions are not simulated yet.

use std::collections::BTreeMap;

use baton_model::PartitionId;

use crate::world::{World, apply_record};

pub(super) fn whole(world: &World, me: usize, partition: PartitionId) -> Result<(), String> {
    let Some(copy) = world.leaf(me).disk.now.copies.get(&partition) else { return Ok(()) };
    let Some(chronicle) = world.checks.chronicles.get(&partition) else { return Ok(()) };
    if copy.importing {
        return Ok(());
    }
    let mut rows = BTreeMap::new();
    for record in chronicle.committed.iter().take(copy.applied.0 as usize) {
        apply_record(&mut rows, record);
    }
    if rows == copy.rows {
        return Ok(());
    }
    let id = world.nodes[me].id;
    Err(format!("{id} has rows {:?} of {partition} at {}, not {rows:?}", copy.rows, copy.applied))
}
