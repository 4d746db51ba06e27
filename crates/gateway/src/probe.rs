//! What clients ask and set by themselves when they connect: `SELECT @@max_allowed_packet`, `SET NAMES utf8mb4`.
//!
//! Such a statement is answered here if all of it is about this connection; whatever else it holds, even in part,
//! makes it the session's. So a client connects whether or not the session knows the variables of MySQL.
//!
//! * `SET autocommit = 0` is taken, because clients insist on it; the status of every answer goes on saying
//!   that each statement commits by itself.
//! * A setting that would change what statements mean (another character set, time zone or quoting) is not taken.

use baton_model::limits::PACKET_BYTES_MAX;
use baton_model::{ColumnType, Datum};

use crate::SERVER_VERSION;
use crate::limits::{NET_READ_TIMEOUT, NET_WRITE_TIMEOUT, WAIT_TIMEOUT};
use crate::session::{Answer, AnswerColumn};

/// No client's probe is longer than this.
const PROBE_BYTES_MAX: usize = 2048;

/// What may be asked of a connection.
pub(crate) struct About<'a> {
    pub(crate) connection_id: u32,
    pub(crate) user: &'a str,
    pub(crate) host: &'a str,
    pub(crate) database: Option<&'a str>,
}

/// The answer to a statement that is only about the connection; `None` for all others.
pub(crate) fn answer(sql: &str, about: &About<'_>) -> Option<Answer> {
    let mut words = Words::of(sql)?;
    match words.next()? {
        verb if verb.is("SELECT") => select(&mut words, about),
        verb if verb.is("SET") => set(&mut words),
        _ => None,
    }
}

/// The database of a `USE name`.
pub(crate) fn used_database(sql: &str) -> Option<String> {
    let mut words = Words::of(sql)?;
    words.next().filter(|verb| verb.is("USE"))?;
    let name = words.next()?;
    words.end()?;
    match name {
        Word::Plain(name) | Word::Identifier(name) => Some(name.to_owned()),
        Word::Text(_) | Word::Mark(_) => None,
    }
}

fn select(words: &mut Words<'_>, about: &About<'_>) -> Option<Answer> {
    let mut columns = Vec::new();
    let mut row = Vec::new();
    loop {
        let from = words.at();
        let Word::Plain(name) = words.next()? else { return None };
        let (column_type, value) = if let Some(name) = name.strip_prefix("@@") {
            variable(unscoped(name))?
        } else {
            words.mark('(')?;
            words.mark(')')?;
            function(name, about)?
        };
        let mut title = words.since(from);
        let mut after = words.next();
        if after.is_some_and(|word| word.is("AS")) {
            title = words.next()?.alias()?;
            after = words.next();
        } else if let Some(alias) = after.filter(|word| !word.is("LIMIT")).and_then(|word| word.alias()) {
            title = alias;
            after = words.next();
        }
        columns.push(AnswerColumn::new(title, column_type));
        row.push(value);
        match after {
            Some(Word::Mark(',')) => {}
            Some(word) if word.is("LIMIT") => {
                words.next().filter(|count| count.is("1"))?;
                words.end()?;
                break;
            }
            Some(_) => return None,
            None => break,
        }
    }
    Some(Answer::Rows { columns, rows: vec![row] })
}

fn unscoped(name: &str) -> &str {
    name.split_once('.')
        .filter(|(scope, _)| is_session(scope) || scope.eq_ignore_ascii_case("global"))
        .map_or(name, |(_, name)| name)
}

fn is_session(scope: &str) -> bool {
    ["session", "local"].iter().any(|own| scope.eq_ignore_ascii_case(own))
}

fn variable(name: &str) -> Option<(ColumnType, Datum)> {
    let text = |value: &str| Some((ColumnType::Varchar(255), Datum::Text(value.into())));
    let count = |value: u64| Some((ColumnType::Int { bits: 64, unsigned: true }, Datum::UInt(value)));
    match name.to_ascii_lowercase().as_str() {
        "autocommit" | "auto_increment_increment" => count(1),
        "sql_auto_is_null" | "lower_case_table_names" | "performance_schema" => count(0),
        "max_allowed_packet" => count(PACKET_BYTES_MAX as u64),
        "wait_timeout" | "interactive_timeout" => count(WAIT_TIMEOUT.as_secs()),
        "net_read_timeout" => count(NET_READ_TIMEOUT.as_secs()),
        "net_write_timeout" => count(NET_WRITE_TIMEOUT.as_secs()),
        "version" => text(SERVER_VERSION),
        "version_comment" => text("Baton"),
        "license" => text("Apache-2.0"),
        "character_set_client"
        | "character_set_connection"
        | "character_set_results"
        | "character_set_server"
        | "character_set_database" => text("utf8mb4"),
        "collation_connection" | "collation_server" | "collation_database" => text("utf8mb4_general_ci"),
        "sql_mode" => text("STRICT_TRANS_TABLES"),
        "time_zone" | "system_time_zone" => text("UTC"),
        "transaction_isolation" | "tx_isolation" => text("READ-COMMITTED"),
        "init_connect" => text(""),
        "socket" => Some((ColumnType::Varchar(255), Datum::Null)),
        _ => None,
    }
}

fn function(name: &str, about: &About<'_>) -> Option<(ColumnType, Datum)> {
    let text = |value: String| Some((ColumnType::Varchar(255), Datum::Text(value)));
    match name.to_ascii_lowercase().as_str() {
        "database" | "schema" => Some((
            ColumnType::Varchar(64),
            about.database.map_or(Datum::Null, |name| Datum::Text(name.into())),
        )),
        "user" | "current_user" | "session_user" | "system_user" => {
            text(format!("{}@{}", about.user, about.host))
        }
        "version" => text(SERVER_VERSION.into()),
        "connection_id" => {
            Some((ColumnType::Int { bits: 64, unsigned: true }, Datum::UInt(about.connection_id.into())))
        }
        _ => None,
    }
}

fn set(words: &mut Words<'_>) -> Option<Answer> {
    let mut word = words.next()?;
    loop {
        if word.is("NAMES") {
            words.next()?.value().filter(|name| is_character_set(name))?;
            if words.peek().is_some_and(|word| word.is("COLLATE")) {
                words.next()?;
                words.next()?.value().filter(|name| is_collation(name))?;
            }
        } else if word.is("CHARACTER") {
            words.next().filter(|word| word.is("SET"))?;
            words.next()?.value().filter(|name| is_character_set(name))?;
        } else {
            if matches!(word, Word::Plain(scope) if is_session(scope)) {
                word = words.next()?;
            }
            if word.is("TRANSACTION") {
                for expected in ["ISOLATION", "LEVEL", "READ", "COMMITTED"] {
                    words.next().filter(|word| word.is(expected))?;
                }
            } else {
                let Word::Plain(name) = word else { return None };
                let name = match name.strip_prefix("@@") {
                    None => name,
                    Some(name) => match name.split_once('.') {
                        None => name,
                        Some((scope, name)) => Some(name).filter(|_| is_session(scope))?,
                    },
                };
                if words.peek().is_some_and(|word| matches!(word, Word::Mark(':'))) {
                    words.next()?;
                }
                words.mark('=')?;
                takes(name, words.next()?.value()?).then_some(())?;
            }
        }
        match words.next() {
            None => return Some(Answer::done()),
            Some(Word::Mark(',')) => word = words.next()?,
            Some(_) => return None,
        }
    }
}

/// Whether a variable of the connection can be set to the value without a change to what statements mean.
fn takes(name: &str, value: &str) -> bool {
    let is_one_of = |allowed: &[&str]| allowed.iter().any(|one| value.eq_ignore_ascii_case(one));
    match name.to_ascii_lowercase().as_str() {
        "autocommit" => is_one_of(&["0", "1", "ON", "OFF", "TRUE", "FALSE", "DEFAULT"]),
        "sql_auto_is_null" => is_one_of(&["0", "OFF", "DEFAULT"]),
        "character_set_client" | "character_set_connection" => is_character_set(value),
        "character_set_results" => is_character_set(value) || is_one_of(&["NULL"]),
        "collation_connection" => is_collation(value),
        "time_zone" => is_one_of(&["UTC", "SYSTEM", "+00:00", "DEFAULT"]),
        "transaction_isolation" | "tx_isolation" => is_one_of(&["READ-COMMITTED", "DEFAULT"]),
        "sql_mode" => {
            let mode = value.to_ascii_uppercase();
            !["ANSI", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT", "ORACLE"]
                .iter()
                .any(|other| mode.contains(other))
        }
        _ => false,
    }
}

fn is_character_set(name: &str) -> bool {
    ["utf8mb4", "utf8", "utf8mb3", "binary", "ascii", "us-ascii", "DEFAULT"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn is_collation(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("utf8") || name == "binary" || name == "default"
}

/// A piece of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word<'a> {
    /// A keyword, name, number, or `@@name`.
    Plain(&'a str),
    /// Between backquotes.
    Identifier(&'a str),
    /// Between quotes, without any quote or backslash inside.
    Text(&'a str),
    Mark(char),
}

impl<'a> Word<'a> {
    fn is(self, keyword: &str) -> bool {
        matches!(self, Word::Plain(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn alias(self) -> Option<&'a str> {
        match self {
            Word::Plain(name) | Word::Identifier(name) | Word::Text(name) => Some(name),
            Word::Mark(_) => None,
        }
    }

    fn value(self) -> Option<&'a str> {
        match self {
            Word::Plain(value) | Word::Text(value) => Some(value),
            Word::Identifier(_) | Word::Mark(_) => None,
        }
    }
}

/// A short statement word by word; `None` where it has something that no probe has.
#[derive(Clone)]
struct Words<'a> {
    statement: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn of(statement: &'a str) -> Option<Self> {
        let statement = statement.trim().trim_end_matches(';').trim_end();
        (statement.len() <= PROBE_BYTES_MAX).then_some(Self { statement, at: 0 })
    }

    fn rest(&mut self) -> &'a str {
        loop {
            let rest = &self.statement[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            // A comment; `/*!` is none.
            match trimmed
                .strip_prefix("/*")
                .filter(|comment| !comment.starts_with('!'))
                .and_then(|comment| comment.find("*/"))
            {
                Some(length) => self.at += length + 4,
                None => return trimmed,
            }
        }
    }

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        let (word, length) = match first {
            '`' | '\'' | '"' => {
                let inner = &rest[1..][..rest[1..].find(first)?];
                if inner.contains('\\') {
                    return None;
                }
                (if first == '`' { Word::Identifier(inner) } else { Word::Text(inner) }, inner.len() + 2)
            }
            _ if is_plain(first) => {
                let length = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
                (Word::Plain(&rest[..length]), length)
            }
            _ => (Word::Mark(first), first.len_utf8()),
        };
        self.at += length;
        Some(word)
    }

    fn peek(&self) -> Option<Word<'a>> {
        self.clone().next()
    }

    fn mark(&mut self, mark: char) -> Option<()> {
        (self.next()? == Word::Mark(mark)).then_some(())
    }

    fn end(&mut self) -> Option<()> {
        self.rest().is_empty().then_some(())
    }

    /// Where the next word begins.
    fn at(&mut self) -> usize {
        self.rest();
        self.at
    }

    fn since(&self, from: usize) -> &'a str {
        &self.statement[from..self.at]
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '@' | '.' | '-' | '+')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(sql: &str) -> Option<Vec<(String, String)>> {
        let about = About { connection_id: 7, user: "root", host: "127.0.0.1", database: Some("shop") };
        match answer(sql, &about)? {
            Answer::Done { .. } => Some(Vec::new()),
            Answer::Rows { columns, rows } => Some(
                columns
                    .into_iter()
                    .map(|column| column.name)
                    .zip(rows[0].iter().map(ToString::to_string))
                    .collect(),
            ),
        }
    }

    #[test]
    fn probes_of_real_clients_are_answered() {
        let one = |name: &str, value: &str| Some(vec![(name.to_owned(), value.to_owned())]);
        assert_eq!(asked("select @@version_comment limit 1"), one("@@version_comment", "'Baton'"));
        assert_eq!(asked("SELECT @@socket;"), one("@@socket", "NULL"));
        assert_eq!(asked("SELECT DATABASE()"), one("DATABASE()", "'shop'"));
        assert_eq!(asked("select USER( ) u"), one("u", "'root@127.0.0.1'"));
        assert_eq!(asked("SELECT @@max_allowed_packet,@@wait_timeout").unwrap()[1].1, "28800");
        let java = "/* connector 8 */SELECT  @@session.auto_increment_increment AS auto_increment_increment, \
                    @@character_set_client AS character_set_client";
        assert_eq!(asked(java).unwrap()[1], ("character_set_client".to_owned(), "'utf8mb4'".to_owned()));
        for settings in [
            "SET NAMES utf8mb4",
            "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci'",
            "set autocommit=0",
            "SET AUTOCOMMIT = 1",
            "SET character_set_results = NULL",
            "SET @@session.autocommit = ON, sql_mode='STRICT_TRANS_TABLES'",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ] {
            assert_eq!(asked(settings), Some(Vec::new()), "{settings}");
        }
    }

    #[test]
    fn everything_else_is_the_sessions() {
        for sql in [
            "",
            "SELECT 1",
            "SELECT @@master_aggregator",
            "SELECT @@version, 1",
            "SELECT @@version FROM t",
            "SELECT database() = 'x'",
            "SELECT @@socket LIMIT 2",
            "SET GLOBAL autocommit = 1",
            "SET @@global.autocommit = 1",
            "SET NAMES latin1",
            "SET time_zone = '+05:00'",
            "SET sql_mode = 'ANSI_QUOTES'",
            "SET autocommit = 1, x = 2",
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SELECT 'unended",
        ] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_database_is_used_by_any_spelling() {
        assert_eq!(used_database("USE shop"), Some("shop".into()));
        assert_eq!(used_database(" use `my shop` ; "), Some("my shop".into()));
        assert_eq!(used_database("USE"), None);
        assert_eq!(used_database("USE a b"), None);
        assert_eq!(used_database("USER"), None);
    }

    proptest! {
        #[test]
        fn no_text_can_panic_it(sql: String, tail: String) {
            let _ = asked(&sql);
            let _ = asked(&format!("SELECT {sql}"));
            let _ = asked(&format!("SET /*{sql}*/{tail}"));
        }
    }
}
