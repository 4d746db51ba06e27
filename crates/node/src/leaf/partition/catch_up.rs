//! What lets a replica catch up: the log, read for it, and copies, made for others and fetched from others.
//!
//! All of it takes long, so it goes on beside the instance's task, which hears of the end as an event.
//! A failure here is none of the leaf's: the link goes down, or the replica gets a copy.
//!
//! Not here: when a copy is wanted, which the core says, and how its files move (`copy.rs`).

use std::sync::Arc;

use baton_model::{Lsn, NodeId};
use baton_replication::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Input, Task};
use crate::leaf::saved::{EPOCHS, Epochs, read_records};
use crate::wire::decode;

impl Task {
    /// Reads the log for a replica beside this task: writes do not wait for a disk that reads what is long past.
    pub(super) fn read_log(&self, peer: NodeId, link: u64, from: Lsn) {
        let (store, inbox, id) = (Arc::clone(&self.store), self.inbox.clone(), self.instance.partition());
        tokio::task::spawn_blocking(move || {
            let event = match read_records(&store, id, from) {
                Ok(records) => Event::LogRead { peer, link, records },
                Err(error) => {
                    // A log with a gap in what is past is no promise broken: the replica gets a copy.
                    error!(partition = %id, %from, %error, "the log cannot be read for a replica");
                    Event::LogRead { peer, link, records: Vec::new() }
                }
            };
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.blocking_send(Input::Event(event));
            }
        });
    }

    /// Has a copy made for a replica, beside this task, and tells the core of it.
    pub(super) fn make_copy(&self, peer: NodeId, link: u64, at_least: Lsn, fresh: bool) {
        // A copy that nobody waits for any more is not made to its end.
        let Some(waits) = self.links.sender(link).map(mpsc::Sender::downgrade) else { return };
        let going = move || waits.upgrade().is_some_and(|sender| !sender.is_closed());
        let (copies, inbox, id) = (Arc::clone(&self.copies), self.inbox.clone(), self.instance.partition());
        tokio::spawn(async move {
            let event = match copies.make(id, at_least, fresh, &[EPOCHS], going).await {
                Ok(Some(made)) => {
                    let epochs = made.meta.first().cloned().flatten();
                    let epochs = epochs.and_then(|bytes| decode::<Epochs>(&bytes).ok());
                    let mut history = epochs.map(|epochs| epochs.history).unwrap_or_default();
                    history.cut(made.at);
                    Event::CopyReady { peer, link, copy: made.copy, at: made.at, history }
                }
                Ok(None) => Event::LinkDown { peer, link },
                Err(error) => {
                    warn!(partition = %id, %error, "a copy for a replica could not be made");
                    Event::LinkDown { peer, link }
                }
            };
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Input::Event(event)).await;
            }
        });
    }

    /// Fetches a copy, beside this task, and tells the core of it.
    pub(super) fn fetch_copy(&mut self, peer: NodeId, link: u64, copy: u64) {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        self.fetch = Some(stop.drop_guard());
        let (copies, context, inbox) =
            (Arc::clone(&self.copies), Arc::clone(&self.context), self.inbox.clone());
        let id = self.instance.partition();
        tokio::spawn(async move {
            let address = context.catalog().node(peer).map(|node| node.rpc_address()).unwrap_or_default();
            let fetched = tokio::select! {
                fetched = copies.fetch(&address, id, copy) => fetched,
                () = stopped.cancelled() => return,
            };
            let event = match fetched {
                Ok(()) => Event::CopyHere { copy },
                Err(error) => {
                    warn!(partition = %id, %peer, %error, "a copy could not be fetched; it is gone on with");
                    Event::LinkDown { peer, link }
                }
            };
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Input::Event(event)).await;
            }
        });
    }
}
