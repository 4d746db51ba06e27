//! The statement's text: positions in it, and errors that quote it.

use baton_model::errors::{ErrorCode, SqlError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// Characters of the statement that an error quotes.
const NEAR_CHARS: usize = 80;

/// Why a statement was not understood.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The grammar says so.
    Syntax(ParserError),
    /// Expected something else here.
    Expected(&'static str, Location),
    /// Understood, but not supported.
    Unsupported(String, Location),
    /// Something with a text of its own.
    Said(SqlError),
}

impl From<ParserError> for Refusal {
    fn from(error: ParserError) -> Self {
        Self::Syntax(error)
    }
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self::Said(error)
    }
}

/// Where a statement begins: the position of what has no better one.
const START: Location = Location { line: 1, column: 1 };

/// The error of what is understood but not supported, somewhere in the statement.
pub(crate) fn unsupported(what: &str) -> SqlError {
    unsupported_at(what, START)
}

/// The same, with its position. A position of line 0 is not known.
pub(crate) fn unsupported_at(what: &str, at: Location) -> SqlError {
    let Location { line, column } = if at.line > 0 { at } else { START };
    let text = format!("This version of Baton doesn't yet support '{what}' at line {line} column {column}");
    SqlError::new(ErrorCode::NotSupported, text)
}

/// The text of a statement.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a>(pub(crate) &'a str);

impl<'a> Source<'a> {
    /// The offset in bytes of a position; the end of the text if it is beyond.
    fn offset(self, at: Location) -> usize {
        let mut start = 0;
        for _ in 1..at.line.max(1) {
            match self.0[start..].find('\n') {
                Some(newline) => start += newline + 1,
                None => return self.0.len(),
            }
        }
        let column = usize::try_from(at.column.max(1) - 1).unwrap_or(usize::MAX);
        self.0[start..].char_indices().nth(column).map_or(self.0.len(), |(offset, _)| start + offset)
    }

    /// The text of a span.
    pub(crate) fn text(self, span: Span) -> &'a str {
        let (start, end) = (self.offset(span.start), self.offset(span.end));
        self.0.get(start..end.max(start)).unwrap_or("")
    }

    /// The error that the client sees.
    pub(crate) fn error(self, refusal: Refusal) -> SqlError {
        match refusal {
            Refusal::Said(error) => error,
            Refusal::Unsupported(what, at) => unsupported_at(&what, at),
            Refusal::Expected(what, at) => self.syntax(at, &format!("expected {what}")),
            Refusal::Syntax(ParserError::RecursionLimitExceeded) => {
                let text = format!("a statement with more than {} levels", crate::limits::NESTING_MAX);
                unsupported(&text)
            }
            Refusal::Syntax(ParserError::ParserError(text) | ParserError::TokenizerError(text)) => {
                let (text, at) = split_position(&text);
                self.syntax(at.unwrap_or_else(|| self.end()), text)
            }
        }
    }

    fn syntax(self, at: Location, why: &str) -> SqlError {
        // The end has no position of its own.
        let at = if at.line == 0 { self.end() } else { at };
        let rest = &self.0[self.offset(at)..];
        let near = rest.char_indices().nth(NEAR_CHARS).map_or(rest, |(cut, _)| &rest[..cut]);
        let (line, column) = (at.line, at.column);
        let text = format!(
            "You have an error in your SQL syntax near '{near}' at line {line} column {column}: {why}"
        );
        SqlError::new(ErrorCode::ParseError, text)
    }

    fn end(self) -> Location {
        let line = self.0.matches('\n').count() as u64 + 1;
        let last = self.0.rsplit('\n').next().unwrap_or("");
        Location { line, column: last.chars().count() as u64 + 1 }
    }
}

/// `Expected: x, found: y at Line: 1, Column: 5` in its two halves.
fn split_position(text: &str) -> (&str, Option<Location>) {
    let Some((before, after)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let Some((line, column)) = after.split_once(", Column: ") else { return (text, None) };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => (before, Some(Location { line, column })),
        _ => (text, None),
    }
}
