//! Operators' plans, carried out by whoever is master aggregator: what is to be done about a step is asked of the catalog,
//! each time anew.
//!
//! Played as `aggregator/plans.rs` of `baton-node` does it, and `Leaf::drop_orphan` in its `leaf/orphan.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, PlanKind, PlanStep, StepStatus};
use baton_failover::{Next, Placer, Wishes, check, may_clear, next, rebalance, restore_redundancy};
use baton_model::{DatabaseId, Instant, NodeId, PartitionId};

use super::store::{Copy, Op};
use super::switchover::Ended;
use super::{Body, Order, Origin, Timer, World};
use crate::kernel::{MS, S, Time};

/// Without any news, plans are looked at this often.
const LOOK_AGAIN: Time = S;
/// Steps of one phase that are taken at the same time.
const STEPS_AT_ONCE: usize = 8;
/// A step that waits is looked at again after this.
const STEP_AGAIN: Time = 100 * MS;
/// A step fails when its partition is not served, or is not handed over, for so long.
pub const STUCK_MAX: Duration = Duration::from_secs(60);
/// After so many hand-overs that waited for writes in vain comes one that does not wait.
const PATIENT_HAND_OVERS: usize = 1;
/// A leaf must have removed what it had of a partition within this, or it is an orphan.
const REMOVAL: Duration = Duration::from_secs(5);

/// A step: its plan, and its number there.
type StepId = (u64, u32);

/// What a master aggregator's process knows of a step that it takes.
#[derive(Debug, Default)]
struct Work {
    hands_over: bool,
    hand_overs: usize,
    stuck_since: Option<Instant>,
    removes_since: Option<Instant>,
}

/// The steps that an aggregator's process takes.
#[derive(Debug, Default)]
pub struct Planning(BTreeMap<StepId, Work>);

impl World {
    /// Looks at the plans that are not over, if this is the master aggregator.
    pub(super) fn look_at_plans(&mut self, me: usize) {
        let leads = self.aggregator(me).control.is_leader(self.group_time(me), me);
        let catalog = self.catalog_here(me);
        let open: Vec<u64> =
            catalog.plans().filter(|plan| leads && !plan.status.is_over()).map(|plan| plan.id).collect();
        self.aggregator_mut(me).planning.0.retain(|(plan, _), _| open.contains(plan));
        for plan in &open {
            self.carry_out_plan(me, &catalog, *plan);
        }
        self.later(me, if open.is_empty() { LOOK_AGAIN } else { STEP_AGAIN }, Timer::LookAtPlans);
    }

    fn carry_out_plan(&mut self, me: usize, catalog: &Catalog, plan: u64) {
        let failed = catalog.plan_steps(plan).find(|step| step.status == StepStatus::Failed);
        let open: Vec<PlanStep> =
            catalog.plan_steps(plan).filter(|step| !step.status.is_over()).cloned().collect();
        let phase = open.iter().map(|step| step.phase).min();
        let (status, details) = match (failed, phase) {
            // Those that were begun beside it come to their end first.
            (Some(step), _) if !open.iter().any(|other| other.phase == step.phase) => {
                (StepStatus::Failed, step.details.clone())
            }
            (_, Some(phase)) => {
                let steps = open.into_iter().filter(|step| step.phase == phase);
                steps.take(STEPS_AT_ONCE).for_each(|step| self.take_step(me, catalog, &step));
                return;
            }
            (_, None) => (StepStatus::Success, String::new()),
        };
        self.say(me, Command::EndPlan { plan, status, details });
    }

    fn say(&mut self, me: usize, command: Command) {
        let at_ms = self.wall_us(me) / MS;
        self.propose(me, Entry { statement: None, at_ms, command }, Origin::Nobody);
    }

    fn note(&mut self, me: usize, step: &PlanStep, status: StepStatus, details: String) {
        self.say(me, Command::NoteStep { plan: step.plan, step: step.number, status, details });
    }

    fn take_step(&mut self, me: usize, catalog: &Catalog, step: &PlanStep) {
        let now = self.local(me);
        let id = (step.plan, step.number);
        if !self.aggregator(me).planning.0.contains_key(&id) {
            self.note(me, step, StepStatus::Running, String::new());
        }
        let sight = self.sight(me);
        let aggregator = self.aggregator_mut(me);
        let positions = std::sync::Arc::clone(&aggregator.positions);
        let work = aggregator.planning.0.entry(id).or_default();
        if work.hands_over {
            return;
        }
        let caught_up = |node, partition| has_caught_up(catalog, &positions, node, partition);
        let (stuck, why) = match next(catalog, step, &caught_up) {
            Next::Done => return self.note(me, step, StepStatus::Success, String::new()),
            Next::Failed(why) => return self.note(me, step, StepStatus::Failed, why),
            Next::RemoveData { partition, node } => {
                let since = *work.removes_since.get_or_insert(now);
                let answers = catalog.node(node).is_some_and(|leaf| leaf.is_online()) || sight.is_well(node);
                if !answers || now.since(since) >= REMOVAL {
                    let details = format!("what {node} has of it is an orphan");
                    return self.note(me, step, StepStatus::Success, details);
                }
                let index = catalog.index().0;
                let body = Body::DropOrphan { step: id, partition, index };
                return self.datagram(me, Self::position(node), body);
            }
            Next::Propose(commands) => {
                self.say(me, Command::Batch(commands));
                (true, "the catalog goes its own way".to_owned())
            }
            Next::HandOver { partition, to } => {
                let kill = work.hand_overs >= PATIENT_HAND_OVERS;
                work.hand_overs += 1;
                work.hands_over = true;
                self.switch_over(me, Order { partition, to, kill, statement: None, step: Some(id) });
                return;
            }
            Next::Wait(why) => (false, why),
            Next::Stuck(why) => (true, why),
        };
        let Some(work) = self.aggregator_mut(me).planning.0.get_mut(&id) else { return };
        work.stuck_since = if stuck { work.stuck_since.or(Some(now)) } else { None };
        if work.stuck_since.is_some_and(|since| now.since(since) >= STUCK_MAX) {
            self.note(me, step, StepStatus::Failed, format!("could not synchronize in time: {why}"));
        }
    }

    /// A hand-over that a step wanted has ended.
    pub(super) fn step_handed_over(&mut self, me: usize, step: StepId, ended: &Ended) {
        let now = self.local(me);
        let steps = &mut self.aggregator_mut(me).planning.0;
        let Some(work) = steps.get_mut(&step) else { return };
        work.hands_over = false;
        match ended {
            Ended::Done => work.stuck_since = None,
            Ended::Failed(_) => drop(work.stuck_since.get_or_insert(now)),
            // It is left to the next master aggregator, which may be this one.
            Ended::Unknown => drop(steps.remove(&step)),
        }
    }

    /// A leaf has removed what it had of a partition.
    pub(super) fn orphan_dropped(&mut self, me: usize, (plan, number): StepId) {
        let catalog = self.catalog_here(me);
        let step = catalog.plan_steps(plan).find(|step| step.number == number && !step.status.is_over());
        if let Some(step) = step {
            self.note(me, step, StepStatus::Success, String::new());
        }
    }

    /// A leaf is to remove what it has of a partition that the catalog does not give to it.
    pub(super) fn asked_to_drop(
        &mut self,
        me: usize,
        from: usize,
        step: StepId,
        partition: PartitionId,
        index: u64,
    ) {
        let mirror = self.leaf(me).mirror;
        let catalog = Rc::clone(self.catalog_at(mirror));
        let runs = self.leaf(me).instances.contains_key(&partition);
        if mirror < index || runs || !may_clear(&catalog, self.nodes[me].id, partition) {
            return; // It is asked again, for a while.
        }
        self.check_write(me, partition, &Copy::Remove);
        self.leaf_mut(me).disk.write(Op::Of(partition, Copy::Remove));
        self.datagram(me, from, Body::OrphanDropped { step });
    }

    // ---- operators

    /// An operator has a plan made for a database. Nothing comes of it if there is nothing to do.
    pub(crate) fn begin_plan(&mut self, me: usize, database: DatabaseId, kind: PlanKind, wishes: &Wishes) {
        let catalog = self.catalog_here(me);
        let Some(database) = catalog.database_by_id(database) else { return };
        let emptied = wishes.without.clone();
        let sight = self.sight(me);
        let mut policy = self.shelf.by(&catalog);
        let mut placer = Placer { sight: &sight, policy: &mut policy };
        let steps = match kind {
            PlanKind::RestoreRedundancy => restore_redundancy(&catalog, database, &emptied),
            PlanKind::RemoveLeaf | PlanKind::AttachLeaf => {
                let Ok(steps) = rebalance(&catalog, database, wishes, &mut placer) else { return };
                steps
            }
            _ => {
                let Ok(steps) = rebalance(&catalog, database, wishes, &mut placer) else { return };
                let mut all = restore_redundancy(&catalog, database, &emptied);
                all.retain(|copy| steps.iter().all(|step| step.ordinal != copy.ordinal));
                all.extend(steps);
                all.sort_by_key(|step| step.phase);
                all
            }
        };
        if steps.is_empty() {
            return;
        }
        if let Err(why) = check(&catalog, database, &emptied, &steps) {
            self.violated("S7", format!("{kind} ON {}: {why}", database.name));
            return;
        }
        let id = self.nodes[me].id;
        self.tell(|| format!("an operator at {id}: {kind} ON {}: {} steps", database.name, steps.len()));
        self.say(me, Command::StartPlan { database: database.id, kind, emptied, steps });
    }
}

/// Whether a replica that is never in sync has what its primary has, as both told last.
fn has_caught_up(
    catalog: &Catalog,
    told: &BTreeMap<(NodeId, PartitionId), baton_model::Lsn>,
    node: NodeId,
    partition: PartitionId,
) -> bool {
    let Some(primary) = catalog.partition(partition).map(|known| known.primary) else { return false };
    match (told.get(&(node, partition)), told.get(&(primary, partition))) {
        (Some(replica), Some(primary)) => replica >= primary,
        _ => false,
    }
}
