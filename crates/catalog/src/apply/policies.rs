//! Policy modules and where they decide.

use std::collections::BTreeMap;

use baton_model::limits::POLICY_BYTES_MAX;

use super::Step;
use crate::objects::{Binding, PolicyModule, Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn install_policy(&mut self, module: &PolicyModule) -> Outcome {
        check_size(module)?;
        self.catalog.policies.insert(module.name.clone(), module.clone());
        self.changed.insert(RowKey::Policy(module.name.clone()));
        let text = format!("{} {} ({})", module.name, module.version, short(&module.hash));
        self.event(Severity::Notice, event_type::POLICY_INSTALLED, None, text);
        self.done()
    }

    /// All of the decision points, or none.
    pub(super) fn bind_policy(
        &mut self,
        decision_points: &[String],
        policy: &str,
        settings: &BTreeMap<String, String>,
    ) -> Outcome {
        let module =
            self.catalog.policies.get(policy).ok_or_else(|| Rejection::NoSuchPolicy(policy.into()))?;
        let hash = module.hash.clone();
        for point in decision_points {
            check_point(module, point)?;
        }
        for point in decision_points {
            let binding = Binding {
                decision_point: point.clone(),
                policy: policy.into(),
                hash: hash.clone(),
                settings: settings.clone(),
            };
            self.catalog.bindings.insert(point.clone(), binding);
            self.changed.insert(RowKey::Binding(point.clone()));
            let text = format!("{policy} ({}) decides at {point}", short(&hash));
            self.event(Severity::Notice, event_type::POLICY_BOUND, None, text);
        }
        self.done()
    }
}

/// Whether these modules can be installed and bound like this, from nothing.
pub(super) fn check_policies(
    policies: &[PolicyModule],
    bindings: &[(String, String)],
) -> Result<(), Rejection> {
    policies.iter().try_for_each(check_size)?;
    bindings.iter().try_for_each(|(point, policy)| {
        let module = policies.iter().rfind(|module| module.name == *policy);
        check_point(module.ok_or_else(|| Rejection::NoSuchPolicy(policy.clone()))?, point)
    })
}

fn check_size(module: &PolicyModule) -> Result<(), Rejection> {
    if module.bytes.len() > POLICY_BYTES_MAX {
        return Err(Rejection::Limit(format!("a policy has at most {POLICY_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_point(module: &PolicyModule, point: &String) -> Result<(), Rejection> {
    if !module.decision_points.contains(point) {
        return Err(Rejection::NotADecisionPointOf(module.name.clone(), point.clone()));
    }
    Ok(())
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
