//! The partitions' store, opened, used and reopened.

use std::ops::Bound::{Excluded, Included, Unbounded};

use baton_model::DatabaseId;
use tempfile::TempDir;

use super::*;

const ONE: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };
const TWO: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 1 };
const TABLE: TableId = TableId(1);
const OTHER: TableId = TableId(2);

fn store() -> (TempDir, DataStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = DataStore::open(dir.path()).unwrap();
    (dir, store)
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<(Lsn, Vec<u8>)> {
    range.map(|lsn| (Lsn(lsn), lsn.to_be_bytes().to_vec())).collect()
}

fn put(table: TableId, key: &[u8], row: &[u8]) -> Mutation {
    (table, key.to_vec(), Some(row.to_vec()))
}

fn keys_of(store: &DataStore, table: TableId) -> Vec<Vec<u8>> {
    store
        .view(ONE, |view| view.scan(table, Unbounded, Unbounded).map(|row| row.unwrap().0).collect())
        .unwrap()
}

#[test]
fn a_log_is_read_cut_and_found_again() {
    let (dir, store) = store();
    assert_eq!(store.log_bounds(ONE).unwrap(), None);
    store.append(ONE, &records(1..=100)).unwrap();
    store.append(TWO, &records(5..=6)).unwrap();
    store.truncate_after(ONE, Lsn(90)).unwrap();
    store.trim_before(ONE, Lsn(11)).unwrap();
    assert_eq!(store.read_log(ONE, Lsn(11), 2, 1000).unwrap(), records(11..=12));
    assert_eq!(store.read_log(ONE, Lsn(11), 100, 24).unwrap(), records(11..=13));
    assert_eq!(store.read_log(ONE, Lsn(11), 100, 1).unwrap(), records(11..=11));
    assert_eq!(store.read_log(ONE, Lsn(90), 100, 1000).unwrap(), records(90..=90));
    assert!(store.read_log(ONE, Lsn(91), 100, 1000).unwrap().is_empty());
    assert!(store.read_log(ONE, Lsn(10), 100, 1000).unwrap().is_empty(), "it was cut");
    drop(store);

    let store = DataStore::open(dir.path()).unwrap();
    assert_eq!(store.log_bounds(ONE).unwrap(), Some(LogBounds { first: Lsn(11), last: Lsn(90) }));
    assert_eq!(store.log_bounds(TWO).unwrap(), Some(LogBounds { first: Lsn(5), last: Lsn(6) }));
    assert_eq!(store.partitions().unwrap(), vec![ONE, TWO]);
    store.trim_before(ONE, Lsn(91)).unwrap();
    assert_eq!(store.log_bounds(ONE).unwrap(), None);
}

#[test]
fn a_log_with_a_gap_is_not_read_over() {
    let (_dir, store) = store();
    store.append(ONE, &records(1..=3)).unwrap();
    store.append(ONE, &records(5..=6)).unwrap();
    assert!(matches!(store.read_log(ONE, Lsn(1), 10, 1000), Err(StoreError::Unreadable { .. })));
}

#[test]
fn rows_are_applied_with_their_lsn_and_state() {
    let (dir, store) = store();
    assert_eq!(store.applied(ONE).unwrap(), Lsn(0));
    store
        .apply(ONE, Lsn(1), [put(TABLE, b"a", b"1"), put(TABLE, b"b", b"1")], &[("history", b"e1")])
        .unwrap();
    store.apply(ONE, Lsn(2), [put(TABLE, b"a", b"2"), (TABLE, b"b".to_vec(), None)], &[]).unwrap();
    store.put_meta(TWO, "history", b"e2").unwrap();
    drop(store);

    let store = DataStore::open(dir.path()).unwrap();
    assert_eq!(store.applied(ONE).unwrap(), Lsn(2));
    assert_eq!(store.get(ONE, TABLE, b"a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(ONE, TABLE, b"b").unwrap(), None);
    assert_eq!(store.meta(ONE, "history").unwrap().as_deref(), Some(&b"e1"[..]));
    assert_eq!(store.meta(TWO, "history").unwrap().as_deref(), Some(&b"e2"[..]));
    assert_eq!(store.partitions().unwrap(), vec![ONE, TWO]);
}

#[test]
fn a_view_does_not_see_what_is_written_meanwhile() {
    let (_dir, store) = store();
    store.apply(ONE, Lsn(1), [put(TABLE, b"a", b"1")], &[]).unwrap();
    store
        .view(ONE, |view| {
            store.apply(ONE, Lsn(2), [put(TABLE, b"a", b"2"), put(TABLE, b"b", b"2")], &[]).unwrap();
            assert_eq!(view.applied(), Lsn(1));
            assert_eq!(view.get(TABLE, b"a").unwrap().as_deref(), Some(&b"1"[..]));
            assert_eq!(view.scan(TABLE, Unbounded, Unbounded).count(), 1);
        })
        .unwrap();
    assert_eq!(keys_of(&store, TABLE).len(), 2);
}

#[test]
fn a_scan_keeps_its_bounds_and_its_table() {
    let (_dir, store) = store();
    let rows = ["a", "b", "b\0", "c", "d"].map(|key| put(TABLE, key.as_bytes(), b"x"));
    store.apply(ONE, Lsn(1), rows.into_iter().chain([put(OTHER, b"a", b"x")]), &[]).unwrap();
    store.apply(TWO, Lsn(1), [put(TABLE, b"a", b"x")], &[]).unwrap();
    let scan = |from, to| {
        store
            .view(ONE, |view| {
                let found = view.scan(TABLE, from, to).map(|row| String::from_utf8(row.unwrap().0).unwrap());
                found.collect::<Vec<_>>()
            })
            .unwrap()
    };
    assert_eq!(scan(Unbounded, Unbounded), ["a", "b", "b\0", "c", "d"]);
    assert_eq!(scan(Included(b"b"), Included(b"c")), ["b", "b\0", "c"]);
    assert_eq!(scan(Excluded(b"b"), Excluded(b"c")), ["b\0"]);
    assert_eq!(scan(Excluded(b"c"), Unbounded), ["d"]);
    assert!(scan(Included(b"c"), Excluded(b"c")).is_empty());
    assert!(scan(Included(b"d"), Included(b"a")).is_empty());

    store.drop_table_rows(ONE, TABLE).unwrap();
    assert!(keys_of(&store, TABLE).is_empty());
    assert_eq!(keys_of(&store, OTHER).len(), 1);
    store.drop_partition(ONE).unwrap();
    assert_eq!(store.partitions().unwrap(), vec![TWO]);
}

/// Everything of a partition's rows, by table and key.
fn all_rows(store: &DataStore) -> Vec<StoredRow> {
    let tables = store.tables(ONE).unwrap();
    store
        .view(ONE, |view| {
            let rows = tables.iter().flat_map(|table| {
                let scan = view.scan(*table, Unbounded, Unbounded);
                scan.map(|row| row.unwrap()).map(|(key, row)| (*table, key, row)).collect::<Vec<_>>()
            });
            rows.collect()
        })
        .unwrap()
}

/// A partition as of @1000 with rows of three tables, whoever made them, and files of it.
fn exported() -> (DataStore, Exported, TempDir) {
    let (dir, from) = store();
    let rows = (0..30_000_u32).map(|n| put(TableId(u64::from(n % 3)), &n.to_be_bytes(), &[n as u8; 50]));
    from.apply(ONE, Lsn(1000), rows, &[("history", b"e1")]).unwrap();
    from.apply(TWO, Lsn(7), [put(TABLE, b"not mine", b"1")], &[]).unwrap();
    from.append(ONE, &records(900..=1000)).unwrap();
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let meta = ["history", "none"];
    let exported = from.export_files(ONE, &meta, &files, 100_000, |_| true).unwrap().expect("it may go on");
    (from, exported, dir)
}

/// A partition of the same name that is something else.
fn other_store() -> (TempDir, DataStore) {
    let (dir, to) = store();
    to.apply(ONE, Lsn(5), [put(TABLE, b"old", b"1"), put(OTHER, b"old", b"1")], &[("history", b"e0")])
        .unwrap();
    to.append(ONE, &records(1..=5)).unwrap();
    to.apply(TWO, Lsn(1), [put(TABLE, b"a", b"1")], &[]).unwrap();
    (dir, to)
}

#[test]
fn files_of_a_partition_take_the_place_of_what_was_there() {
    let (from, exported, _made) = exported();
    assert_eq!((exported.at, &exported.meta), (Lsn(1000), &vec![Some(b"e1".to_vec()), None]));
    assert!(exported.files.len() > 2, "{} files", exported.files.len());
    let (dir, to) = other_store();
    to.install_files(ONE, &exported.files, exported.at, &[("history", b"e1")]).unwrap();
    assert_eq!(all_rows(&to), all_rows(&from));
    drop(to);

    let to = DataStore::open(dir.path()).unwrap();
    assert_eq!(all_rows(&to), all_rows(&from));
    assert_eq!(to.applied(ONE).unwrap(), Lsn(1000));
    assert_eq!(to.log_bounds(ONE).unwrap(), None);
    assert_eq!(to.meta(ONE, "history").unwrap().unwrap(), b"e1");
    assert_eq!(to.tables(TWO).unwrap(), [TABLE], "the neighbour is as it was");
    // What is written from here on is newer than the files.
    to.apply(ONE, Lsn(1001), [put(TABLE, &1_u32.to_be_bytes(), b"new")], &[]).unwrap();
    assert_eq!(to.get(ONE, TABLE, &1_u32.to_be_bytes()).unwrap().unwrap(), b"new");
}

#[test]
fn an_empty_partition_is_a_copy_without_files() {
    let (dir, from) = store();
    from.apply(ONE, Lsn(3), [], &[]).unwrap();
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let exported = from.export_files(ONE, &[], &files, 1, |_| true).unwrap().unwrap();
    assert_eq!((exported.at, exported.files.len()), (Lsn(3), 0));
    let (_dir, to) = other_store();
    to.install_files(ONE, &[], Lsn(3), &[]).unwrap();
    assert_eq!((to.applied(ONE).unwrap(), to.tables(ONE).unwrap().len()), (Lsn(3), 0));
}

#[test]
fn an_export_that_nobody_wants_any_more_ends() {
    let (dir, from) = store();
    let rows = (0..30_000_u32).map(|n| put(TABLE, &n.to_be_bytes(), &[7; 50]));
    from.apply(ONE, Lsn(1), rows, &[]).unwrap();
    assert_eq!(from.export_files(ONE, &[], dir.path(), 1 << 20, |_| false).unwrap(), None);
}

#[test]
fn a_crash_at_any_point_of_an_installation_leaves_nothing_or_all() {
    let (_from, export, _made) = exported();
    let (dir, to) = other_store();
    to.empty_and_mark(ONE).unwrap();
    to.take_in(&export.files).unwrap();
    // Everything is there but the end: it is none.
    drop(to);
    let to = DataStore::open(dir.path()).unwrap();
    assert_eq!(to.partitions().unwrap(), vec![TWO]);
    assert!(all_rows(&to).is_empty());
    assert_eq!(to.applied(ONE).unwrap(), Lsn(0));
    // With the mark alone it is none either.
    to.apply(ONE, Lsn(5), [put(TABLE, b"old", b"1")], &[]).unwrap();
    to.empty_and_mark(ONE).unwrap();
    drop(to);
    let to = DataStore::open(dir.path()).unwrap();
    assert_eq!(to.partitions().unwrap(), vec![TWO]);
    // And all begins anew.
    let (from, export, _made) = exported();
    to.install_files(ONE, &export.files, export.at, &[]).unwrap();
    assert_eq!(all_rows(&to), all_rows(&from));
}

#[test]
fn the_tables_of_a_partition_are_found_by_their_rows() {
    let (_dir, store) = store();
    store
        .apply(ONE, Lsn(1), [put(OTHER, b"a", b"1"), put(TABLE, b"a", b"1"), put(TABLE, b"b", b"1")], &[])
        .unwrap();
    store.append(ONE, &records(1..=3)).unwrap();
    store.apply(TWO, Lsn(1), [put(TableId(9), b"a", b"1")], &[]).unwrap();
    assert_eq!(store.tables(ONE).unwrap(), [TABLE, OTHER]);
    store.drop_table_rows(ONE, TABLE).unwrap();
    assert_eq!(store.tables(ONE).unwrap(), [OTHER]);
    assert_eq!(store.tables(TWO).unwrap(), [TableId(9)]);
}

#[test]
fn a_store_knows_its_life_and_a_new_one_has_none() {
    let (dir, store) = store();
    assert_eq!(store.store_id().unwrap(), None);
    store.set_store_id(StoreId(7)).unwrap();
    assert!(store.partitions().unwrap().is_empty(), "it is no partition");
    store.append(ONE, &records(1..=3)).unwrap();
    drop(store);

    let store = DataStore::open(dir.path()).unwrap();
    assert_eq!(store.store_id().unwrap(), Some(StoreId(7)));
    assert_eq!(store.partitions().unwrap(), vec![ONE]);
    store.drop_partition(ONE).unwrap();
    assert_eq!(store.store_id().unwrap(), Some(StoreId(7)));
    drop(store);

    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(DataStore::open(dir.path()).unwrap().store_id().unwrap(), None);
}

#[test]
fn a_failed_sync_is_known_until_it_is_forgotten() {
    let (dir, store) = store();
    assert!(!store.has_failed_to_sync());
    store.forget_failure().unwrap();
    std::fs::write(dir.path().with_extension("unsynced"), b"").unwrap();
    assert!(store.has_failed_to_sync());
    store.forget_failure().unwrap();
    assert!(!store.has_failed_to_sync());
}
