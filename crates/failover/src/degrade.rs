//! What is done about a replica that keeps its primary waiting.
//!
//! The primary reports and goes on waiting; the `degrade` policy decides, here at the master aggregator; and the primary
//! goes on alone once it has applied the command (S3). A report that is about another epoch or version than the catalog's
//! is about the past. A replica whose leaf the catalog calls offline is not asked about: that was decided already.

use std::collections::{BTreeMap, BTreeSet};

use baton_catalog::{Catalog, Command, Partition};
use baton_model::{Epoch, Instant, NodeId, NodeRole, PartitionId, SyncState};
use baton_policy::{DegradeChoice, DegradeInput, NodeEvidence};
use serde::{Deserialize, Serialize};

use crate::ask::{Answer, Ask};

/// What a primary says of a replica that it waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LagReport {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch of the primary.
    pub epoch: Epoch,
    /// The version of the partition that it acts under.
    pub version: u64,
    /// The leaf of the replica.
    pub replica: NodeId,
    /// How long the replica has owed an acknowledgement, in milliseconds.
    pub silent_ms: u64,
    /// Whether it has a link to the primary.
    pub linked: bool,
    /// How many writes of clients wait for it.
    pub waiting_writes: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub oldest_wait_ms: u64,
}

/// The commands against lag, of these reports. `evidence` is what the master aggregator knows of the leaves at `now`.
pub fn against_lag(
    reports: &[LagReport],
    catalog: &Catalog,
    now: Instant,
    wall_ms: u64,
    evidence: &BTreeMap<NodeId, NodeEvidence>,
    degrader: &mut dyn Ask<DegradeInput>,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for report in reports {
        let Some(partition) = catalog.partition(report.partition) else { continue };
        let known = (partition.epoch, partition.version) == (report.epoch, report.version);
        // Who takes over from a primary that is offline must be one of those whom it had to wait for.
        let serves = catalog.serving(report.partition).is_some();
        if !known || !serves || !partition.replicas.contains_key(&report.replica) {
            continue;
        }
        let reason = if !catalog.node(report.replica).is_some_and(|node| node.is_online()) {
            "its leaf is offline".to_owned()
        } else {
            let question = input(report, partition, catalog, now, evidence);
            let Answer { verdict, policy } = degrader.ask(DegradeInput { wall_ms, ..question });
            if verdict.choice == DegradeChoice::Wait {
                continue;
            }
            format!("{} ({policy})", verdict.reason)
        };
        commands.push(Command::SetSyncState {
            partition: report.partition,
            epoch: report.epoch,
            version: report.version,
            replica: report.replica,
            state: SyncState::Async,
            reason,
        });
    }
    commands
}

fn input(
    report: &LagReport,
    partition: &Partition,
    catalog: &Catalog,
    now: Instant,
    evidence: &BTreeMap<NodeId, NodeEvidence>,
) -> DegradeInput {
    let group_of = |node| catalog.node(node).and_then(|n| n.availability_group).unwrap_or(0);
    let left: Vec<NodeId> = std::iter::once(partition.primary)
        .chain(partition.promotable().filter(|node| *node != report.replica))
        .collect();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let unseen = || NodeEvidence::answering(report.replica.0, NodeRole::Leaf);
    DegradeInput {
        now_ms: now.as_millis(),
        seed: crate::plan::seed(catalog, report.partition),
        database: catalog
            .database_by_id(report.partition.database)
            .map_or_else(String::new, |database| database.name.clone()),
        partition: report.partition.ordinal,
        sync_replica_timeout_ms: catalog.number("sync_replica_timeout_ms"),
        primary: partition.primary.0,
        primary_group: group_of(partition.primary),
        replica_group: group_of(report.replica),
        silent_ms: report.silent_ms,
        linked: report.linked,
        waiting_writes: report.waiting_writes,
        oldest_wait_ms: report.oldest_wait_ms,
        copies_left: count(left.len()),
        groups_left: count(left.iter().map(|node| group_of(*node)).collect::<BTreeSet<_>>().len()),
        replica: evidence.get(&report.replica).cloned().unwrap_or_else(unseen),
        ..DegradeInput::default()
    }
}
