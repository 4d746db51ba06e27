//! The gateway's limits, each with its name. Those that other floors share are in `baton_model::limits`.

use std::time::Duration;

/// How long a client may take from its connection to the end of its authentication.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may say nothing between two commands (`wait_timeout`).
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(8 * 60 * 60);
/// How long a client may pause within a packet (`net_read_timeout`).
pub const NET_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take none of the bytes of an answer (`net_write_timeout`).
pub const NET_WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a statement that is running may go on after the shutdown began.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// How long a connection that ends in an error is drained, so that the client can read the error.
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a handshake packet, at most; connection attributes make most of it.
pub const HANDSHAKE_BYTES_MAX: usize = 1 << 17;
/// Prepared statements of one connection, at most.
pub const PREPARED_MAX: usize = 1024;
/// Parameters of one prepared statement, and columns of one answer, at most.
pub const FIELDS_MAX: usize = u16::MAX as usize;
/// Bytes of answers that are gathered before they are sent.
pub const WRITE_BUFFER_BYTES: usize = 64 << 10;
