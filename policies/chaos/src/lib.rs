//! A policy that misbehaves as its setting `chaos` says, at every decision point.
//!
//! Some ways give no answer, and others one that is none: the host's tests bind it and expect the classic answer each
//! time, with the right reason. Others give valid answers that are as bad as may be (`always`, `never`, `random`): only
//! the safety kernel and the ceilings stand between them and the cluster, and simulator runs bind them.
//! Without the setting, or with `none`, it behaves as classic does.

mod ways;

use baton_policy_sdk::{
    Classic, DegradeChoice, DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput,
    ElectionVerdict, Health, MaintenanceInput, MaintenanceStage, MaintenanceVerdict, NodeVerdict, Place,
    PlacementInput, PlacementVerdict, Policy, PromotionInput, PromotionVerdict, RejoinInput, RejoinVerdict,
    RetryInput, RetryVerdict, SettingDoc, Settings, export_policy,
};

use crate::ways::{HUGE, STRANGER, Way, babble, digest};

/// The policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chaos;

impl Policy for Chaos {
    fn describe(&self) -> Description {
        let doc = SettingDoc {
            name: "chaos".to_owned(),
            default: "none".to_owned(),
            doc: format!("How to misbehave: {}.", Way::names().join(", ")),
        };
        Description { name: "chaos".to_owned(), version: "2".to_owned(), settings: vec![doc] }
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        match settings.get("chaos") {
            Some(way) if Way::named(way).is_none() => Err(format!("'{way}' is no way to misbehave")),
            _ => Ok(()),
        }
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        let way = Way::of(&input.settings, input.seed);
        let mut verdicts = Classic.detect(input);
        for (verdict, node) in verdicts.iter_mut().zip(&input.nodes) {
            match way {
                Way::Nonsense => verdict.node = verdict.node.wrapping_add(STRANGER),
                Way::Babble => verdict.reason = babble().into(),
                Way::Huge => verdict.memory = vec![7; HUGE],
                Way::Never => verdict.health = Health::Healthy,
                Way::Always => verdict.health = Health::Failed,
                Way::Echo => {
                    verdict.reason = digest(input).into();
                    verdict.memory = node.memory.iter().rev().copied().collect();
                }
                Way::Remember => {
                    verdict.memory.clone_from(&node.memory);
                    verdict.memory.iter_mut().take(1).for_each(|byte| *byte = !*byte);
                }
                _ => {}
            }
        }
        match way {
            Way::Silent => verdicts.clear(),
            Way::Stranger => verdicts.extend(verdicts.first().cloned()),
            _ => {}
        }
        verdicts
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        let way = Way::of(&input.settings, input.seed ^ input.self_node);
        let mut verdict = Classic.elect(input);
        match way {
            Way::Babble | Way::Nonsense | Way::Stranger | Way::Silent => verdict.reason = babble(),
            Way::Huge => verdict.reason = "x".repeat(HUGE),
            Way::Never => verdict = ElectionVerdict::wait("never"),
            Way::Always => verdict = ElectionVerdict::campaign("always"),
            Way::Echo => verdict.reason = digest(input),
            _ => {}
        }
        verdict
    }

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        let way = Way::of(&input.settings, input.seed);
        let mut verdict = Classic.promote(input);
        match way {
            Way::Nonsense => verdict.ranking.push(STRANGER),
            Way::Stranger => verdict.ranking.insert(0, input.failed_primary),
            Way::Silent | Way::Never => verdict.ranking.clear(),
            Way::Always => verdict.ranking.reverse(),
            Way::Echo => verdict.reason = digest(input),
            Way::Babble => verdict.reason = babble(),
            Way::Huge => verdict.ranking = vec![1; HUGE / 8],
            _ => {}
        }
        verdict
    }

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        let way = Way::of(&input.settings, input.seed ^ input.silent_ms);
        let mut verdict = Classic.degrade(input);
        match way {
            Way::Babble | Way::Nonsense | Way::Stranger | Way::Silent => verdict.reason = babble(),
            Way::Huge => verdict.reason = "x".repeat(HUGE),
            Way::Never => verdict.choice = DegradeChoice::Wait,
            Way::Always => verdict.choice = DegradeChoice::Degrade,
            Way::Echo => verdict.reason = digest(input),
            _ => {}
        }
        verdict
    }

    fn rejoin(&self, input: &RejoinInput) -> RejoinVerdict {
        let way = Way::of(&input.settings, input.seed);
        match way {
            Way::Babble | Way::Nonsense | Way::Stranger | Way::Silent => RejoinVerdict::attach(babble()),
            Way::Huge => RejoinVerdict::attach("x".repeat(HUGE)),
            Way::Never => RejoinVerdict::refuse("never"),
            Way::Always => RejoinVerdict::attach("always"),
            Way::Echo => RejoinVerdict::attach(digest(input)),
            _ => Classic.rejoin(input),
        }
    }

    fn place(&self, input: &PlacementInput) -> PlacementVerdict {
        let way = Way::of(&input.settings, input.seed);
        let mut verdict = Classic.place(input);
        match way {
            Way::Nonsense => verdict.places.iter_mut().for_each(|place| place.cell = u32::MAX),
            Way::Stranger => verdict.places.iter_mut().for_each(|place| place.primary = STRANGER),
            Way::Silent | Way::Never => verdict.places.clear(),
            // Everything on one leaf.
            Way::Always => {
                let first = input.cells.first().and_then(|cell| cell.heads.first());
                let place = Place { cell: 0, primary: first.copied().unwrap_or(0) };
                verdict.places.fill(place);
            }
            Way::Babble => verdict.reason = babble(),
            Way::Echo => verdict.reason = digest(input),
            Way::Huge => verdict.places = vec![Place::default(); HUGE / 4],
            _ => {}
        }
        verdict
    }

    fn maintain(&self, input: &MaintenanceInput) -> MaintenanceVerdict {
        let way = Way::of(&input.settings, input.seed);
        let mut verdict = Classic.maintain(input);
        match way {
            Way::Nonsense | Way::Stranger => {
                verdict.stages.push(MaintenanceStage { nodes: vec![STRANGER], reason: String::new() });
            }
            Way::Silent | Way::Never => verdict.stages.clear(),
            // Everybody at once.
            Way::Always => {
                let nodes = input.nodes.iter().map(|node| node.node).collect();
                verdict.stages = vec![MaintenanceStage { nodes, reason: "at once".to_owned() }];
            }
            Way::Babble => verdict.reason = babble(),
            Way::Echo => verdict.reason = digest(input),
            Way::Huge => verdict.reason = "x".repeat(HUGE),
            _ => {}
        }
        verdict
    }

    fn retry(&self, input: &RetryInput) -> RetryVerdict {
        let way = Way::of(&input.settings, input.seed);
        match way {
            Way::Babble | Way::Nonsense | Way::Stranger | Way::Silent => RetryVerdict::wait(0, babble()),
            Way::Huge => RetryVerdict::wait(0, "x".repeat(HUGE)),
            Way::Never => RetryVerdict::fail("never"),
            Way::Always => RetryVerdict::wait(u64::MAX, "always"),
            Way::Echo => RetryVerdict::wait(u64::MAX, digest(input)),
            _ => Classic.retry(input),
        }
    }
}

export_policy!(Chaos: detection, election, promotion, degrade, rejoin, placement, maintenance, retry);
