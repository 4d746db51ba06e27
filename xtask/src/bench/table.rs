//! The table of all figures.

use anyhow::{Context, Result};
use serde_json::Value;

/// A line of the table.
#[derive(Clone, Debug)]
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
    /// Reads a line that the cluster benches printed.
    ///
    /// # Errors
    /// When it is no figure.
    pub fn read(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("no figure: {line}"))?;
        let text = |field: &str| {
            value[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {line}"))
        };
        Ok(Self {
            what: text("what")?,
            goal: text("goal")?,
            measured: text("measured")?,
            met: value["met"].as_bool(),
            note: text("note")?,
        })
    }
}

/// The table as Markdown, columns aligned for people who read it plain.
pub fn markdown(figures: &[Figure]) -> String {
    let heads = ["what", "goal", "measured", "", "remarks"].map(str::to_owned);
    let mut rows = vec![heads];
    rows.extend(figures.iter().map(|figure| {
        let met = match figure.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [
            figure.what.clone(),
            figure.goal.clone(),
            figure.measured.clone(),
            met.to_owned(),
            figure.note.clone(),
        ]
    }));
    let widths: Vec<usize> =
        (0..5).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if i == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat((*width).max(3))).collect();
            text.push_str(&format!("| {} |\n", rules.join(" | ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_and_printed() {
        let line =
            r#"{"what": "gap", "goal": "≤ 0.5 s", "measured": "0.612 s", "met": false, "note": "long"}"#;
        let figure = Figure::read(line).expect("it is one");
        let text = markdown(&[figure]);
        assert!(text.contains("| gap  | ≤ 0.5 s | 0.612 s  | MISSED | long    |"), "{text}");
        assert!(Figure::read("{}").is_err());
    }
}
