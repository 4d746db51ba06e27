//! Asks the bound policies, writes down what was decided, and keeps what the cluster is to be told of it.

use baton_catalog::{Catalog, Decision as Record};
use baton_failover::{Answer, Ask, Placer, Sight};
use baton_model::NodeId;
use baton_model::limits::DECISIONS_KEPT;
use baton_policy::Subject;
use baton_policy_host::{Decision, Sandboxed};
use baton_policy_view::Viewed;
use tokio::task::block_in_place;

use super::Aggregator;
use crate::server::wall_clock_ms;

/// Decisions of one plan that are recorded in the catalog, at most: more would push the verdict on the node itself out of
/// what is kept.
const RECORDS_MAX: usize = DECISIONS_KEPT / 2;
/// A recorded input or verdict has at most so many bytes; a larger one is only in the ring of files of its node.
pub(super) const RECORDED_BYTES_MAX: usize = 64 << 10;
/// Who decided, where a policy gave no valid answer or none is bound.
const NATIVE: &str = "classic (native)";

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
        let decision = self.aggregator.decide(&mut question);
        if self.records.len() < RECORDS_MAX {
            let node = self.aggregator.context.node();
            self.records.push(record(node, self.catalog, &question, &decision));
        }
        answer(decision)
    }
}

impl Aggregator {
    /// How many decisions were not written down.
    pub fn decisions_left_out(&self) -> u64 {
        self.ring.left_out()
    }

    /// Asks the bound policy, and writes down what was decided.
    pub(super) fn decide<Q: Sandboxed + Viewed + 'static>(&self, question: &mut Q) -> Decision<Q::Verdict> {
        let decision = self.decider.decide(question);
        self.ring.keep(self.context.node().0, question, &decision);
        decision
    }

    /// What this node sees of others, as far as failover needs it, with those spared whom nobody could replace.
    pub(super) fn sight(&self, catalog: &Catalog) -> Sight {
        let judged = self.judged().borrow().clone();
        let mut sight = judged.sight();
        sight.spare(catalog);
        sight
    }

    /// Shares partitions out by the `placement` policy. What was decided is recorded soon after.
    pub(super) fn placing<T>(&self, catalog: &Catalog, place: impl FnOnce(&mut Placer<'_>) -> T) -> T {
        let sight = self.sight(catalog);
        let mut asking = Asking::new(self, catalog);
        // A policy computes, for as long as it may: no other task waits for that.
        let placed = block_in_place(|| place(&mut Placer { sight: &sight, policy: &mut asking }));
        if self.group_status().is_leader {
            self.keep_records(asking.records);
        }
        placed
    }
}

/// The verdict, and who gave it.
pub(super) fn answer<V>(decision: Decision<V>) -> Answer<V> {
    let policy = if decision.fallback.is_none() { decision.module } else { NATIVE.to_owned() };
    Answer { verdict: decision.verdict, policy }
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
