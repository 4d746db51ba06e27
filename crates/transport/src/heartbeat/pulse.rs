//! What a node says in its pings and pongs, kept where every thread can set and read it without waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use baton_detector::{Grant, Lease, Report, Sighting, Vitals};
use baton_model::{CatalogIndex, ClusterId, Incarnation, Instant, NodeId, StoreId};
use tokio::sync::watch;

use super::frame::SIGHTINGS_MAX;
use super::{Ping, Pong};
use crate::{Header, Identity, WIRE_VERSION};

/// The newest that pings told this node of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Heard {
    /// The highest term.
    pub term: u64,
    /// The highest catalog version of that term.
    pub catalog_index: CatalogIndex,
    /// Who told so.
    pub from: NodeId,
}

/// What this node says of itself. The node keeps it up to date; the heartbeat threads say it.
#[derive(Debug)]
pub struct Pulse {
    identity: Identity,
    incarnation: Incarnation,
    store: StoreId,
    lost_tail: AtomicBool,
    term: AtomicU64,
    catalog_index: AtomicU64,
    log_index: AtomicU64,
    vitals: ArcSwap<Vitals>,
    sightings: ArcSwap<Vec<Sighting>>,
    heard: watch::Sender<Heard>,
    lease: Mutex<Lease>,
    renewed: watch::Sender<u64>,
}

impl Pulse {
    /// Of a process that just started.
    #[must_use]
    pub fn new(identity: Identity, incarnation: Incarnation, store: StoreId) -> Self {
        Self {
            identity,
            incarnation,
            store,
            lost_tail: AtomicBool::new(false),
            term: AtomicU64::new(0),
            catalog_index: AtomicU64::new(0),
            log_index: AtomicU64::new(0),
            vitals: ArcSwap::default(),
            sightings: ArcSwap::default(),
            heard: watch::Sender::default(),
            lease: Mutex::default(),
            renewed: watch::Sender::default(),
        }
    }

    /// Who this process is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This run of the process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// This life of the data directory.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Says that what the run before did not sync may be gone. To be said before the first pong.
    pub fn set_lost_tail(&self) {
        self.lost_tail.store(true, Ordering::Release);
    }

    /// Whether what the run before did not sync may be gone.
    #[must_use]
    pub fn lost_tail(&self) -> bool {
        self.lost_tail.load(Ordering::Acquire)
    }

    /// The control group's term that this node knows.
    pub fn set_term(&self, term: u64) {
        self.term.store(term, Ordering::Release);
    }

    /// The catalog version that this node has applied.
    pub fn set_catalog_index(&self, index: CatalogIndex) {
        self.catalog_index.store(index.0, Ordering::Release);
    }

    /// The last index of this node's control group log.
    pub fn set_log_index(&self, index: u64) {
        self.log_index.store(index, Ordering::Release);
    }

    /// How well this node can work.
    pub fn set_vitals(&self, vitals: Vitals) {
        self.vitals.store(Arc::new(vitals));
    }

    /// What it said last of how well it can work.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        **self.vitals.load()
    }

    /// What this node sees of others. What does not fit into a pong is left out.
    pub(super) fn set_sightings(&self, mut sightings: Vec<Sighting>) {
        sightings.truncate(SIGHTINGS_MAX);
        self.sightings.store(Arc::new(sightings));
    }

    /// The header of a message sent now.
    #[must_use]
    pub fn header(&self) -> Header {
        let (cluster_id, from_node) = self.place();
        Header {
            cluster_id,
            from_node,
            term: self.term.load(Ordering::Acquire),
            catalog_index: CatalogIndex(self.catalog_index.load(Ordering::Acquire)),
            wire_version: WIRE_VERSION,
        }
    }

    /// Changes whenever a ping tells of a higher term, or of a higher catalog version in the same term.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    /// Whether this node may show what it has read, if it has applied the catalog up to this index.
    #[must_use]
    pub fn holds_lease(&self, now: Instant, applied: CatalogIndex) -> bool {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).holds(now, applied)
    }

    /// Changes whenever a lease was renewed.
    #[must_use]
    pub fn renewed(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }

    /// What a ping lends to this node.
    pub fn take_lease(&self, now: Instant, grant: Grant) {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take(now, grant);
        self.renewed.send_modify(|count| *count += 1);
    }

    pub(super) fn ping(&self, seq: u64, now: Instant, lease: Option<Grant>) -> Ping {
        let Header { cluster_id, from_node, term, catalog_index, .. } = self.header();
        Ping { cluster_id, from: from_node, seq, term, catalog_index, sent_at_us: now.0, lease }
    }

    pub(super) fn pong(&self, seq: u64, now: Instant) -> Pong {
        let (cluster_id, node) = self.place();
        Pong {
            cluster_id,
            node,
            seq,
            sent_at: now,
            report: Report {
                incarnation: self.incarnation,
                store: self.store,
                lost_tail: self.lost_tail(),
                joined: self.identity.member().is_some(),
                catalog_index: CatalogIndex(self.catalog_index.load(Ordering::Acquire)),
                log_index: self.log_index.load(Ordering::Acquire),
                vitals: **self.vitals.load(),
            },
            sightings: self.sightings.load().to_vec(),
        }
    }

    pub(super) fn hear(&self, ping: &Ping, now: Instant) {
        let Ping { term, catalog_index, from, lease, .. } = *ping;
        if let Some(grant) = lease {
            self.take_lease(now, grant);
        }
        self.heard.send_if_modified(|heard| {
            let newer = (term, catalog_index) > (heard.term, heard.catalog_index);
            if newer {
                *heard = Heard { term, catalog_index, from };
            }
            newer
        });
    }

    fn place(&self) -> (ClusterId, NodeId) {
        self.identity.member().map_or_else(Default::default, |member| (member.cluster_id, member.node))
    }
}
