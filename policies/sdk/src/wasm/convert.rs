//! From the generated types to those of `baton-policy`, and back. Only here.

use baton_policy as native;

use super::manifest::baton::policy::types as wit;
use super::{
    degrade_wit, election_wit, maintenance_wit, manifest_wit, placement_wit, promotion_wit, rejoin_wit,
    retry_wit,
};

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
        let wit::Vitals { loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes } = vitals;
        Self { loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes }
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
            group: evidence.group,
            misses: evidence.misses,
            refusals: evidence.refusals,
            timeouts: evidence.timeouts,
            connecting: evidence.connecting,
            connection_lost: evidence.connection_lost,
            rtt_mean_us: evidence.rtt_mean_us,
            rtt_deviation_us: evidence.rtt_deviation_us,
            pong_intervals_ms: evidence.pong_intervals_ms.into(),
            vitals: evidence.vitals.map(Into::into),
            witnesses: evidence.witnesses.into_iter().map(Into::into).collect(),
            flaps_last_hour: evidence.flaps_last_hour,
            in_maintenance: evidence.in_maintenance,
            previous: evidence.previous.into(),
            memory: evidence.memory,
        }
    }
}

impl From<election_wit::Voter> for native::VoterView {
    fn from(voter: election_wit::Voter) -> Self {
        let election_wit::Voter { node, reachable, sees_master, log_index, last_pong_age_ms, vitals } = voter;
        let vitals = vitals.map(Into::into);
        Self { node, reachable, sees_master, log_index, last_pong_age_ms, vitals }
    }
}

impl From<election_wit::Input> for native::ElectionInput {
    fn from(input: election_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            heartbeat_interval_ms: input.heartbeat_interval_ms,
            observer_late_ms: input.observer_late_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            self_node: input.self_node,
            self_vitals: input.self_vitals.into(),
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
            vitals: candidate.vitals.map(Into::into),
            in_maintenance: candidate.in_maintenance,
        }
    }
}

impl From<promotion_wit::Input> for native::PromotionInput {
    fn from(input: promotion_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
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
            wall_ms: input.wall_ms,
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

impl From<rejoin_wit::Input> for native::RejoinInput {
    fn from(input: rejoin_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            leaf: input.leaf.into(),
            answering_ms: input.answering_ms,
            initial_grace_ms: input.initial_grace_ms,
            maximum_grace_ms: input.maximum_grace_ms,
            instances: input.instances,
            needed_by: input.needed_by,
            restarted: input.restarted,
            disk_replaced: input.disk_replaced,
            lost_tail: input.lost_tail,
            group_leaves: input.group_leaves,
            group_online: input.group_online,
        }
    }
}

impl From<native::RejoinVerdict> for rejoin_wit::Verdict {
    fn from(verdict: native::RejoinVerdict) -> Self {
        let choice = match verdict.choice {
            native::RejoinChoice::Attach => rejoin_wit::Choice::Attach,
            native::RejoinChoice::Later => rejoin_wit::Choice::Later,
            native::RejoinChoice::Refuse => rejoin_wit::Choice::Refuse,
        };
        Self { choice, left_ms: verdict.left_ms, reason: verdict.reason }
    }
}

impl From<placement_wit::Cell> for native::Cell {
    fn from(cell: placement_wit::Cell) -> Self {
        let placement_wit::Cell { leaves, heads } = cell;
        Self { leaves, heads }
    }
}

impl From<placement_wit::LeafLoad> for native::LeafLoad {
    fn from(leaf: placement_wit::LeafLoad) -> Self {
        Self {
            node: leaf.node,
            group: leaf.group,
            instances: leaf.instances,
            primaries: leaf.primaries,
            flaps_last_hour: leaf.flaps_last_hour,
            vitals: leaf.vitals.map(Into::into),
            in_maintenance: leaf.in_maintenance,
        }
    }
}

impl From<placement_wit::Present> for native::Present {
    fn from(present: placement_wit::Present) -> Self {
        let placement_wit::Present { leaves, primary } = present;
        Self { leaves, primary }
    }
}

impl From<placement_wit::Input> for native::PlacementInput {
    fn from(input: placement_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            database: input.database,
            is_new: input.is_new,
            count_others: input.count_others,
            cells: input.cells.into_iter().map(Into::into).collect(),
            leaves: input.leaves.into_iter().map(Into::into).collect(),
            partitions: input.partitions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<native::PlacementVerdict> for placement_wit::Verdict {
    fn from(verdict: native::PlacementVerdict) -> Self {
        let place = |native::Place { cell, primary }| placement_wit::Place { cell, primary };
        Self { places: verdict.places.into_iter().map(place).collect(), reason: verdict.reason }
    }
}

impl From<maintenance_wit::Purpose> for native::MaintenancePurpose {
    fn from(purpose: maintenance_wit::Purpose) -> Self {
        match purpose {
            maintenance_wit::Purpose::Restart => Self::Restart,
            maintenance_wit::Purpose::Stop => Self::Stop,
            maintenance_wit::Purpose::Start => Self::Start,
        }
    }
}

impl From<maintenance_wit::Maintained> for native::MaintainedNode {
    fn from(node: maintenance_wit::Maintained) -> Self {
        Self {
            node: node.node,
            role: node.role.into(),
            group: node.group,
            is_master: node.is_master,
            is_voter: node.is_voter,
            is_online: node.is_online,
            instances: node.instances,
            primaries: node.primaries,
            last_copies: node.last_copies,
            flaps_last_hour: node.flaps_last_hour,
            in_maintenance: node.in_maintenance,
        }
    }
}

impl From<maintenance_wit::Input> for native::MaintenanceInput {
    fn from(input: maintenance_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            purpose: input.purpose.into(),
            nodes: input.nodes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<native::MaintenanceVerdict> for maintenance_wit::Verdict {
    fn from(verdict: native::MaintenanceVerdict) -> Self {
        let stage = |native::MaintenanceStage { nodes, reason }| maintenance_wit::Stage { nodes, reason };
        Self { stages: verdict.stages.into_iter().map(stage).collect(), reason: verdict.reason }
    }
}

impl From<retry_wit::Input> for native::RetryInput {
    fn from(input: retry_wit::Input) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: input.settings.into_iter().collect(),
            seed: input.seed,
            database: input.database,
            partition: input.partition,
            uncertain: input.uncertain,
            waited_ms: input.waited_ms,
            buffer_ms: input.buffer_ms,
            attempts: input.attempts,
            waiting: input.waiting,
            heirs: input.heirs,
            awaited: input.awaited.map(Into::into),
            last: input.last,
        }
    }
}

impl From<native::RetryVerdict> for retry_wit::Verdict {
    fn from(verdict: native::RetryVerdict) -> Self {
        let choice = match verdict.choice {
            native::RetryChoice::Wait => retry_wit::Choice::Wait,
            native::RetryChoice::Fail => retry_wit::Choice::Fail,
        };
        Self { choice, ask_again_ms: verdict.ask_again_ms, reason: verdict.reason }
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
