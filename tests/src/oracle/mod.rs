//! The oracle: clients of every kind, who know what the cluster has promised them, and compare.
//!
//! What was acknowledged is there, once. What failed with an error that promises so was not done. What is unknown may
//! be either, but not both, and stays what it was once it was seen. Reads do not go back. Transactions are whole.
//! Only the MySQL protocol is used, and nothing of the house is known here.
//! * [`crate::writers`] insert rows with and without keys, raise counters and write a reference table;
//! * `registers` rise, and readers watch them;
//! * `lives` are born, changed, removed and born again;
//! * `bank` moves money between partitions, where there are transactions.

mod bank;
mod lives;
mod registers;
mod story;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, SqlFault};
use crate::cluster::Cluster;
use crate::journal::Journal;
use crate::readback::Readback;
use crate::wait::wait_while_not;
use crate::writers::{Load, Plan, Writers};
use bank::Bank;
use lives::Lives;
use registers::Registers;

pub use story::{Violation, is_surely_undone};

/// Violations that are kept; of more, only the number.
const VIOLATIONS_KEPT: usize = 20;

/// How hard the clients work.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long each rests between two statements.
    pub rest: Duration,
    /// How long each waits for an answer. Longer than a statement is held in the cluster, so that none is carried out
    /// long after its client has given it up.
    pub bound: Duration,
}

/// Numbers as if by chance: the same for the same seed and name, whatever else is drawn.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Of a seed, and of what they are for.
    #[must_use]
    pub fn new(seed: u64, what: &str) -> Self {
        // FNV-1a of the name, so that two names share nothing.
        let name = what.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed ^ name)
    }

    /// The next number (SplitMix64).
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// The next number below a limit; 0 for the limit 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.draw() % limit.max(1) as u64) as usize
    }
}

/// What all clients beside the [`Writers`] have met.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    undone: AtomicU64,
    unknown: AtomicU64,
    reads: AtomicU64,
    failed_reads: AtomicU64,
    stale_reads: AtomicU64,
    violated: AtomicU64,
    violations: Mutex<Vec<Violation>>,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Counts {
    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn note<T>(&self, outcome: &Result<T, SqlFault>) {
        match outcome {
            Ok(_) => self.acknowledge(),
            Err(fault) => {
                let kind = if is_surely_undone(fault) { &self.undone } else { &self.unknown };
                kind.fetch_add(1, Ordering::Relaxed);
                self.note_error(fault);
            }
        }
    }

    fn note_read<T>(&self, outcome: &Result<T, SqlFault>) {
        match outcome {
            Ok(_) => self.reads.fetch_add(1, Ordering::Relaxed),
            Err(fault) => {
                self.note_error(fault);
                self.failed_reads.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    fn note_error(&self, fault: &SqlFault) {
        let name = fault.number().map_or_else(|| "unanswered".to_owned(), |number| number.to_string());
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }

    fn read_stale(&self) {
        self.stale_reads.fetch_add(1, Ordering::Relaxed);
    }

    fn violated(&self, violation: Violation) {
        self.violated.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < VIOLATIONS_KEPT {
            kept.push(violation);
        }
    }
}

/// What the clients have met, in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Numbers {
    /// Writes and transactions that were acknowledged.
    pub acknowledged: u64,
    /// Those that failed and were surely not done.
    pub undone: u64,
    /// Those whose outcome their client does not know.
    pub unknown: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Reads that went back, in a cluster without read leases, which allows it to a primary that is cut off.
    pub stale_reads: u64,
    /// How often each error was met, by number or `unanswered`.
    pub errors: BTreeMap<String, u64>,
}

impl Numbers {
    /// Adds those of another time.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.undone += other.undone;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.failed_reads += other.failed_reads;
        self.stale_reads += other.stale_reads;
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
    }
}

/// Clients at work. They stop when this is dropped.
#[derive(Debug)]
pub struct Oracle {
    writers: Writers,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    parts: Parts,
}

#[derive(Debug)]
struct Parts {
    counts: Arc<Counts>,
    registers: Registers,
    lives: Lives,
    bank: Option<Bank>,
}

impl Oracle {
    /// Makes all tables in the database [`crate::writers::DATABASE`], which must be there and without them, and sets
    /// the clients to work through these aggregators.
    ///
    /// # Errors
    /// When a table cannot be made.
    pub async fn start(cluster: &Cluster, via: &[String], seed: u64, pace: Pace) -> Result<Self> {
        let names: Vec<&str> = via.iter().map(String::as_str).collect();
        let plans = [(Load::Rows, 2), (Load::Lines, 1), (Load::Counters, 2), (Load::Reference, 1)];
        let plans =
            plans.map(|(load, writers)| Plan::new(load, writers, &names).paced(pace.rest, pace.bound));
        let writers = Writers::start(cluster, &plans).await?;
        let (mut tasks, stop, counts) = (JoinSet::new(), CancellationToken::new(), Arc::<Counts>::default());
        let registers = Registers::start(cluster, via, seed, pace, &counts, (&mut tasks, &stop)).await?;
        let lives = Lives::start(cluster, via, seed, pace, &counts, (&mut tasks, &stop)).await?;
        let bank = Bank::start(cluster, via, seed, pace, &counts, (&mut tasks, &stop)).await?;
        Ok(Self { writers, tasks, stop, parts: Parts { counts, registers, lives, bank } })
    }

    /// Waits until every writer, and one at least of all other clients, has something acknowledged from now on.
    ///
    /// # Errors
    /// When the bound is reached.
    pub async fn all_work(&self, bound: Duration) -> Result<()> {
        let counts = &self.parts.counts;
        let before = (counts.acknowledged.load(Ordering::Relaxed), counts.reads.load(Ordering::Relaxed));
        self.writers.all_write(bound).await?;
        wait_while_not("registers are written and read", bound, async || {
            let written = counts.acknowledged.load(Ordering::Relaxed) > before.0;
            Ok(written && counts.reads.load(Ordering::Relaxed) > before.1)
        })
        .await
    }

    /// What was seen so far that must not be.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.parts.counts.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the clients and waits for the answers of what is on its way.
    ///
    /// # Errors
    /// When a client does not end although its statement has a bound.
    pub async fn finish(mut self, pace: Pace) -> Result<Testimony> {
        self.stop.cancel();
        let loads = self.writers.loads().to_vec();
        let journal = self.writers.finish().await?;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // A transaction is some statements, and a connection takes a while too.
        if tokio::time::timeout(pace.bound * 12, all).await.is_err() {
            bail!("a client does not end");
        }
        Ok(Testimony { journal, loads, parts: self.parts, last: None })
    }
}

/// What the clients know, once they have stopped.
#[derive(Debug)]
pub struct Testimony {
    journal: Journal,
    loads: Vec<Load>,
    parts: Parts,
    /// What was read back last: from another copy, it must be there as well.
    last: Option<Readback>,
}

impl Testimony {
    /// Reads everything back through this connection and compares. What is found of unknown outcomes counts as known
    /// from then on, so that a second look at other copies finds what only some of them have.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn check(&mut self, client: &mut Client) -> Result<Vec<Violation>> {
        let mut found = Vec::new();
        let readback = Readback::through(client, &self.journal, &self.loads).await?;
        if let Err(wrong) = readback.check() {
            found.push(Violation::new(format!("{wrong:#}")));
        }
        if let Some(last) = &self.last {
            found.extend(readback.lacks_of(last).into_iter().map(Violation::new));
        }
        self.last = Some(readback);
        self.parts.registers.check(client, &mut found).await?;
        self.parts.lives.check(client, &mut found).await?;
        if let Some(bank) = &self.parts.bank {
            bank.check(client, &mut found).await?;
        }
        found.truncate(VIOLATIONS_KEPT);
        Ok(found)
    }

    /// What was seen while the clients worked that must not be.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.parts.counts.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let counts = &self.parts.counts;
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let mut numbers = Numbers {
            acknowledged: of(&counts.acknowledged) + self.journal.acknowledged() as u64,
            undone: of(&counts.undone),
            unknown: of(&counts.unknown),
            reads: of(&counts.reads),
            failed_reads: of(&counts.failed_reads),
            stale_reads: of(&counts.stale_reads),
            errors: counts.errors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        for write in self.journal.writes() {
            let crate::journal::Outcome::Failed(fault) = &write.outcome else { continue };
            if is_surely_undone(fault) {
                numbers.undone += 1;
            } else {
                numbers.unknown += 1;
            }
        }
        for (name, count) in self.journal.errors() {
            *numbers.errors.entry(name).or_default() += count as u64;
        }
        numbers
    }

    /// Whether there were transactions.
    #[must_use]
    pub fn had_transactions(&self) -> bool {
        self.parts.bank.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_the_same_for_the_same_seed_and_name() {
        let drawn = |seed, name| {
            let mut dice = Dice::new(seed, name);
            [dice.draw(), dice.draw(), dice.draw()]
        };
        assert_eq!(drawn(7, "a"), drawn(7, "a"));
        assert_ne!(drawn(7, "a"), drawn(7, "b"));
        assert_ne!(drawn(7, "a"), drawn(8, "a"));
        assert_eq!(Dice::new(1, "none").below(0), 0);
    }
}
