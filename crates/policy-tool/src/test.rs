//! `baton policy test`: the policy's own tests, and its views once more in the sandbox.
//!
//! The native test of a crate that was begun with `new` answers the same views, so what passes here answers alike in
//! both worlds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_policy_host::{CallLimits, Module};
use baton_policy_view::{Kept, UPDATE_VIEWS, VIEW_FIELDS, View};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::ask::{ask, check, load, write_whole};
use crate::build::Crate;
use crate::error::{PolicyToolError, io};
use crate::record::read_view;
use crate::report::Report;

/// The folder of a policy's views.
const VIEWS: &str = "views";
#[derive(Serialize)]
struct Tested {
    views: usize,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    view: String,
    why: Vec<String>,
}

pub(crate) fn test(report: &Report, folder: &Path, update: bool) -> Result<(), PolicyToolError> {
    let policy = Crate::open(folder)?;
    let views = views(&policy.folder.join(VIEWS))?;
    report.progress("native: cargo test");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet"]).current_dir(&policy.folder);
    cargo.env_remove(UPDATE_VIEWS);
    if update {
        cargo.env(UPDATE_VIEWS, "1");
    }
    // What the tests say is progress: the result is one object, or a few lines.
    let ended = cargo.stdout(std::io::stderr()).status().map_err(io("start cargo in", &policy.folder))?;
    if !ended.success() {
        return Err(PolicyToolError::OwnTests);
    }
    report.progress("sandbox: building the component");
    let component = policy.build()?.component;
    let (module, _) = load(&component)?;
    if update {
        // The native test has done so, if it asks the views at all.
        write_verdicts(&module, &views)?;
    }
    ask_all(report, &module, &views, "natively and in the sandbox")?;
    report.progress(&format!("next: baton policy bench {}", component.display()));
    Ok(())
}

/// Asks a component the views in the folder beside it.
pub(crate) fn test_component(report: &Report, component: &Path, update: bool) -> Result<(), PolicyToolError> {
    let (module, _) = load(component)?;
    let views = views(&component.parent().unwrap_or(Path::new("")).join(VIEWS))?;
    if update {
        write_verdicts(&module, &views)?;
    }
    ask_all(report, &module, &views, "in the sandbox")
}

/// Writes the verdicts into all views, or into none. Whatever else was recorded with them stays.
fn write_verdicts(module: &Module, views: &[PathBuf]) -> Result<(), PolicyToolError> {
    let mut answers = Vec::new();
    for path in views {
        let mut view = read_view(path)?;
        check(module, view.point(), view.settings_mut())?;
        let (answered, _) = ask(module, &view, &CallLimits::default())
            .map_err(|error| PolicyToolError::Call { policy: module.name().to_owned(), error })?;
        answers.push((path, answered));
    }
    for (path, answered) in answers {
        let text = fs::read(path).map_err(io("read", path))?;
        let garbled = |error: serde_json::Error| io("write", path)(error.into());
        let mut rest: Map<String, Value> = serde_json::from_slice(&text).map_err(garbled)?;
        VIEW_FIELDS.iter().for_each(|field| drop(rest.remove(*field)));
        let mut json = serde_json::to_vec_pretty(&Kept { view: &answered, rest })
            .map_err(|error| io("write", path)(error.into()))?;
        json.push(b'\n');
        if json != text {
            write_whole(path, &json)?;
        }
    }
    Ok(())
}

fn ask_all(report: &Report, module: &Module, views: &[PathBuf], how: &str) -> Result<(), PolicyToolError> {
    let mut tested = Tested { views: views.len(), failed: Vec::new() };
    for path in views {
        let mut view = read_view(path)?;
        let why = match module.check(view.point(), view.settings_mut()) {
            Err(error) => vec![error.to_string()],
            Ok(()) => match ask(module, &view, &CallLimits::default()) {
                Err(error) => vec![format!("it gave no valid answer: {error}")],
                Ok((answered, _)) => otherwise(&view, &answered),
            },
        };
        if !why.is_empty() {
            tested.failed.push(Failed { view: path.display().to_string(), why });
        }
    }
    report.result(&tested, || {
        let mut text = String::new();
        for failed in &tested.failed {
            text.push_str(&format!("{}\n", failed.view));
            failed.why.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        let passed = tested.views - tested.failed.len();
        format!("{text}{passed} of {} views are answered as they say, {how}", tested.views)
    });
    if tested.failed.is_empty() {
        return Ok(());
    }
    Err(PolicyToolError::Views { failed: tested.failed.len(), views: tested.views })
}

/// Reasons and memories count as well here: the answer is the whole of it.
fn otherwise(view: &View, answered: &View) -> Vec<String> {
    if !view.is_answered() {
        return vec!["it has no verdict to compare with: say --update".to_owned()];
    }
    if view == answered {
        return Vec::new();
    }
    let differences = view.differences(answered);
    if differences.is_empty() {
        return vec!["the same is decided, with another reason or memory, or in another order".to_owned()];
    }
    differences.iter().map(ToString::to_string).collect()
}

/// The views of a policy, by name.
fn views(folder: &Path) -> Result<Vec<PathBuf>, PolicyToolError> {
    let none = || PolicyToolError::NoViews(folder.to_owned());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|_| none())? {
        let path = entry.map_err(io("read", folder))?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(none()) } else { Ok(found) }
}
