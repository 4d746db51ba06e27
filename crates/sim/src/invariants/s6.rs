//! S6: diverged tails are cut by epoch history, so that logs that have the same epoch at the same LSN are the same up
//! to there, and what is applied anywhere is applied everywhere.
//!
//! Looked at whenever something is appended, applied or cut, against everything that was ever appended or applied.

use std::rc::Rc;

use baton_model::{Epoch, Lsn, NodeId, PartitionId};
use baton_replication::Record;

use super::Chronicle;
use crate::world::Stored;

/// The same position in the same epoch is the same record after the same log.
pub(super) fn appended(
    node: NodeId,
    partition: PartitionId,
    copy: &Stored,
    chronicle: &mut Chronicle,
    records: &[Rc<Record>],
) -> Result<(), String> {
    let mut last = copy.last();
    let mut epoch: Option<Epoch> = copy.record(last).map(|record| record.epoch);
    for record in records {
        if record.lsn != last.next() {
            return Err(format!("{node} appends {record} of {partition} after {last}"));
        }
        let place = (record.epoch, record.lsn);
        let known = chronicle.written.entry(place).or_insert_with(|| (Rc::clone(record), epoch));
        known.1 = known.1.or(epoch);
        if known.0 != *record || (epoch.is_some() && known.1 != epoch) {
            return Err(format!(
                "{node} appends {record} of {partition} after {epoch:?}, known is {} after {:?}",
                known.0, known.1
            ));
        }
        (last, epoch) = (record.lsn, Some(record.epoch));
    }
    Ok(())
}

pub(super) fn applied(
    node: NodeId,
    partition: PartitionId,
    copy: &Stored,
    chronicle: &mut Chronicle,
    records: &[Record],
) -> Result<(), String> {
    let mut last = copy.applied;
    for record in records {
        if record.lsn != last.next() {
            return Err(format!("{node} applies {record} of {partition} after {last}"));
        }
        let Some(here) = copy.record(record.lsn).filter(|here| ***here == *record) else {
            return Err(format!("{node} applies {record} of {partition}, which is not in its log"));
        };
        match chronicle.at(record.lsn) {
            Some(known) if **known != *record => {
                return Err(format!("{node} applies {record} of {partition}, elsewhere it was {known}"));
            }
            Some(_) => {}
            None if chronicle.committed.len() as u64 + 1 == record.lsn.0 => {
                chronicle.commit(Rc::clone(here));
            }
            None => {
                return Err(format!("{node} applies {record} of {partition}, nobody applied what is before"));
            }
        }
        last = record.lsn;
    }
    Ok(())
}

pub(super) fn cut(node: NodeId, partition: PartitionId, copy: &Stored, last: Lsn) -> Result<(), String> {
    if last >= copy.applied {
        return Ok(());
    }
    Err(format!("{node} cuts {partition} after {last}, but it is applied up to {}", copy.applied))
}
