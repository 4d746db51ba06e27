//! What this node measures, as Prometheus reads it.

use std::sync::Arc;

use axum::extract::State;

use crate::context::Context;
use crate::server::{Role, Server};

/// Prometheus text.
pub async fn metrics(State(server): State<Arc<Server>>) -> String {
    let context: &Context = &server.context;
    let catalog = context.catalog();
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        text.push_str(&format!(
            "# HELP baton_{name} {help}\n# TYPE baton_{name} gauge\nbaton_{name} {value}\n"
        ));
    };
    gauge("catalog_index", "Version of the catalog that this node has.", catalog.index().0);
    let online = catalog.nodes().filter(|node| node.is_online()).count() as u64;
    gauge("nodes_online", "Nodes that the catalog counts on.", online);
    gauge("nodes", "Nodes of the cluster.", catalog.nodes().count() as u64);
    let unserved = catalog.partitions().filter(|p| catalog.serving(p.id).is_none()).count() as u64;
    gauge("partitions_offline", "Partitions without a primary that serves.", unserved);
    let held = catalog.quarantines().count() as u64;
    gauge("policies_quarantined", "Policies that are not asked because they failed again and again.", held);
    match &server.role {
        Role::Aggregator(aggregator) => {
            let status = aggregator.group_status();
            gauge(
                "master_aggregator",
                "1 if this node is the master aggregator.",
                u64::from(status.is_leader),
            );
            gauge(
                "decisions_left_out",
                "Decisions of policies that were not written down because the disk was too slow.",
                aggregator.decisions_left_out(),
            );
            gauge("control_term", "Term of the control group.", status.term);
            gauge("control_log_index", "Last index of the control group's log.", status.last_log_index);
        }
        Role::Leaf(leaf) => {
            let instances = leaf.status();
            let serving = instances.iter().filter(|instance| instance.serving).count() as u64;
            gauge("instances", "Instances of partitions on this leaf.", instances.len() as u64);
            gauge("primaries_serving", "Instances that serve clients.", serving);
            gauge("apply_backlog_records", "Committed records that are not applied.", leaf.apply_backlog());
            gauge("last_sync_microseconds", "How long the last sync to disk took.", leaf.last_sync_us());
        }
    }
    text
}
