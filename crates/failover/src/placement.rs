//! Where the instances of a new database go: leaves are paired across the two availability groups, by position.
//!
//! With `leaf_failover_fanout = paired` the replicas of a leaf's partitions are all on its pair; with `load_balanced`
//! they are spread over all leaves of the other group. Primaries are even, so that every leaf has as many of them as
//! any other.

use std::collections::BTreeSet;
use std::fmt;

use baton_catalog::{Catalog, InstancePlacement};
use baton_model::NodeId;
use baton_policy::Present;

use crate::cells::{Cell, cells, group, is_load_balanced};
use crate::layout::{Placer, Task};

/// Why a database cannot be placed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoPlace {
    /// There is no leaf that is online.
    NoLeaf,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeaf => f.write_str("No leaf is online; add one with ADD LEAF, or see SHOW LEAVES"),
        }
    }
}

impl std::error::Error for NoPlace {}

/// The leaf of the other group that holds the replicas of this one's primaries, if `leaf_failover_fanout` is `paired`,
/// and one that would hold them otherwise. None without a second group.
#[must_use]
pub fn pair_of(catalog: &Catalog, leaf: NodeId) -> Option<NodeId> {
    let own_group = catalog.node(leaf)?.availability_group?;
    let all = BTreeSet::new();
    let own = group(catalog, own_group, &all);
    let other = group(catalog, if own_group == 1 { 2 } else { 1 }, &all);
    let position = own.iter().position(|node| node.id == leaf)?;
    other.get(position % other.len().max(1)).map(|node| node.id)
}

/// A place for each partition of a new database. Only leaves that are online get primaries; a pair that is offline gets its
/// replica all the same, and catches up when it returns.
///
/// # Errors
/// [`NoPlace`].
pub fn placement(
    catalog: &Catalog,
    database: &str,
    partitions: u32,
    redundancy: u64,
    placer: &mut Placer<'_>,
) -> Result<Vec<InstancePlacement>, NoPlace> {
    let is_online = |leaf: &NodeId| catalog.node(*leaf).is_some_and(|node| node.is_online());
    let mut usable: Vec<Cell> = cells(catalog, redundancy, &BTreeSet::new());
    for cell in &mut usable {
        cell.heads.retain(is_online);
    }
    usable.retain(|cell| !cell.heads.is_empty());
    // Where every leaf of a group can have a replica of every other, those that are offline need not have one.
    let whole = |cell: &Cell| cell.leaves.iter().all(is_online);
    if is_load_balanced(catalog) && usable.iter().any(whole) {
        usable.retain(whole);
    }
    let partitions = vec![Present::default(); partitions as usize];
    let task = Task { database, id: None, count_others: false, partitions };
    let places = placer.lay_out(catalog, task, &usable).ok_or(NoPlace::NoLeaf)?;
    let places = places.into_iter().map(|place| InstancePlacement {
        primary: place.primary,
        replicas: place.leaves.into_iter().filter(|leaf| *leaf != place.primary).collect(),
    });
    Ok(places.collect())
}
