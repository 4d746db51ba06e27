//! Which leaves may hold the instances of one partition together.
//!
//! A [`Cell`] is one leaf, or one leaf of each availability group. `paired` has a cell for each pair of leaves;
//! `load_balanced` one for every two leaves of different groups, so that what one leaf serves is copied by all leaves
//! of the other group. How partitions are shared out among cells is for the `placement` policy to say
//! ([`crate::layout`]).

use std::collections::BTreeSet;

use baton_catalog::{Catalog, Node};
use baton_model::NodeId;

/// Leaves that hold a partition together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    /// One leaf, or two of different groups.
    pub(crate) leaves: Vec<NodeId>,
    /// Those of them that may be the primary.
    pub(crate) heads: Vec<NodeId>,
}

/// The leaves of an availability group, by id, without some.
pub(crate) fn group<'a>(catalog: &'a Catalog, wanted: u32, without: &BTreeSet<NodeId>) -> Vec<&'a Node> {
    catalog
        .leaves()
        .filter(|leaf| leaf.availability_group == Some(wanted) && !without.contains(&leaf.id))
        .collect()
}

/// How many copies of a partition there can be: the redundancy level, as far as there are groups.
pub(crate) fn copies(catalog: &Catalog, redundancy: u64, without: &BTreeSet<NodeId>) -> usize {
    let groups = [1, 2].into_iter().filter(|wanted| !group(catalog, *wanted, without).is_empty()).count();
    groups.min(usize::try_from(redundancy).unwrap_or(1)).max(1)
}

/// Whether replicas are spread over the other group.
pub(crate) fn is_load_balanced(catalog: &Catalog) -> bool {
    catalog.variable("leaf_failover_fanout").is_some_and(|fanout| fanout == "load_balanced")
}

/// All cells, in a fixed order, whichever of their leaves are online.
pub(crate) fn cells(catalog: &Catalog, redundancy: u64, without: &BTreeSet<NodeId>) -> Vec<Cell> {
    let ids = |wanted| group(catalog, wanted, without).into_iter().map(|node| node.id).collect::<Vec<_>>();
    let (first, second) = (ids(1), ids(2));
    if copies(catalog, redundancy, without) < 2 {
        let alone = |leaf: &NodeId| Cell { leaves: vec![*leaf], heads: vec![*leaf] };
        return first.iter().chain(&second).map(alone).collect();
    }
    let mut cells = Vec::new();
    if is_load_balanced(catalog) {
        for a in &first {
            for b in &second {
                cells.push(Cell { leaves: vec![*a, *b], heads: vec![*a, *b] });
            }
        }
        return cells;
    }
    // A leaf without a pair of its own shares one, which has its own replicas elsewhere.
    for position in 0..first.len().max(second.len()) {
        let (a, b) = (first[position % first.len()], second[position % second.len()]);
        let mut heads = Vec::new();
        if position < first.len() {
            heads.push(a);
        }
        if position < second.len() {
            heads.push(b);
        }
        cells.push(Cell { leaves: vec![a, b], heads });
    }
    cells
}
