//! A policy's views as its native test: questions in files, each with the verdict that the policy gives.
//!
//! `baton policy test` asks the same ones in the sandbox. Not where the crate is built for WASM.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

pub use baton_policy_view::View;
use baton_policy_view::{Kept, UPDATE_VIEWS, VIEW_FIELDS};
use serde_json::{Map, Value};

use crate::Policy;

/// Asks a policy every `NAME.json` of a folder, as a test does: natively, and all of the answer counts.
///
/// # Panics
/// If a file is no view, an answer is none, or is not the one in the file; with what is decided otherwise. If there are
/// no views at all.
#[allow(clippy::panic, reason = "a test fails by it")]
pub fn check(policy: &dyn Policy, folder: impl AsRef<Path>) {
    let folder = folder.as_ref();
    let paths = files(folder);
    assert!(!paths.is_empty(), "there are no views in {}", folder.display());
    let complaints: Vec<String> = paths.iter().filter_map(|path| complaint(policy, path).err()).collect();
    assert!(
        complaints.is_empty(),
        "{} of {} views are not answered as they say; if they should be, `baton policy test --update` writes them anew\n{}",
        complaints.len(),
        paths.len(),
        complaints.join("\n")
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    paths.sort();
    paths
}

fn complaint(policy: &dyn Policy, path: &Path) -> Result<(), String> {
    let at = |what: String| format!("{}: {what}", path.display());
    let text = fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    let mut view: View = serde_json::from_str(&text).map_err(|error| at(error.to_string()))?;
    policy.check(view.settings_mut()).map_err(|why| at(format!("the settings are refused: {why}")))?;
    let answered = view.answered_by(policy).map_err(|why| at(format!("no valid answer: {why}")))?;
    if env::var_os(UPDATE_VIEWS).is_some() {
        return write_verdict(path, &text, &answered).map_err(at);
    }
    if answered == view {
        return Ok(());
    }
    let differences: Vec<String> = view.differences(&answered).iter().map(ToString::to_string).collect();
    Err(at(match (view.is_answered(), differences.is_empty()) {
        (false, _) => "it has no verdict to compare with".to_owned(),
        (true, true) => "the same is decided, with another reason or memory".to_owned(),
        (true, false) => differences.join("; "),
    }))
}

/// Writes the verdict into a view, and leaves alone whatever else was recorded with it.
fn write_verdict(path: &Path, text: &str, answered: &View) -> Result<(), String> {
    let mut rest: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    VIEW_FIELDS.iter().for_each(|field| drop(rest.remove(*field)));
    let kept = Kept { view: answered, rest };
    let json = serde_json::to_string_pretty(&kept).map_err(|error| error.to_string())? + "\n";
    if json == text { Ok(()) } else { fs::write(path, json).map_err(|error| error.to_string()) }
}
