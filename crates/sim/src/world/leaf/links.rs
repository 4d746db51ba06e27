//! The links of a leaf's instances, each from a replica to its primary, and copies on their way.
//!
//! Played as `leaf/links.rs` and `leaf/copy.rs` of `baton-node` do it.

use std::rc::Rc;

use baton_model::PartitionId;
use baton_replication::{Event as CoreEvent, Message};

use super::{CHUNK_ROWS, CHUNK_STEP, CONNECT_PATIENCE, RETRY};
use crate::kernel::ConnId;
use crate::world::store::Made;
use crate::world::{Purpose, Timer, World};

impl World {
    // ---- copies on their way

    /// A copy that some leaf has made, if its disk has it.
    pub(super) fn made(&self, copy: u64) -> Option<Rc<Made>> {
        self.leaves().find_map(|other| self.leaf(other).disk.now.made.get(&copy).cloned())
    }

    pub(in crate::world) fn fetch_step(&mut self, me: usize, number: u64) {
        let Some(mut fetch) = self.leaf_mut(me).fetches.remove(&number) else { return };
        let (partition, peer, conn) = (fetch.partition, fetch.peer, fetch.conn);
        let linked =
            self.leaf(me).instances.get(&partition).is_some_and(|running| running.links.contains(&conn));
        if !linked {
            return;
        }
        let maker = Self::position(peer);
        let made = self.nodes[maker].up.then(|| self.leaf(maker).disk.now.made.get(&fetch.copy).cloned());
        let event = match made.flatten() {
            Some(made) if fetch.chunks >= made.rows.count().div_ceil(CHUNK_ROWS) => {
                CoreEvent::CopyHere { copy: fetch.copy }
            }
            Some(_) => {
                fetch.chunks += 1;
                self.leaf_mut(me).fetches.insert(number, fetch);
                self.later(me, CHUNK_STEP, Timer::FetchStep(number));
                return;
            }
            None => return, // The link breaks as well, and all begins anew.
        };
        self.instance_step(me, partition, vec![event]);
    }

    // ---- links

    pub(super) fn link_connect(&mut self, me: usize, partition: PartitionId) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        let Some(to) = running.wants else { return };
        let attempt = self.connect(me, Self::position(to), Purpose::Replicate(partition), CONNECT_PATIENCE);
        if let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) {
            running.attempt = Some(attempt);
        }
    }

    pub(super) fn link_connect_later(&mut self, me: usize, partition: PartitionId) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        if running.wants.is_some() {
            running.attempt = None;
            let wish = running.wish;
            self.later(me, RETRY, Timer::LinkRetry(partition, wish));
        }
    }

    pub(in crate::world) fn link_retry(&mut self, me: usize, partition: PartitionId, wish: u64) {
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        if running.wish == wish && running.own.is_none() && running.attempt.is_none() {
            self.link_connect(me, partition);
        }
    }

    pub(in crate::world) fn adopt_link(&mut self, me: usize, partition: PartitionId, conn: ConnId) {
        if let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) {
            running.links.insert(conn);
        }
    }

    pub(in crate::world) fn link_answered(
        &mut self,
        me: usize,
        partition: PartitionId,
        attempt: u64,
        conn: Option<ConnId>,
    ) {
        let running = self.leaf_mut(me).instances.get_mut(&partition);
        let Some(running) = running.filter(|running| running.attempt == Some(attempt)) else {
            if let Some(conn) = conn {
                self.send(me, conn, None);
            }
            return;
        };
        running.attempt = None;
        match (conn, running.wants) {
            (Some(conn), Some(peer)) => {
                running.own = Some(conn);
                running.links.insert(conn);
                self.instance_step(me, partition, vec![CoreEvent::LinkUp { peer, link: conn.0 }]);
            }
            _ => self.link_connect_later(me, partition),
        }
    }

    pub(in crate::world) fn leaf_connect_timed_out(&mut self, me: usize, attempt: u64) {
        let leaf = self.leaf_mut(me);
        if leaf.watch.attempt == Some(attempt) {
            leaf.watch.attempt = None;
            self.watch_next(me);
            return;
        }
        let waiting = leaf.instances.iter().find(|(_, running)| running.attempt == Some(attempt));
        if let Some((partition, _)) = waiting {
            let partition = *partition;
            self.link_connect_later(me, partition);
        }
    }

    pub(in crate::world) fn link_lost(
        &mut self,
        me: usize,
        partition: PartitionId,
        peer: usize,
        conn: ConnId,
    ) {
        let id = self.nodes[peer].id;
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        let known = running.links.remove(&conn);
        let own = running.own == Some(conn);
        if own {
            running.own = None;
        }
        if known || own {
            self.instance_step(me, partition, vec![CoreEvent::LinkDown { peer: id, link: conn.0 }]);
        }
        if own {
            self.link_connect_later(me, partition);
        }
    }

    pub(in crate::world) fn link_message(
        &mut self,
        me: usize,
        partition: PartitionId,
        peer: usize,
        conn: ConnId,
        message: Message,
    ) {
        let id = self.nodes[peer].id;
        let Some(running) = self.leaf_mut(me).instances.get(&partition) else { return };
        if running.links.contains(&conn) {
            let event = CoreEvent::Received { peer: id, link: conn.0, message };
            self.instance_step(me, partition, vec![event]);
        }
    }
}
