//! What the cluster recorded about a fault: evidence and verdict from its decisions, what it did from its events.

use std::time::Duration;

use anyhow::Result;
use baton_tests::view::{Decision, Event};
use baton_tests::{Cluster, Moment, wait_until};
use serde_json::Value;

use crate::script::{Kind, Script};

/// The first event of a kind after a moment whose text holds this.
pub async fn event(
    cluster: &Cluster,
    kind: &str,
    about: &str,
    from: Moment,
    bound: Duration,
) -> Result<Event> {
    wait_until(&format!("{kind} of {about}"), bound, async || {
        let events = cluster.any_aggregator().await?.events_since(from).await?;
        Ok(events.into_iter().find(|event| event.kind == kind && event.details.contains(about)))
    })
    .await
}

/// The first decision at a point after a moment that is about this; none if there is none within the bound.
pub async fn decision(cluster: &Cluster, point: &str, about: &str, from: Moment) -> Option<Decision> {
    let found = wait_until("the decision is recorded", Duration::from_secs(3), async || {
        let decisions = cluster.any_aggregator().await?.decisions_since(from).await?;
        Ok(decisions.into_iter().find(|decision| decision.point == point && decision.subject.contains(about)))
    });
    found.await.ok()
}

/// Tells the evidence and the verdict of a decision.
pub fn tell(script: &mut Script, decision: &Decision, node: Option<u64>) {
    if let Some(evidence) = evidence_of(decision, node) {
        script.at(decision.at, Kind::Evidence, evidence);
    }
    let fallback = if decision.fallback.is_empty() {
        String::new()
    } else {
        format!(", instead: {}", decision.fallback)
    };
    script.at(
        decision.at,
        Kind::Verdict,
        format!(
            "{}: {} — {} ({} by {}{fallback})",
            decision.subject, decision.verdict, decision.reason, decision.point, decision.policy
        ),
    );
}

/// What the policy was shown of a node, from the recorded input.
fn evidence_of(decision: &Decision, node: Option<u64>) -> Option<String> {
    let input: Value = serde_json::from_str(&decision.input).ok()?;
    let seen = match &input["master"] {
        Value::Null => input["nodes"].as_array()?.iter().find(|seen| seen["node"].as_u64() == node)?,
        master => master,
    };
    let count = |field: &str| seen[field].as_u64().unwrap_or_default();
    let mut parts = vec![format!("{} pings missed", count("misses"))];
    for (field, words) in [("refusals", "connections refused"), ("timeouts", "connection attempts timed out")]
    {
        if count(field) > 0 {
            parts.push(format!("{} {words}", count(field)));
        }
    }
    if seen["connection_lost"] == true {
        parts.push("connection lost".to_owned());
    }
    let witnesses = seen["witnesses"].as_array().map_or(0, |witnesses| {
        let agree = |witness: &&Value| {
            witness["misses"].as_u64().unwrap_or_default() > 0
                || witness["refusals"].as_u64().unwrap_or_default() > 0
        };
        witnesses.iter().filter(agree).count()
    });
    if witnesses > 0 {
        parts.push(format!("{witnesses} other nodes hear nothing either"));
    }
    Some(parts.join(", "))
}
