//! What an aggregator lends to leaves while it is the master aggregator: the right to show what they read.
//!
//! Played as `aggregator/leases.rs` and `Supervision::lend` of `baton-node` do it, and the heartbeat thread of
//! `baton-transport`, by which leases ride on pings.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_detector::{Grant, LEASE, Lender};
use baton_failover::Sight;
use baton_model::limits::LEAF_READ_LEASE_RENEWAL_MS;
use baton_model::{Instant, NodeId};

use super::{Timer, World};
use crate::kernel::{MS, Time};

/// Where heartbeats are further apart than this, pings that only renew leases go out in between.
pub const RENEWAL: Time = LEAF_READ_LEASE_RENEWAL_MS * MS;
/// Their number: the detector knows nothing of it.
const SEQ_OF_RENEWAL: u64 = 0;
/// Between two pings there is less than this, unless the process or its machine slept.
const NAP: Duration = Duration::from_millis(LEASE.as_millis() as u64 / 2);

/// What an aggregator's process knows of leases.
#[derive(Debug, Default)]
pub struct Lending {
    lender: Lender,
    /// Of each node on this connection, when its last pong was received, and when that one says that it was sent.
    pub heard: BTreeMap<NodeId, (Instant, Instant)>,
    asked_at: Instant,
    woke_at: Instant,
    /// When the next of the leaves that are lent nothing ceases to read, and a look is due.
    wakes_at: Option<Instant>,
}

impl World {
    /// What the next ping to a node lends. The pong was heard before this asks whether the node still leads.
    pub(super) fn lend(&mut self, me: usize, to: usize) -> Option<Grant> {
        let (now, group_now) = (self.local(me), self.group_time(me));
        let node = self.nodes[to].id;
        let aggregator = self.aggregator_mut(me);
        let (received_at, answered_at) = *aggregator.lending.heard.get(&node)?;
        let lending = &mut aggregator.lending;
        // What a majority confirmed before the machine slept does not count as if it had been a moment ago.
        if now.since(lending.asked_at) > NAP {
            lending.woke_at = now;
        }
        lending.asked_at = now;
        let awake_for = now.since(lending.woke_at);
        let control = &aggregator.control;
        let acked = control.confirmed_ago(group_now, me)?;
        if !control.is_leader(group_now, me) || acked > awake_for {
            return None;
        }
        let term = control.term();
        aggregator.lending.lender.grant(term, node, received_at, answered_at)
    }

    /// Leases are renewed where heartbeats are too far apart for it.
    pub(super) fn renew_leases(&mut self, me: usize) {
        if self.aggregator(me).interval() > RENEWAL {
            for node in self.aggregator(me).lending.heard.keys().copied().collect::<Vec<_>>() {
                self.ping(me, Self::position(node), SEQ_OF_RENEWAL);
            }
        }
        self.later(me, RENEWAL, Timer::RenewLeases);
    }

    /// Lends to every leaf that is counted on, and says until when each of the others may still read.
    pub(super) fn lend_to(
        &mut self,
        me: usize,
        catalog: &Catalog,
        sight: &Sight,
        term: u64,
    ) -> BTreeMap<NodeId, Instant> {
        let judged = catalog.switch("leaf_failure_detection");
        let aggregator = self.aggregator_mut(me);
        let (mastery, switchovers) = (&aggregator.mastery, &aggregator.switchovers);
        let (counted_on, others): (Vec<_>, Vec<_>) =
            catalog.leaves().map(|leaf| (leaf.id, leaf.is_online())).partition(|(leaf, online)| {
                let failed = judged && sight.is_failed(*leaf);
                *online && !failed && !mastery.doubts(*leaf) && !switchovers.is_doubted(sight.now, *leaf)
            });
        // Until this term's first entry is applied, an entry of the leader before may take something that this catalog
        // does not know of.
        let announced = mastery.announced;
        let borrowers = counted_on.into_iter().map(|(leaf, _)| leaf).filter(|_| announced);
        let lending = &mut aggregator.lending;
        lending.lender.lend_to(sight.now, term, borrowers, catalog.index());
        if !catalog.switch("leaf_read_lease") {
            return BTreeMap::new();
        }
        let reads_until: BTreeMap<_, _> =
            others.into_iter().map(|(leaf, _)| (leaf, lending.lender.free_at(leaf))).collect();
        let next = reads_until.values().filter(|until| **until > sight.now).min().copied();
        if let Some(at) = next
            && lending.wakes_at.is_none_or(|wakes| wakes <= sight.now || wakes > at)
        {
            lending.wakes_at = Some(at);
            let after = at.since(sight.now).as_micros() as Time;
            self.later(me, after, Timer::LookAgain);
        }
        reads_until
    }

    /// From when on a leaf that is lent nothing more surely shows nothing that it reads.
    pub(super) fn free_at(&self, me: usize, leaf: NodeId) -> Instant {
        self.aggregator(me).lending.lender.free_at(leaf)
    }
}
