//! Between the evidence and the policy: on the heartbeat thread, every tick, the `detection` decision point is asked.
//!
//! Every aggregator judges, so that a new master aggregator knows from its first moment what it has seen; only the
//! master aggregator acts on it.

use std::sync::Arc;

use baton_detector::Observation;
use baton_failover::{FailedSince, Sight, detection_input, felt};
use baton_model::NodeId;
use baton_policy::{DetectionInput, NodeVerdict};
use baton_policy_host::{Decider, Decision};
use baton_transport::heartbeat::Judgement;
use tokio::sync::watch;

/// What was seen and how it was judged, at one tick.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The evidence.
    pub observation: Observation,
    /// What the policy was asked.
    pub input: DetectionInput,
    /// What it answered; None before the first tick.
    pub decision: Option<Decision<Vec<NodeVerdict>>>,
    /// Since when each failed node is judged failed.
    pub failed: FailedSince,
}

impl Judged {
    /// What failover needs to know of it.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let verdicts = self.decision.as_ref().map_or(&[][..], |decision| &decision.verdict);
        Sight::of(&self.observation, verdicts, &self.failed)
    }
}

/// The judge that the heartbeat thread asks. What it finds is told to whoever watches.
pub fn judge(
    decider: Arc<Decider>,
    tell: watch::Sender<Arc<Judged>>,
) -> impl FnMut(&Observation) -> Vec<Judgement> + Send + 'static {
    let mut failed = FailedSince::default();
    move |observation| {
        let mut input = detection_input(observation);
        let decision = decider.decide_detection(&mut input);
        failed.note(observation.at, &decision.verdict);
        let judgements = decision
            .verdict
            .iter()
            .map(|verdict| Judgement {
                node: NodeId(verdict.node),
                health: felt(verdict.health),
                reason: verdict.reason.clone(),
                memory: verdict.memory.clone(),
            })
            .collect();
        tell.send_replace(Arc::new(Judged {
            observation: observation.clone(),
            input,
            decision: Some(decision),
            failed: failed.clone(),
        }));
        judgements
    }
}
