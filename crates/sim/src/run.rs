//! A seed from its begin to its end: a world with faults, a world without, and rest.

use std::time::Instant;

use baton_policy::{Classic, DETECTION_CEILING, NodeEvidence, REJOIN_CEILING_MS, Settings};

use crate::invariants::Violation;
use crate::kernel::{MS, S, Time};
use crate::nemesis::Fault;
use crate::policies::Shelf;
use crate::setup::Setup;
use crate::story::{Detail, Story};
use crate::world::{STUCK_MAX, World};

/// Between two looks whether the world has come to rest.
const LOOK: Time = S / 4;
/// How long clients go on when the faults are over, at least.
const AFTERGLOW: Time = 3 * S;
/// Beside the times that the settings of a world name, it may take so long to come to rest.
const REST_MARGIN: Time = 25 * S;

/// By what name it is told that a world did not come to rest.
pub(crate) const REST: &str = "rest";

/// How a seed ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was broken, in order.
    pub violations: Vec<Violation>,
    /// How long the world went on, in its own time.
    pub simulated: Time,
    /// How long it took to come to rest after the faults were over.
    pub rested_after: Time,
    /// How long it took here, in seconds.
    pub took_s: f64,
    /// How many events there were.
    pub events: u64,
    /// How many faults.
    pub faults: u64,
    /// Statements by how they ended: written, read, undone, unknown.
    pub statements: [u64; 4],
    /// Transactions by how they ended: committed, rolled back, unknown to their clients.
    pub transactions: [u64; 3],
    /// How many partitions only their operator can bring back.
    pub given_up: usize,
    /// How many partitions went on without what power cuts took from them.
    pub shortened: usize,
    /// A number that is the same only if the same happened.
    pub digest: u64,
    /// What happened, if anybody listened.
    pub story: String,
}

impl Report {
    /// Of a seed of which nothing is known.
    #[must_use]
    pub fn empty(seed: u64) -> Self {
        Self {
            seed,
            violations: Vec::new(),
            simulated: 0,
            rested_after: 0,
            took_s: 0.0,
            events: 0,
            faults: 0,
            statements: [0; 4],
            transactions: [0; 3],
            given_up: 0,
            shortened: 0,
            digest: 0,
            story: String::new(),
        }
    }
}

/// The settings of a seed's world.
#[must_use]
pub fn setup_of(seed: u64) -> Setup {
    Setup::draw(seed, &Fault::ALL.map(Fault::weight))
}

/// How long a world may take to come to rest: twice what its policies may take to notice and to elect, what a replica may
/// be silent, and a margin.
fn rest_max(world: &World) -> Time {
    let catalog = world.catalog();
    let ms = |name: &str| catalog.number(name) * 1_000;
    // A connection that hangs is noticed after 40 s at the latest, whoever judges.
    // A leaf that failed again and again is held back for as long as it may be.
    let grace = ms("failover_maximum_grace_interval_seconds") * 1_000;
    2 * ms("consensus_election_timeout") + 4 * ms("sync_replica_timeout_ms") + grace + 40 * S + REST_MARGIN
}

/// Lets a world live.
#[must_use]
pub fn run(setup: Setup, shelf: Shelf, detail: Detail, prints: bool) -> Report {
    let started = Instant::now();
    let seed = setup.seed;
    let faults_last = setup.faults_last;
    let mut world = World::new(setup, shelf, Story::new(detail, prints));
    let mut rested_after = 0;
    if live(&mut world, faults_last) {
        world.heal_all();
        if world.is_chaotic() {
            come_to_serve(&mut world);
        }
        world.lift_chaos();
        let healed = world.now;
        come_to_rest(&mut world);
        rested_after = world.now - healed;
    }
    let given_up = world.catalog().partitions().filter(|p| world.is_given_up(p.id)).count();
    Report {
        seed,
        simulated: world.now,
        rested_after,
        took_s: started.elapsed().as_secs_f64(),
        events: world.events(),
        faults: world.nemesis.faults,
        statements: world.workload.counts,
        transactions: world.workload.deals,
        given_up,
        shortened: world.checks.losses.count(),
        digest: world.digest(),
        story: world.story.text().to_owned(),
        violations: world.checks.violations,
    }
}

/// How long a policy that misbehaves may keep a world from serving: what no policy may exceed to notice, to elect and to
/// use a leaf again.
fn serve_max(world: &World) -> Time {
    let ms = |name: &str| world.catalog().number(name) * 1_000;
    let (_, misses) = Classic::score(&NodeEvidence::default(), &Settings::new());
    let unheard = DETECTION_CEILING * misses * ms("heartbeat_interval_ms");
    unheard + 3 * ms("consensus_election_timeout") + REJOIN_CEILING_MS * MS + REST_MARGIN
}

/// Waits until a world whose policy misbehaves at every decision point serves all that can be served.
fn come_to_serve(world: &mut World) {
    let end = world.now + serve_max(world);
    while let Some(unserved) = world.unserved() {
        if world.now >= end {
            return world.violated("S8", format!("a policy keeps the cluster from serving: {unserved}"));
        }
        let until = world.now + LOOK;
        if !live(world, until) {
            return;
        }
        world.insist();
    }
}

/// Waits until a world in which all faults are over has come to rest, and looks at it then.
pub(crate) fn come_to_rest(world: &mut World) {
    let bound = rest_max(world);
    match rest(world, bound) {
        Ok(()) => world.check_at_rest(),
        Err(unrest) => {
            let what = format!("{} s after the faults were over: {unrest}", bound / S);
            world.violated(REST, what);
        }
    }
}

/// Lets events happen until then; false as soon as something is broken.
pub(crate) fn live(world: &mut World, end: Time) -> bool {
    while world.step(end) {
        if !world.checks.violations.is_empty() {
            return false;
        }
    }
    world.checks.violations.is_empty()
}

/// Clients work for a while, and must get their writes done in every partition; then they stop, and everything comes to
/// rest. If there is nothing but a plan that goes on, it may take as long as a step may be stuck, and then come to rest.
fn rest(world: &mut World, bound: Time) -> Result<(), String> {
    let healed = world.now;
    let mut end = healed + bound;
    let latest = end + STUCK_MAX.as_micros() as Time + REST_MARGIN;
    let mut unrest = String::new();
    let mut calm_since = None;
    while world.now < end {
        let until = world.now + LOOK;
        if !live(world, until) {
            return Ok(()); // It is told already.
        }
        world.insist();
        if world.workload.active {
            let waits = world.catalog().partitions().map(|partition| partition.id).find(|id| {
                !world.is_given_up(*id)
                    && world.workload.written_at.get(id).is_none_or(|at| *at < healed)
                    && world.in_doubt_for_good(*id) == 0
            });
            if let Some(partition) = waits {
                unrest = format!("no client could write to {partition}");
            } else if let Some(why) = world.unrest() {
                unrest = why;
            } else if let Some(plan) = world.open_plan() {
                unrest = plan;
                end = latest.min(end.max(world.now + REST_MARGIN));
            } else if world.now >= *calm_since.get_or_insert(world.now) + AFTERGLOW {
                world.workload.active = false;
            }
            continue;
        }
        match world.unrest().or_else(|| world.open_plan()) {
            _ if world.workload.is_busy() => "a statement is on its way".clone_into(&mut unrest),
            Some(why) => unrest = why,
            None => return Ok(()),
        }
    }
    Err(unrest)
}

/// How a seed notices the mutant that is on in this thread: by a rule that is broken, or by a panic.
#[cfg(feature = "mutants")]
#[must_use]
pub fn noticed(seed: u64) -> Option<String> {
    let life = || run(setup_of(seed), Shelf::default(), Detail::Nothing, false);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)) {
        Ok(report) => report.violations.first().map(|v| format!("{}: {}", v.invariant, v.what)),
        Err(_) => Some("panic".to_owned()),
    }
}
