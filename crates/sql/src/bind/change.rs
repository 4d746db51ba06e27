//! UPDATE and DELETE: which rows, and what becomes of them.

use std::sync::Arc;

use baton_catalog::Catalog;
use baton_model::TableSchema;
use baton_model::errors::{ErrorCode, SqlError};
use datafusion::sql::sqlparser::ast::Expr;

use super::reach::Reach;
use super::{Columns, Context, Partitions, bind_scalar, default_value, reach, unknown_column};
use crate::expression::Expression;
use crate::leaf::ChangeProgram;
use crate::parse::unsupported;
use crate::session::Session;
use crate::statement::ChangeStatement;

/// An UPDATE or DELETE, ready to be sent.
pub struct BoundChange {
    /// The table.
    pub schema: Arc<TableSchema>,
    /// Which partitions may hold rows that are meant.
    pub partitions: Partitions,
    /// What each of them does; its `access` is for all of them together.
    pub program: ChangeProgram,
    reach: Reach,
}

impl BoundChange {
    /// The program for one partition: with its keys alone, if the rows are named by their keys.
    #[must_use]
    pub fn program_for(&self, ordinal: u32) -> ChangeProgram {
        ChangeProgram { access: self.reach.of(ordinal), ..self.program.clone() }
    }
}

/// Checks an UPDATE or DELETE against the catalog.
///
/// # Errors
/// Unknown names, and what is not supported: subqueries, and changing a column of the primary or shard key.
pub fn bind_change(
    change: &ChangeStatement,
    catalog: &Catalog,
    session: &Session,
) -> Result<BoundChange, SqlError> {
    let context = Context { catalog, session };
    let database = context.database(change.table.database.as_deref())?;
    let schema = &context.table(&change.table)?.schema;
    let columns = Columns {
        schema: Some(schema),
        name: change.alias.as_deref().unwrap_or(&schema.name),
        database: change.alias.is_none().then_some(&database.name),
        clause: "where clause",
    };
    let predicate = match &change.predicate {
        Some(predicate) => Some(bind_scalar(predicate.clone(), &columns, &context)?),
        None => None,
    };
    let in_list = Columns { clause: "field list", ..columns };
    let assignments = match &change.assignments {
        None => None,
        Some(assignments) => {
            let bound: Result<Vec<(usize, Expression)>, SqlError> = assignments
                .iter()
                .map(|(name, value)| assignment(name, value, schema, &in_list, &context))
                .collect();
            Some(bound?)
        }
    };
    let reach = reach(schema, predicate.as_ref(), database.partitions);
    let program =
        ChangeProgram { schema: schema.clone(), access: reach.access.clone(), predicate, assignments };
    Ok(BoundChange { schema: Arc::new(schema.clone()), partitions: reach.partitions.clone(), program, reach })
}

fn assignment(
    name: &str,
    value: &Expr,
    schema: &TableSchema,
    columns: &Columns<'_>,
    context: &Context<'_>,
) -> Result<(usize, Expression), SqlError> {
    let position = schema.column_index(name).ok_or_else(|| unknown_column(name, "field list"))?;
    if schema.primary_key.contains(&position) || schema.shard_key.contains(&position) {
        return Err(unsupported(&format!("UPDATE of the key column {name}")));
    }
    let column = &schema.columns[position];
    let is_default = matches!(value, Expr::Identifier(word) if word.value.eq_ignore_ascii_case("default"));
    if is_default && schema.column_index("default").is_none() {
        let default = default_value(column, context.session.now_us).ok_or_else(|| {
            let text = format!("Field '{}' doesn't have a default value", column.name);
            SqlError::new(ErrorCode::NoDefault, text)
        })?;
        return Ok((position, Expression::Literal(default)));
    }
    Ok((position, bind_scalar(value.clone(), columns, context)?))
}
