//! The host's side of the WIT interface: generated types, and the conversions to and from `baton-policy`; those of
//! `detection` are in `columns`.

use baton_model::NodeRole;
use baton_policy as native;

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    wasmtime::component::bindgen!({
        world: "policy",
        path: "../../policies/wit/v0_1",
    });
}

pub(crate) use generated::baton::policy::{log, types};
pub(crate) use generated::exports::baton::policy::{
    degrade, detection, election, maintenance, manifest, placement, promotion, rejoin, retry,
};

/// The version of the interface, as components export and import it.
pub(crate) const VERSION: &str = "0.1.0";
/// All that a component may import. `types` has no functions.
pub(crate) const IMPORTS: [&str; 2] = ["baton:policy/log@0.1.0", "baton:policy/types@0.1.0"];

pub(crate) fn settings(settings: &native::Settings) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl From<NodeRole> for types::Role {
    fn from(role: NodeRole) -> Self {
        match role {
            NodeRole::Aggregator => Self::Aggregator,
            NodeRole::Leaf => Self::Leaf,
        }
    }
}

impl From<native::Health> for types::Health {
    fn from(health: native::Health) -> Self {
        match health {
            native::Health::Healthy => Self::Healthy,
            native::Health::Suspect => Self::Suspect,
            native::Health::Failed => Self::Failed,
        }
    }
}

impl From<types::Health> for native::Health {
    fn from(health: types::Health) -> Self {
        match health {
            types::Health::Healthy => Self::Healthy,
            types::Health::Suspect => Self::Suspect,
            types::Health::Failed => Self::Failed,
        }
    }
}

impl From<native::Vitals> for types::Vitals {
    fn from(vitals: native::Vitals) -> Self {
        let native::Vitals { loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes } = vitals;
        Self { loop_delay_ms, fsync_ms, syncing_ms, apply_backlog, free_disk_bytes }
    }
}

impl From<native::Witness> for types::Witness {
    fn from(witness: native::Witness) -> Self {
        let native::Witness { observer, misses, refusals, timeouts, age_ms } = witness;
        Self { observer, misses, refusals, timeouts, age_ms }
    }
}

impl From<&native::NodeEvidence> for types::Evidence {
    fn from(evidence: &native::NodeEvidence) -> Self {
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
            pong_intervals_ms: evidence.pong_intervals_ms.to_vec(),
            vitals: evidence.vitals.map(Into::into),
            witnesses: evidence.witnesses.iter().copied().map(Into::into).collect(),
            flaps_last_hour: evidence.flaps_last_hour,
            in_maintenance: evidence.in_maintenance,
            previous: evidence.previous.into(),
            memory: evidence.memory.clone(),
        }
    }
}

impl From<native::VoterView> for election::Voter {
    fn from(voter: native::VoterView) -> Self {
        let native::VoterView { node, reachable, sees_master, log_index, last_pong_age_ms, vitals } = voter;
        Self { node, reachable, sees_master, log_index, last_pong_age_ms, vitals: vitals.map(Into::into) }
    }
}

impl From<&native::ElectionInput> for election::Input {
    fn from(input: &native::ElectionInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            heartbeat_interval_ms: input.heartbeat_interval_ms,
            observer_late_ms: input.observer_late_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            self_node: input.self_node,
            self_vitals: input.self_vitals.into(),
            rank: input.rank,
            election_timeout_ms: input.election_timeout_ms,
            term: input.term,
            master: (&input.master).into(),
            voters: input.voters.iter().copied().map(Into::into).collect(),
            campaigns: input.campaigns,
            since_last_campaign_ms: input.since_last_campaign_ms,
            unled_ms: input.unled_ms,
        }
    }
}

impl From<election::Verdict> for native::ElectionVerdict {
    fn from(verdict: election::Verdict) -> Self {
        let choice = match verdict.choice {
            election::Choice::Wait => native::ElectionChoice::Wait,
            election::Choice::Campaign => native::ElectionChoice::Campaign,
        };
        Self { choice, reason: verdict.reason }
    }
}

impl From<&native::Candidate> for promotion::Candidate {
    fn from(candidate: &native::Candidate) -> Self {
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

impl From<&native::PromotionInput> for promotion::Input {
    fn from(input: &native::PromotionInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            database: input.database.clone(),
            partition: input.partition,
            failed_primary: input.failed_primary,
            failed_group: input.failed_group,
            candidates: input.candidates.iter().map(Into::into).collect(),
        }
    }
}

impl From<promotion::Verdict> for native::PromotionVerdict {
    fn from(verdict: promotion::Verdict) -> Self {
        let promotion::Verdict { ranking, reason, rejected } = verdict;
        Self { ranking, reason, rejected }
    }
}

impl From<&native::DegradeInput> for degrade::Input {
    fn from(input: &native::DegradeInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            database: input.database.clone(),
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
            replica: (&input.replica).into(),
        }
    }
}

impl From<degrade::Verdict> for native::DegradeVerdict {
    fn from(verdict: degrade::Verdict) -> Self {
        let choice = match verdict.choice {
            degrade::Choice::Wait => native::DegradeChoice::Wait,
            degrade::Choice::Degrade => native::DegradeChoice::Degrade,
        };
        Self { choice, reason: verdict.reason }
    }
}

impl From<&native::RejoinInput> for rejoin::Input {
    fn from(input: &native::RejoinInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            leaf: (&input.leaf).into(),
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

impl From<rejoin::Verdict> for native::RejoinVerdict {
    fn from(verdict: rejoin::Verdict) -> Self {
        let choice = match verdict.choice {
            rejoin::Choice::Attach => native::RejoinChoice::Attach,
            rejoin::Choice::Later => native::RejoinChoice::Later,
            rejoin::Choice::Refuse => native::RejoinChoice::Refuse,
        };
        Self { choice, left_ms: verdict.left_ms, reason: verdict.reason }
    }
}

impl From<&native::Cell> for placement::Cell {
    fn from(cell: &native::Cell) -> Self {
        Self { leaves: cell.leaves.clone(), heads: cell.heads.clone() }
    }
}

impl From<&native::LeafLoad> for placement::LeafLoad {
    fn from(leaf: &native::LeafLoad) -> Self {
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

impl From<&native::Present> for placement::Present {
    fn from(present: &native::Present) -> Self {
        Self { leaves: present.leaves.clone(), primary: present.primary }
    }
}

impl From<&native::PlacementInput> for placement::Input {
    fn from(input: &native::PlacementInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            database: input.database.clone(),
            is_new: input.is_new,
            count_others: input.count_others,
            cells: input.cells.iter().map(Into::into).collect(),
            leaves: input.leaves.iter().map(Into::into).collect(),
            partitions: input.partitions.iter().map(Into::into).collect(),
        }
    }
}

impl From<placement::Verdict> for native::PlacementVerdict {
    fn from(verdict: placement::Verdict) -> Self {
        let place = |placement::Place { cell, primary }| native::Place { cell, primary };
        Self { places: verdict.places.into_iter().map(place).collect(), reason: verdict.reason }
    }
}

impl From<native::MaintenancePurpose> for maintenance::Purpose {
    fn from(purpose: native::MaintenancePurpose) -> Self {
        match purpose {
            native::MaintenancePurpose::Restart => Self::Restart,
            native::MaintenancePurpose::Stop => Self::Stop,
            native::MaintenancePurpose::Start => Self::Start,
        }
    }
}

impl From<native::MaintainedNode> for maintenance::Maintained {
    fn from(node: native::MaintainedNode) -> Self {
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

impl From<&native::MaintenanceInput> for maintenance::Input {
    fn from(input: &native::MaintenanceInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            purpose: input.purpose.into(),
            nodes: input.nodes.iter().copied().map(Into::into).collect(),
        }
    }
}

impl From<maintenance::Verdict> for native::MaintenanceVerdict {
    fn from(verdict: maintenance::Verdict) -> Self {
        let stage = |maintenance::Stage { nodes, reason }| native::MaintenanceStage { nodes, reason };
        Self { stages: verdict.stages.into_iter().map(stage).collect(), reason: verdict.reason }
    }
}

impl From<&native::RetryInput> for retry::Input {
    fn from(input: &native::RetryInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            database: input.database.clone(),
            partition: input.partition,
            uncertain: input.uncertain,
            waited_ms: input.waited_ms,
            buffer_ms: input.buffer_ms,
            attempts: input.attempts,
            waiting: input.waiting,
            heirs: input.heirs,
            awaited: input.awaited.as_ref().map(Into::into),
            last: input.last.clone(),
        }
    }
}

impl From<retry::Verdict> for native::RetryVerdict {
    fn from(verdict: retry::Verdict) -> Self {
        let choice = match verdict.choice {
            retry::Choice::Wait => native::RetryChoice::Wait,
            retry::Choice::Fail => native::RetryChoice::Fail,
        };
        Self { choice, ask_again_ms: verdict.ask_again_ms, reason: verdict.reason }
    }
}

impl From<manifest::Description> for native::Description {
    fn from(description: manifest::Description) -> Self {
        let manifest::Description { name, version, settings } = description;
        let settings = settings
            .into_iter()
            .map(|manifest::Setting { name, default, doc }| native::SettingDoc { name, default, doc })
            .collect();
        Self { name, version, settings }
    }
}
