//! The one clock of a process, which turns the operating system's time into the cores' [`Instant`].

use baton_model::Instant;

/// Monotonic time since the process started. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// A clock that starts at zero now. A process needs only one.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
