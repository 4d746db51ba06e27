//! What nodes ask each other, and how they answer: the bodies of the transport's messages.

use std::fmt;

use baton_catalog::{CatalogRow, Entry, Outcome};
use baton_failover::LagReport;
use baton_model::errors::SqlError;
use baton_model::{
    Blob, CatalogIndex, ClusterId, Datum, Epoch, Key, Lsn, NodeId, PartitionId, StatementId, TableId,
};
use baton_sql::{ChangeProgram, ScanRequest, Session};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A question that has one answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// "Be a member of my cluster."
    Join(JoinRequest),
    /// The control group's own messages, opaque.
    Raft(Vec<u8>),
    /// To the master aggregator: propose this.
    Propose(Entry),
    /// To the master aggregator: execute this statement.
    Forward(ForwardRequest),
    /// To a primary: write.
    Write(WriteRequest),
    /// To a primary: read rows by key.
    Get(GetRequest),
    /// To a leaf: how are your instances?
    Instances,
    /// To the master aggregator: how far is the catalog?
    CatalogIndex,
    /// To the master aggregator: these replicas keep primaries of the sender waiting.
    ReportLag(Vec<LagReport>),
}

/// Makes a node a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's id in it.
    pub node: NodeId,
    /// Where it may watch the catalog: `host:port` of RPC listeners of aggregators.
    pub aggregators: Vec<String>,
}

/// A statement on its way to the master aggregator.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForwardRequest {
    /// The same for every retry (S12).
    pub statement: StatementId,
    /// Its text.
    pub sql: String,
    /// The values of its `?`.
    pub parameters: Vec<Datum>,
    /// The session's user.
    pub user: String,
    /// The session, without the variables of its node.
    pub session: Session,
    /// Whether the count of an UPDATE is to be that of the rows it found.
    pub counts_found_rows: bool,
}

/// A forwarded statement was executed.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForwardAnswer {
    /// Rows that it changed.
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value.
    pub last_insert_id: u64,
    /// The catalog must have this index before the client is told.
    pub index: CatalogIndex,
}

/// Why a statement was not executed by who was asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum ForwardRefusal {
    /// It is not the master aggregator. Nothing was done.
    NotTheMaster,
    /// It was, but cannot say what came of it; a retry with the same id is answered by the next one.
    Unknown,
    /// The statement failed.
    Failed(SqlError),
}

/// A write for one partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WriteRequest {
    /// The partition.
    pub partition: PartitionId,
    /// The same for every retry (S12).
    pub statement: StatementId,
    /// How long to wait for row locks.
    pub lock_wait_ms: u64,
    /// What to write.
    pub operation: WriteOperation,
}

/// What to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum WriteOperation {
    /// New rows.
    Insert {
        /// The table.
        table: TableId,
        /// Whether a row with the same key is replaced instead of an error.
        replace: bool,
        /// Key, encoded row.
        rows: Vec<(Key, Blob)>,
    },
    /// UPDATE or DELETE.
    Change {
        /// Which rows, and what becomes of them.
        program: ChangeProgram,
        /// Whether the answer counts the rows that were found, and not only those that are different now.
        count_found: bool,
    },
}

impl WriteOperation {
    /// The table that it writes to.
    pub fn table(&self) -> TableId {
        match self {
            Self::Insert { table, .. } => *table,
            Self::Change { program, .. } => program.schema.id,
        }
    }
}

/// Why a write or a read was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataRefusal {
    /// The instance is no primary that serves. Nothing was done.
    NotPrimary,
    /// It stopped being the primary while the write waited; a retry with the same id is answered by the next primary.
    Deposed,
    /// Too many writes wait. Nothing was done.
    Busy,
    /// The statement failed. Nothing was done.
    Failed(SqlError),
    /// The leaf does not know whether what it has read is the present: the master aggregator has not confirmed it
    /// lately. Nothing was done.
    NoLease,
}

/// Rows by key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetRequest {
    /// The partition.
    pub partition: PartitionId,
    /// The table.
    pub table: TableId,
    /// The keys.
    pub keys: Vec<Key>,
}

/// How one instance is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its partition.
    pub partition: PartitionId,
    /// `primary`, `replica`, `idle`, `halted`, or `orphan`.
    pub role: String,
    /// Whether it serves clients.
    pub serving: bool,
    /// The newest epoch it knows.
    pub epoch: Epoch,
    /// The end of its log.
    pub last: Lsn,
    /// Everything up to here is committed.
    pub commit: Lsn,
    /// Its rows are as of this LSN.
    pub applied: Lsn,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Join`]: done, or why not.
    Joined(Result<(), String>),
    /// To [`Request::Raft`].
    Raft(Vec<u8>),
    /// To [`Request::Propose`].
    Proposed(Result<Outcome, ForwardRefusal>),
    /// To [`Request::Forward`].
    Forwarded(Result<ForwardAnswer, ForwardRefusal>),
    /// To [`Request::Write`]: the affected rows.
    Written(Result<u64, DataRefusal>),
    /// To [`Request::Get`]: the encoded rows, in the order of the keys.
    Rows(Result<Vec<Option<Vec<u8>>>, DataRefusal>),
    /// To [`Request::Instances`].
    Instances(Vec<InstanceStatus>),
    /// To [`Request::CatalogIndex`]: everything up to here is committed; None is no master aggregator.
    CatalogIndex(Option<CatalogIndex>),
    /// To [`Request::ReportLag`]: whether it is the master aggregator, and has decided what it decides.
    LagHeard(bool),
}

/// A question whose answer is a stream.
#[derive(Debug, Serialize, Deserialize)]
pub enum Opening {
    /// "Tell me the catalog from after this index on." Answered by [`CatalogNews`].
    WatchCatalog {
        /// What the watcher has.
        from: CatalogIndex,
    },
    /// "I am your replica." Both sides speak [`baton_replication::Message`].
    Replicate {
        /// The partition.
        partition: PartitionId,
    },
    /// "Send me these rows." Answered by [`ScanNews`].
    Scan(Box<ScanRequest>),
}

/// What a watcher of the catalog is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum CatalogNews {
    /// A whole catalog begins: this many rows follow in [`CatalogNews::Rows`].
    Snapshot {
        /// Its index.
        index: CatalogIndex,
        /// How many rows.
        rows: u64,
    },
    /// Some of its rows.
    Rows(Vec<CatalogRow>),
    /// The next entry.
    Entry(CatalogIndex, Box<Entry>),
    /// Nothing happened, and the watched node lives.
    Alive,
}

/// What a scanner is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum ScanNews {
    /// Some rows, as an Arrow batch.
    Batch(Vec<u8>),
    /// No rows since the last message, but it goes on. Said at least every second.
    Alive,
    /// There are no more.
    End,
    /// It could not be done.
    Refused(DataRefusal),
}

/// Bytes that are no message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message that this version cannot read")
    }
}

impl std::error::Error for Garbled {}

/// A body as bytes.
///
/// # Panics
/// Never on what this module defines: postcard can write all of it.
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    postcard::to_stdvec(body).expect("postcard writes every message of ours")
}

/// Bytes as a body.
///
/// # Errors
/// [`Garbled`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Garbled> {
    postcard::from_bytes(bytes).map_err(|_| Garbled)
}
