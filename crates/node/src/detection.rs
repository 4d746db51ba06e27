//! Between the evidence and the policy: on the heartbeat thread, every tick, the `detection` decision point is asked.
//!
//! Every aggregator judges, so that a new master aggregator knows from its first moment what it has seen; only the
//! master aggregator acts on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use baton_detector::Observation;
use baton_failover::{FailedSince, Known, Sight, detection_input, felt};
use baton_model::NodeId;
use baton_policy::{DetectionInput, NodeEvidence, NodeVerdict};
use baton_policy_host::{Decider, Decision};
use baton_transport::heartbeat::Judgement;
use tokio::sync::watch;

use crate::ring::Ring;
use crate::server::wall_clock_ms;

/// Decisions by which nothing changes are written down this often.
const QUIET: Duration = Duration::from_secs(1);

/// What was seen and how it was judged, at one tick.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The evidence.
    pub observation: Observation,
    /// What was known beside.
    pub known: Known,
    /// What policies were asked, each about the nodes that it is bound for, and what they answered. Empty before the first
    /// tick.
    pub parts: Vec<(DetectionInput, Decision<Vec<NodeVerdict>>)>,
    /// Since when each failed node is judged failed.
    pub failed: FailedSince,
}

impl Judged {
    /// What failover needs to know of it.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let verdicts: Vec<&NodeVerdict> =
            self.parts.iter().flat_map(|(_, decision)| &decision.verdict).collect();
        Sight::of(&self.observation, &verdicts, &self.failed, &self.known)
    }

    /// The evidence of a node, as its policy was told it, and the decision about it.
    #[must_use]
    pub fn about(&self, node: NodeId) -> Option<(&DetectionInput, &Decision<Vec<NodeVerdict>>)> {
        let is_asked = |input: &DetectionInput| input.nodes.iter().any(|asked| asked.node == node.0);
        self.parts.iter().find(|(input, _)| is_asked(input)).map(|(input, decision)| (input, decision))
    }

    /// The evidence of a node, as its policy was told it.
    #[must_use]
    pub fn evidence_of(&self, node: NodeId) -> Option<&NodeEvidence> {
        let mut nodes = self.parts.iter().flat_map(|(input, _)| &input.nodes);
        nodes.find(|evidence| evidence.node == node.0)
    }

    /// The evidence of all nodes, as their policies were told it.
    #[must_use]
    pub fn evidence(&self) -> BTreeMap<NodeId, &NodeEvidence> {
        let nodes = self.parts.iter().flat_map(|(input, _)| &input.nodes);
        nodes.map(|evidence| (NodeId(evidence.node), evidence)).collect()
    }
}

/// What the heartbeat thread judges with.
pub struct Judge {
    /// Asks the bound policies.
    pub decider: Arc<Decider>,
    /// What the catalog says of nodes; the time is added here.
    pub known: Arc<ArcSwap<Known>>,
    /// Where decisions are written down.
    pub ring: Arc<Ring>,
    /// Who is told of each.
    pub tell: watch::Sender<Arc<Judged>>,
    /// This node, as decisions are written down.
    pub node: Box<dyn Fn() -> NodeId + Send>,
}

/// The judge that the heartbeat thread asks. What it finds is told to whoever watches.
pub fn judge(with: Judge) -> impl FnMut(&Observation) -> Vec<Judgement> + Send + 'static {
    let mut failed = FailedSince::default();
    let mut written: Option<Instant> = None;
    move |observation| {
        let known = Known { wall_ms: wall_clock_ms(), ..Known::clone(&with.known.load()) };
        let mut parts = Vec::new();
        for mut input in with.decider.parts(detection_input(observation, &known)) {
            let decision = with.decider.decide(&mut input);
            parts.push((input, decision));
        }
        let verdicts: Vec<&NodeVerdict> = parts.iter().flat_map(|(_, decision)| &decision.verdict).collect();
        failed.note(observation.at, &verdicts);
        let is_quiet = parts.iter().all(|(input, decision)| is_quiet(input, decision));
        if !is_quiet || written.is_none_or(|at| at.elapsed() >= QUIET) {
            let node = (with.node)().0;
            parts.iter().for_each(|(input, decision)| with.ring.keep(node, input, decision));
            written = Some(Instant::now());
        }
        let judgements = verdicts
            .iter()
            .map(|verdict| Judgement {
                node: NodeId(verdict.node),
                health: felt(verdict.health),
                reason: verdict.reason.to_string(),
                memory: verdict.memory.clone(),
            })
            .collect();
        let observation = observation.clone();
        with.tell.send_replace(Arc::new(Judged { observation, known, parts, failed: failed.clone() }));
        judgements
    }
}

/// Whether everybody is what he was.
fn is_quiet(input: &DetectionInput, decision: &Decision<Vec<NodeVerdict>>) -> bool {
    // Policies answer in the order of the question, mostly.
    decision.verdict.iter().enumerate().all(|(at, verdict)| {
        let asked = input.nodes.get(at).filter(|node| node.node == verdict.node);
        let asked = asked.or_else(|| input.nodes.iter().find(|node| node.node == verdict.node));
        asked.is_some_and(|node| node.previous == verdict.health)
    })
}
