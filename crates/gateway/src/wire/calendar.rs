//! Days and microseconds since 1970 as calendar dates, in the proleptic Gregorian calendar.
//!
//! Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`days_from_civil` and its inverse).

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A calendar date and a time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Moment {
    pub(super) year: i64,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) micros: u32,
}

impl Moment {
    /// Midnight of a day, counted from 1970-01-01.
    pub(super) fn from_days(days: i64) -> Self {
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
        let month = (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }) as u8;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day, ..Self::default() }
    }

    /// A moment, counted in microseconds from 1970-01-01 00:00:00.
    pub(super) fn from_micros(micros: i64) -> Self {
        let of_day = micros.rem_euclid(MICROS_PER_DAY);
        let seconds = of_day / 1_000_000;
        Self {
            hour: (seconds / 3600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
            micros: (of_day % 1_000_000) as u32,
            ..Self::from_days(micros.div_euclid(MICROS_PER_DAY))
        }
    }

    /// Days since 1970-01-01, if this is a date of the calendar.
    pub(super) fn days(&self) -> Option<i32> {
        if !(1..=12).contains(&self.month) || !(1..=31).contains(&self.day) {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let there = Self::from_days(days);
        (there.month == self.month && there.day == self.day).then(|| i32::try_from(days).ok()).flatten()
    }

    /// Microseconds since 1970-01-01 00:00:00, if this is a moment of the calendar.
    pub(super) fn micros(&self) -> Option<i64> {
        if self.hour > 23 || self.minute > 59 || self.second > 59 || self.micros > 999_999 {
            return None;
        }
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        Some(i64::from(self.days()?) * MICROS_PER_DAY + seconds * 1_000_000 + i64::from(self.micros))
    }

    /// Whether MySQL's dates reach this year.
    pub(super) fn is_printable(&self) -> bool {
        (0..=9999).contains(&self.year)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        let day = |year, month, day| Moment { year, month, day, ..Moment::default() }.days();
        assert_eq!(day(1970, 1, 1), Some(0));
        assert_eq!(day(2000, 3, 1), Some(11_017));
        assert_eq!(day(1969, 12, 31), Some(-1));
        assert_eq!(day(2024, 2, 29), Some(19_782));
        assert_eq!(day(2023, 2, 29), None);
        assert_eq!(day(0, 0, 0), None);
    }

    proptest! {
        #[test]
        fn moments_come_back(micros in -62_000_000_000_000_000..253_402_300_799_999_999i64) {
            prop_assert_eq!(Moment::from_micros(micros).micros(), Some(micros));
        }
    }
}
