//! Asks the bound policies, writes down what was decided, and keeps what the cluster is to be told of it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_catalog::{Catalog, Command, Decision as Record, Severity, event_type};
use baton_failover::{Answer, Ask, Placer};
use baton_model::NodeId;
use baton_model::limits::DECISIONS_KEPT;
use baton_policy::Subject;
use baton_policy_host::{Decision, Sandboxed};
use baton_policy_view::Viewed;
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::Aggregator;
use crate::server::wall_clock_ms;

/// Decisions of one plan that are recorded in the catalog, at most: more would push the verdict on the node itself out of
/// what is kept.
const RECORDS_MAX: usize = DECISIONS_KEPT / 2;
/// A recorded input or verdict has at most so many bytes; a larger one is only in the ring of files of its node.
pub(super) const RECORDED_BYTES_MAX: usize = 64 << 10;
/// A policy that fails again is reported again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(60);

/// Asks the bound policies.
pub struct Asking<'a> {
    aggregator: &'a Aggregator,
    catalog: &'a Catalog,
    /// What was decided.
    pub records: Vec<Record>,
}

impl<'a> Asking<'a> {
    /// Asks for an aggregator. Names are those of this catalog.
    #[must_use]
    pub fn new(aggregator: &'a Aggregator, catalog: &'a Catalog) -> Self {
        Self { aggregator, catalog, records: Vec::new() }
    }
}

impl<Q: Sandboxed + Viewed + 'static> Ask<Q> for Asking<'_> {
    fn ask(&mut self, mut question: Q) -> Answer<Q::Verdict> {
        let node = self.aggregator.context.node();
        let decision = self.aggregator.decider.decide(&mut question);
        self.aggregator.ring.keep(node.0, &question, &decision);
        if self.records.len() < RECORDS_MAX || decision.fallback.is_some() {
            self.records.push(record(node, self.catalog, &question, &decision));
        }
        Answer { verdict: decision.verdict, policy: decision.module }
    }
}

impl Aggregator {
    /// How many decisions were not written down.
    pub fn decisions_left_out(&self) -> u64 {
        self.ring.left_out()
    }

    /// Shares partitions out by the `placement` policy. What was decided is recorded soon after.
    pub(super) fn placing<T>(&self, catalog: &Catalog, place: impl FnOnce(&mut Placer<'_>) -> T) -> T {
        let sight = self.judged().borrow().sight();
        let mut asking = Asking::new(self, catalog);
        // A policy computes, for as long as it may: no other task waits for that.
        let placed = block_in_place(|| place(&mut Placer { sight: &sight, policy: &mut asking }));
        self.keep_records(asking.records);
        placed
    }
}

/// What the catalog keeps of a decision.
pub(super) fn record<Q: Sandboxed>(
    node: NodeId,
    catalog: &Catalog,
    question: &Q,
    decision: &Decision<Q::Verdict>,
) -> Record {
    let decided = question.summary(&decision.verdict);
    let json = |text: serde_json::Result<String>| {
        text.ok().filter(|text| text.len() <= RECORDED_BYTES_MAX).unwrap_or_default()
    };
    Record {
        id: 0,
        at_ms: wall_clock_ms(),
        node,
        decision_point: Q::POINT.to_string(),
        subject: subject(catalog, &decided.subject),
        verdict: decided.choice,
        reason: decided.reason,
        policy: decision.module.clone(),
        hash: decision.hash.clone(),
        input: json(serde_json::to_string(question)),
        answer: json(serde_json::to_string(&decision.verdict)),
        fuel: decision.stats.fuel,
        micros: decision.stats.micros,
        fallback: decision.fallback.clone().unwrap_or_default(),
    }
}

/// Whom a decision is about, for people: `leaf 10.0.0.3:3306`, `shop_3`.
pub(super) fn subject(catalog: &Catalog, subject: &Subject) -> String {
    let text = subject.text(|node| catalog.address_of(NodeId(node)));
    match subject {
        Subject::Node(node) => match catalog.node(NodeId(*node)) {
            Some(known) => format!("{} {text}", known.role),
            None => text,
        },
        _ => text,
    }
}

/// When each policy that gave no valid answer was last reported, by hash.
#[derive(Debug, Default)]
pub struct Reported(Mutex<std::collections::BTreeMap<String, Instant>>);

impl Reported {
    /// Events about policies that gave no valid answer, each at most once a minute: hash, name and reason of each.
    pub fn events<'a>(
        &self,
        failures: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> (Vec<Command>, BTreeSet<String>) {
        let reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut commands = Vec::new();
        let mut hashes = BTreeSet::new();
        for (hash, name, reason) in failures.filter(|(hash, ..)| !hash.is_empty()) {
            if reported.get(hash).is_some_and(|at| at.elapsed() < REPORT_AGAIN)
                || !hashes.insert(hash.to_owned())
            {
                continue;
            }
            commands.push(Command::RecordEvent {
                severity: Severity::Error,
                event_type: event_type::POLICY_FALLBACK.into(),
                node: None,
                details: format!("{name} gave no valid answer, native classic decided instead: {reason}"),
            });
        }
        (commands, hashes)
    }

    /// They are reported.
    pub fn done(&self, hashes: BTreeSet<String>) {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reported.extend(hashes.into_iter().map(|hash| (hash, Instant::now())));
    }
}

/// Of these records, the policies that gave no valid answer.
pub(super) fn failures(records: &[Record]) -> impl Iterator<Item = (&str, &str, &str)> {
    let failed = records.iter().filter(|record| !record.fallback.is_empty());
    failed.map(|record| (record.hash.as_str(), record.policy.as_str(), record.fallback.as_str()))
}
