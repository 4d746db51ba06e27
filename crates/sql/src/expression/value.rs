//! A value on its way through an expression, with MySQL's conversions between kinds.
//!
//! Unlike a `Datum` it knows the scale of its decimal, and it borrows text from the row it was read from.
//! Conversions here are the lenient ones of expressions (`'5 apples' + 1` is 6); what may be stored in a column is
//! decided in `coerce`.

use std::borrow::Cow;
use std::fmt::Write as _;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum};
use serde::{Deserialize, Serialize};

use super::calendar;

/// Digits behind the point of a decimal, at most.
pub(crate) const SCALE_MAX: u8 = 30;
/// What division adds to the scale of its left side (MySQL's `div_precision_increment`).
pub(crate) const DIVISION_SCALE: u8 = 4;

/// A value of an expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A signed integer, and what comparisons answer: 0 or 1.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A double.
    Double(f64),
    /// An exact number: unscaled, and its scale.
    Decimal(i128, u8),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 00:00:00.
    DateTime(i64),
}

/// A value as a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// Signed or unsigned: an `i128` holds both.
    Int(i128),
    /// Unscaled, and its scale.
    Decimal(i128, u8),
    Double(f64),
}

impl Number {
    pub(crate) fn as_double(self) -> f64 {
        match self {
            Self::Int(v) => v as f64,
            Self::Decimal(v, scale) => decimal_to_double(v, scale),
            Self::Double(v) => v,
        }
    }

    /// The value, if integers can say it.
    pub(crate) fn into_value(self) -> Result<Value<'static>, SqlError> {
        Ok(match self {
            Self::Int(v) => match (i64::try_from(v), u64::try_from(v)) {
                (Ok(v), _) => Value::Int(v),
                (_, Ok(v)) => Value::UInt(v),
                _ => return Err(out_of_range("BIGINT")),
            },
            Self::Decimal(v, scale) => Value::Decimal(v, scale),
            Self::Double(v) if v.is_finite() => Value::Double(v),
            Self::Double(_) => return Err(out_of_range("DOUBLE")),
        })
    }
}

/// The error of an expression whose value does not fit.
pub(crate) fn out_of_range(kind: &str) -> SqlError {
    let text = format!("{kind} value is out of range in an expression");
    SqlError::new(ErrorCode::ExpressionOutOfRange, text)
}

/// 10 to this power, if an `i128` holds it.
pub(crate) fn power_of_ten(exponent: u8) -> Option<i128> {
    10_i128.checked_pow(exponent.into())
}

fn decimal_to_double(unscaled: i128, scale: u8) -> f64 {
    // Through the text, because that rounds once.
    decimal_text(unscaled, scale).parse().unwrap_or(f64::NAN)
}

/// A decimal with another scale; rounds half away from zero. None if it does not fit.
pub(crate) fn rescale(unscaled: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return unscaled.checked_mul(power_of_ten(to - from)?);
    }
    let Some(divisor) = power_of_ten(from - to) else { return Some(0) };
    let (quotient, rest) = (unscaled / divisor, unscaled % divisor);
    Some(if rest.unsigned_abs() * 2 >= divisor.unsigned_abs() {
        quotient + unscaled.signum()
    } else {
        quotient
    })
}

/// `-12.50`: the text of a decimal.
pub(crate) fn decimal_text(unscaled: i128, scale: u8) -> String {
    if scale == 0 {
        return unscaled.to_string();
    }
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    format!("{}{whole}.{fraction}", if unscaled < 0 { "-" } else { "" })
}

/// The text of a double, as MySQL writes it: the shortest that reads back the same.
pub(crate) fn double_text(v: f64) -> String {
    let size = v.abs();
    if size != 0.0 && !(1e-5..1e15).contains(&size) { format!("{v:e}") } else { format!("{v}") }
}

/// A number as it is written: `12`, `-0.5`, `1e9`. None if the text is anything else.
pub(crate) fn parse_number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.bytes().any(|b| b == b'e' || b == b'E') {
        let plain = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        let v = if plain { text.parse::<f64>().ok()? } else { return None };
        return v.is_finite().then_some(Number::Double(v));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    if !digits.contains('.') {
        return match text.parse::<i128>() {
            Ok(v) if i64::try_from(v).is_ok() || u64::try_from(v).is_ok() => Some(Number::Int(v)),
            Ok(v) => Some(Number::Decimal(v, 0)),
            Err(_) => text.parse().ok().map(Number::Double),
        };
    }
    let scale = u8::try_from(fraction.len()).ok().filter(|scale| *scale <= SCALE_MAX);
    let unscaled = format!("{whole}{fraction}").parse::<i128>().ok();
    match (scale, unscaled) {
        (Some(scale), Some(v)) => Some(Number::Decimal(if text.starts_with('-') { -v } else { v }, scale)),
        _ => text.parse().ok().map(Number::Double),
    }
}

/// The number that a text is as a whole, if nothing of it is lost in an integer or a decimal.
pub(crate) fn exact_number(text: &str) -> Option<Value<'static>> {
    match parse_number(text.trim_matches(|c: char| c.is_ascii_whitespace()))? {
        Number::Double(_) => None,
        exact => exact.into_value().ok(),
    }
}

/// The number that a text begins with; 0 if with none.
fn number_prefix(text: &str) -> f64 {
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let mut end = 0;
    let mut seen_point = false;
    let mut seen_exponent = false;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'0'..=b'9' => {}
            b'+' | b'-' if end == 0 || matches!(bytes[end - 1], b'e' | b'E') => {}
            b'.' if !seen_point && !seen_exponent => seen_point = true,
            b'e' | b'E' if !seen_exponent && end > 0 => seen_exponent = true,
            _ => break,
        }
        end += 1;
    }
    // `12e` and `12e+` end before their exponent.
    (0..=end).rev().find_map(|end| text[..end].parse::<f64>().ok()).filter(|v| v.is_finite()).unwrap_or(0.0)
}

impl<'a> Value<'a> {
    /// The value of a column.
    pub(crate) fn of_column(datum: &'a Datum, column_type: ColumnType) -> Self {
        match datum {
            Datum::Null => Self::Null,
            Datum::Int(v) => Self::Int(*v),
            Datum::UInt(v) => Self::UInt(*v),
            Datum::Double(v) => Self::Double(*v),
            Datum::Decimal(v) => match column_type {
                ColumnType::Decimal { scale, .. } => Self::Decimal(*v, scale),
                _ => Self::Decimal(*v, 0),
            },
            Datum::Text(v) => Self::Text(Cow::Borrowed(v)),
            Datum::Bytes(v) => Self::Bytes(Cow::Borrowed(v)),
            Datum::Date(v) => Self::Date(*v),
            Datum::DateTime(v) => Self::DateTime(*v),
        }
    }

    /// The same value without a copy.
    pub(crate) fn borrowed(&'a self) -> Value<'a> {
        match self {
            Self::Text(v) => Value::Text(Cow::Borrowed(v)),
            Self::Bytes(v) => Value::Bytes(Cow::Borrowed(v)),
            other => other.clone(),
        }
    }

    /// The same value that borrows nothing.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Int(v) => Value::Int(v),
            Self::UInt(v) => Value::UInt(v),
            Self::Double(v) => Value::Double(v),
            Self::Decimal(v, scale) => Value::Decimal(v, scale),
            Self::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Self::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
            Self::Date(v) => Value::Date(v),
            Self::DateTime(v) => Value::DateTime(v),
        }
    }

    pub(crate) fn text(text: impl Into<String>) -> Value<'static> {
        Value::Text(Cow::Owned(text.into()))
    }

    pub(crate) const fn truth(truth: bool) -> Value<'static> {
        Value::Int(truth as i64)
    }

    pub(crate) const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// As a number; None is NULL.
    pub(crate) fn number(&self) -> Option<Number> {
        Some(match self {
            Self::Null => return None,
            Self::Int(v) => Number::Int((*v).into()),
            Self::UInt(v) => Number::Int((*v).into()),
            Self::Double(v) => Number::Double(*v),
            Self::Decimal(v, scale) => Number::Decimal(*v, *scale),
            Self::Text(v) => Number::Double(number_prefix(v)),
            Self::Bytes(v) => Number::Double(number_prefix(&String::from_utf8_lossy(v))),
            Self::Date(v) => Number::Int(calendar::date_number(*v).into()),
            Self::DateTime(v) => Number::Int(calendar::datetime_number(*v).into()),
        })
    }

    /// As a double; None is NULL.
    pub(crate) fn double(&self) -> Option<f64> {
        self.number().map(Number::as_double)
    }

    /// As a whole number, rounded; None is NULL.
    pub(crate) fn integer(&self) -> Option<i128> {
        Some(match self.number()? {
            Number::Int(v) => v,
            Number::Decimal(v, scale) => rescale(v, scale, 0).unwrap_or(0),
            // A cast from a double saturates.
            Number::Double(v) => v.round() as i128,
        })
    }

    /// As a whole number that fits a signed one, rounded and cut; None is NULL.
    pub(crate) fn integer64(&self) -> Option<i64> {
        self.integer().map(|v| v.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// Whether it counts as true; None is NULL.
    pub(crate) fn is_true(&self) -> Option<bool> {
        self.number().map(|number| match number {
            Number::Int(v) | Number::Decimal(v, _) => v != 0,
            Number::Double(v) => v != 0.0,
        })
    }

    /// As text; None is NULL. Bytes that are no text are kept as far as they are.
    pub(crate) fn into_text(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Null => return None,
            Self::Text(v) => v,
            Self::Bytes(Cow::Borrowed(v)) => String::from_utf8_lossy(v),
            Self::Bytes(Cow::Owned(v)) => Cow::Owned(String::from_utf8_lossy(&v).into_owned()),
            Self::Int(v) => Cow::Owned(v.to_string()),
            Self::UInt(v) => Cow::Owned(v.to_string()),
            Self::Double(v) => Cow::Owned(double_text(v)),
            Self::Decimal(v, scale) => Cow::Owned(decimal_text(v, scale)),
            Self::Date(v) => Cow::Owned(calendar::date_text(v)),
            Self::DateTime(v) => Cow::Owned(calendar::datetime_text(v)),
        })
    }

    /// As bytes; None is NULL.
    pub(crate) fn into_bytes(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Bytes(v) => Some(v),
            other => other.into_text().map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
        }
    }

    /// As a moment; None is NULL or no moment.
    pub(crate) fn datetime(&self) -> Option<i64> {
        match self {
            Self::DateTime(v) => Some(*v),
            Self::Date(v) => Some(i64::from(*v).saturating_mul(calendar::DAY_US)),
            Self::Text(v) => calendar::parse_datetime(v),
            Self::Int(_) | Self::UInt(_) | Self::Decimal(..) | Self::Double(_) => {
                calendar::datetime_of_number(self.integer64()?)
            }
            Self::Null | Self::Bytes(_) => None,
        }
    }

    /// As a day; None is NULL or no day.
    pub(crate) fn date(&self) -> Option<i32> {
        match self {
            Self::Date(v) => Some(*v),
            other => i32::try_from(other.datetime()?.div_euclid(calendar::DAY_US)).ok(),
        }
    }

    /// As an error message shows it: `'abc'` without the quotes, cut if it is long.
    pub(crate) fn shown(&self) -> String {
        let mut text = self.clone().into_text().map_or_else(|| "NULL".to_owned(), Cow::into_owned);
        if let Some((cut, _)) = text.char_indices().nth(64) {
            text.truncate(cut);
            let _ = write!(text, "…");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_written() {
        for (text, number) in [
            ("0", Number::Int(0)),
            ("-7", Number::Int(-7)),
            ("18446744073709551615", Number::Int(u64::MAX.into())),
            ("18446744073709551616", Number::Decimal(1 << 64, 0)),
            ("-0.50", Number::Decimal(-50, 2)),
            (".5", Number::Decimal(5, 1)),
            ("1e3", Number::Double(1000.0)),
        ] {
            assert_eq!(parse_number(text), Some(number), "{text}");
        }
        for text in ["", "-", ".", "1x", "0x1", "inf", "nan", "1e999", "- 1"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn text_counts_as_the_number_it_begins_with() {
        for (text, number) in
            [("12abc", 12.0), ("abc", 0.0), (" -1.5e2x", -150.0), ("3e", 3.0), ("1e999", 1.0)]
        {
            let value = Value::text(text).double().unwrap();
            assert!(value == number || text == "1e999", "{text}: {value}");
        }
    }

    #[test]
    fn decimals_round_half_away_from_zero() {
        assert_eq!(rescale(125, 2, 1), Some(13));
        assert_eq!(rescale(-125, 2, 1), Some(-13));
        assert_eq!(rescale(124, 2, 1), Some(12));
        assert_eq!(rescale(1, 0, 38), Some(10_i128.pow(38)));
        assert_eq!(rescale(i128::MAX, 0, 1), None);
        assert_eq!((decimal_text(-5, 2), decimal_text(1234, 3)), ("-0.05".into(), "1.234".into()));
    }
}
