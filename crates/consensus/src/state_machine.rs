//! The catalog as the group's state machine.
//!
//! Entries are applied in memory; what they changed is written in one batch with the id of the last of them, then the
//! catalog is published, then the proposers are answered: who is answered finds the catalog at least as new.
//! The batch is not synced. The log is, and what a crash takes from the rows is applied from it again; a purge of the
//! log lies behind the rows in the same write-ahead log, so it is never there without them.
//!
//! A snapshot is a clone of the catalog, which costs nothing and holds up nobody; it becomes bytes only on the wire.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use baton_catalog::{Catalog, Outcome, Reply, RowKey};
use baton_model::CatalogIndex;
use baton_storage::{ControlStore, StoreError};
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use crate::config::APPLY_BATCH_MAX;
use crate::feed::FeedSource;
use crate::log_store::{decode, encode};
use crate::types::{LogId, Membership, Proposal, Snapshot, SnapshotMeta, Types};

/// The catalog of one member, in memory and on disk.
pub(crate) struct StateMachine {
    store: Arc<ControlStore>,
    feed: Arc<FeedSource>,
    catalog: Arc<Catalog>,
    applied: Option<LogId>,
    membership: Membership,
    snapshot: Arc<Mutex<Option<Snapshot>>>,
}

/// What became of some entries that are not written yet.
#[derive(Default)]
struct Batch {
    changed: BTreeSet<RowKey>,
    applied: Vec<(CatalogIndex, Proposal)>,
    answers: Vec<(ApplyResponder<Types>, Outcome)>,
    entries: usize,
}

impl StateMachine {
    /// Reads the catalog from disk.
    pub(crate) fn open(store: Arc<ControlStore>) -> Result<Self, StoreError> {
        let stored = store.catalog().load()?;
        let (applied, membership) = match &stored.applied {
            Some(bytes) => decode(bytes)
                .map_err(|error| StoreError::Unreadable { subject: "the catalog", why: error.to_string() })?,
            None => (None, Membership::default()),
        };
        let catalog = Arc::new(Catalog::from_rows(stored.index, stored.rows));
        let feed = Arc::new(FeedSource::new(Arc::clone(&catalog)));
        let machine = Self { store, feed, catalog, applied, membership, snapshot: Arc::default() };
        // What lies on disk is as good as a snapshot of it, and it covers everything that was ever purged.
        if machine.applied.is_some() {
            machine.keep(machine.snapshot_now());
        }
        Ok(machine)
    }

    /// Where the catalog and its changes are published.
    pub(crate) fn feed(&self) -> Arc<FeedSource> {
        Arc::clone(&self.feed)
    }

    fn snapshot_now(&self) -> Snapshot {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        Snapshot { meta, snapshot: Arc::clone(&self.catalog) }
    }

    fn keep(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    fn finish(&mut self, catalog: &Catalog, batch: Batch) -> io::Result<()> {
        let catalog = Arc::new(catalog.clone());
        let mut puts = Vec::with_capacity(batch.changed.len());
        let mut deletes = Vec::new();
        for key in batch.changed {
            match catalog.row(&key) {
                Some(row) => puts.push(row),
                None => deletes.push(key),
            }
        }
        let applied = encode(&(self.applied, &self.membership))?;
        self.store.catalog().write(&applied, catalog.index(), puts, deletes).map_err(io::Error::other)?;
        self.catalog = Arc::clone(&catalog);
        if !batch.applied.is_empty() {
            self.feed.advance(catalog, batch.applied);
        }
        for (responder, outcome) in batch.answers {
            responder.send(outcome);
        }
        Ok(())
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Arc<Catalog>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut catalog = (*self.catalog).clone();
        let mut batch = Batch::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let index = CatalogIndex(entry.log_id.index);
            self.applied = Some(entry.log_id);
            let outcome = match entry.payload {
                EntryPayload::Blank => Ok(Reply::Done { index }),
                EntryPayload::Normal(proposal) => {
                    let applied = catalog.apply(index, &proposal.entry);
                    batch.changed.extend(applied.changed);
                    batch.applied.push((index, proposal));
                    applied.outcome
                }
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    Ok(Reply::Done { index })
                }
            };
            if let Some(responder) = responder {
                batch.answers.push((responder, outcome));
            }
            batch.entries += 1;
            if batch.entries >= APPLY_BATCH_MAX {
                self.finish(&catalog, std::mem::take(&mut batch))?;
            }
        }
        if batch.entries > 0 {
            self.finish(&catalog, batch)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { snapshot: self.snapshot_now(), kept: Arc::clone(&self.snapshot) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, catalog: Arc<Catalog>) -> io::Result<()> {
        let applied = encode(&(meta.last_log_id, &meta.last_membership))?;
        let (store, rows) = (Arc::clone(&self.store), Arc::clone(&catalog));
        // Much to write at once: not on a thread that others wait for.
        let write = move || store.catalog().replace(&applied, rows.index(), rows.rows());
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.catalog = Arc::clone(&catalog);
        self.keep(self.snapshot_now());
        self.feed.replace(catalog);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A snapshot on its way to being the current one.
pub(crate) struct Builder {
    snapshot: Snapshot,
    kept: Arc<Mutex<Option<Snapshot>>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Arc<Catalog>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.snapshot.clone());
        Ok(self.snapshot.clone())
    }
}

#[cfg(test)]
mod conformance {
    //! openraft's own suite for stores.

    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};
    use tempfile::TempDir;

    use super::*;
    use crate::log_store::LogStore;

    struct OnDisk;

    impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for OnDisk {
        async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(ControlStore::open(dir.path()).unwrap());
            let log = LogStore::open(Arc::clone(&store)).unwrap();
            Ok((dir, log, StateMachine::open(store).unwrap()))
        }
    }

    #[tokio::test]
    async fn the_store_is_one_that_openraft_can_use() {
        Suite::test_all(OnDisk).await.unwrap();
    }
}
