//! AUTO_INCREMENT values: taken from the catalog in blocks, and given out here.
//!
//! * A table's values are given out under a lock of its own, so that a table that waits for the master aggregator
//!   holds up no other; and who waits for that lock waits no longer than a statement may.
//! * A value that was given in a statement may lie in another aggregator's block, which gives it out later. That
//!   statement then finds the key taken, throws the rest of the block away, and begins a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use baton_catalog::{Command, Entry, Reply};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::AUTO_INCREMENT_BLOCK;
use baton_model::{StatementId, TableId};
use baton_sql::BoundInsert;

use super::Aggregator;
use super::master::ProposalError;
use crate::server::wall_clock_ms;

/// Values that may be given out.
#[derive(Debug, Default)]
struct Block {
    next: u64,
    /// Exclusive.
    end: u64,
}

/// What this aggregator may give out, by table.
#[derive(Debug, Default)]
pub struct AutoIncrement(Mutex<BTreeMap<TableId, Arc<tokio::sync::Mutex<Block>>>>);

impl AutoIncrement {
    fn of(&self, table: TableId) -> Arc<tokio::sync::Mutex<Block>> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(table).or_default())
    }

    fn forget(&self, table: TableId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&table);
    }
}

impl Aggregator {
    /// Gives out no value of the table's present block any more.
    pub fn forget_auto_increment(&self, table: TableId) {
        self.auto_increment.forget(table);
    }

    /// Gives AUTO_INCREMENT values to the rows that miss one, and answers with the first of them, or 0.
    /// Values come in blocks of [`AUTO_INCREMENT_BLOCK`] from the catalog, so each aggregator has its own.
    ///
    /// # Errors
    /// [`SqlError`]; nothing was written.
    pub async fn number_rows(&self, bound: &mut BoundInsert) -> Result<u64, SqlError> {
        let table = bound.schema.id;
        let count = bound.auto_increment_missing.len() as u64;
        if count == 0 && bound.auto_increment_given.is_none() {
            return Ok(0);
        }
        let block = self.auto_increment.of(table);
        let patience = self.buffer_time();
        let Ok(mut block) = tokio::time::timeout(patience, block.lock()).await else {
            return Err(ProposalError::NoMaster.into());
        };
        if let Some(given) = bound.auto_increment_given {
            let known =
                self.context.catalog().table_by_id(table).map_or(1, |table| table.auto_increment_next);
            if given >= known {
                self.take_auto_increment(table, 0, given.saturating_add(1)).await?;
            }
            // A value of this aggregator's own block is not given out a second time.
            block.next = block.next.max(given.saturating_add(1)).min(block.end);
        }
        if count == 0 {
            return Ok(0);
        }
        if block.end - block.next < count {
            let size = count.max(AUTO_INCREMENT_BLOCK);
            block.next = self.take_auto_increment(table, size, 1).await?;
            block.end = block.next.saturating_add(size);
        }
        let first = block.next;
        block.next += count;
        drop(block);
        bound.fill_auto_increment(first)?;
        Ok(first)
    }

    /// Takes `count` AUTO_INCREMENT values from the catalog, as the master aggregator or through it.
    ///
    /// # Errors
    /// [`SqlError`].
    async fn take_auto_increment(&self, table: TableId, count: u64, at_least: u64) -> Result<u64, SqlError> {
        let command = Command::TakeAutoIncrement { table, count, at_least };
        let statement = Some(StatementId(rand::random()));
        match self.propose_surely(Entry { statement, at_ms: wall_clock_ms(), command }).await {
            Ok(Ok(Reply::AutoIncrement(first))) => Ok(first),
            Ok(Ok(other)) => {
                Err(SqlError::new(ErrorCode::UnknownError, format!("unexpected reply {other:?}")))
            }
            Ok(Err(rejection)) => Err((&rejection).into()),
            // Whether values were taken is unknown and of no matter: no row was written with them.
            Err(error) if error.code == ErrorCode::OutcomeUnknown => Err(ProposalError::NoMaster.into()),
            Err(error) => Err(error),
        }
    }
}
