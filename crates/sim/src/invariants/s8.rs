//! S8: a policy chooses among options that the kernel has proved safe.
//!
//! Looked at when a plan is made, with a policy on the shelf that answers nonsense: whoever is promoted was offered.
//! That its failures cost nothing but its opinion is seen at the end, when everything must come to rest all the same.

use baton_catalog::Command;
use baton_failover::{Plan, Problem};

pub(super) fn planned(found: &[Problem], plan: &Plan) -> Result<(), String> {
    for command in &plan.commands {
        let Command::PromoteInstance { partition, to, .. } = command else { continue };
        let offered = found.iter().any(|problem| {
            matches!(problem, Problem::DeadPrimary { partition: of, candidates }
                if of == partition && candidates.contains(to))
        });
        if !offered {
            return Err(format!("a plan promotes {to} of {partition}, who was not offered"));
        }
    }
    Ok(())
}
