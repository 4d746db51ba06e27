//! When a voting member without a master aggregator campaigns: `baton_failover::Campaigner` says, at every news.

use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Decision as Record};
use baton_failover::{Call, Campaigner, Elector, Standing};
use baton_model::NodeId;
use baton_policy::{DecisionPoint, ElectionInput, ElectionVerdict};
use baton_policy_host::{Decider, Decision};
use tokio::time::sleep;
use tracing::{debug, info};

use super::Aggregator;
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
        };
        let catalog = aggregator.context.catalog();
        let mut elector = AskPolicy { decider: &aggregator.decider, asked: None };
        let call = campaigner.look(clock.now(), standing, &catalog, &latest.observation, &mut elector);
        let Some(call) = call else {
            if let Some((_, decision)) = elector.asked {
                debug!(reason = decision.verdict.reason, "no campaign");
            }
            continue;
        };
        let record = record(me, &catalog, call, elector.asked);
        info!(reason = record.reason, policy = record.policy, term = status.term, "campaigning");
        aggregator.keep_campaign(record);
        aggregator.campaign().await;
    }
}

/// Asks the bound `election` policy, and keeps what was decided.
struct AskPolicy<'a> {
    decider: &'a Decider,
    asked: Option<(ElectionInput, Decision<ElectionVerdict>)>,
}

impl Elector for AskPolicy<'_> {
    fn elect(&mut self, input: &ElectionInput) -> ElectionVerdict {
        let mut input = input.clone();
        let decision = self.decider.decide_election(&mut input);
        let verdict = decision.verdict.clone();
        self.asked = Some((input, decision));
        verdict
    }
}

fn record(
    me: NodeId,
    catalog: &Catalog,
    call: Call,
    asked: Option<(ElectionInput, Decision<ElectionVerdict>)>,
) -> Record {
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
        Call::Policy { master, reason } => {
            let record = Record {
                subject: format!("master aggregator {}", catalog.address_of(master)),
                reason,
                ..record
            };
            let Some((input, decision)) = asked else { return record };
            Record {
                policy: decision.module,
                hash: decision.hash,
                input: serde_json::to_string(&input).unwrap_or_default(),
                fuel: decision.stats.fuel,
                micros: decision.stats.micros,
                fallback: decision.fallback.unwrap_or_default(),
                ..record
            }
        }
    }
}
