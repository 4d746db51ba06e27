//! The words of Baton: ids, roles, states, values, limits, and how each is printed.
//!
//! Everything else in the house speaks these types, and the printed forms here are the ones that logs,
//! scripts, SQL answers and replays use.
//! Not here: any behaviour over time. A type that needs a clock or a message belongs to a core above this one.

mod archive;
mod blob;
pub mod errors;
mod hash;
mod ids;
mod key;
pub mod limits;
pub mod mutant;
mod roles;
mod row;
mod schema;
mod time;
mod value;

pub use archive::{ArchivePlace, Secret};
pub use blob::Blob;
pub use hash::shard_ordinal;
pub use ids::{
    CatalogIndex, ClusterId, DatabaseId, Epoch, Incarnation, Lsn, NodeId, PartitionId, StatementId, StoreId,
    TableId, TransactionId,
};
pub use key::{Key, KeyError, encode_key};
pub use roles::{AggregatorRole, Durability, InstanceRole, NodeRole, NodeState, ReplicationMode, SyncState};
pub use row::{RowError, decode_row, encode_row};
pub use schema::{Column, ColumnType, TableKind, TableSchema};
pub use time::Instant;
pub use value::{Datum, Row};

/// What clients are told that this server is: drivers turn features on by the number before the dash.
pub const SERVER_VERSION: &str = "8.0.36-Baton";
