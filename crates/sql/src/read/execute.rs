//! A query through DataFusion: rewritten, planned on a stack of its own, run, and gathered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use baton_catalog::Catalog;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::sql::planner::{NullOrdering, ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement as Ast;
use futures::{FutureExt, StreamExt};

use super::Scanner;
use super::engine::engine;
use super::errors::sql_error;
use super::planner::Planner;
use super::rewrite::{Rewritten, rewrite};
use crate::arrow::{column_type, datum_at};
use crate::bind::Context;
use crate::limits::{PLANNING_STACK_BYTES, QUERY_TIME_MAX, RESULT_BYTES_MAX, RESULT_ROWS_MAX};
use crate::session::{ResultSet, Session};
use crate::statement::Query;

/// A query, planned.
struct Planned {
    logical: LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    names: Vec<String>,
}

impl Planned {
    /// Names and types of the result's columns.
    fn columns(&self) -> Result<Vec<(String, ColumnType)>, SqlError> {
        let schema = self.physical.schema();
        let fields = schema.fields().iter().zip(&self.names);
        fields.map(|(field, name)| Ok((name.clone(), column_type(field)?))).collect()
    }
}

/// Runs a query and gathers its result.
///
/// # Errors
/// Unknown names, what is not supported, what a computation or a leaf fails with, and the limits of memory, rows and
/// time.
pub async fn execute_query(
    query: &Query,
    catalog: Arc<Catalog>,
    session: &Session,
    scanner: Arc<dyn Scanner>,
) -> Result<ResultSet, SqlError> {
    let running = async {
        let planned = plan(query, catalog, session, scanner).await?;
        gather(planned).await
    };
    guarded(running).await
}

/// How a query would be run, as rows of text.
///
/// # Errors
/// As [`execute_query`], but for those of running it.
pub async fn explain_query(
    query: &Query,
    catalog: Arc<Catalog>,
    session: &Session,
    scanner: Arc<dyn Scanner>,
) -> Result<ResultSet, SqlError> {
    let planned = guarded(plan(query, catalog, session, scanner)).await?;
    let logical = planned.logical.display_indent().to_string();
    let physical = displayable(planned.physical.as_ref()).indent(false).to_string();
    let lines = logical.lines().chain([""]).chain(physical.lines());
    let rows = lines.map(|line| vec![Datum::Text(line.to_owned())]).collect();
    Ok(ResultSet { columns: vec![("EXPLAIN".into(), ColumnType::Text)], rows })
}

/// The columns of a query's result.
pub(super) async fn columns_of_query(
    query: &Query,
    catalog: Arc<Catalog>,
    session: &Session,
    scanner: Arc<dyn Scanner>,
) -> Result<Vec<(String, ColumnType)>, SqlError> {
    guarded(plan(query, catalog, session, scanner)).await?.columns()
}

/// Ends what takes too long, and makes an error of a panic in the engine.
async fn guarded<T>(running: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    match tokio::time::timeout(QUERY_TIME_MAX, AssertUnwindSafe(running).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(broke()),
        Err(_) => {
            let text = format!("Query execution was interrupted after {} s", QUERY_TIME_MAX.as_secs());
            Err(SqlError::new(ErrorCode::Interrupted, text))
        }
    }
}

fn broke() -> SqlError {
    SqlError::new(ErrorCode::UnknownError, "The query engine failed on this query")
}

/// Plans on a thread of its own, because planning recurses as deep as the query is, on tables that answer at once.
async fn plan(
    query: &Query,
    catalog: Arc<Catalog>,
    session: &Session,
    scanner: Arc<dyn Scanner>,
) -> Result<Planned, SqlError> {
    let (query, session) = (query.clone(), session.clone());
    let (answer, planned) = tokio::sync::oneshot::channel();
    let work = move || {
        let context = Context { catalog: &catalog, session: &session };
        // Nobody listens any more if the client is gone.
        let _ = answer.send(futures::executor::block_on(plan_here(&query, &context, &scanner)));
    };
    std::thread::Builder::new().name("plan".into()).stack_size(PLANNING_STACK_BYTES).spawn(work).map_err(
        |error| SqlError::new(ErrorCode::UnknownError, format!("No thread to plan the query on: {error}")),
    )?;
    planned.await.map_err(|_| broke())?
}

async fn plan_here(
    query: &Query,
    context: &Context<'_>,
    scanner: &Arc<dyn Scanner>,
) -> Result<Planned, SqlError> {
    let Rewritten { ast, tables, names } = rewrite(query, context, scanner)?;
    let state = engine();
    let planner = Planner { state: &state, tables };
    let options = ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_parse_float_as_decimal(true)
        .with_map_string_types_to_utf8view(false)
        .with_default_null_ordering(NullOrdering::NullsMin);
    let logical = SqlToRel::new_with_options(&planner, options)
        .sql_statement_to_plan(Ast::Query(ast))
        .map_err(sql_error)?;
    let names = names.of(logical.schema());
    let logical = state.optimize(&logical).map_err(sql_error)?;
    let physical = state.query_planner().create_physical_plan(&logical, &state).await.map_err(sql_error)?;
    Ok(Planned { logical, physical, context: state.task_ctx(), names })
}

async fn gather(planned: Planned) -> Result<ResultSet, SqlError> {
    let mut result = ResultSet { columns: planned.columns()?, rows: Vec::new() };
    let mut batches = execute_stream(planned.physical, planned.context).map_err(sql_error)?;
    let mut bytes = 0_usize;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(sql_error)?;
        bytes = bytes.saturating_add(batch.get_array_memory_size());
        if result.rows.len() + batch.num_rows() > RESULT_ROWS_MAX || bytes > RESULT_BYTES_MAX {
            let text = format!(
                "A result has at most {RESULT_ROWS_MAX} rows and {RESULT_BYTES_MAX} bytes; add a LIMIT"
            );
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        for row in 0..batch.num_rows() {
            let row: Result<Vec<Datum>, SqlError> =
                batch.columns().iter().map(|column| datum_at(column.as_ref(), row)).collect();
            result.rows.push(row?);
        }
    }
    Ok(result)
}
