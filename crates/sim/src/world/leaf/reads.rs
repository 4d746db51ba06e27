//! Reads at a primary, which shows nothing that may be the past.
//!
//! Played as `leaf/read.rs` and `leaf/lease.rs` of `baton-node` do it: a read waits until it may show what it reads, then
//! for the end of what may be committed already, reads, and asks again. In between the process may sleep.

use std::time::Duration;

use baton_detector::Grant;
use baton_model::limits::LEAF_READ_LEASE_WAIT_MS;
use baton_model::{CatalogIndex, Epoch, Instant, PartitionId, TransactionId};
use baton_replication::transaction::{Overlay, Place};

use crate::kernel::{MS, Time};
use crate::world::statements::row_key;
use crate::world::store::{Row, TABLE, row_of};
use crate::world::wire::Answer;
use crate::world::{Body, Timer, World};

/// Between the rows and the question whether they may be shown there is less than this.
const READING: Time = MS;
/// How long a read waits for the end of a transaction that may be committed already.
const IN_DOUBT_MAX: Duration = Duration::from_secs(3);

/// A read at a leaf.
#[derive(Debug)]
pub(super) struct Read {
    from: usize,
    call: u64,
    partition: PartitionId,
    /// The epoch in which it was begun.
    epoch: Epoch,
    key: u64,
    /// What its transaction had written when it began.
    overlay: Overlay,
    begun: Instant,
    stage: Stage,
}

/// What a read waits for.
#[derive(Debug)]
enum Stage {
    /// A lease.
    Lease,
    /// The end of these, until then.
    InDoubt(Vec<TransactionId>, Instant),
    /// To show what it has read.
    Row(Option<Row>),
}

/// Why what was read is not shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::world) enum Hidden {
    /// For good.
    NotPrimary,
    /// For now.
    NoLease,
}

impl From<Hidden> for Answer {
    fn from(why: Hidden) -> Self {
        match why {
            Hidden::NotPrimary => Self::NotPrimary,
            Hidden::NoLease => Self::NoLease,
        }
    }
}

impl Read {
    /// Who waits for its answer.
    pub(super) fn caller(&self) -> (usize, u64) {
        (self.from, self.call)
    }
}

impl World {
    /// A ping lends the right to show what is read.
    pub(super) fn lent(&mut self, me: usize, grant: Grant) {
        let now = self.local(me);
        self.leaf_mut(me).lease.take(now, grant);
        self.read_on(me);
    }

    /// A read begins, as somebody who has written this in a workspace, or as anybody.
    pub(in crate::world) fn read(
        &mut self,
        me: usize,
        from: usize,
        call: u64,
        partition: PartitionId,
        key: u64,
        within: Option<(TransactionId, Place)>,
    ) {
        let begun = self.local(me);
        let Some(tenure) = self.tenure(me, partition) else { return };
        let epoch = tenure.epoch;
        let overlay = match within {
            None => Ok(Overlay::new()),
            Some((transaction, place)) => tenure.participant.overlay(begun, transaction, place, TABLE),
        };
        let Ok(overlay) = overlay else {
            self.datagram(me, from, Body::Answer { call, answer: Answer::RolledBack });
            return;
        };
        let leaf = self.leaf_mut(me);
        leaf.next_read += 1;
        let number = leaf.next_read;
        let read = Read { from, call, partition, epoch, key, overlay, begun, stage: Stage::Lease };
        leaf.reads.insert(number, read);
        self.read_step(me, number);
    }

    fn reads_where(&self, me: usize, which: impl Fn(&Read) -> bool) -> Vec<u64> {
        let reads = self.leaf(me).reads.iter();
        reads.filter(|(_, read)| which(read)).map(|(number, _)| *number).collect()
    }

    fn read_ends(&mut self, me: usize, number: u64, answer: Answer) {
        if let Some(read) = self.leaf_mut(me).reads.remove(&number) {
            self.datagram(me, read.from, Body::Answer { call: read.call, answer });
        }
    }

    /// Reads that wait for a lease look again.
    pub(super) fn read_on(&mut self, me: usize) {
        for number in self.reads_where(me, |read| matches!(read.stage, Stage::Lease)) {
            self.read_step(me, number);
        }
    }

    /// Reads go on for which nothing is in doubt any more, and end that have waited for too long.
    pub(in crate::world) fn settle(&mut self, me: usize, partition: PartitionId) {
        let now = self.local(me);
        let waits = |read: &Read| read.partition == partition && matches!(read.stage, Stage::InDoubt(..));
        for number in self.reads_where(me, waits) {
            let leaf = self.leaf_mut(me);
            let running = leaf.instances.get(&partition);
            let Some(tenure) = running.and_then(|running| running.tenure.as_ref()) else { return };
            let Some(read) = leaf.reads.get_mut(&number) else { continue };
            let Stage::InDoubt(awaited, until) = &mut read.stage else { continue };
            awaited.retain(|id| tenure.participant.has_prepared(*id));
            let (over, late) = (awaited.is_empty(), now >= *until);
            if over {
                self.read_row(me, number);
            } else if late {
                self.read_ends(me, number, Answer::InDoubt);
            }
        }
    }

    /// Nobody is served here any more: whoever waits is told.
    pub(in crate::world) fn reads_end(&mut self, me: usize, partition: PartitionId) {
        let waits = |read: &Read| read.partition == partition && !matches!(read.stage, Stage::Row(_));
        for number in self.reads_where(me, waits) {
            self.read_ends(me, number, Answer::NotPrimary);
        }
    }

    /// Reads the row, if it may show it and nothing is in doubt.
    fn read_step(&mut self, me: usize, number: u64) {
        let Some(read) = self.leaf(me).reads.get(&number) else { return };
        let (partition, (_, wanted)) = (read.partition, row_key(read.key));
        if let Err(why) = self.may_show(me, partition, read.epoch) {
            self.read_waits(me, number, why);
            return;
        }
        let until = self.local(me) + IN_DOUBT_MAX;
        let Some(tenure) = self.tenure(me, partition) else { return };
        let awaited = tenure.participant.in_doubt(TABLE, |key| *key == wanted);
        if awaited.is_empty() {
            self.read_row(me, number);
        } else if let Some(read) = self.leaf_mut(me).reads.get_mut(&number) {
            read.stage = Stage::InDoubt(awaited, until);
        }
    }

    fn read_row(&mut self, me: usize, number: u64) {
        let Some(read) = self.leaf(me).reads.get(&number) else { return };
        let row = match read.overlay.get(&row_key(read.key).1) {
            Some(row) => row.as_deref().and_then(row_of),
            None => {
                let copy = self.leaf(me).disk.now.copies.get(&read.partition);
                copy.and_then(|copy| copy.rows.get(&read.key)).copied()
            }
        };
        if let Some(read) = self.leaf_mut(me).reads.get_mut(&number) {
            read.stage = Stage::Row(row);
        }
        let after = 1 + self.rng.below(READING);
        self.later(me, after, Timer::Show(number));
    }

    /// Shows what was read, if it still may.
    pub(in crate::world) fn show(&mut self, me: usize, number: u64) {
        let Some(read) = self.leaf(me).reads.get(&number) else { return };
        let Stage::Row(row) = read.stage else { return };
        match self.may_show(me, read.partition, read.epoch) {
            Ok(()) => self.read_ends(me, number, Answer::Row(row)),
            Err(why) => self.read_waits(me, number, why),
        }
    }

    /// Waits for a lease, if that is all that is missing, as long as a read may.
    fn read_waits(&mut self, me: usize, number: u64, why: Hidden) {
        let now = self.local(me);
        let Some(read) = self.leaf_mut(me).reads.get_mut(&number) else { return };
        let patience = Duration::from_millis(LEAF_READ_LEASE_WAIT_MS);
        if why == Hidden::NoLease && now.since(read.begun) < patience {
            read.stage = Stage::Lease;
        } else {
            self.read_ends(me, number, why.into());
        }
    }

    /// Whether rows that were read in this epoch are the present.
    pub(in crate::world) fn may_show(
        &self,
        me: usize,
        partition: PartitionId,
        epoch: Epoch,
    ) -> Result<(), Hidden> {
        let leaf = self.leaf(me);
        let Some(running) = leaf.instances.get(&partition) else { return Err(Hidden::NotPrimary) };
        if running.serving != Some(epoch) {
            return Err(Hidden::NotPrimary);
        }
        let catalog = self.catalog_at(leaf.mirror);
        if running.core.is_drained() {
            // Another primary may serve already: a planned change waits for no lease to run out.
            return Err(Hidden::NoLease);
        }
        if running.core.is_irreplaceable() || !catalog.switch("leaf_read_lease") {
            return Ok(());
        }
        let id = self.nodes[me].id;
        let known = catalog.partition(partition);
        if !known.is_some_and(|known| known.epoch == epoch && known.primary == id) {
            return Err(Hidden::NotPrimary);
        }
        if leaf.lease.holds(self.local(me), CatalogIndex(leaf.mirror)) {
            Ok(())
        } else {
            Err(Hidden::NoLease)
        }
    }
}
