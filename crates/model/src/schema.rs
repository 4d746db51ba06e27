//! The shape of a table.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{DatabaseId, TableId};

/// The type of a column, as declared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ColumnType {
    /// BOOL; MySQL's TINYINT(1).
    Bool,
    /// TINYINT, SMALLINT, MEDIUMINT, INT and BIGINT: 8, 16, 24, 32 or 64 bits.
    Int {
        /// 8, 16, 24, 32 or 64.
        bits: u8,
        /// Whether it was declared UNSIGNED.
        unsigned: bool,
    },
    /// FLOAT; kept as a double.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL(precision, scale); precision 1..=38, scale 0..=precision.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// CHAR(n), n characters.
    Char(u32),
    /// VARCHAR(n), n characters.
    Varchar(u32),
    /// TEXT and its relatives.
    Text,
    /// BINARY(n) and VARBINARY(n), n bytes.
    Varbinary(u32),
    /// BLOB and its relatives.
    Blob,
    /// DATE.
    Date,
    /// DATETIME(6).
    DateTime,
    /// TIMESTAMP(6), kept in UTC.
    Timestamp,
    /// JSON, kept as the text that was given after a check that it is JSON.
    Json,
}

/// As `SHOW COLUMNS` prints it.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("tinyint(1)"),
            Self::Int { bits, unsigned } => {
                let name = match bits {
                    8 => "tinyint",
                    16 => "smallint",
                    24 => "mediumint",
                    32 => "int",
                    _ => "bigint",
                };
                write!(f, "{name}{}", if *unsigned { " unsigned" } else { "" })
            }
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Char(n) => write!(f, "char({n})"),
            Self::Varchar(n) => write!(f, "varchar({n})"),
            Self::Text => f.write_str("text"),
            Self::Varbinary(n) => write!(f, "varbinary({n})"),
            Self::Blob => f.write_str("blob"),
            Self::Date => f.write_str("date"),
            Self::DateTime => f.write_str("datetime(6)"),
            Self::Timestamp => f.write_str("timestamp(6)"),
            Self::Json => f.write_str("JSON"),
        }
    }
}

/// One column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its name as declared; names compare without case.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// The literal or function (`CURRENT_TIMESTAMP`) of its DEFAULT clause, as SQL text.
    pub default: Option<String>,
    /// Whether it is AUTO_INCREMENT. At most one column of a table is.
    pub auto_increment: bool,
}

/// Where a table's rows live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TableKind {
    /// In the partitions of its database, by the hash of the shard key.
    Sharded,
    /// In full on every node, written through the master aggregator.
    Reference,
}

/// A table's definition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableSchema {
    /// Its id, never reused.
    pub id: TableId,
    /// The database it belongs to.
    pub database: DatabaseId,
    /// Its name as declared; names compare without case.
    pub name: String,
    /// Where its rows live.
    pub kind: TableKind,
    /// Its columns in order, at least one.
    pub columns: Vec<Column>,
    /// The columns of the primary key, by position. Empty: rows are told apart by a hidden row id,
    /// made of the statement's id and the row's number in it, so that a retry writes the same key.
    pub primary_key: Vec<usize>,
    /// The columns of the shard key, by position; a subset of the primary key if there is one.
    /// Empty on a sharded table: rows are spread by their hidden row id.
    pub shard_key: Vec<usize>,
}

impl TableSchema {
    /// The position of a column, by its name without case.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The position of the AUTO_INCREMENT column.
    #[must_use]
    pub fn auto_increment(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.auto_increment)
    }
}
