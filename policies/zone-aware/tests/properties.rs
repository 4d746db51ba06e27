//! What holds of zone-aware for every input.

use baton_model::NodeRole;
use baton_policy::{
    Candidate, Classic, ElectionChoice, ElectionInput, NodeEvidence, Policy, PromotionInput, Settings,
    VoterView, validate_election, validate_promotion,
};
use baton_policy_zone_aware::ZoneAware;
use proptest::prelude::*;

fn settings(pairs: &[(&str, String)]) -> Settings {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

prop_compose! {
    fn candidate()(
        lsn in proptest::option::of(prop_oneof![0_u64..4, Just(u64::MAX)]),
        group in prop_oneof![0_u32..4, Just(u32::MAX)],
        primaries_held in 0_u32..4,
    ) -> Candidate {
        Candidate {
            node: 0, lsn, group, primaries_held,
            last_pong_age_ms: 0, rtt_mean_us: 0, flaps_last_hour: 0,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn promotion()(
        nodes in proptest::collection::btree_map(prop_oneof![1_u64..40, u64::MAX - 20..=u64::MAX], candidate(), 1..30),
        preferred in prop_oneof![0_u32..4, Just(u32::MAX)],
    ) -> PromotionInput {
        PromotionInput {
            now_ms: 0,
            settings: settings(&[("preferred_group", preferred.to_string())]),
            seed: 0,
            database: "db".to_owned(),
            partition: 0,
            failed_primary: 0,
            failed_group: 1,
            candidates: nodes.into_iter().map(|(node, candidate)| Candidate { node, ..candidate }).collect(),
            ..Default::default()
        }
    }
}

prop_compose! {
    fn election()(
        misses in 0_u32..400,
        unled_ms in 0_u64..70_000,
        rank in 0_u32..6,
        election_timeout_ms in prop_oneof![100_u64..40_000, Just(u64::MAX)],
        voters in proptest::collection::btree_map(prop_oneof![3_u64..8, Just(u64::MAX)], any::<bool>(), 0..5),
        preferred in proptest::collection::btree_set(prop_oneof![1_u64..10, u64::MAX - 9..=u64::MAX], 0..=16),
        stagger_ms in 0_u32..=600_000,
        since_last_campaign_ms in proptest::option::of(0_u64..10_000),
    ) -> ElectionInput {
        let preferred: Vec<_> = preferred.iter().map(u64::to_string).collect();
        ElectionInput {
            now_ms: 0,
            heartbeat_interval_ms: 150,
            observer_late_ms: 0,
            settings: settings(&[
                ("preferred_voters", preferred.join(",")),
                ("stagger_ms", stagger_ms.to_string()),
            ]),
            seed: 0,
            self_node: 2,
            rank,
            election_timeout_ms,
            term: 1,
            master: NodeEvidence { misses, ..NodeEvidence::answering(1, NodeRole::Aggregator) },
            unled_ms,
            voters: voters
                .into_iter()
                .map(|(node, reachable)| VoterView { node, reachable, sees_master: None, log_index: 0, ..Default::default() })
                .collect(),
            campaigns: 0,
            since_last_campaign_ms,
            ..Default::default()
        }
    }
}

fn campaigns(policy: impl Policy, input: &ElectionInput) -> bool {
    policy.elect(input).choice == ElectionChoice::Campaign
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_always_accepted(promotion in promotion(), election in election()) {
        prop_assert_eq!(ZoneAware.check(&promotion.settings), Ok(()));
        prop_assert_eq!(ZoneAware.check(&election.settings), Ok(()));
        prop_assert_eq!(validate_promotion(&promotion, &ZoneAware.promote(&promotion)), Ok(()));
        prop_assert_eq!(validate_election(&ZoneAware.elect(&election)), Ok(()));
    }

    /// Nobody is left out, and nobody is named twice.
    #[test]
    fn a_ranking_has_every_candidate_once(input in promotion()) {
        let mut ranking = ZoneAware.promote(&input).ranking;
        ranking.sort_unstable();
        let candidates: Vec<_> = input.candidates.iter().map(|candidate| candidate.node).collect();
        prop_assert_eq!(ranking, candidates);
    }

    /// The preferred group comes first, and within it and without it the order is classic's.
    #[test]
    fn a_zone_comes_first_and_changes_nothing_else(input in promotion()) {
        let preferred: u32 = input.settings["preferred_group"].parse().unwrap();
        let is_preferred = |node: &u64| {
            let candidate = input.candidates.iter().find(|candidate| candidate.node == *node).unwrap();
            preferred != 0 && candidate.group == preferred
        };
        let (mut wanted, others): (Vec<_>, Vec<_>) = Classic.promote(&input).ranking.into_iter().partition(is_preferred);
        wanted.extend(others);
        prop_assert_eq!(ZoneAware.promote(&input).ranking, wanted);
    }

    /// The reason tells of everybody, as far as it has room.
    #[test]
    fn a_reason_names_who_comes_later(input in promotion()) {
        let verdict = ZoneAware.promote(&input);
        for node in verdict.ranking.iter().skip(1).take(8) {
            prop_assert!(verdict.reason.contains(&format!("n{node} (")), "{} has no n{node}", verdict.reason);
        }
    }

    /// A zone makes nobody campaign who would not under classic.
    #[test]
    fn nobody_campaigns_before_classic(input in election()) {
        prop_assert!(!campaigns(ZoneAware, &input) || campaigns(Classic, &input));
    }

    /// Whatever is set, a voter campaigns where classic would with half as much election timeout again.
    #[test]
    fn nobody_waits_long_for_a_zone(input in election()) {
        let election_timeout_ms = input.election_timeout_ms.saturating_add(input.election_timeout_ms / 2);
        let patient = ElectionInput { election_timeout_ms, ..input.clone() };
        prop_assert!(campaigns(ZoneAware, &input) || !campaigns(Classic, &patient));
    }

    /// A preferred voter, and one that has no preferred voter to wait for, is classic.
    #[test]
    fn nobody_waits_for_nobody(mut input in election(), is_preferred in any::<bool>()) {
        if is_preferred {
            input.settings.insert("preferred_voters".into(), "2".into());
        } else {
            input.voters.iter_mut().for_each(|voter| voter.reachable = false);
        }
        prop_assert_eq!(ZoneAware.elect(&input).choice, Classic.elect(&input).choice);
    }

    /// What is no number and no list is refused, with the setting and the value in the text, and decides nothing.
    #[test]
    fn garbage_is_refused_and_never_used(garbage in r"[^0-9n,+\s]\PC{0,20}", promotion in promotion(), election in election()) {
        for name in ["preferred_group", "preferred_voters", "stagger_ms"] {
            let garbled = settings(&[(name, garbage.clone())]);
            let text = ZoneAware.check(&garbled).expect_err(name);
            prop_assert!(text.starts_with(&format!("{name} = '{garbage}' ")), "{text}");
            let promoted = ZoneAware.promote(&PromotionInput { settings: garbled.clone(), ..promotion.clone() });
            prop_assert_eq!(promoted.ranking, Classic.promote(&promotion).ranking);
            let elected = ElectionInput { settings: garbled, ..election.clone() };
            prop_assert_eq!(campaigns(ZoneAware, &elected), campaigns(Classic, &election));
        }
    }
}
