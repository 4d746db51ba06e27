//! What every simulated thing stands on: numbers, time, the network, disks.
//!
//! Nothing here knows of Baton. One thread, no clock, no randomness but [`Rng`]: the same seed gives the same bytes.

mod clock;
mod disk;
mod network;
mod queue;
mod rng;

pub use clock::Clock;
pub use disk::{Disk, Medium};
pub use network::{ConnId, Lane, Network, Weather};
pub use queue::Queue;
pub use rng::Rng;

/// Microseconds of the world's own time, which no node can see.
pub type Time = u64;
/// A millisecond.
pub const MS: Time = 1_000;
/// A second.
pub const S: Time = 1_000_000;
