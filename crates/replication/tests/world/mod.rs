//! A small world for replication cores: leaves with disks, links between them, a catalog, and time as a number.
//!
//! Everything that waits to happen is a [`Move`]: a message, a sync, a leaf's next view of the catalog.
//! A script plays the moves in order, the simulation in any order; [`Checks`] watches both.
//! The shell's part is played as `node` plays it: effects are carried out in order, a link's messages come in order,
//! and what a process had not synced may be gone after it.
//!
//! `master.rs` is the catalog and who decides about it, `moves.rs` what can happen, `effects.rs` the shell's part,
//! `wires.rs` links, `disk.rs` disks, `faults.rs` what breaks, `clients.rs` who writes.
//! Not here: transactions, which have scripts of their own, and more than one partition.

#![allow(dead_code, reason = "scripts and simulation each use a part")]

pub mod checks;
mod clients;
pub mod disk;
mod effects;
mod faults;
mod master;
mod moves;
mod wires;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{Display, Write as _};
use std::time::Duration;

use baton_catalog::{Catalog, Command, InstancePlacement, NewNode};
use baton_model::{
    AggregatorRole, ClusterId, DatabaseId, Durability, Incarnation, Instant, Lsn, NodeId, NodeRole,
    PartitionId, ReplicationMode, StatementId, StoreId,
};
use baton_replication::{Effect, Event, History, Instance, TICK_GAP_MAX};

use self::checks::Checks;
use self::disk::{Disk, Rows};
use self::wires::Wire;

/// The one partition of this world.
pub const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };
/// A replica that is silent for this long is reported.
pub const SYNC_REPLICA_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to open a link.
const LINK_RETRY: Duration = Duration::from_millis(100);

/// One leaf.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub up: bool,
    pub incarnation: Incarnation,
    pub store: StoreId,
    pub disk: Disk,
    /// Whether it syncs what it appends, as the newest view of its instance says.
    syncs: bool,
    /// What its last run did not sync may be gone, and the catalog does not know it yet.
    lost_tail: bool,
    /// Which version of the catalog it has.
    pub mirror: usize,
    pub instance: Option<Instance>,
    /// To whom it keeps a link open.
    wants: Option<NodeId>,
    opened: Option<u64>,
    /// When it tries again to open one.
    retry_at: Instant,
    /// The copy that it fetches, and from whom.
    fetching: Option<(NodeId, u64)>,
    /// What effects brought about, for the next step.
    pending: VecDeque<Event>,
}

impl Leaf {
    fn lose_link(&mut self, now: Instant) {
        self.opened = None;
        self.retry_at = now + LINK_RETRY;
    }
}

/// Something that can happen now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// A leaf learns of the next version of the catalog.
    View(NodeId),
    /// An instance is told what its own effects brought about.
    Pending(NodeId),
    /// A sync of a leaf's disk is done.
    Synced(NodeId),
    /// A message on a link reaches this node.
    Deliver(u64, NodeId),
    /// This node learns that a link is gone.
    Down(u64, NodeId),
    /// A replica's link to its primary is opened.
    Connect(NodeId),
    /// A leaf has fetched all of a copy.
    Fetched(NodeId),
    /// A request reaches the master aggregator.
    Ask(usize),
}

/// What is held back until it is let go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hold {
    Disk(NodeId),
    Catalog(NodeId),
    Wire(NodeId, NodeId),
    Master,
}

#[derive(Clone, Debug)]
pub struct World {
    pub now: Instant,
    /// Every version of the catalog; the last one is the truth.
    pub versions: Vec<Catalog>,
    pub leaves: BTreeMap<NodeId, Leaf>,
    wires: BTreeMap<u64, Wire>,
    next_link: u64,
    /// Requests on their way to the master aggregator.
    pub requests: Vec<Command>,
    /// Every copy that was ever made: as of which position, its epochs, and its rows.
    copies: BTreeMap<u64, (Lsn, History, Rows)>,
    pub held: BTreeSet<Hold>,
    /// Pairs of nodes that cannot open links.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    next_run: u64,
    /// Which statement a ticket is for.
    tickets: Vec<StatementId>,
    pub checks: Checks,
    /// The plans to hand over that were answered, and whether nothing was under way any more.
    pub drained: BTreeMap<u64, bool>,
    next_hand_over: u64,
    /// Whether an instance is meant to see what must never be.
    pub expects_halts: bool,
    /// What happened, in the house notation.
    pub story: String,
    pub tells_effects: bool,
    pub tells_events: bool,
}

impl World {
    /// A cluster of one aggregator, n1, and these leaves, n2 and up; the first is primary, all others replicas.
    pub fn new(leaves: u64, replication: ReplicationMode, durability: Durability) -> Self {
        let ids: Vec<NodeId> = (2..2 + leaves).map(NodeId).collect();
        let mut world = Self {
            now: Instant(0),
            versions: vec![Catalog::default()],
            leaves: BTreeMap::new(),
            wires: BTreeMap::new(),
            next_link: 0,
            requests: Vec::new(),
            copies: BTreeMap::new(),
            held: BTreeSet::new(),
            cut: BTreeSet::new(),
            next_run: 100,
            tickets: Vec::new(),
            checks: Checks::default(),
            drained: BTreeMap::new(),
            next_hand_over: 0,
            expects_halts: false,
            story: String::new(),
            tells_effects: false,
            tells_events: false,
        };
        let found = Command::FoundCluster {
            cluster: ClusterId(1),
            node: new_node(NodeId(1), NodeRole::Aggregator),
            policies: vec![],
            bindings: vec![],
        };
        world.commit(found).expect("a cluster is founded once");
        for id in &ids {
            world.commit(Command::AddNode(new_node(*id, NodeRole::Leaf))).expect("a node joins once");
            let leaf = Leaf {
                up: true,
                incarnation: Incarnation(id.0),
                store: StoreId(id.0),
                disk: Disk::default(),
                syncs: true,
                lost_tail: false,
                mirror: 0,
                instance: None,
                wants: None,
                opened: None,
                retry_at: Instant(0),
                fetching: None,
                pending: VecDeque::new(),
            };
            world.leaves.insert(*id, leaf);
        }
        let placement = InstancePlacement { primary: ids[0], replicas: ids[1..].to_vec() };
        let create = Command::CreateDatabase {
            name: "db".into(),
            if_not_exists: false,
            replication,
            durability,
            placements: vec![placement],
        };
        world.versions = vec![world.catalog().clone()];
        world.commit(create).expect("the leaves are there");
        world
    }

    /// Shows a leaf's copy of the catalog to its instance, which comes into being if it is not there.
    pub fn see(&mut self, id: NodeId) {
        let Some(view) = self.view(id) else { return };
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        if leaf.instance.is_none() && (view.primary == id || view.replicas.contains_key(&id)) {
            leaf.instance = Some(Instance::open(PARTITION, id, leaf.disk.now.saved()));
        }
        self.step(id, vec![Event::View(view)]);
    }

    /// A leaf that was busy sees the newest catalog, and none of those before it.
    pub fn jump(&mut self, id: NodeId) {
        let newest = self.versions.len() - 1;
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.mirror = newest;
        }
        self.see(id);
    }

    /// Time passes, and every instance that runs is told, often enough to believe it.
    pub fn pass(&mut self, time: Duration) {
        let ids: Vec<NodeId> = self.leaves.keys().copied().collect();
        self.pass_for(&ids, time);
    }

    /// Time passes, and only these leaves' processes run meanwhile.
    pub fn pass_for(&mut self, ids: &[NodeId], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + TICK_GAP_MAX.min(end.since(self.now));
            for id in ids {
                self.step(*id, vec![Event::Tick]);
            }
        }
    }

    /// Tells an instance what happened, and carries out what it wants done.
    pub fn step(&mut self, id: NodeId, events: Vec<Event>) {
        let now = self.now;
        let Some(leaf) = self.leaves.get_mut(&id).filter(|leaf| leaf.up) else { return };
        let Some(instance) = leaf.instance.as_mut() else { return };
        if self.tells_events {
            for event in &events {
                let _ = writeln!(self.story, "{now} {id} ‹ {event}");
            }
        }
        let newest = events.iter().rev().find_map(|event| match event {
            Event::View(view) => Some(view.sync_durability),
            _ => None,
        });
        leaf.syncs = newest.unwrap_or(leaf.syncs);
        let rests = instance.is_at_rest() && matches!(events[..], [Event::Tick]);
        let effects = instance.step(now, events);
        let only_trims = effects.iter().all(|effect| matches!(effect, Effect::Trim(_)));
        assert!(!rests || only_trims, "{id} is at rest, and the time brings {effects:?}");
        if instance.serves() {
            self.checks.serves(instance.epoch(), id);
        }
        for effect in effects {
            if self.tells_effects {
                let _ = writeln!(self.story, "{id} {effect}");
            }
            self.carry_out(id, effect);
        }
        self.check();
    }

    fn check(&mut self) {
        let partition = self.partition().clone();
        if self.checks.loses_power && partition.unsynced {
            return;
        }
        let primary = &self.leaves[&partition.primary];
        if primary.instance.as_ref().is_some_and(|i| i.serves() && i.epoch() == partition.epoch) {
            self.checks.shows_acknowledged(partition.primary, &primary.disk.now);
        }
        let holders = partition.promotable().chain(partition.has_able_primary().then_some(partition.primary));
        for id in holders {
            let known = self.catalog().node(id).map(|node| node.store);
            let leaf = &self.leaves[&id];
            // A disk that was lost a moment ago: the catalog will learn of it before it counts on the leaf again.
            if known == Some(leaf.store) {
                self.checks.has_acknowledged(&partition, id, &leaf.disk.synced);
            }
        }
    }

    pub fn tell(&mut self, what: impl Display) {
        if self.tells_effects {
            let _ = writeln!(self.story, "{what}");
        }
    }
}

/// The two, in order.
pub fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

fn new_node(id: NodeId, role: NodeRole) -> NewNode {
    NewNode {
        host: "h".into(),
        sql_port: 3300 + id.0 as u16,
        rpc_port: 4300,
        http_port: 5300,
        role,
        aggregator_role: Some(AggregatorRole::VotingMember),
        availability_group: Some(1),
        incarnation: Incarnation(id.0),
        store: StoreId(id.0),
    }
}
