//! A scan of one partition: filter, projection and limit, from rows to batches.

use std::sync::Arc;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Datum, PartitionId, Row, TableSchema};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::arrow::{ColumnBuilder, encode, field};
use crate::bind::Access;
use crate::expression::{Expression, Value};

/// What an aggregator wants of one partition.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScanRequest {
    /// The partition.
    pub partition: PartitionId,
    /// The table.
    pub schema: TableSchema,
    /// The columns, by position, in the order they are wanted. May be none: then only rows are counted.
    pub projection: Vec<usize>,
    /// What a row must fulfil.
    pub filter: Option<Expression>,
    /// How many rows are enough.
    pub limit: Option<u64>,
    /// Which rows are to be read.
    pub access: Access,
}

/// The schema of the batches that answer a request.
pub(crate) fn batch_schema(schema: &TableSchema, projection: &[usize]) -> Result<SchemaRef, SqlError> {
    let fields: Option<Vec<_>> =
        projection.iter().map(|position| schema.columns.get(*position).map(field)).collect();
    let fields = fields.ok_or_else(|| {
        SqlError::new(
            ErrorCode::UnknownError,
            format!("A scan of {} names a column that is not there", schema.name),
        )
    })?;
    Ok(Arc::new(Schema::new(fields)))
}

/// A scan in progress.
pub struct LeafScan {
    batch_schema: SchemaRef,
    table: TableSchema,
    projection: Vec<usize>,
    filter: Option<Expression>,
    /// Rows that may still be sent.
    remaining: u64,
}

impl LeafScan {
    /// A scan that has read nothing yet.
    ///
    /// # Errors
    /// 1105 if the request names columns that its own schema does not have: a mistake of the sender.
    pub fn compile(request: &ScanRequest) -> Result<Self, SqlError> {
        Ok(Self {
            batch_schema: batch_schema(&request.schema, &request.projection)?,
            table: request.schema.clone(),
            projection: request.projection.clone(),
            filter: request.filter.clone(),
            remaining: request.limit.unwrap_or(u64::MAX),
        })
    }

    /// Whether enough was sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.remaining == 0
    }

    /// Takes the next rows, about [`SCAN_CHUNK_ROWS`](crate::limits::SCAN_CHUNK_ROWS); Some is a batch to be sent.
    ///
    /// # Errors
    /// What the filter fails with.
    pub fn feed(&mut self, rows: &[Row]) -> Result<Option<Vec<u8>>, SqlError> {
        self.batch(rows)?.map(|batch| encode(&batch)).transpose()
    }

    /// The batch of those rows that are wanted.
    pub(crate) fn batch(&mut self, rows: &[Row]) -> Result<Option<RecordBatch>, SqlError> {
        let mut kept: Vec<&Row> = Vec::with_capacity(rows.len());
        for row in rows {
            if self.is_done() {
                break;
            }
            let wanted = match &self.filter {
                Some(filter) => filter.truth(row)? == Some(true),
                None => true,
            };
            if wanted {
                kept.push(row);
                self.remaining -= 1;
            }
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let broken =
            |error| SqlError::new(ErrorCode::UnknownError, format!("Rows do not make a batch: {error}"));
        let mut columns = Vec::with_capacity(self.projection.len());
        for (position, field) in self.projection.iter().zip(self.batch_schema.fields()) {
            let of = self.table.columns[*position].column_type;
            let mut builder = ColumnBuilder::new(field.data_type(), kept.len()).map_err(broken)?;
            for row in &kept {
                builder.push(Value::of_column(row.get(*position).unwrap_or(&Datum::Null), of));
            }
            columns.push(builder.finish());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.batch_schema), columns, &options);
        batch.map(Some).map_err(broken)
    }
}
