//! What a scenario came to: looked at while it is played.

use std::collections::{BTreeMap, BTreeSet};

use baton_model::{NodeId, NodeState, PartitionId};

use crate::kernel::{MS, S, Time};
use crate::world::World;

/// The world is looked at this often; nothing is measured more finely.
pub(super) const LOOK: Time = 10 * MS;
/// A partition in which nobody could write for so long is told of.
const TOLD_GAP: Time = S / 2;

/// Something that happened, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Milliseconds since the scenario began.
    pub at_ms: u64,
    /// What.
    pub what: String,
}

/// What one seed of a scenario came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// Of each node that had to be failed over, how long it took until it was.
    pub detection_ms: BTreeMap<NodeId, u64>,
    /// The longest time in which no write was done in some partition.
    pub write_gap_ms: u64,
    /// The longest time without a master aggregator.
    pub master_gap_ms: u64,
    /// How often a node was failed, or a master aggregator replaced, with which nothing was wrong.
    pub needless: usize,
    /// Rules that were broken.
    pub broken: Vec<String>,
    /// What happened, in its order.
    pub moments: Vec<Moment>,
}

/// Looks at a world from the beginning of a scenario to its end.
#[derive(Debug)]
pub(super) struct Watch {
    began: Time,
    /// Since when something is wrong with those that have to be failed over.
    hurt: BTreeMap<NodeId, Time>,
    must_fail: BTreeSet<NodeId>,
    may_fail: BTreeSet<NodeId>,
    states: BTreeMap<NodeId, NodeState>,
    index: u64,
    master: Option<NodeId>,
    led_at: Time,
    gaps: BTreeMap<PartitionId, Time>,
    pub(super) measured: Measured,
}

impl Watch {
    /// Begins now.
    pub(super) fn begin(world: &World, must_fail: BTreeSet<NodeId>, may_fail: BTreeSet<NodeId>) -> Self {
        Self {
            began: world.now,
            hurt: BTreeMap::new(),
            must_fail,
            may_fail,
            states: states(world),
            index: world.catalog().index().0,
            master: world.acting_leaders().first().copied(),
            led_at: world.now,
            gaps: BTreeMap::new(),
            measured: Measured::default(),
        }
    }

    /// Something befalls a node.
    pub(super) fn hurts(&mut self, world: &World, node: NodeId) {
        self.hurt.entry(node).or_insert(world.now);
    }

    /// Something to be told.
    pub(super) fn tell(&mut self, world: &World, what: String) {
        let at_ms = (world.now - self.began) / MS;
        self.measured.moments.push(Moment { at_ms, what });
    }

    /// Looks.
    pub(super) fn look(&mut self, world: &World) {
        self.look_at_nodes(world);
        self.look_at_master(world);
        self.look_at_writes(world);
    }

    fn look_at_nodes(&mut self, world: &World) {
        let index = world.catalog().index().0;
        if index == self.index {
            return;
        }
        self.index = index;
        let now = states(world);
        let before = std::mem::replace(&mut self.states, now.clone());
        for (node, state) in now {
            if before.get(&node) == Some(&state) {
                continue;
            }
            self.tell(world, format!("{node} is {state}"));
            if state == NodeState::Online {
                continue;
            }
            self.noticed(world, node);
        }
    }

    /// A node is failed over: as it has to be, or without need.
    fn noticed(&mut self, world: &World, node: NodeId) {
        if let Some(since) = self.hurt.get(&node).filter(|_| self.must_fail.contains(&node)) {
            let took = (world.now - since) / MS;
            self.measured.detection_ms.entry(node).or_insert(took);
        } else if !self.may_fail.contains(&node) {
            self.measured.needless += 1;
            self.tell(world, format!("{node} was failed without need"));
        }
    }

    fn look_at_master(&mut self, world: &World) {
        let leaders = world.acting_leaders();
        let Some(leader) = leaders.iter().find(|leader| Some(**leader) != self.master).or(leaders.first())
        else {
            let gap = (world.now - self.led_at) / MS;
            self.measured.master_gap_ms = self.measured.master_gap_ms.max(gap);
            return;
        };
        self.led_at = world.now;
        if Some(*leader) == self.master {
            return;
        }
        let before = self.master.replace(*leader);
        self.tell(world, format!("{leader} is master aggregator"));
        if let Some(before) = before {
            self.noticed(world, before);
        }
    }

    fn look_at_writes(&mut self, world: &World) {
        for partition in world.catalog().partitions() {
            let written = world.workload.written_at.get(&partition.id).copied().unwrap_or(self.began);
            let gap = world.now - written.max(self.began);
            self.measured.write_gap_ms = self.measured.write_gap_ms.max(gap / MS);
            let longest = self.gaps.entry(partition.id).or_default();
            if gap >= *longest && gap >= TOLD_GAP {
                *longest = gap;
            } else if *longest > 0 {
                let (name, ms) = (world.catalog().partition_name(partition.id), *longest / MS);
                *longest = 0;
                self.tell(world, format!("{name} is written to again, after {ms} ms"));
            }
        }
    }
}

fn states(world: &World) -> BTreeMap<NodeId, NodeState> {
    world.catalog().nodes().map(|node| (node.id, node.state)).collect()
}
