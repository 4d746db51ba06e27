//! How long a node may be silent, by the times between its last pongs.
//!
//! Phi of a silence is minus the decimal logarithm of how likely a node that lives is to be silent for so long, if the
//! times between its pongs are normally distributed. To ask whether phi has reached n is to ask whether the silence
//! has reached the mean plus z(n) deviations, so a table of z is all that it takes: whole numbers, which are the same
//! in the sandbox and outside it, bit for bit.
//!
//! Not here: clocks. How long a node has been silent is counted in pings that were really sent (S11).

use baton_policy_sdk::{NodeEvidence, Settings};

use crate::{ACCEPTABLE_PAUSE_MS, MIN_DEVIATION_MS, MIN_SAMPLES, THRESHOLD};

/// How many thousandths of a deviation beyond the mean a time must be for a phi of 1, 2, 3 and so on to 16.
///
/// The n-th is the z beyond which the standard normal distribution has 10^-n of its area, rounded up, so that nobody
/// is failed before phi is reached. Computed as its inverse, which Python has as `-NormalDist().inv_cdf(10 ** -n)`; a
/// test integrates the distribution and compares.
const Z_THOUSANDTHS: [u64; 16] = [
    1_282, 2_327, 3_091, 3_720, 4_265, 4_754, 5_200, 5_613, 5_998, 6_362, 6_707, 7_035, 7_349, 7_651, 7_942,
    8_223,
];
/// Phi at the mean, in tenths: half of all times are longer, and the logarithm of a half is -0.301.
const PHI_TENTHS_AT_MEAN: u64 = 3;

/// What is usual for one node, and how much more than that is too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rhythm {
    /// The mean time between pongs, or the heartbeat interval if that is longer.
    mean_ms: u64,
    /// The deviation of those times as it was measured.
    measured_ms: u64,
    /// The deviation that is counted with.
    deviation_ms: u64,
    pause_ms: u64,
    threshold: u32,
}

impl Rhythm {
    /// The rhythm of a node; none if too few times between its pongs are known.
    pub fn of(node: &NodeEvidence, heartbeat_interval_ms: u64, settings: &Settings) -> Option<Self> {
        let count = u64::try_from(node.pong_intervals_ms.len()).ok()?;
        if count < u64::from(MIN_SAMPLES.read(settings)) {
            return None;
        }
        let times = || node.pong_intervals_ms.iter().map(|interval_ms| u64::from(*interval_ms));
        let mean_ms = mean(times(), count);
        // The sum of squares of such monsters as 32 bits can hold is cut off, at a deviation of a week.
        let variance = mean(times().map(|time_ms| time_ms.abs_diff(mean_ms).saturating_pow(2)), count);
        let measured_ms = variance.isqrt();
        Some(Self {
            // Where heartbeats are far apart, pings that renew a lease come between, and none of them can be missed.
            mean_ms: mean_ms.max(heartbeat_interval_ms),
            measured_ms,
            deviation_ms: measured_ms.max(MIN_DEVIATION_MS.read(settings).into()),
            pause_ms: ACCEPTABLE_PAUSE_MS.read(settings).into(),
            threshold: THRESHOLD.read(settings),
        })
    }

    /// How long a silence must be to be a failure: as long as that phi reaches the threshold.
    pub fn failed_after_ms(&self) -> u64 {
        self.usual_ms().saturating_add(self.beyond_ms(self.threshold))
    }

    /// How long a silence must be to be suspicious: half of the threshold, without the pause that is granted.
    pub fn suspect_after_ms(&self) -> u64 {
        self.mean_ms.saturating_add(self.beyond_ms(self.threshold.div_ceil(2)))
    }

    /// What is known of the silence and of what is usual, in words. `due_ms` is when it is acted upon.
    pub fn describe(&self, silence_ms: u64, due_ms: u64) -> String {
        let phi_tenths = self.phi_tenths(silence_ms);
        let counted = if self.deviation_ms == self.measured_ms {
            String::new()
        } else {
            format!(" counted as {} ms", self.deviation_ms)
        };
        format!(
            "phi {}.{} of {}, silent for {silence_ms} ms of {due_ms} ms (mean {} ms, deviation {} ms{counted})",
            phi_tenths / 10,
            phi_tenths % 10,
            self.threshold,
            self.mean_ms,
            self.measured_ms,
        )
    }

    /// Phi of a silence, in tenths, rounded down: exact where it is a whole number, on a straight line in between, and
    /// 16 for whatever is more.
    fn phi_tenths(&self, silence_ms: u64) -> u64 {
        let usual = (self.usual_ms(), PHI_TENTHS_AT_MEAN);
        let whole = (1_u32..=16).map(|phi| {
            (self.usual_ms().saturating_add(self.beyond_ms(phi)), u64::from(phi).saturating_mul(10))
        });
        let mut below = (0, 0);
        for above in std::iter::once(usual).chain(whole) {
            if silence_ms < above.0 {
                // More than nothing: what is below is at most the silence, and what is above is more.
                let span_ms = above.0.saturating_sub(below.0);
                let into = silence_ms.saturating_sub(below.0).saturating_mul(above.1 - below.1);
                return below.1 + into.checked_div(span_ms).unwrap_or(0);
            }
            below = above;
        }
        below.1
    }

    fn usual_ms(&self) -> u64 {
        self.mean_ms.saturating_add(self.pause_ms)
    }

    /// How far beyond what is usual a silence must be for this phi, rounded up.
    fn beyond_ms(&self, phi: u32) -> u64 {
        let at = usize::try_from(phi.saturating_sub(1)).unwrap_or(usize::MAX);
        let z = Z_THOUSANDTHS.get(at).or(Z_THOUSANDTHS.last()).copied().unwrap_or(0);
        z.saturating_mul(self.deviation_ms).div_ceil(1_000)
    }
}

/// How much is known of a node's rhythm, in words.
pub fn known_pongs(node: &NodeEvidence, settings: &Settings) -> String {
    let known = node.pong_intervals_ms.len();
    format!("{known} of {} pong intervals known", MIN_SAMPLES.read(settings))
}

fn mean(values: impl Iterator<Item = u64>, count: u64) -> u64 {
    values.fold(0, u64::saturating_add).checked_div(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The area of the standard normal distribution beyond z, by Simpson's rule. Beyond z + 12 nothing counts.
    fn tail(z: f64) -> f64 {
        let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let steps = 24_000_u32;
        let width = 12.0 / f64::from(steps);
        let weight = |step: u32| match step {
            0 => 1.0,
            step if step == steps => 1.0,
            step if step % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let sum: f64 = (0..=steps).map(|step| weight(step) * density(z + f64::from(step) * width)).sum();
        sum * width / 3.0
    }

    /// Each z is the least whole number of thousandths at which phi has been reached.
    #[test]
    fn the_table_is_the_tail_of_the_normal_distribution() {
        assert!((tail(0.0) - 0.5).abs() < 1e-12);
        assert!((tail(1.96) - 0.024_997_895).abs() < 1e-9);
        for (phi, z) in (1_i32..).zip(Z_THOUSANDTHS) {
            let z = u32::try_from(z).unwrap();
            let (at, before) = (tail(f64::from(z) / 1e3), tail(f64::from(z - 1) / 1e3));
            let wanted = 10_f64.powi(-phi);
            assert!(at <= wanted && wanted < before, "phi {phi}: {at:e} {wanted:e} {before:e}");
        }
    }

    const REGULAR: Rhythm =
        Rhythm { mean_ms: 150, measured_ms: 3, deviation_ms: 100, pause_ms: 1_000, threshold: 8 };

    /// Phi that is told agrees with what is decided: it has reached n when the silence has.
    #[test]
    fn phi_reaches_a_whole_number_with_the_silence_of_that_number() {
        for threshold in 1..=16 {
            let rhythm = Rhythm { threshold, ..REGULAR };
            let due_ms = rhythm.failed_after_ms();
            let tenths = u64::from(threshold) * 10;
            assert_eq!(rhythm.phi_tenths(due_ms), tenths);
            assert_eq!(rhythm.phi_tenths(due_ms - 1), tenths - 1);
            assert!(rhythm.suspect_after_ms() < due_ms);
        }
        assert_eq!(
            [0, 1_149, 1_150, 1_151, 1_973, u64::MAX].map(|ms| REGULAR.phi_tenths(ms)),
            [0, 2, 3, 3, 160, 160]
        );
    }

    #[test]
    fn phi_only_rises() {
        for deviation_ms in [1, 7, 100, 60_000] {
            for (mean_ms, pause_ms) in [(0, 0), (150, 0), (150, 1_000)] {
                let rhythm = Rhythm { mean_ms, pause_ms, deviation_ms, ..REGULAR };
                assert!((0..2_000).map(|ms| rhythm.phi_tenths(ms)).is_sorted(), "{rhythm:?}");
            }
        }
    }

    /// Nothing overflows and nothing is divided by zero, whatever is known and whatever is set.
    #[test]
    fn monsters_are_taken_in() {
        let monster = Rhythm {
            mean_ms: u64::MAX,
            measured_ms: u64::MAX,
            deviation_ms: u64::MAX,
            pause_ms: u64::MAX,
            threshold: u32::MAX,
        };
        assert_eq!(monster.failed_after_ms(), u64::MAX);
        assert!(monster.phi_tenths(u64::MAX - 1) < 3);
        let node = NodeEvidence {
            pong_intervals_ms: [0, u32::MAX].repeat(16).into(),
            ..NodeEvidence::answering(1, baton_policy_sdk::NodeRole::Leaf)
        };
        let rhythm = Rhythm::of(&node, 0, &Settings::new()).unwrap();
        assert_eq!(rhythm.mean_ms, u64::from(u32::MAX) / 2);
        assert_eq!(rhythm.measured_ms, 759_250_124);
    }
}
