//! Which of DataFusion's conditions a leaf can test, in our own language.
//!
//! Only those whose meaning is beyond doubt the same on both sides; every other stays on the aggregator.

use baton_model::TableSchema;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::arrow::arrow_type;
use crate::expression::{Comparison, Expression, REGULAR_ESCAPE, Value};

/// The condition for the leaves; None if it is not for them.
pub(super) fn condition(expr: &Expr, schema: &TableSchema) -> Option<Expression> {
    let inner = |expr: &Expr| condition(expr, schema).map(Box::new);
    let negate_if =
        |negated: bool, inner: Expression| if negated { Expression::Not(Box::new(inner)) } else { inner };
    Some(match expr {
        Expr::Literal(ScalarValue::Boolean(truth), _) => {
            Expression::Literal(truth.map_or(Value::Null, Value::truth))
        }
        Expr::Alias(alias) => condition(&alias.expr, schema)?,
        Expr::Not(expr) => Expression::Not(inner(expr)?),
        Expr::IsNull(expr) => Expression::IsNull(Box::new(column(expr, schema)?.0)),
        Expr::IsNotNull(expr) => negate_if(true, Expression::IsNull(Box::new(column(expr, schema)?.0))),
        Expr::IsTrue(expr) => Expression::Is(inner(expr)?, true),
        Expr::IsFalse(expr) => Expression::Is(inner(expr)?, false),
        Expr::IsNotTrue(expr) => negate_if(true, Expression::Is(inner(expr)?, true)),
        Expr::IsNotFalse(expr) => negate_if(true, Expression::Is(inner(expr)?, false)),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let mut terms = Vec::new();
            for side in [left, right] {
                match condition(side, schema)? {
                    Expression::And(inner) if *op == Operator::And => terms.extend(inner),
                    Expression::Or(inner) if *op == Operator::Or => terms.extend(inner),
                    other => terms.push(other),
                }
            }
            if *op == Operator::And { Expression::And(terms) } else { Expression::Or(terms) }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compare(left, *op, right, schema)?,
        Expr::Between(between) => {
            let (value, of) = column(&between.expr, schema)?;
            let low = literal(&between.low, &of)?;
            let high = literal(&between.high, &of)?;
            let from =
                Expression::Compare(Comparison::GreaterOrEqual, Box::new(value.clone()), Box::new(low));
            let to = Expression::Compare(Comparison::LessOrEqual, Box::new(value), Box::new(high));
            negate_if(between.negated, Expression::And(vec![from, to]))
        }
        Expr::InList(list) => {
            let (value, of) = column(&list.expr, schema)?;
            let items: Option<Vec<Expression>> = list.list.iter().map(|item| literal(item, &of)).collect();
            negate_if(list.negated, Expression::In(Box::new(value), items?))
        }
        Expr::Like(like) if !like.case_insensitive && like.escape_char.is_none() => {
            let (value, of) = column(&like.expr, schema)?;
            let pattern = literal(&like.pattern, &of)?;
            // What a backslash means before an ordinary character differs.
            match &pattern {
                Expression::Literal(Value::Text(text)) if !text.contains(REGULAR_ESCAPE) => {
                    negate_if(like.negated, Expression::Like(Box::new(value), Box::new(pattern), None))
                }
                _ => return None,
            }
        }
        _ => return None,
    })
}

fn compare(left: &Expr, op: Operator, right: &Expr, schema: &TableSchema) -> Option<Expression> {
    let comparison = match op {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    };
    match (column(left, schema), column(right, schema)) {
        (Some((left, of)), None) => {
            Some(Expression::Compare(comparison, Box::new(left), Box::new(literal(right, &of)?)))
        }
        (None, Some((right, of))) => {
            Some(Expression::Compare(comparison.mirrored(), Box::new(right), Box::new(literal(left, &of)?)))
        }
        (Some((left, a)), Some((right, b))) if a == b => {
            Some(Expression::Compare(comparison, Box::new(left), Box::new(right)))
        }
        _ => None,
    }
}

/// A column, bare or made wider, and the type it has then. Widening changes no comparison, so it is left out.
fn column(expr: &Expr, schema: &TableSchema) -> Option<(Expression, DataType)> {
    match expr {
        Expr::Column(column) => {
            let position = schema.column_index(&column.name)?;
            let of = schema.columns[position].column_type;
            Some((Expression::Column(position, of), arrow_type(of)))
        }
        Expr::Alias(alias) => column(&alias.expr, schema),
        Expr::Cast(cast) => {
            let (inner, from) = column(&cast.expr, schema)?;
            let to = cast.field.data_type();
            widens(&from, to).then(|| (inner, to.clone()))
        }
        _ => None,
    }
}

fn widens(from: &DataType, to: &DataType) -> bool {
    let bits = |data_type: &DataType| data_type.primitive_width().map_or(0, |bytes| bytes * 8);
    // Digits that an integer may have.
    let digits = |data_type: &DataType| match bits(data_type) {
        8 => 3,
        16 => 5,
        32 => 10,
        _ => 20,
    };
    match to {
        _ if from == to => true,
        DataType::Int16 | DataType::Int32 | DataType::Int64 if from.is_signed_integer() => {
            bits(from) < bits(to)
        }
        DataType::UInt16 | DataType::UInt32 | DataType::UInt64 if from.is_unsigned_integer() => {
            bits(from) < bits(to)
        }
        DataType::Int16 | DataType::Int32 | DataType::Int64 if from.is_unsigned_integer() => {
            bits(from) < bits(to)
        }
        DataType::Decimal128(precision, scale) if from.is_integer() => {
            *scale >= 0 && i16::from(*precision) - i16::from(*scale) >= digits(from)
        }
        DataType::Float64 => from.is_integer(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => *from == DataType::Date32,
        _ => false,
    }
}

/// A literal of exactly this type.
fn literal(expr: &Expr, of: &DataType) -> Option<Expression> {
    let Expr::Literal(scalar, _) = expr else { return None };
    if scalar.is_null() {
        return Some(Expression::Literal(Value::Null));
    }
    if scalar.data_type() != *of {
        return None;
    }
    let value = match scalar {
        ScalarValue::Int8(Some(v)) => Value::Int((*v).into()),
        ScalarValue::Int16(Some(v)) => Value::Int((*v).into()),
        ScalarValue::Int32(Some(v)) => Value::Int((*v).into()),
        ScalarValue::Int64(Some(v)) => Value::Int(*v),
        ScalarValue::UInt8(Some(v)) => Value::UInt((*v).into()),
        ScalarValue::UInt16(Some(v)) => Value::UInt((*v).into()),
        ScalarValue::UInt32(Some(v)) => Value::UInt((*v).into()),
        ScalarValue::UInt64(Some(v)) => Value::UInt(*v),
        ScalarValue::Float64(Some(v)) if !v.is_nan() => Value::Double(*v),
        ScalarValue::Decimal128(Some(v), _, scale) => Value::Decimal(*v, u8::try_from(*scale).ok()?),
        ScalarValue::Utf8(Some(v)) => Value::text(v.clone()),
        ScalarValue::Binary(Some(v)) => Value::Bytes(v.clone().into()),
        ScalarValue::Date32(Some(v)) => Value::Date(*v),
        ScalarValue::TimestampMicrosecond(Some(v), None) => Value::DateTime(*v),
        _ => return None,
    };
    Some(Expression::Literal(value))
}
