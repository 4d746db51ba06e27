//! What can happen in this world, and how it does.
//!
//! Moves are listed in a fixed order, so that a seed or a script is one story; what is held back is not among them.
//! Not here: faults, and time, which scripts and simulation bring about themselves.

use std::collections::VecDeque;

use baton_model::NodeId;
use baton_replication::Event;

use super::wires::{Lane, Wire};
use super::{Hold, Move, World, pair};

impl World {
    /// Everything that can happen now, in a fixed order.
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let free = |hold: Hold| !self.held.contains(&hold);
        for (id, leaf) in self.leaves.iter().filter(|(_, leaf)| leaf.up) {
            if leaf.mirror + 1 < self.versions.len() && free(Hold::Catalog(*id)) {
                moves.push(Move::View(*id));
            }
            if !leaf.pending.is_empty() {
                moves.push(Move::Pending(*id));
            }
            if leaf.disk.is_syncing() && free(Hold::Disk(*id)) {
                moves.push(Move::Synced(*id));
            }
            if let Some(to) = leaf.wants
                && leaf.opened.is_none()
                && leaf.retry_at <= self.now
                && self.leaves.get(&to).is_some_and(|leaf| leaf.instance.is_some())
                && !self.cut.contains(&pair(*id, to))
            {
                moves.push(Move::Connect(*id));
            }
            if let Some((from, _)) = leaf.fetching
                && self.leaves.get(&from).is_some_and(|leaf| leaf.up)
                && !self.cut.contains(&pair(*id, from))
                && free(Hold::Wire(from, *id))
            {
                moves.push(Move::Fetched(*id));
            }
        }
        for (link, wire) in &self.wires {
            for (from, to, lane, back) in [
                (wire.replica, wire.primary, &wire.to_primary, &wire.to_replica),
                (wire.primary, wire.replica, &wire.to_replica, &wire.to_primary),
            ] {
                if !lane.open || !free(Hold::Wire(from, to)) {
                    continue;
                }
                if !lane.messages.is_empty() {
                    moves.push(Move::Deliver(*link, to));
                } else if !back.open {
                    moves.push(Move::Down(*link, to));
                }
            }
        }
        if free(Hold::Master) {
            moves.extend((0..self.requests.len()).map(Move::Ask));
        }
        moves
    }

    /// Lets something happen; of messages, so many at once.
    pub fn play(&mut self, what: Move, at_once: usize) {
        match what {
            Move::View(id) => {
                let newest = self.versions.len() - 1;
                let Some(leaf) = self.leaves.get_mut(&id) else { return };
                leaf.mirror = if at_once > 1 { newest } else { leaf.mirror + 1 };
                self.see(id);
            }
            Move::Pending(id) => {
                let events = self.leaves.get_mut(&id).map(|leaf| leaf.pending.drain(..).collect());
                self.step(id, events.unwrap_or_default());
            }
            Move::Synced(id) => {
                let sync = self.leaves.get_mut(&id).and_then(|leaf| leaf.disk.finish_sync(at_once > 1));
                self.step(
                    id,
                    sync.map(|s| Event::Durable { lsn: s.lsn, cuts: s.cuts }).into_iter().collect(),
                );
            }
            Move::Deliver(link, to) => {
                let Some(wire) = self.wires.get_mut(&link) else { return };
                let peer = wire.other(to);
                let Some(lane) = wire.lane(to) else { return };
                let count = at_once.min(lane.messages.len());
                let events = lane.messages.drain(..count);
                let events = events.map(|message| Event::Received { peer, link, message }).collect();
                self.step(to, events);
            }
            Move::Down(link, to) => {
                let Some(wire) = self.wires.get_mut(&link) else { return };
                let peer = wire.other(to);
                if let Some(lane) = wire.lane(to) {
                    lane.open = false;
                }
                if let Some(leaf) = self.leaves.get_mut(&to)
                    && leaf.opened == Some(link)
                {
                    leaf.lose_link(self.now);
                }
                self.forget_closed();
                self.step(to, vec![Event::LinkDown { peer, link }]);
            }
            Move::Connect(id) => self.connect(id),
            Move::Fetched(id) => {
                let fetched = self.leaves.get_mut(&id).and_then(|leaf| leaf.fetching.take());
                self.step(id, fetched.map(|(_, copy)| Event::CopyHere { copy }).into_iter().collect());
            }
            Move::Ask(which) => {
                let command = self.requests.remove(which);
                drop(self.master(command));
            }
        }
    }

    fn connect(&mut self, id: NodeId) {
        let Some(to) = self.leaves[&id].wants else { return };
        self.next_link += 1;
        let link = self.next_link;
        let lane = || Lane { messages: VecDeque::new(), open: true };
        self.wires.insert(link, Wire { replica: id, primary: to, to_primary: lane(), to_replica: lane() });
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.opened = Some(link);
        }
        self.step(id, vec![Event::LinkUp { peer: to, link }]);
    }
}
