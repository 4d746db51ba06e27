//! Operators between types that MySQL brings together and DataFusion does not.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::functions::functions;
use crate::expression::{Number, parse_number};

/// Division, bits, and comparisons of text with numbers and times.
#[derive(Debug)]
pub(super) struct MysqlOperators;

impl ExprPlanner for MysqlOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Divide => Some("__divide"),
            BinaryOperator::MyIntegerDivide => Some("__integer_divide"),
            BinaryOperator::Modulo => Some("mod"),
            BinaryOperator::BitwiseAnd => Some("__bit_and"),
            BinaryOperator::BitwiseOr => Some("__bit_or"),
            BinaryOperator::BitwiseXor | BinaryOperator::PGBitwiseXor => Some("__bit_xor"),
            BinaryOperator::PGBitwiseShiftLeft => Some("__shift_left"),
            BinaryOperator::PGBitwiseShiftRight => Some("__shift_right"),
            _ => None,
        };
        if let Some(name) = function {
            return Ok(PlannerResult::Planned(call(name, vec![expr.left, expr.right])?));
        }
        let (left, right) = (expr.left.get_type(schema)?, expr.right.get_type(schema)?);
        let RawBinaryExpr { op, left: a, right: b } = expr;
        let (a, b) = match op {
            BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply => {
                (as_number(a, &left)?, as_number(b, &right)?)
            }
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Spaceship => (comparable(a, &left, &right)?, comparable(b, &right, &left)?),
            _ => (a, b),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left: a, right: b }))
    }
}

/// A call of one of our functions.
fn call(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    static OURS: std::sync::LazyLock<std::collections::BTreeMap<String, Arc<ScalarUDF>>> =
        std::sync::LazyLock::new(|| functions().into_iter().map(|f| (f.name().to_owned(), f)).collect());
    let function = OURS.get(name).ok_or_else(|| DataFusionError::Internal(format!("no function {name}")))?;
    Ok(function.call(arguments))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

/// A side of an arithmetic operation.
fn as_number(side: Expr, data_type: &DataType) -> Result<Expr> {
    match data_type {
        DataType::Boolean => Ok(cast(side, DataType::Int64)),
        _ if is_time(data_type) => call("__signed", vec![side]),
        _ if is_text(data_type) || matches!(data_type, DataType::Binary) => call("__double", vec![side]),
        _ => Ok(side),
    }
}

/// A side of a comparison, brought to what the other side is.
fn comparable(side: Expr, own: &DataType, other: &DataType) -> Result<Expr> {
    if *own == DataType::Boolean && (other.is_numeric() || is_text(other)) {
        return Ok(cast(side, DataType::Int64));
    }
    if is_text(own) && (other.is_numeric() || *other == DataType::Boolean) {
        if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &side
            && other.is_integer()
            && let Some(Number::Int(v)) = parse_number(text)
            && let Ok(v) = i64::try_from(v)
        {
            return Ok(Expr::Literal(ScalarValue::Int64(Some(v)), None));
        }
        return call("__double", vec![side]);
    }
    if is_time(other) && (is_text(own) || own.is_numeric()) {
        return call("__datetime", vec![side]);
    }
    Ok(side)
}
