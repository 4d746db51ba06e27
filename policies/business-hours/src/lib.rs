//! Your first policy: twice as quick as classic in business hours, half as quick outside them.
//!
//! By day somebody feels every second of a failover. By night batches keep leaves so busy that they answer late, and a
//! failover that nobody needed costs more than patience does. A refused connection is no late answer, though: the
//! process is gone, and about that the night is no slower than classic.
//!
//! Not here: the hour. The clock of an input counts from the start of the process that asks: each node has another, and
//! a restart begins it anew. Whoever has a calendar, such as cron, sets `open` to 1 in the morning and to 0 at night.

use baton_policy_sdk::{
    Classic, DegradeInput, DegradeVerdict, Description, DetectionInput, Health, NodeEvidence, NodeVerdict,
    NumberSetting, Policy, Settings, export_policy,
};

/// Whether these are business hours. A setting is declared once: this is its documentation, its check and its default.
const OPEN: NumberSetting =
    NumberSetting { name: "open", default: 1, range: 0..=1, doc: "1 in business hours, 0 outside them." };
/// How patient to be by day. At 10, a node has failed after 3 s of silence; less would take a hiccup for a death.
const OPEN_PERCENT: NumberSetting = NumberSetting {
    name: "open_percent",
    default: 50,
    range: 10..=100,
    doc: "How long to wait in business hours, in percent of what classic does.",
};
/// How patient to be by night. Beyond 300 a replica would not be waited for anyway, whatever a policy says.
const CLOSED_PERCENT: NumberSetting = NumberSetting {
    name: "closed_percent",
    default: 200,
    range: 100..=300,
    doc: "How long to wait outside business hours, in percent of what classic does.",
};

/// The policy. It has no fields: each call makes it anew, so there is nothing that it could keep in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BusinessHours;

// `elect` and `promote` are not written here; the trait answers them as classic does.
impl Policy for BusinessHours {
    // Asked once, when the policy is loaded. By this name it is bound: SET POLICY ALL = 'business-hours'.
    fn describe(&self) -> Description {
        Description {
            name: "business-hours".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: vec![OPEN.doc(), OPEN_PERCENT.doc(), CLOSED_PERCENT.doc()],
        }
    }

    // Asked when an operator sets something. An `Err` is what the operator reads, and then nothing is bound.
    fn check(&self, settings: &Settings) -> Result<(), String> {
        [OPEN, OPEN_PERCENT, CLOSED_PERCENT].iter().try_for_each(|setting| setting.check(settings))
    }

    // Asked at every tick, 150 ms apart: one verdict for each node, no more and no fewer.
    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        input.nodes.iter().map(|node| judge(node, &input.settings)).collect()
    }

    // Asked every half a second for a replica that a primary waits for. To degrade it costs redundancy, never a write.
    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        let (due_ms, when) = patience(input.sync_replica_timeout_ms, &input.replica, &input.settings);
        let reason = format!("it acknowledged nothing for {} ms of {due_ms} ms {when}", input.silent_ms);
        if input.silent_ms >= due_ms { DegradeVerdict::degrade(reason) } else { DegradeVerdict::wait(reason) }
    }
}

/// What is thought of one node.
fn judge(node: &NodeEvidence, settings: &Settings) -> NodeVerdict {
    // 1 for a missed ping, 60 for an attempt to connect that failed; at 200 classic, of no settings, says failed.
    let (score, classic_limit) = Classic::score(node, &Settings::new());
    let (limit, when) = patience(classic_limit, node, settings);
    // Nothing is done about a suspect node; that there is one is to be seen in SHOW LEAVES before anything happens.
    let counted = match (score >= limit, score.saturating_mul(2) >= limit) {
        (true, _) => Health::Failed,
        (false, true) => Health::Suspect,
        (false, false) => Health::Healthy,
    };
    NodeVerdict {
        node: node.node,
        // Who has failed stays failed until it is really heard again, and who is under maintenance does not fail.
        health: node.settle(counted),
        // For people, at three in the morning: what was counted, against what, and why that.
        reason: format!("score {score} of {limit} {when}: {}", node.counts()).into(),
        // What is written here comes back at the next tick as `node.memory`. There is nothing to remember.
        memory: Vec::new(),
    }
}

/// What becomes of a limit of classic's at this hour, and which hour that is, for the reason.
fn patience(classic: u64, node: &NodeEvidence, settings: &Settings) -> (u64, &'static str) {
    // `read` gives the default where nothing is set. A product that saturates is no panic, whatever was put in.
    let percent_of = |setting: NumberSetting| classic.saturating_mul(setting.read(settings).into()) / 100;
    match OPEN.read(settings) {
        1 => (percent_of(OPEN_PERCENT), "in business hours"),
        _ if node.refusals > 0 => (classic, "as it refuses connections"),
        _ => (percent_of(CLOSED_PERCENT), "outside business hours"),
    }
}

// What is named here can be bound to this policy, and nothing else. Outside WASM, as in tests, it does nothing.
export_policy!(BusinessHours: detection, degrade);
