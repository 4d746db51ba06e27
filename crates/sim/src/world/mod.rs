//! The cluster as a whole: its nodes, what happens between them, and who watches.
//!
//! Every part of a node that decides is the real core; every part that only carries out is played here, as the shells
//! in `baton-node` do it. One event happens at a time, and nothing happens but by an event.
//!
//! * `genesis.rs`: how it begins. * `events.rs`: what happens in it. * `machines.rs`: processes, connections, disks.
//! * `control.rs`: the control group.
//! * `observer.rs`: pings, evidence, verdicts, elections.
//! * `master.rs`: what the master aggregator does about it.
//! * `switchover.rs`: planned changes of primaries; `plans.rs`: operators' plans.
//! * `leases.rs`: what the master aggregator lends to leaves.
//! * `route.rs`: what is on its way from an aggregator to a primary. * `transaction.rs`: a transaction at its aggregator.
//! * `outcome.rs`: what became of one. * `wire.rs`: what is said about all of that.
//! * `leaf.rs`: a leaf, its copy of the catalog, its instances; `leaf/links.rs`: their links, and copies on their way;
//!   `leaf/reads.rs`: reads; `leaf/drain.rs`: primaries that are to hand over; `store.rs`: what lies on its disk.
//! * `statements.rs`: statements at a primary. * `tenure.rs`: its locks and transactions, in one epoch.
//! * `members.rs`: statements of transactions, and what is done about old ones.

mod control;
mod events;
mod genesis;
mod leaf;
mod leases;
mod machines;
mod master;
mod members;
mod observer;
mod outcome;
mod plans;
mod route;
mod statements;
mod store;
mod switchover;
mod tenure;
mod transaction;
mod wire;

use std::fmt;
use std::rc::Rc;

use baton_catalog::{Catalog, Entry, Outcome};
use baton_model::{Incarnation, Instant, NodeId, StoreId};

pub use self::control::LEASE;
use self::control::Truth;
pub use self::events::{Body, Event, Purpose, Refused, Timer};
use self::leaf::Drain;
pub use self::leaf::Leaf;
pub use self::machines::End;
pub use self::observer::Aggregator;
use self::observer::Ping;
pub use self::outcome::Verdict;
pub use self::plans::STUCK_MAX;
pub use self::route::Whose;
pub use self::store::{Copy, Rows, Stored, counter, counts_in, key_of};
pub use self::switchover::Order;
pub use self::transaction::{Alarm, Work};
pub use self::wire::{Ask, Operation};
use crate::invariants::Checks;
use crate::kernel::{Clock, ConnId, Lane, Network, Queue, Rng, Time};
use crate::nemesis::Nemesis;
use crate::policies::Shelf;
use crate::setup::Setup;
use crate::story::Story;
use crate::workload::Workload;

/// For whom a proposal is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The master aggregator's own plan, by its number.
    Plan(u64),
    /// A hand-over, by its number.
    Switch(u64),
    /// A leaf, which asks again if need be, or an operator, who looks for himself.
    Nobody,
}

/// What a node has heard in pings of the highest term.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    term: u64,
    from: usize,
    index: u64,
}

/// What a node is for, and its process.
#[derive(Debug)]
pub enum Role {
    /// An aggregator.
    Aggregator(Box<Aggregator>),
    /// A leaf.
    Leaf(Box<Leaf>),
}

/// A machine with a node on it.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Whether its process runs.
    pub up: bool,
    /// Whether the machine has power.
    pub powered: bool,
    /// Since when its process is stopped.
    pub paused_since: Option<Time>,
    /// Its clock.
    pub clock: Clock,
    /// By how much its wall clock is ahead.
    wall_ahead: Time,
    /// Counts runs of its process.
    run: u32,
    /// The run, as the cluster knows it.
    pub incarnation: Incarnation,
    /// The life of its data directory.
    pub store: StoreId,
    /// Whether this run may lack what one before it had not synced, as it says.
    pub lost_tail: bool,
    /// The same, as its disk says: of the runs up to the last one that the catalog knows of.
    pub mark: bool,
    /// What waits while the process is stopped.
    backlog: Vec<Event>,
    heard: Heard,
    /// What its disk is like now.
    pub disk_weather: DiskWeather,
    /// How late its event loop runs, as it says.
    pub loop_delay: Time,
    /// When the sync began that goes on; none if none does.
    syncing_since: Option<Time>,
    /// How long the last one took, as it says.
    sync_took: Time,
    /// Its process.
    pub role: Role,
}

/// What a disk is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskWeather {
    /// What every sync takes longer.
    pub slower: Time,
    /// The next sync fails.
    pub fails: bool,
}

/// Everything.
pub struct World {
    /// The world's time.
    pub now: Time,
    queue: Queue<Event>,
    /// The network.
    pub net: Network<Purpose, Body>,
    rng: Rng,
    /// For the clocks of machines that are yet to come.
    clocks: Rng,
    /// The nodes: aggregators first, node `n1` at 0.
    pub nodes: Vec<Node>,
    truth: Truth,
    shelf: Shelf,
    /// What must hold.
    pub checks: Checks,
    /// What is told.
    pub story: Story,
    /// How the world is made.
    pub setup: Rc<Setup>,
    /// Clients.
    pub workload: Workload,
    /// What makes it worse.
    pub nemesis: Nemesis,
    attempts: u64,
    incarnations: u64,
    /// Messages that found the way cut; they may still come.
    parked: Vec<(Time, usize, usize, Box<Body>)>,
    digest: u64,
    events: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl World {
    /// The newest catalog that is committed.
    pub fn catalog(&self) -> &Rc<Catalog> {
        self.truth.catalog()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A number that two worlds share only if the same happened in both.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The catalog that an aggregator has applied.
    fn catalog_here(&self, at: usize) -> Rc<Catalog> {
        Rc::clone(self.catalog_at(self.aggregator(at).control.commit))
    }

    fn catalog_at(&self, index: u64) -> &Rc<Catalog> {
        &self.truth.catalogs[index as usize]
    }

    /// The aggregators' positions.
    pub fn aggregators(&self) -> std::ops::Range<usize> {
        0..self.setup.aggregators
    }

    /// The leaves' positions.
    pub fn leaves(&self) -> std::ops::Range<usize> {
        self.setup.aggregators..self.nodes.len()
    }

    /// The position of a node.
    pub fn position(id: NodeId) -> usize {
        id.0 as usize - 1
    }

    fn aggregator(&self, at: usize) -> &Aggregator {
        match &self.nodes[at].role {
            Role::Aggregator(aggregator) => aggregator,
            Role::Leaf(_) => unreachable!("n{} is a leaf", at + 1),
        }
    }

    fn aggregator_mut(&mut self, at: usize) -> &mut Aggregator {
        match &mut self.nodes[at].role {
            Role::Aggregator(aggregator) => aggregator,
            Role::Leaf(_) => unreachable!("n{} is a leaf", at + 1),
        }
    }

    /// A leaf.
    ///
    /// # Panics
    /// If it is an aggregator.
    pub fn leaf(&self, at: usize) -> &Leaf {
        match &self.nodes[at].role {
            Role::Leaf(leaf) => leaf,
            Role::Aggregator(_) => unreachable!("n{} is an aggregator", at + 1),
        }
    }

    fn leaf_mut(&mut self, at: usize) -> &mut Leaf {
        match &mut self.nodes[at].role {
            Role::Leaf(leaf) => leaf,
            Role::Aggregator(_) => unreachable!("n{} is an aggregator", at + 1),
        }
    }

    /// What a node's clock shows.
    fn local(&self, at: usize) -> Instant {
        self.nodes[at].clock.at(self.now)
    }

    /// What a node's wall clock shows, which decides nothing but whether something began before something else was lost.
    pub(crate) fn wall_us(&self, at: usize) -> u64 {
        self.now + self.nodes[at].wall_ahead
    }

    /// What the clock shows by which the control group goes: it stands still while the machine sleeps.
    fn group_time(&self, at: usize) -> Instant {
        self.nodes[at].clock.awake_at(self.now)
    }

    /// Lets a node's process do something after so much of its own time.
    fn timer(&mut self, node: usize, after: Time, timer: Timer) {
        let at = self.nodes[node].clock.after(self.now, after);
        let run = self.nodes[node].run;
        self.queue.push(at, Event::Timer { node, run, timer });
    }

    /// Queues an event.
    pub fn at(&mut self, at: Time, event: Event) {
        self.queue.push(at, event);
    }

    /// Tells something, if anybody listens.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        self.story.tell(self.now, what);
    }

    /// A rule was broken.
    pub fn violated(&mut self, invariant: &'static str, what: String) {
        self.story.tell(self.now, || format!("VIOLATED {invariant}: {what}"));
        self.checks.violated(self.now, invariant, what);
    }

    // ---- messages

    /// Sends a message that is on no connection.
    fn datagram(&mut self, from: usize, to: usize, mut body: Body) {
        if let Body::Answer { call, .. } = body
            && self.nemesis.breaks_call()
        {
            body = Body::Lost { call };
        } else if let Body::Call { call, .. } = body
            && self.nemesis.breaks_call()
        {
            // The request gets there, and the caller is told at once that the answer will not.
            let at = self.now + self.net.delay(to, from);
            let body = Box::new(Body::Lost { call });
            self.queue.push(at, Event::Datagram { from: to, to: from, body, sent: self.now });
        }
        let at = self.now + self.net.delay(from, to);
        self.queue.push(at, Event::Datagram { from, to, body: Box::new(body), sent: self.now });
    }

    /// Sends on a connection; None closes it.
    fn send(&mut self, from: usize, conn: ConnId, body: Option<Body>) {
        let Some(end) = self.net.end_of(conn, from) else { return };
        if let Some(at) = self.net.send(self.now, conn, end, body) {
            self.queue.push(at, Event::Arrive { conn, end: 1 - end });
        }
    }

    /// Asks for a connection; the answer names the attempt.
    fn connect(&mut self, from: usize, to: usize, purpose: Purpose, patience: Time) -> u64 {
        self.attempts += 1;
        let attempt = self.attempts;
        let at = self.now + self.net.delay(from, to);
        self.queue.push(at, Event::Syn { from, to, purpose, attempt });
        self.timer(from, patience, Timer::ConnectTimeout(attempt));
        attempt
    }

    // ---- events

    /// Lets the next event happen that comes before `end`; false if there is none.
    pub fn step(&mut self, end: Time) -> bool {
        let Some((at, event)) = self.queue.pop() else { return false };
        if at >= end {
            self.queue.push(at, event);
            self.now = end;
            return false;
        }
        self.now = at;
        self.events += 1;
        self.digest = (self.digest.rotate_left(5) ^ at ^ event.kind()).wrapping_mul(0x517c_c1b7_2722_0a95);
        if let Some(node) = event.node(self)
            && self.nodes[node].paused_since.is_some()
        {
            self.nodes[node].backlog.push(event);
            return true;
        }
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { conn, end } => self.arrives(conn, end),
            Event::Datagram { from, to, body, sent } => self.datagram_arrives(from, to, body, sent),
            Event::Syn { from, to, purpose, attempt } => self.asked_to_connect(from, to, purpose, attempt),
            Event::SynAnswer { to, run, purpose, attempt, answer } => {
                if self.runs(to, run) {
                    self.connect_answered(to, purpose, attempt, answer);
                } else if let Ok(conn) = answer {
                    self.send(to, conn, None);
                }
            }
            Event::Down { node, run, conn, purpose, peer } => {
                if self.runs(node, run) {
                    self.connection_down(node, conn, purpose, peer);
                }
            }
            Event::Keepalive { conn, since } => self.keepalive(conn, since),
            Event::Timer { node, run, timer } => {
                if self.runs(node, run) {
                    self.timer_fires(node, timer);
                }
            }
            Event::Synced { node, run } => {
                if self.runs(node, run) {
                    self.sync_ends(node);
                }
            }
            Event::Client(client) => self.client_acts(client),
            Event::Nemesis(number) => self.nemesis_acts(number),
        }
    }

    /// Whether this run of a process still goes on.
    fn runs(&self, node: usize, run: u32) -> bool {
        self.nodes[node].up && self.nodes[node].run == run
    }

    fn timer_fires(&mut self, node: usize, timer: Timer) {
        match timer {
            Timer::Tick => self.tick(node),
            Timer::ControlHeartbeat => self.control_timer(node),
            Timer::Campaign => self.campaign_timer(node),
            Timer::LookForLeader => self.look_for_leader(node),
            Timer::LookAgain => self.look(node),
            Timer::EverySecond => self.every_second(node),
            Timer::PlanTimeout(number) => self.plan_timeout(node, number),
            Timer::LookAtPlans => self.look_at_plans(node),
            Timer::Switch(number, turn) => self.switch_timer(node, number, turn),
            Timer::LeafTick => self.leaf_tick(node),
            Timer::LinkRetry(partition, attempt) => self.link_retry(node, partition, attempt),
            Timer::FetchStep(number) => self.fetch_step(node, number),
            Timer::Show(number) => self.show(node, number),
            Timer::CloseTimeout(partition, ticket) => self.close_timed_out(node, partition, ticket),
            Timer::RenewLeases => self.renew_leases(node),
            Timer::WatchLook => self.watch_look(node),
            Timer::Retry(op) => self.try_again(node, op),
            Timer::GiveUp(op) => self.give_up(node, op),
            Timer::CallTimeout(call) => self.call_lost(node, call),
            Timer::Transaction(id, alarm) => self.transaction_alarm(node, id, alarm),
            Timer::Inquiry(number, stage) => self.inquiry_timeout(node, number, stage),
            Timer::ConnectTimeout(attempt) => self.connect_timed_out(node, attempt),
        }
    }

    fn arrives(&mut self, conn: ConnId, end: usize) {
        let Some((purpose, ends)) = self.net.about(conn) else { return };
        let (node, peer) = (ends[end], ends[1 - end]);
        if !self.nodes[node].up {
            return;
        }
        match self.net.arrive(conn, end) {
            Lane::Nothing => {}
            Lane::Closed => self.connection_down(node, conn, purpose, peer),
            Lane::Message(body) => {
                let id = self.nodes[node].id;
                if !matches!(body, Body::Ping(_) | Body::Pong(_)) {
                    self.story.detail(self.now, || format!("{id} ‹ n{} {body}", peer + 1));
                }
                match body {
                    Body::Ping(ping) => self.pinged(node, conn, ping),
                    Body::Pong(pong) => self.ponged(node, peer, conn, *pong),
                    Body::News(index) => self.news(node, conn, index),
                    Body::Replication(message) => {
                        if let Purpose::Replicate(partition) = purpose {
                            self.link_message(node, partition, peer, conn, message);
                        }
                    }
                    _ => unreachable!("a connection carries what it is for"),
                }
            }
        }
    }

    fn datagram_arrives(&mut self, from: usize, to: usize, body: Box<Body>, sent: Time) {
        if self.net.is_cut(from, to) {
            // It may still come, if the way is free again before its connection is given up.
            self.parked.push((sent, from, to, body));
            return;
        }
        if !self.nodes[to].powered {
            return;
        }
        if !self.nodes[to].up {
            if let Body::Call { call, .. } = *body {
                self.datagram(to, from, Body::Unheard { call });
            }
            return;
        }
        if !matches!(*body, Body::Control(_) | Body::AskPositions | Body::Positions(_)) {
            let id = self.nodes[to].id;
            self.story.detail(self.now, || format!("{id} ‹ n{} {body}", from + 1));
        }
        match *body {
            Body::Control(message) => self.control_message(to, from, message),
            Body::Call { call, partition, ask } => self.called(to, from, call, partition, ask),
            Body::Question { call, question } => self.asked(to, from, call, *question),
            Body::Reply { call, reply } => self.told(to, call, *reply),
            Body::Answer { call, answer } => self.answered(to, call, answer),
            Body::Unheard { call } => self.unheard(to, call),
            Body::Lost { call } => self.call_lost(to, call),
            Body::Propose(entry) => self.asked_to_propose(to, from, *entry),
            Body::Lag(report) => self.lag_reported(to, from, *report),
            Body::AskInstance { number, partition } => self.asked_for_instance(to, from, number, partition),
            Body::InstanceTold { number, told } => self.instance_told(to, number, told),
            Body::Drain { number, partition, epoch, to: heir, drain, hold } => {
                let drain = Drain { from, number, epoch, to: heir, drain, hold };
                self.asked_to_drain(to, partition, drain);
            }
            Body::Drained { number, result } => self.drained(to, number, result),
            Body::DropOrphan { step, partition, index } => {
                self.asked_to_drop(to, from, step, partition, index);
            }
            Body::OrphanDropped { step } => self.orphan_dropped(to, step),
            Body::AskPositions => {
                let told = self.leaf(to).positions();
                self.datagram(to, from, Body::Positions(told));
            }
            Body::Positions(told) => self.positions_told(to, from, told),
            _ => unreachable!("what is on a connection comes on it"),
        }
    }

    /// A leaf's request: an aggregator that does not lead passes it on to the one that does, once.
    fn asked_to_propose(&mut self, node: usize, from: usize, entry: Entry) {
        let now = self.group_time(node);
        let control = &self.aggregator(node).control;
        if control.is_leader(now, node) {
            self.propose(node, entry, Origin::Nobody);
        } else if let Some(leader) = control.leader(now, node)
            && self.leaves().contains(&from)
        {
            self.datagram(node, leader, Body::Propose(Box::new(entry)));
        }
    }

    /// A proposal came to something; None if that is not known.
    fn proposal_answered(&mut self, node: usize, origin: Origin, outcome: Option<Outcome>) {
        match origin {
            Origin::Plan(number) => self.plan_answered(node, number, outcome),
            Origin::Switch(number) => self.switch_answered(node, number, outcome),
            Origin::Nobody => {}
        }
    }

    /// A member has applied more.
    fn applied(&mut self, node: usize) {
        self.feed(node);
        self.routes_changed(node);
        self.inquiries_see(node);
    }

    /// The committed catalog has moved to this index.
    fn catalog_moved(&mut self, index: u64) {
        if self.story.listens()
            && let Some(entry) = &self.truth.log[index as usize - 1].entry
        {
            let command = crate::story::command(&entry.command);
            self.story.tell(self.now, || format!("#{index} {command}"));
        }
        self.welcome();
        self.check_catalog(index);
    }
}
