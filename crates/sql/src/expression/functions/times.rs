//! Functions of days and moments. What is no moment is NULL. Times are UTC.

use baton_model::errors::SqlError;

use super::{Function, Returns, Value, arguments, function};
use crate::expression::calendar::{self, DAY_US, Parts, SECOND_US, Unit};
use crate::expression::value::{Number, rescale};

pub(super) const ALL: &[Function] = &[
    function("year", (1, 1), Returns::Int, |values| part(values, |p, _| p.year)),
    function("quarter", (1, 1), Returns::Int, |values| part(values, |p, _| (p.month + 2) / 3)),
    function("month", (1, 1), Returns::Int, |values| part(values, |p, _| p.month)),
    function("day", (1, 1), Returns::Int, |values| part(values, |p, _| p.day)),
    function("dayofmonth", (1, 1), Returns::Int, |values| part(values, |p, _| p.day)),
    function("hour", (1, 1), Returns::Int, |values| part(values, |p, _| p.hour)),
    function("minute", (1, 1), Returns::Int, |values| part(values, |p, _| p.minute)),
    function("second", (1, 1), Returns::Int, |values| part(values, |p, _| p.second)),
    function("microsecond", (1, 1), Returns::Int, |values| part(values, |p, _| p.micros)),
    function("weekday", (1, 1), Returns::Int, |values| {
        part(values, |_, days| calendar::weekday(days) as i64)
    }),
    function("dayofweek", (1, 1), Returns::Int, |values| {
        part(values, |_, days| (calendar::weekday(days) as i64 + 1) % 7 + 1)
    }),
    function("dayofyear", (1, 1), Returns::Int, |values| {
        part(values, |p, days| days - calendar::days_of(p.year, 1, 1) + 1)
    }),
    function("to_days", (1, 1), Returns::Int, |values| part(values, |_, days| days + 719_528)),
    function("dayname", (1, 1), Returns::Text, |values| {
        let [value] = arguments(values);
        let name = |us: i64| Value::text(calendar::DAYS_OF_WEEK[calendar::weekday(us.div_euclid(DAY_US))]);
        Ok(value.datetime().map_or(Value::Null, name))
    }),
    function("monthname", (1, 1), Returns::Text, |values| {
        let [value] = arguments(values);
        let name = |us: i64| Value::text(calendar::MONTHS[(calendar::parts(us).month - 1) as usize]);
        Ok(value.datetime().map_or(Value::Null, name))
    }),
    function("time", (1, 1), Returns::Text, |values| {
        let [value] = arguments(values);
        Ok(value.datetime().map_or(Value::Null, |us| Value::text(calendar::time_text(us))))
    }),
    function("timestamp", (1, 1), Returns::DateTime, |values| {
        let [value] = arguments(values);
        Ok(value.datetime().map_or(Value::Null, Value::DateTime))
    }),
    function("last_day", (1, 1), Returns::Date, |values| {
        let [value] = arguments(values);
        Ok(value.datetime().map_or(Value::Null, |us| {
            let p = calendar::parts(us);
            let last = calendar::date_of(p.year, p.month, calendar::month_length(p.year, p.month));
            last.map_or(Value::Null, Value::Date)
        }))
    }),
    function("datediff", (2, 2), Returns::Int, |values| {
        let [left, right] = arguments(values);
        let days = left.date().zip(right.date());
        Ok(days.map_or(Value::Null, |(left, right)| Value::Int(i64::from(left) - i64::from(right))))
    }),
    function("timestampdiff", (3, 3), Returns::Int, |values| {
        let [unit, from, to] = arguments(values);
        let unit = unit.into_text().and_then(|name| Unit::parse(&name));
        let (Some(unit), Some(from), Some(to)) = (unit, from.datetime(), to.datetime()) else {
            return Ok(Value::Null);
        };
        Ok(Value::Int(calendar::difference(from, to, unit)))
    }),
    function("__date_add", (3, 3), Returns::Moved, |values| {
        let [moment, amount, unit] = arguments(values);
        moved(&moment, &amount, unit, 1)
    }),
    function("__date_sub", (3, 3), Returns::Moved, |values| {
        let [moment, amount, unit] = arguments(values);
        moved(&moment, &amount, unit, -1)
    }),
    function("unix_timestamp", (1, 1), Returns::Int, |values| {
        let [value] = arguments(values);
        Ok(value.datetime().map_or(Value::Null, |us| Value::Int(us.div_euclid(SECOND_US).max(0))))
    }),
    function("from_unixtime", (1, 1), Returns::DateTime, |values| {
        let [value] = arguments(values);
        Ok(unix_micros(&value).map_or(Value::Null, Value::DateTime))
    }),
    function("date_format", (2, 2), Returns::Text, |values| {
        let [value, pattern] = arguments(values);
        let (Some(us), Some(pattern)) = (value.datetime(), pattern.into_text()) else {
            return Ok(Value::Null);
        };
        Ok(Value::text(calendar::format(us, &pattern)))
    }),
];

fn part<'a>(values: Vec<Value<'a>>, of: fn(Parts, i64) -> i64) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    let part = |us: i64| Value::Int(of(calendar::parts(us), us.div_euclid(DAY_US)));
    Ok(value.datetime().map_or(Value::Null, part))
}

/// A day stays a day if only days are added; NULL if the result leaves the calendar.
fn moved<'a>(
    moment: &Value<'a>,
    amount: &Value<'a>,
    unit: Value<'a>,
    sign: i64,
) -> Result<Value<'a>, SqlError> {
    let unit = unit.into_text().and_then(|name| Unit::parse(&name));
    let (Some(unit), Some(us)) = (unit, moment.datetime()) else { return Ok(Value::Null) };
    // Fractions of a second are the only ones that count.
    let (amount, unit) = match amount.number() {
        None => return Ok(Value::Null),
        Some(Number::Decimal(v, scale)) if unit == Unit::Second => {
            (rescale(v, scale, 6).and_then(|v| i64::try_from(v).ok()), Unit::Microsecond)
        }
        Some(_) => (amount.integer64(), unit),
    };
    let result = amount.and_then(|amount| calendar::add(us, amount.checked_mul(sign)?, unit));
    Ok(match result {
        None => Value::Null,
        Some(us) if matches!(moment, Value::Date(_)) && unit.keeps_days() => {
            i32::try_from(us.div_euclid(DAY_US)).map_or(Value::Null, Value::Date)
        }
        Some(us) => Value::DateTime(us),
    })
}

fn unix_micros(value: &Value<'_>) -> Option<i64> {
    let micros = match value.number()? {
        Number::Int(v) => v.checked_mul(SECOND_US.into())?,
        Number::Decimal(v, scale) => rescale(v, scale, 6)?,
        Number::Double(v) => (v * SECOND_US as f64).round() as i128,
    };
    // The calendar ends with the year 9999.
    i64::try_from(micros).ok().filter(|us| (0..253_402_300_800 * SECOND_US).contains(us))
}
