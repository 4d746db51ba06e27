//! Which partition a row lives in.

use xxhash_rust::xxh3::xxh3_64;

use crate::key::encode_datum;
use crate::value::Datum;

/// The ordinal, in `0..partitions`, of the partition that holds rows with these shard key values.
///
/// XXH3 of the values' key bytes, taken modulo the partition count. Rows on disk depend on it: it never changes.
///
/// # Panics
/// If `partitions` is 0, which no database has.
#[must_use]
pub fn shard_ordinal<'a>(values: impl IntoIterator<Item = &'a Datum>, partitions: u32) -> u32 {
    assert!(partitions > 0, "a database has at least one partition");
    let mut bytes = Vec::with_capacity(32);
    for value in values {
        encode_datum(value, &mut bytes);
    }
    u32::try_from(xxh3_64(&bytes) % u64::from(partitions)).expect("a remainder below a u32 is a u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_rows_on_disk_never_changes() {
        let ordinals: Vec<u32> = (0..8).map(|v| shard_ordinal([&Datum::Int(v)], 8)).collect();
        let text = shard_ordinal([&Datum::Text("baton".into()), &Datum::Null], 1024);
        assert_eq!((ordinals.as_slice(), text), ([1, 6, 3, 5, 1, 7, 2, 3].as_slice(), 482));
    }
}
