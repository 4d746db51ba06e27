//! Values as people read them: the text protocol, and the values that the binary protocol sends as text too.

use std::borrow::Cow;
use std::fmt::Write as _;

use baton_model::{ColumnType, Datum};

use super::calendar::Moment;

/// A value that its column's type cannot carry: a mistake of whoever made the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unfit;

/// Doubles of this size and more are written with an exponent, as MySQL does.
const EXPONENT_FROM: f64 = 1e15;
/// And smaller ones than this.
const EXPONENT_BELOW: f64 = 1e-15;

/// The value as text; `None` is NULL, and so is a double that is no number, which SQL does not have.
pub(super) fn text_of(value: &Datum, column_type: ColumnType) -> Result<Option<Cow<'_, [u8]>>, Unfit> {
    let text = match value {
        Datum::Null => return Ok(None),
        Datum::Text(text) => return Ok(Some(Cow::Borrowed(text.as_bytes()))),
        Datum::Bytes(bytes) => return Ok(Some(Cow::Borrowed(bytes))),
        Datum::Int(number) => number.to_string(),
        Datum::UInt(number) => number.to_string(),
        Datum::Double(number) if !number.is_finite() => return Ok(None),
        Datum::Double(number) => double(*number, column_type),
        Datum::Decimal(unscaled) => match column_type {
            ColumnType::Decimal { scale, .. } => decimal(*unscaled, scale.into()),
            _ => return Err(Unfit),
        },
        Datum::Date(days) => {
            let time = if matches!(column_type, ColumnType::DateTime | ColumnType::Timestamp) {
                " 00:00:00"
            } else {
                ""
            };
            date(&printable(Moment::from_days(i64::from(*days)))?) + time
        }
        Datum::DateTime(micros) => date_time(&printable(Moment::from_micros(*micros))?),
    };
    Ok(Some(Cow::Owned(text.into_bytes())))
}

pub(super) fn printable(moment: Moment) -> Result<Moment, Unfit> {
    if moment.is_printable() { Ok(moment) } else { Err(Unfit) }
}

fn double(number: f64, column_type: ColumnType) -> String {
    let size = number.abs();
    let exponent = size >= EXPONENT_FROM || (size > 0.0 && size < EXPONENT_BELOW);
    match (column_type, exponent) {
        (ColumnType::Float, false) => (number as f32).to_string(),
        (ColumnType::Float, true) => format!("{:e}", number as f32),
        (_, false) => number.to_string(),
        (_, true) => format!("{number:e}"),
    }
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let mut digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    if scale > 0 {
        digits.insert(digits.len() - scale, '.');
    }
    if unscaled < 0 {
        digits.insert(0, '-');
    }
    digits
}

fn date(moment: &Moment) -> String {
    format!("{:04}-{:02}-{:02}", moment.year, moment.month, moment.day)
}

fn date_time(moment: &Moment) -> String {
    let mut text = date(moment);
    let _ = write!(text, " {:02}:{:02}:{:02}", moment.hour, moment.minute, moment.second);
    if moment.micros > 0 {
        let _ = write!(text, ".{:06}", moment.micros);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Datum, column_type: ColumnType) -> String {
        String::from_utf8(text_of(&value, column_type).unwrap().unwrap().into_owned()).unwrap()
    }

    #[test]
    fn values_read_as_mysql_writes_them() {
        let money = ColumnType::Decimal { precision: 38, scale: 2 };
        assert_eq!(shown(Datum::Decimal(12_345), money), "123.45");
        assert_eq!(shown(Datum::Decimal(-5), money), "-0.05");
        assert_eq!(shown(Datum::Decimal(0), money), "0.00");
        assert_eq!(shown(Datum::Decimal(-7), ColumnType::Decimal { precision: 5, scale: 0 }), "-7");
        assert!(shown(Datum::Decimal(i128::MIN), money).starts_with("-1701411834604692317"));
        assert_eq!(shown(Datum::Date(19_724), ColumnType::Date), "2024-01-02");
        assert_eq!(shown(Datum::Date(19_724), ColumnType::DateTime), "2024-01-02 00:00:00");
        let micros = 19_724 * 86_400_000_000 + 3 * 3_600_000_000 + 4 * 60_000_000 + 5_000_000;
        assert_eq!(shown(Datum::DateTime(micros), ColumnType::DateTime), "2024-01-02 03:04:05");
        assert_eq!(shown(Datum::DateTime(micros + 6), ColumnType::Timestamp), "2024-01-02 03:04:05.000006");
        assert_eq!(shown(Datum::Double(1e20), ColumnType::Double), "1e20");
        assert_eq!(shown(Datum::Double(0.1), ColumnType::Double), "0.1");
        assert_eq!(shown(Datum::Double(f64::from(0.1f32)), ColumnType::Float), "0.1");
        assert_eq!(shown(Datum::Double(-3.0), ColumnType::Double), "-3");
    }

    #[test]
    fn what_sql_does_not_have_is_null_or_unfit() {
        assert_eq!(text_of(&Datum::Double(f64::NAN), ColumnType::Double), Ok(None));
        assert_eq!(text_of(&Datum::Decimal(1), ColumnType::Double), Err(Unfit));
        assert_eq!(text_of(&Datum::Date(i32::MAX), ColumnType::Date), Err(Unfit));
        assert_eq!(text_of(&Datum::DateTime(i64::MIN), ColumnType::DateTime), Err(Unfit));
    }
}
