//! How partitions are shared out among cells: the `placement` decision point says.
//!
//! The cells are those that may hold a partition; a policy gives each partition one of them and one of its heads, and can
//! add none (S8). That it is asked about balance and nothing else leaves the safety of every move where it was: in the
//! order of a plan's steps, and in what each step requires.

use std::collections::BTreeMap;
use std::fmt;

use baton_catalog::Catalog;
use baton_model::{DatabaseId, NodeId};
use baton_policy::{LeafLoad, PlacementInput, Present};

use crate::ask::{Answer, Ask};
use crate::cells::Cell;
use crate::sight::Sight;

/// Who shares partitions out, and what is known of the leaves.
pub struct Placer<'a> {
    /// What is known of the leaves.
    pub sight: &'a Sight,
    /// The policy.
    pub policy: &'a mut dyn Ask<PlacementInput>,
}

impl fmt::Debug for Placer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placer").field("sight", self.sight).finish_non_exhaustive()
    }
}

/// Where the instances of a partition are to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) leaves: Vec<NodeId>,
    pub(crate) primary: NodeId,
}

/// What is to be shared out.
pub(crate) struct Task<'a> {
    /// The name of the database.
    pub(crate) database: &'a str,
    /// Its id; None if it is new.
    pub(crate) id: Option<DatabaseId>,
    /// Whether what the leaves have of other databases counts.
    pub(crate) count_others: bool,
    /// Where each partition is now.
    pub(crate) partitions: Vec<Present>,
}

impl Placer<'_> {
    /// A place for each partition. None without any cell.
    pub(crate) fn lay_out(
        &mut self,
        catalog: &Catalog,
        task: Task<'_>,
        cells: &[Cell],
    ) -> Option<Vec<Place>> {
        if cells.is_empty() {
            return None;
        }
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
        let question = PlacementInput {
            now_ms: self.sight.now.as_millis(),
            wall_ms: self.sight.wall_ms,
            seed: catalog.index().0.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            database: task.database.to_owned(),
            is_new: task.id.is_none(),
            count_others: task.count_others,
            cells: cells
                .iter()
                .map(|cell| baton_policy::Cell { leaves: ids(&cell.leaves), heads: ids(&cell.heads) })
                .collect(),
            leaves: self.loads(catalog, task.id, cells),
            partitions: task.partitions,
            ..PlacementInput::default()
        };
        let Answer { verdict, .. } = self.policy.ask(question);
        // S8: taken only if it was offered.
        let place = |place: &baton_policy::Place| {
            let cell = cells.get(place.cell as usize)?;
            let primary = NodeId(place.primary);
            cell.heads.contains(&primary).then(|| Place { leaves: cell.leaves.clone(), primary })
        };
        verdict.places.iter().map(place).collect()
    }

    /// What the leaves of the cells have of other databases, and how they are.
    fn loads(&self, catalog: &Catalog, than: Option<DatabaseId>, cells: &[Cell]) -> Vec<LeafLoad> {
        let mut loads: BTreeMap<NodeId, LeafLoad> = BTreeMap::new();
        for leaf in cells.iter().flat_map(|cell| &cell.leaves) {
            let seen = self.sight.nodes.get(leaf);
            loads.entry(*leaf).or_insert_with(|| LeafLoad {
                node: leaf.0,
                group: catalog.node(*leaf).and_then(|node| node.availability_group).unwrap_or(0),
                instances: 0,
                primaries: 0,
                flaps_last_hour: seen.map_or(0, |seen| seen.flaps_last_hour),
                vitals: seen.and_then(|seen| seen.vitals),
                in_maintenance: seen.is_some_and(|seen| seen.in_maintenance),
            });
        }
        for partition in catalog.partitions().filter(|partition| Some(partition.id.database) != than) {
            for leaf in partition.instances() {
                if let Some(load) = loads.get_mut(&leaf) {
                    load.instances += 1;
                    load.primaries += u32::from(leaf == partition.primary);
                }
            }
        }
        loads.into_values().collect()
    }
}
