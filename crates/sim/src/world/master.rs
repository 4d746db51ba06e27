//! What the master aggregator does about what it sees: `baton-failover` names problems and plans, and the plan is
//! proposed as one entry. Played as `baton-node`'s supervisor does it, which makes a plan anew at every news.

use std::collections::BTreeSet;
use std::rc::Rc;

use baton_catalog::{Command, Entry, Outcome};
use baton_failover::{LagReport, Plan, against_lag, problems};
use baton_model::PartitionId;
use baton_model::limits::CALL_TIMEOUT;

use super::{Body, Origin, Timer, World};
use crate::kernel::Time;

/// What one term of a master aggregator remembers.
#[derive(Debug, Default)]
pub struct Mastery {
    term: u64,
    noted: BTreeSet<PartitionId>,
    /// The plan that waits for its outcome, by number, and what is noted once it is committed.
    waits_for: Option<(u64, BTreeSet<PartitionId>)>,
    plans: u64,
}

impl World {
    /// Looks at everything, if this is the master aggregator.
    pub(super) fn look(&mut self, me: usize) {
        let now = self.local(me);
        let control = &self.aggregator(me).control;
        let (leads, term, index) = (control.is_leader(now, me), control.term(), control.commit);
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
        let aggregator = self.aggregator(me);
        let sight = aggregator.sight();
        let found = problems(&catalog, &sight, id);
        let mut promoter = self.shelf.promoter(&catalog);
        let plan = Plan::make(&found, &catalog, &sight, &aggregator.mastery.noted, &mut promoter);
        self.check_plan(&found, &plan);
        commands.extend(plan.commands);
        if commands.is_empty() {
            self.aggregator_mut(me).mastery.noted = plan.noted;
            return;
        }
        if self.story.listens() {
            for problem in &found {
                self.story.tell(self.now, || format!("{id} finds {problem}"));
            }
        }
        let entry = Entry { statement: None, at_ms: now.as_millis(), command: Command::Batch(commands) };
        let mastery = &mut self.aggregator_mut(me).mastery;
        mastery.plans += 1;
        let number = mastery.plans;
        mastery.waits_for = Some((number, plan.noted));
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
        let control = &self.aggregator(me).control;
        if !control.is_leader(now, me) {
            if let Some(leader) = control.leader(now, me)
                && self.leaves().contains(&from)
            {
                self.datagram(me, leader, Body::Lag(Box::new(report)));
            }
            return;
        }
        let catalog = Rc::clone(self.catalog_at(control.commit));
        let evidence = self.aggregator(me).evidence();
        let mut degrader = self.shelf.degrader(&catalog);
        let commands = against_lag(&[report], &catalog, now, &evidence, &mut degrader);
        for command in commands {
            let entry = Entry { statement: None, at_ms: now.as_millis(), command };
            self.propose(me, entry, Origin::Nobody);
        }
    }

    /// What was not committed was not said, and is said by the next look.
    pub(super) fn plan_answered(&mut self, me: usize, number: u64, outcome: Option<Outcome>) {
        let mastery = &mut self.aggregator_mut(me).mastery;
        if let Some((_, noted)) = mastery.waits_for.take_if(|(waiting, _)| *waiting == number) {
            if outcome.is_some() {
                mastery.noted = noted;
            }
            self.later(me, 1, Timer::LookAgain);
        }
    }

    pub(super) fn plan_timeout(&mut self, me: usize, number: u64) {
        self.plan_answered(me, number, None);
    }
}
