//! What `policy_gate` asks of a policy that is to decide: a report of the lab that it passed.
//!
//! A report is the JSON that `baton sim --json` prints. It guards against haste, not against malice: whoever writes one
//! by hand may bind policies anyway.

use serde::Deserialize;
use thiserror::Error;

/// Seeds of each scenario that a report must have, at least.
const GATE_SEEDS_MIN: u64 = 1;

/// Why a report lets nobody in.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum GateError {
    #[error("policy_gate is ON, and there is no report of the lab")]
    Missing,
    #[error("the report is not what `baton sim --json` prints: {0}")]
    Unreadable(String),
    #[error("the report is about other modules than {0}")]
    OtherModule(String),
    #[error("the report is of some scenarios only, not of the whole library")]
    NotTheLibrary,
    #[error("the report has {0} seeds of each scenario, and needs {GATE_SEEDS_MIN}")]
    TooFewSeeds(u64),
    #[error("the policy did not pass: a rule was broken, or a cluster did not come to rest in time")]
    NotPassed,
}

impl GateError {
    /// The whole sentence, with what to do.
    pub(super) fn for_policy(&self, policy: &str) -> String {
        format!(
            "Policy '{policy}': {self}; run `baton sim --policy {policy}.wasm --json > report.json`, then SET POLICY … REPORT \
             '…' with what it printed, or `baton policy activate {policy} … --report report.json`"
        )
    }
}

#[derive(Deserialize)]
struct LabReport {
    seeds: u64,
    /// Whether all scenarios that come with Baton were played.
    whole_library: bool,
    policies: Vec<Played>,
}

#[derive(Deserialize)]
struct Played {
    hash: String,
    passed: bool,
}

/// Whether a report lets the module of this hash in.
///
/// # Errors
/// [`GateError`].
pub(super) fn check_report(text: &str, hash: &str) -> Result<(), GateError> {
    let report: LabReport =
        serde_json::from_str(text).map_err(|error| GateError::Unreadable(error.to_string()))?;
    let played = report.policies.iter().find(|played| played.hash == hash);
    let played = played.ok_or_else(|| GateError::OtherModule(hash.to_owned()))?;
    if !report.whole_library {
        return Err(GateError::NotTheLibrary);
    }
    if report.seeds < GATE_SEEDS_MIN {
        return Err(GateError::TooFewSeeds(report.seeds));
    }
    if played.passed { Ok(()) } else { Err(GateError::NotPassed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_report_of_this_very_module_that_passed_everything_counts() {
        let report = |seeds: u64, whole: bool, hash: &str, passed: bool| {
            let json = serde_json::json!({
                "seeds": seeds, "first": 1, "held": true, "whole_library": whole,
                "policies": [{"policy": "x", "hash": "other", "passed": true}, {"hash": hash, "passed": passed}],
            });
            check_report(&json.to_string(), "abc")
        };
        assert_eq!(report(1, true, "abc", true), Ok(()));
        assert_eq!(report(1, true, "abd", true), Err(GateError::OtherModule("abc".into())));
        assert_eq!(report(1, false, "abc", true), Err(GateError::NotTheLibrary));
        assert_eq!(report(0, true, "abc", true), Err(GateError::TooFewSeeds(0)));
        assert_eq!(report(1, true, "abc", false), Err(GateError::NotPassed));
        assert!(matches!(check_report("{}", "abc"), Err(GateError::Unreadable(_))));
        assert!(GateError::Missing.for_policy("wary").contains("baton sim --policy wary.wasm --json"));
    }
}
