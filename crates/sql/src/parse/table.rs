//! CREATE TABLE: from its text to a checked schema.

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{COLUMNS_MAX, IDENTIFIER_BYTES_MAX};
use baton_model::{Column, ColumnType, DatabaseId, TableId, TableKind, TableSchema};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::column_type::column_type;
use super::database::{character_set, default_character_set};
use super::source::{Refusal, unsupported};
use super::words::Words;
use crate::bind::default_value;
use crate::expression::coerce::coerce;
use crate::statement::SchemaStatement;

/// What was declared, before it is checked as a whole.
#[derive(Default)]
struct Declared {
    columns: Vec<Column>,
    /// Columns of PRIMARY KEY, by name; Some after the first declaration.
    primary_key: Option<Vec<String>>,
    /// Columns of SHARD KEY, by name; Some after the first declaration, which may be empty.
    shard_key: Option<Vec<String>>,
}

/// What follows CREATE, from `[ROWSTORE] [REFERENCE] TABLE` on.
pub(super) fn create_table(parser: &mut Parser<'_>) -> Result<SchemaStatement, Refusal> {
    if parser.at("COLUMNSTORE") || parser.at("TEMPORARY") || parser.at("GLOBAL") {
        return parser.unsupported("tables of this kind");
    }
    let _ = parser.take("ROWSTORE");
    let kind = if parser.take("REFERENCE") { TableKind::Reference } else { TableKind::Sharded };
    parser.want("TABLE")?;
    let if_not_exists = parser.take_all(&["IF", "NOT", "EXISTS"]);
    let name = parser.table_name()?;
    if parser.at("LIKE") || parser.at("AS") || parser.at("SELECT") {
        return parser.unsupported("CREATE TABLE from another table");
    }
    parser.want_sign(&Token::LParen, "(")?;
    let mut declared = Declared::default();
    loop {
        item(parser, &mut declared)?;
        if !parser.take_sign(&Token::Comma) {
            break;
        }
    }
    parser.want_sign(&Token::RParen, ")")?;
    options(parser)?;
    let schema = checked(name.table, kind, declared)?;
    Ok(SchemaStatement::CreateTable { database: name.database, schema: Box::new(schema), if_not_exists })
}

/// A column, or a key.
fn item(parser: &mut Parser<'_>, declared: &mut Declared) -> Result<(), Refusal> {
    if parser.take("CONSTRAINT") && !parser.at("PRIMARY") && !parser.at("UNIQUE") && !parser.at("FOREIGN") {
        parser.name("the name of a constraint")?;
    }
    if parser.take_all(&["PRIMARY", "KEY"]) {
        let columns = key_columns(parser)?;
        if declared.primary_key.replace(columns).is_some() {
            return Err(several_primary_keys().into());
        }
        return Ok(());
    }
    if parser.take_all(&["SHARD", "KEY"]) {
        let place = parser.place();
        let columns = key_columns(parser)?;
        if declared.shard_key.replace(columns).is_some() {
            return Err(Refusal::Unsupported("a second SHARD KEY".into(), place));
        }
        return Ok(());
    }
    for (word, what) in [
        ("UNIQUE", "UNIQUE keys beside the primary key"),
        ("KEY", "secondary keys"),
        ("INDEX", "secondary indexes"),
        ("FULLTEXT", "FULLTEXT keys"),
        ("SPATIAL", "SPATIAL keys"),
        ("SORT", "SORT KEY"),
        ("FOREIGN", "FOREIGN KEY"),
        ("CHECK", "CHECK constraints"),
    ] {
        if parser.at(word) {
            return parser.unsupported(what);
        }
    }
    let column = column(parser, declared)?;
    declared.columns.push(column);
    Ok(())
}

/// `[name] [USING x] (a, b) [USING x]`; the list may be empty.
fn key_columns(parser: &mut Parser<'_>) -> Result<Vec<String>, Refusal> {
    if !parser.at("USING") && matches!(parser.peek_token_ref().token, Token::Word(_)) {
        parser.name("the name of a key")?;
    }
    if parser.take("USING") {
        parser.name("BTREE or HASH")?;
    }
    parser.want_sign(&Token::LParen, "(")?;
    let mut columns = Vec::new();
    while !parser.take_sign(&Token::RParen) {
        if !columns.is_empty() {
            parser.want_sign(&Token::Comma, ",")?;
        }
        columns.push(parser.name("a column")?);
        if matches!(parser.peek_token_ref().token, Token::LParen) {
            return parser.unsupported("a key on a part of a column");
        }
        let _ = parser.take("ASC");
        if parser.at("DESC") {
            return parser.unsupported("a descending key");
        }
    }
    if parser.take("USING") {
        parser.name("BTREE or HASH")?;
    }
    Ok(columns)
}

/// A column: name, type, and what else is said of it.
fn column(parser: &mut Parser<'_>, declared: &mut Declared) -> Result<Column, Refusal> {
    let name = parser.name("the name of a column")?;
    let column_type = column_type(parser)?;
    let mut column = Column { name, column_type, nullable: true, default: None, auto_increment: false };
    let mut default_null = false;
    loop {
        if parser.take_all(&["NOT", "NULL"]) {
            column.nullable = false;
        } else if parser.take("NULL") {
            column.nullable = true;
        } else if parser.take("AUTO_INCREMENT") {
            column.auto_increment = true;
        } else if parser.at("DEFAULT") {
            parser.next_token();
            column.default = default(parser)?;
            default_null = column.default.is_none();
        } else if parser.take("PRIMARY") || parser.at("KEY") {
            parser.want("KEY")?;
            if declared.primary_key.replace(vec![column.name.clone()]).is_some() {
                return Err(several_primary_keys().into());
            }
            column.nullable = false;
        } else if parser.take("COMMENT") {
            parser.text("a comment in quotes")?;
        } else if character_set(parser)? {
            // Everything is UTF-8.
        } else if matches!(parser.peek_token_ref().token, Token::Comma | Token::RParen) {
            break;
        } else {
            let word = parser.peek_token_ref().token.to_string();
            return match word.to_ascii_uppercase().as_str() {
                "UNIQUE" | "ON" | "GENERATED" | "AS" | "REFERENCES" | "CHECK" | "CONSTRAINT" | "SERIAL" => {
                    parser.unsupported(&word)
                }
                _ => parser.refuse(", or )"),
            };
        }
    }
    if default_null && !column.nullable {
        return Err(invalid_default(&column.name).into());
    }
    if column.auto_increment {
        column.nullable = false;
    }
    Ok(column)
}

/// The DEFAULT as it is kept: a literal, or CURRENT_TIMESTAMP. NULL is None.
fn default(parser: &mut Parser<'_>) -> Result<Option<String>, Refusal> {
    let parenthesis = parser.take_sign(&Token::LParen);
    let minus = parser.take_sign(&Token::Minus);
    let sign = if minus { "-" } else { "" };
    if !minus {
        parser.take_sign(&Token::Plus);
    }
    let place = parser.place();
    let kept = match parser.next_token().token {
        Token::Number(digits, _) => Some(format!("{sign}{digits}")),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) if !minus => {
            Some(format!("'{}'", text.replace('\'', "''")))
        }
        Token::HexStringLiteral(digits) if !minus => Some(format!("x'{digits}'")),
        Token::Word(word) if !minus && word.quote_style.is_none() => {
            match word.value.to_ascii_uppercase().as_str() {
                "NULL" => None,
                "TRUE" => Some("1".into()),
                "FALSE" => Some("0".into()),
                "CURRENT_TIMESTAMP" | "NOW" | "LOCALTIMESTAMP" | "LOCALTIME" | "CURRENT_DATE" | "CURDATE" => {
                    if parser.take_sign(&Token::LParen) {
                        if !matches!(parser.peek_token_ref().token, Token::RParen) {
                            parser.number("digits of a second, 0 to 6", 0..=6)?;
                        }
                        parser.want_sign(&Token::RParen, ")")?;
                    }
                    Some("CURRENT_TIMESTAMP".into())
                }
                _ => return Err(Refusal::Unsupported("this DEFAULT".into(), place)),
            }
        }
        _ => return Err(Refusal::Unsupported("this DEFAULT".into(), place)),
    };
    if parenthesis {
        parser.want_sign(&Token::RParen, ")")?;
    }
    Ok(kept)
}

/// What may stand behind the list: engine, character set and comments change nothing here.
fn options(parser: &mut Parser<'_>) -> Result<(), Refusal> {
    while !parser.at_end() {
        if parser.take_sign(&Token::Comma) || default_character_set(parser)? {
            continue;
        }
        const IGNORED: [&str; 7] = [
            "ENGINE",
            "AUTO_INCREMENT",
            "COMMENT",
            "ROW_FORMAT",
            "KEY_BLOCK_SIZE",
            "AUTOSTATS_ENABLED",
            "CHECKSUM",
        ];
        if !IGNORED.iter().any(|word| parser.take(word)) {
            return if parser.at("PARTITION") || parser.at("AS") || parser.at("SELECT") {
                parser.unsupported(&parser.peek_token_ref().token.to_string())
            } else {
                parser.refuse("a table option")
            };
        }
        parser.take_sign(&Token::Eq);
        parser.next_token();
    }
    Ok(())
}

fn several_primary_keys() -> SqlError {
    SqlError::new(ErrorCode::MultiplePrimaryKeys, "Multiple primary key defined")
}

fn invalid_default(column: &str) -> SqlError {
    SqlError::new(ErrorCode::InvalidDefault, format!("Invalid default value for '{column}'"))
}

/// The schema, if what was declared makes one.
fn checked(name: String, kind: TableKind, declared: Declared) -> Result<TableSchema, SqlError> {
    let Declared { mut columns, primary_key, shard_key } = declared;
    if columns.len() > COLUMNS_MAX {
        return Err(SqlError::new(
            ErrorCode::TooBig,
            format!("Too many columns: a table has at most {COLUMNS_MAX}"),
        ));
    }
    if columns.is_empty() {
        return Err(SqlError::new(ErrorCode::ParseError, "A table must have at least 1 column"));
    }
    for text in columns.iter().map(|column| &column.name).chain([&name]) {
        if text.is_empty() || text.len() > IDENTIFIER_BYTES_MAX {
            let text =
                format!("Identifier name '{text}' is too long: names have 1 to {IDENTIFIER_BYTES_MAX} bytes");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
    }
    for (n, column) in columns.iter().enumerate() {
        if columns[..n].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&column.name)) {
            return Err(SqlError::new(
                ErrorCode::DuplicateColumn,
                format!("Duplicate column name '{}'", column.name),
            ));
        }
    }
    let primary_key = positions(&columns, &primary_key.unwrap_or_default())?;
    for position in &primary_key {
        columns[*position].nullable = false;
        if columns[*position].column_type == ColumnType::Json {
            return Err(unsupported(&format!("the JSON column {} in a key", columns[*position].name)));
        }
    }
    let shard_key = match (kind, shard_key) {
        (TableKind::Reference, None) => Vec::new(),
        (TableKind::Reference, Some(_)) => {
            return Err(SqlError::new(ErrorCode::OperationRefused, "A reference table has no SHARD KEY"));
        }
        (TableKind::Sharded, None) => primary_key.clone(),
        (TableKind::Sharded, Some(names)) => {
            let shard_key = positions(&columns, &names)?;
            if !primary_key.is_empty()
                && (shard_key.is_empty() || !shard_key.iter().all(|position| primary_key.contains(position)))
            {
                let text =
                    "The primary key must contain the shard key, because it is checked in one partition only";
                return Err(SqlError::new(ErrorCode::OperationRefused, text));
            }
            shard_key
        }
    };
    let mut automatic = columns.iter().enumerate().filter(|(_, column)| column.auto_increment);
    if let Some((position, column)) = automatic.next() {
        let integer = matches!(column.column_type, ColumnType::Int { .. } | ColumnType::Bool);
        let in_key = primary_key.contains(&position) || shard_key.contains(&position);
        if automatic.next().is_some() || !integer || !in_key {
            let text =
                "Incorrect table definition; there can be only one auto column, an integer defined as a key";
            return Err(SqlError::new(ErrorCode::WrongAutoIncrement, text));
        }
        if column.default.is_some() {
            return Err(invalid_default(&column.name));
        }
    }
    for column in columns.iter().filter(|column| column.default.is_some()) {
        let value = default_value(column, 0).ok_or_else(|| invalid_default(&column.name))?;
        coerce(value, column, 1).map_err(|_| invalid_default(&column.name))?;
    }
    Ok(TableSchema { id: TableId(0), database: DatabaseId(0), name, kind, columns, primary_key, shard_key })
}

fn positions(columns: &[Column], names: &[String]) -> Result<Vec<usize>, SqlError> {
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let position =
            columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
                SqlError::new(
                    ErrorCode::KeyColumnMissing,
                    format!("Key column '{name}' doesn't exist in table"),
                )
            })?;
        if positions.contains(&position) {
            return Err(SqlError::new(ErrorCode::DuplicateColumn, format!("Duplicate column name '{name}'")));
        }
        positions.push(position);
    }
    Ok(positions)
}
