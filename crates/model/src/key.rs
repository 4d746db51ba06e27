//! Primary keys as bytes whose order is the order of the values.
//!
//! Each datum is a tag byte and then:
//! integers as 8 big-endian bytes with the sign bit turned, decimals as 16 such bytes, doubles with the bits turned
//! so that negative ones come first, text and bytes with every 0x00 written as 0x00 0xFF and closed by 0x00 0x00.
//! NULL is the tag alone and comes first.

use std::fmt;

use crate::limits::KEY_BYTES_MAX;
use crate::value::Datum;

/// An encoded primary key.
pub type Key = Vec<u8>;

/// Why values could not be made a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The encoded key would have this many bytes, more than [`KEY_BYTES_MAX`].
    TooLong(usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(
                    f,
                    "Specified key was too long; max key length is {KEY_BYTES_MAX} bytes, this one has {bytes}"
                )
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// The values as one key.
///
/// # Errors
/// [`KeyError::TooLong`] if the key has more than [`KEY_BYTES_MAX`] bytes.
pub fn encode_key<'a>(values: impl IntoIterator<Item = &'a Datum>) -> Result<Key, KeyError> {
    let mut key = Vec::with_capacity(32);
    for value in values {
        encode_datum(value, &mut key);
    }
    if key.len() > KEY_BYTES_MAX { Err(KeyError::TooLong(key.len())) } else { Ok(key) }
}

/// Appends one value in key order.
pub(crate) fn encode_datum(value: &Datum, out: &mut Vec<u8>) {
    out.push(value.tag());
    match value {
        Datum::Null => {}
        Datum::Int(v) => out.extend((v.cast_unsigned() ^ (1 << 63)).to_be_bytes()),
        Datum::UInt(v) => out.extend(v.to_be_bytes()),
        Datum::Double(v) => {
            let bits = v.to_bits();
            let turned = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            out.extend(turned.to_be_bytes());
        }
        Datum::Decimal(v) => out.extend((v.cast_unsigned() ^ (1 << 127)).to_be_bytes()),
        Datum::Text(v) => escape(v.as_bytes(), out),
        Datum::Bytes(v) => escape(v, out),
        Datum::Date(v) => out.extend((v.cast_unsigned() ^ (1 << 31)).to_be_bytes()),
        Datum::DateTime(v) => out.extend((v.cast_unsigned() ^ (1 << 63)).to_be_bytes()),
    }
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend([0, 0]);
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
            proptest::collection::vec(0_u8..3, 0..8).prop_map(Datum::Bytes),
            any::<i32>().prop_map(Datum::Date),
            any::<i64>().prop_map(Datum::DateTime),
        ]
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_values(
            a in proptest::collection::vec(datum(), 1..4),
            b in proptest::collection::vec(datum(), 1..4),
        ) {
            prop_assert_eq!(encode_key(&a).unwrap().cmp(&encode_key(&b).unwrap()), a.cmp(&b));
        }
    }

    #[test]
    fn a_key_that_is_too_long_is_refused() {
        let text = Datum::Text("x".repeat(KEY_BYTES_MAX));
        assert_eq!(encode_key([&text]), Err(KeyError::TooLong(KEY_BYTES_MAX + 3)));
    }
}
