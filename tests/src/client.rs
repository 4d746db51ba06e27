//! A MySQL client whose every step has a bound, and rows that are read by the names of their columns.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params, Value};

/// The longest that a connection may take.
const CONNECT_BOUND: Duration = Duration::from_secs(10);

/// The longest that a statement may take: longer than any statement is held back during a failover (60 s).
pub const STATEMENT_BOUND: Duration = Duration::from_secs(90);

/// How a statement failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SqlFault {
    /// The server answered with this error.
    Answered {
        /// The MySQL error number.
        number: u16,
        /// Its text.
        message: String,
    },
    /// No answer came: the connection broke, or the bound was reached. The outcome is not known.
    Unanswered(String),
}

impl SqlFault {
    /// The MySQL error number, if the server answered.
    #[must_use]
    pub fn number(&self) -> Option<u16> {
        match self {
            Self::Answered { number, .. } => Some(*number),
            Self::Unanswered(_) => None,
        }
    }
}

impl fmt::Display for SqlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { number, message } => write!(f, "ERROR {number}: {message}"),
            Self::Unanswered(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for SqlFault {}

impl From<mysql_async::Error> for SqlFault {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => {
                Self::Answered { number: error.code, message: error.message }
            }
            error => Self::Unanswered(error.to_string()),
        }
    }
}

/// A row with the names of its columns.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Record {
    columns: Vec<(String, Value)>,
}

impl Record {
    /// A row of numbers.
    #[cfg(test)]
    pub(crate) fn of(columns: &[(&str, u64)]) -> Self {
        Self { columns: columns.iter().map(|(name, n)| ((*name).to_owned(), Value::UInt(*n))).collect() }
    }

    /// The value of a column as text; `None` if it is NULL or there is no such column. Names are without case.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<String> {
        text_of(self.value(column)?)
    }

    /// The value of a column as text.
    ///
    /// # Errors
    /// When it is NULL, or there is no such column; the error says which there are.
    pub fn required(&self, column: &str) -> Result<String> {
        self.text(column).with_context(|| format!("there is no `{column}` in {self}"))
    }

    /// The value of a column as a number.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number(&self, column: &str) -> Result<u64> {
        let text = self.required(column)?;
        text.parse().with_context(|| format!("`{column}` is no number: {text}"))
    }

    /// The value of a column as it came.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<&Value> {
        self.columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, value)| value)
    }

    /// The value of the first column as text.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.columns.first().and_then(|(_, value)| text_of(value))
    }

    /// All values as text, NULL as `NULL`.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.columns.iter().map(|(_, value)| text_of(value).unwrap_or_else(|| "NULL".into())).collect()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.columns.iter().enumerate() {
            let gap = if i == 0 { "" } else { ", " };
            write!(f, "{gap}{name}={}", text_of(value).as_deref().unwrap_or("NULL"))?;
        }
        Ok(())
    }
}

/// As the mariadb client would print it; None for NULL.
#[must_use]
pub fn text_of(value: &Value) -> Option<String> {
    Some(match value {
        Value::NULL => return None,
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Date(year, month, day, 0, 0, 0, 0) => format!("{year:04}-{month:02}-{day:02}"),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let fraction = if *micros == 0 { String::new() } else { format!(".{micros:06}") };
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}")
        }
        Value::Time(..) => value.as_sql(true),
    })
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// Rows that it changed.
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value that it gave.
    pub last_insert_id: u64,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    connection: Conn,
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// [`SqlFault`]: refused by the server, or not reached.
    pub async fn connect(
        host: &str,
        port: u16,
        user: &str,
        password: &str,
        database: Option<&str>,
    ) -> Result<Self, SqlFault> {
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password).filter(|password| !password.is_empty()))
            .db_name(database)
            .prefer_socket(false)
            .stmt_cache_size(Some(64));
        bounded(CONNECT_BOUND, Conn::new(options)).await.map(|connection| Self { connection })
    }

    /// Runs a statement by the text protocol.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn run(&mut self, sql: &str) -> Result<Done, SqlFault> {
        self.run_within(STATEMENT_BOUND, sql).await
    }

    /// The same with another bound.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn run_within(&mut self, bound: Duration, sql: &str) -> Result<Done, SqlFault> {
        bounded(bound, self.connection.query_drop(sql)).await?;
        Ok(self.done())
    }

    /// Runs a statement by the binary protocol, prepared once per connection.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn execute(&mut self, sql: &str, parameters: impl Into<Params>) -> Result<Done, SqlFault> {
        bounded(STATEMENT_BOUND, self.connection.exec_drop(sql, parameters.into())).await?;
        Ok(self.done())
    }

    /// The rows of a statement, by the text protocol.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Record>, SqlFault> {
        self.rows_within(STATEMENT_BOUND, sql).await
    }

    /// The same with another bound.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn rows_within(&mut self, bound: Duration, sql: &str) -> Result<Vec<Record>, SqlFault> {
        bounded(bound, self.connection.query::<mysql_async::Row, _>(sql)).await.map(records)
    }

    /// The rows of a statement, by the binary protocol.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn rows_of(
        &mut self,
        sql: &str,
        parameters: impl Into<Params>,
    ) -> Result<Vec<Record>, SqlFault> {
        let rows = self.connection.exec::<mysql_async::Row, _, _>(sql, parameters.into());
        bounded(STATEMENT_BOUND, rows).await.map(records)
    }

    /// The only value of a statement's only row, as text.
    ///
    /// # Errors
    /// When it fails, or gives no value.
    pub async fn value(&mut self, sql: &str) -> Result<String> {
        let rows = self.rows(sql).await.with_context(|| sql.to_owned())?;
        match rows.as_slice() {
            [row] => row.first().with_context(|| format!("`{sql}` gave NULL")),
            rows => bail!("`{sql}` gave {} rows", rows.len()),
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        // A connection that is broken already needs no goodbye.
        let _ = bounded(CONNECT_BOUND, self.connection.disconnect()).await;
    }

    fn done(&self) -> Done {
        Done {
            affected_rows: self.connection.affected_rows(),
            last_insert_id: self.connection.last_insert_id().unwrap_or_default(),
        }
    }
}

async fn bounded<T>(
    bound: Duration,
    step: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, SqlFault> {
    match tokio::time::timeout(bound, step).await {
        Ok(done) => done.map_err(SqlFault::from),
        Err(_) => Err(SqlFault::Unanswered(format!("nothing within {} s", bound.as_secs_f64()))),
    }
}

fn records(rows: Vec<mysql_async::Row>) -> Vec<Record> {
    rows.into_iter()
        .map(|row| {
            let names: Vec<String> =
                row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
            Record { columns: names.into_iter().zip(row.unwrap()).collect() }
        })
        .collect()
}

/// Fails unless the statement was refused with this error number; gives the text.
///
/// # Errors
/// When it succeeded, was not answered, or has another number.
pub fn refused_with<T>(number: u16, outcome: Result<T, SqlFault>) -> Result<String> {
    match outcome {
        Ok(_) => bail!("it succeeded, and should be refused with {number}"),
        Err(SqlFault::Answered { number: answered, message }) if answered == number => Ok(message),
        Err(fault) => bail!("it should be refused with {number}: {fault}"),
    }
}
