//! What the master aggregator does all the time: compare what it sees with the catalog, plan, propose.
//!
//! The plan is made anew each time from the present state, so a plan that was half carried out when the last master
//! aggregator died is simply finished by this one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{
    Catalog, Command, Decision as Record, Entry, Node, Outcome, Rejection, Reply, Severity, event_type,
};
use baton_failover::{Learned, Plan, Problem, Returns, Sight, problems};
use baton_model::{NodeId, NodeRole, PartitionId};
use baton_policy::{DetectionInput, NodeVerdict};
use baton_policy_host::Decision;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::Aggregator;
use super::asking::{Asking, RECORDED_BYTES_MAX, record};
use crate::detection::Judged;
use crate::server::wall_clock_ms;
use crate::wire::{JoinRequest, Request, Response};

/// Problems and steps of one plan that the log tells one by one, at most.
const LOGGED_MAX: usize = 64;
/// Without any news, the state is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Decisions about the same leaf that answers again are recorded this far apart.
const RECORD_AGAIN: Duration = Duration::from_secs(5);
/// A node that forgot its cluster is asked to join this often.
const JOIN_AGAIN: Duration = Duration::from_secs(1);

/// Runs until the node stops; acts only while this node is the master aggregator.
pub async fn supervise(aggregator: Arc<Aggregator>) {
    let mut state = Supervision::default();
    let mut judged = aggregator.judged();
    let mut catalogs = aggregator.context.watch_catalog();
    let mut statuses = aggregator.watch_group();
    loop {
        let now = aggregator.context.clock.now();
        let next = state.free_at.map_or(LOOK_AGAIN, |free_at| free_at.since(now).min(LOOK_AGAIN));
        tokio::select! {
            changed = judged.changed() => if changed.is_err() { return },
            changed = catalogs.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            () = sleep(next) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
        let latest = judged.borrow_and_update().clone();
        catalogs.borrow_and_update();
        statuses.borrow_and_update();
        // What this node proposed last is in the group's catalog before it is told to everybody here.
        let Some(catalog) = aggregator.group().map(|group| group.catalog()) else { continue };
        let status = aggregator.group_status();
        // A master aggregator that was cut off for a moment remembers what it said, as long as its term goes on.
        if status.term != state.term {
            aggregator.hold_back(BTreeMap::new());
            state = Supervision { term: status.term, ..Supervision::default() };
        }
        if !status.is_leader || catalog.cluster().is_none() {
            continue;
        }
        state.look(&aggregator, &catalog, &latest, status.term).await;
    }
}

/// What one term of a master aggregator remembers.
#[derive(Default)]
struct Supervision {
    term: u64,
    /// Whether it is committed that this node is the master aggregator.
    announced: bool,
    /// Partitions of which it is committed that they are offline.
    noted: BTreeSet<PartitionId>,
    asked_to_join: BTreeMap<NodeId, Instant>,
    /// Leaves from which something was taken by an entry of which it is unknown whether it will be committed.
    doubted: BTreeSet<NodeId>,
    /// When the next of the leaves that are lent nothing ceases to read.
    free_at: Option<baton_model::Instant>,
    /// Since when leaves that are not used answer.
    returns: Returns,
    /// What was last recorded of each of them, and when.
    rejoins: BTreeMap<String, (String, bool, Instant)>,
    /// Since when the catalog says of each node what it says.
    learned: Learned,
}

impl Supervision {
    async fn look(
        &mut self,
        aggregator: &Arc<Aggregator>,
        catalog: &Arc<Catalog>,
        judged: &Judged,
        term: u64,
    ) {
        let me = aggregator.context.node();
        let mut commands = self.announce(aggregator, catalog, me, term);
        let mut sight = Sight { positions: aggregator.positions.told(), ..judged.sight() };
        sight.now = aggregator.context.clock.now();
        sight.spare(catalog);
        sight.learned = self.learned.look(sight.now, catalog);
        self.doubted.extend(aggregator.handing_over.take_unresolved());
        sight.reads_until = self.lend(aggregator, catalog, &sight, term);
        let of = |node: NodeId| judged.evidence_of(node).cloned();
        let mut asking = Asking::new(aggregator, catalog);
        // A policy computes, for as long as it may: no other task waits for that.
        let (found, plan) = block_in_place(|| {
            sight.held_back = self.returns.look(catalog, &sight, &of, &mut asking);
            self.drop_known_rejoins(&mut asking.records);
            let found = problems(catalog, &sight, me);
            let plan = Plan::make(&found, catalog, &sight, &self.noted, &mut asking);
            (found, plan)
        });
        aggregator.hold_back(sight.held_back.clone());
        let mut records = detection_records(catalog, &found, judged, me, aggregator.context.clock.now());
        records.append(&mut asking.records);
        let of_operators = aggregator.take_records();
        records.extend(of_operators.iter().cloned());
        if !plan.commands.is_empty() {
            for problem in found.iter().take(LOGGED_MAX) {
                info!(%problem, "problem");
            }
            if found.len() > LOGGED_MAX {
                info!(more = found.len() - LOGGED_MAX, "problems");
            }
        }
        commands.extend(plan.commands);
        commands.extend(records.into_iter().map(Command::RecordDecision));
        commands.extend(aggregator.abandoned_restores(catalog));
        commands.extend(expired_marks(catalog));
        if commands.is_empty() && !self.doubted.is_empty() {
            // Whatever comes after it in the log decides what became of it.
            commands.push(Command::Batch(Vec::new()));
        }
        let taken_from = taken_from(&commands, catalog);
        // What was not committed was not said, and is said by the next look.
        let done = commands.is_empty() || carry_out(aggregator, commands).await;
        if done {
            self.doubted.clear();
        } else {
            self.doubted.extend(taken_from);
            aggregator.keep_records(of_operators);
        }
        if done {
            if !std::mem::replace(&mut self.announced, true) {
                aggregator.forget_campaign();
            }
            self.noted = plan.noted;
        }
        self.invite(aggregator, catalog, judged);
    }

    /// Lends to every leaf that is counted on, and says until when each of the others may still read.
    fn lend(
        &mut self,
        aggregator: &Aggregator,
        catalog: &Catalog,
        sight: &Sight,
        term: u64,
    ) -> BTreeMap<NodeId, baton_model::Instant> {
        let leases = &aggregator.leases;
        let judged = catalog.switch("leaf_failure_detection");
        let (counted_on, others): (Vec<_>, Vec<_>) =
            catalog.leaves().map(|leaf| (leaf.id, leaf.is_online())).partition(|(leaf, online)| {
                let failed = judged && sight.is_failed(*leaf);
                let doubted = self.doubted.contains(leaf) || aggregator.handing_over.is_doubted(*leaf);
                *online && !failed && !doubted
            });
        // Until this term's first entry is applied, an entry of the leader before may take something that this catalog
        // does not know of.
        let borrowers = counted_on.into_iter().map(|(leaf, _)| leaf).filter(|_| self.announced);
        leases.lend_to(sight.now, term, borrowers, catalog.index());
        self.free_at = None;
        if !catalog.switch("leaf_read_lease") {
            return BTreeMap::new();
        }
        let reads_until: BTreeMap<_, _> =
            others.into_iter().map(|(leaf, _)| (leaf, leases.free_at(leaf))).collect();
        self.free_at = reads_until.values().filter(|until| **until > sight.now).min().copied();
        reads_until
    }

    /// Says once a term who is master aggregator, and that its own process is the one that the catalog must know.
    fn announce(&self, aggregator: &Aggregator, catalog: &Catalog, me: NodeId, term: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        let pulse = &aggregator.context.pulse;
        if let Some(own) = catalog.node(me)
            && (!own.is_online() || own.incarnation != pulse.incarnation() || own.store != pulse.store())
        {
            commands.push(Command::SetNodeOnline {
                node: me,
                incarnation: pulse.incarnation(),
                store: pulse.store(),
                lost_tail: pulse.lost_tail(),
            });
        }
        if !self.announced {
            let campaign = aggregator.last_campaign();
            let why = campaign.as_ref().map_or("", |record| record.reason.as_str());
            commands.push(Command::RecordEvent {
                severity: Severity::Notice,
                event_type: event_type::NOTIFY_AGGREGATOR_PROMOTED.into(),
                node: Some(me),
                details: format!(
                    "{} is the master aggregator in term {term}{}{why}",
                    catalog.address_of(me),
                    if why.is_empty() { "" } else { ": " }
                ),
            });
            commands.extend(campaign.map(Command::RecordDecision));
        }
        commands
    }

    /// What is decided of a leaf again as before is not recorded again, and that one is used at once goes without saying. A
    /// policy that says another thing each time is recorded now and then: every record wakes who asks.
    fn drop_known_rejoins(&mut self, records: &mut Vec<Record>) {
        let before = std::mem::take(&mut self.rejoins);
        records.retain(|record| {
            let said = (record.verdict.as_str(), record.fallback.is_empty());
            let known = before.get(&record.subject);
            let is_known =
                known.map_or(said == ("attach", true), |(verdict, own, _)| said == (verdict, *own));
            let is_soon = known.is_some_and(|(_, _, at)| at.elapsed() < RECORD_AGAIN);
            if is_known || is_soon {
                if let Some(known) = known {
                    self.rejoins.insert(record.subject.clone(), known.clone());
                }
                return false;
            }
            let recorded = (record.verdict.clone(), record.fallback.is_empty(), Instant::now());
            self.rejoins.insert(record.subject.clone(), recorded);
            true
        });
    }

    /// A node that answers but knows of no cluster is told who it is, and starts empty: a leaf that has lost its disk,
    /// or an aggregator that its master aggregator could not tell when it was added. A voter that forgot its votes is
    /// not: it would vote a second time.
    fn invite(&mut self, aggregator: &Arc<Aggregator>, catalog: &Arc<Catalog>, judged: &Judged) {
        let Some(cluster) = catalog.cluster() else { return };
        for seen in &judged.observation.nodes {
            let forgot = seen.report.is_some_and(|report| !report.joined) && seen.misses == 0;
            if !forgot || seen.role != NodeRole::Leaf && !aggregator.may_be_told(seen.node) {
                continue;
            }
            let recently = self.asked_to_join.get(&seen.node).is_some_and(|at| at.elapsed() < JOIN_AGAIN);
            let Some(node) = catalog.node(seen.node).filter(|_| !recently) else { continue };
            self.asked_to_join.insert(seen.node, Instant::now());
            let address = node.rpc_address();
            let aggregators = catalog.aggregators().map(|node| node.rpc_address()).collect();
            let request = Request::Join(JoinRequest { cluster, node: node.id, aggregators });
            let context = Arc::clone(&aggregator.context);
            tokio::spawn(async move {
                match context.ask(&address, &request, Duration::from_secs(3)).await {
                    Ok(Response::Joined(Ok(()))) => info!(%address, "a node with an empty disk has joined"),
                    answer => warn!(%address, ?answer, "a node with an empty disk could not be joined"),
                }
            });
        }
    }
}

/// What takes back marks of maintenance whose time is over, so that nobody has to remember them.
fn expired_marks(catalog: &Catalog) -> impl Iterator<Item = Command> {
    let now_ms = wall_clock_ms();
    let is_over = move |node: &&Node| node.maintenance_until_ms.is_some_and(|until_ms| until_ms <= now_ms);
    catalog.nodes().filter(is_over).map(|node| Command::MarkMaintenance { node: node.id, until_ms: None })
}

/// Proposes the commands as one entry and waits until they are applied here, so that the next look sees them; says
/// whether they are.
async fn carry_out(aggregator: &Arc<Aggregator>, commands: Vec<Command>) -> bool {
    let entry = Entry { statement: None, at_ms: wall_clock_ms(), command: Command::Batch(commands.clone()) };
    match aggregator.propose(entry).await {
        Ok(Ok(Reply::Batch(outcomes))) => {
            let done = commands.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).count();
            for (told, (command, outcome)) in commands.iter().zip(outcomes).enumerate() {
                if told < LOGGED_MAX || outcome.is_err() {
                    report(command, &outcome);
                }
            }
            if commands.len() > LOGGED_MAX {
                info!(steps = commands.len(), done, "the plan is carried out");
            }
            true
        }
        Ok(outcome) => {
            warn!(?outcome, "the plan was refused");
            false
        }
        Err(error) => {
            warn!(%error, "the plan could not be proposed");
            false
        }
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

fn report(command: &Command, outcome: &Outcome) {
    match outcome {
        // Somebody else was faster, or it changed meanwhile: the next look sees what is so now.
        Err(Rejection::OtherVersion(..) | Rejection::NoChange(_) | Rejection::OtherEpoch(..)) => {
            debug!(?outcome, "a step was overtaken");
        }
        Err(rejection) => warn!(%rejection, ?command, "a step was refused"),
        Ok(_) if matches!(command, Command::RecordDecision(_)) => {}
        Ok(_) => info!(?command, "done"),
    }
}

/// The input of a decision about one node, as JSON; of a large one, only the part about that node.
fn detection_json(input: &DetectionInput, subject: NodeId) -> String {
    let json = |input: &DetectionInput| serde_json::to_string(input).unwrap_or_default();
    let whole = json(input);
    if whole.len() <= RECORDED_BYTES_MAX {
        return whole;
    }
    let mut part = input.clone();
    part.nodes.retain(|node| node.node == subject.0);
    json(&part)
}

/// The verdict on one node, as JSON, in the place of that on all of them.
fn answer_json(decision: &Decision<Vec<NodeVerdict>>, subject: NodeId) -> String {
    let whole = serde_json::to_string(&decision.verdict).unwrap_or_default();
    if whole.len() <= RECORDED_BYTES_MAX {
        return whole;
    }
    let of_node: Vec<_> = decision.verdict.iter().filter(|verdict| verdict.node == subject.0).collect();
    serde_json::to_string(&of_node).unwrap_or_default()
}

fn detection_records(
    catalog: &Catalog,
    found: &[Problem],
    judged: &Judged,
    me: NodeId,
    now: baton_model::Instant,
) -> Vec<Record> {
    // When the verdict was given, which is a while before it could be acted on.
    let given_ms = |node: &NodeId| {
        let age = judged.failed.of(*node).map_or(Duration::ZERO, |at| now.since(at));
        wall_clock_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(0))
    };
    let of_node = |problem: &Problem| {
        let Problem::DeadNode { node, role, reason } = problem else { return None };
        let (input, decision) = judged.about(*node)?;
        Some(Record {
            at_ms: given_ms(node),
            subject: format!("{role} {}", catalog.address_of(*node)),
            verdict: "failed".into(),
            reason: reason.clone(),
            input: detection_json(input, *node),
            answer: answer_json(decision, *node),
            ..record(me, catalog, input, decision)
        })
    };
    found.iter().filter_map(of_node).collect()
}

/// Waits until a condition on the catalog holds here.
///
/// # Errors
/// Nothing, if it does not hold in time.
pub async fn until(
    aggregator: &Aggregator,
    patience: Duration,
    holds: impl Fn(&Catalog) -> bool,
) -> Result<(), ()> {
    let mut catalogs = aggregator.context.watch_catalog();
    let waiting = async {
        loop {
            if holds(&catalogs.borrow_and_update()) {
                return Ok(());
            }
            if catalogs.changed().await.is_err() {
                return Err(());
            }
        }
    };
    timeout(patience, waiting).await.unwrap_or(Err(()))
}
