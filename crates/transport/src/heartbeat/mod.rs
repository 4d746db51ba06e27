//! Heartbeats: pings and pongs on connections of their own, and the threads that send and answer them.
//!
//! A connection begins with `BHB2`; then frames go both ways, each four bytes of length (big-endian) and as many
//! of postcard: pings from the one who connected, a pong for each. Leases for reads ride on them, so that they never
//! wait for data.

mod answer;
mod frame;
mod line;
mod pulse;
mod shell;

pub use answer::answer;
pub(crate) use frame::MAGIC;
pub use frame::{Ping, Pong};
pub use pulse::{Heard, Pulse};
pub use shell::{HealthChange, HeartbeatError, HeartbeatShell, Judgement, Lend, Target, lend_nothing};
