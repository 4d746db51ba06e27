//! What this aggregator lends to leaves while it is the master aggregator: the right to show what they read.
//!
//! The pinging thread asks with every ping; the supervisor says to whom, and takes nothing from a leaf before
//! [`Leases::free_at`].

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use baton_consensus::ControlGroup;
use baton_detector::{LEASE, Lender};
use baton_model::{CatalogIndex, Instant, NodeId};
use baton_transport::Clock;
use baton_transport::heartbeat::Lend;

/// Between two pings there is less than this, unless the process or its machine slept.
const NAP: Duration = Duration::from_millis(LEASE.as_millis() as u64 / 2);

/// Shared by the pinging thread and the supervisor.
#[derive(Default)]
pub struct Leases {
    lender: Mutex<Lender>,
    group: OnceLock<Arc<ControlGroup>>,
}

impl Leases {
    /// From now on this group says whether this node leads.
    pub fn follow(&self, group: Arc<ControlGroup>) {
        let _ = self.group.set(group);
    }

    /// For the pinging thread.
    pub fn lend(self: &Arc<Self>, clock: Clock) -> Lend {
        let leases = Arc::clone(self);
        let mut awake = Awake::default();
        Box::new(move |node, received_at, answered_at| {
            let awake_for = awake.since(clock.now());
            // After the pong was received: see `baton_detector::Lender`.
            let status = leases.group.get()?.status();
            let acked = status.quorum_acked_age_ms.map_or(Duration::ZERO, Duration::from_millis);
            if !status.is_leader || acked > awake_for {
                return None;
            }
            leases.lender().grant(status.term, node, received_at, answered_at)
        })
    }

    /// From now on exactly these leaves may be lent to; see [`Lender::lend_to`].
    pub fn lend_to(
        &self,
        now: Instant,
        term: u64,
        leaves: impl IntoIterator<Item = NodeId>,
        index: CatalogIndex,
    ) {
        self.lender().lend_to(now, term, leaves, index);
    }

    /// From when on a leaf that is lent nothing more surely shows nothing that it reads.
    pub fn free_at(&self, leaf: NodeId) -> Instant {
        self.lender().free_at(leaf)
    }

    fn lender(&self) -> MutexGuard<'_, Lender> {
        self.lender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices that the machine was suspended: the control group's clock stands still meanwhile, and what a majority
/// confirmed before must not count as if it had been a moment ago.
#[derive(Default)]
struct Awake {
    asked_at: Instant,
    woke_at: Instant,
}

impl Awake {
    /// For how long it has surely been awake.
    fn since(&mut self, now: Instant) -> Duration {
        if now.since(self.asked_at) > NAP {
            self.woke_at = now;
        }
        self.asked_at = now;
        now.since(self.woke_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_confirmed_before_a_sleep_does_not_count_after_it() {
        let mut awake = Awake::default();
        for step in 1..=10 {
            assert_eq!(awake.since(Instant::from_millis(150 * step)), Duration::from_millis(150 * step));
        }
        assert_eq!(awake.since(Instant::from_millis(60_000)), Duration::ZERO);
        assert_eq!(awake.since(Instant::from_millis(60_150)), Duration::from_millis(150));
    }
}
