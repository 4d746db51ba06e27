//! What was done to one row, as its clients know it: the end of it is shown when something is wrong there.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use crate::client::SqlFault;
use crate::moment::Moment;

/// How much of a row's story is kept.
const LINES_KEPT: usize = 24;

/// Errors after which a statement for one row was surely not carried out (docs/guarantees.md): it waited for a row
/// lock in vain, was a deadlock's victim, or reached no master aggregator or no primary.
const SURELY_UNDONE: [u16; 4] = [1205, 1213, 1218, 1777];

/// Whether a write that failed so was surely not done.
#[must_use]
pub fn is_surely_undone(fault: &SqlFault) -> bool {
    fault.number().is_some_and(|number| SURELY_UNDONE.contains(&number))
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// When it was seen.
    #[serde(serialize_with = "as_text")]
    pub at: Moment,
    /// What is wrong.
    pub what: String,
    /// What led to it, as its clients know it; oldest first.
    pub story: Vec<String>,
}

fn as_text<S: serde::Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(moment)
}

impl Violation {
    /// Seen now, without a story.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { at: Moment::now(), what: what.into(), story: Vec::new() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.what)?;
        for line in &self.story {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// One statement and what came of it.
#[derive(Clone, Debug)]
struct Line {
    sent: Moment,
    ended: Moment,
    via: String,
    what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} via {}: {}", self.sent, self.ended, self.via, self.what)
    }
}

/// The end of a row's story.
#[derive(Clone, Debug, Default)]
pub(super) struct Story(VecDeque<Line>);

impl Story {
    /// A statement that was sent at a moment has ended now.
    pub(super) fn tell(&mut self, via: &str, sent: Moment, what: String) {
        if self.0.len() == LINES_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Line { sent, ended: Moment::now(), via: via.to_owned(), what });
    }

    /// Something is wrong here.
    pub(super) fn violation(&self, what: String) -> Violation {
        Violation { story: self.0.iter().map(Line::to_string).collect(), ..Violation::new(what) }
    }
}
