//! S11: only pings that were really sent count, and a stall of the observer is no evidence against the observed.
//!
//! The world counts for itself, for each pair: at how many ticks since the last answer a ping that had really left was
//! unanswered, or there was no connection. An observer never counts more. Looked at at every tick.

use std::collections::BTreeMap;

use crate::world::World;
use baton_detector::Observation;

#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    linked: bool,
    /// The newest ping that left on this connection, and the newest that was answered.
    sent: u64,
    answered: u64,
    /// Ticks that may be counted.
    ticks: u32,
}

/// What observers really did.
#[derive(Debug, Default)]
pub struct S11(BTreeMap<(usize, usize), Pair>);

impl S11 {
    /// A ping left.
    pub fn sent(&mut self, observer: usize, node: usize, seq: u64) {
        self.0.entry((observer, node)).or_default().sent = seq;
    }

    /// There is a connection.
    pub fn linked(&mut self, observer: usize, node: usize) {
        let pair = self.0.entry((observer, node)).or_default();
        (pair.linked, pair.answered) = (true, pair.sent);
    }

    /// There is none any more.
    pub fn unlinked(&mut self, observer: usize, node: usize) {
        self.0.entry((observer, node)).or_default().linked = false;
    }

    /// An answer came.
    pub fn answered(&mut self, observer: usize, node: usize, seq: u64) {
        let pair = self.0.entry((observer, node)).or_default();
        (pair.answered, pair.ticks) = (pair.answered.max(seq), 0);
    }

    /// The process starts anew.
    pub fn forget(&mut self, observer: usize) {
        self.0.retain(|(of, _), _| *of != observer);
    }

    /// An observer is about to tick.
    pub fn ticks(&mut self, observer: usize, nodes: usize) {
        for node in (0..nodes).filter(|node| *node != observer) {
            let pair = self.0.entry((observer, node)).or_default();
            if !pair.linked || pair.sent > pair.answered {
                pair.ticks += 1;
            }
        }
    }

    /// It has ticked: what it counts is at most what there was to count.
    pub(super) fn ticked(&self, observer: usize, observation: &Observation) -> Result<(), String> {
        for seen in &observation.nodes {
            let there = self.0.get(&(observer, World::position(seen.node))).map_or(0, |pair| pair.ticks);
            if seen.misses > there {
                let (observer, misses) = (observer + 1, seen.misses);
                return Err(format!("n{observer} counts {misses} misses of {}, of {there}", seen.node));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use baton_detector::{Detector, Event, Health};
    use baton_model::{Instant, NodeId, NodeRole};

    use super::*;

    #[test]
    fn a_miss_of_a_ping_that_was_not_sent_is_found() {
        let mut detector = Detector::default();
        let node = NodeId(2);
        let mut s11 = S11::default();
        detector.step(Instant(0), Event::Watch { node, role: NodeRole::Leaf, health: Health::Healthy });
        s11.linked(0, 1);
        detector.step(Instant(0), Event::Connected { node });
        // The world knows of no ping, but the observer is told that one left.
        detector.step(Instant(0), Event::PingSent { node, seq: 1 });
        for tick in 1..4 {
            detector.step(Instant::from_millis(150 * tick), Event::Tick);
            s11.ticks(0, 2);
        }
        assert!(s11.ticked(0, &detector.observation(Instant::from_millis(450))).is_err());
        s11.sent(0, 1, 1);
        (0..3).for_each(|_| s11.ticks(0, 2));
        assert_eq!(s11.ticked(0, &detector.observation(Instant::from_millis(450))), Ok(()));
    }
}
