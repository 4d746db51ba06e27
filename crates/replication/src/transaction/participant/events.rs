//! What a participant is told, and what it says it wants done.
//!
//! Not here: statements, whose calls are answered at once, and how events and effects read in scripts (`print.rs`).

use baton_model::TransactionId;

use super::Aggregators;
use crate::locks::Owner;
use crate::record::Write;
use crate::transaction::message::{Answer, Home, Request};

/// What became of an [`ParticipantEffect::Write`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// It is committed and applied.
    Done,
    /// It is in no log: too much waits.
    Busy,
    /// This instance is the primary no more; whether it is committed, the next one knows.
    Deposed,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum ParticipantEvent {
    /// A request came in; the ticket comes back with the answer.
    Request {
        /// Names it in the answer.
        ticket: u64,
        /// The request.
        request: Request,
    },
    /// The answer to [`ParticipantEffect::Write`].
    Written {
        /// The transaction.
        transaction: TransactionId,
        /// What became of it.
        outcome: WriteOutcome,
    },
    /// Home's answer to [`ParticipantEffect::Ask`]: Committed, Aborted, or anything else to ask again.
    Told {
        /// The transaction.
        transaction: TransactionId,
        /// The answer.
        answer: Answer,
    },
    /// The catalog says this of the aggregators now.
    Aggregators(Aggregators),
    /// Its aggregator says that it does not run this transaction.
    NotRunning(TransactionId),
    /// Some time has passed.
    Tick,
}

/// What to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum ParticipantEffect {
    /// Answer a request.
    Answer {
        /// The request.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// Look for the transaction's row in [`DECIDED`](crate::transaction::DECIDED) now, while this instance serves in
    /// this epoch, and answer the request: `Committed` if it is there. If it is not: `Forgotten`, if that is asked for
    /// and the transaction is not younger than [`HORIZON`](crate::transaction::HORIZON); `Aborted` otherwise. If the
    /// instance does not serve any more after the look, `NotPrimary`.
    AnswerFromRows {
        /// The request.
        ticket: u64,
        /// The transaction.
        transaction: TransactionId,
        /// Whether it may have been forgotten.
        may_be_forgotten: bool,
    },
    /// Have this committed in this epoch, and say [`ParticipantEvent::Written`].
    Write {
        /// The transaction.
        transaction: TransactionId,
        /// What to write.
        write: Write,
    },
    /// Send [`Request::Inquire`] to home's primary, and say [`ParticipantEvent::Told`]; no answer needs no event.
    Ask {
        /// The transaction.
        transaction: TransactionId,
        /// Whom to ask.
        home: Home,
    },
    /// These owners have the locks that they waited for.
    Granted(Vec<Owner>),
    /// The transaction is over here: whoever waits for one of its locks, as it or with it, is to look again.
    Over(TransactionId),
    /// Something that is worth a log line.
    Report(String),
}
