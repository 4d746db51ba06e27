//! SHOW and DESCRIBE; the first word is taken.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};
use datafusion::sql::sqlparser::parser::Parser;

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
        "POLICIES" => Show::Policies,
        "POLICY" => {
            if parser.take("BINDINGS") {
                Show::PolicyBindings
            } else {
                parser.want("DECISIONS")?;
                Show::PolicyDecisions { limit: limit(parser)? }
            }
        }
        "EVENTS" => Show::Events { limit: limit(parser)? },
        "DATABASES" | "SCHEMAS" => {
            let extended = parser.take("EXTENDED");
            Show::Databases { extended, filter: filter(parser, &["database", "schema_name"])? }
        }
        "TABLES" => {
            let database = of_database(parser)?;
            Show::Tables { full, database, filter: filter(parser, &["table_name"])? }
        }
        "TABLE" => {
            parser.want("STATUS")?;
            let database = of_database(parser)?;
            Show::TableStatus { database, filter: filter(parser, &["name"])? }
        }
        "COLUMNS" | "FIELDS" => {
            if !(parser.take("FROM") || parser.take("IN")) {
                return parser.refuse("FROM");
            }
            let mut table = parser.table_name()?;
            if let Some(database) = of_database(parser)? {
                table.database = Some(database);
            }
            Show::Columns { full, table, filter: filter(parser, &["field"])? }
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
        "VARIABLES" => Show::Variables { global, filter: filter(parser, &["variable_name"])? },
        "STATUS" => Show::Status { filter: filter(parser, &["variable_name"])? },
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
        "COLLATION" => Show::Collation { filter: filter(parser, &["collation"])? },
        "CHARSET" => Show::CharacterSet { filter: filter(parser, &["charset"])? },
        "CHARACTER" => {
            parser.want("SET")?;
            Show::CharacterSet { filter: filter(parser, &["charset"])? }
        }
        "GRANTS" => {
            skip_rest(parser);
            Show::Grants
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

/// `LIKE 'pattern'`, or `WHERE column = 'value'` and `WHERE column LIKE 'pattern'` of one of these columns.
/// Other conditions are not supported.
fn filter(parser: &mut Parser<'_>, columns: &[&str]) -> Result<ShowFilter, Refusal> {
    if parser.take("LIKE") {
        return Ok(ShowFilter { like: Some(parser.text("a pattern")?), ..ShowFilter::default() });
    }
    if !parser.at("WHERE") {
        return Ok(ShowFilter::default());
    }
    let place = parser.place();
    parser.want("WHERE")?;
    let condition = parser.parse_expr()?;
    let mut filter = ShowFilter::default();
    if collect(&condition, columns, &mut filter) {
        return Ok(filter);
    }
    Err(Refusal::Unsupported("this WHERE in a SHOW".into(), place))
}

/// Adds what a condition lets through; false if it is not understood.
fn collect(condition: &Expr, columns: &[&str], filter: &mut ShowFilter) -> bool {
    let is_column = |expr: &Expr| match expr {
        Expr::Identifier(name) => columns.iter().any(|column| name.value.eq_ignore_ascii_case(column)),
        _ => false,
    };
    let text = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    match condition {
        Expr::Nested(inner) => collect(inner, columns, filter),
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            collect(left, columns, filter) && collect(right, columns, filter)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right }
            if is_column(left) && filter.like.is_none() =>
        {
            match text(right) {
                Some(name) => {
                    filter.names.push(name);
                    true
                }
                None => false,
            }
        }
        Expr::InList { expr, list, negated: false } if is_column(expr) && filter.like.is_none() => {
            let names: Option<Vec<String>> = list.iter().map(text).collect();
            names.is_some_and(|names| {
                filter.names.extend(names);
                true
            })
        }
        Expr::Like { negated: false, expr, pattern, escape_char: None, .. }
            if is_column(expr) && filter.like.is_none() && filter.names.is_empty() =>
        {
            filter.like = text(pattern);
            filter.like.is_some()
        }
        _ => false,
    }
}
