//! When to campaign.
//!
//! The voter with the longest log goes first and the others follow at a distance, so that two seldom split the votes.

use baton_policy_sdk::{ElectionInput, ElectionVerdict};

use crate::{ELECTION_ALONE_MISSES, SILENCE_MISSES, STAGGER_MS, UNLED_MS};

/// The shortest time between two campaigns of one node, in milliseconds.
const CAMPAIGN_PAUSE_MS: u64 = 500;
/// Voters that notice that they are not led campaign so many milliseconds apart.
const UNLED_STAGGER_MS: u64 = 400;
/// Voters that notice the same silence campaign this many misses apart.
const SILENCE_STAGGER_MISSES: u32 = 2;

/// Decides whether to campaign now.
pub fn elect(input: &ElectionInput) -> ElectionVerdict {
    let (due, reason) = judge(input);
    match input.since_last_campaign_ms {
        _ if !due => ElectionVerdict::wait(reason),
        Some(since_ms) if since_ms < CAMPAIGN_PAUSE_MS => ElectionVerdict::wait(format!(
            "last campaign {since_ms} ms ago, next after {CAMPAIGN_PAUSE_MS} ms"
        )),
        _ => ElectionVerdict::campaign(reason),
    }
}

fn judge(input: &ElectionInput) -> (bool, String) {
    let master = &input.master;
    let counts = format!("master n{}: {}", master.node, master.counts());
    // A connection that broke is refused within a millisecond if the process is gone; one tick gives it that time.
    if master.refusals > 0 || (master.connection_lost && master.misses > 0) {
        let stagger_ms = u64::from(input.rank).saturating_mul(u64::from(STAGGER_MS.read(&input.settings)));
        let what = if master.refusals > 0 { "connection refused" } else { "connection lost" };
        return (input.master_unheard_ms() >= stagger_ms, format!("{counts}; {what}, rank {}", input.rank));
    }
    if input.observer_late_ms > input.heartbeat_interval_ms {
        return (false, format!("{counts}; observer {} ms late", input.observer_late_ms));
    }
    if master.misses == 0 && !master.connection_lost {
        let due_ms = u64::from(UNLED_MS.read(&input.settings))
            .saturating_add(u64::from(input.rank).saturating_mul(UNLED_STAGGER_MS));
        let led =
            format!("master n{} answers; led {} ms ago, rank {}", master.node, input.unled_ms, input.rank);
        return (input.unled_ms >= due_ms, led);
    }
    let stagger_misses = input.rank.saturating_mul(SILENCE_STAGGER_MISSES);
    let due_after = |misses: u32| master.misses >= misses.saturating_add(stagger_misses);
    if input.voters.iter().any(|voter| voter.sees_master == Some(false)) {
        let due = due_after(SILENCE_MISSES.read(&input.settings));
        (due, format!("{counts}; another voter does not hear it either, rank {}", input.rank))
    } else if input.voters.iter().all(|voter| voter.sees_master.is_none()) {
        let due = due_after(ELECTION_ALONE_MISSES.read(&input.settings));
        (due, format!("{counts}; no voter says what it sees, rank {}", input.rank))
    } else {
        // Those who answer hear the master: the fault is likely here. Beyond the documented time it is nobody's.
        let stagger_ms = u64::from(stagger_misses).saturating_mul(input.heartbeat_interval_ms);
        let due = input.master_unheard_ms() >= input.election_timeout_ms.saturating_add(stagger_ms);
        (due, format!("{counts}; other voters hear it, rank {}", input.rank))
    }
}
