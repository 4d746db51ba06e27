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

/// Rows in a box, as the documents show them: of a name in several words the first stands above the others, and what
/// is NULL is `null`.
pub(crate) fn boxed(columns: &[String], rows: &[Vec<Option<String>>]) -> String {
    let heads: Vec<(String, String)> = columns
        .iter()
        .map(|name| match name.split_once('_') {
            Some((first, rest)) => (first.to_owned(), rest.replace('_', " ")),
            None => (name.clone(), String::new()),
        })
        .collect();
    let cells: Vec<Vec<&str>> =
        rows.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("null")).collect()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            let of_rows = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let (first, rest) = &heads[column];
            of_rows.chain([first.chars().count(), rest.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    let line = |cells: Vec<&str>| -> String {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("| {cell:<width$} "));
        cells.collect::<String>() + "|\n"
    };
    let mut text = format!("{rule}+\n");
    text += &line(heads.iter().map(|(first, _)| first.as_str()).collect());
    if heads.iter().any(|(_, rest)| !rest.is_empty()) {
        text += &line(heads.iter().map(|(_, rest)| rest.as_str()).collect());
    }
    text += &format!("{rule}+\n");
    text += &cells.into_iter().map(line).collect::<String>();
    text + &rule + "+\n"
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

#[cfg(test)]
mod tests {
    use super::boxed;

    #[test]
    fn a_table_is_boxed_as_in_the_documents() {
        let columns = ["Host", "Port", "Opened_Connections"].map(String::from);
        let row = |cells: [Option<&str>; 3]| cells.map(|cell| cell.map(String::from)).to_vec();
        let rows = [row([Some("127.0.0.1"), Some("3306"), Some("1")]), row([Some("::1"), Some("1"), None])];
        let expected = "\
            +-----------+------+-------------+\n\
            | Host      | Port | Opened      |\n\
            |           |      | Connections |\n\
            +-----------+------+-------------+\n\
            | 127.0.0.1 | 3306 | 1           |\n\
            | ::1       | 1    | null        |\n\
            +-----------+------+-------------+\n";
        assert_eq!(boxed(&columns, &rows), expected);
    }
}
