//! A sharded table as DataFusion sees it: one scan per partition, each run by the partition's leaf.

use std::sync::Arc;

use async_trait::async_trait;
use baton_model::{PartitionId, TableSchema};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};

use super::Scanner;
use super::errors::pass;
use super::filter::condition;
use crate::arrow::{decode, field};
use crate::bind::{Partitions, reach};
use crate::expression::Expression;
use crate::leaf::ScanRequest;

/// A sharded table of one database.
#[derive(Debug)]
pub(super) struct ShardedTable {
    pub(super) schema: TableSchema,
    /// How many partitions its database has.
    pub(super) partitions: u32,
    pub(super) scanner: Arc<dyn Scanner>,
    pub(super) arrow_schema: SchemaRef,
}

impl ShardedTable {
    pub(super) fn new(schema: TableSchema, partitions: u32, scanner: Arc<dyn Scanner>) -> Self {
        let arrow_schema = Arc::new(Schema::new(schema.columns.iter().map(field).collect::<Vec<_>>()));
        Self { schema, partitions, scanner, arrow_schema }
    }
}

#[async_trait]
impl TableProvider for ShardedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow_schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match condition(filter, &self.schema) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.columns.len()).collect());
        let batch_schema = Arc::new(self.arrow_schema.project(&projection)?);
        let mut terms = Vec::with_capacity(filters.len());
        for filter in filters {
            let term = condition(filter, &self.schema).ok_or_else(|| {
                DataFusionError::Internal(format!("a filter that was refused came back: {filter}"))
            })?;
            match term {
                Expression::And(inner) => terms.extend(inner),
                other => terms.push(other),
            }
        }
        let filter = (!terms.is_empty()).then_some(Expression::And(terms));
        let reach = reach(&self.schema, filter.as_ref(), self.partitions);
        let ordinals = match &reach.partitions {
            Partitions::All => (0..self.partitions).collect(),
            Partitions::These(ordinals) => ordinals.clone(),
        };
        if ordinals.is_empty() {
            return Ok(Arc::new(EmptyExec::new(batch_schema)));
        }
        let requests = ordinals
            .into_iter()
            .map(|ordinal| ScanRequest {
                partition: PartitionId { database: self.schema.database, ordinal },
                schema: self.schema.clone(),
                projection: projection.clone(),
                filter: filter.clone(),
                limit: limit.map(|limit| limit as u64),
                access: reach.of(ordinal),
            })
            .collect();
        Ok(Arc::new(LeafScans::new(requests, batch_schema, Arc::clone(&self.scanner))))
    }
}

/// The scans of a table, one partition each.
#[derive(Debug)]
struct LeafScans {
    requests: Vec<ScanRequest>,
    scanner: Arc<dyn Scanner>,
    properties: Arc<PlanProperties>,
}

impl LeafScans {
    fn new(requests: Vec<ScanRequest>, batch_schema: SchemaRef, scanner: Arc<dyn Scanner>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(batch_schema),
            Partitioning::UnknownPartitioning(requests.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { requests, scanner, properties }
    }
}

impl DisplayAs for LeafScans {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(first) = self.requests.first() else { return write!(f, "LeafScans: nothing") };
        let columns: Vec<&str> =
            first.projection.iter().map(|position| first.schema.columns[*position].name.as_str()).collect();
        let ordinals: Vec<u32> = self.requests.iter().map(|request| request.partition.ordinal).collect();
        let access = match &first.access {
            crate::bind::Access::Keys(_) => "keys",
            crate::bind::Access::Prefix(_) => "key prefix",
            crate::bind::Access::All => "all rows",
        };
        write!(
            f,
            "LeafScans: table={}, columns=[{}], partitions={ordinals:?}",
            first.schema.name,
            columns.join(", ")
        )?;
        write!(f, ", access={access}, filter={}", if first.filter.is_some() { "yes" } else { "no" })?;
        first.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for LeafScans {
    fn name(&self) -> &str {
        "LeafScans"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let request = self.requests.get(partition).cloned().ok_or_else(|| {
            DataFusionError::Internal(format!("there is no partition {partition} of this scan"))
        })?;
        let scanner = Arc::clone(&self.scanner);
        let schema = self.schema();
        let expected = Arc::clone(&schema);
        let batches = stream::once(async move { scanner.scan(request).await })
            .try_flatten()
            .map_err(pass)
            .map(move |encoded| received(&encoded?, &expected))
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// The batches that a leaf sent, if they are of the types that were asked for.
fn received(encoded: &[u8], expected: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let batches = decode(encoded).map_err(pass)?;
    for batch in &batches {
        let sent = batch.schema();
        let same = sent.fields().len() == expected.fields().len()
            && sent
                .fields()
                .iter()
                .zip(expected.fields())
                .all(|(sent, wanted)| sent.data_type() == wanted.data_type());
        if !same {
            return Err(DataFusionError::Execution("A leaf sent other columns than it was asked for".into()));
        }
    }
    Ok(batches)
}
