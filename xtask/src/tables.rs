//! That `docs/operations.md` has a row for every error that a client may see, and for every event.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::checkout;

const TABLES: &str = "docs/operations.md";
const ERRORS: &str = "crates/model/src/errors.rs";
const EVENTS: &str = "crates/catalog/src/objects.rs";

/// Compares the tables with the code.
///
/// # Errors
/// What has no row.
pub fn check() -> Result<()> {
    let read = |place: &str| fs::read_to_string(checkout::root()?.join(place)).context(place.to_owned());
    let (tables, errors, events) = (read(TABLES)?, read(ERRORS)?, read(EVENTS)?);
    let (errors, events) = (numbers(&errors), names(&events));
    if errors.is_empty() || events.is_empty() {
        bail!("{ERRORS} or {EVENTS} is not written as it was: no errors, or no events, were found");
    }
    let rows = errors.iter().map(|number| format!("| {number} |"));
    let rows = rows.chain(events.iter().map(|name| format!("| `{name}` |")));
    let missing: Vec<String> = rows.filter(|row| !tables.contains(row.as_str())).collect();
    if !missing.is_empty() {
        bail!("{TABLES} has no row that begins with {}", missing.join(", "));
    }
    println!("  {} errors and {} events", errors.len(), events.len());
    Ok(())
}

/// Of lines like `Deadlock = 1213, "40001", …`.
fn numbers(text: &str) -> Vec<u16> {
    let number = |line: &str| {
        let (_, rest) = line.split_once(" = ")?;
        let (number, rest) = rest.split_once(", ")?;
        if rest.starts_with('"') { number.parse().ok() } else { None }
    };
    text.lines().filter_map(number).collect()
}

/// Of lines like `pub const NODE_ONLINE: &str = "NODE_ONLINE";`.
fn names(text: &str) -> Vec<&str> {
    let name = |line| {
        let (name, _) = str::strip_prefix(line, "    pub const ")?.split_once(": &str = ")?;
        Some(name)
    };
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_events_are_found() {
        assert_eq!(numbers("    Deadlock = 1213, \"40001\", true, \"Again.\";\n  a = 5, b"), [1213]);
        assert_eq!(
            names("    pub const NODE_ONLINE: &str = \"NODE_ONLINE\";\npub const X: u8 = 1;"),
            ["NODE_ONLINE"]
        );
    }
}
