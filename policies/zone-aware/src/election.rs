//! When to campaign.
//!
//! A preferred voter does what classic does. Any other is classic with a longer election timeout, as long as a preferred
//! voter answers that may use the time: the zone that is gone is waited for not at all, and one that cannot win not long.

use baton_policy_sdk::{Classic, ElectionInput, ElectionVerdict, Policy};

use crate::{PREFERRED_VOTERS, STAGGER_MS};

/// The others wait at most this part of the election timeout longer. No policy may wait for twice the timeout, and that is
/// a bound to stay away from.
const STAGGER_PART_MAX: u64 = 2;

/// Decides whether to campaign now.
pub fn elect(input: &ElectionInput) -> ElectionVerdict {
    let (extra_ms, why) = stagger(input);
    let election_timeout_ms = input.election_timeout_ms.saturating_add(extra_ms);
    let mut verdict = Classic.elect(&ElectionInput { election_timeout_ms, ..input.clone() });
    verdict.reason = format!("{}; {why}", verdict.reason);
    verdict
}

/// How many milliseconds later than under classic this voter campaigns, and why.
fn stagger(input: &ElectionInput) -> (u64, String) {
    let preferred = PREFERRED_VOTERS.read(&input.settings);
    if preferred.is_empty() {
        return (0, "no voter is preferred".to_owned());
    }
    if preferred.contains(&input.self_node) {
        return (0, format!("n{} is preferred", input.self_node));
    }
    let reachable = |node: &u64| input.voters.iter().any(|voter| voter.node == *node && voter.reachable);
    let (answering, others): (Vec<u64>, Vec<u64>) = preferred.into_iter().partition(reachable);
    if answering.is_empty() {
        return (0, format!("preferred {}: no voter that answers", names(&others)));
    }
    let most_ms = input.election_timeout_ms / STAGGER_PART_MAX;
    let extra_ms = u64::from(STAGGER_MS.read(&input.settings)).min(most_ms);
    (extra_ms, format!("{extra_ms} ms after the preferred {}", names(&answering)))
}

fn names(nodes: &[u64]) -> String {
    nodes.iter().map(|node| format!("n{node}")).collect::<Vec<_>>().join(", ")
}
