//! Clients that write all the time, and note what was acknowledged.
//!
//! A writer sends one write after another, each with an id of its own, and never sends one again: what it did not get
//! an answer to is in the journal as failed. When its connection breaks it goes to the next aggregator of its list.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::STATEMENT_BOUND;
use crate::cluster::Cluster;
use crate::journal::{Journal, Outcome, Write};
use crate::moment::Moment;
use crate::roving::Rover;
use crate::wait::wait_while_not;

/// The database of the tables below.
pub const DATABASE: &str = "stage";

/// How many rows the counters of one writer are.
const COUNTERS: u64 = 16;

/// What is written, and by which statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// A row with a primary key.
    Rows,
    /// A row without a primary key, in which nothing but the cluster itself would notice that it was done twice.
    Lines,
    /// A counter goes up by one, where being done twice shows.
    Counters,
    /// A row of a reference table, which is the master aggregator's to write.
    Reference,
}

impl Load {
    /// Every load.
    pub const ALL: [Self; 4] = [Self::Rows, Self::Lines, Self::Counters, Self::Reference];

    /// Its table in [`DATABASE`].
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Rows => "stage.filed",
            Self::Lines => "stage.lines",
            Self::Counters => "stage.counters",
            Self::Reference => "stage.reference",
        }
    }

    /// The statement that makes its table.
    #[must_use]
    pub fn create(self) -> String {
        let table = self.table();
        match self {
            Self::Rows => format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, note VARCHAR(64) NOT NULL)"),
            Self::Lines => {
                format!("CREATE TABLE {table} (id BIGINT NOT NULL, note VARCHAR(64), SHARD KEY (id))")
            }
            Self::Counters => format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)"),
            Self::Reference => {
                format!("CREATE REFERENCE TABLE {table} (id BIGINT PRIMARY KEY, note VARCHAR(64) NOT NULL)")
            }
        }
    }

    /// The row that a write touches: its own, or one of its writer's counters.
    #[must_use]
    pub fn row_of(self, id: u64, writer: usize) -> u64 {
        match self {
            Self::Counters => writer as u64 * COUNTERS + id % COUNTERS,
            _ => id,
        }
    }

    fn statement(self, id: u64, writer: usize) -> String {
        let (table, row) = (self.table(), self.row_of(id, writer));
        match self {
            Self::Counters => format!("UPDATE {table} SET n = n + 1 WHERE id = {row}"),
            _ => format!("INSERT INTO {table} (id, note) VALUES ({row}, 'by {writer}')"),
        }
    }
}

/// A group of writers of one load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What they write.
    pub load: Load,
    /// How many there are.
    pub writers: usize,
    /// The nodes that they connect to: the first works on the first, and so on, each going on to the next when its
    /// connection breaks.
    pub via: Vec<String>,
    /// How long each rests between two writes.
    pub rest: Duration,
    /// How long each waits for an answer.
    pub bound: Duration,
}

impl Plan {
    /// So many writers of a load through these nodes, who rest 2 ms between two writes.
    #[must_use]
    pub fn new(load: Load, writers: usize, via: &[&str]) -> Self {
        let via = via.iter().map(|&name| name.to_owned()).collect();
        Self { load, writers, via, rest: Duration::from_millis(2), bound: STATEMENT_BOUND }
    }

    /// The same for writers that rest so long between two writes, and wait so long for an answer.
    #[must_use]
    pub fn paced(self, rest: Duration, bound: Duration) -> Self {
        Self { rest, bound, ..self }
    }
}

/// Writers at work. They stop when this is dropped.
#[derive(Debug)]
pub struct Writers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    shared: Arc<Shared>,
    loads: Vec<Load>,
}

#[derive(Debug, Default)]
struct Shared {
    journal: Mutex<Journal>,
    next_id: AtomicU64,
    acknowledged: AtomicUsize,
}

impl Writers {
    /// Makes the tables of the plans, fills in the counters, and sets the writers to work.
    /// The database [`DATABASE`] must be there.
    ///
    /// # Errors
    /// When a table cannot be made.
    pub async fn start(cluster: &Cluster, plans: &[Plan]) -> Result<Self> {
        let mut client = cluster.any_aggregator().await?;
        let mut this = Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            shared: Arc::default(),
            loads: Vec::new(),
        };
        for plan in plans {
            let first = this.loads.len();
            if !this.loads.contains(&plan.load) {
                client.run(&plan.load.create()).await?;
            }
            this.loads.extend(std::iter::repeat_n(plan.load, plan.writers));
            if plan.load == Load::Counters {
                let rows = (first as u64 * COUNTERS..this.loads.len() as u64 * COUNTERS)
                    .map(|row| format!("({row}, 0)"))
                    .collect::<Vec<_>>();
                client.run(&format!("INSERT INTO {} VALUES {}", plan.load.table(), rows.join(", "))).await?;
            }
            for (i, writer) in (first..this.loads.len()).enumerate() {
                let rover = Rover::new(cluster, &plan.via, i, plan.bound)?;
                let shared = Arc::clone(&this.shared);
                let task = Task { writer, load: plan.load, rest: plan.rest, rover, shared };
                let stop = this.stop.clone();
                this.tasks.spawn(async move {
                    // A write that is on its way when the writers are stopped is waited for, by `finish`.
                    task.work(&stop).await;
                });
            }
        }
        client.close().await;
        Ok(this)
    }

    /// What each writer writes.
    #[must_use]
    pub fn loads(&self) -> &[Load] {
        &self.loads
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged.
    ///
    /// # Errors
    /// When the bound is reached.
    pub async fn more(&self, count: usize, bound: Duration) -> Result<()> {
        let wanted = self.acknowledged() + count;
        wait_while_not(&format!("{count} more acknowledged writes"), bound, async || {
            Ok(self.acknowledged() >= wanted)
        })
        .await
    }

    /// Waits until each writer has a write acknowledged that it sent from now on.
    ///
    /// # Errors
    /// When the bound is reached.
    pub async fn all_write(&self, bound: Duration) -> Result<()> {
        let from = Moment::now();
        wait_while_not("every writer has a new write acknowledged", bound, async || {
            let journal = self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner);
            let since = journal.writes().iter().rev().take_while(|write| write.ended >= from);
            let fresh = since.filter(|write| write.is_acknowledged() && write.sent >= from);
            Ok(fresh.map(|write| write.writer).collect::<BTreeSet<_>>().len() == self.loads.len())
        })
        .await
    }

    /// What was written so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the writers, waits for the answers of what is on its way, and gives the whole journal.
    ///
    /// # Errors
    /// When a writer does not end although its statement has a bound.
    pub async fn finish(mut self) -> Result<Journal> {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STATEMENT_BOUND * 2, all).await.is_err() {
            bail!("a writer does not end");
        }
        Ok(self.journal())
    }
}

struct Task {
    writer: usize,
    load: Load,
    rest: Duration,
    rover: Rover,
    shared: Arc<Shared>,
}

impl Task {
    async fn work(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if !self.rover.is_connected().await {
                continue;
            }
            let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
            let statement = self.load.statement(id, self.writer);
            let via = self.rover.via().to_owned();
            let sent = Moment::now();
            let outcome = match self.rover.run(&statement).await {
                Ok(_) => Outcome::Acknowledged,
                Err(fault) => Outcome::Failed(fault),
            };
            self.note(Write { id, writer: self.writer, via, sent, ended: Moment::now(), outcome });
            tokio::time::sleep(self.rest).await;
        }
        self.rover.close().await;
    }

    fn note(&self, write: Write) {
        if write.is_acknowledged() {
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner).add(write);
    }
}
