//! How nodes talk: calls and streams over gRPC, and heartbeats on threads of their own.
//!
//! One listener serves both; the first four bytes of a connection tell which it is.
//! Every message carries who sent it, of which cluster, and what it knows ([`Header`]); what does not belong here is
//! refused before anybody looks at it (S10).
//! A failed [`Peers::call`] says whether the request surely did not reach the peer, so that nothing is retried
//! blindly (S12).
//! Not here: what the messages mean. Bodies are bytes, typed where they are made and understood.

mod clock;
mod header;
pub mod heartbeat;
mod peers;
mod server;
mod stream;
mod wire;

pub use clock::Clock;
pub use header::{CallRefused, Header, Identity, Member, Refusal, WIRE_VERSION, check};
pub use peers::{CallError, Peers};
pub use server::{Handler, RpcServer, ServeError};
pub use stream::{Inbound, Outbound, StreamLost};

pub use baton_model::limits::MESSAGE_BYTES_MAX;
