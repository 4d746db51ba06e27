//! When a voting member without a master aggregator campaigns: the `election` decision point says.
//!
//! To campaign is always safe (pre-vote, leases and terms see to that), so only the pace is decided here.
//! A cluster that starts, with nobody who remembers a living master aggregator, is no failover: members campaign in
//! turn, after a moment in which a living one would have been heard.
//!
//! * S8: a policy that always waits cannot keep the cluster without a master aggregator: a member that was not led for
//!   [`CEILING_TIMEOUTS`] times `consensus_election_timeout` campaigns, whatever the policy says.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_detector::Observation;
use baton_model::limits::CONSENSUS_ELECTION_TIMEOUT_MS;
use baton_model::{Instant, NodeId, NodeRole};
use baton_policy::{ElectionChoice, ElectionInput, NodeEvidence, Vitals, VoterView};

use crate::ask::{Answer, Ask};
use crate::evidence::{Known, evidence, vitals};

/// After its start, a member listens this long for a living master aggregator.
const LISTEN: Duration = Duration::from_millis(1000);
/// Members that start together campaign this far apart.
const TURN: Duration = Duration::from_millis(400);
/// A member that was not led for so many election timeouts asks no policy any more.
const CEILING_TIMEOUTS: u64 = 2;

/// How a voting member stands in the control group.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// This member.
    pub me: NodeId,
    /// Whether it leads.
    pub is_leader: bool,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// Who counts for the majority.
    pub voters: &'a BTreeSet<NodeId>,
    /// How long ago it was last led, in milliseconds.
    pub unled_ms: u64,
    /// The last index of its log.
    pub log_index: u64,
    /// What it would say of itself in a pong now.
    pub vitals: Vitals,
}

/// Who wants this member to campaign, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// The policy, against this master aggregator.
    Policy {
        /// The master aggregator that is not heard.
        master: NodeId,
        /// The policy's reason.
        reason: String,
    },
    /// Nobody was heard since this member started.
    StartUp {
        /// For people.
        reason: String,
    },
    /// The bound on what a policy may decide.
    Ceiling {
        /// For people.
        reason: String,
    },
}

/// What a member remembers between two looks.
#[derive(Clone, Debug)]
pub struct Campaigner {
    /// Since when nobody but this member was known to be master aggregator.
    since: Instant,
    last_master: Option<NodeId>,
    term: u64,
    campaigns: u32,
    last_campaign: Option<Instant>,
}

impl Campaigner {
    /// A member that knows of nobody yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, last_master: None, term: 0, campaigns: 0, last_campaign: None }
    }

    /// Looks at what is so now, and says whether to campaign; if so, the member does.
    pub fn look(
        &mut self,
        now: Instant,
        standing: Standing<'_>,
        catalog: &Catalog,
        observation: &Observation,
        known: &Known,
        elector: &mut dyn Ask<ElectionInput>,
    ) -> Option<Call> {
        if standing.is_leader || !standing.voters.contains(&standing.me) {
            *self = Self::new(now);
            return None;
        }
        if let Some(leader) = standing.leader
            && self.last_master != Some(leader)
        {
            *self = Self { last_master: Some(leader), ..Self::new(now) };
        }
        if standing.term != self.term {
            self.term = standing.term;
            self.campaigns = 0;
        }
        // Never this member: while it leads it is not here, and it names itself only then.
        let call = match self.last_master {
            Some(master) => self
                .ask(now, standing, catalog, (observation, known), master, elector)
                .or_else(|| self.ceiling(now, standing, catalog)),
            None => self.start_up(now, standing),
        }?;
        self.campaigns += 1;
        self.last_campaign = Some(now);
        Some(call)
    }

    fn is_due_again(&self, now: Instant, rank: u32) -> bool {
        self.last_campaign.is_none_or(|at| now.since(at) > LISTEN + TURN * rank)
    }

    /// The rule for a cluster that starts, and for a member that has just ceased to be master aggregator.
    fn start_up(&self, now: Instant, standing: Standing<'_>) -> Option<Call> {
        let rank = rank_of(standing)?;
        let silence = now.since(self.since);
        (silence > LISTEN + TURN * rank && self.is_due_again(now, rank)).then(|| Call::StartUp {
            reason: format!("nobody was heard to be master aggregator for {} ms", silence.as_millis()),
        })
    }

    /// The bound on what a policy may decide: nobody waits for ever.
    fn ceiling(&self, now: Instant, standing: Standing<'_>, catalog: &Catalog) -> Option<Call> {
        let rank = rank_of(standing)?;
        let wait = Duration::from_millis(election_timeout_ms(catalog).saturating_mul(CEILING_TIMEOUTS));
        let unled = Duration::from_millis(standing.unled_ms);
        (unled > wait + TURN * rank && self.is_due_again(now, rank)).then(|| Call::Ceiling {
            reason: format!("nobody led for {} ms, which no policy may exceed", unled.as_millis()),
        })
    }

    fn ask(
        &self,
        now: Instant,
        standing: Standing<'_>,
        catalog: &Catalog,
        (observation, known): (&Observation, &Known),
        master: NodeId,
        elector: &mut dyn Ask<ElectionInput>,
    ) -> Option<Call> {
        let me = standing.me;
        // Of one that is not observed nothing is known but what the control group says of it.
        let master_evidence = observation.of(master).map_or_else(
            || NodeEvidence::answering(master.0, NodeRole::Aggregator),
            |seen| evidence(seen, known),
        );
        let others: Vec<VoterView> = catalog
            .aggregators()
            .filter(|node| node.is_voter() && node.id != me && node.id != master)
            .map(|node| {
                let seen = observation.of(node.id);
                let reachable = seen.is_some_and(|seen| seen.misses <= 2 && seen.report.is_some());
                // A voter's own sighting of the master aggregator came with its pongs.
                let sighting = master_evidence.witnesses.iter().find(|witness| witness.observer == node.id.0);
                VoterView {
                    node: node.id.0,
                    reachable,
                    sees_master: sighting.map(|w| w.misses <= 2 && w.refusals == 0 && w.timeouts == 0),
                    log_index: seen.and_then(|seen| seen.report).map_or(0, |report| report.log_index),
                    last_pong_age_ms: seen.and_then(|seen| seen.last_pong_age_ms).map(u64::from),
                    vitals: seen.and_then(|seen| seen.report).map(|report| vitals(&report.vitals)),
                }
            })
            .collect();
        // Whoever has the longer log goes first; a tie goes to the lower id.
        let rank = others
            .iter()
            .filter(|other| other.reachable && (other.log_index, me.0) > (standing.log_index, other.node))
            .count();
        let Answer { verdict, .. } = elector.ask(ElectionInput {
            now_ms: observation.at.as_millis(),
            wall_ms: known.wall_ms,
            heartbeat_interval_ms: u64::from(observation.interval_ms),
            observer_late_ms: u64::from(observation.observer_late_ms),
            settings: baton_policy::Settings::default(),
            seed: observation.at.0,
            self_node: me.0,
            self_vitals: standing.vitals,
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            election_timeout_ms: election_timeout_ms(catalog),
            term: standing.term,
            master: master_evidence,
            unled_ms: standing.unled_ms,
            voters: others,
            campaigns: self.campaigns,
            since_last_campaign_ms: self
                .last_campaign
                .map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)),
        });
        (verdict.choice == ElectionChoice::Campaign)
            .then_some(Call::Policy { master, reason: verdict.reason })
    }
}

/// This member's place among the voters; None if it is none of them.
fn rank_of(standing: Standing<'_>) -> Option<u32> {
    u32::try_from(standing.voters.iter().position(|voter| *voter == standing.me)?).ok()
}

fn election_timeout_ms(catalog: &Catalog) -> u64 {
    if catalog.cluster().is_some() {
        catalog.number("consensus_election_timeout")
    } else {
        CONSENSUS_ELECTION_TIMEOUT_MS
    }
}
