//! Where the instances of a new database go: leaves are paired across the two availability groups, by position.
//!
//! The replicas of a leaf's partitions are all on its pair, and primaries alternate between the groups, so that every
//! leaf has as many primaries as replicas.

use std::fmt;

use baton_catalog::{Catalog, InstancePlacement, Node};
use baton_model::NodeId;

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

fn group(catalog: &Catalog, wanted: u32) -> Vec<&Node> {
    catalog.leaves().filter(|leaf| leaf.availability_group == Some(wanted)).collect()
}

/// The leaf of the other group that holds the replicas of this one's primaries. None without a second group.
#[must_use]
pub fn pair_of(catalog: &Catalog, leaf: NodeId) -> Option<NodeId> {
    let own_group = catalog.node(leaf)?.availability_group?;
    let own = group(catalog, own_group);
    let other = group(catalog, if own_group == 1 { 2 } else { 1 });
    let position = own.iter().position(|node| node.id == leaf)?;
    other.get(position % other.len().max(1)).map(|node| node.id)
}

/// A place for each of these partitions. Only leaves that are online get primaries; a pair that is offline gets its
/// replica all the same, and catches up when it returns.
///
/// # Errors
/// [`NoPlace`].
pub fn placement(
    catalog: &Catalog,
    partitions: u32,
    redundancy: u64,
) -> Result<Vec<InstancePlacement>, NoPlace> {
    let mut by_pair: Vec<Vec<NodeId>> = Vec::new();
    let (first, second) = (group(catalog, 1), group(catalog, 2));
    for position in 0..first.len().max(second.len()) {
        // Both of a pair take their turn as primary.
        let turn = [first.get(position), second.get(position)];
        by_pair
            .push(turn.into_iter().flatten().filter(|node| node.is_online()).map(|node| node.id).collect());
    }
    by_pair.retain(|pair| !pair.is_empty());
    if by_pair.is_empty() {
        return Err(NoPlace::NoLeaf);
    }
    let pairs = by_pair.len();
    Ok((0..partitions as usize)
        .map(|ordinal| {
            let pair = &by_pair[ordinal % pairs];
            let primary = pair[(ordinal / pairs) % pair.len()];
            let replica = if redundancy > 1 { pair_of(catalog, primary) } else { None };
            InstancePlacement { primary, replicas: replica.into_iter().collect() }
        })
        .collect())
}
