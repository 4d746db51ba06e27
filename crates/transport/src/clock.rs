//! The one clock of a process, which turns the operating system's time into the cores' [`Instant`].

use std::time::Duration;

use baton_model::Instant;
use nix::time::{ClockId, clock_gettime};

/// Time since the process started, that never goes back and goes on while the machine is suspended: whoever slept finds
/// that what was lent to it for a time is lent no more. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Duration,
}

impl Clock {
    /// A clock that starts at zero now. A process needs only one.
    #[must_use]
    pub fn start() -> Self {
        Self { started: since_boot() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        let passed = since_boot().saturating_sub(self.started);
        Instant(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
    }
}

fn since_boot() -> Duration {
    // It fails only where the system does not know the clock, and Linux has known it since 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the system has a clock that never stops").into()
}
