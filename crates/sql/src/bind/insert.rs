//! INSERT and REPLACE: rows of the columns' types.

use std::sync::Arc;

use baton_catalog::Catalog;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{ROW_BYTES_MAX, STATEMENT_ROWS_MAX};
use baton_model::{Column, Datum, Row, TableSchema};
use datafusion::sql::sqlparser::ast::Expr;

use super::{Columns, Context, bind_scalar, unknown_column};
use crate::expression::coerce::coerce;
use crate::expression::functions::unhex;
use crate::expression::{Value, parse_number};
use crate::session::{ResultSet, Session};
use crate::statement::{Insert, InsertSource, Query};

/// What is to be done for an INSERT.
pub enum InsertPlan {
    /// Write these rows.
    Rows(BoundInsert),
    /// Run the query, then write what [`InsertTarget::bind`] makes of its result.
    Select {
        /// The query.
        query: Query,
        /// Where its rows go.
        target: InsertTarget,
    },
}

/// Rows to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundInsert {
    /// The table.
    pub schema: Arc<TableSchema>,
    /// Whether a row with the same key is replaced; else it is an error.
    pub replace: bool,
    /// The rows, each value of its column's type. NULL where an AUTO_INCREMENT value is missing.
    pub rows: Vec<Row>,
    /// The positions of the rows that need an AUTO_INCREMENT value.
    pub auto_increment_missing: Vec<usize>,
    /// The greatest AUTO_INCREMENT value that was given; the counter must pass it.
    pub auto_increment_given: Option<u64>,
}

impl BoundInsert {
    /// Gives `first`, `first + 1`, … to the rows that miss a value.
    ///
    /// # Errors
    /// 1264 if the column's type does not hold them.
    pub fn fill_auto_increment(&mut self, first: u64) -> Result<(), SqlError> {
        let Some(position) = self.schema.auto_increment() else { return Ok(()) };
        let column = &self.schema.columns[position];
        for (value, row) in (first..).zip(&self.auto_increment_missing) {
            self.rows[*row][position] = coerce(Value::UInt(value), column, row + 1)?;
        }
        self.auto_increment_missing.clear();
        Ok(())
    }
}

/// Where the rows of an INSERT go.
#[derive(Clone, Debug)]
pub struct InsertTarget {
    schema: Arc<TableSchema>,
    replace: bool,
    /// The column that each given value is for.
    positions: Vec<usize>,
    /// What the columns get that no value is given for; an error if that is nothing.
    defaults: Vec<Option<Datum>>,
    now_us: i64,
}

impl InsertTarget {
    /// The rows that a query's result makes.
    ///
    /// # Errors
    /// 1136 if the number of columns differs, and whatever a value does not fit for.
    pub fn bind(&self, result: ResultSet) -> Result<BoundInsert, SqlError> {
        let mut rows = Rows::new(self, result.rows.len())?;
        for row in &result.rows {
            let values = row.iter().zip(&result.columns).map(|(datum, (_, of))| Value::of_column(datum, *of));
            rows.push(row.len(), values.map(|value| Ok(Given::Value(value))))?;
        }
        Ok(rows.done())
    }
}

/// What a statement says of a column.
enum Given<'a> {
    Value(Value<'a>),
    Default,
}

/// Checks an INSERT against the catalog, and computes its rows if they are given.
///
/// # Errors
/// Unknown names, wrong counts, and values that do not fit: 1048, 1054, 1110, 1136, 1264, 1364, 1366, 1406.
pub fn bind_insert(insert: &Insert, catalog: &Catalog, session: &Session) -> Result<InsertPlan, SqlError> {
    let context = Context { catalog, session };
    let schema = Arc::new(context.table(&insert.table)?.schema.clone());
    let positions = positions(&schema, &insert.columns)?;
    let mut defaults = Vec::with_capacity(schema.columns.len());
    for (n, column) in schema.columns.iter().enumerate() {
        // The default of a column that gets values is asked for only where a row says DEFAULT.
        defaults.push(if positions.contains(&n) { None } else { default_datum(column, session.now_us)? });
    }
    let target =
        InsertTarget { schema, replace: insert.replace, positions, defaults, now_us: session.now_us };
    match &insert.source {
        InsertSource::Query(query) => Ok(InsertPlan::Select { query: query.clone(), target }),
        InsertSource::Values(given) => {
            let mut rows = Rows::new(&target, given.len())?;
            for row in given {
                if row.is_empty() && insert.columns.is_empty() {
                    rows.push(target.positions.len(), target.positions.iter().map(|_| Ok(Given::Default)))?;
                } else {
                    rows.push(row.len(), row.iter().map(|value| constant(value, &context)))?;
                }
            }
            Ok(InsertPlan::Rows(rows.done()))
        }
    }
}

fn positions(schema: &TableSchema, names: &[String]) -> Result<Vec<usize>, SqlError> {
    if names.is_empty() {
        return Ok((0..schema.columns.len()).collect());
    }
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let position = schema.column_index(name).ok_or_else(|| unknown_column(name, "field list"))?;
        if positions.contains(&position) {
            return Err(SqlError::new(ErrorCode::ColumnTwice, format!("Column '{name}' specified twice")));
        }
        positions.push(position);
    }
    Ok(positions)
}

/// A value of VALUES. Literals, the most of all, take no detour.
fn constant<'a>(value: &Expr, context: &Context<'_>) -> Result<Given<'a>, SqlError> {
    if let Some(literal) = super::scalar::literal(value) {
        return Ok(Given::Value(literal));
    }
    if matches!(value, Expr::Identifier(word) if word.value.eq_ignore_ascii_case("default")) {
        return Ok(Given::Default);
    }
    let expression = bind_scalar(value.clone(), &Columns::none("field list"), context)?;
    Ok(Given::Value(expression.evaluate(&[])?.into_owned()))
}

/// Rows as they are gathered.
struct Rows<'a> {
    target: &'a InsertTarget,
    automatic: Option<usize>,
    bound: BoundInsert,
}

impl<'a> Rows<'a> {
    fn new(target: &'a InsertTarget, count: usize) -> Result<Self, SqlError> {
        if count > STATEMENT_ROWS_MAX {
            let text = format!("A statement writes at most {STATEMENT_ROWS_MAX} rows, not {count}");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        let bound = BoundInsert {
            schema: Arc::clone(&target.schema),
            replace: target.replace,
            rows: Vec::with_capacity(count),
            auto_increment_missing: Vec::new(),
            auto_increment_given: None,
        };
        Ok(Self { target, automatic: target.schema.auto_increment(), bound })
    }

    fn push<'v>(
        &mut self,
        count: usize,
        values: impl Iterator<Item = Result<Given<'v>, SqlError>>,
    ) -> Result<(), SqlError> {
        let number = self.bound.rows.len() + 1;
        if count != self.target.positions.len() {
            let text = format!("Column count doesn't match value count at row {number}");
            return Err(SqlError::new(ErrorCode::ValueCount, text));
        }
        let mut row: Vec<Option<Datum>> = self.target.defaults.clone();
        for (given, position) in values.zip(&self.target.positions) {
            let column = &self.target.schema.columns[*position];
            row[*position] = match given? {
                Given::Value(value) => Some(coerce(value, column, number)?),
                Given::Default => default_datum(column, self.target.now_us)?,
            };
        }
        let mut bytes = 0;
        let mut complete = Vec::with_capacity(row.len());
        for (datum, column) in row.into_iter().zip(&self.target.schema.columns) {
            let Some(datum) = datum else { return Err(no_default(column)) };
            bytes += match &datum {
                Datum::Text(text) => text.len(),
                Datum::Bytes(bytes) => bytes.len(),
                _ => 0,
            } + 16;
            complete.push(datum);
        }
        if bytes > ROW_BYTES_MAX {
            let text = format!("Row size too large: a row has at most {ROW_BYTES_MAX} bytes");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        if let Some(position) = self.automatic {
            let datum = &mut complete[position];
            match *datum {
                // Asks for a value, as in MySQL.
                Datum::Null | Datum::Int(0) | Datum::UInt(0) => {
                    *datum = Datum::Null;
                    self.bound.auto_increment_missing.push(number - 1);
                }
                Datum::Int(v) => self.given(u64::try_from(v).unwrap_or(0)),
                Datum::UInt(v) => self.given(v),
                _ => {}
            }
        }
        self.bound.rows.push(complete);
        Ok(())
    }

    fn given(&mut self, value: u64) {
        self.bound.auto_increment_given = self.bound.auto_increment_given.max(Some(value));
    }

    fn done(self) -> BoundInsert {
        self.bound
    }
}

fn no_default(column: &Column) -> SqlError {
    SqlError::new(ErrorCode::NoDefault, format!("Field '{}' doesn't have a default value", column.name))
}

/// The datum of a column that no value is given for; None if there is none.
fn default_datum(column: &Column, now_us: i64) -> Result<Option<Datum>, SqlError> {
    default_value(column, now_us).map(|value| coerce(value, column, 1)).transpose()
}

/// The value of a column's DEFAULT, or NULL where that is allowed; None if there is none.
pub(crate) fn default_value(column: &Column, now_us: i64) -> Option<Value<'static>> {
    let Some(text) = &column.default else {
        return (column.nullable || column.auto_increment).then_some(Value::Null);
    };
    if text == "CURRENT_TIMESTAMP" {
        return Some(Value::DateTime(now_us));
    }
    if let Some(digits) = text.strip_prefix("x'") {
        return unhex(digits.trim_end_matches('\'')).map(|bytes| Value::Bytes(bytes.into()));
    }
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(text) => Some(Value::text(text.replace("''", "'"))),
        None => parse_number(text)?.into_value().ok(),
    }
}
