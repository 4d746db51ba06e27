//! Statements that take longer than anybody waits for an answer: run once, asked about as often as need be.
//!
//! * S12: a statement that comes again with its id while it runs is that statement, and not another one.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::StatementId;
use baton_model::errors::{ErrorCode, SqlError};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout};

use crate::wire::{ForwardAnswer, ForwardRefusal};

/// Whoever asks is told within this that it goes on.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What came of it is kept for this long, for whoever asks again.
const KEPT: Duration = Duration::from_secs(600);
/// Statements that run or are remembered, at most.
const STATEMENTS_MAX: usize = 64;

type Outcome = Result<ForwardAnswer, ForwardRefusal>;

struct Running {
    outcome: Shared<BoxFuture<'static, Outcome>>,
    begun: Instant,
}

impl Running {
    /// What came of it, if it is over. Asked for, and not only looked up: nobody may have waited for it.
    fn ended(&self) -> Option<Outcome> {
        self.outcome.clone().now_or_never()
    }
}

/// Those of one master aggregator.
pub struct LongStatements {
    all: Mutex<HashMap<StatementId, Running>>,
    answer_within: Duration,
}

impl Default for LongStatements {
    fn default() -> Self {
        Self { all: Mutex::default(), answer_within: ANSWER_WITHIN }
    }
}

impl LongStatements {
    fn all(&self) -> MutexGuard<'_, HashMap<StatementId, Running>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody here is at work on a statement.
    pub fn is_running(&self, statement: StatementId) -> bool {
        self.all().get(&statement).is_some_and(|running| running.ended().is_none())
    }

    /// Begins a statement, or finds it begun, and waits for its outcome for a while. It goes on to its end whoever waits.
    ///
    /// # Errors
    /// [`ForwardRefusal`]; [`ForwardRefusal::StillRunning`] if it takes longer.
    pub async fn run<F: Future<Output = Outcome> + Send + 'static>(
        &self,
        statement: StatementId,
        begin: impl FnOnce() -> F,
    ) -> Outcome {
        let outcome = {
            let mut all = self.all();
            all.retain(|_, running| running.ended().is_none() || running.begun.elapsed() < KEPT);
            // One that was not the master aggregator's to carry out any more may be now.
            let again = |running: &Running| {
                !matches!(running.ended(), Some(Err(ForwardRefusal::NotTheMaster | ForwardRefusal::Unknown)))
            };
            match all.get(&statement).filter(|running| again(running)) {
                Some(running) => running.outcome.clone(),
                None if all.len() >= STATEMENTS_MAX => {
                    let text = format!("{STATEMENTS_MAX} backups and restores are on their way already");
                    return Err(SqlError::new(ErrorCode::OperationRefused, text).into());
                }
                None => {
                    let running = tokio::spawn(begin());
                    let outcome =
                        running.map(|ended| ended.unwrap_or(Err(ForwardRefusal::Unknown))).boxed().shared();
                    all.insert(statement, Running { outcome: outcome.clone(), begun: Instant::now() });
                    outcome
                }
            }
        };
        timeout(self.answer_within, outcome).await.unwrap_or(Err(ForwardRefusal::StillRunning))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use baton_model::CatalogIndex;
    use tokio::sync::Notify;

    use super::*;

    fn done() -> Outcome {
        Ok(ForwardAnswer { affected_rows: 7, last_insert_id: 0, index: CatalogIndex(1) })
    }

    #[tokio::test]
    async fn a_statement_runs_once_however_often_it_is_asked_about() {
        let statements =
            LongStatements { answer_within: Duration::from_millis(20), ..LongStatements::default() };
        let (runs, end) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let begin = || {
            let (runs, end) = (Arc::clone(&runs), Arc::clone(&end));
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                end.notified().await;
                done()
            }
        };
        for _ in 0..3 {
            let answer = statements.run(StatementId(1), begin).await;
            assert!(matches!(answer, Err(ForwardRefusal::StillRunning)));
            assert!(statements.is_running(StatementId(1)));
        }
        end.notify_one();
        while statements.is_running(StatementId(1)) {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            assert_eq!(statements.run(StatementId(1), begin).await.unwrap().affected_rows, 7);
        }
        assert!(!statements.is_running(StatementId(1)) && !statements.is_running(StatementId(2)));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn one_that_lost_its_master_runs_again_and_one_that_failed_does_not() {
        let statements = LongStatements::default();
        let lost = || async { Err(ForwardRefusal::NotTheMaster) };
        assert!(matches!(statements.run(StatementId(1), lost).await, Err(ForwardRefusal::NotTheMaster)));
        assert!(statements.run(StatementId(1), || async { done() }).await.is_ok());
        let failed = || async { Err(SqlError::new(ErrorCode::ArchiveFailed, "no").into()) };
        assert!(statements.run(StatementId(2), failed).await.is_err());
        let again = statements.run(StatementId(2), || async { done() }).await;
        assert!(
            matches!(again, Err(ForwardRefusal::Failed(error)) if error.code == ErrorCode::ArchiveFailed)
        );
    }
}
