//! How a member stands in the group.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_model::NodeId;
use openraft::Instant;

use crate::server::LeaderHeard;
use crate::types::Metrics;

/// How a member stands in the group, as far as it knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Whether it leads, and a majority has confirmed it within the lease: nobody else can lead now (S10).
    /// A new leader should [`crate::ControlGroup::linearize`] before it acts on the catalog.
    pub is_leader: bool,
    /// Who leads. A member that nobody tells goes on naming the last one; a leader without its majority names nobody.
    pub leader: Option<NodeId>,
    /// The term. It goes up with every election and has at most one leader.
    pub term: u64,
    /// The index of the last entry in its log; 0 if there is none.
    pub last_log_index: u64,
    /// The index of the last entry that it has applied, those that hold nothing for the catalog included.
    pub applied_index: u64,
    /// Who counts for the majority. While members change, all of the old and the new ones.
    pub voters: BTreeSet<NodeId>,
    /// Whether no change of members is under way: the ones named here are what a majority has committed.
    /// Until then, whoever was to go may still be needed for a majority.
    pub is_settled: bool,
    /// Who follows only.
    pub learners: BTreeSet<NodeId>,
    /// Of a leader with others beside it: how long ago a majority last confirmed it, in milliseconds.
    /// Moves all the time, and is no reason for [`crate::ControlGroup::watch_status`] to wake anybody.
    pub quorum_acked_age_ms: Option<u64>,
    /// How long ago this member was last led: it heard from its leader, or leads itself. 0 for a leader; counted from its
    /// start where nobody was heard since. Moves all the time, as the one above.
    pub unled_ms: u64,
    /// Why the member has stopped: its disk failed, or it was shut down. It does nothing any more, and the node must
    /// stop too.
    pub fault: Option<String>,
}

impl Status {
    pub(crate) fn of(metrics: &Metrics, lease: Duration, heard: &LeaderHeard) -> Self {
        let members = &metrics.membership_config;
        let voters = Self::of_voters(metrics);
        let leads = metrics.state.is_leader();
        let alone = voters.len() == 1 && voters.contains(&NodeId(metrics.id));
        let age = metrics.last_quorum_acked.filter(|_| leads && !alone).map(|acked| acked.elapsed());
        let fault = metrics.running_state.as_ref().err().map(ToString::to_string);
        let is_leader = leads && fault.is_none() && (alone || age.is_some_and(|age| age < lease));
        let leader = metrics.current_leader.filter(|leader| is_leader || *leader != metrics.id).map(NodeId);
        Self {
            is_leader,
            leader,
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |last| last.index),
            is_settled: members.membership().get_joint_config().len() == 1
                && members.log_id().as_ref().map(|id| id.index)
                    <= metrics.last_applied.as_ref().map(|id| id.index),
            learners: members.membership().learner_ids().map(NodeId).collect(),
            voters,
            unled_ms: if is_leader { 0 } else { milliseconds(heard.age()) },
            quorum_acked_age_ms: age.map(milliseconds),
            fault,
        }
    }

    pub(crate) fn of_voters(metrics: &Metrics) -> BTreeSet<NodeId> {
        metrics.membership_config.voter_ids().map(NodeId).collect()
    }

    /// Whether a watcher should be woken for the way from `self` to `next`.
    pub(crate) fn differs(&self, next: &Self) -> bool {
        let without_age = |status: &Self| Self { quorum_acked_age_ms: None, unled_ms: 0, ..status.clone() };
        without_age(self) != without_age(next)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
