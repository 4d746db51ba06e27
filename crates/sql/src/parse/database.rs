//! CREATE, ALTER and DROP DATABASE, DROP TABLE; the first word is taken.

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
    let (mut modes, mut partitions) = (Modes::default(), None);
    while !parser.at_end() {
        if parser.take("WITH") {
            modes.read(parser)?;
        } else if parser.take("PARTITIONS") {
            partitions = partition_count(parser)?;
        } else if !default_character_set(parser)? {
            return parser.refuse("WITH or PARTITIONS");
        }
    }
    let replication = modes.replication.unwrap_or(ReplicationMode::Sync);
    let durability = modes.durability.unwrap_or(Durability::Sync);
    Ok(SchemaStatement::CreateDatabase { name, if_not_exists, replication, durability, partitions })
}

/// What a database is asked to promise.
#[derive(Default)]
pub(super) struct Modes {
    pub(super) replication: Option<ReplicationMode>,
    pub(super) durability: Option<Durability>,
}

impl Modes {
    /// Takes `{SYNC | ASYNC} {DURABILITY | REPLICATION} …`, at least one, each at most once in a statement.
    pub(super) fn read(&mut self, parser: &mut Parser<'_>) -> Result<(), Refusal> {
        if !parser.at("SYNC") && !parser.at("ASYNC") {
            return parser.refuse("SYNC or ASYNC");
        }
        while parser.at("SYNC") || parser.at("ASYNC") {
            let sync = parser.take("SYNC") || !parser.take("ASYNC");
            if self.replication.is_none() && parser.take("REPLICATION") {
                self.replication = Some(if sync { ReplicationMode::Sync } else { ReplicationMode::Async });
            } else if self.durability.is_none() && parser.take("DURABILITY") {
                self.durability = Some(if sync { Durability::Sync } else { Durability::Async });
            } else {
                return parser.refuse("DURABILITY or REPLICATION, each once");
            }
            let _ = parser.take("AND") || parser.take_sign(&Token::Comma);
        }
        Ok(())
    }
}

/// What follows `ALTER DATABASE`.
pub(super) fn alter_database(parser: &mut Parser<'_>) -> Result<SchemaStatement, Refusal> {
    let name = parser.name("the name of a database")?;
    let mut modes = Modes::default();
    parser.want("WITH")?;
    modes.read(parser)?;
    while parser.take("WITH") {
        modes.read(parser)?;
    }
    let Modes { replication, durability } = modes;
    Ok(SchemaStatement::AlterDatabase { name, replication, durability })
}

/// `[=] n`; PARTITIONS is taken.
pub(super) fn partition_count(parser: &mut Parser<'_>) -> Result<Option<u32>, Refusal> {
    parser.take_sign(&Token::Eq);
    let count = parser.number("a number of partitions from 1 to 1024", 1..=PARTITIONS_MAX.into())?;
    Ok(u32::try_from(count).ok())
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
