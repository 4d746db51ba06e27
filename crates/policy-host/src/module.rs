//! A loaded policy, and how it is asked.

use std::fmt;

use baton_model::limits::POLICY_BYTES_MAX;
use baton_policy::{DecisionPoint, Description, Manifest, Settings};
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Engine, Store, Trap};

use crate::bindings::{self, IMPORTS, manifest};
use crate::exports::{Exports, Sandboxed, interface};
use crate::sandbox::{MemoryLimit, Sandbox};
use crate::{CallError, CallLimits, CallStats, LoadError, SettingsError};

/// Settings that a policy may have.
const SETTINGS_MAX: usize = 64;
/// Bytes of a policy's name, of its version, and of a setting's name and default.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of what a policy says of one setting.
const DOC_BYTES_MAX: usize = 1 << 10;

/// The hash by which policies are known: SHA-256, as 64 hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A loaded policy. Every call runs in a fresh instance, so one module can be asked from many threads at once.
pub struct Module {
    manifest: Manifest,
    hash: String,
    pre: InstancePre<Sandbox>,
    describes: manifest::GuestIndices,
    exports: Exports,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("manifest", &self.manifest).field("hash", &self.hash).finish()
    }
}

impl Module {
    pub(crate) fn load(engine: &Engine, linker: &Linker<Sandbox>, bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(LoadError::TooLarge(bytes.len()));
        }
        let component = Component::from_binary(engine, bytes)
            .map_err(|error| LoadError::NoComponent(format!("{error:#}")))?;
        if let Some((name, _)) =
            component.component_type().imports(engine).find(|(name, _)| !IMPORTS.contains(name))
        {
            return Err(LoadError::ForeignImport(name.to_owned()));
        }
        if component.get_export_index(None, interface("manifest")).is_none() {
            return Err(LoadError::NoManifest);
        }
        let wrong = |error: wasmtime::Error| LoadError::WrongInterface(format!("{error:#}"));
        let pre = linker.instantiate_pre(&component).map_err(wrong)?;
        let describes = manifest::GuestIndices::new(&pre).map_err(wrong)?;
        let exports = Exports::of(&component, &pre).map_err(wrong)?;
        let manifest = Manifest {
            name: String::new(),
            version: String::new(),
            decision_points: Vec::new(),
            settings: Vec::new(),
        };
        let mut module = Self { manifest, hash: sha256_hex(bytes), pre, describes, exports };
        module.check_interfaces()?;
        let description = module.describe().map_err(LoadError::Undescribed)?;
        check_description(&description).map_err(LoadError::BadDescription)?;
        let points = module.exports.points();
        if points.is_empty() {
            return Err(LoadError::NoDecisionPoint);
        }
        module.manifest = Manifest::new(description, points);
        Ok(module)
    }

    /// The name it is bound by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// SHA-256 of its bytes, as 64 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What it says of itself, and the decision points it exports.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it can be bound to this decision point with these settings.
    ///
    /// # Errors
    /// [`SettingsError`], with a sentence for whoever asked for it.
    pub fn check(&self, point: DecisionPoint, settings: &Settings) -> Result<(), SettingsError> {
        let name = || self.name().to_owned();
        if !self.manifest.decision_points.contains(&point) {
            return Err(SettingsError::NotAnswered(name(), point));
        }
        if let Some(unknown) =
            settings.keys().find(|key| !self.manifest.settings.iter().any(|setting| setting.name == **key))
        {
            return Err(SettingsError::Unknown(name(), unknown.clone()));
        }
        let (objection, _) = self
            .call(&CallLimits::default(), |store, instance| {
                self.describes
                    .load(&mut *store, instance)?
                    .call_check(&mut *store, &bindings::settings(settings))
            })
            .map_err(|error| SettingsError::Failed(name(), error))?;
        objection.map_err(|text| SettingsError::Refused(name(), text))
    }

    /// Asks it. The answer is valid for the question.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn ask<Q: Sandboxed>(
        &self,
        question: &Q,
        limits: &CallLimits,
    ) -> Result<(Q::Verdict, CallStats), CallError> {
        if !self.manifest.decision_points.contains(&Q::POINT) {
            return Err(CallError::NotExported(Q::POINT));
        }
        let (verdict, stats) = self.call(&limits.of(question), |store, instance| {
            let asked = question.call(&self.exports, store, instance);
            asked.unwrap_or_else(|| Err(wasmtime::Error::msg("it is not exported")))
        })?;
        let verdict = verdict?;
        question.validate(&verdict)?;
        Ok((verdict, stats))
    }

    fn describe(&self) -> Result<Description, CallError> {
        let (description, _) = self.call(&CallLimits::default(), |store, instance| {
            self.describes.load(&mut *store, instance)?.call_describe(&mut *store)
        })?;
        Ok(description.into())
    }

    /// Proves once, at load, that every exported interface has the types it should have.
    fn check_interfaces(&self) -> Result<(), LoadError> {
        let loaded = self.call(&CallLimits::default(), |store, instance| {
            let mut load = || -> wasmtime::Result<()> {
                self.describes.load(&mut *store, instance)?;
                self.exports.check(store, instance)?;
                Ok(())
            };
            Ok(load().map_err(|error| LoadError::WrongInterface(format!("{error:#}"))))
        });
        loaded.map_err(LoadError::Undescribed)?.0
    }

    /// Runs one call in a fresh instance, and says why where it does not return.
    fn call<T>(
        &self,
        limits: &CallLimits,
        ask: impl FnOnce(&mut Store<Sandbox>, &Instance) -> wasmtime::Result<T>,
    ) -> Result<(T, CallStats), CallError> {
        let mut store = Sandbox::store(self.pre.engine(), *limits)
            .map_err(|error| CallError::Trapped(format!("{error:#}")))?;
        let answer = self.pre.instantiate(&mut store).and_then(|instance| ask(&mut store, &instance));
        let stats = Sandbox::stats(&mut store);
        for line in &stats.log {
            tracing::debug!(policy = self.name(), level = line.level, "{}", line.text);
        }
        match answer {
            Ok(answer) => Ok((answer, stats)),
            Err(error) => Err(why(&error, &stats, limits)),
        }
    }
}

fn why(error: &wasmtime::Error, stats: &CallStats, limits: &CallLimits) -> CallError {
    if let Some(MemoryLimit(bytes)) = error.downcast_ref() {
        return CallError::OutOfMemory(*bytes);
    }
    let last_words = stats.log.iter().rev().find(|line| line.level == "error");
    match (error.downcast_ref::<Trap>(), last_words) {
        (Some(Trap::OutOfFuel), _) => CallError::OutOfFuel(limits.fuel),
        (Some(Trap::Interrupt), _) => CallError::TimedOut(limits.time_ms),
        (Some(Trap::StackOverflow), _) => CallError::StackOverflow,
        (Some(_), Some(line)) => CallError::GaveUp(line.text.clone()),
        (Some(trap), None) => CallError::Trapped(trap.to_string()),
        (None, _) => CallError::Unreadable(format!("{error:#}")),
    }
}

fn check_description(description: &Description) -> Result<(), String> {
    let Description { name, version, settings } = description;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let named = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
    if !named(name) {
        return Err(format!("'{name}' is not a name of 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -"));
    }
    if version.is_empty() || version.len() > NAME_BYTES_MAX {
        return Err(format!("the version has {} bytes, not 1 to {NAME_BYTES_MAX}", version.len()));
    }
    if settings.len() > SETTINGS_MAX {
        return Err(format!("it has {} settings, more than {SETTINGS_MAX}", settings.len()));
    }
    for setting in settings {
        if !named(&setting.name)
            || setting.default.len() > NAME_BYTES_MAX
            || setting.doc.len() > DOC_BYTES_MAX
        {
            return Err(format!("the setting '{}' has a bad name or is too long", setting.name));
        }
    }
    Ok(())
}
