//! Operators' plans: begun, noted, ended. A database has one at a time, and its last one is kept.

use std::collections::BTreeSet;

use baton_model::limits::PLAN_STEPS_MAX;
use baton_model::{DatabaseId, NodeId};

use super::Step;
use crate::command::NewStep;
use crate::objects::{Severity, event_type};
use crate::outcome::{Outcome, Rejection, Reply};
use crate::plans::{OperatorPlan, PlanKind, PlanStep, StepStatus};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn start_plan(
        &mut self,
        id: DatabaseId,
        kind: PlanKind,
        emptied: &BTreeSet<NodeId>,
        steps: &[NewStep],
    ) -> Outcome {
        let database = self.catalog.databases.get(&id).ok_or(Rejection::NoSuchDatabaseId(id))?;
        let (name, partitions) = (database.name.clone(), database.partitions);
        if self.catalog.plan_of(id).is_some_and(|plan| !plan.status.is_over()) {
            return Err(Rejection::PlanRunning(id));
        }
        if steps.is_empty() || steps.len() > PLAN_STEPS_MAX {
            return Err(Rejection::Limit(format!("a plan has 1 to {PLAN_STEPS_MAX} steps")));
        }
        for step in steps {
            if step.ordinal >= partitions {
                let partition = baton_model::PartitionId { database: id, ordinal: step.ordinal };
                return Err(Rejection::NoSuchPartition(partition));
            }
            let known = self.catalog.nodes.get(&step.target).ok_or(Rejection::NoSuchNode(step.target))?;
            if !known.is_leaf() {
                return Err(Rejection::WrongRole(step.target));
            }
        }
        self.forget_plan(id);
        let plan = self.catalog.counters.plan;
        self.catalog.counters.plan += 1;
        for (number, step) in (0..).zip(steps) {
            let step = PlanStep {
                plan,
                number,
                action: step.action,
                partition: baton_model::PartitionId { database: id, ordinal: step.ordinal },
                target: step.target,
                from: step.from,
                phase: step.phase,
                status: StepStatus::Scheduled,
                details: String::new(),
                started_ms: None,
                ended_ms: None,
            };
            self.catalog.plan_steps.insert((plan, number), step);
            self.changed.insert(RowKey::PlanStep(plan, number));
        }
        let started = OperatorPlan {
            id: plan,
            database: id,
            kind,
            emptied: emptied.clone(),
            steps: u32::try_from(steps.len()).unwrap_or(u32::MAX),
            status: StepStatus::Running,
            details: String::new(),
            started_ms: self.at_ms,
            ended_ms: None,
        };
        self.catalog.plans.insert(plan, started);
        self.changed.extend([RowKey::Counters, RowKey::Plan(plan)]);
        let text = format!("{kind} ON {name}: {} steps", steps.len());
        self.event(Severity::Notice, event_type::REBALANCE_STARTED, None, text);
        Ok(Reply::Plan(plan))
    }

    pub(super) fn note_step(&mut self, plan: u64, number: u32, status: StepStatus, details: &str) -> Outcome {
        let running = self.catalog.plans.get(&plan).is_some_and(|plan| !plan.status.is_over());
        let at_ms = self.at_ms;
        let step = self.catalog.plan_steps.get_mut(&(plan, number)).filter(|step| !step.status.is_over());
        let (true, Some(step)) = (running, step) else { return Err(Rejection::NoSuchPlan(plan)) };
        step.status = status;
        step.details = details.to_owned();
        step.started_ms.get_or_insert(at_ms);
        if status.is_over() {
            step.ended_ms = Some(at_ms);
        }
        self.changed.insert(RowKey::PlanStep(plan, number));
        self.done()
    }

    /// What was not done of it is cancelled.
    pub(super) fn end_plan(&mut self, plan: u64, status: StepStatus, details: &str) -> Outcome {
        let at_ms = self.at_ms;
        let known = self.catalog.plans.get_mut(&plan).filter(|plan| !plan.status.is_over());
        let Some(known) = known.filter(|_| status.is_over()) else { return Err(Rejection::NoSuchPlan(plan)) };
        known.status = status;
        known.details = details.to_owned();
        known.ended_ms = Some(at_ms);
        let (kind, database) = (known.kind, known.database);
        self.changed.insert(RowKey::Plan(plan));
        let left: Vec<u32> = self
            .catalog
            .plan_steps(plan)
            .filter(|step| !step.status.is_over())
            .map(|step| step.number)
            .collect();
        for number in left {
            if let Some(step) = self.catalog.plan_steps.get_mut(&(plan, number)) {
                step.status = StepStatus::Cancelled;
                step.ended_ms = Some(at_ms);
                self.changed.insert(RowKey::PlanStep(plan, number));
            }
        }
        let name = self.catalog.databases.get(&database).map_or("?", |database| database.name.as_str());
        let colon = if details.is_empty() { "" } else { ": " };
        let text = format!("{kind} ON {name}: {status}{colon}{details}");
        let severity = if status == StepStatus::Success { Severity::Notice } else { Severity::Warning };
        self.event(severity, event_type::REBALANCE_FINISHED, None, text);
        self.done()
    }

    /// Forgets the last plan of a database.
    pub(super) fn forget_plan(&mut self, database: DatabaseId) {
        let Some(plan) = self.catalog.plan_of(database).map(|plan| plan.id) else { return };
        let steps: Vec<u32> = self.catalog.plan_steps(plan).map(|step| step.number).collect();
        for number in steps {
            self.catalog.plan_steps.remove(&(plan, number));
            self.changed.insert(RowKey::PlanStep(plan, number));
        }
        self.catalog.plans.remove(&plan);
        self.changed.insert(RowKey::Plan(plan));
    }
}
