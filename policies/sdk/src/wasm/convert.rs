//! From the generated types to those of `baton-policy`, and back. Only here.

use baton_policy as native;

use super::manifest::baton::policy::types as wit;
use super::{degrade_wit, detection_wit, election_wit, manifest_wit, promotion_wit};

impl From<wit::Role> for baton_model::NodeRole {
    fn from(role: wit::Role) -> Self {
        match role {
            wit::Role::Aggregator => Self::Aggregator,
            wit::Role::Leaf => Self::Leaf,
        }
    }
}

impl From<wit::Health> for native::Health {
    fn from(health: wit::Health) -> Self {
        match health {
            wit::Health::Healthy => Self::Healthy,
            wit::Health::Suspect => Self::Suspect,
            wit::Health::Failed => Self::Failed,
        }
    }
}

impl From<native::Health> for wit::Health {
    fn from(health: native::Health) -> Self {
        match health {
            native::Health::Healthy => Self::Healthy,
            native::Health::Suspect => Self::Suspect,
            native::Health::Failed => Self::Failed,
        }
    }
}

impl From<wit::Vitals> for native::Vitals {
    fn from(vitals: wit::Vitals) -> Self {
        let wit::Vitals { loop_delay_ms, fsync_ms, apply_backlog, free_disk_bytes } = vitals;
        Self { loop_delay_ms, fsync_ms, apply_backlog, free_disk_bytes }
    }
}

impl From<wit::Witness> for native::Witness {
    fn from(witness: wit::Witness) -> Self {
        let wit::Witness { observer, misses, refusals, timeouts, age_ms } = witness;
        Self { observer, misses, refusals, timeouts, age_ms }
    }
}

impl From<wit::Evidence> for native::NodeEvidence {
    fn from(evidence: wit::Evidence) -> Self {
        Self {
            node: evidence.node,
            role: evidence.role.into(),
            misses: evidence.misses,
            refusals: evidence.refusals,
            timeouts: evidence.timeouts,
            connecting: evidence.connecting,
            connection_lost: evidence.connection_lost,
            rtt_mean_us: evidence.rtt_mean_us,
            rtt_deviation_us: evidence.rtt_deviation_us,
            pong_intervals_ms: evidence.pong_intervals_ms,
            vitals: evidence.vitals.map(Into::into),
            witnesses: evidence.witnesses.into_iter().map(Into::into).collect(),
            flaps_last_hour: evidence.flaps_last_hour,
            in_maintenance: evidence.in_maintenance,
            previous: evidence.previous.into(),
            memory: evidence.memory,
        }
    }
}

impl From<detection_wit::Input> for native::DetectionInput {
    fn from(input: detection_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            heartbeat_interval_ms: input.heartbeat_interval_ms,
            observer_late_ms: input.observer_late_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            nodes: input.nodes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<native::NodeVerdict> for detection_wit::Verdict {
    fn from(verdict: native::NodeVerdict) -> Self {
        let native::NodeVerdict { node, health, reason, memory } = verdict;
        Self { node, health: health.into(), reason, memory }
    }
}

impl From<election_wit::Voter> for native::VoterView {
    fn from(voter: election_wit::Voter) -> Self {
        let election_wit::Voter { node, reachable, sees_master, log_index } = voter;
        Self { node, reachable, sees_master, log_index }
    }
}

impl From<election_wit::Input> for native::ElectionInput {
    fn from(input: election_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            heartbeat_interval_ms: input.heartbeat_interval_ms,
            observer_late_ms: input.observer_late_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            self_node: input.self_node,
            rank: input.rank,
            election_timeout_ms: input.election_timeout_ms,
            term: input.term,
            master: input.master.into(),
            voters: input.voters.into_iter().map(Into::into).collect(),
            campaigns: input.campaigns,
            since_last_campaign_ms: input.since_last_campaign_ms,
            unled_ms: input.unled_ms,
        }
    }
}

impl From<native::ElectionVerdict> for election_wit::Verdict {
    fn from(verdict: native::ElectionVerdict) -> Self {
        let choice = match verdict.choice {
            native::ElectionChoice::Wait => election_wit::Choice::Wait,
            native::ElectionChoice::Campaign => election_wit::Choice::Campaign,
        };
        Self { choice, reason: verdict.reason }
    }
}

impl From<promotion_wit::Candidate> for native::Candidate {
    fn from(candidate: promotion_wit::Candidate) -> Self {
        Self {
            node: candidate.node,
            lsn: candidate.lsn,
            group: candidate.group,
            primaries_held: candidate.primaries_held,
            last_pong_age_ms: candidate.last_pong_age_ms,
            rtt_mean_us: candidate.rtt_mean_us,
            flaps_last_hour: candidate.flaps_last_hour,
        }
    }
}

impl From<promotion_wit::Input> for native::PromotionInput {
    fn from(input: promotion_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            database: input.database,
            partition: input.partition,
            failed_primary: input.failed_primary,
            failed_group: input.failed_group,
            candidates: input.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<native::PromotionVerdict> for promotion_wit::Verdict {
    fn from(verdict: native::PromotionVerdict) -> Self {
        let native::PromotionVerdict { ranking, reason, rejected } = verdict;
        Self { ranking, reason, rejected }
    }
}

impl From<degrade_wit::Input> for native::DegradeInput {
    fn from(input: degrade_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            database: input.database,
            partition: input.partition,
            sync_replica_timeout_ms: input.sync_replica_timeout_ms,
            primary: input.primary,
            primary_group: input.primary_group,
            replica_group: input.replica_group,
            silent_ms: input.silent_ms,
            linked: input.linked,
            waiting_writes: input.waiting_writes,
            oldest_wait_ms: input.oldest_wait_ms,
            copies_left: input.copies_left,
            groups_left: input.groups_left,
            replica: input.replica.into(),
        }
    }
}

impl From<native::DegradeVerdict> for degrade_wit::Verdict {
    fn from(verdict: native::DegradeVerdict) -> Self {
        let choice = match verdict.choice {
            native::DegradeChoice::Wait => degrade_wit::Choice::Wait,
            native::DegradeChoice::Degrade => degrade_wit::Choice::Degrade,
        };
        Self { choice, reason: verdict.reason }
    }
}

impl From<native::Description> for manifest_wit::Description {
    fn from(description: native::Description) -> Self {
        let native::Description { name, version, settings } = description;
        let settings = settings
            .into_iter()
            .map(|native::SettingDoc { name, default, doc }| manifest_wit::Setting { name, default, doc })
            .collect();
        Self { name, version, settings }
    }
}
