//! The programs of the workspace, built in release.
//!
//! By one cargo call for the whole workspace: a call for a part of it resolves other features and would compile heavy
//! libraries again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::checkout;

/// Built programs by name.
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds all of them.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build() -> Result<Self> {
        let mut command = checkout::cargo(&["build", "--release", "--workspace", "--bins"])?;
        eprintln!("  $ {}", checkout::printed(&command));
        command.arg("--message-format=json-render-diagnostics");
        let mut programs = BTreeMap::new();
        for line in checkout::output_of(command)?.lines() {
            let message: Value =
                serde_json::from_str(line).context("cargo printed a message that is no JSON")?;
            if let (Some(path), Some(name)) =
                (message["executable"].as_str(), message["target"]["name"].as_str())
            {
                programs.insert(name.to_owned(), PathBuf::from(path));
            }
        }
        Ok(Self(programs))
    }

    /// The program of that name.
    ///
    /// # Errors
    /// When no crate builds it.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.with_context(|| format!("no crate of the workspace builds the program `{name}`"))
    }
}
