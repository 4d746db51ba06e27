//! How far one replica is, as its primary sees it: what it was sent, what it has, and what was asked about it.
//!
//! * S2: what it has synced and what it only has are counted apart; under `SYNC DURABILITY` only the first counts.
//! * On a new link it starts over: what it showed on an older one may be gone.
//!
//! Not here: what the catalog says of it, and whether it is waited for.

use std::collections::VecDeque;

use baton_model::limits::{REPLICATION_BATCH_BYTES_MAX, REPLICATION_BATCH_RECORDS_MAX};
use baton_model::{Instant, Lsn};

use crate::instance::Log;
use crate::record::Record;

/// Records on their way to one replica, at most. A replica that lacks no more than these is close enough to be waited
/// for: it has all of them already, or will within a round trip and a sync.
pub(super) const WINDOW_RECORDS: u64 = 4 * REPLICATION_BATCH_RECORDS_MAX as u64;
/// Bytes on their way to one replica, about: there may be one message more.
const WINDOW_BYTES: usize = 4 * REPLICATION_BATCH_BYTES_MAX;

/// How far one replica is.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) link: Option<u64>,
    /// The version at which it asked to follow on this link.
    pub(super) followed_at: u64,
    /// The next record to send; while it is provisioned, the one after the copy.
    pub(super) next: Lsn,
    /// The first record that it was or will be sent on this link.
    pub(super) from: Lsn,
    /// Of each message on its way, the last record and the bytes.
    on_the_way: VecDeque<(Lsn, usize)>,
    bytes_on_the_way: usize,
    /// It has everything up to here, at least in the hands of its operating system.
    pub(super) matched: Lsn,
    /// It has everything up to here synced; all that counts under `SYNC DURABILITY` (S2).
    pub(super) synced: Lsn,
    /// The commit point that it was told.
    pub(super) told: Lsn,
    /// Records for it are being read from disk.
    pub(super) reading: bool,
    /// It is to have a copy, and has not acknowledged it yet.
    pub(super) provisioning: bool,
    /// It was refused one that did not fit.
    pub(super) wants_fresh: bool,
    /// The newest version under which `Ready` was asked for, while the catalog says `Async`.
    pub(super) asked_ready: Option<u64>,
    /// It was reported since, so that `Async` may be the answer.
    pub(super) giving_up: bool,
    /// Since when it owes an acknowledgement.
    pub(super) behind_since: Option<Instant>,
    pub(super) asked_at: Option<Instant>,
}

impl Peer {
    /// It starts over on a new link, with what it has; the next record is to come from here.
    pub(super) fn start_over(&mut self, next: Lsn) {
        self.reading = false;
        self.provisioning = false;
        self.wants_fresh = false;
        self.matched = Lsn(0);
        self.synced = Lsn(0);
        self.told = Lsn(0);
        self.next = next;
        self.from = next;
        self.on_the_way.clear();
        self.bytes_on_the_way = 0;
    }

    pub(super) fn note_sent(&mut self, records: &[Record]) {
        let Some(last) = records.last() else { return };
        let bytes = records.iter().map(Record::bytes).sum();
        self.next = last.lsn.next();
        self.on_the_way.push_back((last.lsn, bytes));
        self.bytes_on_the_way += bytes;
    }

    /// How much it has that counts now.
    pub(super) fn has(&self, log: &Log) -> Lsn {
        if log.synced { self.synced } else { self.matched }
    }

    pub(super) fn note_acknowledged(&mut self, durable: Lsn, synced: bool) {
        self.matched = self.matched.max(durable);
        if synced {
            self.synced = self.synced.max(durable);
        }
        while let Some((_, bytes)) = self.on_the_way.pop_front_if(|(last, _)| *last <= durable) {
            self.bytes_on_the_way -= bytes;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.next.0.saturating_sub(self.matched.0) <= WINDOW_RECORDS && self.bytes_on_the_way < WINDOW_BYTES
    }

    /// The first record that it may ask for, now or after its link was lost.
    pub(super) fn needs(&self) -> Lsn {
        if self.matched > Lsn(0) { self.matched.next() } else { self.from }
    }
}
