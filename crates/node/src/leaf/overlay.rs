//! The rows of a table as a transaction sees them: those of one view of the partition, under what it has written.

use std::ops::Bound;

use baton_model::{Key, TableId};
use baton_replication::transaction::Overlay;
use baton_storage::{ReadView, StoreError};

/// The rows whose keys begin with a prefix, in key order.
pub fn overlaid<'a>(
    view: &'a ReadView<'_>,
    table: TableId,
    prefix: &'a [u8],
    overlay: &'a Overlay,
) -> impl Iterator<Item = Result<(Key, Vec<u8>), StoreError>> + 'a {
    let meant = |key: &Key| key.starts_with(prefix);
    let stored = view
        .scan(table, Bound::Included(prefix), Bound::Unbounded)
        .take_while(move |row| row.as_ref().map_or(true, |(key, _)| meant(key)));
    let from: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(prefix), Bound::Unbounded);
    let written = overlay.range::<[u8], _>(from).take_while(move |(key, _)| meant(key));
    merged(stored, written.map(|(key, row)| (key, row.as_deref())))
}

/// Two sequences in key order as one; where both have a key, the second is right, and None in it is no row.
fn merged<'a, E>(
    stored: impl Iterator<Item = Result<(Key, Vec<u8>), E>> + 'a,
    written: impl Iterator<Item = (&'a Key, Option<&'a [u8]>)> + 'a,
) -> impl Iterator<Item = Result<(Key, Vec<u8>), E>> + 'a {
    let (mut stored, mut written) = (stored.peekable(), written.peekable());
    std::iter::from_fn(move || {
        loop {
            match (stored.peek(), written.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(Ok(_)), None) => return stored.next(),
                (Some(Ok((old, _))), Some((new, _))) if old < *new => return stored.next(),
                (old, Some((new, _))) => {
                    if old.is_some_and(|old| old.as_ref().is_ok_and(|(old, _)| old == *new)) {
                        stored.next();
                    }
                    if let (key, Some(row)) = written.next()? {
                        return Some(Ok((key.clone(), row.to_vec())));
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_hides_what_is_stored() {
        let stored = [(1, "one"), (2, "two"), (4, "four")];
        let stored = stored.map(|(key, row)| Ok::<_, ()>((vec![key], row.as_bytes().to_vec())));
        let written: Overlay =
            [(0, Some("nought")), (2, None), (3, Some("three")), (4, Some("vier")), (5, None)]
                .into_iter()
                .map(|(key, row)| (vec![key], row.map(|row| row.as_bytes().to_vec().into())))
                .collect();
        let seen: Vec<(u8, String)> =
            merged(stored.into_iter(), written.iter().map(|(key, row)| (key, row.as_deref())))
                .map(|row| row.map(|(key, row)| (key[0], String::from_utf8(row).unwrap())).unwrap())
                .collect();
        let wanted = [(0, "nought"), (1, "one"), (3, "three"), (4, "vier")];
        assert_eq!(seen, wanted.map(|(key, row)| (key, row.to_owned())));
    }
}
