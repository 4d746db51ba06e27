//! What makes the world worse: faults come, last a while, and go; operators do things meanwhile.
//!
//! To add a fault: a variant of [`Fault`] with a name in [`Fault::ALL`], what it does in `strike.rs`, and how it goes away
//! as a `Cure`. At the end [`World::heal_all`] brings every cure that is still due.

mod ambush;
mod fault;
mod leaves;
mod operators;
mod strike;

use std::collections::BTreeMap;

pub use self::ambush::Moment;
pub use self::fault::Fault;
use crate::kernel::{MS, Rng, S, Time};
use crate::world::{DiskWeather, Event, LEASE, World};

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
    /// The next step of a leaf that an operator takes out.
    Leave(leaves::Leaving),
    Attach(usize),
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
    /// Whether operators bind another policy in the place of one that misbehaves.
    lifts_chaos: bool,
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
            lifts_chaos: false,
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
            Cure::Leave(leaving) => self.leaves_step_by_step(leaving),
            Cure::Attach(leaf) => self.attach_leaf(leaf),
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
                Cure::Lose(..) | Cure::Leave(_) => {}
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

    /// A machine that is new starts.
    pub(crate) fn start_soon(&mut self, node: usize) {
        self.cure_after(1, Cure::Start(node));
    }
}

fn printed(ways: &[(usize, usize)]) -> String {
    ways.iter().map(|(from, to)| format!("n{}→n{}", from + 1, to + 1)).collect::<Vec<_>>().join(" ")
}
