//! `baton policy inspect`: what a component is.

use std::path::Path;

use baton_policy::{Manifest, SettingDoc};
use baton_policy_host::Module;
use serde::Serialize;

use crate::ask::load;
use crate::error::PolicyToolError;
use crate::report::Report;

/// What a component is.
#[derive(Serialize, Debug)]
pub(crate) struct Inspected {
    name: String,
    version: String,
    decision_points: Vec<String>,
    settings: Vec<SettingDoc>,
    imports: Vec<String>,
    bytes: usize,
    sha256: String,
}

impl Inspected {
    pub(crate) fn of(module: &Module, bytes: &[u8]) -> Result<Self, PolicyToolError> {
        let Manifest { name, version, decision_points, settings } = module.manifest().clone();
        Ok(Self {
            name,
            version,
            decision_points: decision_points.iter().map(ToString::to_string).collect(),
            settings,
            imports: baton_policy_build::imports(bytes)?,
            bytes: bytes.len(),
            sha256: module.hash().to_owned(),
        })
    }

    /// For people.
    pub(crate) fn lines(&self) -> String {
        let mut text = format!(
            "{} {}\nanswers  {}\nimports  {}\nsize     {} bytes\nsha256   {}\n",
            self.name,
            self.version,
            self.decision_points.join(", "),
            if self.imports.is_empty() { "nothing".to_owned() } else { self.imports.join(", ") },
            self.bytes,
            self.sha256
        );
        if self.settings.is_empty() {
            text.push_str("settings none\n");
        }
        for setting in &self.settings {
            let default = if setting.default.is_empty() { "empty" } else { &setting.default };
            text.push_str(&format!("\n  {} (default {default})\n    {}\n", setting.name, setting.doc));
        }
        text
    }
}

pub(crate) fn inspect(report: &Report, policy: &Path) -> Result<(), PolicyToolError> {
    let (module, bytes) = load(policy)?;
    let inspected = Inspected::of(&module, &bytes)?;
    report.result(&inspected, || inspected.lines());
    Ok(())
}
