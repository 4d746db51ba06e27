//! Days and moments: the proleptic Gregorian calendar, without time zones, years 0 to 9999.

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;
/// Microseconds of a second.
pub(crate) const SECOND_US: i64 = 1_000_000;
/// 0000-01-01 and 9999-12-31, as days.
const DAYS: std::ops::RangeInclusive<i64> = -719_528..=2_932_896;

/// A moment in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) micros: i64,
}

/// Days since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
pub(crate) fn civil_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The parts of a moment.
pub(crate) fn parts(micros: i64) -> Parts {
    let (year, month, day) = civil_of(micros.div_euclid(DAY_US));
    let rest = micros.rem_euclid(DAY_US);
    let seconds = rest / SECOND_US;
    Parts {
        year,
        month,
        day,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        micros: rest % SECOND_US,
    }
}

/// Days of a month.
pub(crate) fn month_length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The day with this name; None if there is none.
pub(crate) fn date_of(year: i64, month: i64, day: i64) -> Option<i32> {
    let valid = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=month_length(year, month)).contains(&day);
    valid.then(|| i32::try_from(days_of(year, month, day)).ok()).flatten()
}

/// `2024-02-29`.
pub(crate) fn date_text(days: i32) -> String {
    let (year, month, day) = civil_of(days.into());
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2024-02-29 12:00:00`, with `.000001` behind it if there are microseconds.
pub(crate) fn datetime_text(micros: i64) -> String {
    let p = parts(micros);
    let whole = format!("{:04}-{:02}-{:02} {}", p.year, p.month, p.day, time_text(micros));
    if p.micros == 0 { whole } else { format!("{whole}.{:06}", p.micros) }
}

/// `12:00:00` of a moment.
pub(crate) fn time_text(micros: i64) -> String {
    let p = parts(micros);
    format!("{:02}:{:02}:{:02}", p.hour, p.minute, p.second)
}

/// 20240229.
pub(crate) fn date_number(days: i32) -> i64 {
    let (year, month, day) = civil_of(days.into());
    year * 10_000 + month * 100 + day
}

/// 20240229120000.
pub(crate) fn datetime_number(micros: i64) -> i64 {
    let p = parts(micros);
    let date = p.year * 10_000 + p.month * 100 + p.day;
    date * 1_000_000 + p.hour * 10_000 + p.minute * 100 + p.second
}

/// The moment of 20240229 or 20240229120000.
pub(crate) fn datetime_of_number(number: i64) -> Option<i64> {
    let (date, time) = match number {
        101..=99_991_231 => (number, 0),
        1_000_000_000_000..=99_991_231_235_959 => (number / 1_000_000, number % 1_000_000),
        _ => return None,
    };
    let day = date_of(date / 10_000, date / 100 % 100, date % 100)?;
    let time = time_of(time / 10_000, time / 100 % 100, time % 100)?;
    Some(i64::from(day) * DAY_US + time * SECOND_US)
}

fn time_of(hour: i64, minute: i64, second: i64) -> Option<i64> {
    let valid = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    valid.then_some(hour * 3600 + minute * 60 + second)
}

/// The number at the beginning, of `least..=most` digits, and what comes behind it.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if length < least {
        return None;
    }
    Some((text[..length].parse().ok()?, &text[length..]))
}

/// `2024-02-29`, `2024/2/9` or `20240229` at the beginning of a text, and what comes behind it.
fn date_prefix(text: &str) -> Option<(i32, &str)> {
    let packed = text.bytes().take(8).filter(u8::is_ascii_digit).count() == 8;
    if packed {
        let (number, rest) = digits(text, 8, 8)?;
        return Some((date_of(number / 10_000, number / 100 % 100, number % 100)?, rest));
    }
    let separator = ['-', '/', '.'];
    let (year, rest) = digits(text, 4, 4)?;
    let (month, rest) = digits(rest.strip_prefix(separator)?, 1, 2)?;
    let (day, rest) = digits(rest.strip_prefix(separator)?, 1, 2)?;
    Some((date_of(year, month, day)?, rest))
}

/// The moment a text names: a date, alone or with a time, with a fraction or not, with an offset from UTC or not.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    let (day, rest) = date_prefix(text.trim())?;
    let midnight = i64::from(day) * DAY_US;
    if rest.is_empty() {
        return Some(midnight);
    }
    let rest = rest.strip_prefix(['T', 't']).unwrap_or(rest).trim_start();
    let (hour, rest) = digits(rest, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 1, 2)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => digits(rest, 1, 2)?,
        None if rest.starts_with(|c: char| c.is_ascii_digit()) => digits(rest, 2, 2)?,
        None => (0, rest),
    };
    let mut micros = 0;
    let mut rest = rest;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (kept, _) = fraction.split_at(length.min(6));
        micros = format!("{kept:0<6}").parse::<i64>().ok()?;
        // The seventh digit rounds.
        micros += i64::from(fraction.as_bytes()[..length].get(6).is_some_and(|digit| *digit >= b'5'));
        rest = &fraction[length..];
    }
    let offset = offset_minutes(rest.trim())?;
    Some(midnight + (time_of(hour, minute, second)? - offset * 60) * SECOND_US + micros)
}

/// Minutes east of UTC: of an empty text or `Z` none.
fn offset_minutes(text: &str) -> Option<i64> {
    if text.is_empty() || text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 2, 2)?;
    (rest.is_empty() && hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// A unit of time, as intervals name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Microsecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// The unit of this name, without case, in the singular.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        const ALL: [(&str, Unit); 9] = [
            ("MICROSECOND", Unit::Microsecond),
            ("SECOND", Unit::Second),
            ("MINUTE", Unit::Minute),
            ("HOUR", Unit::Hour),
            ("DAY", Unit::Day),
            ("WEEK", Unit::Week),
            ("MONTH", Unit::Month),
            ("QUARTER", Unit::Quarter),
            ("YEAR", Unit::Year),
        ];
        ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, unit)| *unit)
    }

    /// Microseconds of a unit of fixed length, or months of another.
    fn length(self) -> Result<i64, i64> {
        Ok(match self {
            Self::Microsecond => 1,
            Self::Second => SECOND_US,
            Self::Minute => 60 * SECOND_US,
            Self::Hour => 3600 * SECOND_US,
            Self::Day => DAY_US,
            Self::Week => 7 * DAY_US,
            Self::Month => return Err(1),
            Self::Quarter => return Err(3),
            Self::Year => return Err(12),
        })
    }

    /// Whether adding it to a day gives a day.
    pub(crate) fn keeps_days(self) -> bool {
        !matches!(self, Self::Microsecond | Self::Second | Self::Minute | Self::Hour)
    }
}

/// A moment moved by so many units; None if that leaves the calendar.
pub(crate) fn add(micros: i64, amount: i64, unit: Unit) -> Option<i64> {
    let moved = match unit.length() {
        Ok(length) => micros.checked_add(amount.checked_mul(length)?)?,
        Err(months) => {
            let p = parts(micros);
            let month = (p.year * 12 + p.month - 1).checked_add(amount.checked_mul(months)?)?;
            let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
            if !(0..=9999).contains(&year) {
                return None;
            }
            let day = p.day.min(month_length(year, month));
            days_of(year, month, day) * DAY_US + micros.rem_euclid(DAY_US)
        }
    };
    DAYS.contains(&moved.div_euclid(DAY_US)).then_some(moved)
}

/// Whole units from one moment to a later one; negative if it is earlier.
pub(crate) fn difference(from: i64, to: i64, unit: Unit) -> i64 {
    match unit.length() {
        Ok(length) => to.saturating_sub(from) / length,
        Err(months) => {
            let (a, b) = (parts(from.min(to)), parts(from.max(to)));
            let mut whole = (b.year - a.year) * 12 + b.month - a.month;
            let in_month = |p: Parts| (p.day, p.hour, p.minute, p.second, p.micros);
            if in_month(b) < in_month(a) {
                whole -= 1;
            }
            whole / months * if to < from { -1 } else { 1 }
        }
    }
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Monday first.
pub(crate) const DAYS_OF_WEEK: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Monday is 0.
pub(crate) fn weekday(days: i64) -> usize {
    (days + 3).rem_euclid(7) as usize
}

/// The moment as DATE_FORMAT writes it. What is no specifier stands for itself.
pub(crate) fn format(micros: i64, pattern: &str) -> String {
    let p = parts(micros);
    let days = micros.div_euclid(DAY_US);
    let hour12 = if p.hour % 12 == 0 { 12 } else { p.hour % 12 };
    let half = if p.hour < 12 { "AM" } else { "PM" };
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(specifier) = chars.next() else { break };
        let piece = match specifier {
            'Y' => format!("{:04}", p.year),
            'y' => format!("{:02}", p.year % 100),
            'm' => format!("{:02}", p.month),
            'c' => p.month.to_string(),
            'M' => MONTHS[(p.month - 1) as usize].to_owned(),
            'b' => MONTHS[(p.month - 1) as usize][..3].to_owned(),
            'd' => format!("{:02}", p.day),
            'e' => p.day.to_string(),
            'j' => format!("{:03}", days - days_of(p.year, 1, 1) + 1),
            'H' => format!("{:02}", p.hour),
            'k' => p.hour.to_string(),
            'h' | 'I' => format!("{hour12:02}"),
            'l' => hour12.to_string(),
            'i' => format!("{:02}", p.minute),
            's' | 'S' => format!("{:02}", p.second),
            'f' => format!("{:06}", p.micros),
            'p' => half.to_owned(),
            'T' => time_text(micros),
            'r' => format!("{hour12:02}:{:02}:{:02} {half}", p.minute, p.second),
            'W' => DAYS_OF_WEEK[weekday(days)].to_owned(),
            'a' => DAYS_OF_WEEK[weekday(days)][..3].to_owned(),
            'w' => ((weekday(days) + 1) % 7).to_string(),
            other => other.to_string(),
        };
        out.push_str(&piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_its_name() {
        for days in DAYS {
            let (year, month, day) = civil_of(days);
            assert_eq!(date_of(year, month, day).map(i64::from), Some(days));
        }
        assert_eq!(date_text(0), "1970-01-01");
        assert_eq!((date_of(2023, 2, 29), date_of(10_000, 1, 1)), (None, None));
    }

    #[test]
    fn moments_are_read_and_written() {
        for (text, written) in [
            ("2024-02-29", "2024-02-29 00:00:00"),
            ("2024-2-9 1:02:03.5", "2024-02-09 01:02:03.500000"),
            ("20240229T235959Z", "2024-02-29 23:59:59"),
            ("2024-02-29 12:00", "2024-02-29 12:00:00"),
            ("2024-02-29T12:00:00+02:00", "2024-02-29 10:00:00"),
            ("1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"),
        ] {
            assert_eq!(parse_datetime(text).map(datetime_text).as_deref(), Some(written), "{text}");
        }
        for text in
            ["", "2024", "2024-13-01", "2024-02-30", "2024-01-01 25:00", "2024-01-01x", "2024-01-01 1:2:3 x"]
        {
            assert_eq!(parse_datetime(text), None, "{text}");
        }
    }

    #[test]
    fn months_end_where_they_end() {
        let january = parse_datetime("2024-01-31 10:00:00").unwrap();
        assert_eq!(add(january, 1, Unit::Month).map(datetime_text).unwrap(), "2024-02-29 10:00:00");
        assert_eq!(add(january, -11, Unit::Month).map(datetime_text).unwrap(), "2023-02-28 10:00:00");
        assert_eq!(add(january, 9000, Unit::Year), None);
        assert_eq!(add(january, i64::MAX, Unit::Day), None);
        let later = parse_datetime("2025-01-31 09:59:59").unwrap();
        assert_eq!(
            (difference(january, later, Unit::Year), difference(later, january, Unit::Month)),
            (0, -11)
        );
    }

    #[test]
    fn a_moment_is_formatted() {
        let moment = parse_datetime("2024-02-09 13:05:07").unwrap();
        assert_eq!(
            format(moment, "%W %e %M %Y, %h:%i %p, day %j %%"),
            "Friday 9 February 2024, 01:05 PM, day 040 %"
        );
    }
}
