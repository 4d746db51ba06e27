//! Databases on their way back from a backup: nobody sees them until they are whole.

use std::collections::BTreeSet;

use baton_model::{DatabaseId, Durability, ReplicationMode, StatementId, TableSchema};

use super::Step;
use super::schema::check_table;
use crate::command::InstancePlacement;
use crate::objects::{Restore, Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn begin_restore(
        &mut self,
        statement: StatementId,
        name: &str,
        (replication, durability): (ReplicationMode, Durability),
        placements: &[InstancePlacement],
        tables: &[(TableSchema, u64)],
    ) -> Outcome {
        if self.catalog.database(name).is_some() {
            return Err(Rejection::DatabaseExists(name.into()));
        }
        let mut names = BTreeSet::new();
        if let Some((twice, _)) = tables.iter().find(|(t, _)| !names.insert(t.name.to_ascii_lowercase())) {
            return Err(Rejection::TableExists(twice.name.clone()));
        }
        tables.iter().try_for_each(|(schema, _)| check_table(schema))?;
        let database = self.place_database(name, replication, durability, placements)?;
        for (schema, auto_increment_next) in tables {
            self.add_table(database, schema, *auto_increment_next);
        }
        self.catalog.restores.insert(database, Restore { database, statement });
        self.changed.insert(RowKey::Restore(database));
        self.done()
    }

    /// The name of a database that is being restored.
    fn restoring(&self, id: DatabaseId) -> Result<String, Rejection> {
        let database = self.catalog.databases.get(&id).filter(|_| self.catalog.restores.contains_key(&id));
        database.map(|database| database.name.clone()).ok_or(Rejection::NotRestoring(id))
    }

    pub(super) fn finish_restore(&mut self, id: DatabaseId, details: &str) -> Outcome {
        let name = self.restoring(id)?;
        if self.catalog.database(&name).is_some() {
            return Err(Rejection::DatabaseExists(name));
        }
        self.catalog.restores.remove(&id);
        self.changed.insert(RowKey::Restore(id));
        self.event(Severity::Notice, event_type::RESTORE_DB, None, format!("{name}: {details}"));
        self.done()
    }

    pub(super) fn abort_restore(&mut self, id: DatabaseId, reason: &str) -> Outcome {
        let name = self.restoring(id)?;
        self.catalog.restores.remove(&id);
        self.changed.insert(RowKey::Restore(id));
        self.forget_database(id);
        let text = format!("{name} was not restored, and what there was of it is gone: {reason}");
        self.event(Severity::Warning, event_type::RESTORE_DB, None, text);
        self.done()
    }
}
