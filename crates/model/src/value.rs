//! A value, and a row of them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One value of one column, already of the column's type.
///
/// Equality and order are those of keys: by kind first, doubles by their total order, text by bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Datum {
    /// SQL NULL.
    Null,
    /// BOOL and the signed integers.
    Int(i64),
    /// The unsigned integers.
    UInt(u64),
    /// FLOAT and DOUBLE.
    Double(f64),
    /// DECIMAL: the unscaled number; the scale is the column's.
    Decimal(i128),
    /// CHAR, VARCHAR, TEXT and JSON.
    Text(String),
    /// BINARY, VARBINARY and BLOB.
    Bytes(Vec<u8>),
    /// DATE: days since 1970-01-01.
    Date(i32),
    /// DATETIME and TIMESTAMP: microseconds since 1970-01-01 00:00:00, without a time zone.
    DateTime(i64),
}

/// The values of a row, in the table's column order.
pub type Row = Vec<Datum>;

impl Datum {
    /// Whether this is SQL NULL.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The tag that says which kind this is, in keys and rows on disk. Never renumbered.
    pub(crate) const fn tag(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) => 1,
            Self::UInt(_) => 2,
            Self::Double(_) => 3,
            Self::Decimal(_) => 4,
            Self::Text(_) => 5,
            Self::Bytes(_) => 6,
            Self::Date(_) => 7,
            Self::DateTime(_) => 8,
        }
    }
}

impl Ord for Datum {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::UInt(a), Self::UInt(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::DateTime(a), Self::DateTime(b)) => a.cmp(b),
            _ => self.tag().cmp(&other.tag()),
        }
    }
}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Datum {}

/// For logs and scripts; SQL answers are formatted by column type, in the gateway.
impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(v) => write!(f, "{v}"),
            Self::UInt(v) => write!(f, "{v}"),
            Self::Double(v) => write!(f, "{v}"),
            Self::Decimal(v) => write!(f, "{v}e?"),
            Self::Text(v) => write!(f, "'{v}'"),
            Self::Bytes(v) => write!(f, "x'{} bytes'", v.len()),
            Self::Date(v) => write!(f, "day {v}"),
            Self::DateTime(v) => write!(f, "{v}us"),
        }
    }
}
