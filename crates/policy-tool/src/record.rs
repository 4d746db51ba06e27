//! What a cluster has recorded, line by line: views, and what else was recorded with them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use baton_policy_view::View;
use serde::Deserialize;

use crate::error::{PolicyToolError, io as failed};

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
    let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
    serde_json::from_str(&text).map_err(|error| PolicyToolError::BadView {
        place: path.display().to_string(),
        why: error.to_string(),
    })
}

/// Bytes of a line, at most: the evidence of thousands of nodes.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// A line that is no record, and why.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// Reads a file of records, one line at a time; empty lines are passed over, and one that cannot be read is told of.
pub(crate) fn read_records(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Recorded, Unreadable>>, PolicyToolError> {
    let mut lines = BufReader::new(File::open(path).map_err(failed("read", path))?);
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        loop {
            number += 1;
            let bad = |why: String| Unreadable { line: number, why };
            match next_line(&mut lines) {
                Err(error) => return Some(Err(bad(error.to_string()))),
                Ok(None) => return None,
                Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                Ok(Some(line)) => {
                    let read = serde_json::from_slice(&line).and_then(|view| {
                        Ok(Recorded { line: number, about: serde_json::from_slice(&line)?, view })
                    });
                    return Some(read.map_err(|error| bad(error.to_string())));
                }
            }
        }
    }))
}

/// The next line without its end; None after the last one. Of a line that is too long, what may be read of it, which is no
/// record.
fn next_line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX {
        skip_line(lines)?;
    }
    Ok(if line.is_empty() { None } else { Some(line) })
}

fn skip_line(lines: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffered = lines.fill_buf()?;
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let (used, done) = end.map_or((buffered.len(), buffered.is_empty()), |at| (at + 1, true));
        lines.consume(used);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const VIEW: &str = r#"{"point": "detection", "input": {"now_ms": 1, "heartbeat_interval_ms": 150,
        "observer_late_ms": 0, "settings": {}, "seed": 7, "nodes": []}, "policy": "swift", "node": 3}"#;

    fn read(text: &str) -> Vec<Result<Recorded, Unreadable>> {
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
    fn a_line_that_is_none_is_named_and_the_next_one_is_read() {
        let line = VIEW.replace('\n', " ");
        let read = read(&format!("{{\"point\": \"lunch\", \"input\": {{}}}}\n\u{fffd}\n{line}"));
        let error = read[0].as_ref().unwrap_err();
        assert!(error.line == 1 && error.why.contains("lunch"), "{error:?}");
        assert_eq!(read[1].as_ref().unwrap_err().line, 2);
        assert_eq!(read[2].as_ref().unwrap().line, 3);
    }
}
