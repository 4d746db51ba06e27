//! How long a leaf that failed must answer before it is used again.
//!
//! A leaf that fails once and returns is used at once. One that fails again and again within an hour must answer for
//! `failover_initial_grace_interval_seconds` first, twice as long after each further failure, and never longer than
//! `failover_maximum_grace_interval_seconds`. That costs a second copy for a while, and never service: a leaf that is
//! the only one to serve a partition is not held back.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{Instant, NodeId};

use crate::sight::Sight;

/// Since when leaves that are not used answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Graces(BTreeMap<NodeId, Instant>);

impl Graces {
    /// The leaves that answer and are not to be used yet, and for how long.
    pub fn look(&mut self, catalog: &Catalog, sight: &Sight) -> BTreeMap<NodeId, Duration> {
        let away =
            |node: &NodeId| catalog.node(*node).is_some_and(|known| known.is_leaf() && !known.is_online());
        let back: Vec<NodeId> =
            sight.nodes.keys().copied().filter(|node| away(node) && sight.is_well(*node)).collect();
        self.0.retain(|node, _| back.contains(node));
        let mut held_back = BTreeMap::new();
        for node in back {
            let since = *self.0.entry(node).or_insert(sight.now);
            let flaps = sight.nodes.get(&node).map_or(0, |seen| seen.flaps_last_hour);
            let left = interval(catalog, flaps).saturating_sub(sight.now.since(since));
            if !left.is_zero() && !is_needed(catalog, node) {
                held_back.insert(node, left);
            }
        }
        held_back
    }
}

/// After so many failures within an hour.
fn interval(catalog: &Catalog, flaps: u32) -> Duration {
    let initial = catalog.number("failover_initial_grace_interval_seconds");
    let most = catalog.number("failover_maximum_grace_interval_seconds");
    let Some(doublings) = flaps.checked_sub(2) else { return Duration::ZERO };
    Duration::from_secs(initial.saturating_mul(1_u64 << doublings.min(20)).min(most))
}

/// Whether a partition is not served without this leaf and may be with it.
fn is_needed(catalog: &Catalog, node: NodeId) -> bool {
    catalog.partitions().any(|partition| {
        catalog.serving(partition.id).is_none()
            && (partition.primary == node || partition.promotable().any(|replica| replica == node))
    })
}
