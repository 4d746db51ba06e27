//! One figure, as it goes to the table.

use anyhow::Result;
use serde::Serialize;

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What it should be; empty if nothing was promised.
    pub goal: String,
    /// What it is.
    pub measured: String,
    /// Whether the goal is met; none without a goal.
    pub met: Option<bool>,
    /// By how much it is missed, and other remarks.
    pub note: String,
}

impl Figure {
    /// Prints it, as one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}
