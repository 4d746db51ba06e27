//! Which leaves may hold the instances of one partition together, and how partitions are shared out among them.
//!
//! A [`Cell`] is one leaf, or one leaf of each availability group. `paired` has a cell for each pair of leaves;
//! `load_balanced` one for every two leaves of different groups, so that what one leaf serves is copied by all leaves
//! of the other group. To place partitions is to give each one a cell and one of its heads; what is there already is
//! kept wherever that leaves the cells, and the primaries, even.
//!
//! Everything is a function of the catalog: the same catalog gives the same layout.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

/// Where the instances of a partition are to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) leaves: Vec<NodeId>,
    pub(crate) primary: NodeId,
}

/// Where the instances of a partition are now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Present {
    pub(crate) leaves: Vec<NodeId>,
    pub(crate) primary: Option<NodeId>,
}

/// How many instances and primaries of other databases each leaf has.
pub(crate) type Loads = BTreeMap<NodeId, (usize, usize)>;

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

/// How many partitions each cell gets: as even as it can be, over cells and, with `load_balanced`, over the leaves of
/// each group. What is left over goes where most is kept by it, then where other databases have least.
fn quotas(cells: &[Cell], count: usize, present: &[usize], loads: &Loads) -> Vec<usize> {
    let even = count / cells.len();
    let mut quotas = vec![even; cells.len()];
    let left = count % cells.len();
    let load = |cell: &Cell| cell.leaves.iter().map(|leaf| loads.get(leaf).map_or(0, |l| l.0)).sum::<usize>();
    let rows: Vec<NodeId> = distinct(cells.iter().map(|cell| cell.leaves[0]), loads);
    let columns: Vec<NodeId> = distinct(cells.iter().filter_map(|cell| cell.leaves.get(1).copied()), loads);
    let is_matrix = !columns.is_empty() && rows.len() * columns.len() == cells.len() && rows.len() > 1;
    if is_matrix && columns.len() > 1 {
        // Along diagonals, so that no row and no column gets two more than another.
        let turn = lcm(rows.len(), columns.len());
        for k in 0..left {
            let (a, b) = (rows[k % rows.len()], columns[(k + k / turn) % columns.len()]);
            if let Some(cell) = cells.iter().position(|cell| cell.leaves == [a, b]) {
                quotas[cell] += 1;
            }
        }
        return quotas;
    }
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|cell| (present[*cell] <= even, load(&cells[*cell]), *cell));
    for cell in order.into_iter().take(left) {
        quotas[cell] += 1;
    }
    quotas
}

/// Each once: those with the least load first, else in their order.
fn distinct(leaves: impl Iterator<Item = NodeId>, loads: &Loads) -> Vec<NodeId> {
    let mut found: Vec<NodeId> = Vec::new();
    for leaf in leaves {
        if !found.contains(&leaf) {
            found.push(leaf);
        }
    }
    found.sort_by_key(|leaf| loads.get(leaf).map_or(0, |load| load.0));
    found
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

/// A place for each partition. None without any cell.
pub(crate) fn lay_out(cells: &[Cell], present: &[Present], loads: &Loads) -> Option<Vec<Place>> {
    if cells.is_empty() {
        return None;
    }
    let whole = |cell: &Cell, at: &Present| cell.leaves.iter().all(|leaf| at.leaves.contains(leaf));
    let here: Vec<usize> =
        cells.iter().map(|cell| present.iter().filter(|at| whole(cell, at)).count()).collect();
    let quotas = quotas(cells, present.len(), &here, loads);
    let mut filled = vec![0; cells.len()];
    let mut chosen: Vec<Option<usize>> = vec![None; present.len()];
    // What is where it may be stays there.
    for (partition, at) in present.iter().enumerate() {
        let stays = (0..cells.len()).find(|cell| filled[*cell] < quotas[*cell] && whole(&cells[*cell], at));
        if let Some(cell) = stays {
            filled[cell] += 1;
            chosen[partition] = Some(cell);
        }
    }
    // The rest goes where most of it is, its primary above all; then round and round.
    for (partition, at) in present.iter().enumerate() {
        if chosen[partition].is_some() {
            continue;
        }
        let cell = (0..cells.len()).filter(|cell| filled[*cell] < quotas[*cell]).max_by_key(|cell| {
            let leaves = &cells[*cell].leaves;
            let overlap = leaves.iter().filter(|leaf| at.leaves.contains(leaf)).count();
            let heads = at.primary.is_some_and(|primary| leaves.contains(&primary));
            (overlap, heads, std::cmp::Reverse((filled[*cell], *cell)))
        })?;
        filled[cell] += 1;
        chosen[partition] = Some(cell);
    }
    let chosen: Vec<usize> = chosen.into_iter().collect::<Option<_>>()?;
    let primaries = heads(cells, &chosen, present, loads)?;
    let place = |(cell, primary): (&usize, NodeId)| Place { leaves: cells[*cell].leaves.clone(), primary };
    Some(chosen.iter().zip(primaries).map(place).collect())
}

/// Who is primary of each partition: who is now, if it may be, then as even as can be.
fn heads(cells: &[Cell], chosen: &[usize], present: &[Present], loads: &Loads) -> Option<Vec<NodeId>> {
    let mut count: BTreeMap<NodeId, usize> = BTreeMap::new();
    for leaf in cells.iter().flat_map(|cell| &cell.leaves) {
        count.insert(*leaf, loads.get(leaf).map_or(0, |load| load.1));
    }
    let mut in_cell: BTreeMap<(usize, NodeId), usize> = BTreeMap::new();
    let mut primaries: Vec<Option<NodeId>> = Vec::new();
    for (cell, at) in chosen.iter().zip(present) {
        let stays = at.primary.filter(|primary| cells[*cell].heads.contains(primary));
        if let Some(leaf) = stays {
            *in_cell.entry((*cell, leaf)).or_default() += 1;
            *count.entry(leaf).or_default() += 1;
        }
        primaries.push(stays);
    }
    for (partition, cell) in chosen.iter().enumerate() {
        if primaries[partition].is_some() {
            continue;
        }
        let at = &present[partition];
        let leaf = cells[*cell].heads.iter().copied().enumerate().min_by_key(|(order, leaf)| {
            let alike = in_cell.get(&(*cell, *leaf)).copied().unwrap_or_default();
            (!at.leaves.is_empty() && !at.leaves.contains(leaf), alike, count[leaf], *order)
        });
        let (_, leaf) = leaf?;
        *in_cell.entry((*cell, leaf)).or_default() += 1;
        *count.entry(leaf).or_default() += 1;
        primaries[partition] = Some(leaf);
    }
    let mut primaries: Vec<NodeId> = primaries.into_iter().collect::<Option<_>>()?;
    while let Some(path) = uneven(cells, chosen, &primaries, &count) {
        for (partition, to) in path {
            if let Some(from) = count.get_mut(&primaries[partition]) {
                *from -= 1;
            }
            *count.entry(to).or_default() += 1;
            primaries[partition] = to;
        }
    }
    Some(primaries)
}

/// The shortest way to move primaries, each within its cell, from a leaf to one that has two fewer at least.
fn uneven(
    cells: &[Cell],
    chosen: &[usize],
    primaries: &[NodeId],
    count: &BTreeMap<NodeId, usize>,
) -> Option<Vec<(usize, NodeId)>> {
    let mut full: Vec<NodeId> = count.keys().copied().collect();
    full.sort_by_key(|leaf| std::cmp::Reverse(count[leaf]));
    for start in full {
        let mut came: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(leaf) = queue.pop_front() {
            if count[&leaf] + 2 <= count[&start] {
                let mut path = Vec::new();
                let mut at = leaf;
                while at != start {
                    let (partition, before) = came[&at];
                    path.push((partition, at));
                    at = before;
                }
                return Some(path);
            }
            for (partition, cell) in chosen.iter().enumerate() {
                if primaries[partition] != leaf {
                    continue;
                }
                for other in &cells[*cell].heads {
                    if *other != start && !came.contains_key(other) {
                        came.insert(*other, (partition, leaf));
                        queue.push_back(*other);
                    }
                }
            }
        }
    }
    None
}
