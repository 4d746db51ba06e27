//! The queries that need no planner: constants, and rows by their primary key.

use std::sync::Arc;

use baton_catalog::{Catalog, GrantScope, Privilege};
use baton_model::errors::SqlError;
use baton_model::{ColumnType, Datum, Key, Row, TableSchema};
use datafusion::sql::sqlparser::ast::{
    self, Expr, GroupByExpr, LimitClause, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableFactor,
};

use crate::bind::{Access, Columns, Context, INFORMATION_SCHEMA, bind_scalar, reach};
use crate::expression::{Expression, Value};
use crate::session::{ResultSet, Session};
use crate::statement::Query;

/// How a query is to be run.
pub enum ReadPlan {
    /// It reads no table: this is its result.
    Constant(ResultSet),
    /// It names its rows by their keys.
    Points(PointGet),
    /// By [`execute_query`](crate::execute_query).
    General,
}

/// Rows by their primary key.
pub struct PointGet {
    /// The table.
    pub schema: Arc<TableSchema>,
    /// The ordinal, 0 of a reference table, and the key of each row that may be there.
    pub keys: Vec<(u32, Key)>,
    /// The columns of the result.
    pub columns: Vec<(String, ColumnType)>,
    /// The positions of these columns in the table.
    pub projection: Vec<usize>,
    /// What a row must fulfil beside having one of the keys.
    condition: Expression,
}

impl PointGet {
    /// The result, from the rows that were found.
    ///
    /// # Errors
    /// What the query's condition fails with.
    pub fn result(&self, rows: impl IntoIterator<Item = Row>) -> Result<ResultSet, SqlError> {
        let mut result = ResultSet { columns: self.columns.clone(), rows: Vec::new() };
        for row in rows {
            if self.condition.truth(&row)? == Some(true) {
                let value = |position: &usize| row.get(*position).cloned().unwrap_or(Datum::Null);
                result.rows.push(self.projection.iter().map(value).collect());
            }
        }
        Ok(result)
    }
}

/// How a query is to be run. A query that is wrong is `General`: running it says what is wrong.
///
/// # Errors
/// What the computation of constants fails with.
pub fn plan_read(query: &Query, catalog: &Catalog, session: &Session) -> Result<ReadPlan, SqlError> {
    let context = Context { catalog, session };
    let Some((select, limit)) = plain_select(&query.ast) else { return Ok(ReadPlan::General) };
    let plan = match select.from.as_slice() {
        [] => constant(select, query, &context)?.filter(|_| limit > 0).map(ReadPlan::Constant),
        [table] if table.joins.is_empty() => points(select, &table.relation, &context)
            .filter(|points| u64::try_from(points.keys.len()).is_ok_and(|keys| keys <= limit))
            .map(ReadPlan::Points),
        _ => None,
    };
    Ok(plan.unwrap_or(ReadPlan::General))
}

/// The SELECT that a query is, and how many rows it may give, if it groups, sorts and combines nothing.
fn plain_select(query: &ast::Query) -> Option<(&Select, u64)> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let limit = match &query.limit_clause {
        None => u64::MAX,
        Some(LimitClause::LimitOffset { limit: Some(Expr::Value(limit)), offset: None, limit_by })
            if limit_by.is_empty() =>
        {
            match &limit.value {
                ast::Value::Number(digits, _) => digits.parse().ok()?,
                _ => return None,
            }
        }
        Some(_) => return None,
    };
    let groups =
        !matches!(&select.group_by, GroupByExpr::Expressions(by, more) if by.is_empty() && more.is_empty());
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.fetch.is_none()
        && query.pipe_operators.is_empty()
        && !groups
        && select.distinct.is_none()
        && select.top.is_none()
        && select.into.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.prewhere.is_none()
        && select.lateral_views.is_empty()
        && select.named_window.is_empty()
        && select.connect_by.is_empty()
        && select.sort_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.exclude.is_none();
    plain.then_some((select, limit))
}

/// The one row of a SELECT without tables; None if it is not so simple.
fn constant(select: &Select, query: &Query, context: &Context<'_>) -> Result<Option<ResultSet>, SqlError> {
    if select.selection.is_some() {
        return Ok(None);
    }
    let mut result = ResultSet::default();
    let mut row = Vec::with_capacity(select.projection.len());
    for (n, item) in select.projection.iter().enumerate() {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, item_name(query, n, expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            _ => return Ok(None),
        };
        // What cannot be bound here may still be a query.
        let Ok(bound) = bind_scalar(expr.clone(), &Columns::none("field list"), context) else {
            return Ok(None);
        };
        let (datum, column_type) = typed(bound.evaluate(&[])?);
        result.columns.push((name, column_type));
        row.push(datum);
    }
    result.rows.push(row);
    Ok(Some(result))
}

/// The name of an item without an alias: its text as it was written.
pub(super) fn item_name(query: &Query, position: usize, expr: &Expr) -> String {
    let written = query.items.get(position).map(String::as_str).unwrap_or_default();
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) if !names[0].value.starts_with("@@") => {
            names.last().map(|name| name.value.clone()).unwrap_or_default()
        }
        // MySQL calls the column of a text by the text.
        Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => text.clone(),
            _ if written.is_empty() => expr.to_string(),
            _ => written.to_owned(),
        },
        _ if written.is_empty() => expr.to_string(),
        _ => written.to_owned(),
    }
}

/// A value as a result's column has it.
fn typed(value: Value<'_>) -> (Datum, ColumnType) {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    match value {
        Value::Null => (Datum::Null, ColumnType::Varchar(0)),
        Value::Int(v) => (Datum::Int(v), ColumnType::Int { bits: 64, unsigned: false }),
        Value::UInt(v) => (Datum::UInt(v), ColumnType::Int { bits: 64, unsigned: true }),
        Value::Double(v) => (Datum::Double(v), ColumnType::Double),
        Value::Decimal(v, scale) => (Datum::Decimal(v), ColumnType::Decimal { precision: 38, scale }),
        Value::Text(v) => {
            let column_type = ColumnType::Varchar(length(v.chars().count()));
            (Datum::Text(v.into_owned()), column_type)
        }
        Value::Bytes(v) => {
            let column_type = ColumnType::Varbinary(length(v.len()));
            (Datum::Bytes(v.into_owned()), column_type)
        }
        Value::Date(v) => (Datum::Date(v), ColumnType::Date),
        Value::DateTime(v) => (Datum::DateTime(v), ColumnType::DateTime),
    }
}

/// Rows by key, if the condition names keys and the items are columns.
fn points(select: &Select, relation: &TableFactor, context: &Context<'_>) -> Option<PointGet> {
    let TableFactor::Table { name, alias, args: None, version: None, partitions, sample: None, .. } =
        relation
    else {
        return None;
    };
    if !partitions.is_empty() || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return None;
    }
    let name = crate::parse::table_name(name.clone()).ok()?;
    if context.database_name(name.database.as_deref()).ok()?.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
        return None;
    }
    let database = context.database(name.database.as_deref()).ok()?;
    let schema = &context.table(&name).ok()?.schema;
    // Whoever may not read it is told so where other queries are planned.
    let scope = GrantScope::table(&database.name, &schema.name);
    context.holds(Privilege::Select, &scope).then_some(())?;
    let shown_as = alias.as_ref().map_or(schema.name.as_str(), |alias| alias.name.value.as_str());
    let columns = Columns {
        schema: Some(schema),
        name: shown_as,
        database: alias.is_none().then_some(&database.name),
        clause: "where clause",
    };
    let condition = bind_scalar(select.selection.clone()?, &columns, context).ok()?;
    let reach = reach(schema, Some(&condition), database.partitions);
    if !matches!(reach.access, Access::Keys(_)) {
        return None;
    }
    let mut shown = Vec::with_capacity(schema.columns.len());
    let mut projection = Vec::with_capacity(schema.columns.len());
    let all = |shown: &mut Vec<(String, ColumnType)>, projection: &mut Vec<usize>| {
        shown.extend(schema.columns.iter().map(|column| (column.name.clone(), column.column_type)));
        projection.extend(0..schema.columns.len());
    };
    for item in &select.projection {
        let (expr, alias) = match item {
            SelectItem::Wildcard(_) => {
                all(&mut shown, &mut projection);
                continue;
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _) => {
                let [only] = of.0.as_slice() else { return None };
                if !only.as_ident()?.value.eq_ignore_ascii_case(shown_as) {
                    return None;
                }
                all(&mut shown, &mut projection);
                continue;
            }
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return None,
        };
        let written = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => names.last()?,
            _ => return None,
        };
        let Ok(Expression::Column(position, column_type)) = bind_scalar(expr.clone(), &columns, context)
        else {
            return None;
        };
        shown.push((alias.unwrap_or(written).value.clone(), column_type));
        projection.push(position);
    }
    Some(PointGet {
        schema: Arc::new(schema.clone()),
        keys: reach.keys,
        columns: shown,
        projection,
        condition,
    })
}
