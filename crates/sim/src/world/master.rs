//! What the master aggregator does about what it sees: `baton-failover` names problems and plans, and the plan is
//! proposed as one entry. Played as `baton-node`'s supervisor does it, which makes a plan anew at every news.

use std::collections::BTreeSet;
use std::rc::Rc;

use baton_catalog::{Catalog, Command, Entry, Outcome, Severity, event_type};
use baton_failover::{LagReport, Learned, Plan, Returns, against_lag, maintenance_input, problems};
use baton_model::limits::CALL_TIMEOUT;
use baton_model::{NodeId, PartitionId};
use baton_policy::{MaintenancePurpose, Question, Rejection};

use super::{Body, Origin, Timer, World};
use crate::kernel::{MS, Time};

/// What one term of a master aggregator remembers.
#[derive(Debug, Default)]
pub struct Mastery {
    term: u64,
    /// Whether it is committed that this node is the master aggregator.
    pub(super) announced: bool,
    noted: BTreeSet<PartitionId>,
    /// Leaves from which something was taken by an entry of which it is unknown whether it will be committed.
    doubted: BTreeSet<NodeId>,
    waits_for: Option<Waiting>,
    plans: u64,
    learned: Learned,
    /// Since when leaves that are not used answer.
    returns: Returns,
}

impl Mastery {
    /// Whether a leaf is to be lent nothing.
    pub(super) fn doubts(&self, leaf: NodeId) -> bool {
        self.doubted.contains(&leaf)
    }
}

/// The plan that waits for its outcome.
#[derive(Debug)]
struct Waiting {
    number: u64,
    /// What is noted once it is committed.
    noted: BTreeSet<PartitionId>,
    /// Leaves whose primaries it gives to others.
    taken_from: Vec<NodeId>,
}

impl World {
    /// Looks at everything, if this is the master aggregator.
    pub(super) fn look(&mut self, me: usize) {
        let (now, group_now) = (self.local(me), self.group_time(me));
        let control = &self.aggregator(me).control;
        let (leads, term, index) = (control.is_leader(group_now, me), control.term(), control.commit);
        let mastery = &mut self.aggregator_mut(me).mastery;
        if mastery.term != term {
            *mastery = Mastery { term, plans: mastery.plans, ..Mastery::default() };
        }
        if !leads || mastery.waits_for.is_some() {
            return;
        }
        let catalog = Rc::clone(self.catalog_at(index));
        let machine = &self.nodes[me];
        let (id, incarnation, store) = (machine.id, machine.incarnation, machine.store);
        let lost_tail = machine.lost_tail;
        let mut commands = Vec::new();
        if let Some(own) = catalog.node(id)
            && (!own.is_online() || own.incarnation != incarnation || own.store != store)
        {
            commands.push(Command::SetNodeOnline { node: id, incarnation, store, lost_tail });
        }
        if !self.aggregator(me).mastery.announced {
            commands.push(Command::RecordEvent {
                severity: Severity::Notice,
                event_type: event_type::NOTIFY_AGGREGATOR_PROMOTED.into(),
                node: Some(id),
                details: format!("{id} is the master aggregator in term {term}"),
            });
        }
        let mut sight = self.sight(me);
        sight.now = now;
        let aggregator = self.aggregator_mut(me);
        aggregator.mastery.doubted.extend(aggregator.switchovers.take_unresolved());
        sight.learned = aggregator.mastery.learned.look(now, &catalog);
        sight.reads_until = self.lend_to(me, &catalog, &sight, term);
        let evidence = self.aggregator(me).evidence(&self.known(me));
        let mut policy = self.shelf.by(&catalog);
        let super::Role::Aggregator(aggregator) = &mut self.nodes[me].role else { return };
        let of = |node| evidence.get(&node).cloned();
        sight.held_back = aggregator.mastery.returns.look(&catalog, &sight, &of, &mut policy);
        let found = problems(&catalog, &sight, id);
        let plan = Plan::make(&found, &catalog, &sight, &aggregator.mastery.noted, &mut policy);
        self.check_plan(&catalog, &sight, &found, &plan);
        commands.extend(plan.commands);
        if commands.is_empty() && !self.aggregator(me).mastery.doubted.is_empty() {
            // Whatever comes after it in the log decides what became of it.
            commands.push(Command::Batch(Vec::new()));
        }
        if commands.is_empty() {
            self.aggregator_mut(me).mastery.noted = plan.noted;
            return;
        }
        if self.story.listens() {
            for problem in &found {
                self.story.tell(self.now, || format!("{id} finds {problem}"));
            }
        }
        let taken_from = taken_from(&commands, &catalog);
        let entry =
            Entry { statement: None, at_ms: self.wall_us(me) / MS, command: Command::Batch(commands) };
        let mastery = &mut self.aggregator_mut(me).mastery;
        mastery.plans += 1;
        let number = mastery.plans;
        mastery.waits_for = Some(Waiting { number, noted: plan.noted, taken_from });
        if self.propose(me, entry, Origin::Plan(number)).is_none() {
            self.aggregator_mut(me).mastery.waits_for = None;
            return;
        }
        self.later(me, CALL_TIMEOUT.as_micros() as Time, Timer::PlanTimeout(number));
    }

    /// A primary says that a replica keeps it waiting: the `degrade` policy decides, and it goes on waiting until it has
    /// seen the command (S3). An aggregator that does not lead passes it on, once.
    pub(super) fn lag_reported(&mut self, me: usize, from: usize, report: LagReport) {
        let now = self.local(me);
        let group_now = self.group_time(me);
        let control = &self.aggregator(me).control;
        if !control.is_leader(group_now, me) {
            if let Some(leader) = control.leader(group_now, me)
                && self.leaves().contains(&from)
            {
                self.datagram(me, leader, Body::Lag(Box::new(report)));
            }
            return;
        }
        let catalog = Rc::clone(self.catalog_at(control.commit));
        let known = self.known(me);
        let evidence = self.aggregator(me).evidence(&known);
        let mut policy = self.shelf.by(&catalog);
        let commands = against_lag(&[report], &catalog, now, known.wall_ms, &evidence, &mut policy);
        for command in commands {
            let entry = Entry { statement: None, at_ms: self.wall_us(me) / MS, command };
            self.propose(me, entry, Origin::Nobody);
        }
    }

    /// Asks the `maintenance` policy. Whether what it answers is an order.
    pub(crate) fn order_of_maintenance(
        &self,
        me: usize,
        purpose: MaintenancePurpose,
    ) -> Result<(), Rejection> {
        let catalog = self.catalog_at(self.aggregator(me).control.commit);
        let mut question = maintenance_input(catalog, &self.sight(me), self.nodes[me].id, purpose);
        let verdict = self.shelf.decide(catalog, &mut question).verdict;
        question.validate(&verdict)
    }

    /// What was not committed was not said, and is said by the next look.
    pub(super) fn plan_answered(&mut self, me: usize, number: u64, outcome: Option<Outcome>) {
        let mastery = &mut self.aggregator_mut(me).mastery;
        if let Some(plan) = mastery.waits_for.take_if(|plan| plan.number == number) {
            if outcome.is_some() {
                mastery.announced = true;
                mastery.noted = plan.noted;
                mastery.doubted.clear();
            } else {
                mastery.doubted.extend(plan.taken_from);
            }
            self.later(me, 1, Timer::LookAgain);
        }
    }

    pub(super) fn plan_timeout(&mut self, me: usize, number: u64) {
        self.plan_answered(me, number, None);
    }
}

/// The leaves whose primaries these commands give to others.
fn taken_from(commands: &[Command], catalog: &Catalog) -> Vec<NodeId> {
    let promoted = commands.iter().filter_map(|command| match command {
        Command::PromoteInstance { partition, .. } => catalog.partition(*partition),
        _ => None,
    });
    promoted.map(|partition| partition.primary).collect()
}
