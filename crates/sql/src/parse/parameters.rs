//! The `?` of prepared statements. Values take their places in the tree; text is never put together.

use std::ops::ControlFlow;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum};
use datafusion::sql::sqlparser::ast::{self, Expr, VisitMut, VisitorMut};

use crate::bind::literal_of;
use crate::expression::Value;
use crate::statement::{Assigned, InsertSource, Statement};

/// How many `?` a statement has.
#[must_use]
pub fn parameter_count(statement: &Statement) -> usize {
    let mut count = Visitor { parameters: None, seen: 0, error: None };
    // Only trees have placeholders, and the visitor changes nothing where it has no values.
    count.statement(&mut statement.clone());
    count.seen
}

/// The statement with these values in the places of its `?`, in order.
///
/// # Errors
/// 1210 if the number of values is not that of the `?`.
pub fn substitute(statement: &Statement, parameters: &[Datum]) -> Result<Statement, SqlError> {
    let mut statement = statement.clone();
    let mut visitor = Visitor { parameters: Some(parameters), seen: 0, error: None };
    visitor.statement(&mut statement);
    if visitor.seen != parameters.len() {
        let text =
            format!("Incorrect arguments to EXECUTE: {} given, {} wanted", parameters.len(), visitor.seen);
        return Err(SqlError::new(ErrorCode::WrongArguments, text));
    }
    visitor.error.map_or(Ok(statement), Err)
}

struct Visitor<'a> {
    parameters: Option<&'a [Datum]>,
    seen: usize,
    error: Option<SqlError>,
}

impl Visitor<'_> {
    fn statement(&mut self, statement: &mut Statement) {
        // The flow never breaks.
        match statement {
            Statement::Insert(insert) => match &mut insert.source {
                InsertSource::Values(rows) => drop(rows.visit(self)),
                InsertSource::Query(query) => drop(query.ast.visit(self)),
            },
            Statement::Change(change) => {
                for (_, value) in change.assignments.iter_mut().flatten() {
                    let _ = value.visit(self);
                }
                let _ = change.predicate.visit(self);
            }
            Statement::Query(query) | Statement::Explain(query) => drop(query.ast.visit(self)),
            Statement::SetSession(assignments) => {
                for (_, value) in assignments {
                    if let Assigned::Computed(expr) = value {
                        let _ = expr.visit(self);
                    }
                }
            }
            _ => {}
        }
    }
}

impl VisitorMut for Visitor<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        if !matches!(value.value, ast::Value::Placeholder(_)) {
            return ControlFlow::Continue(());
        }
        if let Some(parameter) = self.parameters.and_then(|parameters| parameters.get(self.seen)) {
            match literal(parameter) {
                Ok(literal) => *expr = literal,
                Err(error) => self.error = Some(error),
            }
        }
        self.seen += 1;
        ControlFlow::Continue(())
    }
}

/// A value as the parser would have read it.
fn literal(datum: &Datum) -> Result<Expr, SqlError> {
    match datum {
        Datum::Double(v) if !v.is_finite() => {
            Err(SqlError::new(ErrorCode::WrongArguments, "A parameter that is no number"))
        }
        // Without a column a decimal has no digits behind its point.
        _ => Ok(literal_of(&Value::of_column(datum, ColumnType::Decimal { precision: 38, scale: 0 }))),
    }
}
