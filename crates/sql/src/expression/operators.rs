//! Comparison and arithmetic between values of any kinds, as MySQL converts them.

use std::cmp::Ordering;

use baton_model::errors::SqlError;

use super::Arithmetic;
use super::value::{DIVISION_SCALE, Number, SCALE_MAX, Value, out_of_range, power_of_ten, rescale};

/// The order of two values; None if one is NULL.
///
/// Text and bytes compare by their bytes, a day or moment with text as moments, everything else as numbers.
pub(crate) fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    use Value::{Bytes, Date, DateTime, Int, Null, Text};
    match (left, right) {
        (Null, _) | (_, Null) => None,
        (Int(a), Int(b)) => Some(a.cmp(b)),
        (Text(a), Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
        (Text(a), Bytes(b)) => Some(a.as_bytes().cmp(b)),
        (Bytes(a), Text(b)) => Some(a[..].cmp(b.as_bytes())),
        (Date(a), Date(b)) => Some(a.cmp(b)),
        (Date(_) | DateTime(_), _) | (_, Date(_) | DateTime(_)) => {
            match (left.datetime(), right.datetime()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => compare_numbers(left.number()?, right.number()?),
            }
        }
        _ => compare_numbers(left.number()?, right.number()?),
    }
}

fn compare_numbers(left: Number, right: Number) -> Option<Ordering> {
    let exact = match (left, right) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (Number::Int(a), Number::Decimal(b, scale)) => rescale(a, 0, scale).map(|a| a.cmp(&b)),
        (Number::Decimal(a, scale), Number::Int(b)) => rescale(b, 0, scale).map(|b| a.cmp(&b)),
        (Number::Decimal(a, from), Number::Decimal(b, to)) => {
            let scale = from.max(to);
            rescale(a, from, scale).zip(rescale(b, to, scale)).map(|(a, b)| a.cmp(&b))
        }
        _ => None,
    };
    exact.or_else(|| left.as_double().partial_cmp(&right.as_double()))
}

/// `-x`.
pub(crate) fn negate(value: &Value<'_>) -> Result<Value<'static>, SqlError> {
    match value.number() {
        None => Ok(Value::Null),
        Some(Number::Int(v)) => i64::try_from(-v).map(Value::Int).map_err(|_| out_of_range("BIGINT")),
        Some(Number::Decimal(v, scale)) => {
            Ok(Value::Decimal(v.checked_neg().ok_or_else(|| out_of_range("DECIMAL"))?, scale))
        }
        Some(Number::Double(v)) => Ok(Value::Double(-v)),
    }
}

/// `~x`.
pub(crate) fn bit_not(value: &Value<'_>) -> Value<'static> {
    bits(value).map_or(Value::Null, |v| Value::UInt(!v))
}

fn bits(value: &Value<'_>) -> Option<u64> {
    value.integer().map(|v| match i64::try_from(v) {
        Ok(v) => v.cast_unsigned(),
        Err(_) => v.clamp(0, u64::MAX.into()) as u64,
    })
}

/// The result of an operation; NULL if a side is NULL or a divisor is 0.
pub(crate) fn arithmetic(
    operation: Arithmetic,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<Value<'static>, SqlError> {
    match operation {
        Arithmetic::BitAnd
        | Arithmetic::BitOr
        | Arithmetic::BitXor
        | Arithmetic::ShiftLeft
        | Arithmetic::ShiftRight => {
            let (Some(a), Some(b)) = (bits(left), bits(right)) else { return Ok(Value::Null) };
            let shift = u32::try_from(b).unwrap_or(u32::MAX);
            return Ok(Value::UInt(match operation {
                Arithmetic::BitAnd => a & b,
                Arithmetic::BitOr => a | b,
                Arithmetic::BitXor => a ^ b,
                Arithmetic::ShiftLeft => a.checked_shl(shift).unwrap_or(0),
                _ => a.checked_shr(shift).unwrap_or(0),
            }));
        }
        _ => {}
    }
    // With an unsigned side the result is unsigned; of a rest only the left side counts.
    let unsigned = |value: &Value<'_>| matches!(value, Value::UInt(_));
    let is_unsigned = unsigned(left) || (unsigned(right) && operation != Arithmetic::Modulo);
    let (Some(left), Some(right)) = (left.number(), right.number()) else { return Ok(Value::Null) };
    let result = match operation {
        Arithmetic::Divide => divide(left, right),
        Arithmetic::IntegerDivide => integer_divide(left, right),
        Arithmetic::Modulo => modulo(left, right),
        _ => combine(operation, left, right).map(Some),
    }?;
    match result {
        None => Ok(Value::Null),
        Some(Number::Int(v)) if is_unsigned => {
            u64::try_from(v).map(Value::UInt).map_err(|_| out_of_range("BIGINT UNSIGNED"))
        }
        Some(Number::Int(v)) => i64::try_from(v).map(Value::Int).map_err(|_| out_of_range("BIGINT")),
        Some(other) => other.into_value(),
    }
}

/// `+`, `-` and `*`.
fn combine(operation: Arithmetic, left: Number, right: Number) -> Result<Number, SqlError> {
    let of = |a: i128, b: i128| match operation {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        _ => a.checked_mul(b),
    };
    let decimals = match (left, right) {
        (Number::Int(a), Number::Int(b)) => {
            return of(a, b).map(Number::Int).ok_or_else(|| out_of_range("BIGINT"));
        }
        (Number::Int(a), Number::Decimal(b, scale)) => ((a, 0), (b, scale)),
        (Number::Decimal(a, scale), Number::Int(b)) => ((a, scale), (b, 0)),
        (Number::Decimal(a, from), Number::Decimal(b, to)) => ((a, from), (b, to)),
        _ => {
            let (a, b) = (left.as_double(), right.as_double());
            return Ok(Number::Double(match operation {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                _ => a * b,
            }));
        }
    };
    let ((a, from), (b, to)) = decimals;
    let result = if operation == Arithmetic::Multiply {
        of(a, b).and_then(|v| {
            let scale = (from + to).min(SCALE_MAX);
            rescale(v, from + to, scale).map(|v| Number::Decimal(v, scale))
        })
    } else {
        let scale = from.max(to);
        rescale(a, from, scale)
            .zip(rescale(b, to, scale))
            .and_then(|(a, b)| of(a, b))
            .map(|v| Number::Decimal(v, scale))
    };
    result.ok_or_else(|| out_of_range("DECIMAL"))
}

/// As a decimal, if it is exact.
fn exact(number: Number) -> Option<(i128, u8)> {
    match number {
        Number::Int(v) => Some((v, 0)),
        Number::Decimal(v, scale) => Some((v, scale)),
        Number::Double(_) => None,
    }
}

/// `/`: exact numbers give a decimal with four more digits than the left side, others a double.
fn divide(left: Number, right: Number) -> Result<Option<Number>, SqlError> {
    let (Some((a, from)), Some((b, to))) = (exact(left), exact(right)) else {
        let b = right.as_double();
        return Ok((b != 0.0).then(|| Number::Double(left.as_double() / b)));
    };
    if b == 0 {
        return Ok(None);
    }
    let scale = (from + DIVISION_SCALE).min(SCALE_MAX).max(from);
    // a / 10^from divided by b / 10^to, with one digit more to round by.
    let quotient = power_of_ten(scale - from + to + 1)
        .and_then(|factor| a.checked_mul(factor))
        .and_then(|a| a.checked_div(b));
    Ok(Some(match quotient.and_then(|v| rescale(v, scale + 1, scale)) {
        Some(v) => Number::Decimal(v, scale),
        None => Number::Double(left.as_double() / right.as_double()),
    }))
}

/// `DIV`: the quotient without its fraction.
fn integer_divide(left: Number, right: Number) -> Result<Option<Number>, SqlError> {
    if let (Number::Int(a), Number::Int(b)) = (left, right) {
        return Ok((b != 0).then(|| Number::Int(a / b)));
    }
    let b = right.as_double();
    if b == 0.0 {
        return Ok(None);
    }
    let quotient = (left.as_double() / b).trunc();
    if quotient.abs() > u64::MAX as f64 {
        Err(out_of_range("BIGINT"))
    } else {
        Ok(Some(Number::Int(quotient as i128)))
    }
}

/// `%`: the rest, with the sign of the left side.
fn modulo(left: Number, right: Number) -> Result<Option<Number>, SqlError> {
    let (Some((a, from)), Some((b, to))) = (exact(left), exact(right)) else {
        let b = right.as_double();
        return Ok((b != 0.0).then(|| Number::Double(left.as_double() % b)));
    };
    if b == 0 {
        return Ok(None);
    }
    if from == 0 && to == 0 {
        let rest = a.checked_rem(b).unwrap_or(0);
        let both_integers = matches!((left, right), (Number::Int(_), Number::Int(_)));
        return Ok(Some(if both_integers { Number::Int(rest) } else { Number::Decimal(rest, 0) }));
    }
    let scale = from.max(to);
    let sides = rescale(a, from, scale).zip(rescale(b, to, scale));
    let (a, b) = sides.ok_or_else(|| out_of_range("DECIMAL"))?;
    Ok(Some(Number::Decimal(a.checked_rem(b).unwrap_or(0), scale)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Value<'static> {
        super::super::parse_number(text).unwrap().into_value().unwrap()
    }

    fn result(left: &str, operation: Arithmetic, right: &str) -> String {
        match arithmetic(operation, &number(left), &number(right)) {
            Ok(value) => value.shown(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arithmetic_is_that_of_mysql() {
        use Arithmetic::{Add, Divide, IntegerDivide, Modulo, Multiply, Subtract};
        for (left, operation, right, expected) in [
            ("7", Divide, "2", "3.5000"),
            ("2", Divide, "3", "0.6667"),
            ("-2", Divide, "3", "-0.6667"),
            ("1.50", Divide, "0.5", "3.000000"),
            ("1", Divide, "0", "NULL"),
            ("1e0", Divide, "4", "0.25"),
            ("7", IntegerDivide, "2", "3"),
            ("-7", IntegerDivide, "2", "-3"),
            ("-7", Modulo, "3", "-1"),
            ("5.5", Modulo, "2", "1.5"),
            ("5", Modulo, "0", "NULL"),
            ("0.1", Add, "0.25", "0.35"),
            ("9223372036854775808", Add, "1", "9223372036854775809"),
            ("0", Subtract, "5", "-5"),
            ("1.5", Multiply, "1.50", "2.250"),
        ] {
            assert_eq!(result(left, operation, right), expected, "{left} {operation:?} {right}");
        }
        for (left, operation, right) in [
            ("18446744073709551615", Add, "1"),
            ("9223372036854775807", Add, "1"),
            ("-9223372036854775808", Subtract, "1"),
            ("9223372036854775807", Multiply, "9223372036854775807"),
            ("9223372036854775808", Subtract, "9223372036854775809"),
            ("-9223372036854775808", IntegerDivide, "-1"),
        ] {
            assert!(result(left, operation, right).contains("out of range"), "{left} {operation:?} {right}");
        }
        let text = arithmetic(Add, &Value::text("5 apples"), &Value::Int(1)).unwrap();
        assert_eq!(text, Value::Double(6.0));
    }

    #[test]
    fn kinds_meet_in_comparisons() {
        let date = Value::Date(19_782);
        for (left, right, order) in [
            (Value::text("10"), Value::Int(9), Ordering::Greater),
            (Value::text("10"), Value::text("9"), Ordering::Less),
            (Value::text("a"), Value::text("B"), Ordering::Greater),
            (Value::Decimal(150, 2), Value::Int(1), Ordering::Greater),
            (Value::Decimal(150, 2), Value::Decimal(15, 1), Ordering::Equal),
            (Value::UInt(u64::MAX), Value::Int(-1), Ordering::Greater),
            (Value::Double(0.5), Value::Decimal(5, 1), Ordering::Equal),
            (date.clone(), Value::text("2024-02-29"), Ordering::Equal),
            (date.clone(), Value::DateTime(0), Ordering::Greater),
            (date, Value::Int(20_240_301), Ordering::Less),
        ] {
            assert_eq!(compare(&left, &right), Some(order), "{left:?} {right:?}");
            assert_eq!(compare(&right, &left), Some(order.reverse()), "{right:?} {left:?}");
        }
        assert_eq!(compare(&Value::Null, &Value::Null), None);
    }
}
