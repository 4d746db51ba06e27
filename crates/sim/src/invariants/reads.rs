//! Reads: while reads need leases, a read that begins after somebody was told something shows no less than that, whoever
//! was told, and through whichever connection. What was told is a write's acknowledgement or another read's answer.
//!
//! Looked at when a client gets its row. Leases measure time, so a world in which the clock of a lender jumps may show
//! the past for a moment; a leaf whose clock jumps, or who sleeps, may not.
//! With `leaf_read_lease = OFF` only a connection sees nothing less than it saw before; that is looked at where the
//! clients are, in every world.

use std::collections::BTreeMap;

use baton_model::PartitionId;

/// A row of a partition.
type Place = (PartitionId, u64);

/// What anybody was told of each row: how often it was written.
#[derive(Debug, Default)]
pub struct Reads(BTreeMap<Place, u64>);

impl Reads {
    /// Somebody was told this.
    pub fn told(&mut self, place: Place, count: u64) {
        let known = self.0.entry(place).or_default();
        *known = count.max(*known);
    }

    /// A partition has lost something: so much of each row is left.
    pub(super) fn lost(&mut self, partition: PartitionId, left: impl Fn(Place) -> u64) {
        for (place, known) in self.0.iter_mut().filter(|(place, _)| place.0 == partition) {
            *known = left(*place).min(*known);
        }
    }

    /// What somebody knows by now; a read that begins now shows no less.
    #[must_use]
    pub fn known(&self, place: Place) -> u64 {
        self.0.get(&place).copied().unwrap_or_default()
    }
}

/// A read that began when somebody knew so much has shown this.
pub(super) fn shown((partition, key): Place, at_least: u64, count: u64) -> Result<(), String> {
    if count >= at_least {
        return Ok(());
    }
    Err(format!("row {key} of {partition} is read as {count}, and somebody knew of {at_least} before that"))
}

#[cfg(test)]
mod tests {
    use baton_model::DatabaseId;

    use super::*;

    const PLACE: Place = (PartitionId { database: DatabaseId(1), ordinal: 0 }, 7);

    #[test]
    fn a_read_of_the_past_is_found() {
        let mut reads = Reads::default();
        assert_eq!(reads.known(PLACE), 0);
        reads.told(PLACE, 3);
        reads.told(PLACE, 2);
        assert_eq!(reads.known(PLACE), 3);
        assert!(shown(PLACE, reads.known(PLACE), 2).is_err());
        assert_eq!(shown(PLACE, reads.known(PLACE), 3), Ok(()));
    }
}
