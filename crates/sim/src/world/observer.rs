//! An aggregator as an observer: pings, evidence, the verdicts of the `detection` policy, and when it campaigns.
//!
//! Played as `baton-transport`'s heartbeat thread and `baton-node`'s election loop do it: the judge is asked at every
//! tick, and at once after hard evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use baton_detector::{
    Detector, Effect, Event as Seen, Grant, Health as Felt, Observation, Report, Sighting, Vitals,
};
use baton_failover::{
    Call, Campaigner, FailedSince, Known, Sight, Standing, detection_input, evidence, felt, vitals,
};
use baton_model::limits::HEARTBEAT_CONNECT_TIMEOUT_MS;
use baton_model::{CatalogIndex, Instant, Lsn, NodeId, PartitionId, TransactionId};
use baton_policy::{NodeEvidence, NodeVerdict};

use super::control::{Control, LEASE, Store};
use super::leases::{Lending, RENEWAL};
use super::master::Mastery;
use super::outcome::Inquiry;
use super::plans::Planning;
use super::route::Op;
use super::switchover::Switchovers;
use super::transaction::Transaction;
use super::{Body, Purpose, Refused, Timer, World};
use crate::kernel::{ConnId, Disk, MS, S, Time};

const CONNECT_PATIENCE: Time = HEARTBEAT_CONNECT_TIMEOUT_MS * MS;
/// A member that is not led looks this often whether to campaign.
const LOOK_FOR_LEADER: Time = 50 * MS;

/// Disks have room.
const FREE_DISK_BYTES: u64 = 100 << 30;

/// A ping.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// Which.
    pub seq: u64,
    /// Who sends it.
    pub from: usize,
    /// The term of the control group that it knows.
    pub term: u64,
    /// The catalog that it has applied.
    pub index: u64,
    /// The right to show what is read.
    pub lease: Option<Grant>,
}

/// The answer to one.
#[derive(Clone, Debug)]
pub struct Pong {
    /// Which ping.
    pub seq: u64,
    /// When it was sent, by the clock of who answers.
    sent_at: Instant,
    report: Report,
    sightings: Vec<Sighting>,
}

/// The way to one watched node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    None,
    Asking(u64),
    Open(ConnId),
}

/// An aggregator's process, and its disk.
#[derive(Debug)]
pub struct Aggregator {
    /// Its part in the control group.
    pub control: Control,
    detector: Detector,
    lines: Vec<Line>,
    interval: Time,
    sightings: Vec<Sighting>,
    observation: Observation,
    verdicts: Vec<NodeVerdict>,
    failed: FailedSince,
    campaigner: Campaigner,
    /// It looks for a leader between ticks.
    looks: bool,
    watchers: Vec<ConnId>,
    /// Whom it watches.
    watched: BTreeSet<NodeId>,
    /// What the master aggregator remembers.
    pub(super) mastery: Mastery,
    /// How far instances are.
    pub(super) positions: Arc<BTreeMap<(NodeId, PartitionId), Lsn>>,
    /// What is on its way to primaries.
    pub(super) ops: BTreeMap<u64, Op>,
    /// Transactions that are open, or on their way to an end.
    pub(super) transactions: BTreeMap<TransactionId, Transaction>,
    /// Questions of clients about others.
    pub(super) inquiries: BTreeMap<u64, Inquiry>,
    /// What it lends to leaves.
    pub(super) lending: Lending,
    /// Planned changes of primaries.
    pub(super) switchovers: Switchovers,
    /// Operators' plans.
    pub(super) planning: Planning,
}

impl Aggregator {
    /// A process that starts on this disk.
    pub fn start(_id: NodeId, disk: Disk<Store>, members: usize, now: Instant, group_now: Instant) -> Self {
        Self {
            control: Control::start(disk, members, group_now),
            detector: Detector::default(),
            lines: Vec::new(),
            interval: 0,
            sightings: Vec::new(),
            observation: Observation::default(),
            verdicts: Vec::new(),
            failed: FailedSince::default(),
            campaigner: Campaigner::new(now),
            looks: false,
            watchers: Vec::new(),
            watched: BTreeSet::new(),
            mastery: Mastery::default(),
            positions: Arc::default(),
            ops: BTreeMap::new(),
            transactions: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            lending: Lending::default(),
            switchovers: Switchovers::default(),
            planning: Planning::default(),
        }
    }

    /// How often it pings.
    pub(super) fn interval(&self) -> Time {
        self.interval
    }

    /// What it knows of each node.
    pub(super) fn evidence(&self, known: &Known) -> BTreeMap<NodeId, NodeEvidence> {
        self.observation.nodes.iter().map(|seen| (seen.node, evidence(seen, known))).collect()
    }
}

impl World {
    /// What an aggregator knows beside what it observes.
    pub(super) fn known(&self, me: usize) -> Known {
        Known::of(self.catalog_at(self.aggregator(me).control.commit), self.wall_us(me) / MS)
    }

    /// What an aggregator sees, for the master's work.
    pub(super) fn sight(&self, me: usize) -> Sight {
        let aggregator = self.aggregator(me);
        let (seen, verdicts, failed) = (&aggregator.observation, &aggregator.verdicts, &aggregator.failed);
        let mut sight = Sight::of(seen, verdicts, failed, &self.known(me));
        sight.positions = Arc::clone(&aggregator.positions);
        sight.spare(self.catalog_at(aggregator.control.commit));
        sight
    }

    pub(super) fn aggregator_starts(&mut self, me: usize) {
        let nodes = self.nodes.len();
        self.checks.s11.forget(me);
        self.aggregator_mut(me).lines = vec![Line::None; nodes];
        self.aim(me);
        // Ticks of several observers are not in step.
        let first = self.rng.below(150 * MS) + 1;
        self.later(me, first, Timer::Tick);
        self.later(me, S, Timer::EverySecond);
        self.later(me, RENEWAL, Timer::RenewLeases);
        self.later(me, S, Timer::LookAtPlans);
        self.look_for_leader(me);
    }

    /// Watches all nodes of the catalog but itself.
    fn aim(&mut self, me: usize) {
        let now = self.local(me);
        let catalog = Rc::clone(self.catalog_at(self.aggregator(me).control.commit));
        let interval_ms = catalog.number("heartbeat_interval_ms");
        self.aggregator_mut(me).interval = interval_ms * MS;
        let interval_ms = u32::try_from(interval_ms).unwrap_or(u32::MAX);
        self.detect(me, now, Seen::IntervalSet { interval_ms });
        let own = self.nodes[me].id;
        let nodes = self.nodes.len();
        self.aggregator_mut(me).lines.resize(nodes, Line::None);
        let watched = catalog.nodes().map(|node| node.id).filter(|node| *node != own).collect();
        let before = std::mem::replace(&mut self.aggregator_mut(me).watched, watched);
        for node in before.into_iter().filter(|node| catalog.node(*node).is_none()) {
            self.detect(me, now, Seen::Unwatch { node });
        }
        for node in catalog.nodes().filter(|node| node.id != own) {
            let health = if node.is_online() { Felt::Healthy } else { Felt::Failed };
            self.detect(me, now, Seen::Watch { node: node.id, role: node.role, health });
        }
    }

    fn detect(&mut self, me: usize, now: Instant, event: Seen) {
        for effect in self.aggregator_mut(me).detector.step(now, event) {
            match effect {
                Effect::Connect { node } => {
                    let to = Self::position(node);
                    let attempt = self.connect(me, to, Purpose::Heartbeat, CONNECT_PATIENCE);
                    self.aggregator_mut(me).lines[to] = Line::Asking(attempt);
                }
                Effect::Disconnect { node } => {
                    let to = Self::position(node);
                    let line = std::mem::replace(&mut self.aggregator_mut(me).lines[to], Line::None);
                    self.aggregator_mut(me).lending.heard.remove(&node);
                    if let Line::Open(conn) = line {
                        self.checks.s11.unlinked(me, to);
                        self.send(me, conn, None);
                    }
                }
                Effect::Ping { node, seq } => {
                    let to = Self::position(node);
                    // S11: a ping that the host does not take was not sent.
                    if self.ping(me, to, seq) {
                        self.checks.s11.sent(me, to, seq);
                        self.detect(me, now, Seen::PingSent { node, seq });
                    }
                }
                Effect::HealthChanged { node, from, to } => {
                    let id = self.nodes[me].id;
                    self.tell(|| format!("{id}: {node} {from} ⇨ {to}"));
                }
            }
        }
    }

    /// Whether it left.
    pub(super) fn ping(&mut self, me: usize, to: usize, seq: u64) -> bool {
        let Line::Open(conn) = self.aggregator(me).lines[to] else { return false };
        if self.nemesis.is_clogged(me, to) {
            return false;
        }
        let lease = self.lend(me, to);
        let control = &self.aggregator(me).control;
        let ping = Ping { seq, from: me, term: control.term(), index: control.commit, lease };
        self.send(me, conn, Some(Body::Ping(ping)));
        true
    }

    pub(super) fn tick(&mut self, me: usize) {
        let now = self.local(me);
        let nodes = self.nodes.len();
        self.checks.s11.ticks(me, nodes);
        self.detect(me, now, Seen::Tick);
        self.judge(me, true);
        let interval = self.aggregator(me).interval;
        self.later(me, interval, Timer::Tick);
    }

    fn hard_evidence(&mut self, me: usize, event: Seen) {
        let now = self.local(me);
        self.detect(me, now, event);
        self.judge(me, false);
    }

    /// Asks the `detection` policy about everybody, and acts on what it says.
    fn judge(&mut self, me: usize, ticked: bool) {
        let now = self.local(me);
        let catalog = Rc::clone(self.catalog_at(self.aggregator(me).control.commit));
        let aggregator = self.aggregator_mut(me);
        let mut observation = aggregator.detector.observation(now);
        if ticked {
            aggregator.sightings = aggregator.detector.sightings(now);
            self.check_ticked(me, &observation);
        }
        let mut input = detection_input(&observation, &self.known(me));
        let verdicts = self.shelf.decide(&catalog, &mut input).verdict;
        self.aggregator_mut(me).failed.note(observation.at, &verdicts);
        for verdict in &verdicts {
            let node = NodeId(verdict.node);
            let health = felt(verdict.health);
            if let Ok(at) = observation.nodes.binary_search_by_key(&node, |evidence| evidence.node) {
                observation.nodes[at].health = health;
            }
            self.detect(me, now, Seen::Judged { node, health, memory: verdict.memory.clone() });
        }
        let aggregator = self.aggregator_mut(me);
        aggregator.observation = observation;
        aggregator.verdicts = verdicts;
        self.look(me);
        self.elect(me);
    }

    // ---- lines

    pub(super) fn line_answered(&mut self, me: usize, attempt: u64, answer: Result<ConnId, Refused>) {
        let Some(to) = self.aggregator(me).lines.iter().position(|line| *line == Line::Asking(attempt))
        else {
            if let Ok(conn) = answer {
                self.send(me, conn, None);
            }
            return;
        };
        let node = self.nodes[to].id;
        let now = self.local(me);
        match answer {
            Ok(conn) => {
                self.aggregator_mut(me).lines[to] = Line::Open(conn);
                self.aggregator_mut(me).lending.heard.remove(&node);
                self.checks.s11.linked(me, to);
                self.detect(me, now, Seen::Connected { node });
            }
            Err(_) => {
                self.aggregator_mut(me).lines[to] = Line::None;
                self.hard_evidence(me, Seen::ConnectRefused { node });
            }
        }
    }

    pub(super) fn line_timed_out(&mut self, me: usize, attempt: u64) {
        let lines = &mut self.aggregator_mut(me).lines;
        if let Some(to) = lines.iter().position(|line| *line == Line::Asking(attempt)) {
            lines[to] = Line::None;
            let node = self.nodes[to].id;
            self.hard_evidence(me, Seen::ConnectTimedOut { node });
        }
    }

    pub(super) fn line_lost(&mut self, me: usize, peer: usize, conn: ConnId) {
        if self.aggregator(me).lines[peer] == Line::Open(conn) {
            self.aggregator_mut(me).lines[peer] = Line::None;
            let node = self.nodes[peer].id;
            self.aggregator_mut(me).lending.heard.remove(&node);
            self.checks.s11.unlinked(me, peer);
            self.hard_evidence(me, Seen::ConnectionLost { node });
        }
    }

    /// What a node says of how well it works.
    fn vitals(&self, me: usize) -> Vitals {
        let machine = &self.nodes[me];
        let ms = |time: Time| u32::try_from(time / MS).unwrap_or(u32::MAX);
        Vitals {
            loop_delay_ms: ms(machine.loop_delay),
            fsync_ms: ms(machine.sync_took),
            syncing_ms: ms(machine.syncing_since.map_or(0, |since| self.now - since)),
            apply_backlog: 0,
            free_disk_bytes: FREE_DISK_BYTES,
        }
    }

    /// Any node answers a ping, and takes in what it tells.
    pub(super) fn pinged(&mut self, me: usize, conn: ConnId, ping: Ping) {
        let machine = &self.nodes[me];
        let mut report = Report {
            incarnation: machine.incarnation,
            store: machine.store,
            lost_tail: machine.lost_tail,
            joined: true,
            catalog_index: CatalogIndex(0),
            log_index: 0,
            vitals: self.vitals(me),
        };
        let mut sightings = Vec::new();
        match &machine.role {
            super::Role::Aggregator(aggregator) => {
                report.catalog_index = CatalogIndex(aggregator.control.commit);
                report.log_index = aggregator.control.log_index();
                sightings.clone_from(&aggregator.sightings);
            }
            super::Role::Leaf(leaf) => {
                report.catalog_index = CatalogIndex(leaf.mirror);
                self.leaf_hears(me, &ping);
            }
        }
        let sent_at = self.local(me);
        let pong = Pong { seq: ping.seq, sent_at, report, sightings };
        self.send(me, conn, Some(Body::Pong(Box::new(pong))));
    }

    pub(super) fn ponged(&mut self, me: usize, peer: usize, conn: ConnId, pong: Pong) {
        if !matches!(self.nodes[me].role, super::Role::Aggregator(_))
            || self.aggregator(me).lines[peer] != Line::Open(conn)
        {
            return;
        }
        let Pong { seq, sent_at, report, sightings } = pong;
        let node = self.nodes[peer].id;
        let now = self.local(me);
        self.aggregator_mut(me).lending.heard.insert(node, (now, sent_at));
        self.checks.s11.answered(me, peer, seq);
        self.detect(me, now, Seen::Pong { node, seq, report, sightings });
    }

    // ---- elections

    /// A member asks itself whether to campaign.
    fn elect(&mut self, me: usize) {
        if self.is_campaigning(me) {
            return;
        }
        let (now, group_now) = (self.local(me), self.group_time(me));
        let catalog = Rc::clone(self.catalog_at(self.aggregator(me).control.commit));
        let id = self.nodes[me].id;
        let known = self.known(me);
        let own = vitals(&self.vitals(me));
        let super::Role::Aggregator(aggregator) = &mut self.nodes[me].role else { return };
        let control = &aggregator.control;
        let leader = control.leader(group_now, me);
        let standing = Standing {
            me: id,
            is_leader: control.is_leader(group_now, me),
            leader: leader.map(|leader| NodeId(leader as u64 + 1)),
            term: control.term(),
            voters: control.voters(),
            unled_ms: control.unled_ms(group_now, me),
            log_index: control.log_index(),
            vitals: own,
        };
        // Whoever is led, and hears its leader, has nothing to ask.
        let unled = standing.unled_ms * MS > LEASE || leader.is_none();
        let seen = &aggregator.observation;
        let mut policy = self.shelf.by(&catalog);
        let call = aggregator.campaigner.look(now, standing, &catalog, seen, &known, &mut policy);
        if unled && !std::mem::replace(&mut aggregator.looks, unled) {
            self.later(me, LOOK_FOR_LEADER, Timer::LookForLeader);
        }
        if let Some(call) = call {
            self.tell(|| {
                let why = match call {
                    Call::Policy { reason, .. } | Call::StartUp { reason } | Call::Ceiling { reason } => {
                        reason
                    }
                };
                format!("{id} campaigns: {why}")
            });
            self.campaign(me);
        }
    }

    pub(super) fn look_for_leader(&mut self, me: usize) {
        self.aggregator_mut(me).looks = false;
        self.elect(me);
    }

    // ---- what leaves are told

    /// The catalog has moved here: watchers are told, and observers aim anew.
    pub(super) fn feed(&mut self, me: usize) {
        let index = self.aggregator(me).control.commit;
        for conn in self.aggregator(me).watchers.clone() {
            self.send(me, conn, Some(Body::News(index)));
        }
        let catalog = Rc::clone(self.catalog_at(index));
        let (aggregator, own) = (self.aggregator(me), self.nodes[me].id);
        let others = catalog.nodes().map(|node| node.id).filter(|node| *node != own);
        let is_aimed = aggregator.interval == catalog.number("heartbeat_interval_ms") * MS
            && others.eq(aggregator.watched.iter().copied());
        if !aggregator.lines.is_empty() && !is_aimed {
            self.aim(me);
        }
    }

    pub(super) fn adopt_watch(&mut self, me: usize, conn: ConnId) {
        let aggregator = self.aggregator_mut(me);
        aggregator.watchers.push(conn);
        let index = aggregator.control.commit;
        self.send(me, conn, Some(Body::News(index)));
    }

    pub(super) fn watcher_lost(&mut self, me: usize, conn: ConnId) {
        self.aggregator_mut(me).watchers.retain(|watcher| *watcher != conn);
    }

    pub(super) fn every_second(&mut self, me: usize) {
        let now = self.group_time(me);
        self.feed(me);
        if self.aggregator(me).control.is_leader(now, me) {
            let catalog = Rc::clone(self.catalog_at(self.aggregator(me).control.commit));
            for leaf in catalog.leaves().filter(|leaf| leaf.is_online()) {
                self.datagram(me, Self::position(leaf.id), Body::AskPositions);
            }
        } else {
            self.aggregator_mut(me).positions = Arc::default();
        }
        self.later(me, S, Timer::EverySecond);
    }

    pub(super) fn positions_told(&mut self, me: usize, from: usize, told: Vec<(PartitionId, Lsn)>) {
        let node = self.nodes[from].id;
        let positions = Arc::make_mut(&mut self.aggregator_mut(me).positions);
        positions.extend(told.into_iter().map(|(partition, last)| ((node, partition), last)));
    }
}
