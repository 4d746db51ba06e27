//! Data on leaves that the catalog gives to nobody, or not to them.
//!
//! It is there after a leaf came back when its instance had been given to another one, after an operator named another
//! primary, or when a plan took a replica away and its leaf could not be told.
//! * S7: it may be the last copy that there is, so it goes by an operator's word alone, and not while its partition has
//!   no primary that serves.

use baton_catalog::Catalog;
use baton_model::{NodeId, PartitionId};

/// Those of these that the catalog does not give to the leaf that has them. What belongs to a database that was dropped
/// is no orphan: its leaf removes it by itself.
#[must_use]
pub fn orphans(
    catalog: &Catalog,
    held: impl IntoIterator<Item = (NodeId, PartitionId)>,
) -> Vec<(NodeId, PartitionId)> {
    held.into_iter()
        .filter(|(node, partition)| {
            catalog.partition(*partition).is_some_and(|known| known.role_of(*node).is_none())
        })
        .collect()
}

/// Whether what a leaf has of a partition may be removed, by an operator's word.
#[must_use]
pub fn may_clear(catalog: &Catalog, node: NodeId, partition: PartitionId) -> bool {
    let orphaned = catalog.partition(partition).is_none_or(|known| known.role_of(node).is_none());
    orphaned && (catalog.partition(partition).is_none() || catalog.serving(partition).is_some())
}
