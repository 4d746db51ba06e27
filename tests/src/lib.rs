//! A stage for real clusters: starts them by the toolbox, hurts them, watches them, writes to them, reads back.
//!
//! Tests over processes, the demo and the cluster benches stand on it.
//! * A cluster lives in a folder of its own, on free ports, and is gone when its [`Cluster`] is, also when the
//!   program that started it is killed ([`guard`]).
//! * Nothing waits without a bound, and nothing waits for a time to pass where it can wait for a condition
//!   ([`wait_until`]).
//! * Everything is seen as a user sees it: through the toolbox's JSON and the MySQL port. No crate of the house is
//!   linked.

pub mod bucket;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod cluster_file;
pub mod disk;
pub mod guard;
pub mod http;
pub mod journal;
pub mod moment;
pub mod network;
pub mod oracle;
pub mod ports;
pub mod readback;
pub mod roving;
pub mod scenario;
pub mod stray;
pub mod toolbox;
pub mod view;
pub mod wait;
pub mod writers;

pub use client::{Client, Record, SqlFault};
pub use cluster::Cluster;
pub use cluster_file::ClusterSpec;
pub use journal::{Journal, Outcome, Write};
pub use moment::Moment;
pub use readback::Readback;
pub use scenario::on_cluster;
pub use stray::{Stray, StraySpec};
pub use toolbox::Node;
pub use wait::wait_until;
pub use writers::{Load, Writers};
