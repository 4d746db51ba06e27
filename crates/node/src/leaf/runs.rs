//! Which statements run here now, so that a retry waits for the end of its own first run.
//!
//! S12: the first run may hold the locks that the retry needs and not be in the log yet. If the retry gave up waiting
//! for them, it would say that nothing was done, and the first run might still do it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use baton_model::StatementId;
use tokio_util::sync::CancellationToken;

/// The statements that run at one instance, each with what ends when it does.
#[derive(Default)]
pub struct Runs(Mutex<BTreeMap<StatementId, CancellationToken>>);

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
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = running.get(&statement) {
            return Err(earlier.clone());
        }
        running.insert(statement, CancellationToken::new());
        Ok(Run { of: Arc::clone(self), statement })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut running = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = running.remove(&self.statement) {
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
}
