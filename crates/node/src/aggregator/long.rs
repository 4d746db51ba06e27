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
/// What came of it is kept for this long after its end, for whoever asks again.
const KEPT: Duration = Duration::from_secs(600);
/// Statements that run, at most.
const RUNNING_MAX: usize = 64;
/// Outcomes that are remembered, at most; the oldest go.
const OUTCOMES_MAX: usize = 1024;

type Outcome = Result<ForwardAnswer, ForwardRefusal>;

/// A statement that runs, or has come to its end.
struct Long(Shared<BoxFuture<'static, (Outcome, Instant)>>);

impl Long {
    /// What came of it, and when, if it is over. Asked for, and not only looked up: nobody may have waited for it.
    fn ended(&self) -> Option<(Outcome, Instant)> {
        self.0.clone().now_or_never()
    }

    fn ended_at(&self) -> Option<Instant> {
        self.ended().map(|(_, at)| at)
    }
}

/// Forgets what nobody may ask for any more.
fn forget(all: &mut HashMap<StatementId, Long>) {
    all.retain(|_, long| long.ended_at().is_none_or(|at| at.elapsed() < KEPT));
    let mut ended: Vec<(Instant, StatementId)> =
        all.iter().filter_map(|(id, long)| Some((long.ended_at()?, *id))).collect();
    ended.sort_unstable();
    for (_, id) in ended.iter().take(ended.len().saturating_sub(OUTCOMES_MAX)) {
        all.remove(id);
    }
}

/// Those of one master aggregator.
pub struct LongStatements {
    all: Mutex<HashMap<StatementId, Long>>,
    answer_within: Duration,
}

impl Default for LongStatements {
    fn default() -> Self {
        Self { all: Mutex::default(), answer_within: ANSWER_WITHIN }
    }
}

impl LongStatements {
    fn all(&self) -> MutexGuard<'_, HashMap<StatementId, Long>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody here is at work on a statement.
    pub fn is_running(&self, statement: StatementId) -> bool {
        self.all().get(&statement).is_some_and(|long| long.ended().is_none())
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
            // One that was not the master aggregator's to carry out any more may be now.
            let is_its = |long: &Long| {
                !matches!(
                    long.ended(),
                    Some((Err(ForwardRefusal::NotTheMaster | ForwardRefusal::Unknown), _))
                )
            };
            match all.get(&statement).filter(|long| is_its(long)) {
                Some(long) => long.0.clone(),
                None => {
                    forget(&mut all);
                    if all.values().filter(|long| long.ended().is_none()).count() >= RUNNING_MAX {
                        let text = format!(
                            "{RUNNING_MAX} statements that take long are under way already; try again when one is done"
                        );
                        return Err(SqlError::new(ErrorCode::OperationRefused, text).into());
                    }
                    let begun = begin();
                    let running = tokio::spawn(async move { (begun.await, Instant::now()) });
                    let ended = running
                        .map(|ended| ended.unwrap_or_else(|_| (Err(ForwardRefusal::Unknown), Instant::now())))
                        .boxed()
                        .shared();
                    all.insert(statement, Long(ended.clone()));
                    ended
                }
            }
        };
        timeout(self.answer_within, outcome)
            .await
            .map_or(Err(ForwardRefusal::StillRunning), |(outcome, _)| outcome)
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
    async fn many_may_have_run_and_only_so_many_run_at_once() {
        let statements =
            LongStatements { answer_within: Duration::from_millis(5), ..LongStatements::default() };
        for id in 0..2 * OUTCOMES_MAX as u128 {
            assert!(statements.run(StatementId(id), || async { done() }).await.is_ok());
        }
        assert!(statements.all().len() <= OUTCOMES_MAX + 1, "{} are remembered", statements.all().len());
        let never = std::future::pending::<Outcome>;
        for id in 0..RUNNING_MAX as u128 {
            let begun = statements.run(StatementId(1 << 64 | id), never).await;
            assert!(matches!(begun, Err(ForwardRefusal::StillRunning)));
        }
        let refused = statements.run(StatementId(1 << 65), || async { done() }).await;
        assert!(matches!(refused, Err(ForwardRefusal::Failed(_))), "{refused:?}");
        let known = StatementId(2 * OUTCOMES_MAX as u128 - 1);
        assert!(statements.run(known, never).await.is_ok(), "its outcome is remembered");
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
