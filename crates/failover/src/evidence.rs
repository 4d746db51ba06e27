//! Between the detector and the policies: evidence as a policy is told it, and what its verdicts come to.

use std::collections::BTreeMap;

use baton_catalog::Catalog;
use baton_detector::{Evidence, Health as Felt, Observation};
use baton_model::{Incarnation, Instant, NodeId, NodeState, StoreId};
use baton_policy::{DetectionInput, Health, NodeEvidence, NodeVerdict, Vitals, Witness};

use crate::sight::{NodeSight, Sight};

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

/// What the `detection` decision point is asked about an observation; the settings are the binding's.
#[must_use]
pub fn detection_input(observation: &Observation) -> DetectionInput {
    DetectionInput {
        now_ms: observation.at.as_millis(),
        heartbeat_interval_ms: u64::from(observation.interval_ms),
        observer_late_ms: u64::from(observation.observer_late_ms),
        seed: observation.at.0,
        nodes: observation.nodes.iter().map(evidence).collect(),
        ..DetectionInput::default()
    }
}

/// A verdict on a node, in the detector's words.
#[must_use]
pub fn felt(health: Health) -> Felt {
    match health {
        Health::Healthy => Felt::Healthy,
        Health::Suspect => Felt::Suspect,
        Health::Failed => Felt::Failed,
    }
}

/// Since when each failed node is judged failed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FailedSince(BTreeMap<NodeId, Instant>);

impl FailedSince {
    /// Takes in the verdicts of one moment.
    pub fn note(&mut self, at: Instant, verdicts: &[NodeVerdict]) {
        let failed = |node: &NodeId| verdicts.iter().any(|v| v.node == node.0 && v.health == Health::Failed);
        self.0.retain(|node, _| failed(node));
        for verdict in verdicts.iter().filter(|verdict| verdict.health == Health::Failed) {
            self.0.entry(NodeId(verdict.node)).or_insert(at);
        }
    }

    /// Since when this node is; None if it is not.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<Instant> {
        self.0.get(&node).copied()
    }
}

/// Since when an observer's catalog says of each node what it says: its run, its data directory, and whether it is counted
/// on. Older answers of the node are no news ([`Sight::is_news`]).
#[derive(Clone, Debug, Default)]
pub struct Learned(BTreeMap<NodeId, (Word, Instant)>);

/// What a catalog says of a node.
type Word = (Incarnation, StoreId, NodeState);

impl Learned {
    /// Takes in the catalog as it is now. Answers with [`Sight::learned`].
    pub fn look(&mut self, now: Instant, catalog: &Catalog) -> BTreeMap<NodeId, Instant> {
        self.0.retain(|node, _| catalog.node(*node).is_some());
        for node in catalog.nodes() {
            let word = (node.incarnation, node.store, node.state);
            let known = self.0.entry(node.id).or_insert((word, now));
            if known.0 != word {
                *known = (word, now);
            }
        }
        self.0.iter().map(|(node, (_, since))| (*node, *since)).collect()
    }
}

impl Sight {
    /// What failover needs to know of an observation that was judged. The positions are for the caller to add.
    #[must_use]
    pub fn of(observation: &Observation, verdicts: &[NodeVerdict], failed: &FailedSince) -> Self {
        let verdicts: BTreeMap<u64, &NodeVerdict> =
            verdicts.iter().map(|verdict| (verdict.node, verdict)).collect();
        let nodes = observation.nodes.iter().map(|seen| {
            let verdict = verdicts.get(&seen.node.0);
            let before = |age: u32| Instant(observation.at.0.saturating_sub(u64::from(age) * 1000));
            let sight = NodeSight {
                health: verdict.map_or(Health::Healthy, |verdict| verdict.health),
                reason: verdict.map_or_else(String::new, |verdict| verdict.reason.clone()),
                failed_at: failed.of(seen.node),
                last_pong: seen.last_pong_age_ms.map(before),
                answered_as: seen.report.filter(|report| report.joined).map(|r| (r.incarnation, r.store)),
                lost_tail: seen.report.is_some_and(|report| report.lost_tail),
                asked_at: seen.asked_age_ms.map(before),
                rtt_mean_us: u64::from(seen.rtt_mean_us),
                flaps_last_hour: seen.flaps_last_hour,
            };
            (seen.node, sight)
        });
        Self { now: observation.at, nodes: nodes.collect(), ..Self::default() }
    }
}
