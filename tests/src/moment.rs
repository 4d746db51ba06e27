//! Moments that can be compared with those in a cluster's events.
//!
//! The wall clock is read once; from then on the monotonic clock counts. A step of the wall clock in the middle of a
//! test would still shift the cluster's own time stamps, but never an order of two moments taken here.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment: microseconds since 1970 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        static ANCHOR: OnceLock<(Instant, Duration)> = OnceLock::new();
        let (started, wall) = ANCHOR.get_or_init(|| {
            (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
        });
        Self((*wall + started.elapsed()).as_micros() as u64)
    }

    /// The moment of an event's time stamp: milliseconds since 1970 UTC.
    #[must_use]
    pub fn from_unix_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1000))
    }

    /// The time since an earlier moment; zero if it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds since an earlier moment; negative if that is later.
    #[must_use]
    pub fn ms_after(self, earlier: Self) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 1000.0
    }

    /// The time of day, UTC, to the millisecond.
    #[must_use]
    pub fn time_of_day(self) -> String {
        let ms = self.0 / 1000 % 86_400_000;
        format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_micros() as u64))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by.as_micros() as u64))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.time_of_day())
    }
}
