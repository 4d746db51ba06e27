//! Keeps the members of the control group as the catalog says, as the master aggregator.
//!
//! A member that is added has to catch up first, and one that does not answer may take as long as the control group
//! allows. So this is a task of its own: no failover waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, Node};
use baton_consensus::Address;
use baton_model::{AggregatorRole, NodeId};
use tokio::time::sleep;
use tracing::{debug, info};

use super::Aggregator;
use crate::server::wall_clock_ms;

/// Without any news, the members are looked at this often.
const AGAIN: Duration = Duration::from_secs(1);
/// What could not be done is tried again after this.
const SOON: Duration = Duration::from_millis(100);

/// Runs until the node stops; acts only while this node is the master aggregator.
pub async fn keep(aggregator: Arc<Aggregator>) {
    let mut catalogs = aggregator.context.watch_catalog();
    let mut statuses = aggregator.watch_group();
    let mut is_done = true;
    loop {
        tokio::select! {
            changed = catalogs.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            () = sleep(if is_done { AGAIN } else { SOON }) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
        catalogs.borrow_and_update();
        statuses.borrow_and_update();
        if !aggregator.group_status().is_leader {
            continue;
        }
        let reconciled = tokio::select! {
            reconciled = aggregator.reconcile_members() => reconciled,
            () = aggregator.context.shutdown.cancelled() => return,
        };
        is_done = reconciled.is_ok();
        if let Err(error) = reconciled {
            debug!(%error, "the control group's members are not what the catalog says yet");
        }
    }
}

impl Aggregator {
    /// Whether an aggregator that knows of no cluster may be told that it is a member: it never voted, and this master
    /// aggregator has never had it follow.
    pub(super) fn may_be_told(&self, node: NodeId) -> bool {
        self.group().is_some_and(|group| !group.status().voters.contains(&node) && !group.has_followed(node))
    }

    /// With consensus the voting members of the catalog; without, this master aggregator alone.
    fn wanted_voters(&self, catalog: &Catalog) -> BTreeSet<NodeId> {
        if catalog.switch("consensus_enabled") {
            return catalog.aggregators().filter(|node| node.is_voter()).map(|node| node.id).collect();
        }
        BTreeSet::from([self.context.node()])
    }

    /// Who is master aggregator is a voting member, however it came to be it.
    async fn note_own_vote(&self, catalog: &Catalog) -> Result<(), String> {
        let me = self.context.node();
        if catalog.node(me).is_none_or(Node::is_voter) {
            return Ok(());
        }
        let command = Command::SetAggregatorRole { node: me, role: AggregatorRole::VotingMember };
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        self.propose(entry).await.map(drop).map_err(|error| format!("{error:?}"))
    }

    /// Brings the members of the control group to what the catalog says. For the master aggregator.
    ///
    /// What can be done is done, whoever does not follow: a dead voter must go although another newcomer is dead too.
    ///
    /// # Errors
    /// Why some of it could not be done now.
    async fn reconcile_members(&self) -> Result<(), String> {
        let Some(group) = self.group() else { return Ok(()) };
        // Not while the office is handed over: whoever takes it over sees to the members.
        let _alone = self.members.lock().await;
        group.linearize().await.map_err(|error| error.to_string())?;
        let catalog = group.catalog();
        if catalog.cluster().is_none() {
            return Ok(());
        }
        self.note_own_vote(&catalog).await?;
        let catalog = group.catalog();
        let status = group.status();
        let members: BTreeSet<NodeId> = status.voters.union(&status.learners).copied().collect();
        let wanted = self.wanted_voters(&catalog);
        let possible: BTreeSet<NodeId> = wanted
            .iter()
            .copied()
            .filter(|voter| status.voters.contains(voter) || group.follows(*voter))
            .collect();
        let mut undone = None;
        // A change that was begun by a master aggregator that died is finished by asking for its end again.
        if !possible.is_empty() && (possible != status.voters || !status.is_settled) {
            info!(?possible, "changing the voting members");
            group.set_voters(possible.clone()).await.map_err(|error| error.to_string())?;
        }
        for member in members.iter().filter(|member| catalog.node(**member).is_none()) {
            group.remove(*member).await.map_err(|error| error.to_string())?;
        }
        for node in catalog.aggregators().filter(|node| !members.contains(&node.id)) {
            let address = Address { host: node.host.clone(), rpc_port: node.rpc_port };
            if let Err(error) = group.add_learner(node.id, address).await {
                undone = Some(format!("{}: {error}", node.id));
            }
        }
        if undone.is_none() && possible != wanted {
            undone = Some(format!("{:?} do not follow yet", wanted.difference(&possible)));
        }
        undone.map_or(Ok(()), Err)
    }
}
