//! What a call used, beside what it may use.

use baton_policy_host::{CallLimits, CallStats};
use baton_policy_view::View;
use serde::Serialize;

/// What a call used.
#[derive(Serialize, Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) fuel: u64,
    pub(crate) fuel_limit: u64,
    pub(crate) memory_bytes: usize,
    pub(crate) memory_bytes_limit: usize,
    pub(crate) micros: u64,
}

impl Used {
    pub(crate) fn of(view: &View, stats: &CallStats) -> Self {
        let nodes = match view {
            View::Detection(asked) => asked.input.nodes.len(),
            _ => 0,
        };
        let limits = CallLimits::default().for_nodes(nodes);
        Self {
            fuel: stats.fuel,
            fuel_limit: limits.fuel,
            memory_bytes: stats.memory_bytes,
            memory_bytes_limit: limits.memory_bytes,
            micros: stats.micros,
        }
    }

    /// For people.
    pub(crate) fn lines(&self) -> String {
        let share = |used: u64, limit: u64| 100.0 * used as f64 / limit.max(1) as f64;
        format!(
            "fuel    {} of {} ({:.2} %)\nmemory  {} KiB of {} KiB\ntime    {} µs, with the making of the instance",
            self.fuel,
            self.fuel_limit,
            share(self.fuel, self.fuel_limit),
            self.memory_bytes >> 10,
            self.memory_bytes_limit >> 10,
            self.micros
        )
    }
}
