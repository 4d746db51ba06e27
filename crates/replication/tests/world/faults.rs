//! What breaks: processes, and disks. What links do is in `wires.rs`.
//!
//! Not here: who notices. The others find links gone in their time, and the master aggregator says what it is told.

use baton_model::{Incarnation, NodeId, StoreId};

use super::World;
use super::disk::Disk;

impl World {
    /// A process dies. Its last unsynced writes may be lost; its links end, which the others notice in their time.
    pub fn crash(&mut self, id: NodeId, lost_writes: usize) {
        let unsynced = self.partition().unsynced;
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        let safe = !leaf.syncs && !self.checks.loses_power;
        let lost = if safe { 0 } else { lost_writes };
        if lost > 0 && unsynced {
            self.checks.loses(&leaf.disk);
        }
        leaf.up = false;
        leaf.instance = None;
        leaf.wants = None;
        leaf.opened = None;
        leaf.fetching = None;
        leaf.pending.clear();
        leaf.disk.crash(lost);
        leaf.lost_tail |= !safe;
        for link in self.links() {
            self.close(link, id);
        }
        self.tell(format_args!("{id} crashes"));
        self.check();
    }

    /// A process starts, as another run, with the catalog that it had.
    pub fn restart(&mut self, id: NodeId) {
        self.next_run += 1;
        let run = Incarnation(self.next_run);
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        leaf.up = true;
        leaf.syncs = true;
        leaf.incarnation = run;
        self.tell(format_args!("{id} starts as {run}"));
        self.see(id);
    }

    /// A leaf that is down gets an empty disk.
    pub fn lose_disk(&mut self, id: NodeId) {
        self.next_run += 1;
        let store = StoreId(self.next_run);
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.disk = Disk::default();
            leaf.store = store;
        }
        self.tell(format_args!("{id} has an empty disk, {store}"));
    }
}
