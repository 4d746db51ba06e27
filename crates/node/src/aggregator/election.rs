//! When a voting member without a master aggregator campaigns: the `election` decision point says.
//!
//! To campaign is always safe (pre-vote, leases and terms see to that), so only the pace is decided here.
//! A cluster that starts, with nobody who remembers a living master aggregator, is no failover: members campaign in
//! turn, after a moment in which a living one would have been heard.
//!
//! * S8: a policy that always waits cannot keep the cluster without a master aggregator: a member that was not led for
//!   [`CEILING_TIMEOUTS`] times `consensus_election_timeout` campaigns, whatever the policy says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Decision as Record};
use baton_consensus::Status;
use baton_model::limits::CONSENSUS_ELECTION_TIMEOUT_MS;
use baton_model::{NodeId, NodeRole};
use baton_policy::{DecisionPoint, ElectionChoice, ElectionInput, NodeEvidence, VoterView};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::Aggregator;
use crate::detection::{Judged, evidence};
use crate::server::wall_clock_ms;

/// After its start, a member listens this long for a living master aggregator.
const LISTEN: Duration = Duration::from_millis(1000);
/// Members that start together campaign this far apart.
const TURN: Duration = Duration::from_millis(400);
/// A member that was not led for so many election timeouts asks no policy any more.
const CEILING_TIMEOUTS: u64 = 2;
/// How often the state is looked at without any news.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs until the node stops.
pub async fn campaign_when_told(aggregator: Arc<Aggregator>) {
    let mut judged = aggregator.judged();
    let mut statuses = aggregator.watch_group();
    let mut memory = Memory::default();
    loop {
        tokio::select! {
            changed = judged.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            () = sleep(LOOK_AGAIN) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
        statuses.borrow_and_update();
        let status = aggregator.group_status();
        let latest = judged.borrow_and_update().clone();
        let me = aggregator.context.node();
        if status.is_leader || !status.voters.contains(&me) {
            memory = Memory::default();
            continue;
        }
        if let Some(leader) = status.leader
            && memory.last_master != Some(leader)
        {
            memory = Memory { last_master: Some(leader), ..Memory::default() };
        }
        if status.term != memory.term {
            memory.term = status.term;
            memory.campaigns = 0;
        }
        let catalog = aggregator.context.catalog();
        // Never this member: while it leads it is not here, and it names itself only then.
        let decided = match memory.last_master {
            Some(master) => ask(&aggregator, &catalog, &latest, &memory, master, &status)
                .or_else(|| ceiling(&catalog, &status, me, &memory)),
            None => start_up(&status.voters, me, &memory),
        };
        let Some(record) = decided else { continue };
        info!(reason = record.reason, policy = record.policy, term = status.term, "campaigning");
        memory.campaigns += 1;
        memory.last_campaign = Some(Instant::now());
        aggregator.keep_campaign(record);
        aggregator.campaign().await;
    }
}

/// What a member remembers between two looks.
struct Memory {
    /// Since when nobody but this member was known to be master aggregator.
    since: Instant,
    last_master: Option<NodeId>,
    term: u64,
    campaigns: u32,
    last_campaign: Option<Instant>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { since: Instant::now(), last_master: None, term: 0, campaigns: 0, last_campaign: None }
    }
}

/// The rule for a cluster that starts, and for a member that has just ceased to be master aggregator.
fn start_up(voters: &BTreeSet<NodeId>, me: NodeId, memory: &Memory) -> Option<Record> {
    let rank = u32::try_from(voters.iter().position(|voter| *voter == me)?).ok()?;
    let wait = LISTEN + TURN * rank;
    let again = memory.last_campaign.is_none_or(|at| at.elapsed() > LISTEN + TURN * rank);
    let silence = memory.since.elapsed();
    (silence > wait && again).then(|| Record {
        reason: format!("nobody was heard to be master aggregator for {} ms", silence.as_millis()),
        policy: "start-up".into(),
        ..record(me)
    })
}

/// The bound on what a policy may decide: nobody waits for ever.
fn ceiling(catalog: &Catalog, status: &Status, me: NodeId, memory: &Memory) -> Option<Record> {
    let rank = u32::try_from(status.voters.iter().position(|voter| *voter == me)?).ok()?;
    let wait = Duration::from_millis(election_timeout_ms(catalog).saturating_mul(CEILING_TIMEOUTS));
    let unled = Duration::from_millis(status.unled_ms);
    let again = memory.last_campaign.is_none_or(|at| at.elapsed() > LISTEN + TURN * rank);
    (unled > wait + TURN * rank && again).then(|| Record {
        reason: format!("nobody led for {} ms, which no policy may exceed", unled.as_millis()),
        policy: "ceiling".into(),
        ..record(me)
    })
}

fn election_timeout_ms(catalog: &Catalog) -> u64 {
    if catalog.cluster().is_some() {
        catalog.number("consensus_election_timeout")
    } else {
        CONSENSUS_ELECTION_TIMEOUT_MS
    }
}

fn record(me: NodeId) -> Record {
    Record {
        id: 0,
        at_ms: wall_clock_ms(),
        node: me,
        decision_point: DecisionPoint::Election.to_string(),
        subject: "control group".into(),
        verdict: "campaign".into(),
        reason: String::new(),
        policy: String::new(),
        hash: String::new(),
        input: String::new(),
        fuel: 0,
        micros: 0,
        fallback: String::new(),
    }
}

fn ask(
    aggregator: &Aggregator,
    catalog: &Catalog,
    judged: &Judged,
    memory: &Memory,
    master: NodeId,
    status: &Status,
) -> Option<Record> {
    let me = aggregator.context.node();
    // Of one that is not observed nothing is known but what the control group says of it.
    let master_evidence = judged
        .observation
        .of(master)
        .map_or_else(|| NodeEvidence::answering(master.0, NodeRole::Aggregator), evidence);
    let own_log = aggregator.log_index();
    let others: Vec<VoterView> = catalog
        .aggregators()
        .filter(|node| node.is_voter() && node.id != me && node.id != master)
        .map(|node| {
            let seen = judged.observation.of(node.id);
            let reachable = seen.is_some_and(|seen| seen.misses <= 2 && seen.report.is_some());
            // A voter's own sighting of the master aggregator came with its pongs.
            let sighting = master_evidence.witnesses.iter().find(|witness| witness.observer == node.id.0);
            VoterView {
                node: node.id.0,
                reachable,
                sees_master: sighting.map(|w| w.misses <= 2 && w.refusals == 0 && w.timeouts == 0),
                log_index: seen.and_then(|seen| seen.report).map_or(0, |report| report.log_index),
            }
        })
        .collect();
    // Whoever has the longer log goes first; a tie goes to the lower id.
    let rank = others
        .iter()
        .filter(|other| other.reachable && (other.log_index, me.0) > (own_log, other.node))
        .count();
    let mut input = ElectionInput {
        now_ms: judged.observation.at.as_millis(),
        heartbeat_interval_ms: u64::from(judged.observation.interval_ms),
        observer_late_ms: u64::from(judged.observation.observer_late_ms),
        settings: baton_policy::Settings::default(),
        seed: judged.observation.at.0,
        self_node: me.0,
        rank: u32::try_from(rank).unwrap_or(u32::MAX),
        election_timeout_ms: election_timeout_ms(catalog),
        term: status.term,
        master: master_evidence,
        unled_ms: status.unled_ms,
        voters: others,
        campaigns: memory.campaigns,
        since_last_campaign_ms: memory
            .last_campaign
            .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
    };
    let decision = aggregator.decider.decide_election(&mut input);
    if decision.verdict.choice != ElectionChoice::Campaign {
        debug!(reason = decision.verdict.reason, "no campaign");
        return None;
    }
    Some(Record {
        subject: format!("master aggregator {}", catalog.address_of(master)),
        reason: decision.verdict.reason,
        policy: decision.module,
        hash: decision.hash,
        input: serde_json::to_string(&input).unwrap_or_default(),
        fuel: decision.stats.fuel,
        micros: decision.stats.micros,
        fallback: decision.fallback.unwrap_or_default(),
        ..record(me)
    })
}
