//! SQL to a node, as `root`, with a bound on every wait.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use tokio::time::{Instant, sleep, timeout};

use crate::state::NodeRecord;

const RETRY: Duration = Duration::from_millis(50);
/// Longer than any row of a SHOW.
const PACKET_BYTES: usize = 16 << 20;
/// Errors that go away by themselves: no master yet (1218), another master (1826), a node not reached yet (1735).
const PASSING: [u16; 3] = [1218, 1826, 1735];
const ACCESS_DENIED: u16 = 1045;

/// Why a node did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection or the statement failed.
    #[error("{0}")]
    Sql(#[from] mysql_async::Error),
    /// Nothing came back in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl ClientError {
    /// Whether the node answers, and does not take the password.
    pub(crate) fn is_access_denied(&self) -> bool {
        matches!(self, Self::Sql(mysql_async::Error::Server(error)) if error.code == ACCESS_DENIED)
    }

    fn is_passing(&self) -> bool {
        matches!(self, Self::Sql(mysql_async::Error::Server(error)) if PASSING.contains(&error.code))
    }
}

/// A row of an answer: each value by its column's name in lower case; NULL is absent.
pub(crate) type Record = BTreeMap<String, String>;

/// An answer as it came: the names of the columns, and the values as text; None is NULL.
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

/// A connection to a node.
pub(crate) struct Client {
    connection: Conn,
    bound: Duration,
}

impl Client {
    /// Connects; `bound` holds for this and for each statement.
    pub(crate) async fn connect(
        node: &NodeRecord,
        password: &str,
        bound: Duration,
    ) -> Result<Self, ClientError> {
        let options = OptsBuilder::default()
            .ip_or_hostname(node.host.as_str())
            .tcp_port(node.port)
            .user(Some("root"))
            .pass((!password.is_empty()).then_some(password))
            .prefer_socket(false)
            // Told here, so that the client need not ask.
            .max_allowed_packet(Some(PACKET_BYTES))
            .wait_timeout(Some(28_800));
        let connection =
            timeout(bound, Conn::new(options)).await.map_err(|_| ClientError::TimedOut(bound))??;
        Ok(Self { connection, bound })
    }

    /// From now on each statement may take so long.
    pub(crate) fn set_bound(&mut self, bound: Duration) {
        self.bound = bound;
    }

    /// All rows of a statement.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Record>, ClientError> {
        let rows: Vec<Row> = timeout(self.bound, self.connection.query(sql))
            .await
            .map_err(|_| ClientError::TimedOut(self.bound))??;
        Ok(rows.into_iter().map(record).collect())
    }

    /// All rows of a statement, with the columns in their order.
    pub(crate) async fn table(&mut self, sql: &str) -> Result<Table, ClientError> {
        let asked = async {
            let mut answer = self.connection.query_iter(sql).await?;
            let names = answer.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
            let rows: Vec<Row> = answer.collect().await?;
            Ok::<_, mysql_async::Error>((names, rows))
        };
        let (columns, rows) =
            timeout(self.bound, asked).await.map_err(|_| ClientError::TimedOut(self.bound))??;
        let rows = rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect();
        Ok(Table { columns, rows })
    }

    /// A statement without rows.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), ClientError> {
        self.query(sql).await.map(drop)
    }

    /// The same, again and again while an election or a start may be in its way; `patience` bounds that.
    pub(crate) async fn execute_patiently(
        &mut self,
        sql: &str,
        patience: Duration,
    ) -> Result<(), ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            match self.execute(sql).await {
                Err(error) if error.is_passing() && Instant::now() < deadline => sleep(RETRY).await,
                outcome => return outcome,
            }
        }
    }

    pub(crate) async fn ping(&mut self) -> Result<(), ClientError> {
        timeout(self.bound, self.connection.ping())
            .await
            .map_err(|_| ClientError::TimedOut(self.bound))??;
        Ok(())
    }
}

/// A text as a literal of SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn record(row: Row) -> Record {
    let names: Vec<String> =
        row.columns_ref().iter().map(|column| column.name_str().to_lowercase()).collect();
    names.into_iter().zip(row.unwrap()).filter_map(|(name, value)| Some((name, text(value)?))).collect()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_ends_its_literal() {
        assert_eq!(quoted(r"it's a \ test"), r"'it''s a \\ test'");
    }
}
