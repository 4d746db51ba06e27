//! A small world for replication cores: leaves with disks, links between them, a catalog, and time as a number.
//!
//! Everything that waits to happen is a [`Move`]: a message, a sync, a leaf's next view of the catalog.
//! A script plays the moves in order, the simulation in any order; [`Checks`] watches both.
//! The shell's part is played as `node` plays it: effects are carried out in order, a link's messages come in order,
//! and what a process had not synced may be gone after it.

#![allow(dead_code, reason = "scripts and simulation each use a part")]

pub mod checks;
pub mod disk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{Display, Write as _};
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, InstancePlacement, NewNode, Outcome, Partition};
use baton_model::limits::REPLICATION_BATCH_RECORDS_MAX;
use baton_model::{
    AggregatorRole, CatalogIndex, ClusterId, DatabaseId, Durability, Epoch, Incarnation, Instant, Lsn,
    NodeId, NodeRole, PartitionId, ReplicationMode, StatementId, StoreId, SyncState,
};
use baton_replication::{Effect, Event, History, Instance, Message, Settings, TICK_GAP_MAX, View, Write};

use self::checks::Checks;
use self::disk::{Disk, Rows, Stored, Write as DiskWrite};

/// The one partition of this world.
pub const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };
/// A replica that is silent for this long is reported.
pub const SYNC_REPLICA_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to open a link.
const LINK_RETRY: Duration = Duration::from_millis(100);
/// Copies of all leaves together, at most.
const COPIES_MAX: u64 = 1_000_000;

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

/// One direction of a link. `open` is about the end at which messages come out.
#[derive(Clone, Debug, Default)]
struct Lane {
    messages: VecDeque<Message>,
    open: bool,
}

/// A link, opened by a replica.
#[derive(Clone, Debug)]
struct Wire {
    replica: NodeId,
    primary: NodeId,
    to_primary: Lane,
    to_replica: Lane,
}

impl Wire {
    fn lane(&mut self, to: NodeId) -> Option<&mut Lane> {
        match to {
            _ if to == self.primary => Some(&mut self.to_primary),
            _ if to == self.replica => Some(&mut self.to_replica),
            _ => None,
        }
    }

    fn other(&self, node: NodeId) -> NodeId {
        if node == self.primary { self.replica } else { self.primary }
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

    // ---- the catalog

    /// The newest version.
    pub fn catalog(&self) -> &Catalog {
        self.versions.last().expect("there is always one")
    }

    /// The partition in the newest version.
    pub fn partition(&self) -> &Partition {
        self.catalog().partition(PARTITION).expect("it is never dropped")
    }

    /// Commits a command.
    pub fn commit(&mut self, command: Command) -> Outcome {
        let mut catalog = self.catalog().clone();
        let index = CatalogIndex(catalog.index().0 + 1);
        let outcome = catalog.apply(index, &Entry { statement: None, at_ms: 0, command }).outcome;
        if outcome.is_ok() {
            self.versions.push(catalog);
        }
        outcome
    }

    /// What a leaf's copy of the catalog says about the partition, as its process must see it.
    pub fn view(&self, id: NodeId) -> Option<View> {
        let leaf = &self.leaves[&id];
        let catalog = &self.versions[leaf.mirror];
        let partition = catalog.partition(PARTITION)?;
        let database = catalog.database_by_id(PARTITION.database)?;
        let online = |node: NodeId| catalog.node(node).is_some_and(|node| node.is_online());
        Some(View {
            epoch: partition.epoch,
            version: partition.version,
            primary: partition.primary,
            armed: catalog.node(id)?.incarnation == leaf.incarnation && partition.has_able_primary(),
            replicas: partition.replicas.iter().map(|(n, state)| (*n, (*state, online(*n)))).collect(),
            sync_replication: database.replication == ReplicationMode::Sync,
            sync_durability: database.durability == Durability::Sync,
            unsynced: partition.unsynced,
            settings: Settings { sync_replica_timeout: SYNC_REPLICA_TIMEOUT, ..Settings::default() },
        })
    }

    // ---- what can happen, and how it does

    /// Everything that can happen now, in a fixed order.
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let free = |hold: Hold| !self.held.contains(&hold);
        for (id, leaf) in self.leaves.iter().filter(|(_, leaf)| leaf.up) {
            if leaf.mirror + 1 < self.versions.len() && free(Hold::Catalog(*id)) {
                moves.push(Move::View(*id));
            }
            if !leaf.pending.is_empty() {
                moves.push(Move::Pending(*id));
            }
            if leaf.disk.is_syncing() && free(Hold::Disk(*id)) {
                moves.push(Move::Synced(*id));
            }
            if let Some(to) = leaf.wants
                && leaf.opened.is_none()
                && leaf.retry_at <= self.now
                && self.leaves.get(&to).is_some_and(|leaf| leaf.instance.is_some())
                && !self.cut.contains(&pair(*id, to))
            {
                moves.push(Move::Connect(*id));
            }
            if let Some((from, _)) = leaf.fetching
                && self.leaves.get(&from).is_some_and(|leaf| leaf.up)
                && !self.cut.contains(&pair(*id, from))
                && free(Hold::Wire(from, *id))
            {
                moves.push(Move::Fetched(*id));
            }
        }
        for (link, wire) in &self.wires {
            for (from, to, lane, back) in [
                (wire.replica, wire.primary, &wire.to_primary, &wire.to_replica),
                (wire.primary, wire.replica, &wire.to_replica, &wire.to_primary),
            ] {
                if !lane.open || !free(Hold::Wire(from, to)) {
                    continue;
                }
                if !lane.messages.is_empty() {
                    moves.push(Move::Deliver(*link, to));
                } else if !back.open {
                    moves.push(Move::Down(*link, to));
                }
            }
        }
        if free(Hold::Master) {
            moves.extend((0..self.requests.len()).map(Move::Ask));
        }
        moves
    }

    /// Lets something happen; of messages, so many at once.
    pub fn play(&mut self, what: Move, at_once: usize) {
        match what {
            Move::View(id) => {
                let newest = self.versions.len() - 1;
                let Some(leaf) = self.leaves.get_mut(&id) else { return };
                leaf.mirror = if at_once > 1 { newest } else { leaf.mirror + 1 };
                self.see(id);
            }
            Move::Pending(id) => {
                let events = self.leaves.get_mut(&id).map(|leaf| leaf.pending.drain(..).collect());
                self.step(id, events.unwrap_or_default());
            }
            Move::Synced(id) => {
                let sync = self.leaves.get_mut(&id).and_then(|leaf| leaf.disk.finish_sync(at_once > 1));
                self.step(
                    id,
                    sync.map(|s| Event::Durable { lsn: s.lsn, cuts: s.cuts }).into_iter().collect(),
                );
            }
            Move::Deliver(link, to) => {
                let Some(wire) = self.wires.get_mut(&link) else { return };
                let peer = wire.other(to);
                let Some(lane) = wire.lane(to) else { return };
                let count = at_once.min(lane.messages.len());
                let events = lane.messages.drain(..count);
                let events = events.map(|message| Event::Received { peer, link, message }).collect();
                self.step(to, events);
            }
            Move::Down(link, to) => {
                let Some(wire) = self.wires.get_mut(&link) else { return };
                let peer = wire.other(to);
                if let Some(lane) = wire.lane(to) {
                    lane.open = false;
                }
                if let Some(leaf) = self.leaves.get_mut(&to)
                    && leaf.opened == Some(link)
                {
                    leaf.lose_link(self.now);
                }
                self.forget_closed();
                self.step(to, vec![Event::LinkDown { peer, link }]);
            }
            Move::Connect(id) => self.connect(id),
            Move::Fetched(id) => {
                let fetched = self.leaves.get_mut(&id).and_then(|leaf| leaf.fetching.take());
                self.step(id, fetched.map(|(_, copy)| Event::CopyHere { copy }).into_iter().collect());
            }
            Move::Ask(which) => {
                let command = self.requests.remove(which);
                drop(self.master(command));
            }
        }
    }

    /// Commits a command and tells what came of it.
    pub fn master(&mut self, command: Command) -> Outcome {
        let text = describe(&command);
        let outcome = self.commit(command);
        let partition = self.partition();
        let what = match &outcome {
            Ok(_) => {
                format!("done, {} v{} primary={}", partition.epoch, partition.version, partition.primary)
            }
            Err(rejection) => rejection.to_string(),
        };
        if self.tells_effects {
            let _ = writeln!(self.story, "n1 {text}: {what}");
        }
        outcome
    }

    fn connect(&mut self, id: NodeId) {
        let Some(to) = self.leaves[&id].wants else { return };
        self.next_link += 1;
        let link = self.next_link;
        let lane = || Lane { messages: VecDeque::new(), open: true };
        self.wires.insert(link, Wire { replica: id, primary: to, to_primary: lane(), to_replica: lane() });
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.opened = Some(link);
        }
        self.step(id, vec![Event::LinkUp { peer: to, link }]);
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

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let partition = self.partition().clone();
        let known_store = self.catalog().node(id).map(|node| node.store);
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        let known_disk = known_store == Some(leaf.store);
        match effect {
            Effect::SaveEpochs { epoch, history } => {
                leaf.disk.write(DiskWrite::SaveEpochs(epoch, history));
            }
            Effect::Append(records) => {
                self.checks.appended(id, &leaf.disk.now, &records);
                leaf.disk.write(DiskWrite::Append(records));
            }
            Effect::Truncate(last) => {
                self.checks.cut(id, &leaf.disk.now, last);
                leaf.disk.write(DiskWrite::Truncate(last));
            }
            Effect::Trim(before) => leaf.disk.write(DiskWrite::Trim(before)),
            Effect::SaveOutcomes(outcomes) => leaf.disk.write(DiskWrite::SaveOutcomes(outcomes)),
            Effect::Sync { lsn, cuts } => {
                leaf.disk.ask_sync(lsn, cuts);
                if !leaf.syncs {
                    // The system syncs it in its own time; nobody waits for that.
                    if !self.checks.loses_power {
                        leaf.disk.finish_sync(true);
                    }
                    leaf.pending.push_back(Event::Durable { lsn, cuts });
                }
            }
            Effect::Apply(records) => {
                self.checks.applied(id, &leaf.disk.now, &records);
                leaf.disk.write(DiskWrite::Apply(records));
            }
            Effect::Send { peer, link, message } => self.send(peer, link, message),
            Effect::ReadLog { peer, link, from } => {
                let log = leaf.disk.now.log.range(from..).take(REPLICATION_BATCH_RECORDS_MAX);
                let records = log.map(|(_, record)| record.clone()).collect();
                leaf.pending.push_back(Event::LogRead { peer, link, records });
            }
            Effect::Provision { peer, link, at_least, fresh } => {
                // A number says whose copy it is. The newest one is taken again, if that will do.
                let own = id.0 * COPIES_MAX..(id.0 + 1) * COPIES_MAX;
                let kept =
                    self.copies.range(own).next_back().filter(|(_, (at, ..))| !fresh && *at >= at_least);
                let kept = kept.map(|(copy, _)| *copy);
                let copy = kept.unwrap_or_else(|| {
                    let copy = id.0 * COPIES_MAX + self.copies.len() as u64;
                    let Stored { applied, history, rows, .. } = leaf.disk.now.clone();
                    self.copies.insert(copy, (applied, history, rows));
                    copy
                });
                let (at, history, _) = self.copies[&copy].clone();
                leaf.pending.push_back(Event::CopyReady { peer, link, copy, at, history });
            }
            Effect::FetchCopy { peer, copy, .. } => leaf.fetching = Some((peer, copy)),
            Effect::Link(to) => {
                leaf.wants = to;
                if let Some(link) = leaf.opened.take() {
                    self.close(link, id);
                }
            }
            Effect::CloseLink { link, .. } => {
                if leaf.opened == Some(link) {
                    leaf.lose_link(self.now);
                }
                self.close(link, id);
            }
            Effect::Reply { ticket, result } => {
                if let Ok(outcome) = result {
                    let statement = self.tickets[ticket as usize];
                    self.checks.acknowledged(statement, outcome);
                }
            }
            Effect::ReportLag { epoch, version, replica, lag } => {
                // The master aggregator decides as classic does.
                let online = self.catalog().node(replica).is_some_and(|node| node.is_online());
                if lag.silent >= SYNC_REPLICA_TIMEOUT || !online {
                    let (state, reason) = (SyncState::Async, "it lags".into());
                    let partition = PARTITION;
                    let command = Command::SetSyncState { partition, epoch, version, replica, state, reason };
                    self.requests.push(command);
                }
            }
            Effect::RequestSyncState { epoch, version, replica, state, reason } => {
                let command =
                    Command::SetSyncState { partition: PARTITION, epoch, version, replica, state, reason };
                self.requests.push(command);
            }
            Effect::RequestSynced { epoch, version } => {
                self.requests.push(Command::NoteSynced { partition: PARTITION, epoch, version });
            }
            Effect::Drained { ticket, result } => {
                self.drained.insert(ticket, result.is_ok());
            }
            Effect::Serve(_) => {}
            Effect::InstallCopy { copy, at, epoch, history, outcomes } => {
                self.checks.replaced(&partition, id, known_disk, &leaf.disk.now);
                leaf.disk.write(DiskWrite::Empty);
                let rows = self.copies[&copy].2.clone();
                leaf.disk.write(DiskWrite::Copied(Box::new((at, rows, epoch, history, outcomes))));
                self.checks.rows(id, &leaf.disk.now);
            }
            Effect::Report(what) => {
                if !self.checks.loses_power {
                    self.checks.violated(format!("{id} reported: {what}"));
                }
            }
            Effect::Halt(reason) => {
                if !self.expects_halts {
                    self.checks.violated(format!("{id} halted: {reason}"));
                }
            }
        }
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

    // ---- links

    fn send(&mut self, peer: NodeId, link: u64, message: Message) {
        if let Some(wire) = self.wires.get_mut(&link) {
            let here = wire.other(peer);
            let open_here = wire.lane(here).is_some_and(|lane| lane.open);
            if let Some(lane) = wire.lane(peer)
                && lane.open
                && open_here
            {
                lane.messages.push_back(message);
            }
        }
    }

    /// This node has done with a link; what comes on it is not read any more.
    fn close(&mut self, link: u64, node: NodeId) {
        if let Some(lane) = self.wires.get_mut(&link).and_then(|wire| wire.lane(node)) {
            lane.open = false;
            lane.messages.clear();
        }
        self.forget_closed();
    }

    fn forget_closed(&mut self) {
        self.wires.retain(|_, wire| wire.to_primary.open || wire.to_replica.open);
    }

    /// All links with what is on them, in the order of who they are between: their numbers say nothing.
    pub fn fingerprint_of_wires(&self) -> String {
        let mut wires: Vec<String> = self.wires.values().map(|wire| format!("{wire:?}")).collect();
        wires.sort();
        wires.concat()
    }

    /// Links that are there.
    pub fn links(&self) -> Vec<u64> {
        self.wires.keys().copied().collect()
    }

    /// The links between two nodes.
    pub fn links_between(&self, a: NodeId, b: NodeId) -> Vec<u64> {
        let of = pair(a, b);
        self.wires.iter().filter(|(_, w)| pair(w.replica, w.primary) == of).map(|(link, _)| *link).collect()
    }

    /// The network loses a link with everything on it; both ends will notice.
    pub fn break_link(&mut self, link: u64) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        for (node, back) in [(wire.replica, wire.primary), (wire.primary, wire.replica)] {
            let open = wire.lane(node).is_some_and(|lane| lane.open);
            if let Some(lane) = wire.lane(node) {
                lane.messages.clear();
            }
            if open && let Some(leaf) = self.leaves.get_mut(&node) {
                if leaf.opened == Some(link) {
                    leaf.lose_link(self.now);
                }
                leaf.pending.push_back(Event::LinkDown { peer: back, link });
            }
        }
        self.wires.remove(&link);
    }

    // ---- faults

    /// A process dies. Its last unsynced writes may be lost; its links end, which the others notice in their time.
    pub fn crash(&mut self, id: NodeId, lost_writes: usize) {
        let unsynced = self.partition().unsynced;
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        let safe = !leaf.syncs && !self.checks.loses_power;
        let lost = if safe { 0 } else { lost_writes };
        if lost > 0 && unsynced {
            self.checks.loses(&leaf.disk);
        }
        leaf.up = false;
        leaf.instance = None;
        leaf.wants = None;
        leaf.opened = None;
        leaf.fetching = None;
        leaf.pending.clear();
        leaf.disk.crash(lost);
        leaf.lost_tail |= !safe;
        for link in self.links() {
            self.close(link, id);
        }
        self.tell(format_args!("{id} crashes"));
        self.check();
    }

    /// A process starts, as another run, with the catalog that it had.
    pub fn restart(&mut self, id: NodeId) {
        self.next_run += 1;
        let run = Incarnation(self.next_run);
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        leaf.up = true;
        leaf.syncs = true;
        leaf.incarnation = run;
        self.tell(format_args!("{id} starts as {run}"));
        self.see(id);
    }

    /// A leaf that is down gets an empty disk.
    pub fn lose_disk(&mut self, id: NodeId) {
        self.next_run += 1;
        let store = StoreId(self.next_run);
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.disk = Disk::default();
            leaf.store = store;
        }
        self.tell(format_args!("{id} has an empty disk, {store}"));
    }

    // ---- the master aggregator

    /// Says that a leaf is as it is, if the catalog does not say so.
    pub fn note_online(&mut self, id: NodeId) {
        let leaf = &self.leaves[&id];
        let (incarnation, store) = (leaf.incarnation, leaf.store);
        let known = self.catalog().node(id);
        if leaf.up
            && known.is_some_and(|n| !n.is_online() || n.incarnation != incarnation || n.store != store)
        {
            let lost_tail = leaf.lost_tail;
            let _ = self.master(Command::SetNodeOnline { node: id, incarnation, store, lost_tail });
            if let Some(leaf) = self.leaves.get_mut(&id) {
                leaf.lost_tail = false;
            }
        }
    }

    /// A leaf's machine went down, and nobody can tell: its disk acknowledged what it did not keep.
    pub fn hide_lost_tail(&mut self, id: NodeId) {
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.lost_tail = false;
        }
    }

    /// Says that a leaf failed, right or wrong.
    pub fn note_offline(&mut self, id: NodeId) -> Option<Outcome> {
        let incarnation = self.catalog().node(id)?.incarnation;
        Some(self.master(Command::SetNodeOffline { node: id, incarnation, reason: "silent".into() }))
    }

    /// Tries to promote. What is known of the leaf is said before, as in one plan.
    pub fn promote(&mut self, to: NodeId) -> Outcome {
        self.note_online(to);
        let epoch = self.partition().epoch;
        self.master(Command::PromoteInstance { partition: PARTITION, epoch, to, reason: "test".into() })
    }

    /// Changes what the database promises.
    pub fn alter(&mut self, replication: Option<ReplicationMode>, durability: Option<Durability>) -> Outcome {
        self.master(Command::AlterDatabase { name: "db".into(), replication, durability })
    }

    /// Asks an instance to stop taking writes for another one's sake; answers with the plan's number.
    pub fn drain(&mut self, id: NodeId, to: NodeId, patience: Duration) -> u64 {
        self.next_hand_over += 1;
        let (ticket, epoch) = (self.next_hand_over, self.partition().epoch);
        self.step(id, vec![Event::HandOver { ticket, epoch, to, drain: patience, hold: patience }]);
        ticket
    }

    /// Hands the partition over, whatever is under way. What is known of the leaf is said before, as for a promotion.
    pub fn hand_over(&mut self, to: NodeId) -> Outcome {
        self.note_online(to);
        let epoch = self.partition().epoch;
        self.master(Command::HandOver { partition: PARTITION, epoch, to, reason: "test".into() })
    }

    /// Says that a replica is not to be waited for.
    pub fn degrade(&mut self, replica: NodeId) -> Outcome {
        let partition = self.partition();
        let (epoch, version) = (partition.epoch, partition.version);
        let reason = "its leaf failed".into();
        let state = SyncState::Async;
        self.master(Command::SetSyncState { partition: PARTITION, epoch, version, replica, state, reason })
    }

    /// A replica is dropped, and added again before anybody hears of it.
    pub fn drop_and_add(&mut self, node: NodeId) {
        let (partition, reason) = (PARTITION, "planned".into());
        self.master(Command::DropReplica { partition, node, copies_left: 1, reason }).ok();
        let version = self.partition().version;
        self.master(Command::AddReplica { partition, version, node }).ok();
    }

    // ---- clients

    /// A client's write reaches a leaf.
    pub fn write(&mut self, id: NodeId, write: Write) -> u64 {
        self.write_begun_in(self.epoch_at(id), id, write)
    }

    /// A client's write whose rows a leaf read in this epoch.
    pub fn write_begun_in(&mut self, epoch: Epoch, id: NodeId, write: Write) -> u64 {
        let ticket = self.ticket(write.statement);
        self.step(id, vec![Event::Write { ticket, epoch, write }]);
        ticket
    }

    fn epoch_at(&self, id: NodeId) -> Epoch {
        self.leaves[&id].instance.as_ref().map_or(Epoch(0), Instance::epoch)
    }

    /// Many writes reach a leaf at once.
    pub fn write_all(&mut self, id: NodeId, writes: impl Iterator<Item = Write>) {
        let epoch = self.epoch_at(id);
        let events =
            writes.map(|write| Event::Write { ticket: self.ticket(write.statement), epoch, write }).collect();
        self.step(id, events);
    }

    /// A client asks again for a statement.
    pub fn await_statement(&mut self, id: NodeId, statement: StatementId) -> u64 {
        let ticket = self.ticket(statement);
        self.step(id, vec![Event::Await { ticket, statement }]);
        ticket
    }

    fn ticket(&mut self, statement: StatementId) -> u64 {
        self.tickets.push(statement);
        self.tickets.len() as u64 - 1
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

/// A command, in a few words.
fn describe(command: &Command) -> String {
    match command {
        Command::SetSyncState { epoch, version, replica, state, .. } => {
            format!("sets {replica} {state} at {epoch} v{version}")
        }
        Command::AlterDatabase { replication, durability, .. } => {
            format!("alters replication={replication:?} durability={durability:?}")
        }
        Command::NoteSynced { epoch, version, .. } => format!("notes {epoch} v{version} as synced"),
        Command::PromoteInstance { epoch, to, .. } => format!("promotes {to} after {epoch}"),
        Command::HandOver { epoch, to, .. } => format!("hands over to {to} after {epoch}"),
        Command::SetNodeOffline { node, .. } => format!("says {node} is offline"),
        Command::SetNodeOnline { node, incarnation, store, lost_tail } => {
            let tail = if *lost_tail { ", perhaps without its tail" } else { "" };
            format!("says {node} is online as {incarnation} on {store}{tail}")
        }
        other => format!("{other:?}"),
    }
}
