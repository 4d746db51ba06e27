//! What nodes ask each other, and how they answer: the bodies of the transport's messages.

use std::fmt;

use baton_archive::{ArchivedFile, ArchivedPartition};
use baton_catalog::{CatalogRow, Entry, Outcome};
use baton_failover::LagReport;
use baton_model::errors::SqlError;
use baton_model::{
    ArchivePlace, Blob, CatalogIndex, ClusterId, Datum, Epoch, Incarnation, Key, Lsn, NodeId, PartitionId,
    StatementId, TableId, TableSchema, TransactionId,
};
use baton_replication::transaction::{self, Answer, Origin, Place};
use baton_sql::{ChangeProgram, ScanRequest, Session};
use baton_storage::CopyManifest;
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
    /// To a leaf: how is the one of this partition?
    Instance(PartitionId),
    /// To the master aggregator: how far is the catalog?
    CatalogIndex,
    /// To a primary: how a transaction ends, or ended.
    Transaction {
        /// The partition.
        partition: PartitionId,
        /// The request.
        request: transaction::Request,
    },
    /// To a primary: a statement of a transaction.
    WriteWithin(WriteRequest, Membership),
    /// To a primary: take back what statements of a transaction did.
    TakeBack(TakeBackRequest),
    /// To a leaf: what is known of a transaction that nobody runs any more?
    Knowledge {
        /// The transaction.
        transaction: TransactionId,
        /// The partitions to ask, and the epoch that each primary must have at least.
        partitions: Vec<(PartitionId, Epoch)>,
    },
    /// To a primary: which of these transactions are still prepared?
    StillPrepared {
        /// The partition.
        partition: PartitionId,
        /// In this epoch or a later one.
        epoch: Epoch,
        /// The transactions.
        transactions: Vec<TransactionId>,
    },
    /// To an aggregator: which of these transactions does it not run?
    NotRunning {
        /// The run of its process that they are of.
        incarnation: Incarnation,
        /// The transactions.
        transactions: Vec<TransactionId>,
    },
    /// To a leaf: which transactions wait for which?
    Waits,
    /// To the master aggregator: these replicas keep primaries of the sender waiting.
    ReportLag(Vec<LagReport>),
    /// To a leaf: bring all rows of your instance to disk, and cut its log.
    Snapshot {
        /// The partition.
        partition: PartitionId,
    },
    /// To a primary: take no new write, and say when those that are under way have ended.
    Drain(DrainRequest),
    /// To a leaf: remove what you have of a partition that the catalog, from this index on, does not give to you (S7).
    DropOrphan {
        /// The partition.
        partition: PartitionId,
        /// The catalog that says so.
        index: CatalogIndex,
    },
    /// To an aggregator: by which catalog's bindings of policies do you decide?
    BoundIndex,
}

/// A primary is to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// The node of the replica that takes over.
    pub to: NodeId,
    /// Milliseconds within which what is under way must end.
    pub drain_ms: u64,
    /// Milliseconds after that, after which writes are taken again if nobody else was named.
    pub hold_ms: u64,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForwardAnswer {
    /// Rows that it changed.
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value.
    pub last_insert_id: u64,
    /// The catalog must have this index before the client is told.
    pub index: CatalogIndex,
}

/// Why a statement was not executed by who was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ForwardRefusal {
    /// It is not the master aggregator. Nothing was done.
    NotTheMaster,
    /// It was, but cannot say what came of it; a retry with the same id is answered by the next one.
    Unknown,
    /// It is at work on it. Asked again with the same id, it goes on from there.
    StillRunning,
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
    /// SELECT … FOR UPDATE: only the locks.
    Lock {
        /// Which rows.
        program: ChangeProgram,
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
            Self::Change { program, .. } | Self::Lock { program } => program.schema.id,
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
    /// It is about to hand over to another instance. Nothing was done.
    HandingOver,
    /// What it reads may be committed already, by a transaction whose end is not known here yet. Nothing was done.
    InDoubt,
    /// What its transaction did here is gone: it has to be rolled back as a whole.
    RolledBack,
    /// Its transaction waits for one that waits for it: it has to be rolled back as a whole.
    Deadlock,
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
    /// The transaction that reads, if it has a workspace here.
    pub within: Option<Within>,
}

/// A read as a transaction that has a workspace in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its workspace.
    pub place: Place,
    /// Whether it sees only rows that it has locked.
    pub locked_only: bool,
}

/// A statement's transaction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whose it is.
    pub origin: Origin,
    /// Its workspace; None if no statement of it was answered by this partition.
    pub place: Option<Place>,
    /// The statement's number in it.
    pub number: u32,
    /// The oldest statement that may still be taken back.
    pub keep: u32,
}

/// A statement of a transaction was carried out, and can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenWithin {
    /// Where.
    pub place: Place,
    /// The rows it affected.
    pub affected_rows: u64,
    /// Whether there is anything to commit.
    pub has_written: bool,
}

/// Takes back what statements did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TakeBackRequest {
    /// The partition.
    pub partition: PartitionId,
    /// The transaction.
    pub transaction: TransactionId,
    /// Its workspace.
    pub place: Place,
    /// What came after this statement goes.
    pub after: u32,
    /// So many statements have been begun, and none of them comes again.
    pub begun: u32,
}

/// What a primary knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Knowledge {
    /// It was committed.
    Committed,
    /// Something of it is going on here.
    Undecided,
    /// Nothing, although nothing as young as it was forgotten.
    Nothing,
    /// Nothing, and that may have been forgotten.
    Forgotten,
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
    /// To [`Request::Instances`] and [`Request::Instance`].
    Instances(Vec<InstanceStatus>),
    /// To [`Request::CatalogIndex`]: everything up to here is committed; None is no master aggregator.
    CatalogIndex(Option<CatalogIndex>),
    /// To [`Request::Transaction`].
    Transaction(Answer),
    /// To [`Request::WriteWithin`].
    WrittenWithin(Result<WrittenWithin, DataRefusal>),
    /// To [`Request::TakeBack`].
    TakenBack(Result<WrittenWithin, DataRefusal>),
    /// To [`Request::Knowledge`]: of those partitions that could say it.
    Knowledge(Vec<(PartitionId, Knowledge)>),
    /// To [`Request::StillPrepared`]: None if it cannot say.
    StillPrepared(Option<Vec<TransactionId>>),
    /// To [`Request::NotRunning`].
    NotRunning(Vec<TransactionId>),
    /// To [`Request::Waits`]: who waits for whom.
    Waits(Vec<(TransactionId, TransactionId)>),
    /// To [`Request::ReportLag`]: whether it is the master aggregator, and has decided what it decides.
    LagHeard(bool),
    /// To [`Request::Snapshot`]: the rows that are on disk are as of this LSN.
    Snapshotted(Result<Lsn, DataRefusal>),
    /// To [`Request::Drain`]: nothing is under way after this LSN, or why it did not come to that.
    Drained(Result<Lsn, String>),
    /// To [`Request::DropOrphan`]: it is gone, or why not.
    OrphanDropped(Result<(), String>),
    /// To [`Request::BoundIndex`]: by those of this catalog.
    BoundIndex(CatalogIndex),
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
    Scan(Box<ScanRequest>, Option<Within>),
    /// To a primary: "Write your partition to an archive." Answered by [`ArchiveNews`].
    Backup(Box<BackupRequest>),
    /// To a primary: "Take in what an archive has of your partition." Answered by [`ArchiveNews`].
    Restore(Box<RestoreRequest>),
    /// "Send me a copy that you have made." Answered by [`CopyNews`]; who asked says [`CopyWant`].
    Copy {
        /// The partition.
        partition: PartitionId,
        /// The number of the copy.
        copy: u64,
    },
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

/// A partition on its way into an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The partition.
    pub partition: PartitionId,
    /// Its tables; what else is in it stays out.
    pub tables: Vec<TableId>,
    /// The archive.
    pub place: ArchivePlace,
    /// The backup's folder in it.
    pub folder: String,
    /// The folder in that for the files of this attempt. A file [`BEGUN`] is in it.
    pub run: String,
}

/// The file by which a leaf sees that an archive is the one that the master aggregator writes to.
pub const BEGUN: &str = "begun";

/// A partition on its way out of an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The partition, of a database that nobody sees.
    pub partition: PartitionId,
    /// The archive.
    pub place: ArchivePlace,
    /// The backup's folder in it.
    pub folder: String,
    /// The files that have rows of the partition.
    pub files: Vec<ArchivedFile>,
    /// By its number in the files, each table as it is now.
    pub tables: Vec<(TableId, TableSchema)>,
    /// How many partitions the database is cut into, if the files have rows of others as well.
    pub cut_into: Option<u32>,
}

/// What the master aggregator is told of a partition that is backed up or restored.
#[derive(Debug, Serialize, Deserialize)]
pub enum ArchiveNews {
    /// It goes on. Said at least every second.
    Alive,
    /// It is in the archive.
    Archived(ArchivedPartition),
    /// It is back, with so many rows.
    Restored(u64),
    /// It could not be done.
    Refused(DataRefusal),
}

/// What a replica is told of a copy that it fetches.
#[derive(Debug, Serialize, Deserialize)]
pub enum CopyNews {
    /// The first message: what it is.
    Manifest(CopyManifest),
    /// The next chunk.
    Chunk {
        /// Of this file.
        file: u32,
        /// Its number in the file.
        chunk: u32,
        /// All of it.
        bytes: Blob,
    },
    /// Nothing since the last message, but it goes on.
    Alive,
    /// There is no more.
    End,
    /// It is not there.
    Refused(String),
}

/// What a replica says of a copy that it fetches.
#[derive(Debug, Serialize, Deserialize)]
pub enum CopyWant {
    /// After the manifest: from here on; all before is here.
    From {
        /// The file.
        file: u32,
        /// The chunk.
        chunk: u32,
    },
    /// It is not what its manifest says. Nobody should fetch it any more.
    Damaged(String),
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
