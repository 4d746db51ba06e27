//! How partitions are shared out among cells: what is there already is kept wherever that leaves the cells, and the
//! primaries, even.

use std::collections::{BTreeMap, VecDeque};

use crate::{Cell, Place, Present};

/// How many instances and primaries of other databases each leaf has.
pub(super) type Loads = BTreeMap<u64, (usize, usize)>;

/// How many partitions each cell gets: as even as it can be, over cells and, with `load_balanced`, over the leaves of
/// each group. What is left over goes where most is kept by it, then where other databases have least.
fn quotas(cells: &[Cell], count: usize, present: &[usize], loads: &Loads) -> Vec<usize> {
    let even = count / cells.len();
    let mut quotas = vec![even; cells.len()];
    let left = count % cells.len();
    let load = |cell: &Cell| cell.leaves.iter().map(|leaf| loads.get(leaf).map_or(0, |l| l.0)).sum::<usize>();
    let rows: Vec<u64> = distinct(cells.iter().map(|cell| cell.leaves[0]), loads);
    let columns: Vec<u64> = distinct(cells.iter().filter_map(|cell| cell.leaves.get(1).copied()), loads);
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
fn distinct(leaves: impl Iterator<Item = u64>, loads: &Loads) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
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
pub(super) fn lay_out(cells: &[Cell], present: &[Present], loads: &Loads) -> Option<Vec<Place>> {
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
    let place = |(cell, primary): (usize, u64)| Some(Place { cell: u32::try_from(cell).ok()?, primary });
    chosen.into_iter().zip(primaries).map(place).collect()
}

/// Who is primary of each partition: who is now, if it may be, then as even as can be.
fn heads(cells: &[Cell], chosen: &[usize], present: &[Present], loads: &Loads) -> Option<Vec<u64>> {
    let mut count: BTreeMap<u64, usize> = BTreeMap::new();
    for leaf in cells.iter().flat_map(|cell| &cell.leaves) {
        count.insert(*leaf, loads.get(leaf).map_or(0, |load| load.1));
    }
    let mut in_cell: BTreeMap<(usize, u64), usize> = BTreeMap::new();
    let mut primaries: Vec<Option<u64>> = Vec::new();
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
    let mut primaries: Vec<u64> = primaries.into_iter().collect::<Option<_>>()?;
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
    primaries: &[u64],
    count: &BTreeMap<u64, usize>,
) -> Option<Vec<(usize, u64)>> {
    let mut full: Vec<u64> = count.keys().copied().collect();
    full.sort_by_key(|leaf| std::cmp::Reverse(count[leaf]));
    for start in full {
        let mut came: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
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
