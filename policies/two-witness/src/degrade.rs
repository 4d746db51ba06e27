//! When a primary goes on without a replica.
//!
//! The primary's report is one word, its saying that the replica has no link to it included. What the master
//! aggregator hears of the replica's leaf is the other. If they differ, the fault is perhaps the primary's, and a
//! replica that is well keeps the time that classic gives it.

use baton_policy_sdk::{DegradeInput, DegradeVerdict};

use crate::{DEGRADE_MS, HEARD_MISSES_MAX};

/// Decides whether to go on without the replica now.
pub fn degrade(input: &DegradeInput) -> DegradeVerdict {
    let (leaf, due_ms) = (&input.replica, u64::from(DEGRADE_MS.read(&input.settings)));
    let is_unheard = leaf.misses > HEARD_MISSES_MAX || leaf.refusals > 0 || leaf.timeouts > 0;
    let limit = if is_unheard { format!(" of {due_ms} ms") } else { String::new() };
    let reason = format!(
        "silent for {} ms of {} ms, {} writes wait, the oldest for {} ms{limit}; \
         the master aggregator on its leaf: {}",
        input.silent_ms,
        input.sync_replica_timeout_ms,
        input.waiting_writes,
        input.oldest_wait_ms,
        leaf.counts()
    );
    let is_confirmed = is_unheard && input.waiting_writes > 0 && input.oldest_wait_ms >= due_ms;
    // Where classic would act, nobody gains by waiting longer.
    if is_confirmed || input.silent_ms >= input.sync_replica_timeout_ms {
        DegradeVerdict::degrade(reason)
    } else {
        DegradeVerdict::wait(reason)
    }
}
