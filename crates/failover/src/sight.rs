//! What the master aggregator sees of its nodes at one moment: the judged evidence, as far as failover needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{Incarnation, Instant, Lsn, NodeId, PartitionId, StoreId};
use baton_policy::{Health, Vitals};

/// One node, as seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSight {
    /// The detection policy's verdict.
    pub health: Health,
    /// The policy's reason for it.
    pub reason: String,
    /// Since when it is judged failed.
    pub failed_at: Option<Instant>,
    /// When it last answered; None if it never did since this observer started.
    pub last_pong: Option<Instant>,
    /// The run and the data directory that answered last, if it said that it belongs to the cluster.
    pub answered_as: Option<(Incarnation, StoreId)>,
    /// Whether that run may lack what the one before did not sync.
    pub lost_tail: bool,
    /// When the newest ping was sent that it answered; None if it never did since this observer started.
    pub asked_at: Option<Instant>,
    /// Mean round trip time of its pings, in microseconds.
    pub rtt_mean_us: u64,
    /// How often it failed and came back within the last hour.
    pub flaps_last_hour: u32,
    /// Whether it answered within the last two intervals, and no connection failed since.
    pub is_heard: bool,
    /// What it said of itself last.
    pub vitals: Option<Vitals>,
    /// Whether an operator marked it as being worked on.
    pub in_maintenance: bool,
}

/// All nodes, as seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sight {
    /// Now, by the observer's clock.
    pub now: Instant,
    /// Now, by the observer's wall clock, in milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, NodeSight>,
    /// Until when a leaf that is lent nothing more may still show what it reads (`baton-detector` has the arithmetic).
    /// Before that nobody takes its place, whatever speaks for it.
    pub reads_until: BTreeMap<NodeId, Instant>,
    /// The ends of the instances' logs, as their leaves told them last. A moment old, and not always there: every
    /// `Sync` replica has what was acknowledged, so a position may rank candidates and never makes one.
    /// Shared, because a sight is made at every tick and positions are seldom looked at.
    pub positions: Arc<BTreeMap<(NodeId, PartitionId), Lsn>>,
    /// Since when the observer's catalog says of each node what it says now ([`Learned`](crate::Learned)).
    pub learned: BTreeMap<NodeId, Instant>,
    /// Leaves that answer again and are not to be used yet, as the `rejoin` policy decided ([`crate::Returns`]).
    pub held_back: BTreeMap<NodeId, HeldBack>,
}

/// Why a leaf that answers again is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldBack {
    /// For how long it will be, as far as can be told; None if no time helps.
    pub left: Option<Duration>,
    /// Why, and who decided.
    pub reason: String,
}

impl Sight {
    /// Whether a node answers and nothing speaks against it.
    #[must_use]
    pub fn is_well(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|seen| seen.health == Health::Healthy && seen.answered_as.is_some())
    }

    /// Whether what a node said of itself last is newer than what the catalog says of it: it answered a ping that was sent
    /// after this observer had learned of that.
    ///
    /// An observer that could not hear a node for a while, and does not miss it yet, remembers how it was. To take that
    /// for news would disown the run that serves, call its disk lost if it has another one, and take back whom another
    /// master aggregator gave up.
    #[must_use]
    pub fn is_news(&self, node: NodeId) -> bool {
        let asked_at = self.nodes.get(&node).and_then(|seen| seen.asked_at);
        self.learned.get(&node).is_none_or(|learned| asked_at.is_some_and(|asked| asked > *learned))
    }

    /// Takes for healthy, whatever its policy says, every leaf that answers and that nobody could replace: no partition that
    /// it serves has an heir that is well, and something is served by it alone or could be. Nothing can be won by giving
    /// it up (S8): a policy that calls everybody failed would stop the cluster.
    pub fn spare(&mut self, catalog: &Catalog) {
        let is_doubted = |seen: &NodeSight| seen.health != Health::Healthy && seen.is_heard;
        if !self.nodes.values().any(is_doubted) {
            return;
        }
        let (mut needed, mut replaceable) = (BTreeSet::new(), BTreeSet::new());
        for partition in catalog.partitions() {
            let has_heir = partition.promotable().any(|replica| self.is_well(replica));
            if let Some(serving) = catalog.serving(partition.id) {
                if has_heir { &mut replaceable } else { &mut needed }.insert(serving.id);
                continue;
            }
            let able = Some(partition.primary).filter(|_| partition.has_able_primary());
            if !has_heir && !able.is_some_and(|primary| self.is_well(primary)) {
                needed.extend(able.into_iter().chain(partition.promotable()));
            }
        }
        for node in needed.difference(&replaceable) {
            if let Some(seen) = self.nodes.get_mut(node).filter(|seen| is_doubted(seen)) {
                seen.health = Health::Healthy;
            }
        }
    }

    /// Whether a node is judged failed.
    #[must_use]
    pub fn is_failed(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|seen| seen.health == Health::Failed)
    }

    /// Whether a node may still show what it reads.
    #[must_use]
    pub fn may_read(&self, node: NodeId) -> bool {
        self.reads_until.get(&node).is_some_and(|until| self.now < *until)
    }

    /// Whether a node is well and has answered since another was judged failed.
    ///
    /// Two nodes that die together are not noticed at the same moment. An answer from before the first verdict says
    /// nothing about whether the second is still there, and to act on it could make the dead one the only holder of
    /// the last word on a partition.
    ///
    /// One that the catalog has given up may be judged well again and not be used yet: then what counts is when this
    /// observer learned that it was given up.
    pub fn is_well_since_failure_of(&self, node: NodeId, failed: NodeId, given_up: bool) -> bool {
        let judged = self.nodes.get(&failed).and_then(|seen| seen.failed_at);
        let since = judged.or_else(|| self.learned.get(&failed).copied().filter(|_| given_up));
        let pong = self.nodes.get(&node).and_then(|seen| seen.last_pong);
        self.is_well(node) && since.is_none_or(|since| pong.is_some_and(|pong| pong > since))
    }
}
