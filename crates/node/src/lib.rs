//! Wires a role together: what makes a process an aggregator or a leaf.
//!
//! A write: `aggregator::session` binds it, `aggregator::route` finds the primary and holds the statement through a
//! failover, `leaf::write` locks and evaluates, `leaf::partition` runs the replication core and its effects.
//! A failure: the heartbeat thread gathers evidence and lets the policy judge (`detection`), `aggregator::supervisor`
//! turns problems into a plan and proposes it, every node's catalog advances, `leaf` reconciles its instances.
//!
//! Not here: protocols, formats, decisions. Each has a crate of its own below this one.

mod aggregator;
mod bounded_listener;
mod config;
mod context;
mod detection;
mod http;
mod identity;
mod leaf;
mod local_sql;
mod node;
mod ring;
mod server;
mod tripwire;
mod vitals;
mod wire;

pub use config::{ConfigError, ConfigFile, NodeConfig, NodeRoleName};
pub use identity::IdentityError;
pub use node::{StartError, run};
