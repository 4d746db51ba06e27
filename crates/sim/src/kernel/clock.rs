//! The clock of one machine: it drifts, it may jump ahead, and it goes on while the machine sleeps. A second one, which
//! the control group's library goes by, stands still meanwhile.
//! Neither goes back: the operating system promises that, and the cores may rely on it.

use baton_model::Instant;

use super::Time;

/// Parts per million by which a clock is fast or slow, at most.
pub const DRIFT_PPM_MAX: u64 = 500;
const MILLION: u64 = 1_000_000;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The world's time at which the clock was last set.
    set_at: Time,
    /// What it showed then.
    showed: u64,
    /// How many millionths of a second it goes on within a second.
    rate: u64,
    /// How much of what it shows its machine slept.
    slept: u64,
}

impl Clock {
    /// A clock that shows `showed` at the beginning and is `ppm` fast; at most `DRIFT_PPM_MAX` above or below 0.
    #[must_use]
    pub fn new(showed: u64, ppm: i64) -> Self {
        let most = DRIFT_PPM_MAX.cast_signed();
        Self { set_at: 0, showed, rate: MILLION.saturating_add_signed(ppm.clamp(-most, most)), slept: 0 }
    }

    /// What it shows.
    #[must_use]
    pub fn at(&self, now: Time) -> Instant {
        Instant(self.showed + (now - self.set_at) * self.rate / MILLION)
    }

    /// What the clock shows that stands still while the machine sleeps.
    #[must_use]
    pub fn awake_at(&self, now: Time) -> Instant {
        Instant(self.at(now).0 - self.slept)
    }

    /// When it will have gone on by so much: at least one microsecond from now.
    #[must_use]
    pub fn after(&self, now: Time, local: Time) -> Time {
        now + (local * MILLION / self.rate).max(1)
    }

    /// It jumps ahead.
    pub fn jump(&mut self, now: Time, by: Time) {
        *self = Self { set_at: now, showed: self.at(now).0 + by, ..*self };
    }

    /// The machine slept since then.
    pub fn slept(&mut self, since: Time, now: Time) {
        // It may have jumped meanwhile.
        self.slept += self.at(now).0 - self.at(since.max(self.set_at)).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_jumps_and_sleeps() {
        let mut clock = Clock::new(1_000, 100);
        assert_eq!(clock.at(0), Instant(1_000));
        assert_eq!(clock.at(10 * MILLION), Instant(1_000 + 10 * MILLION + 1_000));
        clock.jump(10 * MILLION, 500);
        assert_eq!(clock.at(10 * MILLION), Instant(10 * MILLION + 2_500));
        clock.slept(20 * MILLION, 90 * MILLION);
        assert_eq!(clock.at(90 * MILLION), Instant(90 * MILLION + 10_500));
        assert_eq!(clock.awake_at(90 * MILLION), Instant(20 * MILLION + 3_500));
    }
}
