//! Transactions over several statements and partitions: all or nothing, through every failover (S9).
//!
//! While a transaction runs, what it writes to a partition is in its workspace, in the memory of that partition's
//! primary, with its locks. Nothing of it is replicated. Its coordinator, the aggregator of the client, ends it:
//!
//! * One participant: one [`Write`](crate::Write) with all of it. That is the commit.
//! * Several: one of them is the *home*. Each other one **prepares**: a write that puts the transaction's mutations
//!   into the row of an internal table ([`PREPARED`]). When all have, home **decides**: one write with its own mutations
//!   and a row of another internal table ([`DECIDED`]); when that is committed, so is the transaction. Then each other
//!   one **finishes**: a write with the prepared mutations that also takes the prepared row away.
//!
//! All of that are ordinary records, so replicas, copies, cuts and restarts know nothing of transactions.
//! There is no other state: a coordinator that is gone left nothing behind that anybody needs.
//!
//! [`Participant`] is what a primary does in one epoch, [`Coordinator`] what an aggregator does for one commit.
//! Both are steps without IO. Statements are the shell's: it enters, locks, reads the overlay, and puts mutations.
//!
//! # Why it is all or nothing
//!
//! A [`Place`] names one workspace: the epoch, and a number that this primary gives to no other workspace in it.
//! Every prepared row names home and the place of the transaction's workspace there.
//!
//! 1. *Only one thing can commit.* The decision is written by a primary of home in the epoch of the place, out of that
//!    workspace, if the coordinator asks for exactly that place. A workspace is gone for good when it is dropped, when
//!    its decision is written, and when its epoch ends: whatever is opened again, by a late message for instance, has
//!    another place.
//! 2. *The decision comes last.* The coordinator asks for it once every other participant has said that its prepared
//!    row is committed. So from the decision on, and until they finish, every one of them has that row, whoever is its
//!    primary: the row is applied before a primary serves, and its keys are locked before that ([`Participant::take_over`]).
//! 3. *Home's answer is final.* Whoever has a prepared row and hears no more asks home ([`Request::Inquire`]). Home's
//!    primary answers in an epoch not older than the place's, while it serves, so that everything of older epochs that
//!    can ever be committed is applied there (its epoch's first record is).
//!    * The decided row is applied: *committed*. It was committed before it was applied (S2), and stays.
//!    * The workspace lives, or its decision is in the log and not committed: *undecided*, ask again.
//!    * Neither: *aborted*. In the place's own epoch the workspace is gone, and with it the only source of a decision
//!      (1). This holds even if this primary was deposed and does not know it: the workspace was in this very process.
//!      In a later epoch, the decision is in no log that this one grew from, and every later one grows from this.
//!      It is looked up after the memory was: a decision that has left the memory is in the rows by then.
//! 4. *Nobody else may say "aborted".* The coordinator does so only if it never asked for the decision, or if home
//!    answered "aborted". Time says nothing: a participant that hears nothing asks again, for as long as it takes.
//! 5. *Late messages.* A prepare that arrives after its transaction was aborted finds no workspace of its place, or
//!    prepares, asks home, and is told. A repeated prepare finds the prepared row. A repeated decision finds the decided
//!    row. A finish finds the prepared row, or that somebody else has finished. What was prepared by a primary that was
//!    deposed meanwhile is in the next one's log, and so prepared, or in none, and so gone with its workspace.
//! 6. *The decided row is kept* as the answer to whoever lost it (S12). It goes, oldest first, when there are many
//!    newer ones, and only after every other participant was asked, in an epoch not older than that in which it
//!    prepared, and had no such prepared row (see [`Decided`]). Ids up to [`HORIZON`] may have been forgotten; about
//!    them a coordinator or client is told "forgotten", never "aborted". A participant is told "aborted" all the same:
//!    as long as it has the prepared row, nothing was forgotten.
//! 7. *Dropped tables and databases.* A transaction writes to one database, so home goes when all go. Rows of a table
//!    that was dropped between prepare and finish are nobody's, as those of any write that was on its way.
//!
//! So a participant finishes as home decided, home decides once, and readers of a key that is prepared wait for that
//! ([`Participant::in_doubt`]): what was acknowledged is seen.

mod coordinator;
mod message;
mod participant;
mod print;
mod rows;
mod workspace;

pub use coordinator::{CommitOutcome, Coordinator, CoordinatorEffect, CoordinatorEvent};
pub use message::{Answer, Home, Origin, Place, Request};
pub use participant::{
    Aggregators, Participant, ParticipantEffect, ParticipantEvent, Refused, Standing, TransactionSettings,
    WriteOutcome,
};
pub use rows::{
    DECIDED, Decided, HORIZON, PREPARED, Prepared, horizon, horizon_mutation, key_of, transaction_of,
};
pub use workspace::{Overlay, Workspace};
