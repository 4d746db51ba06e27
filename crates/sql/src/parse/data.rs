//! Queries and writes: what the parser's tree says, in our words, and what of it is not supported.

use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, Expr, FromTable, SetExpr, TableFactor, TableObject,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::source::{Refusal, Source};
use super::words::Words;
use crate::statement::{ChangeStatement, Insert, InsertSource, Query, TableName};

/// A query, from its first word on.
pub(super) fn query(parser: &mut Parser<'_>, source: Source<'_>) -> Result<Query, Refusal> {
    let place = parser.place();
    let first = parser.index();
    let mut ast = parser.parse_query()?;
    let items = select_items(parser, first, source);
    let clauses = std::mem::take(&mut ast.locks);
    let query = Query { ast, items, locks: !clauses.is_empty() };
    if clauses.iter().any(|clause| clause.of.is_some() || clause.nonblock.is_some()) {
        return Err(Refusal::Unsupported("OF, NOWAIT and SKIP LOCKED".into(), place));
    }
    if query.locks && (query.ast.with.is_some() || query.locking().is_none()) {
        return Err(Refusal::Unsupported("FOR UPDATE of what is not one table".into(), place));
    }
    Ok(query)
}

/// The table and its alias, if it is a plain one.
pub(crate) fn plain_table(relation: &TableFactor) -> Option<(TableName, Option<String>)> {
    one_table(relation.clone(), Span::empty().start).ok()
}

/// The text of each item of the first SELECT list that is not inside of anything.
fn select_items(parser: &Parser<'_>, first: usize, source: Source<'_>) -> Vec<String> {
    let mut items = Vec::new();
    let mut depth = 0_usize;
    let mut base = None;
    let mut span: Option<Span> = None;
    let mut leading = true;
    for index in first..parser.index() {
        let current = parser.token_at(index);
        let keyword = match &current.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        match &current.token {
            Token::LParen => {
                // `(SELECT a) UNION …` is named after the SELECT in parentheses.
                if leading {
                    continue;
                }
                depth += 1;
            }
            Token::RParen if depth == 0 && base.is_some() => break,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        leading = false;
        if base.is_none() {
            if keyword == Keyword::SELECT && depth == 0 {
                base = Some(index);
            }
            continue;
        }
        if depth == 0 && !matches!(current.token, Token::RParen) {
            if span.is_none() && matches!(keyword, Keyword::DISTINCT | Keyword::ALL | Keyword::DISTINCTROW) {
                continue;
            }
            if ends_list(keyword) || matches!(current.token, Token::SemiColon | Token::EOF) {
                break;
            }
            if matches!(current.token, Token::Comma) {
                items.push(span.take());
                continue;
            }
        }
        span = Some(span.map_or(current.span, |span: Span| Span::new(span.start, current.span.end)));
    }
    if base.is_none() {
        return Vec::new();
    }
    items.push(span);
    items.into_iter().map(|span| span.map_or_else(String::new, |span| source.text(span).to_owned())).collect()
}

fn ends_list(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::FROM
            | Keyword::INTO
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::WINDOW
            | Keyword::FOR
    )
}

/// INSERT or REPLACE, from that word on.
pub(super) fn insert(parser: &mut Parser<'_>, source: Source<'_>) -> Result<Insert, Refusal> {
    let place = parser.place();
    let no = |what: &str| Err(Refusal::Unsupported(what.to_owned(), place));
    let first = parser.index();
    let word = parser.next_token();
    let replace = matches!(&word.token, Token::Word(word) if word.keyword == Keyword::REPLACE);
    let parsed = if replace { parser.parse_replace(word)? } else { parser.parse_insert(word)? };
    let ast::Statement::Insert(insert) = parsed else { return no("this INSERT") };
    if insert.ignore {
        return no("INSERT IGNORE");
    }
    if insert.on.is_some() {
        return no("ON DUPLICATE KEY UPDATE");
    }
    if insert.returning.is_some() || insert.output.is_some() {
        return no("RETURNING");
    }
    if insert.partitioned.is_some()
        || insert.overwrite
        || insert.or.is_some()
        || insert.insert_alias.is_some()
    {
        return no("this INSERT");
    }
    let TableObject::TableName(name) = insert.table else { return no("INSERT into what is no table") };
    let mut columns = Vec::with_capacity(insert.columns.len());
    for column in insert.columns {
        columns.push(last_name(column)?);
    }
    let insert_source = match insert.source {
        None if insert.assignments.is_empty() => InsertSource::Values(vec![Vec::new()]),
        None => {
            let mut row = Vec::with_capacity(insert.assignments.len());
            for (column, value) in assignments(insert.assignments, place)? {
                columns.push(column);
                row.push(value);
            }
            InsertSource::Values(vec![row])
        }
        Some(query) => {
            let plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
            match *query.body {
                SetExpr::Values(values) if plain => {
                    InsertSource::Values(values.rows.into_iter().map(|row| row.content).collect())
                }
                body => {
                    let items = select_items(parser, first, source);
                    let ast = Box::new(ast::Query { body: Box::new(body), ..*query });
                    InsertSource::Query(Query { ast, items, locks: false })
                }
            }
        }
    };
    Ok(Insert { table: table_name(name)?, replace, columns, source: insert_source })
}

/// UPDATE, from that word on.
pub(super) fn update(parser: &mut Parser<'_>) -> Result<ChangeStatement, Refusal> {
    let place = parser.place();
    let no = |what: &str| Err(Refusal::Unsupported(what.to_owned(), place));
    let word = parser.next_token();
    let ast::Statement::Update(update) = parser.parse_update(word)? else { return no("this UPDATE") };
    if update.from.is_some() || !update.table.joins.is_empty() {
        return no("UPDATE of several tables");
    }
    if !update.order_by.is_empty() || update.limit.is_some() {
        return no("UPDATE with ORDER BY or LIMIT");
    }
    if update.returning.is_some() || update.output.is_some() || update.or.is_some() {
        return no("this UPDATE");
    }
    let (table, alias) = one_table(update.table.relation, place)?;
    let assignments = Some(assignments(update.assignments, place)?);
    Ok(ChangeStatement { table, alias, assignments, predicate: update.selection })
}

/// DELETE, from that word on.
pub(super) fn delete(parser: &mut Parser<'_>) -> Result<ChangeStatement, Refusal> {
    let place = parser.place();
    let no = |what: &str| Err(Refusal::Unsupported(what.to_owned(), place));
    let word = parser.next_token();
    let ast::Statement::Delete(delete) = parser.parse_delete(word)? else { return no("this DELETE") };
    let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = delete.from;
    if !delete.tables.is_empty() || delete.using.is_some() || from.len() != 1 || !from[0].joins.is_empty() {
        return no("DELETE from several tables");
    }
    if !delete.order_by.is_empty() || delete.limit.is_some() {
        return no("DELETE with ORDER BY or LIMIT");
    }
    if delete.returning.is_some() || delete.output.is_some() {
        return no("RETURNING");
    }
    let (table, alias) = one_table(from.remove(0).relation, place)?;
    Ok(ChangeStatement { table, alias, assignments: None, predicate: delete.selection })
}

/// `TRUNCATE [TABLE] t`, a DELETE of all rows; TRUNCATE is taken.
pub(super) fn truncate(parser: &mut Parser<'_>) -> Result<ChangeStatement, Refusal> {
    let _ = parser.take("TABLE");
    Ok(ChangeStatement { table: parser.table_name()?, alias: None, assignments: None, predicate: None })
}

fn one_table(
    relation: TableFactor,
    place: datafusion::sql::sqlparser::tokenizer::Location,
) -> Result<(TableName, Option<String>), Refusal> {
    match relation {
        TableFactor::Table { name, alias, args: None, partitions, .. } if partitions.is_empty() => {
            Ok((table_name(name)?, alias.map(|alias| alias.name.value)))
        }
        _ => Err(Refusal::Unsupported("a write to what is no table".into(), place)),
    }
}

fn assignments(
    assignments: Vec<ast::Assignment>,
    place: datafusion::sql::sqlparser::tokenizer::Location,
) -> Result<Vec<(String, Expr)>, Refusal> {
    assignments
        .into_iter()
        .map(|assignment| match assignment.target {
            AssignmentTarget::ColumnName(name) => Ok((last_name(name)?, assignment.value)),
            AssignmentTarget::Tuple(_) => {
                Err(Refusal::Unsupported("assignment to several columns".into(), place))
            }
        })
        .collect()
}

/// The name of a column, without the table before it.
fn last_name(name: ast::ObjectName) -> Result<String, Refusal> {
    let last = name.0.into_iter().next_back();
    match last.as_ref().and_then(ast::ObjectNamePart::as_ident) {
        Some(ident) => Ok(ident.value.clone()),
        None => Err(Refusal::Unsupported("this name".into(), Span::empty().start)),
    }
}

/// `[db.]table`.
pub(crate) fn table_name(name: ast::ObjectName) -> Result<TableName, Refusal> {
    let names: Option<Vec<String>> =
        name.0.iter().map(|part| part.as_ident().map(|i| i.value.clone())).collect();
    match names.as_deref() {
        Some([table]) => Ok(TableName { database: None, table: table.clone() }),
        Some([database, table]) => Ok(TableName { database: Some(database.clone()), table: table.clone() }),
        _ => Err(Refusal::Unsupported(format!("the table name {name}"), Span::empty().start)),
    }
}
