//! Between the detector and the policies: evidence as a policy is told it, and what its verdicts come to.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use baton_catalog::{Catalog, Node};
use baton_detector::{Evidence, Health as Felt, Observation, Vitals as Told};
use baton_model::{Incarnation, Instant, NodeId, NodeState, StoreId};
use baton_policy::{DetectionInput, Health, NodeEvidence, NodeVerdict, Vitals, Witness};

use crate::sight::{NodeSight, Sight};

/// What is known of nodes beside what is observed of them, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// The wall clock, in milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// What the catalog says of each.
    pub nodes: Arc<BTreeMap<NodeId, Entry>>,
}

/// What the catalog says of a node, as far as evidence tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The availability group of a leaf; 0 of an aggregator.
    pub group: u32,
    /// Until when it is marked as being worked on, by the wall clock in milliseconds; 0 if it is not.
    pub maintained_until_ms: u64,
}

impl Known {
    /// What a catalog says.
    #[must_use]
    pub fn of(catalog: &Catalog, wall_ms: u64) -> Self {
        let entry = |node: &Node| {
            let group = node.availability_group.unwrap_or(0);
            (node.id, Entry { group, maintained_until_ms: node.maintenance_until_ms.unwrap_or(0) })
        };
        Self { wall_ms, nodes: Arc::new(catalog.nodes().map(entry).collect()) }
    }

    fn of_node(&self, node: NodeId) -> (u32, bool) {
        let entry = self.nodes.get(&node).copied().unwrap_or_default();
        (entry.group, entry.maintained_until_ms > self.wall_ms)
    }
}

/// What a node says of itself, as a policy is told it.
#[must_use]
pub fn vitals(told: &Told) -> Vitals {
    Vitals {
        loop_delay_ms: u64::from(told.loop_delay_ms),
        fsync_ms: u64::from(told.fsync_ms),
        syncing_ms: u64::from(told.syncing_ms),
        apply_backlog: told.apply_backlog,
        free_disk_bytes: told.free_disk_bytes,
    }
}

/// The evidence of one node, as a policy is told it.
#[must_use]
pub fn evidence(seen: &Evidence, known: &Known) -> NodeEvidence {
    let (group, in_maintenance) = known.of_node(seen.node);
    NodeEvidence {
        group,
        misses: seen.misses,
        refusals: seen.refusals,
        timeouts: seen.timeouts,
        connecting: seen.connecting,
        connection_lost: seen.connection_lost,
        rtt_mean_us: u64::from(seen.rtt_mean_us),
        rtt_deviation_us: u64::from(seen.rtt_deviation_us),
        pong_intervals_ms: seen.pong_intervals_ms.clone().into(),
        vitals: seen.report.map(|report| vitals(&report.vitals)),
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
        in_maintenance,
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
pub fn detection_input(observation: &Observation, known: &Known) -> DetectionInput {
    DetectionInput {
        now_ms: observation.at.as_millis(),
        wall_ms: known.wall_ms,
        heartbeat_interval_ms: u64::from(observation.interval_ms),
        observer_late_ms: u64::from(observation.observer_late_ms),
        seed: observation.at.0,
        nodes: observation.nodes.iter().map(|seen| evidence(seen, known)).collect(),
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
    pub fn note<V: Borrow<NodeVerdict>>(&mut self, at: Instant, verdicts: &[V]) {
        let verdicts = || verdicts.iter().map(Borrow::borrow);
        let failed = |node: &NodeId| verdicts().any(|v| v.node == node.0 && v.health == Health::Failed);
        self.0.retain(|node, _| failed(node));
        for verdict in verdicts().filter(|verdict| verdict.health == Health::Failed) {
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

/// A node whose ping took at most this many intervals is heard.
const HEARD_MISSES_MAX: u32 = 2;

impl Sight {
    /// What failover needs to know of an observation that was judged. The positions are for the caller to add.
    #[must_use]
    pub fn of<V: Borrow<NodeVerdict>>(
        observation: &Observation,
        verdicts: &[V],
        failed: &FailedSince,
        known: &Known,
    ) -> Self {
        let verdicts: BTreeMap<u64, &NodeVerdict> =
            verdicts.iter().map(Borrow::borrow).map(|verdict| (verdict.node, verdict)).collect();
        let nodes = observation.nodes.iter().map(|seen| {
            let verdict = verdicts.get(&seen.node.0);
            let before = |age: u32| Instant(observation.at.0.saturating_sub(u64::from(age) * 1000));
            let sight = NodeSight {
                health: verdict.map_or(Health::Healthy, |verdict| verdict.health),
                reason: verdict.map_or_else(String::new, |verdict| verdict.reason.to_string()),
                failed_at: failed.of(seen.node),
                last_pong: seen.last_pong_age_ms.map(before),
                answered_as: seen.report.filter(|report| report.joined).map(|r| (r.incarnation, r.store)),
                lost_tail: seen.report.is_some_and(|report| report.lost_tail),
                asked_at: seen.asked_age_ms.map(before),
                rtt_mean_us: u64::from(seen.rtt_mean_us),
                flaps_last_hour: seen.flaps_last_hour,
                is_heard: seen.misses <= HEARD_MISSES_MAX
                    && seen.refusals == 0
                    && seen.timeouts == 0
                    && !seen.connection_lost,
                vitals: seen.report.map(|report| vitals(&report.vitals)),
                in_maintenance: known.of_node(seen.node).1,
            };
            (seen.node, sight)
        });
        Self { now: observation.at, wall_ms: known.wall_ms, nodes: nodes.collect(), ..Self::default() }
    }
}
