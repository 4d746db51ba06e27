//! Who must carry a statement out.

use baton_catalog::Catalog;
use baton_model::TableKind;

use super::Context;
use crate::session::Session;
use crate::statement::{Place, Statement, TableName};

/// Who must carry a statement out. A statement about a table that is not there is `Data`: binding it says so.
#[must_use]
pub fn classify(statement: &Statement, catalog: &Catalog, session: &Session) -> Place {
    let of_table = |name: &TableName| match (Context { catalog, session }).table(name) {
        Ok(table) if table.schema.kind == TableKind::Reference => Place::Master,
        _ => Place::Data,
    };
    match statement {
        Statement::Cluster(_) | Statement::Schema(_) | Statement::Backup(_) | Statement::SetGlobal(_) => {
            Place::Master
        }
        Statement::Insert(insert) => of_table(&insert.table),
        Statement::Change(change) => of_table(&change.table),
        Statement::Query(_) | Statement::Explain(_) => Place::Data,
        Statement::Show(_)
        | Statement::SetSession(_)
        | Statement::Use(_)
        | Statement::Begin { .. }
        | Statement::Commit
        | Statement::Rollback
        | Statement::Savepoint(_)
        | Statement::RollbackTo(_)
        | Statement::ReleaseSavepoint(_) => Place::Local,
    }
}
