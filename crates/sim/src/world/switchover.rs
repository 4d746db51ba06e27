//! Planned changes of primaries: the old one stops taking writes, the catalog names the next one.
//!
//! Played as `aggregator/switchover.rs` of `baton-node` does it, but that nobody waits here for the next primary to serve,
//! which changes nothing but when an operator is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, Outcome};
use baton_failover::Sight;
use baton_model::{Epoch, Instant, Lsn, NodeId, PartitionId, StatementId, SyncState};

use super::{Body, Origin, Timer, World};
use crate::kernel::{MS, S, Time};

/// Writes that are under way must end within this, or the old primary goes on.
const DRAIN_MAX: Time = S;
/// The catalog must name the next primary within this, or the old one goes on.
const HOLD_MAX: Time = 2 * S;
/// What the answer of a leaf may take beyond that.
const ANSWER: Time = 500 * MS;
/// A leaf that is lent nothing more surely reads nothing after this.
const FREED_MAX: Time = 3 * S;
/// A hand-over that came to nothing is tried again so often, at most.
const ATTEMPTS: usize = 3;
/// Between two attempts.
const AGAIN: Time = 300 * MS;
/// Between two looks whether a leaf reads nothing any more.
const LOOK_AGAIN: Time = 5 * MS;
/// If the successor of a primary that was asked to drain is not committed within this, its leaf is lent nothing more.
const DOUBTED_AFTER: Time = 1_300 * MS;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The partition.
    pub partition: PartitionId,
    /// Who is to be its primary.
    pub to: NodeId,
    /// Whether writes that are under way are not waited for.
    pub kill: bool,
    /// The operator's statement.
    pub statement: Option<StatementId>,
    /// The step of a plan that wants it: the plan and its number.
    pub step: Option<(u64, u32)>,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It is the primary.
    Done,
    /// Nothing came of it; why.
    Failed(String),
    /// It may have been done, or this is not the master aggregator.
    Unknown,
}

/// How far one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The next attempt begins soon.
    Rests,
    AsksHeir,
    Drains,
    /// Waits until the old primary reads nothing any more.
    Frees,
    Proposed,
}

/// One that is under way.
#[derive(Debug)]
struct Switch {
    order: Order,
    attempt: usize,
    old: NodeId,
    epoch: Epoch,
    stage: Stage,
    /// Counts stages, so that a timer of an earlier one is known.
    turn: u64,
    until: Instant,
    /// From when on something may be taken from the old primary's leaf.
    doubted_at: Option<Instant>,
    last: String,
}

/// Those of one aggregator's process.
#[derive(Debug, Default)]
pub struct Switchovers {
    under_way: BTreeMap<u64, Switch>,
    /// Leaves of hand-overs that ended without an answer.
    unresolved: BTreeSet<NodeId>,
}

impl Switchovers {
    /// Whether the leaf is to be lent nothing more for now.
    pub fn is_doubted(&self, now: Instant, leaf: NodeId) -> bool {
        let doubted = |one: &Switch| one.old == leaf && one.doubted_at.is_some_and(|at| at <= now);
        self.under_way.values().any(doubted) || self.unresolved.contains(&leaf)
    }

    /// Leaves of hand-overs that ended without an answer: whatever is committed next says what became of them.
    pub fn take_unresolved(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.unresolved)
    }
}

/// What a leaf says of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Whether it is a replica.
    pub follows: bool,
    /// The epoch that it knows.
    pub epoch: Epoch,
}

fn passed(time: Time) -> Duration {
    Duration::from_micros(time)
}

/// Whether a leaf answers as the run and on the disk that the catalog knows.
pub(super) fn is_as_known(catalog: &Catalog, sight: &Sight, node: NodeId) -> bool {
    let Some(known) = catalog.node(node) else { return false };
    let seen = sight.nodes.get(&node).and_then(|seen| seen.answered_as);
    sight.is_well(node) && seen == Some((known.incarnation, known.store))
}

impl World {
    /// The master aggregator is to make a replica the primary. Answers with a number by which its end is told.
    pub(crate) fn switch_over(&mut self, me: usize, order: Order) -> u64 {
        self.attempts += 1;
        let number = self.attempts;
        let switch = Switch {
            order,
            attempt: 0,
            old: NodeId(0),
            epoch: Epoch(0),
            stage: Stage::Rests,
            turn: 0,
            until: Instant(0),
            doubted_at: None,
            last: String::new(),
        };
        self.aggregator_mut(me).switchovers.under_way.insert(number, switch);
        self.try_switch(me, number);
        number
    }

    fn switch_mut(&mut self, me: usize, number: u64) -> Option<&mut Switch> {
        self.aggregator_mut(me).switchovers.under_way.get_mut(&number)
    }

    /// It waits for something, so long at most.
    fn switch_waits(&mut self, me: usize, number: u64, stage: Stage, patience: Time) {
        let until = self.local(me) + passed(patience);
        let Some(switch) = self.switch_mut(me, number) else { return };
        (switch.stage, switch.until) = (stage, until);
        switch.turn += 1;
        let turn = switch.turn;
        self.later(me, patience, Timer::Switch(number, turn));
    }

    /// Another attempt.
    fn try_switch(&mut self, me: usize, number: u64) {
        let catalog = self.catalog_here(me);
        let sight = self.sight(me);
        let Some(switch) = self.switch_mut(me, number) else { return };
        let order = switch.order;
        let (id, to) = (order.partition, order.to);
        let Some(partition) = catalog.partition(id) else {
            self.switch_ends(me, number, Ended::Failed("it is gone".into()));
            return;
        };
        if partition.primary == to {
            self.switch_ends(me, number, Ended::Done);
            return;
        }
        let state = partition.replicas.get(&to).copied();
        let Some(state) = state else {
            self.switch_ends(me, number, Ended::Failed("there is no instance of it".into()));
            return;
        };
        let old = catalog.serving(id).map(|node| node.id);
        let known = |node| is_as_known(&catalog, &sight, node);
        let why = match old {
            _ if state != SyncState::Sync => Some(format!("the replica is {state}")),
            None => Some("it has no primary that serves".into()),
            Some(old) if !known(old) || !known(to) => Some("a leaf does not answer as it is known".into()),
            Some(_) => None,
        };
        if let Some(why) = why {
            self.switch_fails(me, number, why);
            return;
        }
        (switch.old, switch.epoch) = (old.unwrap_or_default(), partition.epoch);
        self.switch_waits(me, number, Stage::AsksHeir, ANSWER);
        self.datagram(me, Self::position(to), Body::AskInstance { number, partition: id });
    }

    /// The heir's leaf has said how its instance is.
    pub(super) fn instance_told(&mut self, me: usize, number: u64, told: Option<Standing>) {
        let now = self.local(me);
        let Some(switch) = self.switch_mut(me, number) else { return };
        if switch.stage != Stage::AsksHeir {
            return;
        }
        if told != Some(Standing { follows: true, epoch: switch.epoch }) {
            self.switch_fails(me, number, "the replica does not follow yet".into());
            return;
        }
        if switch.order.kill {
            switch.doubted_at = Some(now);
            self.switch_waits(me, number, Stage::Frees, FREED_MAX);
            self.switch_looks(me, number);
            return;
        }
        switch.doubted_at = Some(now + passed(DOUBTED_AFTER));
        let old = Self::position(switch.old);
        let request = drain_request(number, switch, DRAIN_MAX, HOLD_MAX);
        self.switch_waits(me, number, Stage::Drains, 2 * DRAIN_MAX + ANSWER);
        self.datagram(me, old, request);
    }

    /// The old primary has said that nothing is under way any more, or why it goes on.
    pub(super) fn drained(&mut self, me: usize, number: u64, result: Result<Lsn, String>) {
        if self.switch_mut(me, number).is_none_or(|switch| switch.stage != Stage::Drains) {
            return;
        }
        match result {
            Ok(_) => self.switch_proposes(me, number),
            Err(why) => self.switch_fails(me, number, why),
        }
    }

    /// Whether the old primary surely reads nothing any more.
    fn switch_looks(&mut self, me: usize, number: u64) {
        let now = self.local(me);
        let leases = self.catalog_here(me).switch("leaf_read_lease");
        let Some(switch) = self.switch_mut(me, number) else { return };
        let (old, over) = (switch.old, now >= switch.until);
        let turn = switch.turn;
        if !leases || now >= self.free_at(me, old) {
            self.switch_proposes(me, number);
        } else if over {
            self.switch_fails(me, number, "its leaf could still read".into());
        } else {
            self.later(me, LOOK_AGAIN, Timer::Switch(number, turn));
        }
    }

    fn switch_proposes(&mut self, me: usize, number: u64) {
        let at_ms = self.wall_us(me) / MS;
        let Some(switch) = self.switch_mut(me, number) else { return };
        let Order { partition, to, statement, .. } = switch.order;
        let reason = if switch.order.step.is_some() { "planned" } else { "PROMOTE PARTITION" };
        let command = Command::HandOver { partition, epoch: switch.epoch, to, reason: reason.into() };
        let entry = Entry { statement, at_ms, command };
        self.switch_waits(me, number, Stage::Proposed, HOLD_MAX);
        if self.propose(me, entry, Origin::Switch(number)).is_none() {
            self.switch_answered(me, number, None);
        }
    }

    /// What became of the command; None if that is not known.
    pub(super) fn switch_answered(&mut self, me: usize, number: u64, outcome: Option<Outcome>) {
        let Some(switch) = self.switch_mut(me, number).filter(|one| one.stage == Stage::Proposed) else {
            return;
        };
        let (old, kill, statement) = (switch.old, switch.order.kill, switch.order.statement);
        if !kill && matches!(outcome, Some(Err(_))) {
            // Nothing comes of it: writes need not wait until the time is over.
            let release = drain_request(0, switch, 0, 0);
            self.datagram(me, Self::position(old), release);
        }
        match outcome {
            None => {
                self.aggregator_mut(me).switchovers.unresolved.insert(old);
                self.switch_ends(me, number, Ended::Unknown);
            }
            Some(Ok(_)) => self.switch_ends(me, number, Ended::Done),
            // With an id the answer is the same for ever.
            Some(Err(why)) if statement.is_some() => {
                self.switch_ends(me, number, Ended::Failed(why.to_string()));
            }
            Some(Err(why)) => self.switch_fails(me, number, why.to_string()),
        }
    }

    pub(super) fn switch_timer(&mut self, me: usize, number: u64, turn: u64) {
        let Some(switch) = self.switch_mut(me, number).filter(|one| one.turn == turn) else { return };
        match switch.stage {
            Stage::Rests => self.try_switch(me, number),
            Stage::AsksHeir => self.switch_fails(me, number, "the replica's leaf does not answer".into()),
            Stage::Drains => self.switch_fails(me, number, "the primary gave no answer".into()),
            Stage::Frees => self.switch_looks(me, number),
            Stage::Proposed => self.switch_answered(me, number, None),
        }
    }

    /// An attempt failed; another one may succeed.
    fn switch_fails(&mut self, me: usize, number: u64, why: String) {
        let Some(switch) = self.switch_mut(me, number) else { return };
        switch.attempt += 1;
        switch.doubted_at = None;
        if switch.attempt == ATTEMPTS {
            self.switch_ends(me, number, Ended::Failed(why));
            return;
        }
        switch.last = why;
        self.switch_waits(me, number, Stage::Rests, AGAIN);
    }

    fn switch_ends(&mut self, me: usize, number: u64, ended: Ended) {
        let Some(switch) = self.aggregator_mut(me).switchovers.under_way.remove(&number) else { return };
        let Order { partition, to, .. } = switch.order;
        let id = self.nodes[me].id;
        self.tell(|| format!("{id}: {partition} to {to}: {ended:?}, before that: {}", switch.last));
        if let Some(step) = switch.order.step {
            self.step_handed_over(me, step, &ended);
        }
    }

    // ---- at the leaf

    /// A leaf is asked how its instance is.
    pub(super) fn asked_for_instance(&mut self, me: usize, from: usize, number: u64, of: PartitionId) {
        let told = self.leaf(me).instances.get(&of).map(|running| Standing {
            follows: running.core.role_name() == "replica",
            epoch: running.core.epoch(),
        });
        self.datagram(me, from, Body::InstanceTold { number, told });
    }
}

fn drain_request(number: u64, switch: &Switch, drain: Time, hold: Time) -> Body {
    let Order { partition, to, .. } = switch.order;
    Body::Drain { number, partition, epoch: switch.epoch, to, drain, hold }
}
