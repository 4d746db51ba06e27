//! Asks a policy in the sandbox, whichever decision point it is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use baton_policy::{Classic, DecisionPoint, Settings};
use baton_policy_host::{CallError, CallLimits, CallStats, Module, PolicyHost, Sandboxed};
use baton_policy_view::{Asked, View, each_view, map_view};

use crate::error::{PolicyToolError, io};

/// Loads a component as a node would.
pub(crate) fn load(path: &Path) -> Result<(Arc<Module>, Vec<u8>), PolicyToolError> {
    let bytes = fs::read(path).map_err(io("read", path))?;
    Ok((load_bytes(path, &bytes)?, bytes))
}

/// Loads a component that came from there, as a node would.
pub(crate) fn load_bytes(from: &Path, bytes: &[u8]) -> Result<Arc<Module>, PolicyToolError> {
    let loaded = PolicyHost::new()?.compile(bytes);
    loaded.map_err(|error| PolicyToolError::Load { path: from.to_owned(), error })
}

/// The same question with the policy's answer, which is valid, and what that cost.
pub(crate) fn ask(module: &Module, view: &View, limits: &CallLimits) -> Result<(View, CallStats), CallError> {
    fn put<Q: Sandboxed>(
        Asked { input, .. }: &Asked<Q, Q::Verdict>,
        module: &Module,
        limits: &CallLimits,
    ) -> Result<(Asked<Q, Q::Verdict>, CallStats), CallError> {
        let (verdict, stats) = module.ask(input, limits)?;
        Ok((Asked { input: input.clone(), verdict: Some(verdict) }, stats))
    }
    let used;
    let view = map_view!(view, asked => {
        let (answered, stats) = put(asked, module, limits)?;
        used = stats;
        answered
    });
    Ok((view, used))
}

/// What an answer costs, without the answer.
pub(crate) fn cost(module: &Module, view: &View, limits: &CallLimits) -> Result<CallStats, CallError> {
    each_view!(view, asked => module.ask(&asked.input, limits).map(|(_, stats)| stats))
}

/// The same question as a node decides it: by the policy, by native classic if that gives no valid answer, and within the
/// ceiling. With why it was classic.
pub(crate) fn decide(module: &Module, view: &View, limits: &CallLimits) -> (View, Option<CallError>) {
    match ask(module, view, limits) {
        Ok((answered, _)) => (answered.within_ceiling(), None),
        // Classic answers every question.
        Err(error) => {
            let answered = view.answered_by(&Classic).unwrap_or_else(|_| view.clone());
            (answered.within_ceiling(), Some(error))
        }
    }
}

/// Reads `NAME=VALUE`, each.
pub(crate) fn settings(with: &[String]) -> Result<Settings, PolicyToolError> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| PolicyToolError::BadSetting(text.clone()))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    with.iter().map(pair).collect()
}

/// Has the policy check its settings, as binding it would.
pub(crate) fn check(
    module: &Module,
    point: DecisionPoint,
    settings: &Settings,
) -> Result<(), PolicyToolError> {
    Ok(module.check(point, settings)?)
}

/// Writes a file as a whole, or leaves what was there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), PolicyToolError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        io("write", path)(error)
    })
}
