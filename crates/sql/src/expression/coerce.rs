//! What may be stored in a column: MySQL's strict mode. What does not fit is an error, never a quiet change.

use std::borrow::Cow;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Column, ColumnType, Datum};

use super::value::{Number, Value, double_text, parse_number, power_of_ten, rescale};

/// The datum that stores a value in a column.
///
/// # Errors
/// 1048 for a NULL that is not allowed, 1264 out of range, 1366 not of the type, 1406 too long. `row` is for the text
/// of the error, from 1.
pub(crate) fn coerce(value: Value<'_>, column: &Column, row: usize) -> Result<Datum, SqlError> {
    if value.is_null() {
        if column.nullable || column.auto_increment {
            return Ok(Datum::Null);
        }
        let text = format!("Column '{}' cannot be null", column.name);
        return Err(SqlError::new(ErrorCode::ColumnCannotBeNull, text));
    }
    store(value, column.column_type).map_err(|why| why.into_error(column, row))
}

/// Why a value cannot be stored.
pub(crate) enum Misfit {
    /// A number, too large or too small.
    OutOfRange,
    /// Too many characters or bytes.
    TooLong,
    /// Not of the type: what was expected, and what was given.
    Incorrect(&'static str, String),
}

impl Misfit {
    fn into_error(self, column: &Column, row: usize) -> SqlError {
        let name = &column.name;
        match self {
            Self::OutOfRange => SqlError::new(
                ErrorCode::OutOfRange,
                format!("Out of range value for column '{name}' at row {row}"),
            ),
            Self::TooLong => SqlError::new(
                ErrorCode::DataTooLong,
                format!("Data too long for column '{name}' at row {row}"),
            ),
            Self::Incorrect(kind, given) => SqlError::new(
                ErrorCode::IncorrectValue,
                format!("Incorrect {kind} value: '{given}' for column '{name}' at row {row}"),
            ),
        }
    }
}

/// The datum of this type that is the value; the value is not NULL.
pub(crate) fn store(value: Value<'_>, column_type: ColumnType) -> Result<Datum, Misfit> {
    match column_type {
        ColumnType::Bool => integer(&value, 8, false),
        ColumnType::Int { bits, unsigned } => integer(&value, bits, unsigned),
        ColumnType::Float | ColumnType::Double => {
            let v = strict_number(&value, "double")?.as_double();
            if column_type == ColumnType::Float && v.abs() > f64::from(f32::MAX) {
                return Err(Misfit::OutOfRange);
            }
            Ok(Datum::Double(if v == 0.0 { 0.0 } else { v }))
        }
        ColumnType::Decimal { precision, scale } => decimal(&value, precision, scale),
        ColumnType::Char(length) => {
            let text = text(value)?;
            let kept = text.trim_end_matches(' ');
            fits(kept.chars().count(), length)?;
            Ok(Datum::Text(if kept.len() == text.len() { text.into_owned() } else { kept.to_owned() }))
        }
        ColumnType::Varchar(length) => {
            let text = text(value)?;
            // A text has no more characters than bytes.
            if text.len() > length as usize {
                fits(text.chars().count(), length)?;
            }
            Ok(Datum::Text(text.into_owned()))
        }
        ColumnType::Text => Ok(Datum::Text(text(value)?.into_owned())),
        ColumnType::Json => {
            let text = text(value)?.into_owned();
            match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                Ok(_) => Ok(Datum::Text(text)),
                Err(_) => Err(Misfit::Incorrect("JSON", Value::text(text).shown())),
            }
        }
        ColumnType::Varbinary(length) => {
            let bytes = value.into_bytes().unwrap_or_default();
            fits(bytes.len(), length)?;
            Ok(Datum::Bytes(bytes.into_owned()))
        }
        ColumnType::Blob => Ok(Datum::Bytes(value.into_bytes().unwrap_or_default().into_owned())),
        ColumnType::Date => match value.date() {
            Some(days) => Ok(Datum::Date(days)),
            None => Err(Misfit::Incorrect("date", value.shown())),
        },
        ColumnType::DateTime | ColumnType::Timestamp => match value.datetime() {
            Some(micros) => Ok(Datum::DateTime(micros)),
            None => Err(Misfit::Incorrect("datetime", value.shown())),
        },
    }
}

fn fits(length: usize, most: u32) -> Result<(), Misfit> {
    if length > most as usize { Err(Misfit::TooLong) } else { Ok(()) }
}

fn text(value: Value<'_>) -> Result<Cow<'_, str>, Misfit> {
    if let Value::Bytes(bytes) = &value
        && std::str::from_utf8(bytes).is_err()
    {
        return Err(Misfit::Incorrect("string", value.shown()));
    }
    Ok(value.into_text().unwrap_or_default())
}

/// A number; text must be one as a whole.
fn strict_number(value: &Value<'_>, kind: &'static str) -> Result<Number, Misfit> {
    let number = match value {
        Value::Text(text) => parse_number(text.trim()),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| parse_number(text.trim())),
        other => other.number(),
    };
    number.ok_or_else(|| Misfit::Incorrect(kind, value.shown()))
}

fn integer(value: &Value<'_>, bits: u8, unsigned: bool) -> Result<Datum, Misfit> {
    let v = match value {
        Value::Int(v) => i128::from(*v),
        other => match strict_number(other, "integer")? {
            Number::Int(v) => v,
            Number::Decimal(v, scale) => rescale(v, scale, 0).ok_or(Misfit::OutOfRange)?,
            // A cast from a double saturates, far out of range.
            Number::Double(v) => v.round() as i128,
        },
    };
    let range = if unsigned {
        0..=(1_i128 << bits) - 1
    } else {
        -(1_i128 << (bits - 1))..=(1_i128 << (bits - 1)) - 1
    };
    if !range.contains(&v) {
        return Err(Misfit::OutOfRange);
    }
    // Both casts are in range by the check above.
    Ok(if unsigned { Datum::UInt(v as u64) } else { Datum::Int(v as i64) })
}

fn decimal(value: &Value<'_>, precision: u8, scale: u8) -> Result<Datum, Misfit> {
    let number = match strict_number(value, "decimal")? {
        Number::Double(v) => parse_number(&double_plain(v)).unwrap_or(Number::Double(v)),
        exact => exact,
    };
    let unscaled = match number {
        Number::Int(v) => rescale(v, 0, scale),
        Number::Decimal(v, from) => rescale(v, from, scale),
        Number::Double(_) => None,
    };
    let limit = power_of_ten(precision).unwrap_or(i128::MAX);
    match unscaled {
        Some(v) if v.unsigned_abs() < limit.unsigned_abs() => Ok(Datum::Decimal(v)),
        _ => Err(Misfit::OutOfRange),
    }
}

/// A double without an exponent, cut to what a decimal can hold.
fn double_plain(v: f64) -> String {
    let text = double_text(v);
    if text.contains('e') { format!("{v:.30}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(value: Value<'_>, column_type: ColumnType) -> String {
        let column =
            Column { name: "c".into(), column_type, nullable: false, default: None, auto_increment: false };
        match coerce(value, &column, 1) {
            Ok(datum) => datum.to_string(),
            Err(error) => format!("{} {}", error.code.number(), error.message),
        }
    }

    #[test]
    fn strict_mode_takes_what_fits_and_nothing_else() {
        let tiny = ColumnType::Int { bits: 8, unsigned: false };
        let big = ColumnType::Int { bits: 64, unsigned: true };
        let money = ColumnType::Decimal { precision: 5, scale: 2 };
        for (value, column_type, expected) in [
            (Value::Int(127), tiny, "127"),
            (Value::Int(128), tiny, "1264 Out of range value for column 'c' at row 1"),
            (Value::text(" 12 "), tiny, "12"),
            (Value::text("12x"), tiny, "1366 Incorrect integer value: '12x' for column 'c' at row 1"),
            (Value::Decimal(15, 1), tiny, "2"),
            (Value::Double(1e300), tiny, "1264 Out of range value for column 'c' at row 1"),
            (Value::UInt(u64::MAX), big, "18446744073709551615"),
            (Value::Int(-1), big, "1264 Out of range value for column 'c' at row 1"),
            (Value::text("999.994"), money, "99999e?"),
            (Value::text("999.995"), money, "1264 Out of range value for column 'c' at row 1"),
            (Value::Double(0.1), money, "10e?"),
            (Value::Double(1e-10), money, "0e?"),
            (Value::text("grüß"), ColumnType::Varchar(4), "'grüß'"),
            (Value::text("grüße"), ColumnType::Varchar(4), "1406 Data too long for column 'c' at row 1"),
            (Value::text("ab  "), ColumnType::Char(2), "'ab'"),
            (Value::Int(5), ColumnType::Text, "'5'"),
            (Value::text("2024-02-29"), ColumnType::Date, "day 19782"),
            (
                Value::text("2023-02-29"),
                ColumnType::Date,
                "1366 Incorrect date value: '2023-02-29' for column 'c' at row 1",
            ),
            (Value::text("{\"a\": [1]}"), ColumnType::Json, "'{\"a\": [1]}'"),
            (
                Value::text("{a}"),
                ColumnType::Json,
                "1366 Incorrect JSON value: '{a}' for column 'c' at row 1",
            ),
            (Value::Null, tiny, "1048 Column 'c' cannot be null"),
        ] {
            assert_eq!(stored(value.clone(), column_type), expected, "{value:?} as {column_type}");
        }
    }
}
