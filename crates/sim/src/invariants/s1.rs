//! S1: at most one primary for each partition and epoch; an epoch moves only by a committed catalog command.
//!
//! Looked at when an instance begins to serve, when it writes down an epoch, and when the committed catalog moves.
//! One run of one process may serve in an epoch: a restarted primary needs a new one, or two logs could differ in it.

use std::collections::BTreeMap;

use baton_catalog::Partition;
use baton_model::{Epoch, Incarnation, NodeId, PartitionId};

/// Who served in which epoch.
#[derive(Debug, Default)]
pub(super) struct S1(BTreeMap<(PartitionId, Epoch), (NodeId, Incarnation)>);

impl S1 {
    pub(super) fn serves(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        node: NodeId,
        run: Incarnation,
        newest: Option<Epoch>,
    ) -> Result<(), String> {
        let first = *self.0.entry((partition, epoch)).or_insert((node, run));
        if first != (node, run) {
            return Err(format!(
                "{node} {run} serves {partition} at {epoch}, and so did {} {}",
                first.0, first.1
            ));
        }
        known(node, partition, epoch, newest)
    }
}

/// Nobody knows an epoch that is not committed. A partition that is gone from the catalog is nobody's business.
pub(super) fn known(
    node: NodeId,
    partition: PartitionId,
    epoch: Epoch,
    newest: Option<Epoch>,
) -> Result<(), String> {
    match newest {
        Some(newest) if epoch > newest => {
            Err(format!("{node} is at {epoch} of {partition}, but {newest} is the newest committed"))
        }
        _ => Ok(()),
    }
}

/// One step at a time; with a new primary always, and never back.
pub(super) fn moved(before: Option<&Partition>, after: &Partition) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    let id = after.id;
    if after.epoch < before.epoch || after.version <= before.version {
        return Err(format!(
            "{id} went from {} v{} to {} v{}",
            before.epoch, before.version, after.epoch, after.version
        ));
    }
    if after.primary != before.primary && after.epoch <= before.epoch {
        return Err(format!("{id} went from {} to {} within {}", before.primary, after.primary, after.epoch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use baton_model::DatabaseId;

    use super::*;

    const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };

    #[test]
    fn two_primaries_of_one_epoch_are_found() {
        let mut s1 = S1::default();
        let mut serves =
            |node, run| s1.serves(PARTITION, Epoch(2), NodeId(node), Incarnation(run), Some(Epoch(2)));
        assert_eq!(serves(4, 1), Ok(()));
        assert!(serves(5, 2).is_err(), "another node");
        assert!(serves(4, 3).is_err(), "another run");
    }

    #[test]
    fn an_epoch_that_nobody_committed_is_found() {
        assert!(known(NodeId(4), PARTITION, Epoch(3), Some(Epoch(2))).is_err());
        assert!(known(NodeId(4), PARTITION, Epoch(2), Some(Epoch(2))).is_ok());
    }
}
