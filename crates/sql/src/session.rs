//! What a statement may know about the session it runs in, and what a query answers with.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_model::{ColumnType, NodeId, Row};
use serde::{Deserialize, Serialize};

use crate::expression::Value;

/// The session as statements see it. Filled by the gateway for each statement.
///
/// It can be sent to where a statement is carried out; variables of the node stay where they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Session {
    /// The current database.
    pub database: Option<String>,
    /// `user@host`.
    pub user: String,
    /// The connection's number.
    pub connection_id: u64,
    /// The wall clock at the start of the statement: microseconds since 1970 UTC. What NOW() says.
    pub now_us: i64,
    /// What LAST_INSERT_ID() says.
    pub last_insert_id: u64,
    /// System variables that the session has set, by name in lower case.
    pub variables: BTreeMap<String, String>,
    /// The user's own variables, by name in lower case without `@`.
    pub user_variables: BTreeMap<String, Value<'static>>,
    /// Variables of this node (`hostname`, `port`, `master_aggregator`, …), by name in lower case.
    #[serde(skip)]
    pub node_variables: Arc<BTreeMap<String, String>>,
    /// The master aggregator, if it is known: for `information_schema.AGGREGATORS`.
    pub master: Option<NodeId>,
}

/// Names and types of columns, and the rows: each datum is of its column's type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    /// Each column's name and type.
    pub columns: Vec<(String, ColumnType)>,
    /// The rows.
    pub rows: Vec<Row>,
}
