//! A policy that never acts on one node's word alone: another one must say so too.
//!
//! What one observer hears, or is refused, may be its own fault, or that of the network in front of it: a firewall
//! that rejects looks like a process that is gone, from one side. Two that see the same from two places are seldom
//! wrong together. With them it is quick; without them it waits, and the bounds on what any policy may decide have the
//! last word.
//!
//! * Detection: the observer's own evidence, and that of `witnesses` others. No one's refusal is beyond doubt.
//! * Election: another voter says that it does not hear the master aggregator; else as classic, since a campaign asks
//!   the other voters anyway.
//! * Degrade: the primary says that the replica lags, and the master aggregator does not hear its leaf; else as
//!   classic.
//!
//! Not here: `promotion`, where nobody is accused; vitals and round trip times; and where a witness stands: two of one
//! rack see the same cut cable.

mod degrade;
mod detection;
mod election;

use baton_policy_sdk::{
    DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput, ElectionVerdict, NodeVerdict,
    NumberSetting, Policy, Settings, export_policy,
};

/// How many others must say so.
const WITNESSES: NumberSetting = NumberSetting {
    name: "witnesses",
    default: 1,
    range: 1..=16,
    doc: "How many other nodes must say that they do not hear a node before it has failed.",
};
/// Misses after which silence is believed, if others confirm it. Two misses are no silence, for a slow answer is an
/// answer; and 200 are what classic takes.
const SILENCE_MISSES: NumberSetting = NumberSetting {
    name: "silence_misses",
    default: 10,
    range: 3..=200,
    doc: "Missed pings after which a node, or the master, is silent, if others say so too, who may be one behind.",
};
/// How long a write may wait for a replica that two do not hear.
const DEGRADE_MS: NumberSetting = NumberSetting {
    name: "degrade_ms",
    default: 3_000,
    range: 500..=600_000,
    doc: "Milliseconds for which the oldest write waits for a replica before its primary goes on without it, if the \
          master aggregator does not hear its leaf either.",
};
const SETTINGS: [NumberSetting; 3] = [WITNESSES, SILENCE_MISSES, DEGRADE_MS];

/// A node that missed no more pings than this is heard: a slow answer is still an answer.
const HEARD_MISSES_MAX: u32 = 2;

/// The policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TwoWitness;

impl Policy for TwoWitness {
    fn describe(&self) -> Description {
        Description {
            name: "two-witness".to_owned(),
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

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        degrade::degrade(input)
    }
}

export_policy!(TwoWitness: detection, election, degrade);
