//! When a voting member without a master aggregator campaigns: `baton_failover::Campaigner` says, at every news.

use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Decision as Record};
use baton_failover::{Call, Campaigner, Standing, vitals};
use baton_model::NodeId;
use baton_policy::DecisionPoint;
use tokio::time::sleep;
use tracing::{debug, info};

use super::Aggregator;
use super::asking::Asking;
use crate::server::wall_clock_ms;

/// How often the state is looked at without any news.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs until the node stops.
pub async fn campaign_when_told(aggregator: Arc<Aggregator>) {
    let mut judged = aggregator.judged();
    let mut statuses = aggregator.watch_group();
    let clock = aggregator.context.clock;
    let mut campaigner = Campaigner::new(clock.now());
    loop {
        tokio::select! {
            changed = judged.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            () = sleep(LOOK_AGAIN) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
        statuses.borrow_and_update();
        let status = aggregator.group_status();
        let latest = judged.borrow_and_update().clone();
        let me = aggregator.context.node();
        let standing = Standing {
            me,
            is_leader: status.is_leader,
            leader: status.leader,
            term: status.term,
            voters: &status.voters,
            unled_ms: status.unled_ms,
            log_index: aggregator.log_index(),
            vitals: vitals(&aggregator.context.pulse.vitals()),
        };
        let catalog = aggregator.context.catalog();
        let mut asking = Asking::new(&aggregator, &catalog);
        let seen = &latest.observation;
        let call = campaigner.look(clock.now(), standing, &catalog, seen, &latest.known, &mut asking);
        let asked = asking.records.pop();
        let Some(call) = call else {
            if let Some(record) = asked {
                debug!(reason = record.reason, "no campaign");
            }
            continue;
        };
        let record = record(me, &catalog, call, asked);
        info!(reason = record.reason, policy = record.policy, term = status.term, "campaigning");
        aggregator.keep_campaign(record);
        aggregator.campaign().await;
    }
}

/// What the catalog keeps of a campaign, of which a policy may have been asked.
fn record(me: NodeId, catalog: &Catalog, call: Call, asked: Option<Record>) -> Record {
    let record = Record {
        id: 0,
        at_ms: wall_clock_ms(),
        node: me,
        decision_point: DecisionPoint::Election.to_string(),
        subject: "control group".into(),
        verdict: "campaign".into(),
        reason: String::new(),
        policy: String::new(),
        hash: String::new(),
        input: String::new(),
        answer: String::new(),
        fuel: 0,
        micros: 0,
        fallback: String::new(),
    };
    match call {
        Call::StartUp { reason } => Record { reason, policy: "start-up".into(), ..record },
        Call::Ceiling { reason } => Record { reason, policy: "ceiling".into(), ..record },
        Call::Policy { master, reason } => Record {
            subject: format!("master aggregator {}", catalog.address_of(master)),
            reason,
            verdict: record.verdict.clone(),
            ..asked.unwrap_or(record)
        },
    }
}
