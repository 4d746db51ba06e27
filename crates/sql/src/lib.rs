//! SQL: from a client's text to rows, keys and programs that the leaves run.
//!
//! * [`parse`] makes a [`Statement`] of text, or an error 1064 or 1235 that names the position. It never panics, and
//!   its depth and time are bounded.
//! * [`bind_insert`] and [`bind_change`] check a write against the catalog. An INSERT becomes rows of the columns'
//!   types, as MySQL's strict mode wants them; an UPDATE or DELETE becomes a [`ChangeProgram`] that the leaf runs on
//!   its rows ([`ChangeProgram::compile`], [`CompiledChange::evaluate`]).
//! * [`plan_read`] finds the queries that need no planner ([`ReadPlan::Constant`], [`ReadPlan::Points`]);
//!   [`execute_query`] runs any other by DataFusion, with scans pushed to the leaves through a [`Scanner`]. A leaf
//!   answers a [`ScanRequest`] with [`LeafScan`].
//! * [`answer_show`] answers the SHOWs that the catalog and the session can answer.
//!
//! Everything a leaf computes goes through one evaluator with MySQL's meaning of values ([`expression`]); the same
//! functions are given to DataFusion, so that a function means one thing everywhere.
//! Strings compare by their bytes. Times are UTC.
//!
//! Not here: sockets, storage, retries, and who is primary. Nothing here waits for anything but the [`Scanner`].

mod arrow;
mod bind;
pub mod expression;
mod leaf;
pub mod limits;
mod maintenance;
mod parse;
mod policy;
mod read;
mod session;
mod show;
mod statement;
mod users;
mod variables;

pub use bind::{
    Access, BoundChange, BoundInsert, InsertPlan, InsertTarget, Partitions, bind_change, bind_insert,
    classify, ordinal, row_key,
};
pub use expression::Expression;
pub use leaf::{Change, ChangeProgram, CompiledChange, LeafScan, ScanRequest};
pub use maintenance::{Maintenance, PartitionName};
pub use parse::{parameter_count, parse, substitute};
pub use policy::{PolicyScope, PolicyStatement, WantedPolicy};
pub use read::{
    BatchStream, PointGet, ReadPlan, Scanner, action_name, columns_of, execute_query, explain_query,
    plan_read,
};
pub use session::{ResultSet, Session};
pub use show::answer_show;
pub use statement::{
    Address, Assigned, BackupStatement, ChangeStatement, ClusterStatement, Insert, Login, MaintenanceKind,
    Place, Query, SchemaStatement, Show, ShowFilter, Statement, TableName,
};
pub use users::{GrantTarget, Granted, UserStatement, permit, permit_use};
