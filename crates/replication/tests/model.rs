//! The in-sync set and changes of epochs, exhaustively: three instances of the real core under the real catalog.
//!
//! Every order in which a few writes, faults and decisions can meet is tried, up to a depth, breadth first, so that what
//! breaks a rule is shown by its shortest way. The rules are those of `world/checks.rs`, looked at after every step.
//! What is on its way stays in order on its link and overtakes everything else.

mod world;

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use baton_model::{Durability, NodeId, ReplicationMode, StatementId, SyncState, TableId};
use baton_replication::{Mutation, Write};
use stateright::{Checker, Model, Property};

use self::world::{Move, World};

const LEAVES: [NodeId; 3] = [NodeId(2), NodeId(3), NodeId(4)];

/// How far it is looked, in steps, where everything can happen once; every state up to there is visited.
const DEPTH: usize = if cfg!(debug_assertions) { 6 } else { 8 };
/// There are at least so many, or the model has lost its meaning.
const STATES_MIN: usize = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
/// How far where only a write and a promotion can happen: both come to their end on the way.
const DEPTH_OF_TWO: usize = 14;
/// Longer than a primary waits for a silent replica.
const SILENCE: Duration = Duration::from_millis(5_200);

/// What may still happen that does not come by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Budget {
    writes: u8,
    crashes: u8,
    promotions: u8,
    silences: u8,
    verdicts: u8,
}

/// A world, and what may still happen in it.
#[derive(Clone, Debug)]
struct State {
    world: World,
    budget: Budget,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Something that waits to happen does.
    Move(Move),
    /// A client writes at this leaf.
    Write(NodeId),
    /// A process dies, with or without what it had not synced.
    Crash(NodeId, bool),
    /// It starts again, and the master aggregator hears of it.
    Restart(NodeId),
    /// The master aggregator promotes, right or wrong.
    Promote(NodeId),
    /// The master aggregator thinks that a leaf failed, right or wrong.
    Offline(NodeId),
    /// Nobody hears anybody for longer than a primary waits.
    Silence,
}

impl State {
    /// All that what happens from here on depends on.
    fn fingerprint(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        let world = &self.world;
        let oldest = world.leaves.values().map(|leaf| leaf.mirror).min().unwrap_or_default();
        for version in &world.versions[oldest..] {
            let nodes: Vec<_> = version.leaves().map(|n| (n.state, n.incarnation, n.store)).collect();
            let _ = write!(text, "{:?}{nodes:?}", version.partition(world::PARTITION));
        }
        let _ = write!(text, "{:?}{:?}{:?}", self.budget, world.leaves, world.requests);
        let _ = write!(text, "{:?}{}", world.checks.acknowledged, world.fingerprint_of_wires());
        text
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint().hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

/// Three instances of one partition.
#[derive(Clone, Copy)]
struct Partition(Budget);

impl Model for Partition {
    type State = State;
    type Action = Step;

    /// A partition that serves, with two replicas that are Sync.
    fn init_states(&self) -> Vec<State> {
        let mut world = World::new(LEAVES.len() as u64, ReplicationMode::Sync, Durability::Sync);
        while let Some(first) = world.moves().first().copied() {
            world.play(first, 1);
        }
        assert!(world.partition().replicas.values().all(|state| *state == SyncState::Sync));
        vec![State { world, budget: self.0 }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let State { world, budget } = state;
        steps.extend(world.moves().into_iter().map(Step::Move));
        for (id, leaf) in &world.leaves {
            if !leaf.up {
                steps.push(Step::Restart(*id));
                continue;
            }
            let serves = leaf.instance.as_ref().is_some_and(|instance| instance.serves());
            if serves && budget.writes > 0 {
                steps.push(Step::Write(*id));
            }
            if budget.crashes > 0 {
                steps.push(Step::Crash(*id, false));
                if leaf.disk.unsynced() > 0 {
                    steps.push(Step::Crash(*id, true));
                }
            }
        }
        let partition = world.partition();
        for id in partition.replicas.keys() {
            if budget.promotions > 0 {
                steps.push(Step::Promote(*id));
            }
            if budget.verdicts > 0 && world.catalog().node(*id).is_some_and(|node| node.is_online()) {
                steps.push(Step::Offline(*id));
            }
        }
        if budget.silences > 0 {
            steps.push(Step::Silence);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        let State { world, budget } = &mut state;
        match step {
            Step::Move(what) => world.play(what, 1),
            Step::Write(id) => {
                budget.writes -= 1;
                let statement = StatementId(u128::from(budget.writes) + 1);
                let row = Mutation { table: TableId(1), key: vec![0], row: Some(vec![budget.writes].into()) };
                world.write(id, Write { statement, affected_rows: 1, mutations: vec![row] });
            }
            Step::Crash(id, loses) => {
                budget.crashes -= 1;
                let unsynced = world.leaves[&id].disk.unsynced();
                world.crash(id, if loses { unsynced } else { 0 });
            }
            Step::Restart(id) => {
                world.restart(id);
                world.note_online(id);
            }
            Step::Promote(id) => {
                budget.promotions -= 1;
                world.promote(id).ok()?;
            }
            Step::Offline(id) => {
                budget.verdicts -= 1;
                world.note_offline(id)?.ok()?;
            }
            Step::Silence => {
                budget.silences -= 1;
                world.pass(SILENCE);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("all rules hold", |_, state: &State| state.world.checks.violations.is_empty()),
            Property::sometimes("a write is acknowledged", |_, state: &State| {
                !state.world.checks.acknowledged.is_empty()
            }),
            Property::sometimes("another primary serves", |_, state: &State| {
                let primary = state.world.partition().primary;
                primary != LEAVES[0]
                    && state.world.leaves[&primary].instance.as_ref().is_some_and(|i| i.serves())
            }),
        ]
    }
}

/// Visits every state up to a depth.
fn explore(budget: Budget, depth: usize) -> impl Checker<Partition> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Partition(budget).checker().threads(threads).target_max_depth(depth).spawn_bfs().join();
    println!("{} states up to depth {depth}", checker.unique_state_count());
    checker
}

#[test]
fn every_order_of_a_few_events_keeps_all_rules() {
    let budget = Budget { writes: 1, crashes: 1, promotions: 1, silences: 1, verdicts: 1 };
    let checker = explore(budget, DEPTH);
    checker.assert_no_discovery("all rules hold");
    assert!(checker.unique_state_count() >= STATES_MIN, "{} states", checker.unique_state_count());
}

#[test]
fn every_order_of_a_write_and_a_promotion_keeps_all_rules_to_their_end() {
    let budget = Budget { writes: 1, crashes: 0, promotions: 1, silences: 0, verdicts: 0 };
    explore(budget, DEPTH_OF_TWO).assert_properties();
}
