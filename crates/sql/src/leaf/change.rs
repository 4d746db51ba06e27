//! UPDATE and DELETE, on the rows of one partition.

use baton_model::errors::SqlError;
use baton_model::{Datum, Row, TableSchema};
use serde::{Deserialize, Serialize};

use crate::bind::Access;
use crate::expression::Expression;
use crate::expression::coerce::coerce;

/// An UPDATE or DELETE of one table, as it is sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChangeProgram {
    /// The table.
    pub schema: TableSchema,
    /// Which rows are to be read.
    pub access: Access,
    /// WHERE; None is all rows.
    pub predicate: Option<Expression>,
    /// The columns that are set, in order; None deletes.
    pub assignments: Option<Vec<(usize, Expression)>>,
}

/// What becomes of a row that is meant.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// It is this now. Its key is the same.
    Update(Row),
    /// It has the values already; MySQL counts it as matched, not as affected.
    Unchanged,
    /// It goes.
    Delete,
}

/// A program, checked and ready to run.
pub struct CompiledChange(ChangeProgram);

impl ChangeProgram {
    /// The program, ready to run.
    ///
    /// # Errors
    /// 1105 if it names columns that its own schema does not have: a mistake of the sender.
    pub fn compile(self) -> Result<CompiledChange, SqlError> {
        let columns = self.schema.columns.len();
        if self.assignments.iter().flatten().any(|(position, _)| *position >= columns) {
            let text = format!("A change of {} names a column that is not there", self.schema.name);
            return Err(SqlError::new(baton_model::errors::ErrorCode::UnknownError, text));
        }
        Ok(CompiledChange(self))
    }
}

impl CompiledChange {
    /// What becomes of each row; None if it is not meant.
    ///
    /// # Errors
    /// What an assigned value does not fit for, as in INSERT. The statement changes nothing then.
    pub fn evaluate(&self, rows: &[Row]) -> Result<Vec<Option<Change>>, SqlError> {
        rows.iter().enumerate().map(|(n, row)| self.evaluate_row(row, n + 1)).collect()
    }

    fn evaluate_row(&self, row: &Row, number: usize) -> Result<Option<Change>, SqlError> {
        let program = &self.0;
        if let Some(predicate) = &program.predicate
            && predicate.truth(row)? != Some(true)
        {
            return Ok(None);
        }
        let Some(assignments) = &program.assignments else { return Ok(Some(Change::Delete)) };
        let mut changed = row.clone();
        // Columns that were added after the row was written.
        changed.resize(program.schema.columns.len().max(row.len()), Datum::Null);
        // From left to right, each on what the ones before it left.
        for (position, value) in assignments {
            let datum = coerce(value.evaluate(&changed)?, &program.schema.columns[*position], number)?;
            changed[*position] = datum;
        }
        let same = changed[..row.len()] == row[..] && changed[row.len()..].iter().all(Datum::is_null);
        Ok(Some(if same { Change::Unchanged } else { Change::Update(changed) }))
    }
}
