//! What the gateway asks of whoever executes SQL.
//!
//! This is the seam between the protocol and the rest of the house: above it there are statements, values and
//! errors of ours, below it packets.

use std::net::SocketAddr;

use async_trait::async_trait;
use baton_model::errors::SqlError;
use baton_model::{ColumnType, Datum, Row};

use crate::password::PasswordHash;

/// A column of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswerColumn {
    /// The name that the client shows.
    pub name: String,
    /// The type that its values are sent as.
    pub column_type: ColumnType,
}

impl AnswerColumn {
    /// A column of that name and type.
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Self {
        Self { name: name.into(), column_type }
    }
}

/// What a statement came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It did something, and returns no rows.
    Done {
        /// Rows that it inserted, changed or deleted.
        affected_rows: u64,
        /// The first AUTO_INCREMENT value that it made, or 0.
        last_insert_id: u64,
        /// A line for people, such as `Records: 3  Duplicates: 0  Warnings: 0`; may be empty.
        info: String,
    },
    /// It returns rows, possibly none.
    Rows {
        /// At least one column.
        columns: Vec<AnswerColumn>,
        /// Each with one value per column.
        rows: Vec<Row>,
    },
}

impl Answer {
    /// Done, and nothing to say about it.
    #[must_use]
    pub const fn done() -> Self {
        Self::Done { affected_rows: 0, last_insert_id: 0, info: String::new() }
    }
}

/// What is known of a statement before it is executed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PreparedShape {
    /// How many `?` it has.
    pub parameters: usize,
    /// The columns of its answer; empty if it returns no rows, or if they are known only at its execution.
    pub columns: Vec<AnswerColumn>,
}

/// One client's state and its way into the cluster. Statements of one session come one after the other.
#[async_trait]
pub trait Session: Send {
    /// Executes one statement.
    async fn query(&mut self, sql: &str) -> Result<Answer, SqlError>;

    /// Makes a database the default one: at the handshake, and by the protocol's command.
    async fn use_database(&mut self, name: &str) -> Result<(), SqlError>;

    /// Checks a statement with `?` in it and says what it needs and returns. The gateway keeps its text.
    async fn prepare(&mut self, sql: &str) -> Result<PreparedShape, SqlError>;

    /// Executes a statement that was prepared in this session, with one value per `?`.
    ///
    /// Values have the kind that the client sent: text for a decimal, a time, or bytes that are text, an unsigned
    /// integer where the client's variable is unsigned. They are not of a column's type yet.
    async fn execute(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError>;

    /// The default database.
    fn database(&self) -> Option<&str>;

    /// What clients are told of its transaction with every answer.
    fn transaction_status(&self) -> TransactionStatus {
        TransactionStatus::default()
    }
}

/// What clients are told of a session's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionStatus {
    /// Whether every statement outside of a transaction commits by itself.
    pub autocommit: bool,
    /// Whether a transaction is open.
    pub open: bool,
}

impl Default for TransactionStatus {
    fn default() -> Self {
        Self { autocommit: true, open: false }
    }
}

/// A client who has proved who they are.
#[derive(Clone, Debug)]
pub struct Client {
    /// The connection's number.
    pub connection_id: u32,
    /// The user.
    pub user: String,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// Whether the count of an UPDATE is to be that of the rows it found, and not only of those it changed.
    pub counts_found_rows: bool,
}

/// Where sessions come from.
pub trait Sessions: Send + Sync + 'static {
    /// The sessions it opens.
    type Session: Session + 'static;

    /// What the user's password hashes to; `None` if there is no such user.
    fn password_hash(&self, user: &str) -> Option<PasswordHash>;

    /// Whether it knows who its users are. Until then a login that fails says nothing of whoever tries.
    fn knows_users(&self) -> bool {
        true
    }

    /// A session for a client.
    fn open(&self, client: &Client) -> Self::Session;
}
