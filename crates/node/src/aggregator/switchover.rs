//! Planned changes of primaries, as the master aggregator: the old one stops taking writes and lets those under way end,
//! the catalog names the next one, and aggregators send on what they hold.
//!
//! Whatever is lost or dies on the way leaves a primary that serves: the old one takes writes again by itself if nobody
//! else is named in time, and once somebody is, it is a change of primaries as after a failure.
//!
//! * S4: only a `Sync` replica, on a leaf that answers as the run and the disk that the catalog knows.
//! * The next primary may serve before the old one hears of it. So a drained primary shows nothing that it reads until it
//!   hears, or goes on; and where nothing was drained, the old one's lease runs out before the command is proposed.
//! * S12: the command carries the statement's id, so a retry at the next master aggregator is answered with its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, Partition, Rejection};
use baton_model::limits::{LEAF_READ_LEASE_MARGIN_MS, LEAF_READ_LEASE_MS};
use baton_model::{Epoch, NodeId, PartitionId, StatementId, SyncState};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::Aggregator;
use super::execute::refusal;
use crate::server::wall_clock_ms;
use crate::wire::{DrainRequest, ForwardRefusal, InstanceStatus, Request, Response};

/// Transactions that are open must end within this, and then writes that are under way, or the old primary goes on.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// The catalog must name the next primary within this, or the old one goes on.
const HOLD_MAX: Duration = Duration::from_secs(2);
/// What the answer of a leaf may take beyond that.
const ANSWER: Duration = Duration::from_millis(500);
/// A leaf that is lent nothing more surely reads nothing after this.
const FREED_MAX: Duration = Duration::from_secs(3);
/// A leaf that has not been heard of yet is waited for so long.
const KNOWN_MAX: Duration = Duration::from_secs(1);
/// A hand-over that came to nothing is tried again so often, at most.
const ATTEMPTS: usize = 3;
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(300);
/// The statement waits no longer for the next primary to serve.
const SERVES: Duration = Duration::from_secs(5);
/// Between two looks whether it does.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A drained primary shows nothing that it reads while it holds still. If its successor is not committed within this
/// since it was asked to drain, its leaf is lent nothing more, so that it reads nothing when it goes on: what was lent
/// before is over by then.
const DOUBTED_AFTER: Duration = Duration::from_millis(1_300);
const _: () = assert!(
    HOLD_MAX.as_millis()
        > DOUBTED_AFTER.as_millis() + (LEAF_READ_LEASE_MS + LEAF_READ_LEASE_MARGIN_MS) as u128
);

/// Which leaves something may have been taken from, by hand-overs whose outcome is not known yet.
#[derive(Default)]
pub struct HandingOver(Mutex<Doubts>);

#[derive(Default)]
struct Doubts {
    /// Those that are under way, and from when on they are doubted.
    under_way: BTreeMap<u64, (NodeId, Instant)>,
    next: u64,
    /// Leaves of hand-overs that ended without an answer.
    unresolved: BTreeSet<NodeId>,
}

/// One that is under way. If it ends, or is dropped, while its command is proposed and not answered, it is unresolved.
struct UnderWay<'a> {
    all: &'a HandingOver,
    number: u64,
    leaf: NodeId,
    is_proposed: bool,
}

impl HandingOver {
    fn begin(&self, leaf: NodeId, doubted_at: Instant) -> UnderWay<'_> {
        let mut doubts = self.doubts();
        doubts.next += 1;
        let number = doubts.next;
        doubts.under_way.insert(number, (leaf, doubted_at));
        UnderWay { all: self, number, leaf, is_proposed: false }
    }

    /// Whether the leaf is to be lent nothing more for now.
    pub fn is_doubted(&self, leaf: NodeId) -> bool {
        let (now, doubts) = (Instant::now(), self.doubts());
        let mut under_way = doubts.under_way.values();
        under_way.any(|(of, at)| *of == leaf && *at <= now) || doubts.unresolved.contains(&leaf)
    }

    /// Leaves of hand-overs that ended without an answer: whatever is committed next says what became of them.
    pub fn take_unresolved(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.doubts().unresolved)
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut doubts = self.all.doubts();
        doubts.under_way.remove(&self.number);
        if self.is_proposed {
            doubts.unresolved.insert(self.leaf);
        }
    }
}

/// How an attempt ended that did not succeed.
enum Failed {
    /// It may succeed another time; why.
    Now(String),
    /// It will not.
    ForGood(ForwardRefusal),
}

impl From<ForwardRefusal> for Failed {
    fn from(refusal: ForwardRefusal) -> Self {
        Self::ForGood(refusal)
    }
}

impl Aggregator {
    /// Makes a replica the primary. With `kill` writes that are under way are not waited for: their clients are answered
    /// by the next primary, or not before it serves.
    ///
    /// # Errors
    /// [`ForwardRefusal`]; the old primary goes on then, unless the outcome is unknown.
    pub(super) async fn switch_over(
        &self,
        statement: Option<StatementId>,
        partition: PartitionId,
        to: NodeId,
        kill: bool,
        reason: &str,
    ) -> Result<(), ForwardRefusal> {
        let begun = Instant::now();
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(AGAIN).await;
            }
            match self.try_switch_over(statement, partition, to, kill, reason).await {
                Ok(None) => return Ok(()),
                Ok(Some(epoch)) => {
                    let committed = begun.elapsed();
                    self.await_serving(partition, to, epoch).await;
                    info!(%partition, %to, ?committed, served = ?begun.elapsed(), "handed over");
                    return Ok(());
                }
                Err(Failed::Now(why)) => {
                    debug!(%partition, %to, why, "not handed over");
                    last = why;
                }
                Err(Failed::ForGood(refusal)) => return Err(refusal),
            }
        }
        let catalog = self.catalog_here()?;
        let (name, address) = (catalog.partition_name(partition), catalog.address_of(to));
        Err(super::cluster::refused(format!("{name} was not handed over to {address}: {last}")).into())
    }

    /// The catalog as this node's control group has it.
    pub(super) fn catalog_here(&self) -> Result<std::sync::Arc<Catalog>, ForwardRefusal> {
        self.group().map(|group| group.catalog()).ok_or(ForwardRefusal::NotTheMaster)
    }

    /// Answers with the new epoch; None if it is the primary already.
    async fn try_switch_over(
        &self,
        statement: Option<StatementId>,
        id: PartitionId,
        to: NodeId,
        kill: bool,
        reason: &str,
    ) -> Result<Option<Epoch>, Failed> {
        let catalog = self.catalog_here()?;
        let name = catalog.partition_name(id);
        let Some(partition) = catalog.partition(id) else {
            return Err(Failed::ForGood((&Rejection::NoSuchPartition(id)).into()));
        };
        if partition.primary == to {
            return Ok(None);
        }
        match partition.replicas.get(&to) {
            Some(SyncState::Sync) => {}
            Some(state) => {
                return Err(Failed::Now(format!("the replica on {} is {state}", catalog.address_of(to))));
            }
            None => {
                let text = format!("{} holds no instance of {name}", catalog.address_of(to));
                return Err(Failed::ForGood(super::cluster::refused(text).into()));
            }
        }
        let Some(old) = catalog.serving(id) else {
            return Err(Failed::Now("it has no primary that serves; a failover may be under way".into()));
        };
        for node in [old.id, to] {
            if !self.comes_to_be_as_known(&catalog, node).await {
                return Err(Failed::Now(format!(
                    "{} does not answer, or was just restarted",
                    catalog.address_of(node)
                )));
            }
        }
        // Pings may be a moment old: a leaf that fell asleep meanwhile would leave the partition without a primary.
        self.ask_heir(&catalog, partition, to).await?;
        let request = |drain: Duration, hold: Duration| {
            let (drain_ms, hold_ms) = (drain.as_millis() as u64, hold.as_millis() as u64);
            Request::Drain(DrainRequest { partition: id, epoch: partition.epoch, to, drain_ms, hold_ms })
        };
        // Counted from before the primary is asked: it holds still from some moment after that on, and its answer may be
        // long on the way.
        let doubted_at = Instant::now() + if kill { Duration::ZERO } else { DOUBTED_AFTER };
        let mut under_way = self.handing_over.begin(old.id, doubted_at);
        if !kill {
            let request = request(DRAIN_MAX, HOLD_MAX);
            match self.context.ask(&old.rpc_address(), &request, 2 * DRAIN_MAX + ANSWER).await {
                Ok(Response::Drained(Ok(last))) => debug!(%id, %last, "drained"),
                Ok(Response::Drained(Err(why))) => return Err(Failed::Now(why)),
                Ok(_) => return Err(Failed::Now("the primary gave no answer to this".into())),
                Err(error) => return Err(Failed::Now(error.to_string())),
            }
        }
        if kill {
            self.until_it_reads_nothing(&catalog, old.id).await?;
        }
        let command =
            Command::HandOver { partition: id, epoch: partition.epoch, to, reason: reason.to_owned() };
        let entry = Entry { statement, at_ms: wall_clock_ms(), command };
        // Once it is proposed it may be committed, whatever becomes of the answer.
        under_way.is_proposed = true;
        let proposed = timeout(HOLD_MAX, self.propose(entry)).await;
        under_way.is_proposed = !matches!(proposed, Ok(Ok(_)));
        if !kill && matches!(proposed, Ok(Ok(Err(_)))) {
            // Nothing comes of it: writes need not wait until the time is over.
            let release = request(Duration::ZERO, Duration::ZERO);
            drop(self.context.ask(&old.rpc_address(), &release, ANSWER).await);
        }
        match proposed {
            Err(_) => Err(Failed::ForGood(ForwardRefusal::Unknown)),
            Ok(Err(error)) => Err(Failed::ForGood(refusal(error))),
            Ok(Ok(Ok(_))) => Ok(Some(partition.epoch.next())),
            // With an id the answer is the same for ever.
            Ok(Ok(Err(rejection))) if statement.is_some() => Err(Failed::ForGood((&rejection).into())),
            Ok(Ok(Err(rejection))) => Err(Failed::Now(rejection.to_string())),
        }
    }

    /// Waits until a leaf that is lent nothing more surely shows nothing that it reads.
    async fn until_it_reads_nothing(&self, catalog: &Catalog, leaf: NodeId) -> Result<(), Failed> {
        let deadline = Instant::now() + FREED_MAX;
        while catalog.switch("leaf_read_lease") && self.context.clock.now() < self.leases.free_at(leaf) {
            if Instant::now() >= deadline {
                return Err(Failed::Now(format!("{} could still read", catalog.address_of(leaf))));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Has the replica's leaf say that it is there, and follows in this epoch.
    async fn ask_heir(&self, catalog: &Catalog, partition: &Partition, to: NodeId) -> Result<(), Failed> {
        let Some(leaf) = catalog.node(to) else { return Err(Failed::Now("its leaf is gone".into())) };
        let answer = self.context.ask(&leaf.rpc_address(), &Request::Instance(partition.id), ANSWER).await;
        let Ok(Response::Instances(told)) = answer else {
            return Err(Failed::Now(format!("{} does not answer", leaf.address())));
        };
        let follows = |one: &InstanceStatus| {
            one.partition == partition.id && one.role == "replica" && one.epoch == partition.epoch
        };
        if told.iter().any(follows) {
            Ok(())
        } else {
            Err(Failed::Now(format!("{} does not follow it yet", leaf.address())))
        }
    }

    /// Whether a leaf answers this node as the catalog knows it, soon: this node may have begun to ask only now.
    async fn comes_to_be_as_known(&self, catalog: &Catalog, node: NodeId) -> bool {
        let deadline = Instant::now() + KNOWN_MAX;
        while !self.is_as_known(catalog, node) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
        true
    }

    /// Whether a leaf answers this node now, as the run and on the disk that the catalog knows.
    pub(super) fn is_as_known(&self, catalog: &Catalog, node: NodeId) -> bool {
        let Some(known) = catalog.node(node) else { return false };
        let sight = self.sight(&self.context.catalog());
        sight.is_well(node)
            && sight
                .nodes
                .get(&node)
                .is_some_and(|seen| seen.answered_as == Some((known.incarnation, known.store)))
    }

    /// Waits, a bounded time, until the new primary serves: who gave the order may rely on it then.
    async fn await_serving(&self, partition: PartitionId, to: NodeId, epoch: Epoch) {
        let deadline = Instant::now() + SERVES;
        while Instant::now() < deadline {
            let Ok(catalog) = self.catalog_here() else { return };
            let (Some(node), Some(now)) = (catalog.node(to), catalog.partition(partition)) else { return };
            if now.epoch > epoch {
                return;
            }
            let answer = self.context.ask(&node.rpc_address(), &Request::Instance(partition), ANSWER).await;
            if let Ok(Response::Instances(told)) = answer
                && told.iter().any(|one| one.partition == partition && one.serving && one.epoch >= epoch)
            {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist 11: whoever waited for it may have gone away.
    #[test]
    fn a_hand_over_that_is_dropped_before_its_answer_stays_in_doubt() {
        let (all, leaf) = (HandingOver::default(), NodeId(2));
        let later = Instant::now() + DOUBTED_AFTER;
        drop(all.begin(leaf, later));
        assert_eq!(all.take_unresolved(), BTreeSet::new(), "it was not proposed");
        let mut proposed = all.begin(leaf, later);
        proposed.is_proposed = true;
        assert!(!all.is_doubted(leaf), "it is not late yet");
        drop(proposed);
        assert!(all.is_doubted(leaf));
        assert_eq!(all.take_unresolved(), BTreeSet::from([leaf]));
        assert!(!all.is_doubted(leaf));
        let mut answered = all.begin(leaf, Instant::now());
        answered.is_proposed = true;
        assert!(all.is_doubted(leaf));
        answered.is_proposed = false;
        drop(answered);
        assert!(!all.is_doubted(leaf));
    }
}
