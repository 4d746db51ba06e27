//! A primary that is to hand over: it opens no transactions, lets those that are open end, and stops taking writes for a
//! while.
//!
//! Played as `Leaf::drain` in `leaf/orphan.rs` and `Tenure::close` in `leaf/tenure.rs` of `baton-node` do it.

use std::time::Duration;

use baton_model::{Epoch, Instant, Lsn, NodeId, PartitionId};
use baton_replication::Event as CoreEvent;

use super::Running;
use crate::kernel::Time;
use crate::world::{Body, Timer, World};

/// What an instance is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Who asks, and the number by which it knows the answer.
    pub from: usize,
    pub number: u64,
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// Who comes next.
    pub to: NodeId,
    /// What transactions and then writes have time to end, and how long it holds still after that.
    pub drain: Time,
    pub hold: Time,
}

/// One that is not answered.
#[derive(Debug)]
pub(super) struct Draining {
    drain: Drain,
    /// The tenure that was closed.
    epoch: Epoch,
    /// Transactions are still open: the core does not know of it yet.
    waits: bool,
}

impl World {
    /// A leaf is asked to have an instance drain.
    pub(in crate::world) fn asked_to_drain(&mut self, me: usize, partition: PartitionId, drain: Drain) {
        let now = self.local(me);
        let running = self.leaf_mut(me).instances.get_mut(&partition);
        let running = running.and_then(|running| Some((running.tenure.as_mut()?, &mut running.next)));
        let Some((tenure, next)) = running else {
            return self.drain_answered(me, drain, Err("it does not serve".to_owned()));
        };
        *next += 1;
        let ticket = *next;
        tenure.participant.close(now + Duration::from_micros(2 * drain.drain + drain.hold));
        let draining = Draining { drain, epoch: tenure.epoch, waits: true };
        if let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) {
            running.drains.insert(ticket, draining);
        }
        self.later(me, drain.drain.max(1), Timer::CloseTimeout(partition, ticket));
        self.transactions_end(me, partition);
        self.drain(me, partition);
    }

    fn drain_answered(&mut self, me: usize, drain: Drain, result: Result<Lsn, String>) {
        self.datagram(me, drain.from, Body::Drained { number: drain.number, result });
    }

    /// A transaction is over, and with the last one that is open a primary may go on to drain.
    pub(in crate::world) fn transactions_end(&mut self, me: usize, partition: PartitionId) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        if running.drains.is_empty() || open_in(running) > 0 {
            return;
        }
        for (ticket, draining) in running.drains.iter_mut().filter(|(_, draining)| draining.waits) {
            draining.waits = false;
            let Drain { epoch, to, drain, hold, .. } = draining.drain;
            let (ticket, drain, hold) = (*ticket, Duration::from_micros(drain), Duration::from_micros(hold));
            running.pending.push(CoreEvent::HandOver { ticket, epoch, to, drain, hold });
        }
    }

    /// Transactions that are open have not ended in time.
    pub(in crate::world) fn close_timed_out(&mut self, me: usize, partition: PartitionId, ticket: u64) {
        let Some(running) = self.leaf(me).instances.get(&partition) else { return };
        if running.drains.get(&ticket).is_some_and(|draining| draining.waits) {
            let open = open_in(running);
            let why = format!("{open} transactions are open that did not end in time");
            self.drain_ends(me, partition, ticket, Err(why));
        }
    }

    /// A drain has come to this.
    pub(super) fn drain_ends(
        &mut self,
        me: usize,
        partition: PartitionId,
        ticket: u64,
        result: Result<Lsn, String>,
    ) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        let Some(Draining { drain, epoch, .. }) = running.drains.remove(&ticket) else { return };
        if result.is_err()
            && let Some(tenure) = running.tenure.as_mut().filter(|tenure| tenure.epoch == epoch)
        {
            tenure.participant.close(Instant(0));
        }
        self.drain_answered(me, drain, result);
    }

    /// Nobody is served here any more: what waits for open transactions fails. The core answers the others.
    pub(in crate::world) fn drains_end(&mut self, me: usize, partition: PartitionId) {
        let Some(running) = self.leaf(me).instances.get(&partition) else { return };
        let waiting: Vec<u64> =
            running.drains.iter().filter(|(_, draining)| draining.waits).map(|(ticket, _)| *ticket).collect();
        for ticket in waiting {
            self.drain_ends(me, partition, ticket, Err("it serves no more".to_owned()));
        }
    }

    /// An instance has ended.
    pub(super) fn drains_lost(&mut self, me: usize, drains: impl IntoIterator<Item = Draining>) {
        for draining in drains {
            self.drain_answered(me, draining.drain, Err("its instance has ended".to_owned()));
        }
    }
}

fn open_in(running: &Running) -> usize {
    running.tenure.as_ref().map_or(0, |tenure| tenure.participant.workspaces())
}
