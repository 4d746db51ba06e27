//! Which statements run here now, so that a retry waits for the end of its own first run, and how those ended lately that
//! are in no log.
//!
//! S12: the first run may hold the locks that the retry needs and not be in the log yet. If the retry gave up waiting
//! for them, it would say that nothing was done, and the first run might still do it.
//! And a copy of a request may come late, after its client was told that nothing was done: it is told the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_model::StatementId;
use tokio_util::sync::CancellationToken;

use crate::wire::DataRefusal;

/// Ends of statements that are in no log are remembered up to so many, the oldest go.
const ENDED_KEPT: usize = 4096;

type Answer = Result<u64, DataRefusal>;

/// The statements of one instance.
#[derive(Default)]
pub struct Runs(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Each with what ends when it does.
    running: BTreeMap<StatementId, CancellationToken>,
    ended: BTreeMap<StatementId, Answer>,
    in_order: VecDeque<StatementId>,
}

/// One run. Whoever waits for it goes on when it is dropped.
pub struct Run {
    of: Arc<Runs>,
    statement: StatementId,
}

impl Runs {
    /// Begins a run, after any other of the same statement has ended.
    pub async fn begin(self: &Arc<Self>, statement: StatementId) -> Run {
        loop {
            match self.begin_or_wait(statement) {
                Ok(run) => return run,
                Err(earlier) => earlier.cancelled().await,
            }
        }
    }

    fn begin_or_wait(self: &Arc<Self>, statement: StatementId) -> Result<Run, CancellationToken> {
        let mut known = self.known();
        if let Some(earlier) = known.running.get(&statement) {
            return Err(earlier.clone());
        }
        known.running.insert(statement, CancellationToken::new());
        Ok(Run { of: Arc::clone(self), statement })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// How an earlier run of it ended, if that is in no log.
    pub fn earlier(&self) -> Option<Answer> {
        self.of.known().ended.get(&self.statement).cloned()
    }

    /// It ended so, and nothing of it is in a log.
    pub fn ended(&self, answer: Answer) {
        let mut known = self.of.known();
        if known.ended.insert(self.statement, answer).is_none() {
            known.in_order.push_back(self.statement);
        }
        if known.in_order.len() > ENDED_KEPT
            && let Some(oldest) = known.in_order.pop_front()
        {
            known.ended.remove(&oldest);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(ended) = self.of.known().running.remove(&self.statement) {
            ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_retry_waits_for_its_first_run_and_for_nothing_else() {
        let runs = Arc::new(Runs::default());
        let first = runs.begin(StatementId(1)).await;
        let _other = runs.begin(StatementId(2)).await;
        let retry = timeout(Duration::from_millis(20), runs.begin(StatementId(1))).await;
        assert!(retry.is_err());
        drop(first);
        let _retry = runs.begin(StatementId(1)).await;
    }

    #[tokio::test]
    async fn what_ended_without_a_log_is_answered_the_same_again_as_long_as_there_is_room() {
        let runs = Arc::new(Runs::default());
        for id in 0..=ENDED_KEPT as u128 {
            let run = runs.begin(StatementId(id)).await;
            assert!(run.earlier().is_none());
            run.ended(Ok(0));
            run.ended(Err(DataRefusal::Busy));
        }
        assert_eq!(runs.begin(StatementId(1)).await.earlier(), Some(Err(DataRefusal::Busy)));
        assert_eq!(runs.begin(StatementId(0)).await.earlier(), None);
        assert_eq!(runs.known().in_order.len(), ENDED_KEPT);
    }
}
