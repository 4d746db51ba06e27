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
    /// How many nodes had to be failed over.
    pub wanted: usize,
    /// Of each of them, how long it took until it was, from what befell it last before that.
    pub detection_ms: BTreeMap<NodeId, u64>,
    /// The longest time in which no write was done in some partition.
    pub write_gap_ms: u64,
    /// The longest time without a master aggregator.
    pub master_gap_ms: u64,
    /// How often a node was failed, or a master aggregator replaced, with which nothing was wrong.
    pub needless: usize,
    /// Why the cluster did not come to rest in time, if it did not; or that it did not begin to serve.
    pub restless: Option<String>,
    /// Rules that were broken.
    pub broken: Vec<String>,
    /// What happened, in its order.
    pub moments: Vec<Moment>,
}

/// What of a node does not work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    /// It does not run.
    Process,
    /// Others do not hear it, or it does not hear them, or late.
    Ways,
    /// What it writes takes too long.
    Disk,
}

/// Looks at a world from the beginning of a scenario to its end.
#[derive(Debug)]
pub(super) struct Watch {
    began: Time,
    /// Nodes with which something is wrong: what, and when the last of it befell them.
    hurt: BTreeMap<NodeId, (BTreeSet<Part>, Time)>,
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
        let measured = Measured { wanted: must_fail.len(), ..Measured::default() };
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
            measured,
        }
    }

    /// Something befalls a node, and a part of it does not work any more.
    pub(super) fn hurts(&mut self, world: &World, node: NodeId, part: Part) {
        let (parts, at) = self.hurt.entry(node).or_default();
        parts.insert(part);
        *at = world.now;
    }

    /// A part of it works again.
    pub(super) fn heals(&mut self, node: NodeId, part: Part) {
        if let Some((parts, _)) = self.hurt.get_mut(&node) {
            parts.remove(&part);
            if parts.is_empty() {
                self.hurt.remove(&node);
            }
        }
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
        let hurt = self.hurt.get(&node).filter(|_| self.must_fail.contains(&node));
        if let Some((_, at)) = hurt {
            let took = (world.now - at) / MS;
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

impl Watch {
    /// The end: what still lasts is told of.
    pub(super) fn end(mut self, world: &World) -> Measured {
        for (partition, longest) in std::mem::take(&mut self.gaps) {
            if longest > 0 {
                let (name, ms) = (world.catalog().partition_name(partition), longest / MS);
                self.tell(world, format!("{name} was not written to for {ms} ms, and still is not"));
            }
        }
        if world.acting_leaders().is_empty() {
            self.tell(world, "there is no master aggregator".to_owned());
        }
        self.measured
    }
}

fn states(world: &World) -> BTreeMap<NodeId, NodeState> {
    world.catalog().nodes().map(|node| (node.id, node.state)).collect()
}
