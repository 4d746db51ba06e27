//! What monitoring asks: is this node alive, what is it, what happened.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use baton_model::NodeRole;
use baton_model::limits::HTTP_CONNECTIONS_MAX;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::warn;

use crate::bounded_listener::BoundedListener;
use crate::context::Context;
use crate::server::{Role, Server};

/// Serves until the node stops.
pub async fn serve(listener: TcpListener, server: Arc<Server>) {
    let shutdown = server.context.shutdown.clone();
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/events", get(events))
        .with_state(server);
    let listener = BoundedListener::new(listener, HTTP_CONNECTIONS_MAX);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        warn!(%error, "the HTTP listener has ended");
    }
}

/// 200 if the node is in a cluster and knows its catalog, else 503; both with what it is.
async fn health(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let context = &server.context;
    let catalog = context.catalog();
    let ready = catalog.cluster().is_some();
    let role = match &server.role {
        Role::Aggregator(aggregator) if aggregator.group_status().is_leader => "Master",
        _ if context.config.role == NodeRole::Aggregator => "Aggregator",
        _ => "Leaf",
    };
    let body = json!({
        "node": context.node().0,
        "role": role,
        "ready": ready,
        "catalogIndex": catalog.index().0,
        "cluster": catalog.cluster().map(|cluster| cluster.to_string()),
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// Prometheus text.
async fn metrics(State(server): State<Arc<Server>>) -> String {
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

/// The events that the catalog keeps, oldest first.
async fn events(State(server): State<Arc<Server>>) -> Json<Value> {
    let catalog = server.context.catalog();
    let events: Vec<Value> = catalog
        .events()
        .map(|event| {
            json!({
                "id": event.id,
                "atMs": event.at_ms,
                "severity": event.severity.to_string(),
                "type": event.event_type,
                "node": event.node.map(|node| node.0),
                "details": event.details,
            })
        })
        .collect();
    Json(Value::Array(events))
}
