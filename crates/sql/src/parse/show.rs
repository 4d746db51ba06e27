//! SHOW and DESCRIBE; the first word is taken.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::maintenance;
use super::source::Refusal;
use super::words::Words;
use crate::statement::{Show, ShowFilter};

pub(super) fn show(parser: &mut Parser<'_>) -> Result<Show, Refusal> {
    let full = parser.take("FULL");
    let global = parser.take("GLOBAL");
    if !global {
        let _ = parser.take("SESSION") || parser.take("LOCAL");
    }
    let Ok(word) = parser.name("what to show") else { return parser.refuse("what to show") };
    Ok(match word.to_ascii_uppercase().as_str() {
        "AGGREGATORS" => Show::Aggregators { extended: parser.take("EXTENDED") },
        "LEAVES" => Show::Leaves,
        "CLUSTER" => {
            parser.want("STATUS")?;
            Show::ClusterStatus
        }
        "PARTITIONS" => {
            let extended = parser.take("EXTENDED");
            let on = parser.take("ON") || parser.take("FROM") || parser.take("IN");
            Show::Partitions { extended, database: if on { Some(parser.name("a database")?) } else { None } }
        }
        "REBALANCE" => maintenance::show_rebalance(parser)?,
        "POLICIES" => Show::Policies,
        "POLICY" => {
            if parser.take("BINDINGS") {
                Show::PolicyBindings
            } else {
                parser.want("DECISIONS")?;
                Show::PolicyDecisions { limit: limit(parser)? }
            }
        }
        "SHADOW" => {
            parser.want("REPORT")?;
            Show::ShadowReport
        }
        "MAINTENANCE" => Show::Maintenance,
        "EVENTS" => Show::Events { limit: limit(parser)? },
        "DATABASES" | "SCHEMAS" => {
            let extended = parser.take("EXTENDED");
            Show::Databases { extended, filter: filter(parser)? }
        }
        "TABLES" => {
            let database = of_database(parser)?;
            Show::Tables { full, database, filter: filter(parser)? }
        }
        "TABLE" => {
            parser.want("STATUS")?;
            let database = of_database(parser)?;
            Show::TableStatus { database, filter: filter(parser)? }
        }
        "COLUMNS" | "FIELDS" => {
            if !(parser.take("FROM") || parser.take("IN")) {
                return parser.refuse("FROM");
            }
            let mut table = parser.table_name()?;
            if let Some(database) = of_database(parser)? {
                table.database = Some(database);
            }
            Show::Columns { full, table, filter: filter(parser)? }
        }
        "INDEX" | "INDEXES" | "KEYS" => {
            if !(parser.take("FROM") || parser.take("IN")) {
                return parser.refuse("FROM");
            }
            let mut table = parser.table_name()?;
            if let Some(database) = of_database(parser)? {
                table.database = Some(database);
            }
            Show::Indexes { table }
        }
        "CREATE" => {
            if parser.take("TABLE") {
                Show::CreateTable { table: parser.table_name()? }
            } else if parser.take("DATABASE") || parser.take("SCHEMA") {
                let _ = parser.take_all(&["IF", "NOT", "EXISTS"]);
                Show::CreateDatabase { database: parser.name("a database")? }
            } else {
                return parser.refuse("TABLE or DATABASE");
            }
        }
        "VARIABLES" => Show::Variables { global, filter: filter(parser)? },
        "STATUS" => Show::Status { filter: filter(parser)? },
        "WARNINGS" | "ERRORS" => {
            limit(parser)?;
            Show::Warnings
        }
        "PROCESSLIST" => Show::Processlist,
        "ENGINES" => Show::Engines,
        "STORAGE" => {
            parser.want("ENGINES")?;
            Show::Engines
        }
        "COLLATION" => Show::Collation { filter: filter(parser)? },
        "CHARSET" => Show::CharacterSet { filter: filter(parser)? },
        "CHARACTER" => {
            parser.want("SET")?;
            Show::CharacterSet { filter: filter(parser)? }
        }
        "TRANSACTION" => {
            parser.want("OUTCOME")?;
            Show::TransactionOutcome { id: parser.text("the id of a transaction")? }
        }
        "GRANTS" => {
            let user = if parser.take("FOR") && !current_user(parser)? {
                Some(super::users::user(parser)?)
            } else {
                None
            };
            Show::Grants { user }
        }
        "PLUGINS" => Show::Nothing { columns: &["Name", "Status", "Type", "Library", "License"] },
        "TRIGGERS" => {
            skip_rest(parser);
            Show::Nothing { columns: &["Trigger", "Event", "Table", "Statement", "Timing", "Created"] }
        }
        "PROCEDURE" | "FUNCTION" => {
            parser.want("STATUS")?;
            skip_rest(parser);
            Show::Nothing { columns: &["Db", "Name", "Type", "Definer", "Modified", "Created"] }
        }
        _ => {
            parser.prev_token();
            return parser.unsupported(&format!("SHOW {word}"));
        }
    })
}

/// `DESCRIBE table [column]`.
pub(super) fn describe(parser: &mut Parser<'_>) -> Result<Show, Refusal> {
    let table = parser.table_name()?;
    let mut filter = ShowFilter::default();
    if !parser.at_end() {
        filter.like = Some(parser.text_or_name("a column")?);
    }
    Ok(Show::Columns { full: false, table, filter })
}

fn of_database(parser: &mut Parser<'_>) -> Result<Option<String>, Refusal> {
    if parser.take("FROM") || parser.take("IN") { parser.name("a database").map(Some) } else { Ok(None) }
}

fn limit(parser: &mut Parser<'_>) -> Result<Option<u64>, Refusal> {
    if parser.take("LIMIT") { parser.number("a number", 0..=u64::MAX).map(Some) } else { Ok(None) }
}

fn skip_rest(parser: &mut Parser<'_>) {
    while !parser.at_end() {
        parser.next_token();
    }
}

/// `LIKE 'pattern'` or `WHERE condition`, if there is one.
fn filter(parser: &mut Parser<'_>) -> Result<ShowFilter, Refusal> {
    if parser.take("LIKE") {
        return Ok(ShowFilter { like: Some(parser.text("a pattern")?), condition: None });
    }
    if parser.take("WHERE") {
        return Ok(ShowFilter { like: None, condition: Some(Box::new(parser.parse_expr()?)) });
    }
    Ok(ShowFilter::default())
}

/// `CURRENT_USER[()]`, if it is there.
fn current_user(parser: &mut Parser<'_>) -> Result<bool, Refusal> {
    if !parser.take("CURRENT_USER") {
        return Ok(false);
    }
    if parser.take_sign(&Token::LParen) {
        parser.want_sign(&Token::RParen, ")")?;
    }
    Ok(true)
}
