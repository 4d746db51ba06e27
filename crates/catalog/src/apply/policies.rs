//! Policy modules, where they decide, what was bound before, and what is in quarantine.
//!
//! A binding names bytes, not a name: a new version of a policy decides nothing until it is bound.
//! What is bound, or may be bound again by a rollback, is kept; of the other versions of a name the newest ones are.

use std::collections::BTreeMap;

use baton_model::limits::{
    MAINTENANCE_MAX_MS, POLICIES_MAX, POLICY_BINDINGS_KEPT, POLICY_BINDINGS_MAX, POLICY_BYTES_MAX,
    POLICY_VERSIONS_KEPT, QUARANTINES_KEPT,
};
use baton_model::{DatabaseId, NodeId};

use super::Step;
use crate::command::NewBinding;
use crate::objects::{
    Binding, BindingKey, BindingScope, BoundModule, PolicyModule, PolicyVersions, Quarantine,
    REFERENCE_POLICY, Severity, event_type,
};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn install_policy(&mut self, module: &PolicyModule, replace: bool) -> Outcome {
        check_size(module)?;
        let known = self.catalog.modules.get(&module.hash);
        if let Some(other) = known.filter(|known| known.name != module.name) {
            return Err(Rejection::PolicyExists(other.name.clone()));
        }
        let signature = module.signature.clone().or_else(|| known.and_then(|known| known.signature.clone()));
        let mut hashes =
            self.catalog.policies.get(&module.name).map(|policy| policy.hashes.clone()).unwrap_or_default();
        if hashes.is_empty() && self.catalog.policies.len() >= POLICIES_MAX {
            let text =
                format!("a cluster has at most {POLICIES_MAX} policies; DROP POLICY those that are not used");
            return Err(Rejection::Limit(text));
        }
        let is_current = hashes.last() == Some(&module.hash);
        if !is_current && !hashes.is_empty() && !replace {
            return Err(Rejection::PolicyExists(module.name.clone()));
        }
        if is_current && known.is_some_and(|known| known.signature == signature) {
            return self.done();
        }
        hashes.retain(|hash| *hash != module.hash);
        hashes.push(module.hash.clone());
        self.catalog
            .policies
            .insert(module.name.clone(), PolicyVersions { name: module.name.clone(), hashes });
        self.catalog.modules.insert(module.hash.clone(), PolicyModule { signature, ..module.clone() });
        self.changed.extend([RowKey::Policy(module.name.clone()), RowKey::Module(module.hash.clone())]);
        self.forget_versions(&module.name);
        let text = format!("{} {} ({})", module.name, module.version, short(&module.hash));
        self.event(Severity::Notice, event_type::POLICY_INSTALLED, None, text);
        self.done()
    }

    pub(super) fn drop_policy(&mut self, name: &str, if_exists: bool) -> Outcome {
        let Some(policy) = self.catalog.policies.get(name) else {
            return if if_exists { self.done() } else { Err(Rejection::NoSuchPolicy(name.into())) };
        };
        if name == REFERENCE_POLICY {
            return Err(Rejection::PolicyBuiltIn(name.into()));
        }
        if let Some(binding) = self.catalog.bindings.values().find(|binding| binding.policy == name) {
            let place = format!("{}{}", binding.decision_point, self.catalog.scope_text(binding.scope));
            return Err(Rejection::PolicyBound(name.into(), place));
        }
        for hash in policy.hashes.clone() {
            self.catalog.modules.remove(&hash);
            self.changed.insert(RowKey::Module(hash));
        }
        self.catalog.policies.remove(name);
        self.changed.insert(RowKey::Policy(name.into()));
        let bindings: Vec<Binding> = self.catalog.bindings.values().cloned().collect();
        for mut binding in bindings {
            if binding.previous.iter().any(|module| module.policy == name) {
                binding.previous.retain(|module| module.policy != name);
                self.put_binding(binding);
            }
        }
        self.event(Severity::Notice, event_type::POLICY_DROPPED, None, name.into());
        self.done()
    }

    /// All of the decision points, or none.
    pub(super) fn bind_policy(&mut self, new: &NewBinding) -> Outcome {
        let NewBinding { decision_points, scope, shadow, policy, hash, settings, report } = new;
        let known = self.catalog.policies.get(policy);
        let known = known.ok_or_else(|| Rejection::NoSuchPolicy(policy.clone()))?;
        let module = self.catalog.modules.get(hash).filter(|_| known.hashes.contains(hash));
        let module = module.ok_or_else(|| Rejection::NoSuchVersion(policy.clone(), hash.clone()))?;
        for point in decision_points {
            check_point(module, point)?;
        }
        self.check_scope(*scope)?;
        self.check_quarantine(hash)?;
        let key =
            |point: &String| BindingKey { decision_point: point.clone(), scope: *scope, shadow: *shadow };
        let added = decision_points.iter().filter(|point| !self.catalog.bindings.contains_key(&key(point)));
        if self.catalog.bindings.len() + added.count() > POLICY_BINDINGS_MAX {
            let text = format!(
                "a cluster has at most {POLICY_BINDINGS_MAX} bindings; SET POLICY … = DEFAULT FOR … removes one"
            );
            return Err(Rejection::Limit(text));
        }
        for point in decision_points {
            let old = self.catalog.bindings.get(&key(point)).cloned();
            let mut previous = old.as_ref().map(|old| old.previous.clone()).unwrap_or_default();
            // The same again is nothing to come back to.
            if let Some(old) = old.filter(|old| (&old.hash, &old.settings) != (hash, settings)) {
                previous.push(old.module());
                previous.drain(..previous.len().saturating_sub(POLICY_BINDINGS_KEPT));
            }
            self.put_binding(Binding {
                decision_point: point.clone(),
                scope: *scope,
                shadow: *shadow,
                policy: policy.clone(),
                hash: hash.clone(),
                settings: settings.clone(),
                report: report.clone(),
                previous,
            });
            let does = if *shadow { "is asked beside" } else { "decides" };
            let scope = self.catalog.scope_text(*scope);
            let text = format!("{policy} ({}) {does} at {point}{scope}", short(hash));
            self.event(Severity::Notice, event_type::POLICY_BOUND, None, text);
        }
        self.forget_all_versions();
        self.done()
    }

    /// All of the decision points, or none.
    pub(super) fn unbind_policy(
        &mut self,
        decision_points: &[String],
        scope: BindingScope,
        shadow: bool,
    ) -> Outcome {
        let mut gone = Vec::new();
        for point in decision_points {
            if scope == BindingScope::Cluster && !shadow {
                return Err(Rejection::ClusterBinding(point.clone()));
            }
            gone.push(self.bound(point, scope, shadow)?);
        }
        for binding in gone {
            self.remove_binding(&binding);
        }
        self.forget_all_versions();
        self.done()
    }

    /// All of the decision points, or none.
    pub(super) fn roll_policy_back(
        &mut self,
        back_to: &BTreeMap<String, String>,
        scope: BindingScope,
    ) -> Outcome {
        let mut back = Vec::new();
        for (point, wanted) in back_to {
            let mut binding = self.bound(point, scope, false)?;
            let nothing = || Rejection::NothingBefore(point.clone(), self.catalog.scope_text(scope));
            let BoundModule { policy, hash, settings, report } =
                binding.previous.pop().ok_or_else(nothing)?;
            if hash != *wanted {
                return Err(Rejection::BoundMeanwhile(point.clone()));
            }
            self.check_quarantine(&hash)?;
            back.push(Binding { policy, hash, settings, report, ..binding });
        }
        for binding in back {
            let (policy, hash) = (binding.policy.clone(), short(&binding.hash).to_owned());
            let place = format!("{}{}", binding.decision_point, self.catalog.scope_text(scope));
            self.put_binding(binding);
            let text = format!("{policy} ({hash}) decides at {place} again, as before");
            self.event(Severity::Notice, event_type::POLICY_BOUND, None, text);
        }
        self.forget_all_versions();
        self.done()
    }

    pub(super) fn quarantine_policy(&mut self, hash: &str, reason: &str) -> Outcome {
        let module = self.catalog.modules.get(hash).ok_or_else(|| Rejection::NoSuchPolicy(hash.into()))?;
        let policy = module.name.clone();
        if self.catalog.quarantines.contains_key(hash) {
            return self.done();
        }
        // One whose module is gone is missed least.
        if self.catalog.quarantines.len() >= QUARANTINES_KEPT {
            let modules = &self.catalog.modules;
            let age = |q: &&Quarantine| (modules.contains_key(&q.hash), q.at_ms, q.hash.clone());
            let oldest = self.catalog.quarantines.values().min_by_key(age).map(|q| q.hash.clone());
            if let Some(hash) = oldest {
                self.catalog.quarantines.remove(&hash);
                self.changed.insert(RowKey::Quarantine(hash));
            }
        }
        let text = format!("{policy} ({}) does not decide any more: {reason}", short(hash));
        let quarantine = Quarantine { hash: hash.into(), policy, reason: reason.into(), at_ms: self.at_ms };
        self.catalog.quarantines.insert(hash.into(), quarantine);
        self.changed.insert(RowKey::Quarantine(hash.into()));
        self.event(Severity::Warning, event_type::POLICY_QUARANTINED, None, text);
        self.done()
    }

    pub(super) fn release_policy(&mut self, name: &str) -> Outcome {
        let held = self.catalog.quarantines.values().filter(|held| held.policy == name);
        let held: Vec<String> = held.map(|held| held.hash.clone()).collect();
        if held.is_empty() && !self.catalog.policies.contains_key(name) {
            return Err(Rejection::NoSuchPolicy(name.into()));
        }
        if held.is_empty() {
            return Err(Rejection::NotQuarantined(name.into()));
        }
        for hash in held {
            self.catalog.quarantines.remove(&hash);
            let text = format!("{name} ({}) may decide again", short(&hash));
            self.changed.insert(RowKey::Quarantine(hash));
            self.event(Severity::Notice, event_type::POLICY_RELEASED, None, text);
        }
        self.done()
    }

    pub(super) fn mark_maintenance(&mut self, id: NodeId, until_ms: Option<u64>) -> Outcome {
        let now_ms = self.at_ms;
        let node = self.catalog.nodes.get_mut(&id).ok_or(Rejection::NoSuchNode(id))?;
        if let Some(until_ms) = until_ms
            && !(now_ms < until_ms && until_ms <= now_ms.saturating_add(MAINTENANCE_MAX_MS))
        {
            let hours = MAINTENANCE_MAX_MS / 3_600_000;
            return Err(Rejection::Limit(format!(
                "maintenance ends within {hours} hours; say it again then"
            )));
        }
        if node.maintenance_until_ms == until_ms {
            return self.done();
        }
        node.maintenance_until_ms = until_ms;
        let address = node.address();
        self.changed.insert(RowKey::Node(id));
        let (kind, text) = match until_ms {
            Some(until_ms) => {
                let seconds = until_ms.saturating_sub(now_ms).div_ceil(1000);
                (event_type::MAINTENANCE_MARKED, format!("{address} is under maintenance for {seconds} s"))
            }
            None => (event_type::MAINTENANCE_ENDED, format!("{address} is not under maintenance any more")),
        };
        self.event(Severity::Notice, kind, Some(id), text);
        self.done()
    }

    /// The bindings for a database go with it.
    pub(super) fn forget_bindings_of(&mut self, id: DatabaseId) {
        let scope = BindingScope::Database(id);
        let gone: Vec<Binding> =
            self.catalog.bindings.values().filter(|binding| binding.scope == scope).cloned().collect();
        for binding in &gone {
            self.remove_binding(binding);
        }
        if !gone.is_empty() {
            self.forget_all_versions();
        }
    }

    fn bound(&self, point: &str, scope: BindingScope, shadow: bool) -> Result<Binding, Rejection> {
        let nothing = || Rejection::NotBound(point.to_owned(), self.catalog.scope_text(scope));
        self.catalog.binding_at(point, scope, shadow).cloned().ok_or_else(nothing)
    }

    fn put_binding(&mut self, binding: Binding) {
        self.changed.insert(RowKey::Binding(binding.key()));
        self.catalog.bindings.insert(binding.key(), binding);
    }

    fn remove_binding(&mut self, binding: &Binding) {
        self.catalog.bindings.remove(&binding.key());
        self.changed.insert(RowKey::Binding(binding.key()));
        let scope = self.catalog.scope_text(binding.scope);
        let does = if binding.shadow { "is not asked beside" } else { "does not decide" };
        let Binding { policy, hash, decision_point, .. } = binding;
        let text = format!("{policy} ({}) {does} at {decision_point}{scope} any more", short(hash));
        self.event(Severity::Notice, event_type::POLICY_UNBOUND, None, text);
    }

    fn check_scope(&self, scope: BindingScope) -> Result<(), Rejection> {
        match scope {
            BindingScope::Database(id)
                if !self.catalog.databases.contains_key(&id) || self.catalog.restores.contains_key(&id) =>
            {
                Err(Rejection::NoSuchDatabaseId(id))
            }
            BindingScope::Group(group) if !(1..=2).contains(&group) => Err(Rejection::NoSuchGroup(group)),
            _ => Ok(()),
        }
    }

    fn check_quarantine(&self, hash: &str) -> Result<(), Rejection> {
        match self.catalog.quarantines.get(hash) {
            Some(held) => Err(Rejection::Quarantined(held.policy.clone(), held.reason.clone())),
            None => Ok(()),
        }
    }

    /// Forgets versions that no binding needs any more.
    fn forget_all_versions(&mut self) {
        let names: Vec<String> = self.catalog.policies.keys().cloned().collect();
        names.iter().for_each(|name| self.forget_versions(name));
    }

    /// Forgets the oldest versions of a name that nobody needs, if there are too many.
    fn forget_versions(&mut self, name: &str) {
        let Some(mut policy) = self.catalog.policies.get(name).cloned() else { return };
        let is_needed = |hash: &String| self.catalog.bindings.values().any(|binding| binding.needs(hash));
        while policy.hashes.len() > POLICY_VERSIONS_KEPT {
            let older = &policy.hashes[..policy.hashes.len() - 1];
            let Some(at) = older.iter().position(|hash| !is_needed(hash)) else { return };
            let hash = policy.hashes.remove(at);
            self.catalog.modules.remove(&hash);
            self.catalog.policies.insert(name.into(), policy.clone());
            self.changed.extend([RowKey::Policy(name.into()), RowKey::Module(hash)]);
        }
    }
}

/// Whether these modules can be installed and bound like this, from nothing.
pub(super) fn check_policies(
    policies: &[PolicyModule],
    bindings: &[(String, String)],
) -> Result<(), Rejection> {
    policies.iter().try_for_each(check_size)?;
    if policies.len() > POLICIES_MAX {
        return Err(Rejection::Limit(format!("a cluster has at most {POLICIES_MAX} policies")));
    }
    let other =
        |module: &PolicyModule| policies.iter().any(|m| m.hash == module.hash && m.name != module.name);
    if let Some(twice) = policies.iter().find(|module| other(module)) {
        return Err(Rejection::PolicyExists(twice.name.clone()));
    }
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
