//! What coordinator, home and participants say to each other.
//!
//! Every request may arrive twice, late, or not at all, and is sent again until it is answered.

use baton_model::{CatalogIndex, Epoch, Incarnation, NodeId, PartitionId, TransactionId};
use serde::{Deserialize, Serialize};

/// The name of one workspace of a transaction in a partition: never given to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The epoch of the primary that opened it.
    pub epoch: Epoch,
    /// The number that this primary gave it.
    pub number: u64,
}

/// Where a transaction is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Home {
    /// The partition.
    pub partition: PartitionId,
    /// The transaction's workspace there.
    pub place: Place,
}

/// Whose transaction it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The aggregator.
    pub aggregator: NodeId,
    /// The run of its process.
    pub incarnation: Incarnation,
    /// The catalog that it knew when the transaction began; in it, this run is its node's.
    pub began_at: CatalogIndex,
}

/// A question to the serving primary of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// "Keep what you have of it, whatever happens, until you know how it ends."
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// Its workspace here.
        place: Place,
        /// Who decides.
        home: Home,
    },
    /// To home: "commit it."
    Commit {
        /// The transaction.
        transaction: TransactionId,
        /// Its workspace here.
        place: Place,
        /// Who has prepared, and in which epoch.
        prepared: Vec<(PartitionId, Epoch)>,
    },
    /// "This is how it ended." For a transaction that is open and not prepared: "forget it."
    Finish {
        /// The transaction.
        transaction: TransactionId,
        /// Whether it is committed.
        commit: bool,
    },
    /// A participant to home: "how did it end?"
    Inquire {
        /// The transaction.
        transaction: TransactionId,
        /// Its workspace at home, as the prepared row says.
        place: Place,
    },
}

impl Request {
    /// The transaction that it is about.
    #[must_use]
    pub const fn transaction(&self) -> TransactionId {
        match self {
            Self::Prepare { transaction, .. }
            | Self::Commit { transaction, .. }
            | Self::Finish { transaction, .. }
            | Self::Inquire { transaction, .. } => *transaction,
        }
    }
}

/// An answer to a [`Request`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is prepared, and stays so.
    Prepared,
    /// It is committed.
    Committed,
    /// It is not committed, and never will be.
    Aborted,
    /// That is not known yet.
    Undecided,
    /// It may have been committed and forgotten.
    Forgotten,
    /// It is over here.
    Finished,
    /// This instance cannot say, or not yet. Nothing follows from it.
    NotPrimary,
    /// Too much waits here. Nothing follows from it.
    Busy,
}

impl Answer {
    /// Whether to ask again, whoever is the primary then.
    #[must_use]
    pub const fn is_to_be_asked_again(self) -> bool {
        matches!(self, Self::NotPrimary | Self::Busy | Self::Undecided)
    }
}
