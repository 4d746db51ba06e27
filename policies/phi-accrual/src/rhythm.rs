//! How long a node may be silent, by the times between its last pongs.
//!
//! Phi of a silence is minus the decimal logarithm of how likely a node that lives is to be silent for so long, if the
//! times between its pongs are normally distributed. To ask whether phi has reached n is to ask whether the silence has
//! reached the mean plus z(n) deviations, so a table of z is all that it takes: whole numbers, which are the same in the
//! sandbox and outside it, bit for bit.
//!
//! Not here: clocks. How long a node has been silent is counted in pings that were really sent (S11).

use baton_policy_sdk::{NodeEvidence, Settings};

use crate::{ACCEPTABLE_PAUSE_MS, MIN_DEVIATION_MS, MIN_SAMPLES, THRESHOLD};

/// How many thousandths of a deviation beyond the mean a time must be for a phi of 1, 2, 3 and so on to 16.
///
/// The n-th is the z beyond which the standard normal distribution has 10^-n of its area, rounded up, so that nobody is
/// failed before phi is reached. Computed to 40 digits as the inverse of the error function; a test integrates the
/// distribution and compares.
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
            // Pings that only renew a lease come in between where heartbeats are far apart, and no miss is counted of them.
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

    /// Phi of a silence, in tenths, rounded down: exact where it is a whole number, on a straight line in between, and 16
    /// for whatever is more.
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

fn mean(values: impl Iterator<Item = u64>, count: u64) -> u64 {
    values.fold(0, u64::saturating_add).checked_div(count).unwrap_or(0)
}
