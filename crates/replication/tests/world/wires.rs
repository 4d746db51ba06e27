//! Links between leaves, and what is on them.
//!
//! Messages of one direction come in order or not at all. Each end learns by itself that a link is gone.
//! Not here: who opens a link, and which message comes next (`moves.rs`).

use std::collections::VecDeque;

use baton_model::NodeId;
use baton_replication::{Event, Message};

use super::{World, pair};

/// One direction of a link. `open` is about the end at which messages come out.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub(super) messages: VecDeque<Message>,
    pub(super) open: bool,
}

/// A link, opened by a replica.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) replica: NodeId,
    pub(super) primary: NodeId,
    pub(super) to_primary: Lane,
    pub(super) to_replica: Lane,
}

impl Wire {
    pub(super) fn lane(&mut self, to: NodeId) -> Option<&mut Lane> {
        match to {
            _ if to == self.primary => Some(&mut self.to_primary),
            _ if to == self.replica => Some(&mut self.to_replica),
            _ => None,
        }
    }

    pub(super) fn other(&self, node: NodeId) -> NodeId {
        if node == self.primary { self.replica } else { self.primary }
    }
}

impl World {
    pub(super) fn send(&mut self, peer: NodeId, link: u64, message: Message) {
        if let Some(wire) = self.wires.get_mut(&link) {
            let here = wire.other(peer);
            let open_here = wire.lane(here).is_some_and(|lane| lane.open);
            if let Some(lane) = wire.lane(peer)
                && lane.open
                && open_here
            {
                lane.messages.push_back(message);
            }
        }
    }

    /// This node has done with a link; what comes on it is not read any more.
    pub(super) fn close(&mut self, link: u64, node: NodeId) {
        if let Some(lane) = self.wires.get_mut(&link).and_then(|wire| wire.lane(node)) {
            lane.open = false;
            lane.messages.clear();
        }
        self.forget_closed();
    }

    pub(super) fn forget_closed(&mut self) {
        self.wires.retain(|_, wire| wire.to_primary.open || wire.to_replica.open);
    }

    /// All links with what is on them, in the order of who they are between: their numbers say nothing.
    pub fn fingerprint_of_wires(&self) -> String {
        let mut wires: Vec<String> = self.wires.values().map(|wire| format!("{wire:?}")).collect();
        wires.sort();
        wires.concat()
    }

    /// Links that are there.
    pub fn links(&self) -> Vec<u64> {
        self.wires.keys().copied().collect()
    }

    /// The links between two nodes.
    pub fn links_between(&self, a: NodeId, b: NodeId) -> Vec<u64> {
        let of = pair(a, b);
        self.wires.iter().filter(|(_, w)| pair(w.replica, w.primary) == of).map(|(link, _)| *link).collect()
    }

    /// The network loses a link with everything on it; both ends will notice.
    pub fn break_link(&mut self, link: u64) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        for (node, back) in [(wire.replica, wire.primary), (wire.primary, wire.replica)] {
            let open = wire.lane(node).is_some_and(|lane| lane.open);
            if let Some(lane) = wire.lane(node) {
                lane.messages.clear();
            }
            if open && let Some(leaf) = self.leaves.get_mut(&node) {
                if leaf.opened == Some(link) {
                    leaf.lose_link(self.now);
                }
                leaf.pending.push_back(Event::LinkDown { peer: back, link });
            }
        }
        self.wires.remove(&link);
    }
}
