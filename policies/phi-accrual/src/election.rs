//! When to campaign.
//!
//! A master aggregator that is silent, or that answers pings and leads nobody, is judged by phi, as any node is; one
//! that refuses connections is gone. To campaign is always safe, so a refusal needs no connection that broke before.
//! Voters follow each other at a distance, so that two seldom split the votes. Nobody waits longer than under classic.

use baton_policy_sdk::{Classic, ElectionChoice, ElectionInput, ElectionVerdict, Policy};

use crate::rhythm::{Rhythm, known_pongs};

/// The shortest time between two campaigns of one node, in milliseconds.
const CAMPAIGN_PAUSE_MS: u64 = 500;
/// Voters campaign so many heartbeat intervals apart against a master that refuses connections.
const REFUSED_STAGGER_INTERVALS: u64 = 1;
/// Voters that notice the same silence campaign so many heartbeat intervals apart.
const SILENCE_STAGGER_INTERVALS: u64 = 2;

/// Decides whether to campaign now.
pub fn elect(input: &ElectionInput) -> ElectionVerdict {
    let (due, why) = judge(input);
    let reason = format!("master n{}: {why}", input.master.node);
    let pause = input.since_last_campaign_ms.filter(|since_ms| *since_ms < CAMPAIGN_PAUSE_MS);
    let classic = Classic.elect(input);
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

fn judge(input: &ElectionInput) -> (bool, String) {
    let (master, rank, interval_ms) = (&input.master, input.rank, input.heartbeat_interval_ms);
    let counts = master.counts();
    let stagger_ms = |intervals: u64| u64::from(rank).saturating_mul(intervals).saturating_mul(interval_ms);
    if master.refusals > 0 {
        let due = input.master_unheard_ms() >= stagger_ms(REFUSED_STAGGER_INTERVALS);
        return (due, format!("{counts}; connection refused, rank {rank}"));
    }
    let Some(rhythm) = Rhythm::of(master, interval_ms, &input.settings) else {
        let known = known_pongs(master, &input.settings);
        return (false, format!("{counts}; {known}, rank {rank}"));
    };
    // A master that misses a ping now and then may lead nobody all the while.
    let silence_ms = u64::from(master.misses).saturating_mul(interval_ms).max(input.unled_ms);
    let due_ms = rhythm.failed_after_ms().saturating_add(stagger_ms(SILENCE_STAGGER_INTERVALS));
    let phi = rhythm.describe(silence_ms, due_ms);
    if input.observer_late_ms > interval_ms {
        let late_ms = input.observer_late_ms;
        return (
            false,
            format!("{counts}; observer {late_ms} ms late, silence not judged; {phi}, rank {rank}"),
        );
    }
    (silence_ms >= due_ms, format!("{counts}; led {} ms ago; {phi}, rank {rank}", input.unled_ms))
}
