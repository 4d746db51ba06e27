//! A policy for leaves that are neither dead nor well: they answer every ping and get no work done.
//!
//! The thread that answers pings needs no disk, so a leaf whose disk stalls, or whose event loop crawls, stays healthy
//! under every other policy while its clients wait. With each pong a leaf says how it is, and this policy believes it:
//! one that says so for long enough without a break is suspect, and then failed. Once it has been well again for much
//! longer, it is taken back.
//!
//! A wrong verdict is worse here than a late one, for a slow leaf still serves. So never more than `gray_nodes_max`
//! leaves are failed at a time, none when half of the others look as bad, and none when no other is well.
//! About silence and refused connections it is classic, but that a connection that broke and is then refused is believed
//! at once, as under swift.
//!
//! Not here: aggregators, whose disk shows in elections, and which leaf has the other copy of what, which no input of
//! detection holds.

mod degrade;
mod detection;
mod memory;
mod symptoms;

use baton_policy_sdk::{
    DegradeInput, DegradeVerdict, Description, DetectionInput, NodeVerdict, NumberSetting, Policy, Settings,
    export_policy,
};

/// What a sync may take.
const FSYNC_LIMIT_MS: NumberSetting = NumberSetting {
    name: "fsync_limit_ms",
    default: 2_000,
    range: 100..=3_600_000,
    doc: "A leaf whose sync to disk takes or took so many milliseconds or more has a disk that stalls.",
};
/// How late an event loop may be.
const LOOP_LIMIT_MS: NumberSetting = NumberSetting {
    name: "loop_limit_ms",
    default: 1_000,
    range: 100..=3_600_000,
    doc: "A leaf whose event loop is so many milliseconds late or more gets no work done.",
};
/// How long that may go on.
const GRAY_MS: NumberSetting = NumberSetting {
    name: "gray_ms",
    default: 5_000,
    range: 1_000..=3_600_000,
    doc: "Milliseconds after which a leaf that stalls without a break has failed; at half of it the leaf is suspect.",
};
/// How many syncs prove that a disk stalls.
const SLOW_SYNCS_MIN: NumberSetting = NumberSetting {
    name: "slow_syncs_min",
    default: 2,
    range: 1..=100,
    doc: "Slow syncs in a row that prove a stalled disk. Two that took the same number of milliseconds look like one.",
};
/// How many may be failed.
const GRAY_NODES_MAX: NumberSetting = NumberSetting {
    name: "gray_nodes_max",
    default: 1,
    range: 0..=64,
    doc: "Leaves that may be failed for stalling at a time; others that have failed count as well. 0 is none ever.",
};
/// How long a leaf must be well to be taken back.
const RECOVER_MS: NumberSetting = NumberSetting {
    name: "recover_ms",
    default: 30_000,
    range: 1_000..=3_600_000,
    doc: "Milliseconds for which a leaf that failed for stalling must be well without a break before it is taken back.",
};
/// How much of its disk must be free.
const FREE_DISK_MIN_MB: NumberSetting = NumberSetting {
    name: "free_disk_min_mb",
    default: 1_024,
    range: 0..=u32::MAX,
    doc: "A leaf with less of its disk free, in units of 1,048,576 bytes, is suspect, and never failed; 0 is none.",
};
/// How long a write may wait for a replica that stalls.
const DEGRADE_MS: NumberSetting = NumberSetting {
    name: "degrade_ms",
    default: 2_000,
    range: 500..=600_000,
    doc: "Milliseconds for which the oldest write waits for a replica on a leaf that stalls before its primary goes on \
          without it.",
};
const SETTINGS: [NumberSetting; 8] = [
    FSYNC_LIMIT_MS,
    LOOP_LIMIT_MS,
    GRAY_MS,
    SLOW_SYNCS_MIN,
    GRAY_NODES_MAX,
    RECOVER_MS,
    FREE_DISK_MIN_MB,
    DEGRADE_MS,
];

/// The policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GrayAware;

impl Policy for GrayAware {
    fn describe(&self) -> Description {
        Description {
            name: "gray-aware".to_owned(),
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

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        degrade::degrade(input)
    }
}

export_policy!(GrayAware: detection, degrade);
