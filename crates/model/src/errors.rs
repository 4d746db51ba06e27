//! What a SQL client is told when something cannot be done: one table of every error.
//!
//! Number, SQLSTATE, whether the same statement may succeed if it is sent again, and what the operator should do.
//! Texts with details are made where the error arises; the number always comes from here.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! error_table {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $state:literal, $retryable:literal, $remedy:literal;)*) => {
        /// A MySQL error that Baton can answer with.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$doc])* $name),* }

        impl ErrorCode {
            /// Every row of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The MySQL error number.
            #[must_use]
            pub const fn number(self) -> u16 { match self { $(Self::$name => $number),* } }

            /// The five characters of the SQLSTATE.
            #[must_use]
            pub const fn sqlstate(self) -> &'static str { match self { $(Self::$name => $state),* } }

            /// Whether the same statement may succeed if the client sends it again.
            #[must_use]
            pub const fn retryable(self) -> bool { match self { $(Self::$name => $retryable),* } }

            /// What the operator or the client should do.
            #[must_use]
            pub const fn remedy(self) -> &'static str { match self { $(Self::$name => $remedy),* } }
        }
    };
}

error_table! {
    /// Can't create database; it exists.
    DatabaseExists = 1007, "HY000", false, "Choose another name, or say IF NOT EXISTS.";
    /// Can't drop database; it does not exist.
    DatabaseDropMissing = 1008, "HY000", false, "Check the name, or say IF EXISTS.";
    /// Too many connections.
    TooManyConnections = 1040, "08004", true, "Close connections, or use another aggregator.";
    /// The handshake could not be read.
    HandshakeError = 1043, "08S01", false, "Connect with a MySQL client of protocol 10.";
    /// No privilege in a database.
    DatabaseAccessDenied = 1044, "42000", false, "Ask whoever has the right: GRANT ... ON db.* TO user.";
    /// Wrong user or password.
    AccessDenied = 1045, "28000", false, "Check user and password.";
    /// No database selected.
    NoDatabase = 1046, "3D000", false, "Say USE db, or qualify the table.";
    /// NULL in a NOT NULL column.
    ColumnCannotBeNull = 1048, "23000", false, "Give a value.";
    /// Unknown database.
    UnknownDatabase = 1049, "42000", false, "Check the name with SHOW DATABASES.";
    /// Table already exists.
    TableExists = 1050, "42S01", false, "Choose another name, or say IF NOT EXISTS.";
    /// Unknown table in DROP TABLE.
    UnknownTable = 1051, "42S02", false, "Check the name, or say IF EXISTS.";
    /// Server shutdown in progress.
    ServerShutdown = 1053, "08S01", true, "Reconnect to another aggregator.";
    /// Unknown column.
    UnknownColumn = 1054, "42S22", false, "Check the name with SHOW COLUMNS.";
    /// Duplicate column name.
    DuplicateColumn = 1060, "42S21", false, "Name each column once.";
    /// Duplicate entry for the primary key.
    DuplicateEntry = 1062, "23000", false, "Use another key, REPLACE, or UPDATE.";
    /// The statement could not be parsed.
    ParseError = 1064, "42000", false, "Mend the statement at the position given.";
    /// Invalid default value.
    InvalidDefault = 1067, "42000", false, "Give a default that fits the column.";
    /// More than one primary key.
    MultiplePrimaryKeys = 1068, "42000", false, "Declare one primary key.";
    /// A key names a column that the table does not have.
    KeyColumnMissing = 1072, "42000", false, "Name columns of the table.";
    /// Only one AUTO_INCREMENT column, and it must be a key column.
    WrongAutoIncrement = 1075, "42000", false, "Declare one integer AUTO_INCREMENT column in the primary key.";
    /// Something that is no fault of the statement.
    UnknownError = 1105, "HY000", false, "Read the message; if it names no cause, read the node's log.";
    /// Column specified twice.
    ColumnTwice = 1110, "42000", false, "Name each column once.";
    /// A limit was exceeded.
    TooBig = 1118, "42000", false, "Stay below the limit that the message names.";
    /// Column count doesn't match value count.
    ValueCount = 1136, "21S01", false, "Give one value per column.";
    /// What was never granted cannot be revoked.
    NonexistingGrant = 1141, "42000", false, "See SHOW GRANTS FOR the user.";
    /// No privilege for a table.
    TableAccessDenied = 1142, "42000", false, "Ask whoever has the right: GRANT ... ON db.table TO user.";
    /// No such table.
    NoSuchTable = 1146, "42S02", false, "Check the name with SHOW TABLES.";
    /// The packet is larger than the limit.
    PacketTooLarge = 1153, "08S01", false, "Send smaller statements.";
    /// Unknown system variable.
    UnknownVariable = 1193, "HY000", false, "Check the name with SHOW VARIABLES.";
    /// A row lock could not be had in time.
    LockWaitTimeout = 1205, "HY000", true, "Send the statement again.";
    /// A transaction was rolled back as a whole: a deadlock, or a partition's primary was lost with what it had done.
    Deadlock = 1213, "40001", true, "Begin the transaction again.";
    /// Wrong arguments to a statement.
    WrongArguments = 1210, "HY000", false, "Read the message.";
    /// The master aggregator cannot be reached; usually an election.
    ConnectToMaster = 1218, "08S01", true, "Send the statement again; if it persists, see SHOW AGGREGATORS.";
    /// A privilege that there is for the whole cluster only.
    WrongUsage = 1221, "HY000", false, "Grant it ON *.*.";
    /// No privilege for what concerns the whole cluster.
    SpecificAccessDenied = 1227, "42000", false, "Ask whoever has the right: GRANT ... ON *.* TO user.";
    /// The variable cannot be set to this value.
    WrongValueForVariable = 1231, "42000", false, "Give a value that the message allows.";
    /// The statement is valid, but not supported.
    NotSupported = 1235, "42000", false, "See docs/guarantees.md, or write it another way.";
    /// Read-only variable.
    ReadOnlyVariable = 1238, "HY000", false, "It cannot be set.";
    /// Out of range value for a column.
    OutOfRange = 1264, "22003", false, "Give a value that fits the column.";
    /// An internal database cannot be backed up.
    InternalDatabase = 2625, "HY000", false, "Back up the databases of your own.";
    /// A backup is not complete.
    BackupIncomplete = 1832, "HY000", false, "Restore another backup, or put the missing files back.";
    /// A place for backups refused, or what is there is no backup.
    ArchiveFailed = 2626, "HY000", false, "Read the message: it names the file and what the store said.";
    /// Cannot write here: this node is a replica.
    WriteToReplica = 1290, "HY000", true, "Send the statement to an aggregator.";
    /// The value of an expression is out of range.
    ExpressionOutOfRange = 1690, "22003", false, "Compute with a type that holds the result.";
    /// Incorrect value for a column.
    IncorrectValue = 1366, "HY000", false, "Give a value of the column's type.";
    /// A user that is there, is not there, or stays.
    CannotUser = 1396, "HY000", false, "Check the name; ALTER USER changes a password, IF [NOT] EXISTS makes it no matter.";
    /// Data too long for a column.
    DataTooLong = 1406, "22001", false, "Give a shorter value.";
    /// Prepared statement is unknown.
    UnknownPrepared = 1243, "HY000", false, "Prepare the statement again.";
    /// No such savepoint.
    NoSavepoint = 1305, "42000", false, "Name a savepoint of this transaction.";
    /// A write in a READ ONLY transaction.
    ReadOnlyTransaction = 1792, "25006", false, "Commit, and begin a READ WRITE transaction.";
    /// No default value for a column.
    NoDefault = 1364, "HY000", false, "Give a value.";
    /// A user-visible operation cannot be done in the present state of the cluster.
    OperationRefused = 1706, "HY000", false, "Read the message: it names what must be true first.";
    /// A leaf cannot be reached.
    LeafUnreachable = 1735, "HY000", true, "Send the statement again; see SHOW LEAVES.";
    /// The partition has no master instance.
    NoMasterInstance = 1777, "HY000", true, "Wait for a leaf to return, or see SHOW PARTITIONS and SHOW LEAVES.";
    /// The statement was sent, and its outcome cannot be known (S12).
    OutcomeUnknown = 1180, "HY000", false, "Read back before you send it again: it may have been done.";
    /// This node is not the master aggregator.
    NotTheMaster = 1826, "HY000", true, "Send the statement again, or to the master aggregator.";
    /// Query interrupted.
    Interrupted = 1317, "70100", true, "Send the statement again.";
}

/// An error as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SqlError {
    /// The row of the table.
    pub code: ErrorCode,
    /// The text, with its details, in MySQL's wording where MySQL has one.
    pub message: String,
}

impl SqlError {
    /// An error with its text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// As MySQL's command line prints it.
impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {} ({}): {}", self.code.number(), self.code.sqlstate(), self.message)
    }
}

impl std::error::Error for SqlError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_number_stands_once_and_every_state_has_five_characters() {
        let numbers: BTreeSet<u16> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| code.sqlstate().len() == 5));
    }
}
