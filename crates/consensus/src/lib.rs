//! The control group: a Raft group of aggregators that agrees on the catalog's entries.
//!
//! openraft decides what is committed; this crate gives it a log and a state machine on disk, a wire, and nothing to
//! decide by itself: it holds no election unless [`ControlGroup::campaign`] is called.
//!
//! What it guarantees:
//! * An entry that was answered is on the disks of a majority, and every member applies the same entries in the same
//!   order. The index of an entry in the group's log is its [`baton_model::CatalogIndex`].
//! * S1: what is in force in the cluster is what was committed here, and nothing else.
//! * S10: a member that was cut off from the majority for longer than the lease does not call itself leader
//!   ([`Status::is_leader`]) and refuses to propose, long before anybody may have been elected in its place; a term has
//!   at most one leader, so that a term names a master aggregator.
//! * A proposal whose fate is not known is answered with [`ProposeError::Unknown`], never as failed (S12).
//! * A member that cannot read or write its disk stops ([`Status::fault`]); it does not go on with half a log.
//!
//! Not here: when to campaign (the `election` decision point), who is to be a member (the catalog's commands), and how
//! bytes travel ([`RaftWire`], which `transport` carries out).

mod config;
mod errors;
mod feed;
mod group;
mod log_store;
mod messages;
mod network;
mod server;
mod state_machine;
mod status;
mod types;

pub use config::ControlConfig;
pub use errors::{HandleError, MembershipError, OpenError, ProposeError, WireError};
pub use feed::{CatalogFeed, Feed};
pub use group::ControlGroup;
pub use network::RaftWire;
pub use status::Status;
pub use types::Address;
