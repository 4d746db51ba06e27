//! Between the evidence and the policy: on the heartbeat thread, every tick, the `detection` decision point is asked.
//!
//! Every aggregator judges, so that a new master aggregator knows from its first moment what it has seen; only the
//! master aggregator acts on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_detector::{Evidence, Health as Felt, Observation};
use baton_failover::{NodeSight, Sight};
use baton_model::{Instant, NodeId};
use baton_policy::{DetectionInput, Health, NodeEvidence, NodeVerdict, Vitals, Witness};
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
    pub failed_at: BTreeMap<NodeId, Instant>,
}

impl Judged {
    /// What failover needs to know of it.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let verdicts: BTreeMap<u64, &NodeVerdict> =
            self.decision.iter().flat_map(|d| &d.verdict).map(|verdict| (verdict.node, verdict)).collect();
        let nodes = self.observation.nodes.iter().map(|seen| {
            let verdict = verdicts.get(&seen.node.0);
            let age = seen.last_pong_age_ms;
            let sight = NodeSight {
                health: verdict.map_or(Health::Healthy, |verdict| verdict.health),
                reason: verdict.map_or_else(String::new, |verdict| verdict.reason.clone()),
                failed_at: self.failed_at.get(&seen.node).copied(),
                last_pong: age
                    .map(|age| Instant(self.observation.at.0.saturating_sub(u64::from(age) * 1000))),
                answered_as: seen.report.filter(|report| report.joined).map(|r| (r.incarnation, r.store)),
                lost_tail: seen.report.is_some_and(|report| report.lost_tail),
                rtt_mean_us: u64::from(seen.rtt_mean_us),
                flaps_last_hour: seen.flaps_last_hour,
            };
            (seen.node, sight)
        });
        Sight { now: self.observation.at, nodes: nodes.collect(), ..Sight::default() }
    }
}

/// The evidence of one node, as a policy is told it.
#[must_use]
pub fn evidence(seen: &Evidence) -> NodeEvidence {
    NodeEvidence {
        misses: seen.misses,
        refusals: seen.refusals,
        timeouts: seen.timeouts,
        connecting: seen.connecting,
        connection_lost: seen.connection_lost,
        rtt_mean_us: u64::from(seen.rtt_mean_us),
        rtt_deviation_us: u64::from(seen.rtt_deviation_us),
        pong_intervals_ms: seen.pong_intervals_ms.clone(),
        vitals: seen.report.map(|report| Vitals {
            loop_delay_ms: u64::from(report.vitals.loop_delay_ms),
            fsync_ms: u64::from(report.vitals.fsync_ms),
            apply_backlog: report.vitals.apply_backlog,
            free_disk_bytes: report.vitals.free_disk_bytes,
        }),
        witnesses: seen
            .witnesses
            .iter()
            .map(|witness| Witness {
                observer: witness.observer.0,
                misses: witness.misses,
                refusals: witness.refusals,
                timeouts: witness.timeouts,
                age_ms: witness.age_ms,
            })
            .collect(),
        flaps_last_hour: seen.flaps_last_hour,
        in_maintenance: false,
        previous: match seen.health {
            Felt::Healthy => Health::Healthy,
            Felt::Suspect => Health::Suspect,
            Felt::Failed => Health::Failed,
        },
        memory: seen.memory.clone(),
        ..NodeEvidence::answering(seen.node.0, seen.role)
    }
}

/// The judge that the heartbeat thread asks. What it finds is told to whoever watches.
pub fn judge(
    decider: Arc<Decider>,
    tell: watch::Sender<Arc<Judged>>,
) -> impl FnMut(&Observation) -> Vec<Judgement> + Send + 'static {
    let mut failed_at: BTreeMap<NodeId, Instant> = BTreeMap::new();
    move |observation| {
        let mut input = DetectionInput {
            now_ms: observation.at.as_millis(),
            heartbeat_interval_ms: u64::from(observation.interval_ms),
            observer_late_ms: u64::from(observation.observer_late_ms),
            seed: observation.at.0,
            nodes: observation.nodes.iter().map(evidence).collect(),
            ..DetectionInput::default()
        };
        let decision = decider.decide_detection(&mut input);
        failed_at.retain(|node, _| {
            decision.verdict.iter().any(|v| v.node == node.0 && v.health == Health::Failed)
        });
        for verdict in decision.verdict.iter().filter(|verdict| verdict.health == Health::Failed) {
            failed_at.entry(NodeId(verdict.node)).or_insert(observation.at);
        }
        let judgements = decision
            .verdict
            .iter()
            .map(|verdict| Judgement {
                node: NodeId(verdict.node),
                health: match verdict.health {
                    Health::Healthy => Felt::Healthy,
                    Health::Suspect => Felt::Suspect,
                    Health::Failed => Felt::Failed,
                },
                reason: verdict.reason.clone(),
                memory: verdict.memory.clone(),
            })
            .collect();
        tell.send_replace(Arc::new(Judged {
            observation: observation.clone(),
            input,
            decision: Some(decision),
            failed_at: failed_at.clone(),
        }));
        judgements
    }
}
