//! What the master aggregator does about replicas that keep their primaries waiting: asks the `degrade` policy about
//! each, and commits what was decided about all of a report as one entry.

use std::collections::BTreeMap;

use baton_catalog::{Command, Entry};
use baton_failover::{LagReport, against_lag};
use baton_model::NodeId;
use baton_policy::NodeEvidence;
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::Aggregator;
use super::asking::Asking;
use crate::server::wall_clock_ms;

impl Aggregator {
    /// Takes in what a leaf reports of replicas that lag. Answers whether this node is the master aggregator; whatever
    /// was not committed is reported again.
    pub async fn hear_lag(&self, from: NodeId, mut reports: Vec<LagReport>) -> bool {
        let Some(group) = self.group().filter(|group| group.is_leader()) else { return false };
        let catalog = group.catalog();
        reports.retain(|report| catalog.partition(report.partition).is_some_and(|p| p.primary == from));
        let judged = self.judged().borrow().clone();
        let seen: BTreeMap<NodeId, NodeEvidence> =
            judged.evidence().into_iter().map(|(node, evidence)| (node, evidence.clone())).collect();
        let mut asking = Asking::new(self, &catalog);
        let (now, wall_ms) = (self.context.clock.now(), wall_clock_ms());
        // A policy computes, for as long as it may: no other task waits for that.
        let mut commands =
            block_in_place(|| against_lag(&reports, &catalog, now, wall_ms, &seen, &mut asking));
        if commands.is_empty() {
            return true;
        }
        info!(?commands, "replicas that lag are not waited for any more");
        // A verdict to wait changes nothing; it is in the ring of files alone.
        let kept = asking.records.into_iter().filter(|record| record.verdict != "wait");
        commands.extend(kept.map(Command::RecordDecision));
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command: Command::Batch(commands) };
        if let Err(error) = self.propose(entry).await {
            warn!(%error, "replicas that lag are still waited for");
        }
        true
    }
}
