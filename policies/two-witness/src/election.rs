//! When to campaign.
//!
//! Soon if another voter that answers says that it does not hear the master aggregator either. Otherwise as classic,
//! after the election timeout: a campaign asks the other voters first, so it takes a majority's word in the end, and a
//! cluster without a master aggregator is not to stay so because nobody is there to confirm it.

use baton_policy_sdk::{Classic, ElectionChoice, ElectionInput, ElectionVerdict, Policy};

use crate::SILENCE_MISSES;

/// The shortest time between two campaigns of one node, in milliseconds.
const CAMPAIGN_PAUSE_MS: u64 = 500;
/// Voters campaign so many heartbeat intervals apart against a master that refuses connections.
const REFUSED_STAGGER_INTERVALS: u64 = 1;
/// Voters that notice the same silence campaign so many heartbeat intervals apart.
const SILENCE_STAGGER_INTERVALS: u64 = 2;

/// Decides whether to campaign now.
pub fn elect(input: &ElectionInput) -> ElectionVerdict {
    let classic = Classic.elect(input);
    let confirming = input.voters.iter().find(|voter| voter.reachable && voter.sees_master == Some(false));
    let Some(voter) = confirming else {
        let is_alone = !input.voters.iter().any(|voter| voter.reachable);
        let why = if is_alone { "no other voter answers" } else { "no other voter says so" };
        return ElectionVerdict { choice: classic.choice, reason: format!("{}; {why}", classic.reason) };
    };
    let (due, why) = judge(input);
    let reason = format!("master n{}: {why}; n{} does not hear it", input.master.node, voter.node);
    let pause = input.since_last_campaign_ms.filter(|since_ms| *since_ms < CAMPAIGN_PAUSE_MS);
    match pause {
        None if due => ElectionVerdict::campaign(reason),
        // Nobody gains by waiting longer.
        _ if classic.choice == ElectionChoice::Campaign => {
            ElectionVerdict::campaign(format!("{}; {why}", classic.reason))
        }
        Some(since_ms) if due => ElectionVerdict::wait(format!(
            "last campaign {since_ms} ms ago, next after {CAMPAIGN_PAUSE_MS} ms"
        )),
        _ => ElectionVerdict::wait(reason),
    }
}

/// What this voter's own evidence says.
fn judge(input: &ElectionInput) -> (bool, String) {
    let (master, rank, interval_ms) = (&input.master, input.rank, input.heartbeat_interval_ms);
    let counts = master.counts();
    let stagger_ms = |intervals: u64| u64::from(rank).saturating_mul(intervals).saturating_mul(interval_ms);
    if master.refusals > 0 {
        let due = input.master_unheard_ms() >= stagger_ms(REFUSED_STAGGER_INTERVALS);
        return (due, format!("{counts}; connection refused, rank {rank}"));
    }
    // A master that misses a ping now and then may lead nobody all the while.
    let silence_ms = u64::from(master.misses).saturating_mul(interval_ms).max(input.unled_ms);
    let due_ms = u64::from(SILENCE_MISSES.read(&input.settings))
        .saturating_mul(interval_ms)
        .saturating_add(stagger_ms(SILENCE_STAGGER_INTERVALS));
    let how = if master.misses == 0 { "leads nobody" } else { "silent" };
    let silence = format!("{counts}; {how} for {silence_ms} ms of {due_ms} ms, rank {rank}");
    if input.observer_late_ms > interval_ms {
        return (false, format!("{silence}, observer {} ms late", input.observer_late_ms));
    }
    (silence_ms >= due_ms, silence)
}
