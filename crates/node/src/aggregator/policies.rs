//! Statements about policies, executed by the master aggregator.
//!
//! Whatever can be wrong with a module, its settings, its signature or its report is found here, before anything is
//! committed: it never reaches a decision.
//!
//! * A signature is checked before the component is compiled.
//! * What comes with the binary needs neither a signature nor a report.

use std::collections::BTreeMap;

use baton_catalog::{
    Binding, BindingScope, Catalog, Command, NewBinding, PolicyModule, PolicySignature, Rejection,
};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Blob, StatementId};
use baton_policy::{DecisionPoint, Settings};
use baton_policy_host::{BUILTINS, sha256_hex, signature};
use baton_sql::{PolicyScope, PolicyStatement, WantedPolicy};

use super::Aggregator;
use super::cluster::refused;
use super::gate::{GateError, check_report};
use crate::server::wall_clock_ms;
use crate::wire::{ForwardAnswer, ForwardRefusal};

/// The global variable with the keys that policies must be signed by.
pub(super) const TRUSTED_KEYS: &str = "policy_trusted_keys";

fn wrong(text: impl Into<String>) -> SqlError {
    SqlError::new(ErrorCode::WrongArguments, text)
}

/// Why a decision point cannot have a binding of its own for this; None if it can.
///
/// It is what the question is about: a node holds partitions of many databases, so whether it failed or is used again is
/// asked of no single one; where databases go, and what clients are told, is asked of no group; and there is one master
/// aggregator.
pub(super) fn scope_refusal(point: &str, scope: &PolicyScope) -> Option<String> {
    let refused = match scope {
        PolicyScope::Cluster => false,
        PolicyScope::Database(_) => matches!(point, "detection" | "election" | "maintenance" | "rejoin"),
        PolicyScope::Group(_) => matches!(point, "election" | "maintenance" | "placement" | "retry"),
    };
    let kind = match scope {
        PolicyScope::Database(_) => "a database",
        _ => "an availability group",
    };
    refused.then(|| {
        format!("'{point}' is not decided for {kind} by itself; SET POLICY {point} = … without FOR binds it for the cluster")
    })
}

/// Checks the list of trusted keys as it is to be set: each must be a key with which signatures may be checked.
///
/// # Errors
/// 1210 with the key that is none.
pub(super) fn check_trusted_keys(value: &str) -> Result<(), SqlError> {
    let keys = value.split(',').map(str::trim).filter(|key| !key.is_empty());
    for key in keys {
        signature::check_key(key).map_err(|error| wrong(format!("Variable '{TRUSTED_KEYS}': {error}")))?;
    }
    Ok(())
}

/// The keys that policies must be signed by; empty if none has to be.
fn trusted_keys(catalog: &Catalog) -> Vec<String> {
    let value = catalog.variable(TRUSTED_KEYS).unwrap_or_default();
    value.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Whether it is one of those that come with the binary, to the last byte.
fn is_built_in(bytes: &[u8]) -> bool {
    BUILTINS.iter().any(|builtin| builtin.bytes == bytes)
}

/// Whether a module is signed as the cluster wants it.
fn check_signature(
    catalog: &Catalog,
    name: &str,
    hash: &str,
    signed: Option<&PolicySignature>,
) -> Result<(), SqlError> {
    let trusted = trusted_keys(catalog);
    if trusted.is_empty() {
        return Ok(());
    }
    let how = format!(
        "sign it with `baton policy sign` and say CREATE OR REPLACE POLICY `{name}` FROM … SIGNED BY '…' SIGNATURE '…'"
    );
    let Some(PolicySignature { key, signature }) = signed else {
        return Err(refused(format!("Policy '{name}' is not signed, and {TRUSTED_KEYS} is set; {how}")));
    };
    if !trusted.iter().any(|known| known.eq_ignore_ascii_case(key)) {
        return Err(refused(format!(
            "Policy '{name}' is signed by {key}, which is not in {TRUSTED_KEYS}; {how}"
        )));
    }
    signature::verify(name, hash, key, signature)
        .map_err(|error| refused(format!("Policy '{name}': {error}")))
}

/// The scope with the database's id.
fn scope_of(catalog: &Catalog, scope: &PolicyScope) -> Result<BindingScope, SqlError> {
    match scope {
        PolicyScope::Cluster => Ok(BindingScope::Cluster),
        PolicyScope::Group(group) => Ok(BindingScope::Group(*group)),
        PolicyScope::Database(name) => match catalog.database(name) {
            Some(database) => Ok(BindingScope::Database(database.id)),
            None => Err((&Rejection::NoSuchDatabase(name.clone())).into()),
        },
    }
}

/// The decision points that a statement is about: the one that it names, or all of `of` that may have that scope.
fn points_of(
    named: Option<&String>,
    of: impl IntoIterator<Item = String>,
    scope: &PolicyScope,
) -> Result<Vec<String>, SqlError> {
    match named {
        Some(point) => {
            let known: DecisionPoint = point.parse().map_err(|error| wrong(format!("{error}")))?;
            match scope_refusal(known.name(), scope) {
                Some(text) => Err(wrong(text)),
                None => Ok(vec![known.name().to_owned()]),
            }
        }
        None => Ok(of.into_iter().filter(|point| scope_refusal(point, scope).is_none()).collect()),
    }
}

/// The version of a policy whose hash begins like this; the current one without.
fn version_of<'a>(
    catalog: &'a Catalog,
    policy: &str,
    prefix: Option<&str>,
) -> Result<&'a PolicyModule, SqlError> {
    let current = catalog.policy(policy);
    let current = current.ok_or_else(|| SqlError::from(&Rejection::NoSuchPolicy(policy.to_owned())))?;
    let Some(prefix) = prefix else { return Ok(current) };
    let mut found = catalog.policy_versions(policy).filter(|module| module.hash.starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(module), None) => Ok(module),
        (None, _) => Err((&Rejection::NoSuchVersion(policy.to_owned(), format!("{prefix}…"))).into()),
        (Some(_), Some(_)) => Err(wrong(format!(
            "Policy '{policy}' has several versions whose hashes begin with '{prefix}'; name more digits, see SHOW POLICIES"
        ))),
    }
}

impl Aggregator {
    /// Executes a statement about policies.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub(super) async fn execute_policy(
        &self,
        id: StatementId,
        statement: PolicyStatement,
        catalog: &Catalog,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let command = match statement {
            PolicyStatement::Create { name, replace, bytes, signature } => {
                return self.create_policy(id, catalog, &name, replace, bytes, signature).await;
            }
            PolicyStatement::Drop { name, if_exists } => {
                return self.commit(id, Command::DropPolicy { name, if_exists }).await;
            }
            PolicyStatement::Maintenance { node, seconds } => {
                let known = catalog.node_at(&node.host, node.port);
                let node = known.map(|node| node.id).ok_or_else(|| {
                    refused(format!("There is no node {}:{}; see SHOW LEAVES", node.host, node.port))
                })?;
                let until_ms = seconds.map(|seconds| wall_clock_ms() + seconds * 1000);
                return self.commit(id, Command::MarkMaintenance { node, until_ms }).await;
            }
            PolicyStatement::Set { wanted, report } => {
                self.binding(catalog, wanted, false, report.as_deref()).await.map(Command::BindPolicy)?
            }
            PolicyStatement::SetShadow(wanted) => {
                self.binding(catalog, wanted, true, None).await.map(Command::BindPolicy)?
            }
            PolicyStatement::SetDefault { decision_point, scope } => {
                unbind(catalog, decision_point.as_ref(), &scope, false)?
            }
            PolicyStatement::SetNoShadow { decision_point, scope } => {
                unbind(catalog, decision_point.as_ref(), &scope, true)?
            }
            PolicyStatement::Rollback { decision_point, scope } => {
                rollback(catalog, decision_point.as_ref(), &scope)?
            }
            PolicyStatement::Release { name } => Command::ReleasePolicy { name },
        };
        let answer = self.commit(id, command).await?;
        self.await_bound(answer.index).await;
        Ok(answer)
    }

    async fn create_policy(
        &self,
        id: StatementId,
        catalog: &Catalog,
        name: &str,
        replace: bool,
        bytes: Vec<u8>,
        signed: Option<(String, String)>,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let hash = sha256_hex(&bytes);
        let signature = signed.map(|(key, signature)| PolicySignature {
            key: key.to_ascii_lowercase(),
            signature: signature.to_ascii_lowercase(),
        });
        if !is_built_in(&bytes) {
            if BUILTINS.iter().any(|builtin| builtin.name == name) {
                let text = format!(
                    "'{name}' is a policy that comes with the binary, and no other may be called so; give yours a name of its own"
                );
                return Err(refused(text).into());
            }
            check_signature(catalog, name, &hash, signature.as_ref())?;
        }
        // One that is wrong is not kept, whether it has to be there or not.
        if let Some(PolicySignature { key, signature }) = &signature {
            signature::verify(name, &hash, key, signature)
                .map_err(|error| refused(format!("Policy '{name}': {error}")))?;
        }
        if !replace && catalog.policy(name).is_some_and(|current| current.hash != hash) {
            return Err((&Rejection::PolicyExists(name.to_owned())).into());
        }
        let created = async {
            let compiled = self.modules.get(&hash, &bytes).await;
            let module = compiled.map_err(|error| wrong(format!("Policy '{name}': {error}")))?;
            if module.name() != name {
                let text = format!(
                    "The component calls itself '{own}': CREATE POLICY `{own}` FROM …",
                    own = module.name()
                );
                return Err(wrong(text).into());
            }
            let module = PolicyModule {
                name: name.to_owned(),
                version: module.manifest().version.clone(),
                hash: hash.clone(),
                decision_points: module.manifest().decision_points.iter().map(ToString::to_string).collect(),
                bytes: Blob::from(bytes),
                signature,
            };
            self.commit(id, Command::InstallPolicy { module, replace }).await
        };
        let created = created.await;
        if created.is_err()
            && let Some(group) = self.group()
        {
            self.modules.retain(&group.catalog());
        }
        created
    }

    /// What a statement binds, once all that can be wrong with it is ruled out.
    async fn binding(
        &self,
        catalog: &Catalog,
        wanted: WantedPolicy,
        shadow: bool,
        report: Option<&str>,
    ) -> Result<NewBinding, SqlError> {
        let WantedPolicy { decision_point, policy, version, settings, scope } = wanted;
        let module = version_of(catalog, &policy, version.as_deref())?;
        let decision_points =
            points_of(decision_point.as_ref(), module.decision_points.iter().cloned(), &scope)?;
        if decision_points.is_empty() {
            return Err(wrong(format!("Policy '{policy}' decides nothing that can be bound for {scope}")));
        }
        let is_built_in = is_built_in(&module.bytes);
        if !is_built_in {
            check_signature(catalog, &policy, &module.hash, module.signature.as_ref())?;
        }
        if report.is_none() && !is_built_in && !shadow && catalog.switch("policy_gate") {
            return Err(refused(GateError::Missing.for_policy(&policy)));
        }
        // A report that was given is looked at, whether it has to be or not.
        if let Some(report) = report {
            check_report(report, &module.hash).map_err(|error| refused(error.for_policy(&policy)))?;
        }
        self.check_settings(module, &decision_points, &settings).await?;
        Ok(NewBinding {
            decision_points,
            scope: scope_of(catalog, &scope)?,
            shadow,
            policy,
            hash: module.hash.clone(),
            settings,
            report: report.map(|report| sha256_hex(report.as_bytes())),
        })
    }

    /// Asks the module whether it takes these settings.
    async fn check_settings(
        &self,
        stored: &PolicyModule,
        decision_points: &[String],
        settings: &Settings,
    ) -> Result<(), SqlError> {
        let points: Vec<DecisionPoint> =
            decision_points.iter().filter_map(|point| point.parse().ok()).collect();
        let settings = settings.clone();
        let checked = async {
            let module = self.modules.get(&stored.hash, &stored.bytes).await?;
            let check = move || points.into_iter().try_for_each(|point| module.check(point, &settings));
            let checked = tokio::task::spawn_blocking(check).await.map_err(|error| error.to_string())?;
            checked.map_err(|error| error.to_string())
        };
        checked.await.map_err(|error: String| wrong(format!("Policy '{}': {error}", stored.name)))
    }
}

/// The bindings of a scope.
fn bindings_of(catalog: &Catalog, scope: BindingScope, shadow: bool) -> impl Iterator<Item = &Binding> {
    catalog.bindings().filter(move |binding| binding.scope == scope && binding.shadow == shadow)
}

fn unbind(
    catalog: &Catalog,
    decision_point: Option<&String>,
    scope: &PolicyScope,
    shadow: bool,
) -> Result<Command, SqlError> {
    let of = scope_of(catalog, scope)?;
    let all = bindings_of(catalog, of, shadow).map(|binding| binding.decision_point.clone());
    let decision_points = points_of(decision_point, all, scope)?;
    if decision_points.is_empty() {
        return Err(refused(format!("Nothing is bound for {scope}; see SHOW POLICY BINDINGS")));
    }
    Ok(Command::UnbindPolicy { decision_points, scope: of, shadow })
}

/// What was bound before must be signed as the cluster wants it now. It needs no report: it has decided already.
fn rollback(
    catalog: &Catalog,
    decision_point: Option<&String>,
    scope: &PolicyScope,
) -> Result<Command, SqlError> {
    let of = scope_of(catalog, scope)?;
    let known = bindings_of(catalog, of, false).filter(|binding| !binding.previous.is_empty());
    let decision_points = points_of(decision_point, known.map(|b| b.decision_point.clone()), scope)?;
    if decision_points.is_empty() {
        let text = format!(
            "Nothing was bound for {scope} before that is still known; SET POLICY says what is to be"
        );
        return Err(refused(text));
    }
    let mut back_to = BTreeMap::new();
    for point in decision_points {
        let before = catalog.binding_at(&point, of, false).and_then(|binding| binding.previous.last());
        let hash = before.map_or_else(String::new, |before| before.hash.clone());
        if let Some(module) = catalog.module(&hash).filter(|module| !is_built_in(&module.bytes)) {
            check_signature(catalog, &module.name, &module.hash, module.signature.as_ref())?;
        }
        back_to.insert(point, hash);
    }
    Ok(Command::RollbackPolicy { back_to, scope: of })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ALL` leaves out what its scope does not allow, and a point that is named is refused with a reason.
    #[test]
    fn a_scope_says_which_decision_points_it_is_for() {
        let all = || DecisionPoint::ALL.map(|point| point.to_string());
        let database = PolicyScope::Database("shop".into());
        assert_eq!(points_of(None, all(), &PolicyScope::Cluster).unwrap(), all());
        let of_database = points_of(None, all(), &database).unwrap();
        assert!(
            of_database.contains(&"promotion".to_owned()) && !of_database.contains(&"detection".to_owned())
        );
        let of_group = points_of(None, all(), &PolicyScope::Group(2)).unwrap();
        assert!(of_group.contains(&"detection".to_owned()) && !of_group.contains(&"election".to_owned()));
        let refusal = points_of(Some(&"election".to_owned()), [], &database).unwrap_err();
        assert!(refusal.message.contains("without FOR"), "{}", refusal.message);
        assert!(points_of(Some(&"weather".to_owned()), [], &database).is_err());
    }

    #[test]
    fn trusted_keys_are_keys() {
        let key = signature::SecretKey::generate().unwrap().public();
        assert!(check_trusted_keys("").is_ok());
        assert!(check_trusted_keys(&format!(" {key}, {key}")).is_ok());
        assert!(check_trusted_keys(&format!("{key},{}", "0".repeat(63))).is_err());
        assert!(check_trusted_keys(&format!("01{}", "00".repeat(31))).is_err(), "a weak key");
    }
}
