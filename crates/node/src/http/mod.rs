//! What monitoring and load balancers ask: is this node alive, what is it, what happened.

mod health;
mod metrics;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use baton_model::limits::HTTP_CONNECTIONS_MAX;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::warn;

use crate::bounded_listener::BoundedListener;
use crate::server::Server;

/// Serves until the node stops.
pub async fn serve(listener: TcpListener, server: Arc<Server>) {
    let shutdown = server.context.shutdown.clone();
    let router = Router::new()
        .merge(health::routes())
        .route("/metrics", get(metrics::metrics))
        .route("/events", get(events))
        .with_state(server);
    let listener = BoundedListener::new(listener, HTTP_CONNECTIONS_MAX);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        warn!(%error, "the HTTP listener has ended");
    }
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
