//! Three leaves in a bad world, with the catalog as the only judge.
//!
//! A list of numbers is a life: each number picks what happens next among all that can happen then, so a list that
//! fails can be cut down to the few numbers that matter. After every step all rules are checked; at the end the world
//! is mended, and everything must come to rest: all replicas in sync, all logs and rows equal, writes served.
//!
//! `BATON_SEEDS=5000..9000` runs other lives than the usual ones.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use baton_model::{Durability, NodeId, ReplicationMode, StatementId, SyncState, TableId};
use baton_replication::{Mutation, Write};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::world::{Hold, World, pair};

/// What happens at most in one life before the world is mended.
const STEPS: usize = 400;
/// Lives of each of the tests.
const LIVES: u64 = 2_500;
/// The world comes to rest within so many rounds after it was mended.
const ROUNDS: usize = 400;

const LEAVES: [NodeId; 3] = [NodeId(2), NodeId(3), NodeId(4)];

/// The kinds of things that happen, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// One of the things that wait to happen does, whichever.
    Move,
    /// What waits happens in order, for a while.
    Peace,
    /// Time passes.
    Time,
    Write,
    Retry,
    /// A replica takes over if the catalog lets it, whether the primary lives or not.
    Promote,
    /// The primary dies, and a replica takes over.
    FailOver,
    /// The primary is asked to stop taking writes, or hands over, whether it was asked or not.
    HandOver,
    Crash,
    /// The primary's machine loses power and is back before anybody judges it.
    PowerCut,
    Restart,
    LoseDisk,
    LosePrimaryDisk,
    BreakLink,
    Cut,
    /// Something gets slow, or goes on.
    Hold,
    NoteOffline,
    NoteOnline,
    /// The master aggregator does not want a replica to be waited for.
    Degrade,
    /// A request to the master aggregator is lost, or comes twice.
    Request,
    /// `ALTER DATABASE` changes whether replicas rise.
    AlterReplication,
    /// `ALTER DATABASE` changes whether writes wait for the disk.
    AlterDurability,
}

const KINDS: [(Kind, u32); 22] = [
    (Kind::Move, 52),
    (Kind::Peace, 6),
    (Kind::Time, 12),
    (Kind::Write, 12),
    (Kind::Retry, 4),
    (Kind::Promote, 2),
    (Kind::FailOver, 2),
    (Kind::Crash, 2),
    (Kind::PowerCut, 1),
    (Kind::Restart, 3),
    (Kind::LoseDisk, 2),
    (Kind::LosePrimaryDisk, 1),
    (Kind::BreakLink, 1),
    (Kind::Cut, 1),
    (Kind::Hold, 2),
    (Kind::NoteOffline, 1),
    (Kind::NoteOnline, 2),
    (Kind::Degrade, 2),
    (Kind::Request, 1),
    (Kind::AlterReplication, 1),
    (Kind::AlterDurability, 2),
    (Kind::HandOver, 3),
];

/// What the leaves promise, and what they may lose of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaves {
    /// What is synced, and nothing of it.
    Sync,
    /// What is written, and nothing of it: only processes die.
    Async,
    /// What is written, and what was not synced of it: machines lose power.
    AsyncAndLosePower,
    /// What is written or what is synced, as the database says at the time, and what was not synced of it.
    Altered,
}

struct Life {
    world: World,
    leaves: Leaves,
    statements: u128,
    /// How often each kind of thing happens in this life: some never, some much.
    /// Lives that differ in this find more than lives that are all of the same mixture.
    weights: [u32; KINDS.len()],
}

impl Life {
    fn new(leaves: Leaves, mixture: u32) -> Self {
        let mut weights = [0; KINDS.len()];
        for (i, (kind, weight)) in KINDS.iter().enumerate() {
            let factor =
                if *kind == Kind::Move { 1 } else { [0, 1, 1, 3][(mixture >> (i % 16 * 2)) as usize % 4] };
            weights[i] = weight * factor;
        }
        let durability = if matches!(leaves, Leaves::Sync | Leaves::Altered) {
            Durability::Sync
        } else {
            Durability::Async
        };
        let mut world = World::new(LEAVES.len() as u64, ReplicationMode::Sync, durability);
        world.checks.loses_power = matches!(leaves, Leaves::AsyncAndLosePower | Leaves::Altered);
        Self { world, leaves, statements: 0, weights }
    }

    /// One thing happens.
    fn act(&mut self, number: u32) {
        let total: u32 = self.weights.iter().sum();
        let mut rest = number % total;
        let place = self.weights.iter().position(|weight| {
            let here = rest < *weight;
            rest = rest.wrapping_sub(*weight);
            here
        });
        let kind = place.map_or(Kind::Move, |place| KINDS[place].0);
        let choice = (number / total) as usize;
        let leaf = LEAVES[choice % LEAVES.len()];
        let other = LEAVES[choice / 3 % LEAVES.len()];
        let detail = choice / 9;
        let world = &mut self.world;
        let serving = world.leaves.iter().find(|(_, l)| l.instance.as_ref().is_some_and(|i| i.serves()));
        let serving = serving.map_or(leaf, |(id, _)| *id);
        match kind {
            Kind::Move => {
                let moves = world.moves();
                if !moves.is_empty() {
                    world.play(moves[choice % moves.len()], 1 + choice / moves.len() % 4);
                }
            }
            Kind::Peace => {
                self.rest(choice % 40);
                if detail.is_multiple_of(2) {
                    self.world.pass(Duration::from_millis(600));
                    self.rest(choice % 40);
                }
            }
            Kind::Time => {
                world.pass(Duration::from_millis([20, 100, 600, 600, 1_500, 6_000][detail % 6]));
            }
            Kind::Write => {
                for _ in 0..=detail / 8 % 3 {
                    self.statements += 1;
                    let write = write(self.statements, detail);
                    world.write(if detail.is_multiple_of(8) { leaf } else { serving }, write);
                }
            }
            Kind::Retry if self.statements > 0 => {
                let at = if detail.is_multiple_of(2) { leaf } else { serving };
                let statement = 1 + (detail / 4) as u128 % self.statements;
                if detail % 4 < 2 {
                    world.write(at, write(statement, detail));
                } else {
                    world.await_statement(at, StatementId(statement));
                }
            }
            Kind::Promote => self.promote_one(choice),
            Kind::FailOver => {
                let primary = world.partition().primary;
                let unsynced = world.leaves[&primary].disk.unsynced();
                world.crash(primary, if detail.is_multiple_of(2) { unsynced } else { 0 });
                self.promote_one(choice);
            }
            Kind::HandOver => {
                let replicas = world.partition().replicas.keys().copied();
                let heirs: Vec<NodeId> = replicas.filter(|id| world.leaves[id].up).collect();
                if heirs.is_empty() {
                    return;
                }
                let to = heirs[choice % heirs.len()];
                if detail.is_multiple_of(2) {
                    world.drain(serving, to, Duration::from_millis([100, 1_000, 2_000][detail / 2 % 3]));
                } else {
                    let _ = world.hand_over(to);
                }
            }
            Kind::Crash => {
                let unsynced = world.leaves[&leaf].disk.unsynced();
                world.crash(leaf, [0, unsynced, detail / 4 % (unsynced + 1), unsynced][detail % 4]);
            }
            Kind::PowerCut => {
                let primary = world.partition().primary;
                if world.leaves[&primary].up {
                    let unsynced = world.leaves[&primary].disk.unsynced();
                    world.crash(primary, 1 + detail % 8 % (unsynced + 1));
                    world.restart(primary);
                    world.note_online(primary);
                }
            }
            Kind::Restart if !world.leaves[&leaf].up => world.restart(leaf),
            // Not the primary's: if it was the only one that could go on, the partition is lost for good.
            Kind::LoseDisk if world.partition().primary != leaf => {
                if detail.is_multiple_of(2) {
                    // Nobody hears that its links are gone.
                    world.held.insert(Hold::Wire(leaf, serving));
                }
                world.crash(leaf, 0);
                world.lose_disk(leaf);
                world.restart(leaf);
            }
            Kind::LosePrimaryDisk => self.primary_loses_its_disk(),
            Kind::BreakLink => {
                let links = world.links();
                if !links.is_empty() {
                    world.break_link(links[detail % links.len()]);
                }
            }
            Kind::Cut => {
                let between = pair(leaf, other);
                if !world.cut.remove(&between) && leaf != other {
                    world.cut.insert(between);
                    for link in world.links_between(leaf, other) {
                        world.break_link(link);
                    }
                }
            }
            Kind::Hold => {
                let holds = [
                    Hold::Disk(leaf),
                    Hold::Catalog(leaf),
                    Hold::Wire(leaf, other),
                    Hold::Wire(leaf, other),
                    Hold::Master,
                ];
                if world.held.pop_first().is_none() || choice.is_multiple_of(2) {
                    world.held.insert(holds[detail % holds.len()]);
                }
            }
            Kind::NoteOffline => drop(world.note_offline(leaf)),
            Kind::NoteOnline => world.note_online(leaf),
            Kind::Degrade => drop(world.degrade(leaf)),
            Kind::Request if !world.requests.is_empty() => {
                let request = detail % world.requests.len();
                if choice.is_multiple_of(2) {
                    drop(world.requests.remove(request));
                } else {
                    world.requests.push(world.requests[request].clone());
                }
            }
            Kind::AlterReplication => {
                let asked = [ReplicationMode::Sync, ReplicationMode::Async][detail % 2];
                let _ = world.alter(Some(asked), None);
            }
            Kind::AlterDurability if self.leaves == Leaves::Altered => {
                let asked = [Durability::Sync, Durability::Async][detail % 2];
                let _ = world.alter(None, Some(asked));
            }
            Kind::Retry | Kind::Restart | Kind::LoseDisk | Kind::Request | Kind::AlterDurability => {}
        }
    }

    fn promote_one(&mut self, choice: usize) {
        let replicas = self.world.partition().replicas.keys().copied();
        let heirs: Vec<NodeId> = replicas.filter(|id| self.world.leaves[id].up).collect();
        if !heirs.is_empty() {
            let _ = self.world.promote(heirs[choice % heirs.len()]);
        }
    }

    /// What waits happens in order, at most so many things.
    fn rest(&mut self, count: usize) {
        for _ in 0..count {
            let Some(first) = self.world.moves().first().copied() else { return };
            self.world.play(first, 1);
        }
    }

    /// The disk of the primary is lost, and a replica that has everything takes over.
    fn primary_loses_its_disk(&mut self) {
        let world = &mut self.world;
        let partition = world.partition().clone();
        let heir = partition.promotable().find(|id| {
            let leaf = &world.leaves[id];
            let known = world.catalog().node(*id);
            leaf.up && known.is_some_and(|n| n.incarnation == leaf.incarnation && n.store == leaf.store)
        });
        if let Some(heir) = heir {
            world.crash(partition.primary, 0);
            world.lose_disk(partition.primary);
            world.restart(partition.primary);
            world.note_online(partition.primary);
            let _ = world.promote(heir);
        }
    }

    /// Everything runs and hears everything again, and the master aggregator does its work.
    fn mend(&mut self) -> Result<(), String> {
        self.world.cut.clear();
        self.world.held.clear();
        // Whoever was asked to hand over takes writes again after this.
        self.world.pass(Duration::from_secs(4));
        for id in LEAVES {
            if !self.world.leaves[&id].up {
                self.world.restart(id);
            }
        }
        let durability = (self.leaves == Leaves::Altered).then_some(Durability::Sync);
        let _ = self.world.alter(Some(ReplicationMode::Sync), durability);
        for _ in 0..ROUNDS {
            for id in LEAVES {
                self.world.note_online(id);
            }
            let partition = self.world.partition().clone();
            if !partition.has_able_primary()
                && let Some(heir) = partition.promotable().next()
            {
                let _ = self.world.promote(heir);
            }
            self.rest(200);
            self.world.pass(Duration::from_millis(250));
            self.clean()?;
            if self.is_at_rest() {
                return self.serves_a_write();
            }
        }
        Err(format!("no rest: {}", self.show()))
    }

    fn is_at_rest(&self) -> bool {
        let positions =
            |id: &NodeId| self.world.leaves[id].instance.as_ref().map(|i| (i.positions(), i.epoch()));
        let first = positions(&LEAVES[0]);
        let partition = self.world.partition();
        partition.replicas.values().all(|state| *state == SyncState::Sync)
            && (self.leaves != Leaves::Altered || !partition.unsynced)
            && self.world.leaves[&partition.primary].instance.as_ref().is_some_and(|i| i.serves())
            && first.is_some_and(|((last, commit, applied), _)| last == commit && commit == applied)
            && LEAVES.iter().all(|id| positions(id) == first)
            && self.world.moves().is_empty()
    }

    fn serves_a_write(&mut self) -> Result<(), String> {
        self.statements += 1;
        let primary = self.world.partition().primary;
        self.world.write(primary, write(self.statements, 0));
        for _ in 0..3 {
            self.rest(100);
            self.world.pass(Duration::from_millis(250));
        }
        let statement = StatementId(self.statements);
        let acknowledged = self.world.checks.acknowledged.contains_key(&statement);
        for id in LEAVES {
            let disk = &self.world.leaves[&id].disk.now;
            self.world.checks.rows(id, disk);
            self.world.checks.still_has_acknowledged(id, disk);
            if disk.rows != self.world.leaves[&primary].disk.now.rows {
                return Err(format!("{id} has other rows than {primary}: {}", self.show()));
            }
        }
        self.clean()?;
        let applied: Vec<_> = LEAVES.iter().map(|id| self.world.leaves[id].disk.now.applied).collect();
        if acknowledged && applied.iter().all(|a| *a == applied[0]) && self.is_at_rest() {
            Ok(())
        } else {
            Err(format!("a write to the mended world came to nothing: {}", self.show()))
        }
    }

    fn clean(&self) -> Result<(), String> {
        match self.world.checks.violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    fn show(&self) -> String {
        let leaves: Vec<String> = self
            .world
            .leaves
            .iter()
            .map(|(id, leaf)| match &leaf.instance {
                Some(i) => format!("{id} {} {} {:?}", i.role_name(), i.epoch(), i.positions()),
                None => format!("{id} has no instance"),
            })
            .collect();
        format!("{:?}; {}; {:?}", self.world.partition(), leaves.join(", "), self.world.moves())
    }
}

/// The statement writes one row of four, or deletes it.
fn write(statement: u128, detail: usize) -> Write {
    let row = (!statement.is_multiple_of(5)).then(|| vec![statement as u8, detail as u8].into());
    let mutation = Mutation { table: TableId(1), key: vec![statement as u8 % 4], row };
    Write { statement: StatementId(statement), affected_rows: 1, mutations: vec![mutation] }
}

/// A whole life. The story is told only if asked for, because that takes most of the time.
fn live(numbers: &[u32], leaves: Leaves, tell: bool) -> (Result<(), String>, String) {
    let (first, numbers) = numbers.split_first().unwrap_or((&0, &[]));
    let mut life = Life::new(leaves, *first);
    (life.world.tells_effects, life.world.tells_events) = (tell, tell);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        life.rest(*first as usize % 80);
        for number in numbers {
            life.act(*number);
            life.clean()?;
        }
        life.world.tell("the world is mended");
        life.mend()
    }));
    (outcome.unwrap_or_else(|_| Err("a panic".into())), life.world.story)
}

fn lives(leaves: Leaves, usual: std::ops::Range<u64>) {
    let seeds = match std::env::var("BATON_SEEDS").ok().as_deref().map(|text| text.split_once("..")) {
        Some(Some((first, end))) => first.parse().expect("a seed")..end.parse().expect("a seed"),
        _ => usual,
    };
    for seed in seeds {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config =
            Config { cases: 1, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let numbers = prop::collection::vec(any::<u32>(), STEPS / 4..STEPS);
        let outcome = TestRunner::new_with_rng(config, rng)
            .run(&numbers, |numbers| live(&numbers, leaves, false).0.map_err(TestCaseError::fail));
        if let Err(proptest::test_runner::TestError::Fail(why, numbers)) = outcome {
            let (_, story) = live(&numbers, leaves, true);
            panic!("seed {seed}: {why}\nnumbers: {numbers:?}\n{story}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_on_disks_that_lose_what_was_not_synced() {
    lives(Leaves::Sync, 0..LIVES);
}

#[test]
fn nothing_acknowledged_is_lost_by_processes_that_die() {
    lives(Leaves::Async, LIVES..2 * LIVES);
}

#[test]
fn what_a_database_promises_after_it_was_altered_survives_power_cuts() {
    lives(Leaves::Altered, 3 * LIVES..4 * LIVES);
}

#[test]
fn every_copy_comes_back_to_its_primary_after_power_cuts() {
    lives(Leaves::AsyncAndLosePower, 2 * LIVES..3 * LIVES);
}
