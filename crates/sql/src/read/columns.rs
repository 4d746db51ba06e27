//! What columns a statement would answer with, before it is carried out.
//!
//! It is planned with NULL for each `?`. The planner reads no rows; a scan that it tried all the same would fail.

use std::sync::Arc;

use async_trait::async_trait;
use baton_catalog::Catalog;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum};

use super::execute::columns_of_query;
use super::{BatchStream, ReadPlan, Scanner, plan_read};
use crate::leaf::ScanRequest;
use crate::parse::{parameter_count, substitute};
use crate::session::Session;
use crate::show::answer_show;
use crate::statement::Statement;

/// The columns of a statement's answer, by name and type; None if it has no rows, or if they are not known before it
/// is carried out. The types of those that a `?` decides may differ then.
pub async fn columns_of(
    statement: &Statement,
    catalog: &Arc<Catalog>,
    session: &Session,
) -> Option<Vec<(String, ColumnType)>> {
    match statement {
        Statement::Query(_) => {}
        Statement::Show(show) => return Some(answer_show(show, catalog, session).ok()??.columns),
        _ => return None,
    }
    let nulls = vec![Datum::Null; parameter_count(statement)];
    let Ok(Statement::Query(query)) = substitute(statement, &nulls) else { return None };
    match plan_read(&query, catalog, session).ok()? {
        ReadPlan::Constant(result) => Some(result.columns),
        ReadPlan::Points(points) => Some(points.columns),
        ReadPlan::General => {
            columns_of_query(&query, Arc::clone(catalog), session, Arc::new(NoLeaves)).await.ok()
        }
    }
}

/// No way to any leaf.
#[derive(Debug)]
struct NoLeaves;

#[async_trait]
impl Scanner for NoLeaves {
    async fn scan(&self, _request: ScanRequest) -> Result<BatchStream, SqlError> {
        Err(SqlError::new(ErrorCode::UnknownError, "A statement that is only prepared reads nothing"))
    }
}
