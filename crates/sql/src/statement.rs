//! What a client can ask for, as [`parse`](crate::parse) understands it.
//!
//! Names of databases and tables stand as they were written; what they mean is looked up when a statement is bound.
//! Not here: whether a statement makes sense. That needs a catalog.

use baton_model::{ArchivePlace, Durability, ReplicationMode, TableSchema};
use datafusion::sql::sqlparser::ast;

use crate::maintenance::Maintenance;
use crate::policy::PolicyStatement;
use crate::users::UserStatement;

/// One statement.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a statement lives once, where it is carried out")]
pub enum Statement {
    /// About nodes, policies and users: for the master aggregator.
    Cluster(ClusterStatement),
    /// About databases and tables: for the master aggregator.
    Schema(SchemaStatement),
    /// BACKUP, RESTORE and SNAPSHOT of a database: for the master aggregator.
    Backup(BackupStatement),
    /// INSERT and REPLACE.
    Insert(Insert),
    /// UPDATE, DELETE and TRUNCATE.
    Change(ChangeStatement),
    /// SELECT, VALUES, WITH, UNION.
    Query(Query),
    /// EXPLAIN of a query.
    Explain(Query),
    /// SHOW and DESCRIBE.
    Show(Show),
    /// `SET GLOBAL a = …, GLOBAL b = …`: names in lower case, values as text.
    SetGlobal(Vec<(String, String)>),
    /// `SET a = …, NAMES …, SESSION TRANSACTION …`: names in lower case, with `@` those of the user's own variables.
    SetSession(Vec<(String, Assigned)>),
    /// `USE db`.
    Use(String),
    /// BEGIN and START TRANSACTION.
    Begin {
        /// READ ONLY.
        read_only: bool,
    },
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// `SAVEPOINT name`; names are without case.
    Savepoint(String),
    /// `ROLLBACK TO [SAVEPOINT] name`.
    RollbackTo(String),
    /// `RELEASE SAVEPOINT name`.
    ReleaseSavepoint(String),
}

/// What a variable of a session is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// A word, a text or a number, as text; DEFAULT as `DEFAULT`.
    Text(String),
    /// An expression; every value of a user's own variable is one.
    Computed(Box<ast::Expr>),
}

/// Where a node is reached: its SQL listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// `user[:'password']@'host':port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password; empty if none was given.
    pub password: String,
    /// The node.
    pub address: Address,
}

/// A statement about the cluster itself. Its `SHOW`s are in [`Show`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterStatement {
    /// `BOOTSTRAP AGGREGATOR 'host'[:port]`.
    BootstrapAggregator {
        /// The host under which others reach this node.
        host: String,
        /// The port, if one was given.
        port: Option<u16>,
    },
    /// `ADD AGGREGATOR login [AS VOTING MEMBER | AS FOLLOWER]`; a follower without the clause.
    AddAggregator {
        /// The node and how to log in there.
        login: Login,
        /// Whether it is to count for the quorum.
        voting_member: bool,
    },
    /// `REMOVE AGGREGATOR 'host':port`.
    RemoveAggregator(Address),
    /// `ADD LEAF login [INTO GROUP n]`.
    AddLeaf {
        /// The node and how to log in there.
        login: Login,
        /// The availability group, if one was given.
        group: Option<u32>,
    },
    /// `PROMOTE AGGREGATOR 'host':port TO MASTER`.
    PromoteAggregator(Address),
    /// What is said about users, and what they may do.
    User(UserStatement),
    /// What an operator asks for about leaves, instances and their placement.
    Maintenance(Maintenance),
    /// What an operator asks for about policies.
    Policy(PolicyStatement),
}

/// A statement about databases and tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaStatement {
    /// CREATE DATABASE.
    CreateDatabase {
        /// Its name.
        name: String,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// SYNC without the clause.
        replication: ReplicationMode,
        /// SYNC without the clause.
        durability: Durability,
        /// `PARTITIONS n`, 1 to `PARTITIONS_MAX`.
        partitions: Option<u32>,
    },
    /// ALTER DATABASE; at least one of the two is there.
    AlterDatabase {
        /// Its name.
        name: String,
        /// The new one, if it was given.
        replication: Option<ReplicationMode>,
        /// The new one, if it was given.
        durability: Option<Durability>,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// Its name.
        name: String,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// CREATE TABLE; the schema is checked, its ids are 0.
    CreateTable {
        /// The database, if the name was qualified.
        database: Option<String>,
        /// The definition.
        schema: Box<TableSchema>,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// DROP TABLE.
    DropTable {
        /// The tables.
        tables: Vec<TableName>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
}

/// A statement about a database as a whole and where else it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupStatement {
    /// `BACKUP [DATABASE] db [AS name] TO place [TIMEOUT ms]`.
    Backup {
        /// The database.
        database: String,
        /// The backup's name: the database's, if none was given.
        name: String,
        /// Where it goes.
        to: ArchivePlace,
        /// Milliseconds within which it must be done, if it was said.
        timeout_ms: Option<u64>,
    },
    /// `RESTORE [DATABASE] db [AS name] FROM place [WITH …] [PARTITIONS n]`.
    Restore {
        /// The backup's name.
        backup: String,
        /// The new database: the backup's name, if none was given.
        name: String,
        /// Where it comes from.
        from: ArchivePlace,
        /// The backup's, if it was not said.
        replication: Option<ReplicationMode>,
        /// The backup's, if it was not said.
        durability: Option<Durability>,
        /// The backup's, if it was not said; 1 to `PARTITIONS_MAX`.
        partitions: Option<u32>,
    },
    /// `SNAPSHOT [DATABASE] db`, `_SYNC_SNAPSHOT db`.
    Snapshot {
        /// The database.
        database: String,
        /// Whether of the replicas as well.
        replicas: bool,
    },
}

/// A table as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The database, if the name was qualified.
    pub database: Option<String>,
    /// The table.
    pub table: String,
}

/// INSERT or REPLACE.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The table.
    pub table: TableName,
    /// Whether a row with the same key is replaced.
    pub replace: bool,
    /// The columns named, or none.
    pub(crate) columns: Vec<String>,
    /// Where the rows come from.
    pub(crate) source: InsertSource,
}

/// Where the rows of an INSERT come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InsertSource {
    /// VALUES, or SET as one row.
    Values(Vec<Vec<ast::Expr>>),
    /// A query.
    Query(Query),
}

/// UPDATE or DELETE of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeStatement {
    /// The table.
    pub table: TableName,
    /// Its alias in the statement.
    pub(crate) alias: Option<String>,
    /// `SET column = expression, …`; None deletes.
    pub(crate) assignments: Option<Vec<(String, ast::Expr)>>,
    /// WHERE.
    pub(crate) predicate: Option<ast::Expr>,
}

/// A query, with the text that its columns are named after.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The tree.
    pub(crate) ast: Box<ast::Query>,
    /// The text of each item of the outermost SELECT list as it was written; empty where it is not known.
    pub(crate) items: Vec<String>,
    /// FOR UPDATE or FOR SHARE, of the one table that it reads. The tree does not say it again.
    pub(crate) locks: bool,
}

impl Query {
    /// The rows that FOR UPDATE locks, as a DELETE would find them; None without such a clause.
    #[must_use]
    pub fn locking(&self) -> Option<ChangeStatement> {
        let select = match &*self.ast.body {
            ast::SetExpr::Select(select) if self.locks => select,
            _ => return None,
        };
        let [from] = select.from.as_slice() else { return None };
        if !from.joins.is_empty() {
            return None;
        }
        let (table, alias) = crate::parse::plain_table(&from.relation)?;
        Some(ChangeStatement { table, alias, assignments: None, predicate: select.selection.clone() })
    }
}

/// What narrows a SHOW.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShowFilter {
    /// `LIKE 'pattern'`, on the first column, without case.
    pub(crate) like: Option<String>,
    /// WHERE, on the columns of the answer.
    pub(crate) condition: Option<Box<ast::Expr>>,
}

/// What is to be done with all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceKind {
    /// Every node is stopped and started again, and the cluster goes on serving.
    Restart,
    /// The whole cluster is stopped.
    Stop,
    /// The whole cluster is started.
    Start,
}

/// SHOW and DESCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `SHOW AGGREGATORS [EXTENDED]`.
    Aggregators {
        /// EXTENDED.
        extended: bool,
    },
    /// `SHOW LEAVES`.
    Leaves,
    /// `SHOW CLUSTER STATUS`.
    ClusterStatus,
    /// `SHOW PARTITIONS [EXTENDED] [ON db]`.
    Partitions {
        /// EXTENDED.
        extended: bool,
        /// The database; the session's if None.
        database: Option<String>,
    },
    /// `SHOW REBALANCE STATUS ON db`, `SHOW REBALANCE ALL DATABASES STATUS`.
    RebalanceStatus {
        /// The database; None is all of them.
        database: Option<String>,
    },
    /// `EXPLAIN` of a plan or of what an operator's statement would do.
    Plan(Maintenance),
    /// `SHOW POLICIES`.
    Policies,
    /// `SHOW POLICY BINDINGS`.
    PolicyBindings,
    /// `SHOW POLICY DECISIONS [LIMIT n]`.
    PolicyDecisions {
        /// The newest n only.
        limit: Option<u64>,
    },
    /// `EXPLAIN POLICY DECISION id`.
    PolicyDecision {
        /// Its id.
        id: u64,
    },
    /// `SHOW SHADOW REPORT`.
    ShadowReport,
    /// `SHOW MAINTENANCE`.
    Maintenance,
    /// `EXPLAIN MAINTENANCE {RESTART | STOP | START}`.
    MaintenancePlan(MaintenanceKind),
    /// `SHOW EVENTS [LIMIT n]`.
    Events {
        /// The newest n only.
        limit: Option<u64>,
    },
    /// `SHOW DATABASES [LIKE …]`, `SHOW SCHEMAS`.
    Databases {
        /// EXTENDED.
        extended: bool,
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW [FULL] TABLES [FROM db] [LIKE …]`.
    Tables {
        /// FULL.
        full: bool,
        /// The database; the session's if None.
        database: Option<String>,
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW TABLE STATUS [FROM db] [LIKE …]`.
    TableStatus {
        /// The database; the session's if None.
        database: Option<String>,
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW [FULL] COLUMNS FROM table`, `DESCRIBE table`.
    Columns {
        /// FULL.
        full: bool,
        /// The table.
        table: TableName,
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW INDEX FROM table`.
    Indexes {
        /// The table.
        table: TableName,
    },
    /// `SHOW CREATE TABLE table`.
    CreateTable {
        /// The table.
        table: TableName,
    },
    /// `SHOW CREATE DATABASE db`.
    CreateDatabase {
        /// The database.
        database: String,
    },
    /// `SHOW [GLOBAL | SESSION] VARIABLES [LIKE … | WHERE …]`.
    Variables {
        /// GLOBAL.
        global: bool,
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW [GLOBAL | SESSION] STATUS [LIKE …]`.
    Status {
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW WARNINGS` and `SHOW ERRORS`.
    Warnings,
    /// `SHOW [FULL] PROCESSLIST`.
    Processlist,
    /// `SHOW ENGINES`.
    Engines,
    /// `SHOW COLLATION [LIKE …]`.
    Collation {
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW CHARACTER SET [LIKE …]`.
    CharacterSet {
        /// What to show.
        filter: ShowFilter,
    },
    /// `SHOW GRANTS [FOR user]`.
    Grants {
        /// The user; None is the session's own.
        user: Option<String>,
    },
    /// `SHOW TRANSACTION OUTCOME 'id'`.
    TransactionOutcome {
        /// What `@@baton_transaction_id` said.
        id: String,
    },
    /// `SHOW PLUGINS`, `SHOW TRIGGERS`, `SHOW PROCEDURE STATUS`, `SHOW FUNCTION STATUS`: always empty.
    Nothing {
        /// The names of the columns of the empty answer.
        columns: &'static [&'static str],
    },
}

/// Who must carry a statement out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Any aggregator by itself, from its session and its catalog.
    Local,
    /// The master aggregator.
    Master,
    /// The leaves, through any aggregator.
    Data,
}
