//! When a primary goes on without a replica.
//!
//! A replica whose leaf stalls now has had its chance after a moment: the write that waits for it waits for the disk
//! that stalls. Any other replica has what classic gives it.

use baton_policy_sdk::{Classic, DegradeInput, DegradeVerdict, Policy, Vitals};

use crate::DEGRADE_MS;
use crate::symptoms::Limits;

/// Decides whether to go on without the replica now.
pub fn degrade(input: &DegradeInput) -> DegradeVerdict {
    let limits = Limits::read(&input.settings);
    // Of a leaf that does not answer, the vitals are old.
    let told = input.replica.vitals.filter(|_| input.replica.is_heard());
    let is_ill = |vitals: &Vitals| {
        limits.is_hanging(vitals) || limits.is_slow_sync(vitals) || limits.is_late_loop(vitals)
    };
    let ill = told.filter(is_ill);
    let classic = Classic.degrade(input);
    let Some(vitals) = ill.filter(|_| input.waiting_writes > 0) else { return classic };
    let due_ms = u64::from(DEGRADE_MS.read(&input.settings));
    let reason = format!(
        "its leaf stalls: {}; the oldest write waits for {} ms of {due_ms} ms; {}",
        limits.words(&vitals),
        input.oldest_wait_ms,
        classic.reason
    );
    if input.oldest_wait_ms >= due_ms {
        DegradeVerdict::degrade(reason)
    } else {
        DegradeVerdict { reason, ..classic }
    }
}
