//! Keeps the members of the control group as the catalog says, as the master aggregator.
//!
//! A member that is added has to catch up first, and one that does not answer may take as long as the control group
//! allows. So this is a task of its own: no failover waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_consensus::Address;
use baton_model::NodeId;
use tokio::time::sleep;
use tracing::{debug, info};

use super::Aggregator;

/// What could not be done is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until the node stops; acts only while this node is the master aggregator.
pub async fn keep(aggregator: Arc<Aggregator>) {
    let mut catalogs = aggregator.context.watch_catalog();
    let mut statuses = aggregator.watch_group();
    loop {
        tokio::select! {
            changed = catalogs.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            () = sleep(AGAIN) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
        let catalog = catalogs.borrow_and_update().clone();
        statuses.borrow_and_update();
        if !aggregator.group_status().is_leader || catalog.cluster().is_none() {
            continue;
        }
        let reconciled = tokio::select! {
            reconciled = aggregator.reconcile_members(&catalog) => reconciled,
            () = aggregator.context.shutdown.cancelled() => return,
        };
        if let Err(error) = reconciled {
            debug!(%error, "the control group's members are not what the catalog says yet");
            sleep(AGAIN).await;
        }
    }
}

impl Aggregator {
    /// Whether an aggregator that knows of no cluster may be told that it is a member: it never voted, and this master
    /// aggregator has never had it follow.
    pub(super) fn may_be_told(&self, node: NodeId) -> bool {
        self.group().is_some_and(|group| !group.status().voters.contains(&node) && !group.has_followed(node))
    }

    /// Brings the members of the control group to what the catalog says. For the master aggregator.
    ///
    /// # Errors
    /// Why it could not be done now.
    async fn reconcile_members(&self, catalog: &Catalog) -> Result<(), String> {
        let Some(group) = self.group() else { return Ok(()) };
        let status = group.status();
        let members: BTreeSet<NodeId> = status.voters.union(&status.learners).copied().collect();
        let mut lagging = None;
        for node in catalog.aggregators().filter(|node| !members.contains(&node.id)) {
            let address = Address { host: node.host.clone(), rpc_port: node.rpc_port };
            if let Err(error) = group.add_learner(node.id, address).await {
                lagging = Some(error.to_string());
            }
        }
        let voters: BTreeSet<NodeId> =
            catalog.aggregators().filter(|node| node.is_voter()).map(|node| node.id).collect();
        // A change that was begun by a master aggregator that died is finished by asking for its end again.
        if !voters.is_empty() && (voters != status.voters || !status.is_settled) {
            info!(?voters, "changing the voting members");
            group.set_voters(voters).await.map_err(|error| error.to_string())?;
        }
        let gone = members.iter().filter(|member| catalog.node(**member).is_none());
        for member in gone {
            group.remove(*member).await.map_err(|error| error.to_string())?;
        }
        lagging.map_or(Ok(()), Err)
    }
}
