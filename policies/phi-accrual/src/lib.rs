//! A policy that learns from each node's pongs how long a silence is too long: the phi accrual failure detector.
//!
//! A fixed limit is too long for a node whose pongs come like clockwork, and too short for one on a network that
//! stutters. Phi says how unlikely a silence is for this very node, by its last pongs: at 8 one silence in a hundred
//! million would be as long. A connection that broke and is then refused needs no statistics.
//! What classic calls failed is failed, whatever phi says.
//!
//! * Source: Hayashibara, Défago, Yared, Katayama, "The phi accrual failure detector" (SRDS 2004); the acceptable
//!   pause and the least deviation are Akka's.
//!
//! Not here: witnesses and vitals. Each node is judged by what this observer hears of it, and by nothing else. Nor
//! `promotion` and `degrade`, where nobody is silent.

mod detection;
mod election;
mod rhythm;

use baton_policy_sdk::{
    Description, DetectionInput, ElectionInput, ElectionVerdict, NodeVerdict, NumberSetting, Policy,
    Settings, export_policy,
};

/// The phi at which silence is a failure.
const THRESHOLD: NumberSetting = NumberSetting {
    name: "threshold",
    default: 8,
    range: 1..=16,
    doc: "The phi at which a silent node has failed; at n, one in 10^n silences of a node that lives is as long.",
};
/// What the deviation is at least, so that a network as regular as a clock makes nobody hasty.
const MIN_DEVIATION_MS: NumberSetting = NumberSetting {
    name: "min_deviation_ms",
    default: 100,
    range: 1..=60_000,
    doc: "Milliseconds that the deviation of the times between pongs is taken for at least.",
};
/// What a node may take for itself at any time: a long sync to disk, a moment without a processor.
const ACCEPTABLE_PAUSE_MS: NumberSetting = NumberSetting {
    name: "acceptable_pause_ms",
    default: 1_000,
    range: 0..=60_000,
    doc: "Milliseconds for which any node may pause beyond its usual time between pongs.",
};
/// How much must be known of a node before phi judges it.
const MIN_SAMPLES: NumberSetting = NumberSetting {
    name: "min_samples",
    default: 8,
    range: 1..=32,
    doc: "Times between pongs that must be known of a node; while there are fewer, it is judged as classic does.",
};
const SETTINGS: [NumberSetting; 4] = [THRESHOLD, MIN_DEVIATION_MS, ACCEPTABLE_PAUSE_MS, MIN_SAMPLES];

/// The policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhiAccrual;

impl Policy for PhiAccrual {
    fn describe(&self) -> Description {
        Description {
            name: "phi-accrual".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: SETTINGS.iter().map(NumberSetting::doc).collect(),
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        SETTINGS.iter().try_for_each(|setting| setting.check(settings))
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        detection::detect(input)
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        election::elect(input)
    }
}

export_policy!(PhiAccrual: detection, election);
