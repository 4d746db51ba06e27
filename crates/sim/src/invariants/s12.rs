//! S12: every statement's outcome is known, or reported as unknown; it is done once at most.
//!
//! Looked at when a statement is appended, committed and answered, and at rest for all of them: what was acknowledged is
//! committed exactly once, what was said to be undone never is, and what is unknown may be either, but not both.

use std::collections::BTreeMap;

use baton_model::{Lsn, NodeId, PartitionId, StatementId};
use baton_replication::{Payload, Record, StatementOutcome};

use super::Chronicle;
use super::losses::Losses;
use crate::workload::{Ended, Workload};

/// Nobody takes a statement of which its client knows that it is not done.
pub(super) fn appended(
    workload: &Workload,
    node: NodeId,
    partition: PartitionId,
    statement: StatementId,
) -> Result<(), String> {
    match workload.statement(statement).and_then(|known| known.ended) {
        Some(Ended::Undone) => {
            Err(format!("{node} appends s{} to {partition}, which was said to be undone", statement.0))
        }
        _ => Ok(()),
    }
}

/// No statement is committed twice.
pub(super) fn committed(
    partition: PartitionId,
    chronicle: &mut Chronicle,
    records: &[Record],
) -> Result<(), String> {
    for record in records {
        let Payload::Write(write) = &record.payload else { continue };
        let first = *chronicle.statements.entry(write.statement).or_insert(record.lsn);
        if first != record.lsn {
            let statement = write.statement.0;
            return Err(format!("s{statement} is committed in {partition} at {first} and at {}", record.lsn));
        }
    }
    Ok(())
}

/// What is acknowledged is committed, where the answer says.
pub(super) fn acknowledged(
    partition: PartitionId,
    chronicle: &Chronicle,
    statement: StatementId,
    outcome: StatementOutcome,
) -> Result<(), String> {
    match chronicle.statements.get(&statement) {
        Some(lsn) if *lsn == outcome.lsn => Ok(()),
        known => {
            let statement = statement.0;
            Err(format!(
                "s{statement} of {partition} is acknowledged at {}, but stands at {known:?}",
                outcome.lsn
            ))
        }
    }
}

pub(super) fn undone(
    partition: PartitionId,
    statement: StatementId,
    committed: Option<Lsn>,
) -> Result<(), String> {
    match committed {
        None => Ok(()),
        Some(lsn) => {
            Err(format!("s{} of {partition} is said to be undone, but stands at {lsn}", statement.0))
        }
    }
}

pub(super) fn all_told(
    workload: &Workload,
    chronicles: &BTreeMap<PartitionId, Chronicle>,
    losses: &Losses,
) -> Result<(), String> {
    for number in 1.. {
        let id = StatementId(number);
        let Some(statement) = workload.statement(id) else { return Ok(()) };
        let known = chronicles.get(&statement.partition).and_then(|chronicle| chronicle.statements.get(&id));
        match statement.ended {
            Some(Ended::Written) if known.is_none() && !losses.took(id) => {
                return Err(format!("s{number} of {} was acknowledged and is nowhere", statement.partition));
            }
            Some(Ended::Undone) if known.is_some() => {
                return Err(format!(
                    "s{number} of {} was said to be undone and is there",
                    statement.partition
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
