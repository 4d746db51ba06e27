//! Where a row lives: its key, and the partition that holds it.

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Datum, Key, KeyError, StatementId, TableKind, TableSchema, encode_key, shard_ordinal};

pub(crate) fn key_error(error: KeyError) -> SqlError {
    SqlError::new(ErrorCode::TooBig, error.to_string())
}

/// The key of a row: its primary key, or the hidden row id of a table that has none.
/// `hidden` is the statement and the row's number in it, so that a retry writes the same key (S12).
///
/// # Errors
/// 1118 if the key is too long.
pub fn row_key(schema: &TableSchema, row: &[Datum], hidden: (StatementId, u32)) -> Result<Key, SqlError> {
    if schema.primary_key.is_empty() {
        let (statement, number) = hidden;
        let id = [Datum::Bytes(statement.0.to_be_bytes().to_vec()), Datum::UInt(number.into())];
        return encode_key(&id).map_err(key_error);
    }
    encode_key(schema.primary_key.iter().map(|position| value(row, *position))).map_err(key_error)
}

/// The ordinal, in `0..partitions`, of the partition that holds a row; 0 of a reference table.
#[must_use]
pub fn ordinal(schema: &TableSchema, row: &[Datum], key: &Key, partitions: u32) -> u32 {
    if schema.kind == TableKind::Reference {
        return 0;
    }
    if schema.shard_key.is_empty() {
        // Spread by the hidden row id.
        return shard_ordinal([&Datum::Bytes(key.clone())], partitions);
    }
    shard_ordinal(schema.shard_key.iter().map(|position| value(row, *position)), partitions)
}

fn value(row: &[Datum], position: usize) -> &Datum {
    row.get(position).unwrap_or(&Datum::Null)
}
