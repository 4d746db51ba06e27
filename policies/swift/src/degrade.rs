//! When a primary goes on without a replica.
//!
//! While no write waits for it, a replica that lags harms nobody, and it stays promotable: nothing is acknowledged that
//! it lacks. Once writes wait, a replica whose leaf refuses connections is not coming soon, and any other gets a moment.

use baton_policy_sdk::{DegradeInput, DegradeVerdict};

use crate::DEGRADE_MS;

/// Decides whether to go on without the replica now.
pub fn degrade(input: &DegradeInput) -> DegradeVerdict {
    let counts = format!(
        "silent for {} ms, {} writes wait, the oldest for {} ms",
        input.silent_ms, input.waiting_writes, input.oldest_wait_ms
    );
    // Classic would act: nobody gains by waiting longer.
    if input.silent_ms >= input.sync_replica_timeout_ms {
        return DegradeVerdict::degrade(counts);
    }
    if input.waiting_writes == 0 {
        return DegradeVerdict::wait(counts);
    }
    let replica = &input.replica;
    if !input.linked && replica.connection_lost && replica.refusals > 0 {
        return DegradeVerdict::degrade(format!("its leaf refuses connections; {counts}"));
    }
    let due_ms = u64::from(DEGRADE_MS.read(&input.settings));
    if input.oldest_wait_ms >= due_ms {
        DegradeVerdict::degrade(counts)
    } else {
        DegradeVerdict::wait(format!("{counts} of {due_ms} ms"))
    }
}
