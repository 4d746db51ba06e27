//! What a cluster has recorded, line by line: views, and what else was recorded with them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use baton_policy_view::View;
use serde::Deserialize;

use crate::error::{PolicyToolError, io};

/// What is read of a line beside the view. All of it may be missing: a view is a record, too.
#[derive(Deserialize, Clone, Debug, Default)]
pub(crate) struct About {
    /// The number of the decision.
    #[serde(default)]
    pub(crate) id: u64,
    /// The node that decided.
    #[serde(default)]
    pub(crate) node: u64,
    /// The policy that was asked.
    #[serde(default)]
    pub(crate) policy: String,
    /// The hash of its component; empty if it was native.
    #[serde(default)]
    pub(crate) hash: String,
    /// Why native classic decided instead; empty if it did not.
    #[serde(default)]
    pub(crate) fallback: String,
}

/// A recorded decision.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) line: usize,
    pub(crate) about: About,
    pub(crate) view: View,
}

/// Reads one view, which is all of a file.
pub(crate) fn read_view(path: &Path) -> Result<View, PolicyToolError> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    serde_json::from_str(&text).map_err(|error| PolicyToolError::BadView {
        place: path.display().to_string(),
        why: error.to_string(),
    })
}

/// Reads a file of records, one line at a time; empty lines are passed over.
pub(crate) fn read_records(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Recorded, PolicyToolError>>, PolicyToolError> {
    let file = File::open(path).map_err(io("read", path))?;
    let path: PathBuf = path.to_owned();
    let lines = BufReader::new(file).lines().enumerate();
    Ok(lines.filter_map(move |(number, line)| {
        let line_number = number + 1;
        let bad = |why: String| PolicyToolError::BadView {
            place: format!("line {line_number} of {}", path.display()),
            why,
        };
        match line {
            Err(error) => Some(Err(io("read", &path)(error))),
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(
                serde_json::from_str(&text)
                    .and_then(|view| {
                        Ok(Recorded { line: line_number, about: serde_json::from_str(&text)?, view })
                    })
                    .map_err(|error| bad(error.to_string())),
            ),
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const VIEW: &str = r#"{"point": "detection", "input": {"now_ms": 1, "heartbeat_interval_ms": 150,
        "observer_late_ms": 0, "settings": {}, "seed": 7, "nodes": []}, "policy": "swift", "node": 3}"#;

    fn read(text: &str) -> Vec<Result<Recorded, PolicyToolError>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        fs::write(&path, text).unwrap();
        read_records(&path).unwrap().collect()
    }

    #[test]
    fn a_line_is_a_view_and_what_was_recorded_with_it() {
        let line = VIEW.replace('\n', " ");
        let read = read(&format!("{line}\n\n{line}\n"));
        let lines: Vec<usize> = read.iter().map(|recorded| recorded.as_ref().unwrap().line).collect();
        assert_eq!(lines, [1, 3]);
        let about = &read[0].as_ref().unwrap().about;
        assert_eq!((about.policy.as_str(), about.node), ("swift", 3));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let read = read("{\"point\": \"rejoin\", \"input\": {}}\n");
        let error = read[0].as_ref().unwrap_err().to_string();
        assert!(error.starts_with("line 1 of ") && error.contains("rejoin"), "{error}");
    }
}
