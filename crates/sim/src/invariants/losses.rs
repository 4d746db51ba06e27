//! What `docs/guarantees.md` lets power cuts take from a partition with ASYNC DURABILITY, and nothing more.
//!
//! As long as anybody who counts has everything that was acknowledged, and has not lost power under it, nothing may go.
//! When nobody is left, the partition is bereft: its next primary goes on with what its own disk has kept. What was
//! committed beyond that is gone from then on: its statements are nowhere, or were sent again; its transactions may be
//! there in part; readers see less.
//! With SYNC DURABILITY nobody is ever bereft.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use baton_catalog::Partition;
use baton_model::{Lsn, NodeId, PartitionId, StatementId};
use baton_replication::{Payload, Record};

use super::{Chronicle, s2, s4};
use crate::kernel::Time;
use crate::world::World;

/// Who was bereft of what.
#[derive(Debug, Default)]
pub struct Losses {
    /// Partitions that nobody has in whole, and what each of those who counted has kept.
    bereft: BTreeMap<PartitionId, BTreeMap<NodeId, Lsn>>,
    /// Partitions whose primary went on without what was gone, and when.
    since: BTreeMap<PartitionId, Time>,
    /// Statements that were committed, and gone.
    statements: BTreeSet<StatementId>,
}

impl Losses {
    /// Whether something of a partition is gone, or going.
    pub fn touch(&self, partition: PartitionId) -> bool {
        self.bereft.contains_key(&partition) || self.since.contains_key(&partition)
    }

    /// Whether nobody has all of a partition, and nobody has gone on yet.
    pub(super) fn is_bereft(&self, partition: PartitionId) -> bool {
        self.bereft.contains_key(&partition)
    }

    /// What a node that goes on with a partition that nobody has all of must have: what it had kept, and if it did not count
    /// then, what somebody had who did.
    pub(super) fn least(&self, partition: PartitionId, node: NodeId) -> Option<Lsn> {
        let kept = self.bereft.get(&partition)?;
        kept.get(&node).or(kept.values().min()).copied()
    }

    /// Whether something of a partition has gone since then, or is going.
    pub fn touch_since(&self, partition: PartitionId, begun: Time) -> bool {
        self.is_bereft(partition) || self.since.get(&partition).is_some_and(|at| *at >= begun)
    }

    /// Whether a statement was committed, and is gone.
    pub(super) fn took(&self, statement: StatementId) -> bool {
        self.statements.contains(&statement)
    }

    /// How many partitions went on without what was gone.
    #[must_use]
    pub fn count(&self) -> usize {
        self.since.len()
    }
}

/// Whether a node may lack what it had not synced of a partition, and the catalog does not know yet.
pub(super) fn may_lack(world: &World, known: &Partition, node: NodeId) -> bool {
    let machine = &world.nodes[World::position(node)];
    let run = world.catalog().node(node).map(|known| known.incarnation);
    let is_news =
        if machine.up { machine.lost_tail && run != Some(machine.incarnation) } else { machine.mark };
    known.unsynced && is_news
}

/// Those who count for a partition, on disks that the catalog knows.
fn counted<'a>(world: &'a World, known: &'a Partition) -> impl Iterator<Item = NodeId> + 'a {
    let primary = (!known.primary_lost).then_some(known.primary);
    let replicas = known.replicas.keys().copied().filter(|replica| s4::may_be_promoted(known, *replica));
    primary.into_iter().chain(replicas).filter(|node| s2::is_known(world, *node))
}

/// How much of what is committed a node has.
pub(super) fn kept(world: &World, chronicle: &Chronicle, node: NodeId) -> Lsn {
    let copy = world.leaf(World::position(node)).disk.now.copies.get(&chronicle.of);
    copy.filter(|copy| !copy.importing).map_or(Lsn(0), |copy| {
        let last = Lsn(chronicle.committed.len() as u64);
        copy.history.common(copy.last(), &chronicle.history, last)
    })
}

impl World {
    /// Whether nobody has all of a partition any more, and that may be so.
    pub(super) fn note_bereft(&mut self, known: &Partition) -> bool {
        if self.checks.losses.is_bereft(known.id) {
            return true;
        }
        let Some(chronicle) = self.checks.chronicles.get(&known.id).filter(|_| known.unsynced) else {
            return false;
        };
        let has = |node: NodeId| {
            let copy = s2::durable(self, World::position(node), known.id);
            !may_lack(self, known, node) && chronicle.is_had_by(copy)
        };
        let lacks = |node: NodeId| may_lack(self, known, node);
        if counted(self, known).any(has) || !counted(self, known).any(lacks) {
            return false;
        }
        let left: BTreeMap<NodeId, Lsn> =
            counted(self, known).map(|node| (node, kept(self, chronicle, node))).collect();
        let acknowledged = chronicle.acknowledged;
        let id = known.id;
        self.tell(|| format!("nobody has all of {id} up to {acknowledged}: {left:?}"));
        self.checks.losses.bereft.insert(id, left);
        true
    }

    /// A primary of a partition that was bereft is about to go on: what it does not have is gone.
    pub(super) fn settle_loss(&mut self, me: usize, partition: PartitionId) {
        let Some(known) = self.catalog().partition(partition) else { return };
        let goes_on = self.leaf(me).instances.get(&partition).is_some_and(|running| {
            let is_primary = known.primary == self.nodes[me].id && running.core.role_name() == "primary";
            is_primary && running.core.epoch() == known.epoch
        });
        if !goes_on {
            return;
        }
        let id = self.nodes[me].id;
        let Some(least) = self.checks.losses.least(partition, id) else { return };
        self.checks.losses.bereft.remove(&partition);
        let Some(mut chronicle) = self.checks.chronicles.remove(&partition) else { return };
        let last = kept(self, &chronicle, id);
        self.tell(|| {
            format!("{id} goes on with {partition} at {last}; acknowledged was {}", chronicle.acknowledged)
        });
        if last < least {
            self.violated("losses", format!("{id} goes on with {partition} at {last}, and had {least}"));
        }
        let gone = chronicle.lose(last);
        self.checks.chronicles.insert(partition, chronicle);
        self.checks.losses.since.insert(partition, self.now);
        self.checks.losses.statements.extend(gone.iter().filter_map(|record| match &record.payload {
            Payload::Write(write) => Some(write.statement),
            _ => None,
        }));
        let kept: &[Rc<Record>] =
            self.checks.chronicles.get(&partition).map_or(&[], |chronicle| &chronicle.committed);
        self.checks.s9.lost(partition, kept, &gone);
        let counts = |place| self.checks.s9.count(place);
        self.checks.reads.lost(partition, counts);
        self.workload.lost(partition, counts);
    }
}
