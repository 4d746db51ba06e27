//! Names of things, as numbers that are never reused.
//!
//! Each id is its own type, so that a node can never be mistaken for a table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl $name {
            /// The next number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number!(
    /// A node of the cluster. Given out by the catalog at `ADD LEAF` or `ADD AGGREGATOR`, never reused.
    /// Zero means "not in a cluster yet".
    NodeId, u64, "n"
);
number!(
    /// A database. Never reused, so that a dropped and re-created database has another id.
    DatabaseId, u64, "d"
);
number!(
    /// A table. Never reused.
    TableId, u64, "t"
);
number!(
    /// The per-partition number that goes up by one at every change or renewal of its primary (S1).
    Epoch, u64, "e"
);
number!(
    /// A position in a partition's log. The first record has LSN 1; 0 means "empty log".
    Lsn, u64, "@"
);
number!(
    /// The version of the catalog: the index of the last command applied to it.
    CatalogIndex, u64, "#"
);
number!(
    /// One run of a node's process. Drawn at random at each start, so that a quick restart is noticed.
    Incarnation, u64, "i"
);
number!(
    /// One life of a node's data directory. Drawn at random when the directory is made, so that a lost disk is noticed.
    StoreId, u64, "s"
);

/// A cluster. Drawn at random at `BOOTSTRAP AGGREGATOR`; travels with every message (S10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One statement of one client, drawn at random where it enters the cluster.
/// A retry carries the same id and is answered with the first outcome (S12).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StatementId(pub u128);

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transaction over several statements or partitions, named where it begins. Younger ones are greater: the upper half
/// is the wall clock at its begin, the rest is drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TransactionId(pub u128);

impl TransactionId {
    /// A transaction that begins now: microseconds since 1970 UTC, and random bits.
    #[must_use]
    pub const fn new(begun_us: u64, random: u64) -> Self {
        Self((begun_us as u128) << 64 | random as u128)
    }

    /// When it began: microseconds since 1970 UTC, by the clock of its aggregator.
    #[must_use]
    pub const fn begun_us(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TransactionId {
    type Err = std::num::ParseIntError;

    /// The 32 hexadecimal digits that it prints.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl TableId {
    /// From here on, tables are the cluster's own: no schema names them, and no statement reaches them. Their rows are
    /// replicated, copied and cut like all others.
    pub const INTERNAL: Self = Self(u64::MAX - 255);

    /// Whether it is one of the cluster's own.
    #[must_use]
    pub const fn is_internal(self) -> bool {
        self.0 >= Self::INTERNAL.0
    }
}

/// One partition of one database. Its ordinal is in `0..partitions` of the database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The database it is a part of.
    pub database: DatabaseId,
    /// Its number within the database, from 0.
    pub ordinal: u32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.database, self.ordinal)
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
