//! Functions of numbers. What has no result (`SQRT(-1)`) is NULL.

use std::borrow::Cow;

use baton_model::errors::SqlError;

use super::{Body, Function, MANY, Returns, Value, arguments, function};
use crate::expression::value::{Number, out_of_range, parse_number, power_of_ten, rescale};
use crate::expression::{Arithmetic, arithmetic, negate};

pub(super) const ALL: &[Function] = &[
    function("abs", (1, 1), Returns::Number, |values| {
        let [value] = arguments(values);
        match value.number() {
            None => Ok(Value::Null),
            Some(Number::Int(_)) if matches!(value, Value::UInt(_)) => Ok(value),
            Some(Number::Int(v)) => {
                i64::try_from(v.abs()).map(Value::Int).map_err(|_| out_of_range("BIGINT"))
            }
            Some(Number::Decimal(v, scale)) => {
                v.checked_abs().map(|v| Value::Decimal(v, scale)).ok_or_else(|| out_of_range("DECIMAL"))
            }
            Some(Number::Double(v)) => Ok(Value::Double(v.abs())),
        }
    }),
    function("sign", (1, 1), Returns::Int, |values| {
        let [value] = arguments(values);
        Ok(value.double().map_or(Value::Null, |v| Value::Int(i64::from(v > 0.0) - i64::from(v < 0.0))))
    }),
    function("floor", (1, 1), Returns::WholeNumber, floor),
    function("ceil", (1, 1), Returns::WholeNumber, ceil),
    function("ceiling", (1, 1), Returns::WholeNumber, ceil),
    function("round", (1, 2), Returns::Rounded, |values| digits(values, true)),
    function("truncate", (2, 2), Returns::Rounded, |values| digits(values, false)),
    function("mod", (2, 2), Returns::Number, |values| {
        let [left, right] = arguments(values);
        arithmetic(Arithmetic::Modulo, &left, &right)
    }),
    function("__divide", (2, 2), Returns::Quotient, |values| {
        let [left, right] = arguments(values);
        arithmetic(Arithmetic::Divide, &left, &right)
    }),
    function("__integer_divide", (2, 2), Returns::Integer, |values| {
        let [left, right] = arguments(values);
        arithmetic(Arithmetic::IntegerDivide, &left, &right)
    }),
    function("__integers", (3, MANY), Returns::Integer, integers),
    function("__negate", (1, 1), Returns::Opposite, |values| {
        let [value] = arguments(values);
        negate(&value)
    }),
    function("__summand", (1, 1), Returns::Summand, |values| {
        let [value] = arguments(values);
        value.number().map_or(Ok(Value::Null), Number::into_value)
    }),
    function("pow", (2, 2), Returns::Double, power),
    function("power", (2, 2), Returns::Double, power),
    function("sqrt", (1, 1), Returns::Double, |values| real(values, f64::sqrt)),
    function("exp", (1, 1), Returns::Double, |values| real(values, f64::exp)),
    function("ln", (1, 1), Returns::Double, |values| real(values, f64::ln)),
    function("log2", (1, 1), Returns::Double, |values| real(values, f64::log2)),
    function("log10", (1, 1), Returns::Double, |values| real(values, f64::log10)),
    function("log", (1, 2), Returns::Double, |values| {
        let [first, second] = arguments(values);
        Ok(match (first.double(), second.double()) {
            (Some(v), None) => finite(v.ln()),
            (Some(base), Some(v)) if base > 0.0 && base != 1.0 => finite(v.log(base)),
            _ => Value::Null,
        })
    }),
    function("sin", (1, 1), Returns::Double, |values| real(values, f64::sin)),
    function("cos", (1, 1), Returns::Double, |values| real(values, f64::cos)),
    function("tan", (1, 1), Returns::Double, |values| real(values, f64::tan)),
    function("asin", (1, 1), Returns::Double, |values| real(values, f64::asin)),
    function("acos", (1, 1), Returns::Double, |values| real(values, f64::acos)),
    function("atan", (1, 1), Returns::Double, |values| real(values, f64::atan)),
    function("degrees", (1, 1), Returns::Double, |values| real(values, f64::to_degrees)),
    function("radians", (1, 1), Returns::Double, |values| real(values, f64::to_radians)),
    function("pi", (0, 0), Returns::Double, |_| Ok(Value::Double(std::f64::consts::PI))),
    volatile("rand", (0, 0), Returns::Double, |_| Ok(Value::Double(rand::random::<f64>()))),
    volatile("uuid", (0, 0), Returns::Text, |_| {
        let hex = format!("{:032x}", rand::random::<u128>());
        let (a, b, c, d) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20]);
        Ok(Value::Text(Cow::Owned(format!("{a}-{b}-4{c}-a{d}-{}", &hex[20..]))))
    }),
    function("__bit_and", (2, 2), Returns::UInt, |values| bitwise(values, Arithmetic::BitAnd)),
    function("__bit_or", (2, 2), Returns::UInt, |values| bitwise(values, Arithmetic::BitOr)),
    function("__bit_xor", (2, 2), Returns::UInt, |values| bitwise(values, Arithmetic::BitXor)),
    function("__shift_left", (2, 2), Returns::UInt, |values| bitwise(values, Arithmetic::ShiftLeft)),
    function("__shift_right", (2, 2), Returns::UInt, |values| bitwise(values, Arithmetic::ShiftRight)),
    function("__bit_not", (1, 1), Returns::UInt, |values| {
        let [value] = arguments(values);
        Ok(crate::expression::bit_not(&value))
    }),
    function("bin", (1, 1), Returns::Text, |values| {
        let [value] = arguments(values);
        Ok(value.integer64().map_or(Value::Null, |v| Value::text(format!("{v:b}"))))
    }),
];

const fn volatile(name: &'static str, arguments: (usize, usize), returns: Returns, body: Body) -> Function {
    Function { volatile: true, ..function(name, arguments, returns, body) }
}

fn finite<'a>(v: f64) -> Value<'a> {
    if v.is_finite() { Value::Double(v) } else { Value::Null }
}

fn real<'a>(values: Vec<Value<'a>>, of: fn(f64) -> f64) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    Ok(value.double().map_or(Value::Null, |v| finite(of(v))))
}

/// Operations on integers in postfix: the first argument has a `.` for each of the others, and the signs.
fn integers<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    let mut values = values.into_iter();
    let Some(Value::Text(program)) = values.next() else { return Ok(Value::Null) };
    let mut stack: Vec<Value<'a>> = Vec::new();
    for sign in program.bytes() {
        let operation = match sign {
            b'+' => Arithmetic::Add,
            b'-' => Arithmetic::Subtract,
            b'*' => Arithmetic::Multiply,
            _ => {
                stack.extend(values.next());
                continue;
            }
        };
        let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else { return Ok(Value::Null) };
        stack.push(arithmetic(operation, &left, &right)?);
    }
    Ok(stack.pop().unwrap_or(Value::Null))
}

fn bitwise<'a>(values: Vec<Value<'a>>, operation: Arithmetic) -> Result<Value<'a>, SqlError> {
    let [left, right] = arguments(values);
    arithmetic(operation, &left, &right)
}

fn power<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    let [base, exponent] = arguments(values);
    match (base.double(), exponent.double()) {
        (Some(base), Some(exponent)) => Number::Double(base.powf(exponent)).into_value(),
        _ => Ok(Value::Null),
    }
}

fn floor<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    whole(values, f64::floor, i128::div_euclid)
}

fn ceil<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    // The ceiling of a number is the floor of its opposite, turned back.
    whole(values, f64::ceil, |v, divisor| -(-v).div_euclid(divisor))
}

fn whole<'a>(
    values: Vec<Value<'a>>,
    of_double: fn(f64) -> f64,
    of_decimal: fn(i128, i128) -> i128,
) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    match value.number() {
        None => Ok(Value::Null),
        Some(Number::Double(v)) => Ok(Value::Double(of_double(v))),
        Some(Number::Decimal(v, scale)) => {
            let divisor = power_of_ten(scale).ok_or_else(|| out_of_range("DECIMAL"))?;
            let v = of_decimal(v.max(-i128::MAX), divisor);
            Number::Int(v).into_value().or(Ok(Value::Decimal(v, 0)))
        }
        Some(int) => int.into_value(),
    }
}

/// ROUND and TRUNCATE to a number of digits behind the point, which may be negative.
fn digits<'a>(values: Vec<Value<'a>>, round: bool) -> Result<Value<'a>, SqlError> {
    let wanted = match values.get(1) {
        None => 0,
        Some(wanted) => match wanted.integer64() {
            None => return Ok(Value::Null),
            Some(wanted) => wanted.clamp(-38, 30),
        },
    };
    let [value] = arguments(values);
    let (unscaled, scale) = match value.number() {
        None => return Ok(Value::Null),
        Some(Number::Double(v)) => {
            let text = format!("{v:.*}", wanted.max(0) as usize);
            let exact = if wanted < 0 || !round {
                let factor = 10_f64.powi(wanted as i32);
                let scaled = v * factor;
                (if round { scaled.round() } else { scaled.trunc() }) / factor
            } else {
                text.parse().unwrap_or(v)
            };
            return Ok(finite(exact));
        }
        Some(Number::Int(v)) => (v, 0),
        Some(Number::Decimal(v, scale)) => (v, scale),
    };
    let cut = i64::from(scale) - wanted;
    let v = if cut <= 0 {
        unscaled
    } else {
        match power_of_ten(cut.min(38) as u8) {
            Some(divisor) if round => {
                rescale(unscaled, cut.min(38) as u8, 0).unwrap_or(0).saturating_mul(divisor)
            }
            Some(divisor) => unscaled / divisor * divisor,
            None => 0,
        }
    };
    if matches!(value.number(), Some(Number::Int(_))) {
        return Number::Int(v).into_value();
    }
    let kept = wanted.clamp(0, scale.into()) as u8;
    rescale(v, scale, kept).map(|v| Value::Decimal(v, kept)).ok_or_else(|| out_of_range("DECIMAL"))
}

/// A number in another base as a whole number; used by HEX and UNHEX.
pub(super) fn as_unsigned(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Text(text) => {
            parse_number(text.trim())?.into_value().ok()?.integer64().map(i64::cast_unsigned)
        }
        other => other
            .integer()
            .map(|v| i64::try_from(v).map_or(v.clamp(0, u64::MAX.into()) as u64, i64::cast_unsigned)),
    }
}
