//! Ends the node if one of the tasks that it cannot be without is gone: a panic would otherwise leave a node that
//! answers pings and looks well, and does nothing.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Lives as long as a task. If it is dropped before the node is to stop, the node stops.
#[derive(Debug)]
pub struct Tripwire {
    task: String,
    shutdown: CancellationToken,
    armed: bool,
}

impl Tripwire {
    /// Of a task with this name.
    #[must_use]
    pub fn new(task: impl Into<String>, shutdown: &CancellationToken) -> Self {
        Self { task: task.into(), shutdown: shutdown.clone(), armed: true }
    }

    /// The task ends because it was told to.
    pub fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Tripwire {
    fn drop(&mut self) {
        if self.armed && !self.shutdown.is_cancelled() {
            let task = &self.task;
            error!(task, "a task that must not end has ended, by a defect; this node stops");
            self.shutdown.cancel();
        }
    }
}

/// Starts a task that ends with the node and not before.
pub fn spawn(
    name: impl Into<String>,
    shutdown: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let wire = Tripwire::new(name, shutdown);
    tokio::spawn(async move {
        let _wire = wire;
        task.await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_stops_the_node() {
        let shutdown = CancellationToken::new();
        let task = spawn("careless", &shutdown, async { panic!("on purpose") });
        assert!(task.await.is_err());
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_ends_too_early_stops_the_node() {
        let shutdown = CancellationToken::new();
        spawn("lazy", &shutdown, async {}).await.unwrap();
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_was_told_to_end_stops_nothing() {
        let shutdown = CancellationToken::new();
        Tripwire::new("dismissed", &shutdown).disarm();
        assert!(!shutdown.is_cancelled());
    }
}
