//! Databases, tables, and the rows of reference tables.

use std::collections::BTreeMap;

use baton_model::limits::{COLUMNS_MAX, IDENTIFIER_BYTES_MAX, PARTITIONS_MAX};
use baton_model::{
    DatabaseId, Durability, Epoch, NodeId, PartitionId, ReplicationMode, SyncState, TableId, TableKind,
    TableSchema,
};

use super::Step;
use crate::command::{InstancePlacement, ReferenceWrite};
use crate::objects::{Database, Partition, Severity, Table, event_type};
use crate::outcome::{Outcome, Rejection, Reply};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn create_database(
        &mut self,
        name: &str,
        if_not_exists: bool,
        replication: ReplicationMode,
        durability: Durability,
        placements: &[InstancePlacement],
    ) -> Outcome {
        if self.catalog.database(name).is_some() {
            return if if_not_exists { self.done() } else { Err(Rejection::DatabaseExists(name.into())) };
        }
        self.place_database(name, replication, durability, placements)?;
        let text = format!("{name} with {} partitions", placements.len());
        self.event(Severity::Notice, event_type::DATABASE_CREATED, None, text);
        self.done()
    }

    /// A database with its partitions, whose name nobody has.
    pub(super) fn place_database(
        &mut self,
        name: &str,
        replication: ReplicationMode,
        durability: Durability,
        placements: &[InstancePlacement],
    ) -> Result<DatabaseId, Rejection> {
        check_name(name)?;
        let count = u32::try_from(placements.len()).unwrap_or(u32::MAX);
        if count == 0 || count > PARTITIONS_MAX {
            return Err(Rejection::Limit(format!("a database has 1 to {PARTITIONS_MAX} partitions")));
        }
        for node in placements.iter().flat_map(|p| std::iter::once(&p.primary).chain(&p.replicas)) {
            let known = self.catalog.nodes.get(node).ok_or(Rejection::NoSuchNode(*node))?;
            if !known.is_leaf() {
                return Err(Rejection::WrongRole(*node));
            }
        }
        let id = DatabaseId(self.catalog.counters.database);
        self.catalog.counters.database += 1;
        let database = Database { id, name: name.into(), partitions: count, replication, durability };
        self.catalog.databases.insert(id, database);
        self.changed.extend([RowKey::Counters, RowKey::Database(id)]);
        // An empty replica has every write that was ever acknowledged. It starts as Sync if it is meant to be.
        let state = match replication {
            ReplicationMode::Sync => SyncState::Sync,
            ReplicationMode::Async => SyncState::Async,
        };
        for (ordinal, placement) in (0..count).zip(placements) {
            let partition_id = PartitionId { database: id, ordinal };
            let replicas: BTreeMap<NodeId, SyncState> =
                placement.replicas.iter().filter(|n| **n != placement.primary).map(|n| (*n, state)).collect();
            let partition = Partition {
                id: partition_id,
                epoch: Epoch(1),
                version: 1,
                primary: placement.primary,
                primary_lost: false,
                primary_unsure: false,
                unsynced: durability == Durability::Async,
                replicas,
            };
            self.catalog.partitions.insert(partition_id, partition);
            self.changed.insert(RowKey::Partition(partition_id));
        }
        Ok(id)
    }

    pub(super) fn drop_database(&mut self, name: &str, if_exists: bool) -> Outcome {
        let Some(id) = self.catalog.database(name).map(|database| database.id) else {
            return if if_exists { self.done() } else { Err(Rejection::NoSuchDatabase(name.into())) };
        };
        self.forget_database(id);
        self.give_up();
        self.event(Severity::Notice, event_type::DATABASE_DROPPED, None, name.into());
        self.done()
    }

    pub(super) fn forget_database(&mut self, id: DatabaseId) {
        self.forget_bindings_of(id);
        let tables: Vec<TableId> = self.catalog.tables(id).map(|table| table.schema.id).collect();
        for table in tables {
            self.forget_table(table);
        }
        let partitions: Vec<PartitionId> = self.catalog.partitions_of(id).map(|p| p.id).collect();
        for partition in partitions {
            self.catalog.partitions.remove(&partition);
            self.changed.insert(RowKey::Partition(partition));
        }
        self.catalog.databases.remove(&id);
        self.changed.insert(RowKey::Database(id));
        self.forget_orphans(|copy| copy.partition.database == id);
        self.forget_plan(id);
    }

    pub(super) fn create_table(
        &mut self,
        database: &str,
        schema: &TableSchema,
        if_not_exists: bool,
    ) -> Outcome {
        let database_id = self
            .catalog
            .database(database)
            .map(|found| found.id)
            .ok_or_else(|| Rejection::NoSuchDatabase(database.into()))?;
        if self.catalog.table(database_id, &schema.name).is_some() {
            return if if_not_exists {
                self.done()
            } else {
                Err(Rejection::TableExists(schema.name.clone()))
            };
        }
        check_table(schema)?;
        self.add_table(database_id, schema, 1);
        self.done()
    }

    /// A table that was checked, and whose name no other one of the database has.
    pub(super) fn add_table(
        &mut self,
        database_id: DatabaseId,
        schema: &TableSchema,
        auto_increment_next: u64,
    ) {
        let id = TableId(self.catalog.counters.table);
        self.catalog.counters.table += 1;
        let mut schema = schema.clone();
        schema.id = id;
        schema.database = database_id;
        self.catalog.tables.insert(id, Table { schema, auto_increment_next, version: 1 });
        self.changed.extend([RowKey::Counters, RowKey::Table(id)]);
    }

    pub(super) fn drop_table(&mut self, database: &str, table: &str, if_exists: bool) -> Outcome {
        let found = self.catalog.database(database).and_then(|d| self.catalog.table(d.id, table));
        let Some(id) = found.map(|table| table.schema.id) else {
            let name = format!("{database}.{table}");
            return if if_exists { self.done() } else { Err(Rejection::NoSuchTable(name)) };
        };
        self.forget_table(id);
        self.done()
    }

    fn forget_table(&mut self, id: TableId) {
        let keys: Vec<_> = self.catalog.reference_rows(id).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.changed.insert(RowKey::ReferenceRow(id, key.clone()));
            self.catalog.reference_rows.remove(&(id, key));
        }
        self.catalog.tables.remove(&id);
        self.changed.insert(RowKey::Table(id));
    }

    pub(super) fn take_auto_increment(&mut self, id: TableId, count: u64, at_least: u64) -> Outcome {
        let table = self.catalog.tables.get_mut(&id).ok_or(Rejection::TableGone(id))?;
        let first = table.auto_increment_next.max(at_least).max(1);
        let next =
            first.checked_add(count).ok_or_else(|| Rejection::Limit("AUTO_INCREMENT is used up".into()))?;
        table.auto_increment_next = next;
        self.changed.insert(RowKey::Table(id));
        Ok(Reply::AutoIncrement(first))
    }

    pub(super) fn write_reference(&mut self, write: &ReferenceWrite) -> Outcome {
        let index = self.catalog.index;
        let table = self.catalog.tables.get_mut(&write.table).ok_or(Rejection::TableGone(write.table))?;
        if table.schema.kind != TableKind::Reference || table.version != write.expected_version {
            return Err(Rejection::TableChanged(write.table));
        }
        table.version += 1;
        self.changed.insert(RowKey::Table(write.table));
        for (key, row) in &write.rows {
            let place = (write.table, key.clone());
            match row {
                Some(row) => drop(self.catalog.reference_rows.insert(place, row.clone())),
                None => drop(self.catalog.reference_rows.remove(&place)),
            }
            self.changed.insert(RowKey::ReferenceRow(write.table, key.clone()));
        }
        Ok(Reply::Written { affected_rows: write.affected_rows, last_insert_id: write.last_insert_id, index })
    }
}

/// Whether a table can be one.
pub(super) fn check_table(schema: &TableSchema) -> Result<(), Rejection> {
    check_name(&schema.name)?;
    if schema.columns.is_empty() || schema.columns.len() > COLUMNS_MAX {
        return Err(Rejection::Limit(format!("a table has 1 to {COLUMNS_MAX} columns")));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Rejection> {
    if name.is_empty() || name.len() > IDENTIFIER_BYTES_MAX {
        return Err(Rejection::Limit(format!("a name has 1 to {IDENTIFIER_BYTES_MAX} bytes")));
    }
    Ok(())
}
