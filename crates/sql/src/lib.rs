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

mod bind;
pub mod expression;
mod leaf;
pub mod limits;
mod parse;
mod read;
mod session;
mod show;
mod statement;
mod variables;

pub use bind::{
    Access, BoundChange, BoundInsert, InsertPlan, InsertTarget, Partitions, bind_change, bind_insert, classify,
    ordinal, row_key,
};
pub use leaf::{Change, ChangeProgram, CompiledChange, LeafScan, ScanRequest};
pub use parse::{parameter_count, parse, substitute};
pub use read::{BatchStream, PointGet, ReadPlan, Scanner, execute_query, explain_query, plan_read};
pub use session::{ResultSet, Session};
pub use show::answer_show;
pub use statement::{
    Address, ChangeStatement, ClusterStatement, Insert, Login, Place, Query, SchemaStatement, Show, ShowFilter,
    Statement, TableName,
};

#[cfg(any())]
mod signatures {
    // The functions named above, as they will stand. This module goes when they do.
    pub fn parse(sql: &str) -> Result<Statement, SqlError>;
    pub fn parameter_count(statement: &Statement) -> usize;
    pub fn substitute(statement: &Statement, parameters: &[Datum]) -> Result<Statement, SqlError>;
    pub fn classify(statement: &Statement, catalog: &Catalog, session: &Session) -> Place;

    pub fn bind_insert(insert: &Insert, catalog: &Catalog, session: &Session) -> Result<InsertPlan, SqlError>;
    pub enum InsertPlan {
        Rows(BoundInsert),
        /// Run the query, then `target.bind(result)`.
        Select { query: Query, target: InsertTarget },
    }
    impl InsertTarget {
        pub fn bind(&self, result: ResultSet) -> Result<BoundInsert, SqlError>;
    }
    pub struct BoundInsert {
        pub schema: Arc<TableSchema>,
        pub replace: bool,
        pub rows: Vec<Row>,
        /// The positions of the rows that need an AUTO_INCREMENT value.
        pub auto_increment_missing: Vec<usize>,
        /// The greatest AUTO_INCREMENT value that was given; the counter must pass it.
        pub auto_increment_given: Option<u64>,
    }
    impl BoundInsert {
        /// Gives `first`, `first + 1`, … to the rows that miss a value.
        pub fn fill_auto_increment(&mut self, first: u64) -> Result<(), SqlError>;
    }
    pub fn row_key(schema: &TableSchema, row: &[Datum], hidden: (StatementId, u32)) -> Result<Key, SqlError>;
    pub fn ordinal(schema: &TableSchema, row: &[Datum], key: &Key, partitions: u32) -> u32;

    pub fn bind_change(change: &ChangeStatement, catalog: &Catalog, session: &Session) -> Result<BoundChange, SqlError>;
    pub struct BoundChange {
        pub schema: Arc<TableSchema>,
        pub partitions: Partitions,
        /// serde; goes to the leaf (or runs at the master aggregator over a reference table's rows).
        pub program: ChangeProgram,
    }
    /// Which partitions may hold rows that are meant.
    pub enum Partitions { All, These(Vec<u32>) }
    /// Which rows of a partition may be meant: by whole key, by the beginning of the key, or all.
    pub enum Access { Keys(Vec<Key>), Prefix(Key), All }
    impl ChangeProgram {
        // pub schema, pub access: Access, …
        pub fn compile(self) -> Result<CompiledChange, SqlError>;
    }
    impl CompiledChange {
        /// For each row: None if the predicate does not hold.
        pub fn evaluate(&self, rows: &[Row]) -> Result<Vec<Option<Change>>, SqlError>;
    }
    pub enum Change { Update(Row), Unchanged, Delete }

    pub fn plan_read(query: &Query, catalog: &Catalog, session: &Session) -> Result<ReadPlan, SqlError>;
    pub enum ReadPlan { Constant(ResultSet), Points(PointGet), General }
    pub struct PointGet {
        pub schema: Arc<TableSchema>,
        /// Ordinal (0 of a reference table) and key of each row that may be there.
        pub keys: Vec<(u32, Key)>,
        pub columns: Vec<(String, ColumnType)>,
        pub projection: Vec<usize>,
    }
    impl PointGet {
        pub fn result(&self, rows: impl IntoIterator<Item = Row>) -> ResultSet;
    }
    pub async fn execute_query(
        query: &Query, catalog: Arc<Catalog>, session: &Session, scanner: Arc<dyn Scanner>,
    ) -> Result<ResultSet, SqlError>;
    pub async fn explain_query(
        query: &Query, catalog: Arc<Catalog>, session: &Session, scanner: Arc<dyn Scanner>,
    ) -> Result<ResultSet, SqlError>;

    #[async_trait]
    pub trait Scanner: Send + Sync + Debug {
        /// Sends the request to the primary of `request.partition`; the stream is what its `LeafScan` gave, in order.
        async fn scan(&self, request: ScanRequest) -> Result<BatchStream, SqlError>;
    }
    /// Encoded batches (Arrow IPC), opaque to whoever carries them.
    pub type BatchStream = BoxStream<'static, Result<Vec<u8>, SqlError>>;

    pub struct ScanRequest {
        pub partition: PartitionId,
        pub schema: TableSchema,
        pub projection: Vec<usize>,
        pub filter: Option<Expression>,
        pub limit: Option<u64>,
        pub access: Access,
    }
    impl LeafScan {
        pub fn compile(request: &ScanRequest) -> Result<LeafScan, SqlError>;
        /// Takes the next rows (about `SCAN_CHUNK_ROWS`); Some is a batch to send.
        pub fn feed(&mut self, rows: &[Row]) -> Result<Option<Vec<u8>>, SqlError>;
        /// Whether the limit is reached: stop reading.
        pub fn is_done(&self) -> bool;
    }

    /// None: the node itself must answer (AGGREGATORS, LEAVES, CLUSTER STATUS, PARTITIONS, PROCESSLIST, …).
    pub fn answer_show(show: &Show, catalog: &Catalog, session: &Session) -> Result<Option<ResultSet>, SqlError>;
}
