//! When to campaign.
//!
//! As under classic, with two differences. Against a master aggregator whose process is gone a voter waits for its turn
//! only. And who campaigned lately has more patience: between two campaigns of one silence the pause doubles, and if
//! the last one was for an earlier silence of the same master aggregator, this one has to last half as long again.
//!
//! * However often it campaigned, a voter campaigns again after half of the election timeout.

use baton_policy_sdk::{ElectionInput, ElectionVerdict};

use crate::{doubled, is_gone};

/// Two voting members that notice the same thing campaign this many intervals apart.
const STAGGER_INTERVALS: u64 = 2;
/// The shortest time between two campaigns of one node, in milliseconds.
const CAMPAIGN_PAUSE_MS_MIN: u64 = 1_000;
/// The time that classic leaves between two campaigns is this part of the election timeout.
const CAMPAIGN_PAUSE_PART: u64 = 10;
/// No patience is longer than this part of the election timeout. At twice the timeout a voter campaigns whatever its
/// policy says, and that is a bound to stay away from.
const PATIENCE_PART_MAX: u64 = 2;
/// A campaign so many milliseconds ago was lately.
const LATELY_MS: u64 = 600_000;

/// Decides whether to campaign now.
pub fn elect(input: &ElectionInput) -> ElectionVerdict {
    let master = &input.master;
    let unheard_ms = input.master_unheard_ms();
    let timeout_ms = input.election_timeout_ms;
    let patience_ms = timeout_ms / PATIENCE_PART_MAX;
    let stagger_ms =
        u64::from(input.rank).saturating_mul(STAGGER_INTERVALS).saturating_mul(input.heartbeat_interval_ms);
    let gone = is_gone(master);
    // A campaign from before this silence: the master aggregator was there again in between.
    let is_flap = input.since_last_campaign_ms.is_some_and(|ms| ms > unheard_ms && ms < LATELY_MS);
    let (silence_ms, why) = match (gone, is_flap) {
        (Some(gone), _) => (0, format!("; {gone}")),
        (None, true) => {
            (timeout_ms.saturating_add(patience_ms), "; it was silent a while ago, too".to_owned())
        }
        (None, false) => (timeout_ms, String::new()),
    };
    let due_ms = silence_ms.saturating_add(stagger_ms);
    let how = if master.misses == 0 && gone.is_none() { "answers, but leads nobody" } else { "unheard" };
    let reason = format!("master n{} {how} for {unheard_ms} ms of {due_ms} ms{why}", master.node);
    if unheard_ms < due_ms {
        return ElectionVerdict::wait(reason);
    }
    // What classic leaves between two campaigns is the most against a process that is gone, and else the least.
    let classic_ms = (timeout_ms / CAMPAIGN_PAUSE_PART).max(CAMPAIGN_PAUSE_MS_MIN);
    let (first_ms, most_ms) =
        if gone.is_some() { (CAMPAIGN_PAUSE_MS_MIN, classic_ms) } else { (classic_ms, patience_ms) };
    let pause_ms = doubled(first_ms, input.campaigns.saturating_sub(1), most_ms);
    match input.since_last_campaign_ms {
        Some(since_ms) if since_ms < pause_ms => ElectionVerdict::wait(format!(
            "last campaign {since_ms} ms ago, {} in this term; next after {pause_ms} ms",
            input.campaigns
        )),
        _ => ElectionVerdict::campaign(reason),
    }
}
