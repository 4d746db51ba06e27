//! Rows as bytes, as they lie in the log and on disk.
//!
//! A format byte, the number of values, then each value as its tag and its bytes (integers little-endian,
//! text and bytes after a 4-byte length). Columns that were added after the row was written are absent at the end.

use std::fmt;

use crate::value::{Datum, Row};

/// The first byte of every row. A later format takes another one.
const FORMAT: u8 = 1;

/// Why bytes are no row: the disk or a peer gave something that this version never wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The offset at which reading failed.
    pub offset: usize,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "these bytes are no row: unreadable at offset {}", self.offset)
    }
}

impl std::error::Error for RowError {}

/// The row as bytes.
///
/// # Panics
/// If a row has more than `u16::MAX` values, which no table has (`COLUMNS_MAX`).
#[must_use]
pub fn encode_row(row: &[Datum]) -> Vec<u8> {
    let count = u16::try_from(row.len()).expect("a table has at most COLUMNS_MAX columns");
    let mut out = Vec::with_capacity(3 + row.len() * 9);
    out.push(FORMAT);
    out.extend(count.to_le_bytes());
    for value in row {
        out.push(value.tag());
        match value {
            Datum::Null => {}
            Datum::Int(v) | Datum::DateTime(v) => out.extend(v.to_le_bytes()),
            Datum::UInt(v) => out.extend(v.to_le_bytes()),
            Datum::Double(v) => out.extend(v.to_bits().to_le_bytes()),
            Datum::Decimal(v) => out.extend(v.to_le_bytes()),
            Datum::Text(v) => put_bytes(v.as_bytes(), &mut out),
            Datum::Bytes(v) => put_bytes(v, &mut out),
            Datum::Date(v) => out.extend(v.to_le_bytes()),
        }
    }
    out
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("a value is smaller than PACKET_BYTES_MAX");
    out.extend(length.to_le_bytes());
    out.extend(bytes);
}

/// The row that [`encode_row`] made these bytes of.
///
/// # Errors
/// [`RowError`] if it made no such bytes.
pub fn decode_row(bytes: &[u8]) -> Result<Row, RowError> {
    let mut reader = Reader { bytes, offset: 0 };
    if reader.take::<1>()? != [FORMAT] {
        return Err(RowError { offset: 0 });
    }
    let count = u16::from_le_bytes(reader.take()?);
    let mut row = Vec::with_capacity(count.into());
    for _ in 0..count {
        let [tag] = reader.take()?;
        row.push(match tag {
            0 => Datum::Null,
            1 => Datum::Int(i64::from_le_bytes(reader.take()?)),
            2 => Datum::UInt(u64::from_le_bytes(reader.take()?)),
            3 => Datum::Double(f64::from_bits(u64::from_le_bytes(reader.take()?))),
            4 => Datum::Decimal(i128::from_le_bytes(reader.take()?)),
            5 => {
                let offset = reader.offset;
                let text = reader.take_bytes()?.to_vec();
                Datum::Text(String::from_utf8(text).map_err(|_| RowError { offset })?)
            }
            6 => Datum::Bytes(reader.take_bytes()?.to_vec()),
            7 => Datum::Date(i32::from_le_bytes(reader.take()?)),
            8 => Datum::DateTime(i64::from_le_bytes(reader.take()?)),
            _ => return Err(RowError { offset: reader.offset }),
        });
    }
    if reader.offset == bytes.len() { Ok(row) } else { Err(RowError { offset: reader.offset }) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let slice = self.slice(N)?;
        Ok(slice.try_into().expect("the slice has N bytes"))
    }

    fn take_bytes(&mut self) -> Result<&'a [u8], RowError> {
        let length = u32::from_le_bytes(self.take()?);
        self.slice(length as usize)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], RowError> {
        let end = self.offset.checked_add(length).ok_or(RowError { offset: self.offset })?;
        let slice = self.bytes.get(self.offset..end).ok_or(RowError { offset: self.offset })?;
        self.offset = end;
        Ok(slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datum() -> impl Strategy<Value = Datum> {
        prop_oneof![
            Just(Datum::Null),
            any::<i64>().prop_map(Datum::Int),
            any::<u64>().prop_map(Datum::UInt),
            any::<f64>().prop_map(Datum::Double),
            any::<i128>().prop_map(Datum::Decimal),
            ".{0,8}".prop_map(Datum::Text),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(Datum::Bytes),
            any::<i32>().prop_map(Datum::Date),
            any::<i64>().prop_map(Datum::DateTime),
        ]
    }

    proptest! {
        #[test]
        fn a_row_comes_back_as_it_went(row in proptest::collection::vec(datum(), 0..8)) {
            prop_assert_eq!(decode_row(&encode_row(&row)).unwrap(), row);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_row(&bytes);
        }
    }
}
