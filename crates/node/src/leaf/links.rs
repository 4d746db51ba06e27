//! The links between a replica and its primary: opened and kept up by the replica's side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_model::{NodeId, PartitionId};
use baton_replication::{Event, Message};
use baton_transport::Inbound;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::partition::Input;
use crate::context::Context;
use crate::wire::{Opening, decode};

/// Between two attempts to reach the primary.
const RETRY: Duration = Duration::from_millis(100);

static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// A number that no other link of this process has.
pub fn next_link() -> u64 {
    NEXT_LINK.fetch_add(1, Ordering::Relaxed)
}

/// Keeps a link to a primary until it is dropped.
pub struct LinkKeeper {
    _stop: DropGuard,
}

impl LinkKeeper {
    /// Starts to connect.
    pub fn start(
        context: Arc<Context>,
        partition: PartitionId,
        primary: NodeId,
        inbox: mpsc::WeakSender<Input>,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = keep(context, partition, primary, inbox) => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { _stop: stop.drop_guard() }
    }
}

async fn keep(
    context: Arc<Context>,
    partition: PartitionId,
    primary: NodeId,
    inbox: mpsc::WeakSender<Input>,
) {
    loop {
        let address = context.catalog().node(primary).map(|node| node.rpc_address());
        if let Some(address) = address {
            match context.open(&address, &Opening::Replicate { partition }).await {
                Ok((sender, inbound)) => {
                    let link = next_link();
                    let Some(to) = inbox.upgrade() else { return };
                    let up = Input::Link { peer: primary, link, sender, opened_here: true };
                    if to.send(up).await.is_err() {
                        return;
                    }
                    drop(to);
                    read(inbox.clone(), primary, link, inbound).await;
                }
                Err(error) => debug!(%partition, %primary, %error, "the primary cannot be reached"),
            }
        }
        sleep(RETRY).await;
    }
}

/// Brings every message of a link to its instance, and says when the link is gone.
pub async fn read(inbox: mpsc::WeakSender<Input>, peer: NodeId, link: u64, mut inbound: Inbound) {
    while let Some(Ok(bytes)) = inbound.recv().await {
        let Ok(message) = decode::<Message>(&bytes) else { break };
        let Some(to) = inbox.upgrade() else { return };
        if to.send(Input::Event(Event::Received { peer, link, message })).await.is_err() {
            return;
        }
    }
    if let Some(to) = inbox.upgrade() {
        let _ = to.send(Input::Event(Event::LinkDown { peer, link })).await;
    }
}
