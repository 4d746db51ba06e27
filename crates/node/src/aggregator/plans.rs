//! Carries out operators' plans, as the master aggregator: the steps of a phase side by side, the phases one after the
//! other.
//!
//! Plans are in the catalog, and what is to be done about a step is decided from the catalog each time anew
//! ([`baton_failover::next`]), so the next master aggregator goes on where this one ended. One that fails leaves more
//! copies than there were, and is planned anew when the operator asks again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, Node, PlanStep, StepStatus};
use baton_failover::{Next, next};
use baton_model::{NodeId, PartitionId};
use futures::StreamExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::Aggregator;
use crate::server::wall_clock_ms;
use crate::wire::{ForwardRefusal, Request, Response};

/// Without any news, plans are looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Steps of one phase that are taken at the same time.
const STEPS_AT_ONCE: usize = 8;
/// A step that waits is looked at again after this, if the catalog does not move before.
const STEP_AGAIN: Duration = Duration::from_millis(100);
/// A step may take so long while it goes on: a copy can be large.
const COPY_MAX: Duration = Duration::from_secs(24 * 3600);
/// A step fails when its partition is not served, or is not handed over, for so long.
const STUCK_MAX: Duration = Duration::from_secs(60);
/// After so many hand-overs that waited for writes in vain, each with its own attempts, comes one that does not wait.
const PATIENT_HAND_OVERS: usize = 1;
/// A leaf must have removed what it had of a partition within this, or it is an orphan.
const REMOVAL: Duration = Duration::from_secs(5);

/// Runs until the node stops; acts only while this node is the master aggregator.
pub async fn run(aggregator: Arc<Aggregator>) {
    let mut catalogs = aggregator.context.watch_catalog();
    let mut at_work: BTreeSet<u64> = BTreeSet::new();
    let mut workers: JoinSet<u64> = JoinSet::new();
    loop {
        tokio::select! {
            changed = catalogs.changed() => if changed.is_err() { return },
            Some(ended) = workers.join_next() => {
                match ended {
                    Ok(plan) => drop(at_work.remove(&plan)),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => return,
                }
            }
            () = sleep(LOOK_AGAIN) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
        catalogs.borrow_and_update();
        if !aggregator.group_status().is_leader {
            continue;
        }
        let Ok(catalog) = aggregator.catalog_here() else { continue };
        for plan in catalog.plans().filter(|plan| !plan.status.is_over()) {
            if at_work.insert(plan.id) {
                let (aggregator, plan) = (Arc::clone(&aggregator), plan.id);
                workers.spawn(async move {
                    aggregator.carry_out_plan(plan).await;
                    plan
                });
            }
        }
    }
}

/// How a step ended: how it is said to be, and why.
type Ended = (StepStatus, String);

impl Aggregator {
    /// Goes on with a plan until it ended, or this node is not the master aggregator any more.
    async fn carry_out_plan(&self, plan: u64) {
        let ended = tokio::select! {
            ended = self.take_steps(plan) => ended,
            () = self.context.shutdown.cancelled() => return,
        };
        let (status, details) = match ended {
            Ok(None) => (StepStatus::Success, String::new()),
            Ok(Some(why)) => (StepStatus::Failed, why),
            Err(refusal) => {
                debug!(plan, ?refusal, "a plan is left to the next master aggregator");
                return;
            }
        };
        info!(plan, %status, details, "a plan ended");
        if let Err(refusal) = self.say(vec![Command::EndPlan { plan, status, details }]).await {
            debug!(plan, ?refusal, "its end could not be said");
        }
    }

    /// Answers with why it failed, if it did.
    async fn take_steps(&self, plan: u64) -> Result<Option<String>, ForwardRefusal> {
        loop {
            let catalog = self.catalog_here()?;
            let open: Vec<PlanStep> =
                catalog.plan_steps(plan).filter(|step| !step.status.is_over()).cloned().collect();
            if let Some(failed) = catalog.plan_steps(plan).find(|step| step.status == StepStatus::Failed) {
                let name = catalog.partition_name(failed.partition);
                return Ok(Some(format!("{} of {name}: {}", failed.action, failed.details)));
            }
            let Some(phase) = open.iter().map(|step| step.phase).min() else { return Ok(None) };
            let steps = open.into_iter().filter(|step| step.phase == phase).map(|step| async move {
                self.note(&step, StepStatus::Running, String::new()).await?;
                let (status, details) = self.take_step(&step).await?;
                if status == StepStatus::Failed {
                    warn!(plan, step = step.number, details, "a step of a plan failed");
                }
                self.note(&step, status, details).await
            });
            let mut taken = futures::stream::iter(steps).buffer_unordered(STEPS_AT_ONCE);
            while let Some(noted) = taken.next().await {
                noted?;
            }
        }
    }

    async fn note(&self, step: &PlanStep, status: StepStatus, details: String) -> Result<(), ForwardRefusal> {
        self.say(vec![Command::NoteStep { plan: step.plan, step: step.number, status, details }]).await
    }

    /// Proposes commands of a plan. What was refused has changed meanwhile, and is looked at anew.
    async fn say(&self, commands: Vec<Command>) -> Result<(), ForwardRefusal> {
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command: Command::Batch(commands) };
        let outcome = self.propose(entry).await.map_err(super::execute::refusal)?;
        debug!(?outcome, "a plan went on");
        Ok(())
    }

    async fn take_step(&self, step: &PlanStep) -> Result<Ended, ForwardRefusal> {
        let begun = Instant::now();
        let mut stuck_since = None;
        let mut hand_overs = 0;
        loop {
            let mut catalogs = self.context.watch_catalog();
            catalogs.borrow_and_update();
            let catalog = self.catalog_here()?;
            let goes_on = catalog.plan(step.plan).is_some_and(|plan| !plan.status.is_over());
            if !self.group_status().is_leader || !goes_on {
                return Err(ForwardRefusal::NotTheMaster);
            }
            let caught_up = |node, partition| self.has_caught_up(&catalog, node, partition);
            // What an unserved partition or a hand-over waits for should not take long; a copy may.
            let (waits, is_stuck) = match next(&catalog, step, &caught_up) {
                Next::Done => return Ok((StepStatus::Success, String::new())),
                Next::Failed(why) => return Ok((StepStatus::Failed, why)),
                Next::RemoveData { partition, node } => {
                    let left = self.remove_data(&catalog, partition, node).await;
                    return Ok((StepStatus::Success, left.err().unwrap_or_default()));
                }
                Next::Propose(commands) => {
                    self.say(commands).await?;
                    ("the catalog goes its own way".to_owned(), true)
                }
                Next::HandOver { partition, to } => {
                    let kill = hand_overs >= PATIENT_HAND_OVERS;
                    hand_overs += 1;
                    match self.switch_over(None, partition, to, kill, "planned").await {
                        Ok(()) => (String::new(), false),
                        Err(ForwardRefusal::Failed(error)) => (error.message, true),
                        Err(refusal) => return Err(refusal),
                    }
                }
                Next::Wait(why) => (why, false),
                Next::Stuck(why) => (why, true),
            };
            let now = Instant::now();
            stuck_since = if is_stuck { stuck_since.or(Some(now)) } else { None };
            if now - begun >= COPY_MAX || stuck_since.is_some_and(|since| now - since >= STUCK_MAX) {
                return Ok((StepStatus::Failed, format!("could not synchronize in time: {waits}")));
            }
            let _ = timeout(STEP_AGAIN, catalogs.changed()).await;
        }
    }

    /// Whether a replica that is never in sync has what its primary has, as both told last.
    fn has_caught_up(&self, catalog: &Catalog, node: NodeId, partition: PartitionId) -> bool {
        let told = self.positions.told();
        let Some(primary) = catalog.partition(partition).map(|known| known.primary) else { return false };
        match (told.get(&(node, partition)), told.get(&(primary, partition))) {
            (Some(replica), Some(primary)) => replica >= primary,
            _ => false,
        }
    }

    /// Has a leaf remove what it has of a partition that the catalog does not give to it.
    ///
    /// # Errors
    /// Why it is still there: an orphan from now on.
    pub(super) async fn remove_data(
        &self,
        catalog: &Catalog,
        partition: PartitionId,
        node: NodeId,
    ) -> Result<(), String> {
        let answers = |leaf: &&Node| leaf.is_online() || self.sight(catalog).is_well(leaf.id);
        let Some(leaf) = catalog.node(node).filter(answers) else {
            return Err(format!("what {} has of it is an orphan", catalog.address_of(node)));
        };
        let deadline = Instant::now() + REMOVAL;
        let request = Request::DropOrphan { partition, index: catalog.index() };
        loop {
            let why = match self.context.ask(&leaf.rpc_address(), &request, REMOVAL).await {
                Ok(Response::OrphanDropped(Ok(()))) => return Ok(()),
                Ok(Response::OrphanDropped(Err(why))) => why,
                Ok(_) => "it gave no answer to this".into(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(format!("what {} has of it is an orphan: {why}", leaf.address()));
            }
            sleep(STEP_AGAIN).await;
        }
    }

    /// Waits for a plan's end. It has one: each of its steps has a bound.
    ///
    /// # Errors
    /// That it failed, or is left to the next master aggregator.
    pub(super) async fn await_plan(&self, plan: u64) -> Result<(), ForwardRefusal> {
        loop {
            let mut catalogs = self.context.watch_catalog();
            catalogs.borrow_and_update();
            let catalog = self.catalog_here()?;
            if !self.group_status().is_leader {
                return Err(ForwardRefusal::Unknown);
            }
            let Some(known) = catalog.plan(plan) else { return Ok(()) };
            let name = catalog.database_by_id(known.database).map_or("?", |database| database.name.as_str());
            match known.status {
                StepStatus::Success => return Ok(()),
                status if status.is_over() => {
                    let text = format!("{} ON {name} {status}: {}", known.kind, known.details);
                    return Err(super::cluster::refused(text).into());
                }
                _ => {}
            }
            let _ = timeout(LOOK_AGAIN, catalogs.changed()).await;
        }
    }
}
