//! A leaf: its copy of the catalog, and its instances.
//!
//! Played as `baton-node` does it. A newer catalog is durable before anybody sees it (S3). Effects of an instance are
//! carried out in their order, and what they bring about is told to it before anything else happens.

mod drain;
mod effects;
mod links;
mod reads;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use baton_detector::Lease;
use baton_model::{DatabaseId, Durability, Epoch, Instant, Lsn, NodeId, PartitionId};
use baton_replication::{Event as CoreEvent, Instance, View};

pub use self::drain::Drain;
use self::drain::Draining;
use self::reads::Read;
use super::members::Questions;
use super::statements::{Run, Ticket};
use super::store::{Copy, LeafStore, Op};
use super::tenure::Tenure;
use super::wire::Answer;
use super::{Body, Event, Heard, Ping, Purpose, Timer, World};
use crate::kernel::{ConnId, Disk, MS, S, Time};

/// Time passes for the cores in steps of this: longer than a node's, but within what a core believes to be no stall.
const TICK: Time = 80 * MS;
/// Between two attempts to reach a primary, or an aggregator.
const RETRY: Time = 100 * MS;
/// How long an attempt to connect may take.
const CONNECT_PATIENCE: Time = 3 * S;
/// A watched aggregator that says nothing for this long is left.
const SILENCE_MAX: Time = 3 * S;
/// A catalog that pings tell of must have arrived within this.
const LAG_MAX: Time = 300 * MS;
/// Rows of one chunk of a copy.
const CHUNK_ROWS: usize = 4;
/// Between two chunks of a copy.
const CHUNK_STEP: Time = 3 * MS;

/// A leaf's process, and its disk.
#[derive(Debug)]
pub struct Leaf {
    /// Its disk.
    pub disk: Disk<LeafStore>,
    /// The instances that run.
    pub instances: BTreeMap<PartitionId, Running>,
    /// The catalog that it acts on, by index.
    pub mirror: u64,
    watch: Watch,
    fetches: BTreeMap<u64, Fetch>,
    next_fetch: u64,
    /// Syncs that were asked for, each with the writes it must cover.
    syncs: VecDeque<(u64, PartitionId, Lsn, u64)>,
    newest_database: DatabaseId,
    /// What it has asked others about transactions.
    pub(super) questions: Questions,
    /// What it was lent.
    lease: Lease,
    reads: BTreeMap<u64, Read>,
    next_read: u64,
}

#[derive(Debug)]
struct Watch {
    at: Option<(usize, ConnId)>,
    attempt: Option<u64>,
    heard_at: Instant,
    behind_since: Option<Instant>,
    turn: usize,
}

/// A copy on its way from a primary.
#[derive(Debug)]
struct Fetch {
    partition: PartitionId,
    peer: NodeId,
    conn: ConnId,
    copy: u64,
    /// So much is here.
    chunks: usize,
}

/// An instance that runs.
#[derive(Debug)]
pub struct Running {
    /// The core.
    pub core: Instance,
    /// Whether the database wants its writes on disk before they are acknowledged.
    sync: bool,
    /// The epoch in which it serves clients.
    pub serving: Option<Epoch>,
    wants: Option<NodeId>,
    attempt: Option<u64>,
    /// Counts what was wanted, so that a late retry is known.
    wish: u64,
    own: Option<ConnId>,
    links: BTreeSet<ConnId>,
    /// What it has while it serves.
    pub tenure: Option<Box<Tenure>>,
    pub(super) runs: BTreeMap<u64, Run>,
    /// Later runs of a statement that runs.
    pub(super) queued: VecDeque<Run>,
    pub(super) tickets: BTreeMap<u64, Ticket>,
    /// Who waits for the answer to a drain, by ticket.
    drains: BTreeMap<u64, Draining>,
    pub(super) next: u64,
    pub(super) pending: Vec<CoreEvent>,
}

impl Leaf {
    /// A process that starts on this disk. A copy that came by half is removed.
    pub fn start(mut disk: Disk<LeafStore>, now: Instant) -> Self {
        let halves: Vec<PartitionId> =
            disk.now.copies.iter().filter(|(_, copy)| copy.importing).map(|(id, _)| *id).collect();
        for partition in halves {
            disk.write(Op::Of(partition, Copy::Remove));
        }
        let mirror = disk.now.mirror;
        Self {
            disk,
            instances: BTreeMap::new(),
            mirror,
            watch: Watch { at: None, attempt: None, heard_at: now, behind_since: None, turn: 0 },
            fetches: BTreeMap::new(),
            next_fetch: 0,
            syncs: VecDeque::new(),
            newest_database: DatabaseId::default(),
            questions: Questions::default(),
            lease: Lease::default(),
            reads: BTreeMap::new(),
            next_read: 0,
        }
    }

    /// How far its instances are.
    pub fn positions(&self) -> Vec<(PartitionId, Lsn)> {
        self.instances.iter().map(|(id, running)| (*id, running.core.positions().0)).collect()
    }

    /// Who waits for an answer.
    pub fn callers(&self) -> Vec<(usize, u64)> {
        let runs = self.instances.values().flat_map(|running| running.runs.values().chain(&running.queued));
        let runs = runs.map(|run| (run.from, run.call));
        let tenures = self.instances.values().filter_map(|running| running.tenure.as_ref());
        let tickets = tenures.flat_map(|tenure| tenure.callers());
        runs.chain(tickets).chain(self.reads.values().map(Read::caller)).collect()
    }
}

impl World {
    pub(super) fn leaf_starts(&mut self, me: usize) {
        if self.leaf(me).mirror > 0 {
            self.reconcile(me);
        }
        self.watch_next(me);
        self.later(me, TICK, Timer::LeafTick);
        self.later(me, S, Timer::WatchLook);
    }

    // ---- the catalog's mirror

    /// A ping tells who leads and how far the catalog is.
    pub(super) fn leaf_hears(&mut self, me: usize, ping: &Ping) {
        if let Some(grant) = ping.lease {
            self.lent(me, grant);
        }
        let heard = Heard { term: ping.term, from: ping.from, index: ping.index };
        let known = &mut self.nodes[me].heard;
        if (heard.term, heard.index) > (known.term, known.index) {
            *known = heard;
        }
        if self.nodes[me].heard.index > self.leaf(me).mirror {
            self.watch_look_now(me);
        }
    }

    pub(super) fn watch_look(&mut self, me: usize) {
        self.watch_look_now(me);
        self.later(me, S, Timer::WatchLook);
    }

    fn watch_look_now(&mut self, me: usize) {
        let now = self.local(me);
        let told = self.nodes[me].heard.index;
        let leaf = self.leaf_mut(me);
        if told <= leaf.mirror {
            leaf.watch.behind_since = None;
        } else {
            leaf.watch.behind_since.get_or_insert(now);
        }
        let over = |since: Instant, most: Time| now.since(since).as_micros() > u128::from(most);
        let behind = leaf.watch.behind_since.is_some_and(|since| over(since, LAG_MAX));
        let silent = over(leaf.watch.heard_at, SILENCE_MAX);
        if leaf.watch.at.is_some() && (behind || silent) {
            if let Some((_, conn)) = leaf.watch.at.take() {
                self.send(me, conn, None);
            }
            self.watch_next(me);
        } else if leaf.watch.at.is_none() && leaf.watch.attempt.is_none() {
            self.watch_next(me);
        }
    }

    /// The master aggregator, as pings tell, twice; then every other.
    fn watch_next(&mut self, me: usize) {
        let now = self.local(me);
        let aggregators = self.setup.aggregators;
        let heard = self.nodes[me].heard;
        let leaf = self.leaf_mut(me);
        let turn = leaf.watch.turn % (aggregators + 2);
        leaf.watch.turn += 1;
        leaf.watch.behind_since = None;
        leaf.watch.heard_at = now;
        let place = if turn < 2 { heard.from } else { turn - 2 };
        let attempt = self.connect(me, place, Purpose::Watch, CONNECT_PATIENCE);
        self.leaf_mut(me).watch.attempt = Some(attempt);
    }

    pub(super) fn watch_answered(&mut self, me: usize, attempt: u64, conn: Option<ConnId>) {
        let now = self.local(me);
        if self.leaf(me).watch.attempt != Some(attempt) {
            if let Some(conn) = conn {
                self.send(me, conn, None);
            }
            return;
        }
        let aggregator = conn.and_then(|conn| self.net.about(conn)).map(|(_, ends)| ends[1]);
        let watch = &mut self.leaf_mut(me).watch;
        watch.attempt = None;
        watch.heard_at = now;
        if let (Some(conn), Some(aggregator)) = (conn, aggregator) {
            watch.at = Some((aggregator, conn));
        }
    }

    pub(super) fn watch_lost(&mut self, me: usize, conn: ConnId) {
        let watch = &mut self.leaf_mut(me).watch;
        if watch.at.is_some_and(|(_, at)| at == conn) {
            watch.at = None;
            self.watch_next(me);
        }
    }

    pub(super) fn news(&mut self, me: usize, conn: ConnId, index: u64) {
        let now = self.local(me);
        let leaf = self.leaf_mut(me);
        if leaf.watch.at.is_none_or(|(_, at)| at != conn) {
            return;
        }
        leaf.watch.heard_at = now;
        leaf.watch.turn = 0;
        if index > leaf.disk.now.mirror {
            leaf.disk.write(Op::Mirror(index));
            self.ask_leaf_sync(me);
        }
    }

    // ---- the disk

    fn ask_leaf_sync(&mut self, me: usize) {
        if self.leaf_mut(me).disk.ask_sync() {
            self.begin_leaf_sync(me);
        }
    }

    fn begin_leaf_sync(&mut self, me: usize) {
        let at = self.now + self.sync_time(me);
        let run = self.nodes[me].run;
        self.queue.push(at, Event::Synced { node: me, run });
    }

    pub(super) fn leaf_synced(&mut self, me: usize) {
        let leaf = self.leaf_mut(me);
        let (covered, again) = leaf.disk.finish_sync();
        // Of each instance only the newest is told, as a callback that writes over what is not taken yet.
        let mut durable: BTreeMap<PartitionId, (Lsn, u64)> = BTreeMap::new();
        while let Some((_, partition, lsn, cuts)) =
            leaf.syncs.pop_front_if(|(written, ..)| *written <= covered)
        {
            durable.insert(partition, (lsn, cuts));
        }
        let mirror = leaf.disk.synced.mirror;
        let moved = mirror > leaf.mirror;
        if moved {
            leaf.mirror = mirror;
        }
        if again {
            self.begin_leaf_sync(me);
        }
        for (partition, (lsn, cuts)) in durable {
            self.instance_step(me, partition, vec![CoreEvent::Durable { lsn, cuts }]);
        }
        if moved {
            self.reconcile(me);
        }
    }

    // ---- instances

    /// Brings the instances that run to what the catalog says.
    fn reconcile(&mut self, me: usize) {
        let catalog = Rc::clone(self.catalog_at(self.leaf(me).mirror));
        if catalog.cluster().is_none() {
            return;
        }
        let id = self.nodes[me].id;
        let run = self.nodes[me].incarnation;
        if catalog.node(id).is_some_and(|known| known.incarnation == run) {
            self.nodes[me].mark = false;
        }
        let wanted: Vec<PartitionId> =
            catalog.partitions().filter(|p| p.role_of(id).is_some()).map(|p| p.id).collect();
        let gone: Vec<PartitionId> =
            self.leaf(me).instances.keys().copied().filter(|p| !wanted.contains(p)).collect();
        for partition in gone {
            self.stop_instance(me, partition);
        }
        let newest = catalog.databases().map(|database| database.id).max().unwrap_or_default();
        let leaf = self.leaf_mut(me);
        leaf.newest_database = leaf.newest_database.max(newest);
        let newest = leaf.newest_database;
        let dropped: Vec<PartitionId> = leaf
            .disk
            .now
            .copies
            .keys()
            .copied()
            .filter(|p| p.database <= newest && catalog.database_by_id(p.database).is_none())
            .collect();
        for partition in dropped {
            self.leaf_mut(me).disk.write(Op::Of(partition, Copy::Remove));
        }
        for partition in wanted {
            let sync = catalog
                .database_by_id(partition.database)
                .is_none_or(|database| database.durability == Durability::Sync);
            let leaf = self.leaf_mut(me);
            if !leaf.instances.contains_key(&partition) {
                let saved = leaf.disk.now.copies.get(&partition).map(|copy| copy.saved()).unwrap_or_default();
                let running = Running {
                    core: Instance::open(partition, id, saved),
                    sync,
                    serving: None,
                    wants: None,
                    attempt: None,
                    wish: 0,
                    own: None,
                    links: BTreeSet::new(),
                    tenure: None,
                    runs: BTreeMap::new(),
                    queued: VecDeque::new(),
                    tickets: BTreeMap::new(),
                    drains: BTreeMap::new(),
                    next: 0,
                    pending: Vec::new(),
                };
                leaf.instances.insert(partition, running);
            }
            if let Some(view) = View::of(&catalog, partition, id, run) {
                if let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) {
                    running.sync = view.sync_durability;
                }
                self.instance_step(me, partition, vec![CoreEvent::View(view)]);
            }
        }
    }

    fn stop_instance(&mut self, me: usize, partition: PartitionId) {
        self.tenure_ends(me, partition);
        let Some(running) = self.leaf_mut(me).instances.remove(&partition) else { return };
        for conn in running.links.into_iter().chain(running.own) {
            self.send(me, conn, None);
        }
        for run in running.runs.into_values().chain(running.queued) {
            // It may be in the log.
            let body = Body::Answer { call: run.call, answer: Answer::Deposed };
            self.datagram(me, run.from, body);
        }
        self.drains_lost(me, running.drains.into_values());
        self.leaf_mut(me).syncs.retain(|(_, of, ..)| *of != partition);
    }

    pub(super) fn leaf_tick(&mut self, me: usize) {
        let ids: Vec<PartitionId> = self.leaf(me).instances.keys().copied().collect();
        for id in ids {
            self.instance_step(me, id, vec![CoreEvent::Tick]);
            self.tire(me, id);
            self.drain(me, id);
        }
        self.keep_transactions(me);
        self.read_on(me);
        self.later(me, TICK, Timer::LeafTick);
    }

    /// Tells an instance what happened, carries out what it wants done, and tells it what that brought about.
    pub(super) fn instance_step(&mut self, me: usize, partition: PartitionId, events: Vec<CoreEvent>) {
        if let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) {
            running.pending.extend(events);
        }
        self.drain(me, partition);
    }

    pub(super) fn drain(&mut self, me: usize, partition: PartitionId) {
        let now = self.local(me);
        loop {
            if !self.nodes[me].up {
                return;
            }
            let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
            if running.pending.is_empty() {
                return;
            }
            let events = std::mem::take(&mut running.pending);
            let before = self.note_events(me, partition, &events);
            let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
            let effects = running.core.step(now, events);
            self.check_step(me, partition, &before, &effects);
            for effect in effects {
                self.carry_out(me, partition, effect);
            }
        }
    }
}
