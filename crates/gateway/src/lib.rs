//! The MySQL gateway: clients connect here, and a [`Session`] of ours answers them.
//!
//! * What a statement means is the session's business; how it travels is ours: handshake, passwords, packets,
//!   text and binary values, prepared statements, limits, and a clean end at shutdown.
//! * No byte a client sends can panic the process, hold a task for ever, or hurt another client.
//! * An error reaches the client with the number, SQLSTATE and text that the session gave it.
//! * A statement that is cut off by a shutdown is reported as unknown, never as failed (S12).
//!
//! The protocol lives in `wire` alone, written for this gateway. The library first chosen (`opensrv-mysql` 0.7)
//! cannot send error 1045 or numbers of our own, gives every column one character set and length, reports no
//! autocommit, and reads freed memory when a client sends two commands in one segment.
//! Not here: TLS, compression, several statements in one packet, cursors. None of them is advertised to clients.

mod connection;
pub mod limits;
mod literal;
mod lockout;
mod password;
mod serve;
mod session;
mod wire;

pub use password::PasswordHash;
pub use serve::{serve, serve_at_most};
pub use session::{Answer, AnswerColumn, Client, PreparedShape, Session, Sessions, TransactionStatus};
