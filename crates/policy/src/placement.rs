//! The decision point `placement`: which leaves hold the partitions of a database, and which of them its primaries.
//!
//! Asked by the master aggregator when a database is created, rebalanced, or moved off a leaf. The cells are those that
//! the cluster has proved safe; a policy shares the partitions out among them and cannot add one. The way there (copies
//! first, then primaries, then what is dropped) is not asked: no order of steps may leave fewer copies than there were.

use serde::{Deserialize, Serialize};

use crate::rejection::check_reason;
use crate::{Rejection, Settings, Vitals};

/// One database whose partitions are to be shared out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PlacementInput {
    /// The master aggregator's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The asking node's wall clock, in milliseconds since 1970 UTC: for the hour of the day, not for durations.
    pub wall_ms: u64,
    /// The settings of the binding.
    pub settings: Settings,
    /// A number that is different at every decision; the only randomness there is.
    pub seed: u64,
    /// The name of the database.
    pub database: String,
    /// Whether the database is new: none of its partitions is anywhere yet.
    pub is_new: bool,
    /// Whether what the leaves have of other databases is to count (`REBALANCE ALL DATABASES`).
    pub count_others: bool,
    /// The leaves that may hold a partition together, at least one such cell.
    pub cells: Vec<Cell>,
    /// What is known of each leaf of the cells, by id.
    pub leaves: Vec<LeafLoad>,
    /// Where each partition is now, by ordinal.
    pub partitions: Vec<Present>,
}

/// Leaves that may hold a partition together.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cell {
    /// One leaf, or one of each availability group.
    pub leaves: Vec<u64>,
    /// Those of them that may be the primary, at least one.
    pub heads: Vec<u64>,
}

/// What is known of a leaf that may get partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LeafLoad {
    /// The leaf.
    pub node: u64,
    /// Its availability group.
    pub group: u32,
    /// How many instances of other databases it has.
    pub instances: u32,
    /// How many of these are primaries.
    pub primaries: u32,
    /// How often it failed and came back within the last hour.
    pub flaps_last_hour: u32,
    /// What it said of itself in its last pong; none before the first.
    pub vitals: Option<Vitals>,
    /// Whether an operator marked it as being worked on.
    pub in_maintenance: bool,
}

/// Where the instances of a partition are now, as far as they may stay.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Present {
    /// The leaves.
    pub leaves: Vec<u64>,
    /// The leaf of the primary; none if the partition is new. It may be one that is to be emptied.
    pub primary: Option<u64>,
}

/// Where the instances of a partition are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// The number of the cell, from 0.
    pub cell: u32,
    /// The leaf of the primary, a head of that cell.
    pub primary: u64,
}

/// A place for each partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PlacementVerdict {
    /// The places, in the order of the partitions.
    pub places: Vec<Place>,
    /// Why, in a few words. At most 1 KiB.
    pub reason: String,
}

/// Accepts a place for each partition, in a cell that was offered, with one of its heads as primary, within the limits.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate_placement(input: &PlacementInput, verdict: &PlacementVerdict) -> Result<(), Rejection> {
    check_reason(&verdict.reason)?;
    if verdict.places.len() != input.partitions.len() {
        return Err(Rejection::WrongPlaces(verdict.places.len(), input.partitions.len()));
    }
    for place in &verdict.places {
        let Some(cell) = input.cells.get(place.cell as usize) else {
            return Err(Rejection::NoCell(place.cell));
        };
        if !cell.heads.contains(&place.primary) {
            return Err(Rejection::NoHead(place.primary, place.cell));
        }
    }
    Ok(())
}
