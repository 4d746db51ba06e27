//! Queries: the ones that need no planner, and all others through DataFusion.

mod columns;
mod engine;
mod errors;
mod execute;
mod filter;
mod functions;
mod operators;
mod planner;
mod rebalance;
mod rewrite;
mod shortcut;
mod system;
mod table;
mod types;

use std::fmt::Debug;

use async_trait::async_trait;
use baton_model::errors::SqlError;
use futures::stream::BoxStream;

pub use self::columns::columns_of;
pub use self::execute::{execute_query, explain_query};
pub use self::rebalance::action_name;
pub use self::shortcut::{PointGet, ReadPlan, plan_read};
pub(crate) use self::system::{
    SYSTEM_TABLES, column_key, database_names, keys, schema_of, shown_default, system_table,
};
use crate::leaf::ScanRequest;

/// Encoded batches, opaque to whoever carries them: what a [`LeafScan`](crate::LeafScan) gave, in order.
pub type BatchStream = BoxStream<'static, Result<Vec<u8>, SqlError>>;

/// How a query reaches the leaves.
#[async_trait]
pub trait Scanner: Send + Sync + Debug {
    /// Sends the request to the primary of `request.partition`. The scans of a query run side by side.
    ///
    /// # Errors
    /// Whatever the client is to be told if the partition cannot be read.
    async fn scan(&self, request: ScanRequest) -> Result<BatchStream, SqlError>;
}
