//! Tells the master aggregator of replicas that keep primaries here waiting.
//!
//! A leaf that hangs holds up every primary whose replica it has, so what they say within a moment goes as one message,
//! and is decided at once. A report that is lost is followed by the next one, half a second later.

use std::sync::Arc;
use std::time::Duration;

use baton_failover::LagReport;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::debug;

use crate::context::Context;
use crate::server;
use crate::wire::{Request, Response};

/// Reports that wait to be sent, at most; what does not fit is said again by whoever said it.
const REPORTS_MAX: usize = 4096;
/// What is said within this goes together.
const GATHER: Duration = Duration::from_millis(20);

/// Where primaries say it.
pub type LagReports = mpsc::Sender<LagReport>;

/// A place for reports, and what is to be sent.
pub fn reports() -> (LagReports, mpsc::Receiver<LagReport>) {
    mpsc::channel(REPORTS_MAX)
}

/// Sends until the node stops.
pub async fn send(context: Arc<Context>, mut reports: mpsc::Receiver<LagReport>) {
    loop {
        let mut gathered = Vec::new();
        tokio::select! {
            count = reports.recv_many(&mut gathered, REPORTS_MAX) => if count == 0 { return },
            () = context.shutdown.cancelled() => return,
        }
        sleep(GATHER).await;
        while gathered.len() < REPORTS_MAX
            && let Ok(report) = reports.try_recv()
        {
            gathered.push(report);
        }
        let request = Request::ReportLag(gathered);
        let heard =
            server::ask_master(&context, &request, |answer| matches!(answer, Response::LagHeard(true)));
        if heard.await.is_none() {
            debug!("no master aggregator heard of the replicas that lag");
        }
    }
}
