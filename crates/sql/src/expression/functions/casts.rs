//! What `CAST(x AS type)` and literals with a type are turned into. What is no such value is NULL, or 0 of a number.

use std::borrow::Cow;

use baton_model::errors::SqlError;

use super::{Function, MANY, Returns, Value, arguments, function};
use crate::expression::value::{Number, out_of_range, parse_number, power_of_ten, rescale};

pub(super) const ALL: &[Function] = &[
    function("__signed", (1, 1), Returns::Int, |values| {
        let [value] = arguments(values);
        Ok(value.integer().map_or(Value::Null, |v| match i64::try_from(v) {
            Ok(v) => Value::Int(v),
            // An unsigned number keeps its bits.
            Err(_) => {
                Value::Int(u64::try_from(v).map_or(if v < 0 { i64::MIN } else { i64::MAX }, u64::cast_signed))
            }
        }))
    }),
    function("__unsigned", (1, 1), Returns::UInt, |values| {
        let [value] = arguments(values);
        Ok(value.integer().map_or(Value::Null, |v| match i64::try_from(v) {
            Ok(v) => Value::UInt(v.cast_unsigned()),
            Err(_) => Value::UInt(v.clamp(0, u64::MAX.into()) as u64),
        }))
    }),
    function("__double", (1, 1), Returns::Double, |values| {
        let [value] = arguments(values);
        Ok(value.double().map_or(Value::Null, Value::Double))
    }),
    function("__decimal", (3, 3), Returns::Decimal, |values| {
        let [value, precision, scale] = arguments(values);
        let (Some(precision), Some(scale)) = (precision.integer64(), scale.integer64()) else {
            return Ok(Value::Null);
        };
        let (precision, scale) = (precision.clamp(1, 38) as u8, scale.clamp(0, 30) as u8);
        let number = match &value {
            Value::Text(text) => parse_number(text.trim()).or_else(|| value.number()),
            other => other.number(),
        };
        let unscaled = match number {
            None => return Ok(Value::Null),
            Some(Number::Int(v)) => rescale(v, 0, scale),
            Some(Number::Decimal(v, from)) => rescale(v, from, scale),
            Some(Number::Double(v)) => match parse_number(&format!("{v:.*}", usize::from(scale))) {
                Some(Number::Decimal(v, from)) => rescale(v, from, scale),
                Some(Number::Int(v)) => rescale(v, 0, scale),
                _ => None,
            },
        };
        let limit = power_of_ten(precision).unwrap_or(i128::MAX);
        match unscaled {
            Some(v) if v.unsigned_abs() < limit.unsigned_abs() => Ok(Value::Decimal(v, scale)),
            _ => Err(out_of_range("DECIMAL")),
        }
    }),
    function("__char", (1, 2), Returns::Text, |values| {
        let cut = values.get(1).map(|length| length.integer64().unwrap_or(0));
        let [value] = arguments(values);
        Ok(value.into_text().map_or(Value::Null, |text| match cut {
            Some(length) => Value::Text(Cow::Owned(text.chars().take(length.max(0) as usize).collect())),
            None => Value::Text(text),
        }))
    }),
    function("__binary", (1, 1), Returns::Bytes, |values| {
        let [value] = arguments(values);
        Ok(value.into_bytes().map_or(Value::Null, Value::Bytes))
    }),
    function("__date", (1, 1), Returns::Date, date),
    function("date", (1, 1), Returns::Date, date),
    function("__datetime", (1, 1), Returns::DateTime, |values| {
        let [value] = arguments(values);
        Ok(value.datetime().map_or(Value::Null, Value::DateTime))
    }),
    function("char", (1, MANY), Returns::Bytes, |values| {
        let mut bytes = Vec::new();
        for code in values.iter().filter_map(Value::integer64) {
            let four = (code as u32).to_be_bytes();
            let zeros = four.iter().take(3).take_while(|byte| **byte == 0).count();
            bytes.extend(&four[zeros..]);
        }
        Ok(Value::Bytes(Cow::Owned(bytes)))
    }),
];

fn date<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    Ok(value.date().map_or(Value::Null, Value::Date))
}
