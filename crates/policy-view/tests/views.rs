//! Views are read as they are written, and say what would have been decided otherwise.

use baton_model::NodeRole;
use baton_policy::{
    Candidate, Classic, DegradeInput, DetectionInput, ElectionInput, NodeEvidence, PromotionInput, Settings,
};
use baton_policy_view::{Asked, View};

fn silent(node: u64, misses: u32) -> NodeEvidence {
    NodeEvidence { misses, ..NodeEvidence::answering(node, NodeRole::Leaf) }
}

fn detection(misses: u32) -> View {
    let nodes = vec![silent(4, 0), silent(5, misses)];
    let input = DetectionInput { heartbeat_interval_ms: 150, nodes, ..DetectionInput::default() };
    View::Detection(Asked { input, verdict: None })
}

fn election() -> View {
    let input = ElectionInput {
        now_ms: 40_000,
        heartbeat_interval_ms: 150,
        observer_late_ms: 0,
        settings: Settings::new(),
        seed: 1,
        self_node: 2,
        rank: 0,
        election_timeout_ms: 30_000,
        term: 7,
        master: silent(1, 200),
        unled_ms: 30_000,
        voters: Vec::new(),
        campaigns: 0,
        since_last_campaign_ms: None,
        ..Default::default()
    };
    View::Election(Asked { input, verdict: None })
}

fn promotion() -> View {
    let candidate = |node, lsn| Candidate {
        node,
        lsn: Some(lsn),
        group: 2,
        primaries_held: 1,
        last_pong_age_ms: 20,
        rtt_mean_us: 300,
        flaps_last_hour: 0,
        ..Default::default()
    };
    let input = PromotionInput {
        now_ms: 1,
        settings: Settings::new(),
        seed: 2,
        database: "shop".into(),
        partition: 3,
        failed_primary: 4,
        failed_group: 1,
        candidates: vec![candidate(5, 10), candidate(6, 11)],
        ..Default::default()
    };
    View::Promotion(Asked { input, verdict: None })
}

fn degrade() -> View {
    let input = DegradeInput {
        now_ms: 1,
        settings: Settings::new(),
        seed: 2,
        database: "shop".into(),
        partition: 3,
        sync_replica_timeout_ms: 5_000,
        primary: 4,
        primary_group: 1,
        replica_group: 2,
        silent_ms: 6_000,
        linked: false,
        waiting_writes: 3,
        oldest_wait_ms: 900,
        copies_left: 1,
        groups_left: 1,
        replica: silent(5, 4),
        ..Default::default()
    };
    View::Degrade(Asked { input, verdict: None })
}

#[test]
fn a_view_is_read_as_it_is_written() {
    for view in [detection(3), election(), promotion(), degrade()] {
        for view in [view.answered_by(&Classic).unwrap(), view] {
            let json = serde_json::to_string(&view).unwrap();
            assert_eq!(serde_json::from_str::<View>(&json).unwrap(), view, "{json}");
        }
    }
}

/// A line of a cluster's record says more than a view does.
#[test]
fn what_else_a_record_says_is_passed_over() {
    let mut json: serde_json::Value = serde_json::to_value(degrade()).unwrap();
    json["policy"] = "swift".into();
    json["fuel"] = 18_000.into();
    assert_eq!(serde_json::from_value::<View>(json).unwrap(), degrade());
}

#[test]
fn every_decision_point_is_answered_and_named() {
    let decided = |view: View| view.answered_by(&Classic).unwrap().decided();
    let choices = |view: View| {
        decided(view).into_iter().map(|is| format!("{}: {}", is.subject, is.choice)).collect::<Vec<_>>()
    };
    assert_eq!(choices(detection(200)), ["n4: healthy", "n5: failed"]);
    assert_eq!(choices(election()), ["n2: campaign"]);
    assert_eq!(choices(promotion()), ["shop_3: promote n6, then n5"]);
    assert_eq!(choices(degrade()), ["shop_3 on n5: degrade"]);
}

#[test]
fn only_what_is_decided_otherwise_is_a_difference() {
    let before = detection(100).answered_by(&Classic).unwrap();
    assert!(before.differences(&before).is_empty());
    let mut patient = detection(100);
    patient.settings_mut().insert("miss_limit".into(), "100".into());
    let after = patient.answered_by(&Classic).unwrap();
    let told = |before: &View, after: &View| {
        before.differences(after).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&before, &after),
        ["n5: suspect (score 100: 100 misses) → failed (score 100: 100 misses)"]
    );
    // A question that nobody answered cannot be answered otherwise.
    assert!(detection(100).differences(&after).is_empty());
    // A node of which only one of them says anything.
    let View::Detection(mut asked) = before.clone() else { unreachable!() };
    asked.verdict.as_mut().unwrap().retain(|verdict| verdict.node == 5);
    let part = View::Detection(asked);
    assert_eq!(told(&before, &part), ["n4: healthy (score 0: answers) → nothing"]);
    assert_eq!(told(&part, &before), ["n4: nothing → healthy (score 0: answers)"]);
}

/// What is recorded is what was done: a policy that waits for ever is overruled.
#[test]
fn a_verdict_that_no_policy_may_give_is_overruled() {
    struct Never;
    impl baton_policy::Policy for Never {
        fn describe(&self) -> baton_policy::Description {
            Classic.describe()
        }

        fn detect(&self, input: &DetectionInput) -> Vec<baton_policy::NodeVerdict> {
            let mut verdicts = Classic.detect(input);
            verdicts.iter_mut().for_each(|verdict| verdict.health = baton_policy::Health::Healthy);
            verdicts
        }
    }
    let choices = |view: View| view.decided().into_iter().map(|is| is.choice).collect::<Vec<_>>();
    let raw = detection(2_000).answered_by(&Never).unwrap();
    assert_eq!(choices(raw.clone()), ["healthy", "healthy"]);
    assert_eq!(choices(raw.within_ceiling()), ["healthy", "failed"]);
}
