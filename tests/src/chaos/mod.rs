//! Clusters of real processes that are hurt in every way while the [`crate::oracle`] watches.
//!
//! `cargo xtask chaos` runs rounds for as long as it is told; some rounds with plans that do not change are tests.
//! A seed decides which faults are made, when, to which of several nodes and for how long, and what clients send. When
//! exactly something happens is the machine's business, so the same seed is the same plan and not the same run.

mod fault;
mod plan;
mod round;
mod strike;

pub use fault::Fault;
pub use plan::{Plan, Step};
pub use round::{Report, cluster, internet, round};
