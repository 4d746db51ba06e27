//! Whether a leaf that failed and answers again is used again: the `rejoin` decision point says.
//!
//! That costs a second copy for a while, and never service: what a policy may hold back, and for how long, has a ceiling
//! (S8). What an operator took out comes back by an operator's word alone, and is not asked about.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::{Catalog, Node};
use baton_model::{Instant, NodeId, NodeState};
use baton_policy::{Health, NodeEvidence, RejoinChoice, RejoinInput};

use crate::ask::{Answer, Ask};
use crate::sight::{HeldBack, Sight};

/// Since when leaves that are not used answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Returns(BTreeMap<NodeId, Instant>);

impl Returns {
    /// The leaves that answer and are not to be used yet. `evidence` is what is known of a leaf.
    pub fn look(
        &mut self,
        catalog: &Catalog,
        sight: &Sight,
        evidence: &dyn Fn(NodeId) -> Option<NodeEvidence>,
        policy: &mut dyn Ask<RejoinInput>,
    ) -> BTreeMap<NodeId, HeldBack> {
        let away = |node: &&Node| !node.is_online() && node.state != NodeState::Detached;
        let back: Vec<&Node> = catalog.leaves().filter(away).filter(|node| answers(sight, node.id)).collect();
        self.0.retain(|id, _| back.iter().any(|node| node.id == *id));
        let mut held_back = BTreeMap::new();
        if !catalog.switch("auto_attach") {
            return held_back;
        }
        for node in back {
            let since = *self.0.entry(node.id).or_insert(sight.now);
            // One that is suspect or no news is not used, whatever is decided.
            if !sight.is_well(node.id) || !sight.is_news(node.id) {
                continue;
            }
            let Some(leaf) = evidence(node.id) else { continue };
            let question = RejoinInput { leaf, ..question(catalog, sight, node, since) };
            let Answer { verdict, policy } = policy.ask(question);
            let left = match verdict.choice {
                RejoinChoice::Attach => continue,
                RejoinChoice::Later => Some(Duration::from_millis(verdict.left_ms)),
                RejoinChoice::Refuse => None,
            };
            held_back.insert(node.id, HeldBack { left, reason: format!("{} ({policy})", verdict.reason) });
        }
        held_back
    }
}

/// Whether it is there. One that is suspect for a moment goes on answering.
fn answers(sight: &Sight, node: NodeId) -> bool {
    sight.nodes.get(&node).is_some_and(|seen| seen.health != Health::Failed && seen.answered_as.is_some())
}

fn question(catalog: &Catalog, sight: &Sight, node: &Node, since: Instant) -> RejoinInput {
    let seen = sight.nodes.get(&node.id);
    let answers_as = seen.and_then(|seen| seen.answered_as);
    let seconds = |name| catalog.number(name).saturating_mul(1_000);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let of_group = || {
        let group = node.availability_group;
        catalog.leaves().filter(move |other| other.availability_group == group && other.id != node.id)
    };
    RejoinInput {
        now_ms: sight.now.as_millis(),
        wall_ms: sight.wall_ms,
        seed: sight.now.0 ^ node.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        answering_ms: u64::try_from(sight.now.since(since).as_millis()).unwrap_or(u64::MAX),
        initial_grace_ms: seconds("failover_initial_grace_interval_seconds"),
        maximum_grace_ms: seconds("failover_maximum_grace_interval_seconds"),
        instances: count(catalog.partitions().filter(|p| p.role_of(node.id).is_some()).count()),
        needed_by: count(catalog.partitions().filter(|p| needs(catalog, p.id, node.id)).count()),
        restarted: answers_as.is_some_and(|(incarnation, _)| incarnation != node.incarnation),
        disk_replaced: answers_as.is_some_and(|(_, store)| store != node.store),
        lost_tail: seen.is_some_and(|seen| seen.lost_tail),
        group_leaves: count(of_group().count()),
        group_online: count(of_group().filter(|other| other.is_online()).count()),
        ..RejoinInput::default()
    }
}

/// Whether a partition is not served and may be by this leaf.
fn needs(catalog: &Catalog, partition: baton_model::PartitionId, node: NodeId) -> bool {
    catalog.serving(partition).is_none()
        && catalog.partition(partition).is_some_and(|partition| {
            partition.primary == node || partition.promotable().any(|replica| replica == node)
        })
}
