//! Until when a leaf may show what it reads: leases that ride the heartbeats.
//!
//! A pong says when it was sent, by the leaf's own clock. The master aggregator's next ping says that time back, and the
//! leaf may read until [`LEASE`] after it. The master aggregator counts the same time, and [`MARGIN`] more, from when it
//! *received* that pong, by its own clock. No two clocks are compared: a pong is received after it was sent, so the
//! leaf's lease ends first, however long anything was on its way or anybody slept.
//!
//! A lease names a version of the catalog as well. A leaf that has not applied it may have lost a partition and not know
//! it; whoever has applied it knows of everything it lost before, and nobody takes anything from it after, until the
//! lease has ended.
//!
//! * The lender asks whether it still leads *after* it has heard the pong that it answers. Its right to lead ends before
//!   anybody else leads, so no lease of its outlives the next leader's first [`LEASE`], for which that one takes nothing
//!   from anybody.
//! * Checklist 11: a process that slept finds its lease ended when it wakes, as long as its clock went on.
//!
//! Not here: whether a read needs a lease at all (`baton-replication`), and what is taken from whom (`baton-failover`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use baton_model::limits::{LEAF_READ_LEASE_MARGIN_MS, LEAF_READ_LEASE_MS};
use baton_model::{CatalogIndex, Instant, NodeId, mutated};
use serde::{Deserialize, Serialize};

/// How long a lease lasts, from the pong that it answers.
pub const LEASE: Duration = Duration::from_millis(LEAF_READ_LEASE_MS);
/// What the lender waits beyond that: two clocks do not go equally fast.
pub const MARGIN: Duration = Duration::from_millis(LEAF_READ_LEASE_MARGIN_MS);
/// Leases that a leaf remembers at once: the newest may name a catalog that it has yet to apply.
const GRANTS_KEPT: usize = 8;

/// What a ping lends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// When the pong that it answers was sent, by the clock of the leaf that sent it.
    pub answered_at: Instant,
    /// The catalog that the lender goes by.
    pub index: CatalogIndex,
}

/// What a leaf was lent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// In the order in which they came. None is worse in both respects than another.
    grants: VecDeque<Grant>,
}

impl Lease {
    /// Takes in what a ping lends. A grant for a pong that is yet to be sent is none.
    pub fn take(&mut self, now: Instant, grant: Grant) {
        let better =
            |one: &Grant, other: &Grant| one.answered_at >= other.answered_at && one.index <= other.index;
        if grant.answered_at > now || self.grants.iter().any(|known| better(known, &grant)) {
            return;
        }
        self.grants.retain(|known| known.answered_at + LEASE > now && !better(&grant, known));
        if self.grants.len() == GRANTS_KEPT {
            self.grants.pop_front();
        }
        self.grants.push_back(grant);
    }

    /// Whether somebody who has applied the catalog up to this index may read at this moment.
    #[must_use]
    pub fn holds(&self, now: Instant, applied: CatalogIndex) -> bool {
        self.until(applied).is_some_and(|until| now < until || mutated!(ReadWithoutLease))
    }

    /// Until when, not included, somebody who has applied the catalog up to this index may read; None if nothing was
    /// lent to it.
    #[must_use]
    pub fn until(&self, applied: CatalogIndex) -> Option<Instant> {
        self.grants.iter().filter(|grant| grant.index <= applied).map(|grant| grant.answered_at + LEASE).max()
    }
}

/// What a master aggregator has lent and may lend.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lender {
    term: u64,
    /// When this node noticed that it leads in this term.
    began: Instant,
    /// Who may be lent to, and by which catalog.
    borrowers: BTreeSet<NodeId>,
    index: CatalogIndex,
    /// The newest pong that was answered with a lease: when it was received.
    lent: BTreeMap<NodeId, Instant>,
}

impl Lender {
    /// From now on exactly these may be lent to, by a leader of this term who goes by this catalog.
    /// Everything that was ever taken from one of them must be in it, and nothing that may still be committed may take
    /// anything more.
    pub fn lend_to(
        &mut self,
        now: Instant,
        term: u64,
        borrowers: impl IntoIterator<Item = NodeId>,
        index: CatalogIndex,
    ) {
        if term != self.term {
            (self.term, self.began) = (term, now);
        }
        self.borrowers = borrowers.into_iter().collect();
        self.index = index;
    }

    /// The answer to a pong that was received at this moment and says that it was sent at that one. `term` is the one in
    /// which this node leads, asked after the pong was received.
    pub fn grant(
        &mut self,
        term: u64,
        node: NodeId,
        received_at: Instant,
        answered_at: Instant,
    ) -> Option<Grant> {
        if term != self.term || !self.borrowers.contains(&node) {
            return None;
        }
        let newest = self.lent.entry(node).or_insert(received_at);
        *newest = received_at.max(*newest);
        Some(Grant { answered_at, index: self.index })
    }

    /// From when on a node that is lent nothing more surely shows nothing that it reads, whoever lent to it.
    #[must_use]
    pub fn free_at(&self, node: NodeId) -> Instant {
        let last = self.lent.get(&node).map_or(self.began, |lent| self.began.max(*lent));
        last + LEASE + MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: NodeId = NodeId(2);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn grant(millis: u64, index: u64) -> Grant {
        Grant { answered_at: at(millis), index: CatalogIndex(index) }
    }

    /// Checklist 11.
    #[test]
    fn a_lease_ends_a_fixed_time_after_the_pong_it_answers_however_late_it_comes() {
        let mut lease = Lease::default();
        assert!(!lease.holds(at(0), CatalogIndex(9)), "nothing was lent");
        lease.take(at(1_150), grant(1_000, 7));
        assert!(lease.holds(at(1_150), CatalogIndex(7)));
        assert!(lease.holds(at(1_000 + LEAF_READ_LEASE_MS - 1), CatalogIndex(8)));
        assert!(!lease.holds(at(1_000 + LEAF_READ_LEASE_MS), CatalogIndex(8)));
        // The ping was on its way for longer than the lease lasts.
        lease.take(at(5_000), grant(1_200, 7));
        assert!(!lease.holds(at(5_000), CatalogIndex(7)));
    }

    #[test]
    fn a_lease_by_a_catalog_that_the_leaf_has_yet_to_apply_is_none_and_the_one_before_still_holds() {
        let mut lease = Lease::default();
        lease.take(at(1_000), grant(1_000, 7));
        lease.take(at(1_150), grant(1_150, 9));
        assert!(lease.holds(at(1_200), CatalogIndex(7)));
        assert_eq!(lease.until(CatalogIndex(8)), Some(at(1_000) + LEASE));
        assert_eq!(lease.until(CatalogIndex(9)), Some(at(1_150) + LEASE));
        assert_eq!(lease.until(CatalogIndex(6)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_an_answer_to_a_pong_of_the_future_is_none() {
        let mut lease = Lease::default();
        lease.take(at(10), grant(11, 1));
        assert_eq!(lease.until(CatalogIndex(1)), None);
        for step in 0..100 {
            lease.take(at(step), grant(step, step));
        }
        assert_eq!(lease.grants.len(), GRANTS_KEPT);
        assert_eq!(lease.until(CatalogIndex(99)), Some(at(99) + LEASE));
        lease.take(at(100), grant(100, 1));
        assert_eq!(lease.grants.len(), 1, "it is better than all before");
    }

    #[test]
    fn only_the_leader_lends_and_only_to_whom_it_takes_nothing_from() {
        let mut lender = Lender::default();
        assert_eq!(lender.grant(0, LEAF, at(5), at(1)), None, "it never led");
        lender.lend_to(at(100), 3, [LEAF], CatalogIndex(7));
        assert_eq!(lender.grant(2, LEAF, at(105), at(1)), None, "another term");
        assert_eq!(lender.grant(3, NodeId(3), at(105), at(1)), None, "somebody else");
        assert_eq!(lender.grant(3, LEAF, at(105), at(1)), Some(grant(1, 7)));
        lender.lend_to(at(110), 3, [], CatalogIndex(8));
        assert_eq!(lender.grant(3, LEAF, at(120), at(1)), None);
    }

    #[test]
    fn a_leaf_is_free_once_its_last_lease_and_every_lease_of_the_leader_before_have_ended() {
        let mut lender = Lender::default();
        lender.lend_to(at(1_000), 3, [LEAF], CatalogIndex(7));
        assert_eq!(lender.free_at(LEAF), at(1_000) + LEASE + MARGIN, "the leader before may have lent to it");
        lender.grant(3, LEAF, at(2_000), at(1)).unwrap();
        lender.grant(3, LEAF, at(1_900), at(1)).unwrap();
        lender.lend_to(at(2_050), 3, [], CatalogIndex(7));
        assert_eq!(lender.free_at(LEAF), at(2_000) + LEASE + MARGIN);
        lender.lend_to(at(9_000), 5, [LEAF], CatalogIndex(7));
        assert_eq!(lender.free_at(LEAF), at(9_000) + LEASE + MARGIN, "somebody else led in term 4");
    }
}
