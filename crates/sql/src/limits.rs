//! What one statement may use.

use std::time::Duration;

/// Bytes that the operators of one node's queries may hold together; one that would hold more fails.
pub const QUERY_MEMORY_BYTES_MAX: usize = 512 << 20;
/// Rows that one query may answer with.
pub const RESULT_ROWS_MAX: usize = 1_000_000;
/// How long one query may run.
pub const QUERY_TIME_MAX: Duration = Duration::from_secs(300);
/// Tables in one FROM, as in MySQL.
pub const JOIN_TABLES_MAX: usize = 61;
/// Parentheses, subqueries, CASEs and other things within each other.
pub const NESTING_MAX: usize = 64;
/// Operators in one row (`a AND b AND …`, `a + b + …`).
pub const CHAIN_MAX: usize = 256;
/// How deep the tree of an expression may be: operators in a row and parentheses within each other together.
/// Whoever walks down such a tree has a stack of 2 MiB.
pub const DEPTH_MAX: usize = 320;
/// SELECTs of one statement; each may be a floor of its plan.
pub const SELECTS_MAX: usize = 256;
/// Rows that a leaf reads, filters and sends at once.
pub const SCAN_CHUNK_ROWS: usize = 1024;
/// Keys that a statement may look up one by one; with more it scans.
pub const POINT_KEYS_MAX: usize = 1024;
/// UNIONs, EXCEPTs and INTERSECTs of one statement.
pub const SET_OPERATIONS_MAX: usize = 64;
/// Words and signs of one statement.
pub const TOKENS_MAX: usize = 4_000_000;
/// Bytes of stack for planning one query; it recurses as deep as the query is.
pub const PLANNING_STACK_BYTES: usize = 64 << 20;
/// Bytes that the result of one query may have.
pub const RESULT_BYTES_MAX: usize = 256 << 20;
