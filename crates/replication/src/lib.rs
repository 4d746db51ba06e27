//! One partition instance's protocol: append, acknowledge, commit, catch up, take over, step down.
//!
//! An [`Instance`] is told what happened ([`Event`]) and says what it wants done ([`Effect`]).
//! The primary gives each write an LSN, has it made durable here and on every in-sync replica, then commits and
//! answers; a replica follows the one primary of its epoch and cuts its log by epoch history alone.
//!
//! * S2: the commit point is the least durable LSN of the whole in-sync set.
//! * S3: a replica is waited for until the catalog says `Async` at a version that no older request can follow. A primary
//!   reports that it waits, and has no say in for how long.
//! * S5: what carries an older epoch is refused.
//! * S6: a log is cut at the last LSN that both epoch histories agree on.
//! * S11: a primary that slept holds the time it slept against nobody.
//! * S9: a [transaction] over several partitions is all or nothing.
//! * S12: a statement that the log holds is never executed again; it is answered with its first outcome.
//!
//! Not here: rows and how a statement becomes mutations, disks, sockets, and any say in who is primary.

mod hand_over;
mod history;
mod instance;
mod locks;
mod message;
mod outcomes;
mod primary;
mod print;
mod record;
mod replica;
mod sizes;
pub mod transaction;
mod view;

pub use hand_over::HandOverError;
pub use history::History;
pub use instance::{Effect, Event, Instance, Lag, Saved, WriteError};
pub use locks::{Grant, LockTable, Owner, RowKey, deadlock};
pub use message::Message;
pub use outcomes::{Known, StatementOutcome};
pub use primary::{LAG_REPORT_AFTER, TICK_GAP_MAX};
pub use record::{Mutation, Payload, Record, Write};
pub use view::{Settings, View};
