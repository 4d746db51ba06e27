//! Rows that are gathered to be evaluated together: not many, and not much.

use baton_model::limits::SCAN_BATCH_BYTES_MAX;
use baton_model::{Row, RowError, decode_row};

/// Rows that are evaluated together, at most.
const ROWS_MAX: usize = 1024;

/// Some rows.
#[derive(Default)]
pub struct Chunk {
    rows: Vec<Row>,
    /// As they were stored.
    bytes: usize,
}

impl Chunk {
    /// Takes a row as it is stored.
    ///
    /// # Errors
    /// If it is none.
    pub fn push(&mut self, stored: &[u8]) -> Result<(), RowError> {
        self.rows.push(decode_row(stored)?);
        self.bytes += stored.len();
        Ok(())
    }

    /// Whether it is time to evaluate them.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX || self.bytes >= SCAN_BATCH_BYTES_MAX
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use baton_model::{Datum, encode_row};

    use super::*;

    #[test]
    fn a_chunk_is_full_of_many_rows_or_of_big_ones() {
        let mut chunk = Chunk::default();
        let small = encode_row(&[Datum::Int(1)]);
        for _ in 1..ROWS_MAX {
            chunk.push(&small).unwrap();
        }
        assert!(!chunk.is_full());
        chunk.push(&small).unwrap();
        assert!(chunk.is_full());
        chunk.clear();
        assert!(!chunk.is_full() && chunk.rows().is_empty());
        chunk.push(&encode_row(&[Datum::Text("x".repeat(SCAN_BATCH_BYTES_MAX))])).unwrap();
        assert!(chunk.is_full());
    }
}
