//! What primary and replica say to each other. The replica opens the conversation.

use std::fmt;

use baton_model::{Epoch, Lsn, StatementId};
use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::outcomes::StatementOutcome;
use crate::record::Record;

/// One message. Every one carries the sender's epoch (S5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Replica to primary: the first message of a link. "This is my log; where do we go on?"
    Follow {
        /// The newest epoch that the replica knows.
        epoch: Epoch,
        /// The epochs of its log.
        history: History,
        /// The end of its log.
        last: Lsn,
    },
    /// Primary to replica: "Keep your log up to here; what you have beyond is not mine."
    Start {
        /// The primary's epoch.
        epoch: Epoch,
        /// The last LSN that both have in common.
        keep: Lsn,
    },
    /// Primary to replica: "You need a copy of all I have. Fetch this one, and let it replace everything you have."
    /// The replica's first acknowledgement after it says that this is done.
    Provision {
        /// The primary's epoch.
        epoch: Epoch,
        /// The copy, by its number.
        copy: u64,
        /// Its rows are as of this LSN.
        at: Lsn,
        /// The epochs of the primary's log up to there.
        history: History,
        /// The statements that the primary remembers (S12).
        outcomes: Vec<(StatementId, StatementOutcome)>,
    },
    /// Primary to replica: the next records, possibly none, and the commit point.
    Append {
        /// The primary's epoch.
        epoch: Epoch,
        /// The LSN before the first record.
        after: Lsn,
        /// Records with consecutive LSNs.
        records: Vec<Record>,
        /// Everything up to here is committed.
        commit: Lsn,
    },
    /// Replica to primary: "I have everything up to here, durable."
    Ack {
        /// The replica's epoch.
        epoch: Epoch,
        /// The last durable LSN.
        durable: Lsn,
        /// Whether durable means synced; else, handed to the operating system. The replica says which, because the two
        /// sides may have heard of another durability of the database at different times (S2).
        synced: bool,
    },
    /// Either way: "I know a newer epoch; I do not talk to you."
    Refused {
        /// The newer epoch.
        epoch: Epoch,
    },
}

impl Message {
    /// The sender's epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Follow { epoch, .. }
            | Self::Start { epoch, .. }
            | Self::Provision { epoch, .. }
            | Self::Append { epoch, .. }
            | Self::Ack { epoch, .. }
            | Self::Refused { epoch } => *epoch,
        }
    }
}

/// In the house notation, for scripts and logs.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follow { epoch, history, last } => write!(f, "Follow {epoch} last={last} [{history}]"),
            Self::Start { epoch, keep } => write!(f, "Start {epoch} keep={keep}"),
            Self::Provision { epoch, copy, at, history, .. } => {
                write!(f, "Provision {epoch} copy {copy} at={at} [{history}]")
            }
            Self::Append { epoch, after, records, commit } => {
                write!(f, "Append {epoch} after={after} {} records commit={commit}", records.len())
            }
            Self::Ack { epoch, durable, synced } => {
                write!(f, "Ack {epoch} {}={durable}", if *synced { "durable" } else { "written" })
            }
            Self::Refused { epoch } => write!(f, "Refused {epoch}"),
        }
    }
}
