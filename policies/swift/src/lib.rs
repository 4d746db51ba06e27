//! A policy that fails over within milliseconds on hard evidence, and asks a second witness about silence.
//!
//! A connection that broke and is then refused is hard evidence: the host is there and says that the process is not.
//! It needs neither patience nor a witness. Silence may be the observer's own fault, or the network's between the two,
//! so silence needs someone else who hears nothing either.
//! In every case swift is at least as quick as classic: what classic calls failed is failed, and whom classic would not
//! wait for is not waited for.
//!
//! Not here: vitals and round trip times. A slow node is not a dead one.

mod degrade;
mod detection;
mod election;
mod promotion;

use baton_policy_sdk::{
    DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput, ElectionVerdict, NodeVerdict,
    NumberSetting, Policy, PromotionInput, PromotionVerdict, Settings, export_policy,
};

/// Misses after which silence is believed, if someone else confirms it.
const SILENCE_MISSES: NumberSetting = NumberSetting {
    name: "silence_misses",
    default: 5,
    range: 1..=1_000_000,
    doc: "Missed pings after which a silent node has failed, or a silent master is campaigned against, if another \
          node hears nothing of it either.",
};
/// Misses after which silence is believed although there is nobody to ask.
const ALONE_MISSES: NumberSetting = NumberSetting {
    name: "alone_misses",
    default: 20,
    range: 1..=1_000_000,
    doc: "Missed pings after which a silent node has failed if no other node reports anything at all.",
};
/// Misses after which a silent master is campaigned against although no voter said what it sees.
const ELECTION_ALONE_MISSES: NumberSetting = NumberSetting {
    name: "election_alone_misses",
    default: 10,
    range: 1..=1_000_000,
    doc: "Missed pings after which a silent master is campaigned against if no voter has said what it sees.",
};
/// How far apart voters campaign against a master that refuses connections.
const STAGGER_MS: NumberSetting = NumberSetting {
    name: "stagger_ms",
    default: 150,
    range: 0..=60_000,
    doc: "How far apart voting members campaign against a master that refuses connections, in milliseconds.",
};
/// How long a master that answers pings may lead nobody.
const UNLED_MS: NumberSetting = NumberSetting {
    name: "unled_ms",
    default: 1_500,
    range: 300..=3_600_000,
    doc: "Milliseconds after which a master that answers pings, but from which the control group hears nothing, is \
          campaigned against.",
};
/// How long a write may wait for a replica.
const DEGRADE_MS: NumberSetting = NumberSetting {
    name: "degrade_ms",
    default: 3_000,
    range: 500..=600_000,
    doc: "Milliseconds for which the oldest write waits for a replica before its primary goes on without it.",
};
const SETTINGS: [NumberSetting; 6] =
    [SILENCE_MISSES, ALONE_MISSES, ELECTION_ALONE_MISSES, STAGGER_MS, UNLED_MS, DEGRADE_MS];

/// The policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swift;

impl Policy for Swift {
    fn describe(&self) -> Description {
        Description {
            name: "swift".to_owned(),
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

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        promotion::promote(input)
    }

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        degrade::degrade(input)
    }
}

export_policy!(Swift: detection, election, promotion, degrade);
