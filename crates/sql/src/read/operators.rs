//! Operators between types that MySQL brings together and DataFusion does not, and those whose overflow is an error.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::functions::functions;
use crate::expression::{Value, exact_number};

/// Operands of an operation that is still made part of a greater one: of two together a function takes as many.
const OPERANDS_MAX: usize = 500;

/// Division, bits, integers, and comparisons of text with numbers and times.
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
        let sign = match op {
            BinaryOperator::Plus => '+',
            BinaryOperator::Minus => '-',
            BinaryOperator::Multiply => '*',
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Spaceship => {
                let (a, b) = (comparable(a, &left, &right)?, comparable(b, &right, &left)?);
                return Ok(PlannerResult::Original(RawBinaryExpr { op, left: a, right: b }));
            }
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left: a, right: b })),
        };
        let (a, b) = (as_number(a, &left)?, as_number(b, &right)?);
        let (left, right) = (a.get_type(schema)?, b.get_type(schema)?);
        if left.is_integer() && right.is_integer() {
            return Ok(PlannerResult::Planned(of_integers(a, sign, b)?));
        }
        let (a, b) = (beside_double(a, &left, &right), beside_double(b, &right, &left));
        Ok(PlannerResult::Original(RawBinaryExpr { op, left: a, right: b }))
    }
}

/// An operation on integers whose overflow is an error: DataFusion's own wrap around at the end of the narrower type.
///
/// Operations within each other become one call, because to learn the type of a call DataFusion writes down the
/// names of all calls in it: of a long row of them that would take minutes.
fn of_integers(a: Expr, sign: char, b: Expr) -> Result<Expr> {
    let (mut program, mut operands) = operation(a);
    let (of_right, right) = operation(b);
    program.push_str(&of_right);
    program.push(sign);
    operands.extend(right);
    let program = Expr::Literal(ScalarValue::Utf8(Some(program)), None);
    call("__integers", std::iter::once(program).chain(operands).collect())
}

/// What `__integers` does in this expression, and on what.
fn operation(expr: Expr) -> (String, Vec<Expr>) {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, mut args })
            if func.name() == "__integers" && args.len() <= OPERANDS_MAX =>
        {
            let operands = args.split_off(1);
            match args.pop() {
                Some(Expr::Literal(ScalarValue::Utf8(Some(program)), _)) => (program, operands),
                _ => (String::new(), operands),
            }
        }
        other => (".".to_owned(), vec![other]),
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

/// A side of an operation, as a double if the other one is a double and it is a decimal: a decimal has no place for
/// what a double may be.
pub(super) fn beside_double(side: Expr, own: &DataType, other: &DataType) -> Expr {
    if matches!(own, DataType::Decimal128(..)) && *other == DataType::Float64 {
        as_double(side)
    } else {
        side
    }
}

/// A decimal as the double that is next to it.
pub(super) fn as_double(side: Expr) -> Expr {
    match &side {
        Expr::Literal(ScalarValue::Decimal128(Some(v), _, scale), _) if *scale >= 0 => {
            let double = Value::Decimal(*v, scale.unsigned_abs()).double();
            Expr::Literal(ScalarValue::Float64(double), None)
        }
        _ => cast(side, DataType::Float64),
    }
}

/// A side of a comparison, brought to what the other side is. What it is brought to, it leaves as it is.
pub(super) fn comparable(side: Expr, own: &DataType, other: &DataType) -> Result<Expr> {
    if *own == DataType::Boolean && (other.is_numeric() || is_text(other)) {
        return Ok(cast(side, DataType::Int64));
    }
    if is_text(own) && (other.is_numeric() || *other == DataType::Boolean) {
        // As beside an integer column on the leaves (`bind::scalar`).
        if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &side
            && other.is_integer()
            && let Some(number) = exact_number(text)
        {
            match number {
                Value::Int(v) => return Ok(Expr::Literal(ScalarValue::Int64(Some(v)), None)),
                Value::UInt(v) => return Ok(Expr::Literal(ScalarValue::UInt64(Some(v)), None)),
                _ => {}
            }
        }
        return call("__double", vec![side]);
    }
    if matches!(own, DataType::Decimal128(..)) && (is_text(other) || *other == DataType::Float64) {
        return Ok(as_double(side));
    }
    if is_time(other) && (is_text(own) || own.is_numeric()) {
        return call("__datetime", vec![side]);
    }
    Ok(side)
}
