//! Writes of reference tables: computed at the master aggregator from its catalog, and proposed under the condition
//! that the table has not changed since.

use baton_catalog::{Catalog, Command, Entry, Outcome, ReferenceWrite, Rejection};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Blob, Key, Row, StatementId, TableId, decode_row, encode_row};
use baton_sql::{BoundChange, BoundInsert, Change, row_key};

use super::Aggregator;
use crate::server::wall_clock_ms;
use crate::wire::ForwardRefusal;

/// How often a write is computed again because the table had changed meanwhile. Writes here come one after the other,
/// so it takes another master aggregator to change it.
const ATTEMPTS: usize = 3;

fn failed(error: impl Into<SqlError>) -> ForwardRefusal {
    ForwardRefusal::Failed(error.into())
}

fn garbled(error: impl std::fmt::Display) -> ForwardRefusal {
    failed(SqlError::new(ErrorCode::UnknownError, error.to_string()))
}

impl Aggregator {
    /// INSERT and REPLACE.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn insert_reference(
        &self,
        statement: StatementId,
        insert: BoundInsert,
        last_insert_id: u64,
    ) -> Result<Outcome, ForwardRefusal> {
        let table = insert.schema.id;
        let mut rows: Vec<(Key, Blob)> = Vec::with_capacity(insert.rows.len());
        for (number, row) in (0_u32..).zip(&insert.rows) {
            let key = row_key(&insert.schema, row, (statement, number)).map_err(failed)?;
            rows.push((key, Blob::from(encode_row(row))));
        }
        self.write_reference(statement, table, last_insert_id, |catalog| {
            let mut affected = 0;
            let mut new: std::collections::BTreeMap<Key, Option<Blob>> = std::collections::BTreeMap::new();
            for (key, row) in &rows {
                let exists = new.contains_key(key) || catalog.reference_row(table, key).is_some();
                if exists && !insert.replace {
                    let text = "Duplicate entry for key 'PRIMARY'";
                    return Err(failed(SqlError::new(ErrorCode::DuplicateEntry, text)));
                }
                affected += if exists { 2 } else { 1 };
                new.insert(key.clone(), Some(row.clone()));
            }
            Ok((new.into_iter().collect(), affected))
        })
        .await
    }

    /// UPDATE and DELETE.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn change_reference(
        &self,
        statement: StatementId,
        change: BoundChange,
        counts_found_rows: bool,
    ) -> Result<Outcome, ForwardRefusal> {
        let table = change.schema.id;
        let compiled = change.program.compile().map_err(failed)?;
        self.write_reference(statement, table, 0, |catalog| {
            let mut keys: Vec<Key> = Vec::new();
            let mut rows: Vec<Row> = Vec::new();
            for (key, bytes) in catalog.reference_rows(table) {
                keys.push(key.clone());
                rows.push(decode_row(bytes).map_err(garbled)?);
            }
            let changes = compiled.evaluate(&rows).map_err(failed)?;
            let mut written: Vec<(Key, Option<Blob>)> = Vec::new();
            let mut unchanged = 0;
            for (key, change) in keys.into_iter().zip(changes) {
                match change {
                    None => {}
                    Some(Change::Unchanged) => unchanged += 1,
                    Some(Change::Update(row)) => written.push((key, Some(Blob::from(encode_row(&row))))),
                    Some(Change::Delete) => written.push((key, None)),
                }
            }
            let affected = written.len() as u64 + if counts_found_rows { unchanged } else { 0 };
            Ok((written, affected))
        })
        .await
    }

    async fn write_reference(
        &self,
        statement: StatementId,
        table: TableId,
        last_insert_id: u64,
        compute: impl Fn(&Catalog) -> Result<(Vec<(Key, Option<Blob>)>, u64), ForwardRefusal>,
    ) -> Result<Outcome, ForwardRefusal> {
        let _in_turn = self.reference_writes.lock().await;
        for _ in 0..ATTEMPTS {
            let catalog = self.current_catalog().await?;
            // S12: this statement may have been carried out by this or an earlier master aggregator.
            if let Some(outcome) = catalog.outcome(statement) {
                return Ok(outcome.clone());
            }
            let version =
                catalog.table_by_id(table).ok_or_else(|| failed(&Rejection::TableGone(table)))?.version;
            let (rows, affected_rows) = compute(&catalog)?;
            let write =
                ReferenceWrite { table, expected_version: version, rows, affected_rows, last_insert_id };
            let command = Command::WriteReference(write);
            let entry = Entry { statement: Some(statement), at_ms: wall_clock_ms(), command };
            match self.propose(entry).await.map_err(super::execute::refusal)? {
                Err(Rejection::TableChanged(_)) => {}
                outcome => return Ok(outcome),
            }
        }
        Err(failed(&Rejection::TableChanged(table)))
    }
}
