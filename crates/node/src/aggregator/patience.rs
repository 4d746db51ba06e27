//! How long a statement waits for somebody who could carry it out: the `retry` policy says, within `failover_buffer_ms`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{NodeId, PartitionId};
use baton_policy::{RetryChoice, RetryInput};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::Aggregator;
use super::asking::answer;
use crate::server::wall_clock_ms;

/// A policy is asked again about the same statement after this at the earliest, and at the latest.
const ASK_AGAIN: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(5);

/// For whom a statement waits.
#[derive(Clone, Copy, Debug)]
pub enum Awaited {
    /// The primary of a partition.
    Primary(PartitionId),
    /// The master aggregator.
    Master,
}

/// Keeps a statement going until it is answered.
pub struct Patience<'a> {
    aggregator: &'a Aggregator,
    awaited: Awaited,
    begun: Instant,
    deadline: Instant,
    attempts: u32,
    /// When the policy is asked next.
    ask_at: Instant,
    /// One of those that are counted, from the first time that it waits.
    counted: Option<Counted<'a>>,
    /// Why an attempt may have been carried out; None if none may.
    pub uncertain: Option<String>,
    /// What the last attempt came to.
    pub last: String,
}

impl Aggregator {
    /// The patience of a statement that begins now.
    pub fn patience(&self, awaited: Awaited) -> Patience<'_> {
        let begun = Instant::now();
        Patience {
            aggregator: self,
            awaited,
            begun,
            deadline: begun + self.buffer_time(),
            attempts: 0,
            ask_at: begun,
            counted: None,
            uncertain: None,
            last: String::new(),
        }
    }
}

impl Patience<'_> {
    /// Until when it waits, whatever a policy says.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Somebody is at work on it: the time begins anew.
    pub fn begin_anew(&mut self) {
        self.begun = Instant::now();
        self.deadline = self.begun + self.aggregator.buffer_time();
    }

    /// Whether it is attempted again. An attempt has just failed.
    pub fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        self.attempts = self.attempts.saturating_add(1);
        if now >= self.deadline {
            return false;
        }
        self.counted.get_or_insert_with(|| Counted::new(&self.aggregator.waiting));
        if now < self.ask_at {
            return true;
        }
        let mut question = self.question(&self.aggregator.context.catalog(), now);
        // A policy computes, for as long as it may: no other task waits for that.
        let answer = answer(block_in_place(|| self.aggregator.decide(&mut question)));
        if answer.verdict.choice == RetryChoice::Fail {
            self.last = format!("{} ({})", answer.verdict.reason, answer.policy);
            return false;
        }
        let again = Duration::from_millis(answer.verdict.ask_again_ms);
        self.ask_at = now + again.clamp(*ASK_AGAIN.start(), *ASK_AGAIN.end());
        true
    }

    fn question(&self, catalog: &Catalog, now: Instant) -> RetryInput {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let clock_now = self.aggregator.context.clock.now();
        let (database, partition, heirs, node) = match self.awaited {
            Awaited::Primary(id) => {
                let known = catalog.partition(id);
                let name = catalog.database_by_id(id.database).map(|database| database.name.clone());
                let online = |node: &NodeId| catalog.node(*node).is_some_and(|node| node.is_online());
                let heirs = known.map_or(0, |partition| partition.promotable().filter(online).count());
                (name.unwrap_or_default(), id.ordinal, heirs, known.map(|partition| partition.primary))
            }
            Awaited::Master => (String::new(), 0, 0, self.aggregator.group_status().leader),
        };
        let judged = self.aggregator.judged().borrow().clone();
        RetryInput {
            now_ms: clock_now.as_millis(),
            wall_ms: wall_clock_ms(),
            seed: clock_now.0,
            database,
            partition,
            uncertain: self.uncertain.is_some(),
            waited_ms: millis(now - self.begun),
            buffer_ms: millis(self.deadline - self.begun),
            attempts: self.attempts,
            waiting: self.aggregator.waiting.load(Ordering::Relaxed),
            heirs: u32::try_from(heirs).unwrap_or(u32::MAX),
            awaited: node.and_then(|node| judged.evidence_of(node)).cloned(),
            last: self.uncertain.clone().unwrap_or_else(|| self.last.clone()),
            ..RetryInput::default()
        }
    }
}

/// One of the statements that wait.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
