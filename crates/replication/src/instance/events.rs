//! What an instance is told, and what it says it wants done.
//!
//! Effects are carried out in order. [`Effect::Append`] need not be durable when the next effect runs; that is what
//! [`Effect::Sync`] and [`Event::Durable`] are for, and nothing is acknowledged before them (S2).
//!
//! Not here: what is made of an event, how both read in scripts and logs (`print.rs`), and what replicas and primaries
//! say to each other (`message.rs`).

use std::fmt;
use std::time::Duration;

use baton_model::{Epoch, Lsn, NodeId, StatementId, SyncState};

use crate::hand_over::HandOverError;
use crate::history::History;
use crate::message::Message;
use crate::outcomes::StatementOutcome;
use crate::record::{Record, Write};
use crate::view::View;

/// What an instance found on its disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Saved {
    /// The newest epoch it knew.
    pub epoch: Epoch,
    /// The epochs of its log. Entries beyond `last` are left over from a write that was not finished.
    pub history: History,
    /// The first LSN whose record it still has; `last + 1` if it has none.
    pub first: Lsn,
    /// The end of its log.
    pub last: Lsn,
    /// About how many bytes its log has.
    pub log_bytes: u64,
    /// Its rows are as of this LSN.
    pub applied: Lsn,
    /// The records after `applied`, in order.
    pub unapplied: Vec<Record>,
    /// The statements that [`Effect::InstallCopy`] or [`Effect::SaveOutcomes`] came with, and those of its log, oldest
    /// first.
    pub outcomes: Vec<(StatementId, StatementOutcome)>,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The catalog says this now.
    View(View),
    /// A client's write, its rows locked; the ticket comes back with the reply.
    Write {
        /// Names the write in the reply.
        ticket: u64,
        /// The epoch in which this instance served when the write was begun. In another one the rows that it was made
        /// of may have changed, although its locks were held all the time: it is refused.
        epoch: Epoch,
        /// What to write.
        write: Write,
    },
    /// A retry of a statement that the log holds already; answered like the write itself (S12).
    Await {
        /// Names the retry in the reply.
        ticket: u64,
        /// The statement.
        statement: StatementId,
    },
    /// The master aggregator is about to make a replica the primary, as planned: no new write is taken from now on, and
    /// [`Effect::Drained`] says when all that was taken before is committed, or that it was not in time. If no other
    /// primary is named after that, this one goes on, whatever became of the plan.
    HandOver {
        /// Names the plan in the answer.
        ticket: u64,
        /// The epoch that is to end.
        epoch: Epoch,
        /// The replica.
        to: NodeId,
        /// What is under way must end within this, or writes are taken again.
        drain: Duration,
        /// After it has ended, writes are taken again if nobody else is named within this.
        hold: Duration,
    },
    /// The answer to [`Effect::Sync`], with its numbers.
    Durable {
        /// The log is durable up to here, as the database's durability demands.
        lsn: Lsn,
        /// How often the log had been cut, or had come to be synced, when the sync was asked for.
        cuts: u64,
    },
    /// The link that this replica asked for is open.
    LinkUp {
        /// The primary.
        peer: NodeId,
        /// The link; every link has another number.
        link: u64,
    },
    /// A message came in on a link.
    Received {
        /// The sender.
        peer: NodeId,
        /// The link.
        link: u64,
        /// The message.
        message: Message,
    },
    /// A link is gone.
    LinkDown {
        /// Who was on the other side.
        peer: NodeId,
        /// The link.
        link: u64,
    },
    /// The answer to [`Effect::ReadLog`].
    LogRead {
        /// The replica it was read for.
        peer: NodeId,
        /// The link it was read for.
        link: u64,
        /// Records with consecutive LSNs; none if they are gone.
        records: Vec<Record>,
    },
    /// The answer to [`Effect::Provision`]: there is a copy that the replica can fetch.
    CopyReady {
        /// The replica.
        peer: NodeId,
        /// The link.
        link: u64,
        /// The number of the copy. No other copy that this node makes or made has it.
        copy: u64,
        /// Its rows are as of this LSN.
        at: Lsn,
        /// The epochs of the log when it was made. It may be an older one, kept since.
        history: History,
    },
    /// The answer to [`Effect::FetchCopy`]: all of the copy is on this disk, and it is what the primary made.
    CopyHere {
        /// The number of the copy.
        copy: u64,
    },
    /// The log is to be cut at its applied end, as far as no replica is about to ask for it.
    Snapshot,
    /// Some time has passed.
    Tick,
}

/// What to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write down the newest epoch and the epochs of the log. Comes before the records that need it.
    SaveEpochs {
        /// The newest epoch known (S5).
        epoch: Epoch,
        /// The epochs of the log.
        history: History,
    },
    /// Append to the log.
    Append(Vec<Record>),
    /// Cut everything after this LSN.
    Truncate(Lsn),
    /// Make everything so far durable, then say [`Event::Durable`] with these numbers.
    Sync {
        /// The end of the log.
        lsn: Lsn,
        /// How often the log was cut so far, or came to be synced: what was durable before a cut proves nothing of what
        /// came after it, and what was handed to the system before `SYNC DURABILITY` proves nothing of the disk.
        cuts: u64,
    },
    /// Write the rows of these records, with the LSN of the last.
    Apply(Vec<Record>),
    /// Forget the records before this LSN.
    Trim(Lsn),
    /// Write down the statements that are remembered and whose records are about to be forgotten, in the place of what
    /// was so written before: they come back before those of the log in [`Saved::outcomes`] (S12).
    SaveOutcomes(Vec<(StatementId, StatementOutcome)>),
    /// Send a message on a link. If the link is full or gone, say [`Event::LinkDown`].
    Send {
        /// The receiver.
        peer: NodeId,
        /// The link.
        link: u64,
        /// The message.
        message: Message,
    },
    /// Read records from this LSN on and answer with [`Event::LogRead`].
    ReadLog {
        /// For this replica.
        peer: NodeId,
        /// On this link.
        link: u64,
        /// The first LSN.
        from: Lsn,
    },
    /// Have a copy of all rows ready to be fetched, then say [`Event::CopyReady`]. It takes as long as it takes. If it
    /// cannot be made, close the link and say [`Event::LinkDown`].
    Provision {
        /// For this replica.
        peer: NodeId,
        /// On this link.
        link: u64,
        /// An older copy is of no use: the log after it is gone.
        at_least: Lsn,
        /// Whether it must be made now. Else one that was made before and kept will do, if it fits.
        fresh: bool,
    },
    /// Keep a link open to this node, and to no other; None: to nobody.
    Link(Option<NodeId>),
    /// Close a link, whoever opened it.
    CloseLink {
        /// Who is on the other side.
        peer: NodeId,
        /// The link.
        link: u64,
    },
    /// Answer a write.
    Reply {
        /// The write.
        ticket: u64,
        /// How it went.
        result: Result<StatementOutcome, WriteError>,
    },
    /// Tell the master aggregator that a replica keeps this primary waiting. What is done about it is decided there (S3).
    ReportLag {
        /// The epoch of this primary.
        epoch: Epoch,
        /// The version it acts under.
        version: u64,
        /// The replica.
        replica: NodeId,
        /// How it lags.
        lag: Lag,
    },
    /// Answer [`Event::HandOver`]: nothing is under way up to this LSN any more, or why it was not to be.
    Drained {
        /// The plan.
        ticket: u64,
        /// The end of the log.
        result: Result<Lsn, HandOverError>,
    },
    /// Ask the master aggregator to move a replica to this state, `Ready` or `Sync`.
    RequestSyncState {
        /// The epoch of this primary.
        epoch: Epoch,
        /// The version it acts under.
        version: u64,
        /// The replica.
        replica: NodeId,
        /// The state.
        state: SyncState,
        /// Why, for people.
        reason: String,
    },
    /// Tell the master aggregator that everything acknowledged is synced on every member of the in-sync set.
    RequestSynced {
        /// The epoch of this primary.
        epoch: Epoch,
        /// The version it acts under.
        version: u64,
    },
    /// From now on clients may read and write here, or may not any more.
    Serve(bool),
    /// Fetch this copy, beside what is here, then say [`Event::CopyHere`]. What was received of it before counts, also
    /// before a restart. If it cannot be had, close the link and say [`Event::LinkDown`]. Whatever else was being fetched
    /// is not wanted any more.
    FetchCopy {
        /// From this primary.
        peer: NodeId,
        /// The link that it is about.
        link: u64,
        /// The number of the copy.
        copy: u64,
    },
    /// Let a copy that is here take the place of everything that this instance has: its rows, an empty log after them,
    /// its epochs, and the statements that it remembers, which have no record in that log and come back before those of
    /// the log in [`Saved::outcomes`] (S12). After a crash before the end, the instance is as before, or empty.
    InstallCopy {
        /// The number of the copy.
        copy: u64,
        /// Its rows are as of this LSN.
        at: Lsn,
        /// The newest epoch known (S5).
        epoch: Epoch,
        /// The epochs of the log up to there (S6).
        history: History,
        /// The statements up to there, oldest first.
        outcomes: Vec<(StatementId, StatementOutcome)>,
    },
    /// Something that people should know was seen; the instance goes on.
    Report(String),
    /// Something that must never be was seen: stop this instance and report it.
    Halt(String),
}

/// How a replica keeps its primary waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lag {
    /// How long it has owed an acknowledgement, without what the primary itself slept (S11).
    pub silent: Duration,
    /// Whether it has a link to the primary.
    pub linked: bool,
    /// How many writes of clients wait for it.
    pub waiting_writes: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait: Duration,
}

/// Why a write was not carried out by this instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// This instance is no primary that serves, or not in the write's epoch. Nothing was done.
    NotPrimary,
    /// Too many writes wait for their commit. Nothing was done.
    TooManyInFlight,
    /// It is about to hand over to another instance. Nothing was done.
    HandingOver,
    /// It stopped being the primary while the write waited: the write is lost or will be committed by the next
    /// primary, which knows by the statement's id (S12).
    Deposed,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPrimary => "this instance is not the primary",
            Self::TooManyInFlight => "too many writes of this partition wait for their commit",
            Self::HandingOver => "this instance is about to hand over to another one",
            Self::Deposed => "this instance stopped being the primary before the write was committed",
        })
    }
}

impl std::error::Error for WriteError {}
