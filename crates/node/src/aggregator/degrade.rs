//! What the master aggregator does about replicas that keep their primaries waiting: asks the `degrade` policy about
//! each, and commits what was decided about all of a report as one entry.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use baton_catalog::{Command, Decision as Record, Entry, Severity, event_type};
use baton_failover::{Degraded, Degrader, LagReport, against_lag, evidence};
use baton_model::NodeId;
use baton_policy::{DecisionPoint, DegradeChoice, DegradeInput, NodeEvidence};
use baton_policy_host::Decider;
use tokio::task::block_in_place;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Aggregator;
use crate::server::wall_clock_ms;

/// A policy that fails again is reported again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(60);

/// When a policy that gave no valid answer was last reported, by hash.
#[derive(Debug, Default)]
pub struct Reported(Mutex<BTreeMap<String, Instant>>);

impl Reported {
    /// Whether it is to be reported now.
    fn is_due(&self, hash: &str) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = reported.get(hash).is_none_or(|at| at.elapsed() >= REPORT_AGAIN);
        if due {
            reported.insert(hash.to_owned(), Instant::now());
        }
        due
    }
}

impl Aggregator {
    /// Takes in what a leaf reports of replicas that lag. Answers whether this node is the master aggregator; whatever
    /// was not committed is reported again.
    pub async fn hear_lag(&self, from: NodeId, mut reports: Vec<LagReport>) -> bool {
        let Some(group) = self.group().filter(|group| group.is_leader()) else { return false };
        let catalog = group.catalog();
        reports.retain(|report| catalog.partition(report.partition).is_some_and(|p| p.primary == from));
        let judged = self.judged().borrow().clone();
        let seen: BTreeMap<NodeId, NodeEvidence> =
            judged.observation.nodes.iter().map(|seen| (seen.node, evidence(seen))).collect();
        let name = |report: &LagReport| {
            let partition = catalog.partition_name(report.partition);
            format!("{partition} on {}", catalog.address_of(report.replica))
        };
        let subjects: BTreeMap<(String, u32, u64), String> = reports
            .iter()
            .filter_map(|report| {
                let database = catalog.database_by_id(report.partition.database)?.name.clone();
                Some(((database, report.partition.ordinal, report.replica.0), name(report)))
            })
            .collect();
        let mut degrader =
            AskPolicy { decider: &self.decider, me: self.context.node(), subjects, records: Vec::new() };
        let now = self.context.clock.now();
        // A policy computes, for as long as it may: no other task waits for that.
        let mut commands = block_in_place(|| against_lag(&reports, &catalog, now, &seen, &mut degrader));
        for record in &degrader.records {
            if !record.fallback.is_empty() && !record.hash.is_empty() && self.fallbacks.is_due(&record.hash) {
                commands.push(Command::RecordEvent {
                    severity: Severity::Error,
                    event_type: event_type::POLICY_FALLBACK.into(),
                    node: None,
                    details: format!(
                        "{} gave no valid answer, native classic decided instead: {}",
                        record.policy, record.fallback
                    ),
                });
            }
        }
        if commands.is_empty() {
            return true;
        }
        info!(?commands, "replicas that lag are not waited for any more");
        // A verdict to wait changes nothing and is not kept.
        let kept = degrader.records.into_iter().filter(|record| record.verdict != WAIT);
        commands.extend(kept.map(Command::RecordDecision));
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command: Command::Batch(commands) };
        if let Err(error) = self.propose(entry).await {
            warn!(%error, "replicas that lag are still waited for");
        }
        true
    }
}

const WAIT: &str = "wait";

/// Asks the bound `degrade` policy, and keeps what was decided.
struct AskPolicy<'a> {
    decider: &'a Decider,
    me: NodeId,
    /// By database, partition and replica.
    subjects: BTreeMap<(String, u32, u64), String>,
    records: Vec<Record>,
}

impl Degrader for AskPolicy<'_> {
    fn degrade(&mut self, input: &DegradeInput) -> Degraded {
        let mut input = input.clone();
        let decision = self.decider.decide_degrade(&mut input);
        let verdict = decision.verdict;
        let subject = (input.database.clone(), input.partition, input.replica.node);
        self.records.push(Record {
            id: 0,
            at_ms: wall_clock_ms(),
            node: self.me,
            decision_point: DecisionPoint::Degrade.to_string(),
            subject: self.subjects.get(&subject).cloned().unwrap_or_default(),
            verdict: match verdict.choice {
                DegradeChoice::Wait => WAIT.to_owned(),
                DegradeChoice::Degrade => format!("degrade n{}", input.replica.node),
            },
            reason: verdict.reason.clone(),
            policy: decision.module.clone(),
            hash: decision.hash,
            input: serde_json::to_string(&input).unwrap_or_default(),
            answer: String::new(),
            fuel: decision.stats.fuel,
            micros: decision.stats.micros,
            fallback: decision.fallback.unwrap_or_default(),
        });
        Degraded { choice: verdict.choice, reason: verdict.reason, policy: decision.module }
    }
}
