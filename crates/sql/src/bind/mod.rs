//! What a statement means against a catalog: names become tables and columns, writes become rows, keys and programs.

mod change;
mod desugar;
mod insert;
mod keys;
mod place;
mod reach;
mod scalar;

use baton_catalog::{Catalog, Database, Table};
use baton_model::errors::{ErrorCode, SqlError};

pub use self::change::{BoundChange, bind_change};
pub(crate) use self::desugar::{call, desugar, literal_of, number, text};
pub(crate) use self::insert::default_value;
pub use self::insert::{BoundInsert, InsertPlan, InsertTarget, bind_insert};
pub use self::keys::{ordinal, row_key};
pub use self::place::classify;
pub(crate) use self::reach::reach;
pub use self::reach::{Access, Partitions};
pub(crate) use self::scalar::{Columns, bind_scalar};
use crate::session::Session;
use crate::statement::TableName;

/// The schema of which everybody has the tables.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// What names are looked up in.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) session: &'a Session,
}

impl<'a> Context<'a> {
    /// The database with this name, or the session's.
    pub(crate) fn database(&self, name: Option<&str>) -> Result<&'a Database, SqlError> {
        let name = self.database_name(name)?;
        self.catalog
            .database(name)
            .ok_or_else(|| SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{name}'")))
    }

    /// This name, or the session's database.
    pub(crate) fn database_name<'b>(&self, name: Option<&'b str>) -> Result<&'b str, SqlError>
    where
        'a: 'b,
    {
        name.or(self.session.database.as_deref())
            .ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))
    }

    /// A table.
    pub(crate) fn table(&self, name: &TableName) -> Result<&'a Table, SqlError> {
        let database = self.database(name.database.as_deref())?;
        self.catalog.table(database.id, &name.table).ok_or_else(|| {
            let text = format!("Table '{}.{}' doesn't exist", database.name, name.table);
            SqlError::new(ErrorCode::NoSuchTable, text)
        })
    }
}

/// The error of a column that is not there; `clause` is where it was named.
pub(crate) fn unknown_column(name: &str, clause: &str) -> SqlError {
    SqlError::new(ErrorCode::UnknownColumn, format!("Unknown column '{name}' in '{clause}'"))
}
