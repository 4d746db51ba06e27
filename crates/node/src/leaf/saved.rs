//! Reads what an instance keeps on disk: its epochs, its log, and how statements ended.
//!
//! What this version cannot read is an error, and is never passed over.
//! Of the log only what is not applied yet stays in memory; of the rest, the ends of the newest statements (S12).
//!
//! Not here: writing. What is to be on disk the core says, and the instance's task does it (`partition.rs`).

use baton_model::limits::{REPLICATION_BATCH_BYTES_MAX, REPLICATION_BATCH_RECORDS_MAX};
use baton_model::{Epoch, Lsn, PartitionId, StatementId};
use baton_replication::{History, Payload, Record, Saved, StatementOutcome};
use baton_storage::DataStore;
use serde::{Deserialize, Serialize};

use super::LeafError;
use crate::wire::{InstanceStatus, decode};

/// The names of the instance's small state: its epochs, and the outcomes that its copy came with.
pub(super) const EPOCHS: &str = "epochs";
pub(super) const OUTCOMES: &str = "outcomes";

#[derive(Serialize, Deserialize)]
pub(super) struct Epochs {
    pub(super) epoch: Epoch,
    pub(super) history: History,
}

/// How the data of a partition is that no instance runs on.
///
/// # Errors
/// If the disk cannot be read.
pub(super) fn orphan(store: &DataStore, id: PartitionId) -> Result<InstanceStatus, LeafError> {
    let epochs: Option<Epochs> = match store.meta(id, EPOCHS)? {
        Some(bytes) => Some(decode(&bytes).map_err(|_| LeafError::GarbledLog(id))?),
        None => None,
    };
    let applied = store.applied(id)?;
    let last = store.log_bounds(id)?.map_or(applied, |bounds| bounds.last);
    Ok(InstanceStatus {
        partition: id,
        role: "orphan".into(),
        serving: false,
        epoch: epochs.map_or(Epoch(0), |epochs| epochs.epoch),
        last,
        commit: applied,
        applied,
    })
}

/// What is on disk of an instance.
pub(super) fn load(store: &DataStore, id: PartitionId) -> Result<Saved, LeafError> {
    let epochs: Option<Epochs> = match store.meta(id, EPOCHS)? {
        Some(bytes) => Some(decode(&bytes).map_err(|_| LeafError::GarbledLog(id))?),
        None => None,
    };
    let applied = store.applied(id)?;
    let bounds = store.log_bounds(id)?;
    let (first, last) = bounds.map_or((applied.next(), applied), |bounds| (bounds.first, bounds.last));
    let copied = store.meta(id, OUTCOMES)?;
    let mut outcomes: Vec<(StatementId, StatementOutcome)> = match copied {
        Some(bytes) => decode(&bytes).map_err(|_| LeafError::GarbledLog(id))?,
        None => Vec::new(),
    };
    let mut unapplied = Vec::new();
    let kept_from = last.0.saturating_sub(baton_model::limits::PARTITION_OUTCOMES_KEPT as u64) + 1;
    let mut from = Lsn(first.0.max(kept_from));
    // Of what a crash left in both places, the log's is taken.
    outcomes.retain(|(_, outcome)| outcome.lsn < from);
    while from <= last {
        let records = read_records(store, id, from)?;
        let Some(end) = records.last().map(|record| record.lsn) else { break };
        for record in records {
            if let Payload::Write(write) = &record.payload {
                let outcome = StatementOutcome { lsn: record.lsn, affected_rows: write.affected_rows };
                outcomes.push((write.statement, outcome));
            }
            if record.lsn > applied {
                unapplied.push(record);
            }
        }
        from = end.next();
    }
    let Epochs { epoch, history } = epochs.unwrap_or(Epochs { epoch: Epoch(0), history: History::default() });
    let log_bytes = store.log_bytes(id);
    Ok(Saved { epoch, history, first, last, log_bytes, applied, unapplied, outcomes })
}

pub(super) fn read_records(store: &DataStore, id: PartitionId, from: Lsn) -> Result<Vec<Record>, LeafError> {
    let found = store.read_log(id, from, REPLICATION_BATCH_RECORDS_MAX, REPLICATION_BATCH_BYTES_MAX)?;
    let count = found.len();
    let records: Vec<Record> = found.into_iter().filter_map(|(_, bytes)| decode(&bytes).ok()).collect();
    if records.len() < count {
        return Err(LeafError::GarbledLog(id));
    }
    Ok(records)
}
