//! Whom to promote.
//!
//! The preferred group first, then as classic: the longest log, the leaf with the fewest primaries, the lowest id.
//! A candidate has every write that was acknowledged, so a group that comes before a longer log costs a moment of catching
//! up and no write. Nobody is rejected: any candidate is better than no primary.

use std::cmp::Reverse;

use baton_policy_sdk::{Candidate, PromotionInput, PromotionVerdict};

use crate::PREFERRED_GROUP;

/// More candidates than these are ranked, but not told apart in the reason, which has a limit.
const TOLD_MAX: usize = 8;

/// Ranks all candidates.
pub fn promote(input: &PromotionInput) -> PromotionVerdict {
    let preferred = PREFERRED_GROUP.read(&input.settings);
    // A leaf whose group nobody knows is of group 0.
    let is_preferred = |candidate: &Candidate| preferred != 0 && candidate.group == preferred;
    let mut order: Vec<_> = input.candidates.iter().collect();
    order.sort_by_key(|candidate| {
        (!is_preferred(candidate), Reverse(candidate.lsn), candidate.primaries_held, candidate.node)
    });
    let reason = match order.split_first() {
        None => String::new(),
        Some((best, others)) => {
            let zone = match preferred {
                0 => "no group is preferred".to_owned(),
                group if is_preferred(best) => format!("group {group} is preferred"),
                group => format!("nobody of the preferred group {group} is a candidate"),
            };
            let held = best.primaries_held;
            let first = format!("{zone}; lsn {}, {held} primaries held", lsn(best));
            let why_later = |other: &Candidate| {
                if is_preferred(best) && !is_preferred(other) {
                    format!("group {}", other.group)
                } else if other.lsn != best.lsn {
                    format!("lsn {}", lsn(other))
                } else if other.primaries_held != held {
                    format!("{} primaries held", other.primaries_held)
                } else {
                    "higher id".to_owned()
                }
            };
            first + &later(others, why_later)
        }
    };
    let ranking = order.into_iter().map(|candidate| candidate.node).collect();
    PromotionVerdict { ranking, reason, rejected: Vec::new() }
}

fn lsn(candidate: &Candidate) -> String {
    candidate.lsn.map_or_else(|| "unknown".to_owned(), |lsn| lsn.to_string())
}

/// Names those who come after the first, each with what it comes later for.
fn later(others: &[&Candidate], why: impl Fn(&Candidate) -> String) -> String {
    if others.is_empty() {
        return String::new();
    }
    let told = others.iter().take(TOLD_MAX).map(|other| format!("n{} ({})", other.node, why(other)));
    let more = others.len().saturating_sub(TOLD_MAX);
    let rest = (more > 0).then(|| format!("{more} more"));
    format!("; later {}", told.chain(rest).collect::<Vec<_>>().join(", "))
}
