//! A client that goes on to the next aggregator when its connection breaks, as an application does.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{Client, Done, Record, SqlFault};
use crate::cluster::{Cluster, Login};

/// Who cannot connect tries the next aggregator after this.
const RECONNECT_EVERY: Duration = Duration::from_millis(50);

/// One client, connected to one of several nodes, or to none for the moment.
#[derive(Debug)]
pub struct Rover {
    logins: Vec<(String, Login)>,
    at: usize,
    connected: Option<Client>,
    bound: Duration,
}

impl Rover {
    /// A client that begins at the `first`-th of these nodes, modulo their number, and gives a statement up after the
    /// bound.
    ///
    /// # Errors
    /// When there are none, or one of them is unknown.
    pub fn new(cluster: &Cluster, via: &[String], first: usize, bound: Duration) -> Result<Self> {
        ensure!(!via.is_empty(), "a client needs a node to connect to");
        let logins = via.iter().map(|name| Ok((name.clone(), cluster.login(name)?)));
        let logins: Vec<_> = logins.collect::<Result<_>>()?;
        let at = first % logins.len();
        Ok(Self { logins, at, connected: None, bound })
    }

    /// The node that it is, or will be, connected to.
    #[must_use]
    pub fn via(&self) -> &str {
        self.logins.get(self.at).map_or("", |(name, _)| name)
    }

    /// Connects if need be; false if that failed, after a rest: the next call tries the next node.
    pub async fn is_connected(&mut self) -> bool {
        if self.connected.is_some() {
            return true;
        }
        let Some((_, login)) = self.logins.get(self.at) else { return false };
        match login.connect().await {
            Ok(client) => {
                self.connected = Some(client);
                true
            }
            Err(_) => {
                self.go_on();
                tokio::time::sleep(RECONNECT_EVERY).await;
                false
            }
        }
    }

    /// Runs a statement on the connection that there is; one that breaks is left for the next node.
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn run(&mut self, sql: &str) -> Result<Done, SqlFault> {
        let bound = self.bound;
        let outcome = match &mut self.connected {
            Some(client) => client.run_within(bound, sql).await,
            None => Err(not_connected()),
        };
        self.after(outcome)
    }

    /// The rows of a statement; as [`Self::run`].
    ///
    /// # Errors
    /// [`SqlFault`].
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Record>, SqlFault> {
        let bound = self.bound;
        let outcome = match &mut self.connected {
            Some(client) => client.rows_within(bound, sql).await,
            None => Err(not_connected()),
        };
        self.after(outcome)
    }

    /// Leaves the node it is connected to, for the next one.
    pub fn go_on(&mut self) {
        self.connected = None;
        self.at = (self.at + 1) % self.logins.len().max(1);
    }

    /// Says goodbye.
    pub async fn close(self) {
        if let Some(client) = self.connected {
            client.close().await;
        }
    }

    fn after<T>(&mut self, outcome: Result<T, SqlFault>) -> Result<T, SqlFault> {
        if matches!(outcome, Err(SqlFault::Unanswered(_))) {
            self.go_on();
        }
        outcome
    }
}

fn not_connected() -> SqlFault {
    SqlFault::Unanswered("not connected".into())
}
