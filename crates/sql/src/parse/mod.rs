//! From text to a [`Statement`].
//!
//! The cluster's own statements, DDL, SET and SHOW are read here word by word; queries and writes by `sqlparser`, in
//! MySQL's grammar. Whatever comes in: an answer, or an error that says where; never a panic, never a deep recursion.

mod backup;
mod cluster;
mod column_type;
mod data;
mod database;
mod dialect;
mod guard;
mod maintenance;
mod parameters;
mod policy;
mod set;
mod show;
mod source;
mod table;
mod users;
mod words;

use baton_model::errors::{ErrorCode, SqlError};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

pub(crate) use self::data::{plain_table, table_name};
pub use self::parameters::{parameter_count, substitute};
use self::source::{Refusal, Source};
pub(crate) use self::source::{unsupported, unsupported_at};
use self::words::Words;
use crate::limits::NESTING_MAX;
use crate::statement::{Show, Statement};

/// The statement that a text is. One `;` at its end may be there.
///
/// # Errors
/// 1064 with the position and the text there; 1235 with what is not supported; 1153 and 1118 if it is too large.
pub fn parse(sql: &str) -> Result<Statement, SqlError> {
    guard::check_text(sql)?;
    let source = Source(sql);
    tokens_to_statement(source).map_err(|refusal| source.error(refusal))
}

fn tokens_to_statement(source: Source<'_>) -> Result<Statement, Refusal> {
    let mut tokens = Tokenizer::new(&dialect::Grammar, source.0)
        .tokenize_with_location()
        .map_err(|error| ParserError::TokenizerError(error.to_string()))?;
    guard::check_tokens(&tokens)?;
    if let Some(end) = tokens.iter().position(|token| token.token == Token::SemiColon) {
        let silent = |token: &Token| matches!(token, Token::Whitespace(_) | Token::SemiColon | Token::EOF);
        if let Some(more) = tokens[end..].iter().find(|token| !silent(&token.token)) {
            return Err(Refusal::Unsupported("several statements at once".into(), more.span.start));
        }
        tokens.truncate(end);
    }
    if tokens.iter().all(|token| matches!(token.token, Token::Whitespace(_) | Token::EOF)) {
        return Err(SqlError::new(ErrorCode::ParseError, "Query was empty").into());
    }
    let mut parser =
        Parser::new(&dialect::Grammar).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens);
    let statement = statement(&mut parser, source)?;
    if parser.at_end() { Ok(statement) } else { parser.refuse("the end of the statement") }
}

fn statement(parser: &mut Parser<'_>, source: Source<'_>) -> Result<Statement, Refusal> {
    let first = match &parser.peek_token_ref().token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        Token::LParen => "SELECT".to_owned(),
        _ => return parser.refuse("a statement"),
    };
    match first.as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" => return data::query(parser, source).map(Statement::Query),
        "INSERT" | "REPLACE" => return data::insert(parser, source).map(Statement::Insert),
        "UPDATE" => return data::update(parser).map(Statement::Change),
        "DELETE" => return data::delete(parser).map(Statement::Change),
        _ => {}
    }
    let place = parser.place();
    parser.next_token();
    Ok(match first.as_str() {
        "TRUNCATE" => Statement::Change(data::truncate(parser)?),
        "SHOW" => Statement::Show(show::show(parser)?),
        "DESC" | "DESCRIBE" | "EXPLAIN" => explain(parser, source)?,
        "SET" if parser.take("POLICY") => about_policies(policy::set(parser)?),
        "SET" if parser.take_all(&["SHADOW", "POLICY"]) => about_policies(policy::set_shadow(parser)?),
        "SET" if parser.take("MAINTENANCE") => about_policies(policy::maintenance(parser)?),
        "SET" if parser.take("PASSWORD") => about_users(users::set_password(parser)?),
        "SET" => set::set(parser)?,
        "USE" => Statement::Use(parser.name("a database")?),
        "BEGIN" => {
            let _ = parser.take("WORK");
            Statement::Begin { read_only: false }
        }
        "START" => {
            parser.want("TRANSACTION")?;
            Statement::Begin { read_only: transaction_characteristics(parser)? }
        }
        "COMMIT" => {
            completion(parser)?;
            Statement::Commit
        }
        "ROLLBACK" if parser.take("POLICY") => about_policies(policy::rollback(parser)?),
        "RELEASE" if parser.take("POLICY") => about_policies(policy::release(parser)?),
        "DROP" if parser.take("POLICY") => about_policies(policy::drop_policy(parser)?),
        "CREATE" if parser.take_all(&["OR", "REPLACE", "POLICY"]) => {
            about_policies(policy::create(parser, true)?)
        }
        "CREATE" if parser.take("POLICY") => about_policies(policy::create(parser, false)?),
        "ROLLBACK" => {
            let _ = parser.take("WORK");
            if parser.take("TO") {
                let _ = parser.take("SAVEPOINT");
                Statement::RollbackTo(savepoint(parser)?)
            } else {
                completion(parser)?;
                Statement::Rollback
            }
        }
        "SAVEPOINT" => Statement::Savepoint(savepoint(parser)?),
        "RELEASE" => {
            parser.want("SAVEPOINT")?;
            Statement::ReleaseSavepoint(savepoint(parser)?)
        }
        "BACKUP" => Statement::Backup(backup::backup(parser)?),
        "RESTORE" if !parser.at("REDUNDANCY") => Statement::Backup(backup::restore(parser)?),
        "SNAPSHOT" => Statement::Backup(backup::snapshot(parser, false)?),
        "_SYNC_SNAPSHOT" => Statement::Backup(backup::snapshot(parser, true)?),
        "BOOTSTRAP" => Statement::Cluster(cluster::bootstrap(parser)?),
        "ADD" => Statement::Cluster(cluster::add(parser)?),
        "REMOVE" if parser.at("LEAF") || parser.at("LEAVES") => maintained(maintenance::remove(parser)?),
        "REMOVE" => Statement::Cluster(cluster::remove(parser)?),
        "PROMOTE" if parser.take("PARTITION") => maintained(maintenance::promote_partition(parser)?),
        "PROMOTE" => Statement::Cluster(cluster::promote(parser)?),
        "COPY" => maintained(maintenance::copy(parser)?),
        "ATTACH" => maintained(maintenance::attach(parser)?),
        "DETACH" => maintained(maintenance::detach(parser)?),
        "CLEAR" => maintained(maintenance::clear(parser)?),
        "REBALANCE" => maintained(maintenance::rebalance(parser)?),
        "STOP" if parser.take("REBALANCE") => maintained(maintenance::stop_rebalance(parser)?),
        "RESTORE" if parser.take("REDUNDANCY") => maintained(maintenance::restore_redundancy(parser)?),
        "DROP" if parser.take("PARTITION") => maintained(maintenance::drop_partition(parser)?),
        "CREATE" if parser.take("USER") => about_users(users::create_user(parser)?),
        "ALTER" if parser.take("USER") => about_users(users::alter_user(parser)?),
        "DROP" if parser.take("USER") => about_users(users::drop_user(parser)?),
        "GRANT" => about_users(users::grant(parser)?),
        "REVOKE" => about_users(users::revoke(parser)?),
        "CREATE" => Statement::Schema(create(parser)?),
        "ALTER" if parser.take("DATABASE") || parser.take("SCHEMA") => {
            Statement::Schema(database::alter_database(parser)?)
        }
        "DROP" => {
            if parser.take("DATABASE") || parser.take("SCHEMA") {
                Statement::Schema(database::drop_database(parser)?)
            } else if parser.take("TABLE") {
                Statement::Schema(database::drop_table(parser)?)
            } else {
                return known_but_unsupported(parser, "DROP", place);
            }
        }
        "ALTER" | "KILL" | "LOAD" | "CALL" | "DO" | "HANDLER" | "LOCK" | "UNLOCK" | "PREPARE" | "EXECUTE"
        | "DEALLOCATE" | "ANALYZE" | "OPTIMIZE" | "CHECK" | "REPAIR" | "FLUSH" | "RESET" | "RENAME"
        | "REPLICATE" | "PAUSE" | "CONTINUE" | "STOP" | "AGGREGATOR" | "KILLALL" | "XA" | "MERGE" => {
            return known_but_unsupported(parser, &first, place);
        }
        _ => return Err(Refusal::Expected("a statement", place)),
    })
}

fn maintained(statement: crate::maintenance::Maintenance) -> Statement {
    Statement::Cluster(crate::statement::ClusterStatement::Maintenance(statement))
}

fn about_policies(statement: crate::policy::PolicyStatement) -> Statement {
    Statement::Cluster(crate::statement::ClusterStatement::Policy(statement))
}

fn about_users(statement: crate::users::UserStatement) -> Statement {
    Statement::Cluster(crate::statement::ClusterStatement::User(statement))
}

/// The first words of a statement that exists elsewhere.
fn known_but_unsupported<T>(
    parser: &Parser<'_>,
    first: &str,
    place: datafusion::sql::sqlparser::tokenizer::Location,
) -> Result<T, Refusal> {
    let what = match &parser.peek_token_ref().token {
        Token::Word(word) => format!("{first} {}", word.value.to_ascii_uppercase()),
        _ => first.to_owned(),
    };
    Err(Refusal::Unsupported(what, place))
}

fn create(parser: &mut Parser<'_>) -> Result<crate::statement::SchemaStatement, Refusal> {
    if parser.take("DATABASE") || parser.take("SCHEMA") {
        return database::create_database(parser);
    }
    for word in ["TABLE", "REFERENCE", "ROWSTORE", "COLUMNSTORE", "TEMPORARY", "GLOBAL"] {
        if parser.at(word) {
            return table::create_table(parser);
        }
    }
    let place = parser.place();
    known_but_unsupported(parser, "CREATE", place)
}

/// EXPLAIN of a query, or DESCRIBE of a table; the first word is taken.
fn explain(parser: &mut Parser<'_>, source: Source<'_>) -> Result<Statement, Refusal> {
    if parser.take("FORMAT") {
        parser.take_sign(&Token::Eq);
        parser.text_or_name("a format")?;
    }
    if parser.take_all(&["POLICY", "DECISION"]) {
        let id = parser.number("the id of a decision", 0..=u64::MAX)?;
        return Ok(Statement::Show(Show::PolicyDecision { id }));
    }
    if parser.take("MAINTENANCE") {
        return Ok(Statement::Show(Show::MaintenancePlan(policy::maintenance_kind(parser)?)));
    }
    let _ = parser.take("EXTENDED");
    let is_query = parser.at("SELECT")
        || parser.at("WITH")
        || parser.at("VALUES")
        || matches!(parser.peek_token_ref().token, Token::LParen);
    if is_query {
        return data::query(parser, source).map(Statement::Explain);
    }
    if let Some(statement) = maintenance::explained(parser)? {
        return Ok(Statement::Show(Show::Plan(statement)));
    }
    for word in ["ANALYZE", "INSERT", "REPLACE", "UPDATE", "DELETE"] {
        if parser.at(word) {
            return parser.unsupported(&format!("EXPLAIN {word}"));
        }
    }
    show::describe(parser).map(Statement::Show)
}

/// `READ ONLY`, `READ WRITE`, `WITH CONSISTENT SNAPSHOT`; the last one says nothing under READ COMMITTED, as in MySQL.
/// Answers whether the transaction only reads.
fn transaction_characteristics(parser: &mut Parser<'_>) -> Result<bool, Refusal> {
    let mut read_only = false;
    while !parser.at_end() {
        if parser.take_all(&["READ", "ONLY"]) {
            read_only = true;
        } else if !parser.take_all(&["READ", "WRITE"])
            && !parser.take_all(&["WITH", "CONSISTENT", "SNAPSHOT"])
        {
            return parser.refuse("READ ONLY, READ WRITE or WITH CONSISTENT SNAPSHOT");
        }
        parser.take_sign(&Token::Comma);
    }
    Ok(read_only)
}

/// `[WORK] [AND NO CHAIN] [NO RELEASE]`.
fn completion(parser: &mut Parser<'_>) -> Result<(), Refusal> {
    let _ = parser.take("WORK");
    let _ = parser.take_all(&["AND", "NO", "CHAIN"]);
    let _ = parser.take_all(&["NO", "RELEASE"]);
    if parser.at("AND") || parser.at("RELEASE") {
        return parser.unsupported("CHAIN and RELEASE");
    }
    Ok(())
}

/// The name of a savepoint, in lower case: they are without case.
fn savepoint(parser: &mut Parser<'_>) -> Result<String, Refusal> {
    Ok(parser.name("a savepoint")?.to_lowercase())
}
