//! How the keys of the partitions' store are made.
//!
//! `database (8) · ordinal (4) · kind (1) · rest`, numbers big-endian, so that a partition is one range and, within it,
//! its state, its log and the rows of each table are ranges too. Behind all partitions stands what is of the whole store.

use baton_model::{DatabaseId, Lsn, PartitionId, TableId};

use super::SUBJECT;
use crate::error::StoreError;

const STATE: u8 = 0;
const LOG: u8 = 1;
const ROWS: u8 = 2;

const APPLIED: u8 = 0;
const IMPORTING: u8 = 1;
const NAMED: u8 = 2;

const PARTITION_BYTES: usize = 12;
const TABLE_BYTES: usize = PARTITION_BYTES + 1 + 8;

/// Whose store it is. No database has the number that this begins with: numbers are given from 1 up.
pub(super) const STORE_ID: &[u8] = b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFstore";

pub(super) fn partition(partition: PartitionId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend(partition.database.0.to_be_bytes());
    key.extend(partition.ordinal.to_be_bytes());
    key
}

fn within(id: PartitionId, kind: u8) -> Vec<u8> {
    let mut key = partition(id);
    key.push(kind);
    key
}

/// The LSN that the rows are applied up to.
pub(super) fn applied(partition: PartitionId) -> Vec<u8> {
    let mut key = within(partition, STATE);
    key.push(APPLIED);
    key
}

/// There while the partition is being imported.
pub(super) fn importing(partition: PartitionId) -> Vec<u8> {
    let mut key = within(partition, STATE);
    key.push(IMPORTING);
    key
}

pub(super) fn meta(partition: PartitionId, name: &str) -> Vec<u8> {
    let mut key = within(partition, STATE);
    key.push(NAMED);
    key.extend(name.as_bytes());
    key
}

/// All records of a log.
pub(super) fn log(partition: PartitionId) -> Vec<u8> {
    within(partition, LOG)
}

pub(super) fn record(partition: PartitionId, lsn: Lsn) -> Vec<u8> {
    let mut key = log(partition);
    key.extend(lsn.0.to_be_bytes());
    key
}

/// All rows of a partition.
pub(super) fn rows(partition: PartitionId) -> Vec<u8> {
    within(partition, ROWS)
}

/// All rows of a table of a partition.
pub(super) fn table(partition: PartitionId, table: TableId) -> Vec<u8> {
    let mut key = rows(partition);
    key.extend(table.0.to_be_bytes());
    key
}

pub(super) fn row(partition: PartitionId, table_id: TableId, primary_key: &[u8]) -> Vec<u8> {
    let mut key = table(partition, table_id);
    key.extend(primary_key);
    key
}

pub(super) fn partition_of(key: &[u8]) -> Result<PartitionId, StoreError> {
    let (database, rest) = number::<8>(key)?;
    let (ordinal, _) = number::<4>(rest)?;
    Ok(PartitionId {
        database: DatabaseId(u64::from_be_bytes(database)),
        ordinal: u32::from_be_bytes(ordinal),
    })
}

/// The table in a row's key.
pub(super) fn table_of(key: &[u8]) -> Result<TableId, StoreError> {
    row_of(key).map(|(table, _)| table)
}

/// The LSN in a record's key.
pub(super) fn lsn_of(key: &[u8]) -> Result<Lsn, StoreError> {
    lsn(key.get(PARTITION_BYTES + 1..).unwrap_or_default())
}

/// The table and the primary key in a row's key.
pub(super) fn row_of(key: &[u8]) -> Result<(TableId, Vec<u8>), StoreError> {
    let (table, primary_key) = number::<8>(key.get(TABLE_BYTES - 8..).unwrap_or_default())?;
    Ok((TableId(u64::from_be_bytes(table)), primary_key.to_vec()))
}

pub(super) fn lsn(bytes: &[u8]) -> Result<Lsn, StoreError> {
    let (number, _) = number::<8>(bytes)?;
    Ok(Lsn(u64::from_be_bytes(number)))
}

fn number<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), StoreError> {
    match bytes.split_first_chunk::<N>() {
        Some((number, rest)) => Ok((*number, rest)),
        None => Err(StoreError::unreadable(SUBJECT, "a key or a number is too short")),
    }
}
