//! `baton policy run`: one question, and all there is to know of the answer.

use std::path::Path;

use baton_policy::Decided;
use baton_policy_host::CallLimits;
use baton_policy_view::View;
use serde::Serialize;

use crate::ask::{ask, check, load, settings};
use crate::error::PolicyToolError;
use crate::fuel::Used;
use crate::record::read_view;
use crate::report::Report;

#[derive(Serialize)]
struct Ran<'a> {
    policy: &'a str,
    /// The question, with the verdict.
    #[serde(flatten)]
    view: &'a View,
    log: Vec<String>,
    used: Used,
    /// What the view says was decided, where that is something else.
    differences: Vec<String>,
}

pub(crate) fn run(
    report: &Report,
    policy: &Path,
    input: &Path,
    with: &[String],
) -> Result<(), PolicyToolError> {
    let (module, _) = load(policy)?;
    let mut view = read_view(input)?;
    if !with.is_empty() {
        *view.settings_mut() = settings(with)?;
    }
    check(&module, view.point(), view.settings_mut())?;
    let (answered, stats) = ask(&module, &view, &CallLimits::default())
        .map_err(|error| PolicyToolError::Call { policy: module.name().to_owned(), error })?;
    let ran = Ran {
        policy: module.name(),
        view: &answered,
        log: stats.log.iter().map(|line| format!("{} {}", line.level, line.text)).collect(),
        used: Used::of(&view, &stats),
        differences: view.differences(&answered).iter().map(ToString::to_string).collect(),
    };
    report.result(&ran, || {
        let mut text = String::new();
        for Decided { subject, choice, reason } in answered.decided() {
            text.push_str(&format!("{subject}: {choice}\n    {reason}\n"));
        }
        if !ran.differences.is_empty() {
            text.push_str("\notherwise than the view says:\n");
            ran.differences.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        if !ran.log.is_empty() {
            text.push_str("\nlog:\n");
            ran.log.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        format!("{text}\n{}\n", ran.used.lines())
    });
    Ok(())
}
