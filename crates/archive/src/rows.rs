//! Rows in a file of a backup: independent of where they came from and of where they go.
//!
//! `BATONROW` and the number of the format, then each row as `table (8) · bytes of the key (4) · bytes of the row (4) ·
//! key · row`, numbers big-endian. The bytes of key and row are those of the model's codecs. Files are checked as a whole,
//! by the manifest.

use baton_model::TableId;

const MAGIC: &[u8] = b"BATONROW\x01";
const HEAD_BYTES: usize = 16;

/// A file that grows.
#[derive(Debug)]
pub struct RowsFile {
    bytes: Vec<u8>,
    rows: u64,
}

impl Default for RowsFile {
    fn default() -> Self {
        Self { bytes: MAGIC.to_vec(), rows: 0 }
    }
}

impl RowsFile {
    /// Adds a row.
    pub fn push(&mut self, table: TableId, key: &[u8], row: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a row has less than 4 GB");
        self.bytes.extend(table.0.to_be_bytes());
        self.bytes.extend(length(key).to_be_bytes());
        self.bytes.extend(length(row).to_be_bytes());
        self.bytes.extend(key);
        self.bytes.extend(row);
        self.rows += 1;
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// All of it, and how many rows it has.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, u64) {
        (self.bytes, self.rows)
    }
}

/// A row of a file: its table, its key and its bytes.
pub type ArchivedRow<'a> = (TableId, &'a [u8], &'a [u8]);

/// The rows of a file.
///
/// # Errors
/// If it is none of this format.
pub fn read_rows(bytes: &[u8]) -> Result<Vec<ArchivedRow<'_>>, String> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("it is no file of rows of this version")?;
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<HEAD_BYTES>().ok_or("it ends within a row")?;
        let (table, lengths) = head.split_first_chunk::<8>().ok_or("it ends within a row")?;
        let length = |at: usize| lengths[at..at + 4].iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let (key, after) = after.split_at_checked(length(0)).ok_or("it ends within a key")?;
        let (row, after) = after.split_at_checked(length(4)).ok_or("it ends within a row")?;
        rows.push((TableId(u64::from_be_bytes(*table)), key, row));
        rest = after;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows: [(TableId, &[u8], &[u8]); 3] =
            [(TableId(1), b"a", b"1"), (TableId(u64::MAX), b"", b""), (TableId(2), b"key", &[7; 100_000])];
        let mut file = RowsFile::default();
        assert!(file.is_empty());
        rows.iter().for_each(|(table, key, row)| file.push(*table, key, row));
        let (bytes, count) = file.finish();
        assert_eq!(count, 3);
        assert_eq!(read_rows(&bytes).unwrap(), rows);
        assert!(read_rows(&RowsFile::default().finish().0).unwrap().is_empty());
        // Cut anywhere within a row, it is none.
        for cut in [0, 5, MAGIC.len() + 3, MAGIC.len() + HEAD_BYTES + 1, bytes.len() - 1] {
            assert!(read_rows(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
