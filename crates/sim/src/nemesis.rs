//! What makes the world worse: faults come, last a while, and go; operators do things meanwhile.
//!
//! To add a fault: a variant of [`Fault`] with a name in [`Fault::ALL`], what it does in `strike`, and how it goes away
//! as a `Cure`. At the end [`World::heal_all`] brings every cure that is still due.

mod ambush;
mod operators;

use std::collections::BTreeMap;

use baton_model::PartitionId;

pub use self::ambush::Moment;
use crate::kernel::{MS, Rng, S, Time};
use crate::world::{DiskWeather, End, Event, LEASE, Purpose, World};

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A leaf's process is killed and starts again later.
    KillLeaf,
    /// A leaf's process is killed and is back at once.
    RestartLeaf,
    /// A leaf's machine loses power.
    PowerCutLeaf,
    /// An aggregator's process is killed.
    KillAggregator,
    /// An aggregator's machine loses power.
    PowerCutAggregator,
    /// The master aggregator and a leaf are lost together.
    KillMasterAndLeaf,
    /// The whole cluster loses power.
    PowerCutAll,
    /// Somebody who has a part in a commit is lost in the middle of it, or a leaf in the middle of a write.
    AmbushCommit,
    /// A leaf's process is stopped, and goes on later: an old primary wakes up.
    PauseLeaf,
    /// An aggregator's process is stopped, often the master's.
    PauseAggregator,
    /// A machine sleeps, and its clock with it.
    Sleep,
    /// A clock jumps ahead.
    ClockJump,
    /// Two nodes cannot reach each other.
    CutPair,
    /// A node cannot reach another, which can reach it.
    CutOneWay,
    /// A node can reach nobody.
    Isolate,
    /// A node hears everybody and is heard by nobody, or the other way round.
    IsolateOneWay,
    /// The cluster falls into two halves.
    Netsplit,
    /// A leaf and an aggregator can reach each other and nobody else, and clients who do not know go on there.
    Strand,
    /// Leaves can reach each other, but not the aggregators.
    CutLeavesFromMaster,
    /// A way comes and goes.
    Flap,
    /// A replica and its primary lose each other again and again, each time for longer than a primary waits; all others
    /// hear both.
    FlapReplication,
    /// A way is slow.
    SlowWay,
    /// Connections break.
    BreakConnections,
    /// Connections break under calls: what was asked is done, and whoever asked does not hear it, and asks again.
    BreakCalls,
    /// An observer's host takes no pings for a node.
    Clog,
    /// Requests of leaves to the master aggregator come late, and some come twice.
    LateRequests,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails.
    FailSync,
    /// A leaf loses its disk.
    LoseDisk,
    /// An operator changes a variable.
    SetVariable,
    /// An operator binds another policy.
    BindPolicy,
    /// An operator hands the master's office over.
    TransferMaster,
    /// An operator makes a replica the primary, as planned.
    PromotePartition,
    /// An operator has the instances of a database balanced or completed, or stops that.
    Rebalance,
    /// An operator changes what a database promises.
    AlterDatabase,
    /// An operator creates a database, or drops one that was created so.
    CreateOrDropDatabase,
    /// An operator adds a replica of a partition.
    AddReplica,
    /// An operator switches failure detection, or attaching, off for a while.
    SwitchOff,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 38] = [
        Self::KillLeaf,
        Self::RestartLeaf,
        Self::PowerCutLeaf,
        Self::KillAggregator,
        Self::PowerCutAggregator,
        Self::KillMasterAndLeaf,
        Self::PowerCutAll,
        Self::PauseLeaf,
        Self::PauseAggregator,
        Self::Sleep,
        Self::ClockJump,
        Self::CutPair,
        Self::CutOneWay,
        Self::Isolate,
        Self::IsolateOneWay,
        Self::Netsplit,
        Self::Strand,
        Self::CutLeavesFromMaster,
        Self::Flap,
        Self::FlapReplication,
        Self::SlowWay,
        Self::BreakConnections,
        Self::Clog,
        Self::LateRequests,
        Self::SlowDisk,
        Self::FailSync,
        Self::LoseDisk,
        Self::SetVariable,
        Self::BindPolicy,
        Self::TransferMaster,
        Self::PromotePartition,
        Self::Rebalance,
        Self::AlterDatabase,
        Self::CreateOrDropDatabase,
        Self::AddReplica,
        Self::SwitchOff,
        Self::AmbushCommit,
        Self::BreakCalls,
    ];
}

impl Fault {
    /// How often it is drawn, before a seed makes its own mixture.
    #[must_use]
    pub fn weight(self) -> u32 {
        match self {
            // Two of what it brings about must meet before anything is wrong.
            Self::FlapReplication => 12,
            // A statement must be on its way, and neither done nor given up.
            Self::RestartLeaf => 10,
            // The policy must notice, a client must write elsewhere, and another one must ask here.
            Self::Strand => 6,
            Self::AmbushCommit => 6,
            Self::PromotePartition => 4,
            // Most of the time there is nothing to do.
            Self::Rebalance => 6,
            Self::PowerCutAll | Self::CreateOrDropDatabase => 1,
            _ => 2,
        }
    }
}

/// What operators switch off for a while.
const SWITCHES: [&str; 3] = ["leaf_failure_detection", "aggregator_failure_detection", "auto_attach"];

/// How a fault goes away.
#[derive(Clone, PartialEq, Debug)]
enum Cure {
    Start(usize),
    Resume(usize, bool),
    Heal(Vec<(usize, usize)>),
    /// Heals, and cuts again after a while, so many times. A cut lasts so long at most.
    Flap(usize, usize, u32, Time),
    /// The same between a replica and its primary, which waits for so long.
    FlapReplication(usize, usize, u32, Time),
    Quicken(Vec<(usize, usize)>),
    Unclog(usize, usize),
    RequestsInTime,
    CallsHold,
    Spin(usize),
    SwitchOn(&'static str),
    /// An ambush: it is no cure, and strikes while faults come.
    Lose(usize, ambush::Loss),
}

/// What happened to the world, and what is yet to be made good.
#[derive(Debug)]
pub struct Nemesis {
    rng: Rng,
    cures: BTreeMap<u64, Cure>,
    next: u64,
    clogged: Vec<(usize, usize)>,
    /// How late requests to the master aggregator may come; 0 if they come in time.
    late_requests: Time,
    /// An aggregator keeps copies of all requests from the first time on and sends them on, in their order, at the second.
    copies: Option<(Time, Time)>,
    /// When a clock last did what a clock should not.
    clock_disturbed: Option<Time>,
    /// When the clock of an aggregator last jumped.
    lender_jumped: Option<Time>,
    databases: u64,
    ambush: Option<ambush::Ambush>,
    /// How many of a thousand calls break.
    calls_break: u64,
    statements: u128,
    /// Whether faults still come.
    pub active: bool,
    /// How many there were.
    pub faults: u64,
}

/// A policy that is not patient notices within this.
const NOTICED: Time = 3 * S;
/// Statements of operators have ids from here on.
const OPERATORS: u128 = 1 << 101;
/// The number of the event that draws a fault.
const DRAW: u64 = 0;

impl Nemesis {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            cures: BTreeMap::new(),
            next: DRAW,
            clogged: Vec::new(),
            late_requests: 0,
            copies: None,
            clock_disturbed: None,
            lender_jumped: None,
            databases: 0,
            ambush: None,
            calls_break: 0,
            statements: 0,
            active: true,
            faults: 0,
        }
    }

    /// Whether pings of one node to another are not taken.
    #[must_use]
    pub fn is_clogged(&self, from: usize, to: usize) -> bool {
        !self.clogged.is_empty() && self.clogged.contains(&(from, to))
    }

    /// How late the copies of a request come, beside the way: one copy, or two.
    pub fn lateness(&mut self, now: Time) -> [Option<Time>; 2] {
        if let Some((from, until)) = self.copies.filter(|(from, until)| (from..until).contains(&&now)) {
            return [Some(0), Some(until - now + (now - from) / 8)];
        }
        match self.late_requests {
            0 => [Some(0), None],
            most => [Some(self.rng.below(most)), self.rng.coin().then(|| self.rng.below(most))],
        }
    }

    /// Whether the connection of a call breaks now.
    pub fn breaks_call(&mut self) -> bool {
        self.calls_break > 0 && self.rng.per_mille(self.calls_break)
    }

    /// Whether the clock of an aggregator jumped since then, or so shortly before that what it had lent went on.
    #[must_use]
    pub fn a_lender_jumped_since(&self, since: Time) -> bool {
        self.lender_jumped.is_some_and(|at| since < at + 4 * LEASE)
    }

    /// Whether a clock jumped or stood still so lately that the control group's leases may be wrong.
    #[must_use]
    pub fn clocks_are_disturbed(&self, now: Time) -> bool {
        self.clock_disturbed.is_some_and(|at| now < at + 4 * LEASE)
    }
}

impl World {
    /// Lets faults begin.
    pub(crate) fn unleash(&mut self) {
        if self.setup.fault_every > 0 {
            self.next_fault();
        }
    }

    fn next_fault(&mut self) {
        let every = self.setup.fault_every;
        let at = self.now + 1 + self.nemesis.rng.below(2 * every);
        self.at(at, Event::Nemesis(DRAW));
    }

    pub(crate) fn nemesis_acts(&mut self, number: u64) {
        if number != DRAW {
            if let Some(cure) = self.nemesis.cures.remove(&number) {
                self.cure(cure);
            }
            return;
        }
        if !self.nemesis.active {
            return;
        }
        let weights = &self.setup.fault_weights;
        if let Some(kind) = self.nemesis.rng.weighted(weights) {
            self.nemesis.faults += 1;
            self.strike(Fault::ALL[kind]);
        }
        self.next_fault();
    }

    fn length(&mut self) -> Time {
        let length = self.setup.fault_length;
        10 * MS + self.nemesis.rng.below(2 * length)
    }

    fn cure_later(&mut self, cure: Cure) {
        let after = self.length();
        self.cure_after(after, cure);
    }

    fn cure_after(&mut self, after: Time, cure: Cure) {
        self.nemesis.next += 1;
        let number = self.nemesis.next;
        self.nemesis.cures.insert(number, cure);
        let at = self.now + after;
        self.at(at, Event::Nemesis(number));
    }

    fn cure(&mut self, cure: Cure) {
        match cure {
            Cure::Start(node) => self.start(node),
            Cure::Resume(node, slept) => {
                if slept {
                    self.nemesis.clock_disturbed = Some(self.now);
                }
                self.resume(node, slept);
            }
            Cure::Heal(ways) => {
                self.tell(|| format!("ways are free again: {}", printed(&ways)));
                for (from, to) in ways {
                    self.heal(from, to);
                }
            }
            Cure::Flap(a, b, times, longest) => {
                let cut = self.net.is_cut(a, b);
                if cut || times == 0 {
                    self.heal(a, b);
                    self.heal(b, a);
                } else {
                    self.cut(a, b);
                    self.cut(b, a);
                }
                if times > 0 {
                    let after = self.nemesis.rng.between(50 * MS, if cut { S } else { longest });
                    self.cure_after(after, Cure::Flap(a, b, times - 1, longest));
                }
            }
            Cure::FlapReplication(a, b, times, timeout) => {
                let heals = self.net.is_cut(a, b) || times == 0;
                for (from, to) in [(a, b), (b, a)] {
                    if heals { self.heal(from, to) } else { self.cut(from, to) }
                }
                if times == 0 {
                    return;
                }
                let longest = if heals { S } else { 3 * timeout };
                let after = self.nemesis.rng.between(50 * MS, longest);
                if heals {
                    // What they ask for now comes a second time when they have lost each other for long.
                    let late = timeout + self.nemesis.rng.below(2 * timeout);
                    let kept = self.nemesis.rng.per_mille(700);
                    self.nemesis.copies = kept.then_some((self.now, self.now + after + late));
                }
                self.cure_after(after, Cure::FlapReplication(a, b, times - 1, timeout));
            }
            Cure::Quicken(ways) => ways.into_iter().for_each(|(from, to)| self.net.slow_down(from, to, 0)),
            Cure::RequestsInTime => self.nemesis.late_requests = 0,
            Cure::CallsHold => self.nemesis.calls_break = 0,
            Cure::Unclog(from, to) => self.nemesis.clogged.retain(|way| *way != (from, to)),
            Cure::Spin(node) => self.nodes[node].disk_weather.slower = 0,
            Cure::SwitchOn(name) => self.switch(name, "ON"),
            Cure::Lose(node, how) => self.lose(node, how),
        }
    }

    /// Everything is made good, in the order in which it was done.
    pub fn heal_all(&mut self) {
        self.nemesis.active = false;
        self.nemesis.copies = None;
        self.tell(|| "the faults are over".to_owned());
        for cure in std::mem::take(&mut self.nemesis.cures).into_values() {
            match cure {
                Cure::Lose(..) => {}
                Cure::Flap(a, b, ..) | Cure::FlapReplication(a, b, ..) => {
                    self.cure(Cure::Heal(vec![(a, b), (b, a)]))
                }
                cure => self.cure(cure),
            }
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].disk_weather = DiskWeather::default();
            self.start(node);
        }
    }

    fn random_leaf(&mut self) -> usize {
        let leaves = self.leaves();
        leaves.start + self.nemesis.rng.below(leaves.len() as u64) as usize
    }

    /// Half of the time it is the master.
    fn random_aggregator(&mut self) -> usize {
        let master = self.acting_leaders().first().map(|id| World::position(*id));
        let count = self.setup.aggregators as u64;
        match master.filter(|_| self.nemesis.rng.coin()) {
            Some(master) => master,
            None => self.nemesis.rng.below(count) as usize,
        }
    }

    fn random_node(&mut self) -> usize {
        self.nemesis.rng.below(self.nodes.len() as u64) as usize
    }

    /// A leaf and an aggregator through which somebody reads there, if anybody does.
    fn random_read(&mut self) -> (usize, usize) {
        let (leaf, aggregator) = (self.random_leaf(), self.random_aggregator());
        let reads: Vec<(usize, PartitionId)> = self.workload.reads().collect();
        if reads.is_empty() {
            return (leaf, aggregator);
        }
        let (at, partition) = self.nemesis.rng.pick(&reads);
        (self.catalog().partition(partition).map_or(leaf, |known| World::position(known.primary)), at)
    }

    fn random_pair(&mut self) -> (usize, usize) {
        let a = self.random_node();
        let b = (a + 1 + self.nemesis.rng.below(self.nodes.len() as u64 - 1) as usize) % self.nodes.len();
        (a, b)
    }

    fn cut_ways(&mut self, what: Fault, ways: Vec<(usize, usize)>) {
        self.cut_for(what, ways, 1, 0);
    }

    /// For so many times as long as faults last, and more.
    fn cut_for(&mut self, what: Fault, ways: Vec<(usize, usize)>, times: Time, more: Time) {
        let ways: Vec<_> = ways.into_iter().filter(|(from, to)| !self.net.is_cut(*from, *to)).collect();
        self.tell(|| format!("fault {what:?}: cut {}", printed(&ways)));
        for (from, to) in &ways {
            self.cut(*from, *to);
        }
        let after = times * self.length() + more;
        self.cure_after(after, Cure::Heal(ways));
    }

    fn kill(&mut self, node: usize, power: bool) {
        if !self.nodes[node].up {
            return;
        }
        let how = if power { End::PowerCut } else { End::Killed };
        self.end(node, how, power && self.setup.loses_power);
        self.cure_later(Cure::Start(node));
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::KillLeaf => {
                let leaf = self.random_leaf();
                self.kill(leaf, false);
            }
            Fault::RestartLeaf => {
                let leaf = self.random_leaf();
                if self.nodes[leaf].up {
                    let power = self.setup.loses_power && self.nemesis.rng.coin();
                    self.end(leaf, if power { End::PowerCut } else { End::Killed }, power);
                    let after = self.nemesis.rng.between(MS, 200 * MS);
                    self.cure_after(after, Cure::Start(leaf));
                }
            }
            Fault::PowerCutLeaf => {
                let leaf = self.random_leaf();
                self.kill(leaf, true);
            }
            Fault::KillAggregator => {
                let aggregator = self.random_aggregator();
                self.kill(aggregator, false);
            }
            Fault::PowerCutAggregator => {
                let aggregator = self.random_aggregator();
                self.kill(aggregator, true);
            }
            Fault::KillMasterAndLeaf => {
                let (aggregator, leaf) = (self.random_aggregator(), self.random_leaf());
                let power = self.nemesis.rng.coin();
                self.kill(aggregator, power);
                self.kill(leaf, power);
            }
            Fault::PowerCutAll => (0..self.nodes.len()).for_each(|node| self.kill(node, true)),
            Fault::PauseLeaf | Fault::PauseAggregator | Fault::Sleep => self.stop_process(fault),
            Fault::AmbushCommit => self.lie_in_wait(),
            Fault::ClockJump => {
                let node = self.random_node();
                let by = self.nemesis.rng.between(10 * MS, 40 * S);
                let now = self.now;
                self.nodes[node].clock.jump(now, by);
                self.nemesis.clock_disturbed = Some(now);
                if self.aggregators().contains(&node) {
                    self.nemesis.lender_jumped = Some(now);
                }
                self.tell(|| format!("the clock of n{} jumps by {} ms", node + 1, by / MS));
            }
            Fault::CutPair => {
                let (a, b) = self.random_pair();
                self.cut_ways(fault, vec![(a, b), (b, a)]);
            }
            Fault::CutOneWay => {
                let way = self.random_pair();
                self.cut_ways(fault, vec![way]);
            }
            Fault::Isolate | Fault::IsolateOneWay => {
                let node = self.random_node();
                let (both, out) = (fault == Fault::Isolate, self.nemesis.rng.coin());
                let others = (0..self.nodes.len()).filter(|other| *other != node);
                let ways = others.flat_map(|other| [(node, other, out), (other, node, !out)]);
                let ways =
                    ways.filter(|(.., wanted)| both || *wanted).map(|(from, to, _)| (from, to)).collect();
                self.cut_ways(fault, ways);
            }
            Fault::Netsplit => {
                let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.nemesis.rng.coin()).collect();
                let ways = (0..side.len())
                    .flat_map(|from| (0..side.len()).map(move |to| (from, to)))
                    .filter(|(from, to)| side[*from] != side[*to])
                    .collect();
                self.cut_ways(fault, ways);
            }
            Fault::Strand => {
                let (leaf, aggregator) = self.random_read();
                let stranded = |node: &usize| [leaf, aggregator].contains(node);
                let others: Vec<usize> = (0..self.nodes.len()).filter(|node| !stranded(node)).collect();
                let ways = others.into_iter().flat_map(|other| {
                    [(leaf, other), (other, leaf), (aggregator, other), (other, aggregator)]
                });
                self.cut_for(fault, ways.collect(), 3, NOTICED);
            }
            Fault::CutLeavesFromMaster => {
                let master = self.random_aggregator();
                let leaves = self.leaves().filter(|leaf| leaf % 2 == master % 2 || master == 0);
                let ways = leaves.flat_map(|leaf| [(leaf, master), (master, leaf)]).collect();
                self.cut_ways(fault, ways);
            }
            Fault::Flap => {
                let (a, b) = self.random_pair();
                self.tell(|| format!("fault Flap: between n{} and n{}", a + 1, b + 1));
                let times = self.nemesis.rng.between(3, 20) as u32;
                self.cure_after(1, Cure::Flap(a, b, times, S));
            }
            Fault::FlapReplication => {
                let count = self.catalog().partitions().count() as u64;
                let chosen = self.nemesis.rng.below(count) as usize;
                let pair = self.catalog().partitions().nth(chosen).and_then(|partition| {
                    let replica = partition.replicas.keys().next()?;
                    Some((World::position(partition.primary), World::position(*replica)))
                });
                let Some((a, b)) = pair else { return };
                self.tell(|| format!("fault FlapReplication: between n{} and n{}", a + 1, b + 1));
                let timeout = self.catalog().number("sync_replica_timeout_ms") * MS;
                let times = self.nemesis.rng.between(4, 12) as u32;
                self.cure_after(1, Cure::FlapReplication(a, b, times, timeout));
                // What was asked for while they heard each other may come when they do not.
                if self.nemesis.rng.per_mille(700) {
                    self.nemesis.late_requests = 4 * timeout;
                    self.cure_after(Time::from(times) * timeout, Cure::RequestsInTime);
                }
            }
            Fault::SlowWay => {
                let (a, b) = self.random_pair();
                let by = self.nemesis.rng.pick(&[5 * MS, 50 * MS, 300 * MS, 2 * S]);
                self.tell(|| format!("fault SlowWay: n{} to n{} by {} ms", a + 1, b + 1, by / MS));
                self.net.slow_down(a, b, by);
                self.cure_later(Cure::Quicken(vec![(a, b)]));
            }
            Fault::BreakConnections => {
                let node = self.random_node();
                self.tell(|| format!("fault BreakConnections: of n{}", node + 1));
                for (conn, purpose, ends) in self.net.all().collect::<Vec<_>>() {
                    if ends.contains(&node) && (purpose != Purpose::Heartbeat || self.nemesis.rng.coin()) {
                        self.break_connection(conn, purpose, ends);
                    }
                }
            }
            Fault::BreakCalls => {
                self.nemesis.calls_break = self.nemesis.rng.pick(&[20, 100, 400]);
                let per_mille = self.nemesis.calls_break;
                self.tell(|| format!("fault BreakCalls: {per_mille} of a thousand"));
                self.cure_later(Cure::CallsHold);
            }
            Fault::Clog => {
                let (observer, node) = (self.random_aggregator(), self.random_node());
                self.tell(|| format!("fault Clog: n{} to n{}", observer + 1, node + 1));
                self.nemesis.clogged.push((observer, node));
                self.cure_later(Cure::Unclog(observer, node));
            }
            Fault::LateRequests => {
                let most = self.nemesis.rng.pick(&[S, 4 * S, 15 * S]);
                self.tell(|| format!("fault LateRequests: by up to {} ms", most / MS));
                self.nemesis.late_requests = most;
                self.cure_later(Cure::RequestsInTime);
            }
            Fault::SlowDisk => {
                let node = self.random_node();
                let by = self.nemesis.rng.pick(&[20 * MS, 100 * MS, 700 * MS, 5 * S]);
                self.tell(|| format!("fault SlowDisk: n{} by {} ms", node + 1, by / MS));
                self.nodes[node].disk_weather.slower = by;
                self.cure_later(Cure::Spin(node));
            }
            Fault::FailSync => {
                let node = self.random_node();
                if self.setup.loses_power && self.nodes[node].up {
                    self.nodes[node].disk_weather.fails = true;
                    self.cure_later(Cure::Start(node));
                }
            }
            Fault::LoseDisk => {
                let leaf = self.random_leaf();
                if self.can_spare(leaf) {
                    self.end(leaf, End::Killed, false);
                    self.lose_disk(leaf);
                    self.cure_later(Cure::Start(leaf));
                }
            }
            Fault::SetVariable
            | Fault::BindPolicy
            | Fault::TransferMaster
            | Fault::PromotePartition
            | Fault::Rebalance
            | Fault::AlterDatabase
            | Fault::CreateOrDropDatabase
            | Fault::AddReplica
            | Fault::SwitchOff => self.operator_acts(fault),
        }
    }

    fn stop_process(&mut self, fault: Fault) {
        let node = match fault {
            Fault::PauseLeaf => self.random_leaf(),
            Fault::PauseAggregator => self.random_aggregator(),
            _ => self.random_node(),
        };
        if self.nodes[node].up && self.nodes[node].paused_since.is_none() {
            let slept = fault == Fault::Sleep;
            if slept {
                self.nemesis.clock_disturbed = Some(self.now);
            }
            self.pause(node);
            self.cure_later(Cure::Resume(node, slept));
        }
    }

    /// Whether everything that was acknowledged is somewhere else too, with somebody who counts.
    fn can_spare(&self, leaf: usize) -> bool {
        let id = self.nodes[leaf].id;
        self.catalog().partitions().filter(|p| p.role_of(id).is_some()).all(|partition| {
            partition.instances().filter(|other| *other != id).any(|other| {
                let other = World::position(other);
                let chronicle = self.checks.chronicles.get(&partition.id);
                let copy = self.leaf(other).disk.synced.copies.get(&partition.id);
                self.counts_on(other, partition.id) && chronicle.is_none_or(|known| known.is_had_by(copy))
            })
        })
    }
}

fn printed(ways: &[(usize, usize)]) -> String {
    ways.iter().map(|(from, to)| format!("n{}→n{}", from + 1, to + 1)).collect::<Vec<_>>().join(" ")
}
