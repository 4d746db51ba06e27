//! What a load balancer asks: is this node alive, and what is it now. 200 for yes and 503 for no, both with the same
//! body, which says why not.
//!
//! Not here: anything that waits. What is answered is what this node knows at this moment; a node that is cut off from the
//! others says what was so when it heard of them last, but never that it is the master aggregator.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::server::{Role, Server, wall_clock_ms};

/// One path for each question.
pub fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/healthz", get(async |State(server): State<Arc<Server>>| answer(&server, Question::Healthy)))
        .route("/master", get(async |State(server): State<Arc<Server>>| answer(&server, Question::Master)))
        .route("/voting", get(async |State(server): State<Arc<Server>>| answer(&server, Question::Voting)))
        .route(
            "/aggregator",
            get(async |State(server): State<Arc<Server>>| answer(&server, Question::Aggregator)),
        )
        .route("/leaf", get(async |State(server): State<Arc<Server>>| answer(&server, Question::Leaf)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Is it in a cluster, and does it know the catalog?
    Healthy,
    /// Is it the master aggregator?
    Master,
    /// Does it count for the majority of the control group?
    Voting,
    /// Is it an aggregator that the cluster counts on?
    Aggregator,
    /// Is it a leaf that the cluster counts on?
    Leaf,
}

fn answer(server: &Server, question: Question) -> (StatusCode, Json<Value>) {
    let context = &server.context;
    let catalog = context.catalog();
    let own = catalog.node(context.node());
    let group = match &server.role {
        Role::Aggregator(aggregator) => Some(aggregator.group_status()),
        Role::Leaf(_) => None,
    };
    let is_master = group.as_ref().is_some_and(|group| group.is_leader);
    let has_vote = group.as_ref().is_some_and(|group| group.voters.contains(&context.node()));
    let why_not = match question {
        _ if catalog.cluster().is_none() => Some("it is in no cluster, or does not know its catalog yet"),
        Question::Healthy => None,
        Question::Leaf if group.is_some() => Some("it is an aggregator"),
        Question::Master | Question::Voting | Question::Aggregator if group.is_none() => Some("it is a leaf"),
        Question::Master => (!is_master).then_some("it is not the master aggregator"),
        Question::Voting => (!has_vote).then_some("it has no vote"),
        Question::Aggregator | Question::Leaf => match own {
            None => Some("the cluster does not know it any more"),
            Some(own) => (!own.is_online()).then_some("the cluster does not count on it"),
        },
    };
    let role = match (is_master, &group) {
        (true, _) => "Master",
        (false, Some(_)) => "Aggregator",
        (false, None) => "Leaf",
    };
    let master = group.as_ref().and_then(|group| group.leader).map(|leader| catalog.address_of(leader));
    let body = json!({
        "node": context.node().0,
        "role": role,
        "votingMember": has_vote,
        "state": own.map(|own| own.state.to_string()),
        "ready": why_not.is_none(),
        "whyNot": why_not,
        "master": master,
        "catalogIndex": catalog.index().0,
        "nowMs": wall_clock_ms(),
        "freeDiskBytes": context.pulse.vitals().free_disk_bytes,
        "cluster": catalog.cluster().map(|cluster| cluster.to_string()),
    });
    let code = if why_not.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body))
}
