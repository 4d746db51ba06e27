//! The links between a replica and its primary: opened and kept up by the replica's side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_model::{NodeId, PartitionId};
use baton_replication::{Event, Message};
use baton_transport::Inbound;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::partition::Input;
use crate::context::Context;
use crate::wire::{Opening, decode};

/// Between two attempts to reach the primary, at most. The first ones follow each other quickly: a primary that was just
/// named may hear of it a moment later than its replica, and nobody is served before the replica follows it.
const RETRY: Duration = Duration::from_millis(100);
/// Between the first two attempts; then twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(2);

static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// A number that no other link of this process has.
pub fn next_link() -> u64 {
    NEXT_LINK.fetch_add(1, Ordering::Relaxed)
}

/// The open links of one instance. One that is not kept here is closed, and its other side notices.
#[derive(Default)]
pub struct Links {
    open: BTreeMap<u64, mpsc::Sender<Bytes>>,
    /// Whom this instance follows.
    primary: Option<NodeId>,
    /// The link to it, which was opened here.
    own: Option<u64>,
}

impl Links {
    /// From now on this node is followed, or nobody, over a link that is yet to be opened.
    pub fn follow(&mut self, primary: Option<NodeId>) {
        self.primary = primary;
        if let Some(own) = self.own.take() {
            self.open.remove(&own);
        }
    }

    /// Another node's link is open.
    pub fn adopt(&mut self, link: u64, sender: mpsc::Sender<Bytes>) {
        self.open.insert(link, sender);
    }

    /// A link to a primary is open; false if that one is not followed any more.
    pub fn opened(&mut self, primary: NodeId, link: u64, sender: mpsc::Sender<Bytes>) -> bool {
        if self.primary != Some(primary) {
            return false;
        }
        self.follow(Some(primary));
        self.own = Some(link);
        self.open.insert(link, sender);
        true
    }

    /// The way into a link.
    pub fn sender(&self, link: u64) -> Option<&mpsc::Sender<Bytes>> {
        self.open.get(&link)
    }

    /// Closes a link.
    pub fn close(&mut self, link: u64) {
        self.open.remove(&link);
    }

    /// Closes all of them.
    pub fn close_all(&mut self) {
        self.follow(None);
        self.open.clear();
    }
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
    let mut pause = FIRST_RETRY;
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
        sleep(pause).await;
        pause = (2 * pause).min(RETRY);
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: NodeId = NodeId(1);
    const NEW: NodeId = NodeId(2);

    fn link() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
        mpsc::channel(1)
    }

    #[test]
    fn a_change_of_primaries_closes_the_link_to_the_old_one() {
        let mut links = Links::default();
        let (sender, receiver) = link();
        links.follow(Some(OLD));
        assert!(links.opened(OLD, 1, sender));
        let (of_a_replica, replica) = link();
        links.adopt(2, of_a_replica);
        links.follow(Some(NEW));
        assert!(receiver.is_closed() && links.sender(1).is_none());
        assert!(!replica.is_closed(), "it was opened by another node");
    }

    #[test]
    fn a_link_that_comes_too_late_is_closed() {
        let mut links = Links::default();
        links.follow(Some(OLD));
        links.follow(Some(NEW));
        let (late, receiver) = link();
        assert!(!links.opened(OLD, 1, late));
        assert!(receiver.is_closed());
        links.follow(None);
        let (late, receiver) = link();
        assert!(!links.opened(NEW, 2, late));
        assert!(receiver.is_closed());
    }

    #[test]
    fn one_link_is_kept_to_a_primary() {
        let mut links = Links::default();
        links.follow(Some(NEW));
        let ((first, of_first), (second, of_second)) = (link(), link());
        assert!(links.opened(NEW, 1, first));
        assert!(links.opened(NEW, 2, second));
        assert!(of_first.is_closed() && !of_second.is_closed());
        links.close_all();
        assert!(of_second.is_closed());
    }
}
