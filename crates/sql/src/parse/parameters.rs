//! The `?` of prepared statements. Values take their places in the tree; text is never put together.

use std::ops::ControlFlow;

use baton_model::Datum;
use baton_model::errors::{ErrorCode, SqlError};
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, VisitMut, VisitorMut};

use crate::statement::{InsertSource, Statement};

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
            _ => {}
        }
    }
}

impl VisitorMut for Visitor<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        if !matches!(value.value, Value::Placeholder(_)) {
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
    let number = |text: String| match text.strip_prefix('-') {
        Some(digits) => Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(Expr::Value(Value::Number(digits.to_owned(), false).into())),
        },
        None => Expr::Value(Value::Number(text, false).into()),
    };
    let text = |text: String| Expr::Value(Value::SingleQuotedString(text).into());
    Ok(match datum {
        Datum::Null => Expr::Value(Value::Null.into()),
        Datum::Int(v) => number(v.to_string()),
        Datum::UInt(v) => number(v.to_string()),
        Datum::Decimal(v) => number(v.to_string()),
        // The exponent makes it a double again.
        Datum::Double(v) if v.is_finite() => number(format!("{v:e}")),
        Datum::Double(_) => {
            return Err(SqlError::new(ErrorCode::WrongArguments, "A parameter that is no number"));
        }
        Datum::Text(v) => text(v.clone()),
        Datum::Bytes(v) => {
            let digits = v.iter().map(|byte| format!("{byte:02X}")).collect();
            Expr::Value(Value::HexStringLiteral(digits).into())
        }
        Datum::Date(v) => text(crate::expression::calendar::date_text(*v)),
        Datum::DateTime(v) => text(crate::expression::calendar::datetime_text(*v)),
    })
}
