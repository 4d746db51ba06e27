//! Whom to promote.
//!
//! The longest log as far as it is known, then the leaf heard most recently, then the one with the fewest primaries, then the lowest id.

use std::cmp::Reverse;

use baton_policy_sdk::{PromotionInput, PromotionVerdict};

/// Leaves last heard within the same span of so many milliseconds are alike: pings are not in step.
const PONG_AGE_BUCKET_MS: u64 = 500;

/// Ranks all candidates.
pub fn promote(input: &PromotionInput) -> PromotionVerdict {
    let mut order: Vec<_> = input.candidates.iter().collect();
    order.sort_by_key(|candidate| {
        let bucket = candidate.last_pong_age_ms / PONG_AGE_BUCKET_MS;
        (Reverse(candidate.lsn), bucket, candidate.primaries_held, candidate.node)
    });
    let reason = order.first().map_or_else(String::new, |best| {
        let lsn = best.lsn.map_or_else(|| "unknown".to_owned(), |lsn| lsn.to_string());
        format!(
            "lsn {lsn}, heard {} ms ago, {} primaries held, of {} candidates",
            best.last_pong_age_ms,
            best.primaries_held,
            order.len()
        )
    });
    let ranking = order.into_iter().map(|candidate| candidate.node).collect();
    PromotionVerdict { ranking, reason, rejected: Vec::new() }
}
