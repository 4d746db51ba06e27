//! CREATE and DROP DATABASE, DROP TABLE; CREATE and DROP are taken.

use baton_model::limits::PARTITIONS_MAX;
use baton_model::{Durability, ReplicationMode};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::source::Refusal;
use super::words::Words;
use crate::statement::SchemaStatement;

/// What follows `CREATE DATABASE`.
pub(super) fn create_database(parser: &mut Parser<'_>) -> Result<SchemaStatement, Refusal> {
    let if_not_exists = parser.take_all(&["IF", "NOT", "EXISTS"]);
    let name = parser.name("the name of a database")?;
    let (mut replication, mut durability, mut partitions) = (ReplicationMode::Sync, Durability::Sync, None);
    while !parser.at_end() {
        if parser.take("WITH") {
            let mut clauses = 0;
            while parser.at("SYNC") || parser.at("ASYNC") {
                let sync = parser.take("SYNC") || !parser.take("ASYNC");
                if parser.take("REPLICATION") {
                    replication = if sync { ReplicationMode::Sync } else { ReplicationMode::Async };
                } else {
                    parser.want("DURABILITY")?;
                    durability = if sync { Durability::Sync } else { Durability::Async };
                }
                let _ = parser.take("AND") || parser.take_sign(&Token::Comma);
                clauses += 1;
            }
            if clauses == 0 {
                return parser.refuse("SYNC or ASYNC");
            }
        } else if parser.take("PARTITIONS") {
            parser.take_sign(&Token::Eq);
            let count = parser.number("a number of partitions from 1 to 1024", 1..=PARTITIONS_MAX.into())?;
            partitions = u32::try_from(count).ok();
        } else if !default_character_set(parser)? {
            return parser.refuse("WITH or PARTITIONS");
        }
    }
    Ok(SchemaStatement::CreateDatabase { name, if_not_exists, replication, durability, partitions })
}

/// Takes `[DEFAULT] CHARACTER SET [=] x` or `[DEFAULT] COLLATE [=] x`, if it is next.
pub(super) fn default_character_set(parser: &mut Parser<'_>) -> Result<bool, Refusal> {
    let default = parser.take("DEFAULT");
    let found = character_set(parser)?;
    if default && !found { parser.refuse("CHARACTER SET") } else { Ok(found) }
}

/// Takes `CHARACTER SET [=] x` or `COLLATE [=] x`, if it is next: everything is UTF-8, and compares by its bytes.
pub(super) fn character_set(parser: &mut Parser<'_>) -> Result<bool, Refusal> {
    let found = parser.take_all(&["CHARACTER", "SET"]) || parser.take("CHARSET") || parser.take("COLLATE");
    if found {
        parser.take_sign(&Token::Eq);
        parser.text_or_name("a character set")?;
    }
    Ok(found)
}

/// What follows `DROP DATABASE`.
pub(super) fn drop_database(parser: &mut Parser<'_>) -> Result<SchemaStatement, Refusal> {
    let if_exists = parser.take_all(&["IF", "EXISTS"]);
    Ok(SchemaStatement::DropDatabase { name: parser.name("the name of a database")?, if_exists })
}

/// What follows `DROP TABLE`.
pub(super) fn drop_table(parser: &mut Parser<'_>) -> Result<SchemaStatement, Refusal> {
    let if_exists = parser.take_all(&["IF", "EXISTS"]);
    let mut tables = vec![parser.table_name()?];
    while parser.take_sign(&Token::Comma) {
        tables.push(parser.table_name()?);
    }
    let _ = parser.take("RESTRICT") || parser.take("CASCADE");
    Ok(SchemaStatement::DropTable { tables, if_exists })
}
