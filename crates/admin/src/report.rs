//! What a person or a program is told: progress on the standard error, results on the standard output.

use std::io::{BufRead, IsTerminal, Write};

use serde::Serialize;

use crate::error::AdminError;

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

    /// Something that should be known, but stops nothing.
    pub(crate) fn note(&self, line: &str) {
        eprintln!("note: {line}");
    }

    /// The result. Whoever closed the standard output does not want it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, for_people: impl FnOnce() -> String) {
        let text = if self.json {
            serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
        } else {
            for_people()
        };
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    }

    /// Asks, unless the answer was given with the command.
    pub(crate) fn confirm(&self, yes: bool, question: &str) -> Result<(), AdminError> {
        if yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(AdminError::NotConfirmed);
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        match stdin.lock().read_line(&mut answer) {
            Ok(_) if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) => Ok(()),
            _ => Err(AdminError::NotConfirmed),
        }
    }
}

/// Rows under a header, each column as wide as its longest cell.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            std::iter::once(&header).chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
