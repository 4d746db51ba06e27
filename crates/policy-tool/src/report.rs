//! What a person or a program is told: progress on the standard error, results on the standard output.

use std::io::Write;

use serde::Serialize;

/// How to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) json: bool,
}

impl Report {
    /// A line on the way, for people only.
    pub(crate) fn progress(&self, line: &str) {
        if !self.json {
            eprintln!("{line}");
        }
    }

    /// The result. Whoever closed the standard output does not want it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, for_people: impl FnOnce() -> String) {
        let text = if self.json {
            serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
        } else {
            for_people()
        };
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    }
}
