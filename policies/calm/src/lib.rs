//! A policy that believes silence soon, but not of a node that flaps, and not of many nodes at once.
//!
//! Silence is quick to come and quick to go: a link that blinks looks like a death, and each failover that it causes
//! costs more than the blink. So a node that failed and came back within the last hour is given twice as long each time,
//! and has to answer twice as often before it is taken back. And if more nodes fall silent at once than die at once, the
//! network or this observer is what is ill, and nobody is failed for it.
//!
//! * A process that is gone is no matter of patience: whoever hangs up and then refuses, or refuses again and again, is
//!   failed at once, however often it failed and however many are.
//! * In detection it is never slower than classic: what classic, by its defaults, calls failed is failed.
//! * A voter campaigns at once against a master aggregator whose process is gone, and as under classic against a silent
//!   one, but with more patience if it has campaigned lately.
//!
//! Not here: witnesses. Whether others hear the node is swift's question; whether others are silent is this one's.

mod detection;
mod election;
mod memory;

use baton_policy_sdk::{
    Description, DetectionInput, ElectionInput, ElectionVerdict, NodeEvidence, NodeVerdict, NumberSetting,
    Policy, Settings, export_policy,
};

/// Misses after which silence is believed of a node that has not failed lately.
const SILENCE_MISSES: NumberSetting = NumberSetting {
    name: "silence_misses",
    default: 20,
    range: 5..=200,
    doc: "Missed pings after which a silent node has failed; twice as many for each failure within the last hour.",
};
/// Misses after which silence is believed of any node.
const PATIENCE_MAX_MISSES: NumberSetting = NumberSetting {
    name: "patience_max_misses",
    default: 200,
    range: 5..=200,
    doc: "Missed pings after which a silent node has failed however often it did before; at least silence_misses.",
};
/// How many nodes are believed to be dead at once although none of them has said so.
const SOFT_FAILURES_MAX: NumberSetting = NumberSetting {
    name: "soft_failures_max",
    default: 2,
    range: 0..=1_000,
    doc: "Nodes that may be silent at once and be failed for it; while more are, only classic's limit fails them.",
};
/// Pongs after which a node that failed is taken back.
const RETURN_PONGS: NumberSetting = NumberSetting {
    name: "return_pongs",
    default: 5,
    range: 1..=4_000,
    doc: "Intervals in a row in which a failed node must answer before it is taken back; twice as many for each failure \
          within the last hour.",
};
/// Pongs after which any node is taken back.
const RETURN_PONGS_MAX: NumberSetting = NumberSetting {
    name: "return_pongs_max",
    default: 80,
    range: 1..=4_000,
    doc: "Intervals after which a failed node is taken back however often it failed; at least return_pongs.",
};
const SETTINGS: [NumberSetting; 5] =
    [SILENCE_MISSES, PATIENCE_MAX_MISSES, SOFT_FAILURES_MAX, RETURN_PONGS, RETURN_PONGS_MAX];

/// So many refusals since the last pong prove that the process is gone, even if it never was connected to: one may be
/// refused by a process that is only starting.
const REFUSALS_MIN: u32 = 3;

/// The policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Calm;

impl Policy for Calm {
    fn describe(&self) -> Description {
        Description {
            name: "calm".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: SETTINGS.iter().map(NumberSetting::doc).collect(),
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        SETTINGS.iter().try_for_each(|setting| setting.check(settings))?;
        check_order(&SILENCE_MISSES, &PATIENCE_MAX_MISSES, settings)?;
        check_order(&RETURN_PONGS, &RETURN_PONGS_MAX, settings)
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        detection::detect(input)
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        election::elect(input)
    }
}

/// Whether a limit is not beyond its own maximum.
fn check_order(least: &NumberSetting, most: &NumberSetting, settings: &Settings) -> Result<(), String> {
    let (lower, upper) = (least.read(settings), most.read(settings));
    if lower > upper {
        return Err(format!("{} = {upper} is less than {} = {lower}", most.name, least.name));
    }
    Ok(())
}

/// Whether the process of a node is gone, and in which words that is said: its host answers for it.
fn is_gone(node: &NodeEvidence) -> Option<&'static str> {
    if node.connection_lost && node.refusals > 0 {
        Some("connection lost, then refused")
    } else if node.refusals >= REFUSALS_MIN {
        Some("refused again and again")
    } else {
        None
    }
}

/// A limit, twice as high for each failure within the last hour, up to a maximum.
fn doubled(limit: u64, times: u32, most: u64) -> u64 {
    let factor = 1_u64.checked_shl(times).unwrap_or(u64::MAX);
    limit.saturating_mul(factor).min(most.max(limit))
}

export_policy!(Calm: detection, election);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_doubles_up_to_its_maximum() {
        let doubled = |times| doubled(20, times, 200);
        assert_eq!([0, 1, 2, 3, 4, 63, 64, u32::MAX].map(doubled), [20, 40, 80, 160, 200, 200, 200, 200]);
        assert_eq!(super::doubled(20, 0, 3), 20);
        assert_eq!(super::doubled(u64::MAX, 9, 0), u64::MAX);
    }
}
