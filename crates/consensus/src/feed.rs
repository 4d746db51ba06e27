//! What was applied, for those who follow the catalog from outside the group: the leaves' mirrors.
//!
//! A follower gets every entry after the index it has, in order, once; or a snapshot first, if that is too long ago for
//! what is kept. It never holds up the group: who reads too slowly gets a snapshot again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_catalog::{Catalog, Entry};
use baton_model::CatalogIndex;
use tokio::sync::watch;

use crate::config::{FEED_BYTES_MAX, FEED_ENTRIES_MAX};
use crate::types::Proposal;

/// What a follower gets next.
#[derive(Clone, Debug)]
pub enum Feed {
    /// Forget everything and take this catalog: its [`Catalog::index`] and its [`Catalog::rows`].
    Snapshot(Arc<Catalog>),
    /// Apply this entry.
    Entry {
        /// Its index. Greater than the last one, but not always by one: some indexes hold nothing for the catalog.
        index: CatalogIndex,
        /// What to apply.
        entry: Arc<Entry>,
    },
}

/// The entries that were applied last, and the catalog as it is now.
pub(crate) struct FeedSource {
    ring: Mutex<Ring>,
    catalog: watch::Sender<Arc<Catalog>>,
    /// The index up to which the ring is filled; moves after the ring has.
    filled: watch::Sender<CatalogIndex>,
}

struct Ring {
    entries: VecDeque<(CatalogIndex, Proposal)>,
    bytes: usize,
    /// Every entry after this index that was applied is in the ring.
    floor: CatalogIndex,
    /// Nothing comes any more.
    closed: bool,
}

impl FeedSource {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Self {
        let index = catalog.index();
        Self {
            ring: Mutex::new(Ring::from(index)),
            catalog: watch::Sender::new(catalog),
            filled: watch::Sender::new(index),
        }
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.borrow())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    pub(crate) fn subscribe(self: &Arc<Self>, from: CatalogIndex) -> CatalogFeed {
        CatalogFeed { at: from, filled: self.filled.subscribe(), source: Arc::clone(self) }
    }

    /// Publishes a catalog and the entries that led to it from the one before.
    pub(crate) fn advance(
        &self,
        catalog: Arc<Catalog>,
        entries: impl IntoIterator<Item = (CatalogIndex, Proposal)>,
    ) {
        let index = catalog.index();
        // The catalog first, so that it is never older than what the ring has forgotten.
        self.catalog.send_replace(catalog);
        {
            let mut ring = self.ring();
            for (index, proposal) in entries {
                ring.push(index, proposal);
            }
        }
        self.filled.send_replace(index);
    }

    /// Publishes a catalog that came as a whole.
    pub(crate) fn replace(&self, catalog: Arc<Catalog>) {
        let index = catalog.index();
        self.catalog.send_replace(catalog);
        *self.ring() = Ring::from(index);
        self.filled.send_replace(index);
    }

    /// Ends every feed.
    pub(crate) fn close(&self) {
        self.ring().closed = true;
        self.filled.send_modify(|_| {});
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn from(floor: CatalogIndex) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, floor, closed: false }
    }

    fn push(&mut self, index: CatalogIndex, proposal: Proposal) {
        self.bytes += proposal.size();
        self.entries.push_back((index, proposal));
        while self.entries.len() > FEED_ENTRIES_MAX || self.bytes > FEED_BYTES_MAX {
            let Some((index, proposal)) = self.entries.pop_front() else { break };
            self.bytes -= proposal.size();
            self.floor = index;
        }
    }
}

/// The catalog's changes from some index on, for one follower.
pub struct CatalogFeed {
    at: CatalogIndex,
    filled: watch::Receiver<CatalogIndex>,
    source: Arc<FeedSource>,
}

impl CatalogFeed {
    /// The next thing to take over; waits for it. To drop the future loses nothing.
    /// None when the control group has stopped.
    pub async fn next(&mut self) -> Option<Feed> {
        loop {
            self.filled.borrow_and_update();
            if let Some(feed) = self.take() {
                return Some(feed);
            }
            if self.source.ring().closed {
                return None;
            }
            self.filled.changed().await.ok()?;
        }
    }

    /// The index of what was taken last.
    #[must_use]
    pub fn at(&self) -> CatalogIndex {
        self.at
    }

    fn take(&mut self) -> Option<Feed> {
        let ring = self.source.ring();
        if self.at < ring.floor {
            drop(ring);
            let catalog = self.source.catalog();
            self.at = catalog.index();
            return Some(Feed::Snapshot(catalog));
        }
        let next = ring.entries.partition_point(|(index, _)| *index <= self.at);
        let (index, proposal) = ring.entries.get(next)?;
        self.at = *index;
        Some(Feed::Entry { index: *index, entry: Arc::clone(&proposal.entry) })
    }
}

impl std::fmt::Debug for CatalogFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CatalogFeed(at {})", self.at)
    }
}

#[cfg(test)]
mod tests {
    use baton_catalog::Command;

    use super::*;

    fn proposal() -> Proposal {
        let command = Command::SetVariable { name: "auto_attach".into(), value: "ON".into() };
        Proposal::new(Entry { statement: None, at_ms: 0, command }).unwrap()
    }

    fn catalog(index: u64) -> Arc<Catalog> {
        Arc::new(Catalog::from_rows(CatalogIndex(index), []))
    }

    fn index_of(feed: Option<Feed>) -> (bool, u64) {
        match feed {
            Some(Feed::Snapshot(catalog)) => (true, catalog.index().0),
            Some(Feed::Entry { index, .. }) => (false, index.0),
            None => panic!("there is nothing to take"),
        }
    }

    #[test]
    fn a_follower_gets_a_snapshot_and_then_every_entry() {
        let source = Arc::new(FeedSource::new(catalog(10)));
        let mut new = source.subscribe(CatalogIndex(0));
        let mut known = source.subscribe(CatalogIndex(10));
        let mut ahead = source.subscribe(CatalogIndex(12));
        assert!(known.take().is_none());
        source.advance(catalog(11), [(CatalogIndex(11), proposal())]);
        source.advance(catalog(13), [(CatalogIndex(13), proposal())]);
        assert_eq!(index_of(new.take()), (true, 13));
        assert_eq!(index_of(known.take()), (false, 11));
        assert_eq!(index_of(known.take()), (false, 13));
        assert!(known.take().is_none());
        assert_eq!(index_of(ahead.take()), (false, 13));
    }

    #[test]
    fn who_is_too_slow_gets_a_snapshot() {
        let source = Arc::new(FeedSource::new(catalog(0)));
        let mut slow = source.subscribe(CatalogIndex(0));
        let many = FEED_ENTRIES_MAX as u64 + 10;
        for index in 1..=many {
            source.advance(catalog(index), [(CatalogIndex(index), proposal())]);
        }
        assert_eq!(index_of(slow.take()), (true, many));
        assert!(slow.take().is_none());
        source.replace(catalog(many + 5));
        assert_eq!(index_of(slow.take()), (true, many + 5));
    }
}
