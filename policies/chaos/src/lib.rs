//! A policy that misbehaves as its setting `chaos` says, at every decision point.
//!
//! The host's tests bind it and expect the classic answer each time, with the right reason.
//! Without the setting, or with `none`, it behaves as classic does. With `never` its answers are valid, and never do
//! anything: only the ceilings end that.

use std::hint::black_box;

use baton_policy_sdk::{
    Classic, DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput, ElectionVerdict,
    Health, NodeVerdict, Policy, PromotionInput, PromotionVerdict, SettingDoc, Settings, export_policy, log,
};

/// The ways to misbehave.
const WAYS: [&str; 11] =
    ["none", "panic", "loop", "allocate", "recurse", "clock", "nonsense", "babble", "flood", "huge", "never"];

/// The policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chaos;

impl Policy for Chaos {
    fn describe(&self) -> Description {
        let doc = SettingDoc {
            name: "chaos".to_owned(),
            default: "none".to_owned(),
            doc: format!("How to misbehave: {}.", WAYS.join(", ")),
        };
        Description { name: "chaos".to_owned(), version: "1".to_owned(), settings: vec![doc] }
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        match settings.get("chaos") {
            Some(way) if !WAYS.contains(&way.as_str()) => Err(format!("'{way}' is no way to misbehave")),
            _ => Ok(()),
        }
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        let way = misbehave(&input.settings);
        let mut verdicts = Classic.detect(input);
        for verdict in &mut verdicts {
            match way {
                "nonsense" => verdict.node = verdict.node.wrapping_add(1_000_000),
                "babble" => verdict.reason = "because ".repeat(1_000),
                "huge" => verdict.memory = vec![7; 12 << 20],
                "never" => verdict.health = Health::Healthy,
                _ => {}
            }
        }
        verdicts
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        let way = misbehave(&input.settings);
        let mut verdict = Classic.elect(input);
        match way {
            "babble" => verdict.reason = "because ".repeat(1_000),
            "huge" => verdict.reason = "x".repeat(12 << 20),
            "never" => verdict = ElectionVerdict::wait("never"),
            _ => {}
        }
        verdict
    }

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        let way = misbehave(&input.settings);
        let mut verdict = Classic.degrade(input);
        match way {
            "babble" => verdict.reason = "because ".repeat(1_000),
            "huge" => verdict.reason = "x".repeat(12 << 20),
            "never" => verdict = DegradeVerdict::wait("never"),
            _ => {}
        }
        verdict
    }

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        let way = misbehave(&input.settings);
        let mut verdict = Classic.promote(input);
        match way {
            "nonsense" => verdict.ranking.push(1_000_000),
            "babble" => verdict.reason = "because ".repeat(1_000),
            "huge" => verdict.ranking = vec![1; 1 << 20],
            _ => {}
        }
        verdict
    }
}

/// Does what the setting says, if it is something to be done before there is an answer.
fn misbehave(settings: &Settings) -> &str {
    let way = settings.get("chaos").map_or("none", String::as_str);
    match way {
        "panic" => panic!("chaos was asked for"),
        "loop" => loop {
            black_box(way);
        },
        "allocate" => {
            // Not written to: fuel pays for every byte that is, and would end first.
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(black_box(Vec::with_capacity(1 << 16)));
            }
        }
        "recurse" => {
            black_box(recurse(black_box(1)));
        }
        "clock" => {
            black_box(std::time::Instant::now());
        }
        "flood" => {
            for line in 0..1_000 {
                log::warn(format!("line {line} of a flood {}", "~".repeat(100)));
            }
        }
        _ => {}
    }
    way
}

/// Never returns: every frame waits for a deeper one.
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    recurse(black_box(depth + 1)) + black_box(depth)
}

export_policy!(Chaos: detection, election, promotion, degrade);
