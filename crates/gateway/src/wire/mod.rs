//! The MySQL client/server protocol, version 10 with 4.1 packets: bytes in, bytes out, and no decisions.
//!
//! Source: the "MySQL Client/Server Protocol" pages of the MySQL source documentation; where they and the server
//! differ, the server.

mod binary;
mod bytes;
mod calendar;
mod command;
mod handshake;
mod packet;
mod parameters;
mod reply;
mod text;

pub(crate) use command::{ChangeUser, Command};
pub(crate) use handshake::{HandshakeResponse, auth_switch, greeting};
pub(crate) use packet::{PacketStream, WireError, single_frame};
pub(crate) use parameters::{Bound, decode_parameters};
pub(crate) use reply::{Rendering, Replies, error_packet};

/// What a client and this server agree on, as bits.
pub(crate) mod capability {
    /// The 4.1 handshake's companion of old; every client sets it.
    pub(crate) const LONG_PASSWORD: u32 = 1;
    /// The count of an UPDATE is that of the rows found, and not only of those changed.
    pub(crate) const FOUND_ROWS: u32 = 1 << 1;
    /// Column flags have two bytes.
    pub(crate) const LONG_FLAG: u32 = 1 << 2;
    /// The handshake may name a database.
    pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
    /// The 4.1 packets; required.
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    /// TLS; not advertised.
    pub(crate) const SSL: u32 = 1 << 11;
    /// The server's status has transaction bits.
    pub(crate) const TRANSACTIONS: u32 = 1 << 13;
    /// Proofs of 20 bytes; required.
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    /// The handshake names authentication plugins.
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    /// The handshake carries attributes of the client.
    pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;
    /// The proof's length is a length-encoded integer.
    pub(crate) const PLUGIN_AUTH_LENENC_DATA: u32 = 1 << 21;
    /// Answers end in OK packets.
    pub(crate) const DEPRECATE_EOF: u32 = 1 << 24;

    /// What this server can do.
    pub(crate) const OURS: u32 = LONG_PASSWORD
        | FOUND_ROWS
        | LONG_FLAG
        | CONNECT_WITH_DB
        | PROTOCOL_41
        | TRANSACTIONS
        | SECURE_CONNECTION
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC_DATA
        | DEPRECATE_EOF;
}

/// `SERVER_STATUS_AUTOCOMMIT`: every statement commits by itself.
pub(crate) const STATUS_AUTOCOMMIT: u16 = 2;
/// `SERVER_STATUS_IN_TRANS`: a transaction is open.
pub(crate) const STATUS_IN_TRANSACTION: u16 = 1;
