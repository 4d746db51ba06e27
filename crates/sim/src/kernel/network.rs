//! The network between nodes: connections that keep their order or break, and single messages that do not care.
//!
//! A connection is what TCP is: each direction delivers in order, and what cannot get through waits until the way is
//! free again or the connection breaks. Two connections know nothing of each other, so messages overtake.
//! A way can be cut in one direction alone.
//!
//! The world decides when something happens; the network says when a message arrives and what is on its way.

use std::collections::VecDeque;

use super::{MS, Rng, Time};

/// A connection. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnId(pub u64);

const SLOT_BITS: u32 = 16;

impl ConnId {
    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// How messages travel: times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The shortest way.
    pub delay_min: Time,
    /// What is added at random, at most.
    pub jitter: Time,
    /// How many of a thousand messages are held up by far more, by up to [`Weather::spike`].
    pub spikes_per_mille: u64,
    /// By how much at most.
    pub spike: Time,
}

/// One direction of a connection.
#[derive(Debug)]
struct Way<B> {
    /// What is on the way; None is the end of the connection.
    messages: VecDeque<Option<B>>,
    last_at: Time,
    /// Arrivals that found the way cut.
    missed: u32,
    /// Whether the receiving end still listens.
    open: bool,
}

#[derive(Debug)]
struct Conn<K, B> {
    id: ConnId,
    kind: K,
    ends: [usize; 2],
    /// Towards each end.
    ways: [Way<B>; 2],
}

/// What arrives at an end.
#[derive(Debug)]
pub enum Lane<B> {
    /// Nothing: the connection is gone, or the way is cut and it waits.
    Nothing,
    /// A message.
    Message(B),
    /// The other end has closed it.
    Closed,
}

/// All connections and all ways. `K` is what a connection is for, `B` a message.
#[derive(Debug)]
pub struct Network<K, B> {
    nodes: usize,
    /// For each ordered pair, since when the way is cut.
    cut: Vec<Option<Time>>,
    /// For each ordered pair, what a slow way adds.
    slow: Vec<Time>,
    conns: Vec<Option<Conn<K, B>>>,
    free: Vec<usize>,
    made: u64,
    weather: Weather,
    rng: Rng,
}

impl<K: Copy, B> Network<K, B> {
    /// A network without a connection.
    #[must_use]
    pub fn new(nodes: usize, weather: Weather, rng: Rng) -> Self {
        Self {
            nodes,
            cut: vec![None; nodes * nodes],
            slow: vec![0; nodes * nodes],
            conns: Vec::new(),
            free: Vec::new(),
            made: 0,
            weather,
            rng,
        }
    }

    /// How long a message takes that is sent now.
    pub fn delay(&mut self, from: usize, to: usize) -> Time {
        let Weather { delay_min, jitter, spikes_per_mille, spike } = self.weather;
        let draw = self.rng.draw();
        let mut delay = delay_min + (draw & 0xffff_ffff) * jitter / (1 << 32);
        if (draw >> 32) % 1000 < spikes_per_mille {
            delay += self.rng.below(spike);
        }
        delay + self.slow[from * self.nodes + to]
    }

    /// Whether a way is cut.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from * self.nodes + to].is_some()
    }

    /// Since when a way is cut.
    #[must_use]
    pub fn cut_since(&self, from: usize, to: usize) -> Option<Time> {
        self.cut[from * self.nodes + to]
    }

    /// Cuts a way.
    pub fn cut(&mut self, now: Time, from: usize, to: usize) {
        self.cut[from * self.nodes + to].get_or_insert(now);
    }

    /// Makes a way slower by this much.
    pub fn slow_down(&mut self, from: usize, to: usize, by: Time) {
        self.slow[from * self.nodes + to] = by;
    }

    /// Frees a way. Answers with the connections on which something waited, the end it waits for, and how much.
    pub fn heal(&mut self, from: usize, to: usize) -> Vec<(ConnId, usize, u32)> {
        self.cut[from * self.nodes + to] = None;
        let mut waiting = Vec::new();
        for conn in self.conns.iter_mut().flatten() {
            for end in 0..2 {
                if conn.ends[end] == to && conn.ends[1 - end] == from && conn.ways[end].missed > 0 {
                    waiting.push((conn.id, end, std::mem::take(&mut conn.ways[end].missed)));
                }
            }
        }
        waiting
    }

    /// A new connection, open at both ends.
    pub fn open(&mut self, kind: K, opener: usize, acceptor: usize) -> ConnId {
        self.made += 1;
        let slot = self.free.pop().unwrap_or(self.conns.len());
        let id = ConnId(self.made << SLOT_BITS | slot as u64);
        let way = || Way { messages: VecDeque::new(), last_at: 0, missed: 0, open: true };
        let conn = Some(Conn { id, kind, ends: [opener, acceptor], ways: [way(), way()] });
        if slot == self.conns.len() {
            self.conns.push(conn);
        } else {
            self.conns[slot] = conn;
        }
        id
    }

    fn conn(&mut self, id: ConnId) -> Option<&mut Conn<K, B>> {
        self.conns.get_mut(id.slot())?.as_mut().filter(|conn| conn.id == id)
    }

    fn find(&self, id: ConnId) -> Option<&Conn<K, B>> {
        self.conns.get(id.slot())?.as_ref().filter(|conn| conn.id == id)
    }

    /// What a connection is for, and who is at its ends: the opener's first.
    #[must_use]
    pub fn about(&self, id: ConnId) -> Option<(K, [usize; 2])> {
        self.find(id).map(|conn| (conn.kind, conn.ends))
    }

    /// At which end of a connection a node is; None if it has closed it.
    #[must_use]
    pub fn end_of(&self, id: ConnId, node: usize) -> Option<usize> {
        let conn = self.find(id)?;
        let end = conn.ends.iter().position(|at| *at == node)?;
        conn.ways[end].open.then_some(end)
    }

    /// Sends a message from an end; None closes the connection there. Answers with when it arrives.
    pub fn send(&mut self, now: Time, id: ConnId, from: usize, message: Option<B>) -> Option<Time> {
        let ends = self.find(id).filter(|conn| conn.ways[from].open)?.ends;
        let delay = self.delay(ends[from], ends[1 - from]);
        let closes = message.is_none();
        let conn = self.conn(id)?;
        if closes {
            conn.ways[from].open = false;
            conn.ways[from].messages.clear();
        }
        let way = &mut conn.ways[1 - from];
        if !way.open {
            self.forget_if_closed(id);
            return None;
        }
        way.last_at = (now + delay).max(way.last_at);
        way.messages.push_back(message);
        Some(way.last_at)
    }

    /// Something arrives at an end.
    pub fn arrive(&mut self, id: ConnId, end: usize) -> Lane<B> {
        let Some(conn) = self.find(id) else { return Lane::Nothing };
        let cut = self.is_cut(conn.ends[1 - end], conn.ends[end]);
        let Some(conn) = self.conn(id) else { return Lane::Nothing };
        let way = &mut conn.ways[end];
        if cut {
            way.missed += 1;
            return Lane::Nothing;
        }
        match way.messages.pop_front() {
            None => Lane::Nothing,
            Some(Some(message)) => Lane::Message(message),
            Some(None) => {
                way.open = false;
                self.forget_if_closed(id);
                Lane::Closed
            }
        }
    }

    /// A connection breaks with everything on its way. Answers with the ends that still listened.
    pub fn break_off(&mut self, id: ConnId) -> Vec<usize> {
        let Some(conn) = self.conn(id) else { return Vec::new() };
        let open = (0..2).filter(|end| conn.ways[*end].open).collect();
        self.forget(id);
        open
    }

    /// The connections of a node that are open at its end, oldest slot first.
    #[must_use]
    pub fn of_node(&self, node: usize) -> Vec<(ConnId, usize)> {
        self.conns
            .iter()
            .flatten()
            .filter_map(|conn| {
                let end = conn.ends.iter().position(|at| *at == node)?;
                conn.ways[end].open.then_some((conn.id, end))
            })
            .collect()
    }

    /// All connections.
    pub fn all(&self) -> impl Iterator<Item = (ConnId, K, [usize; 2])> + '_ {
        self.conns.iter().flatten().map(|conn| (conn.id, conn.kind, conn.ends))
    }

    fn forget_if_closed(&mut self, id: ConnId) {
        if self.find(id).is_some_and(|conn| conn.ways.iter().all(|way| !way.open)) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ConnId) {
        self.conns[id.slot()] = None;
        self.free.push(id.slot());
    }
}

impl Default for Weather {
    /// A local network.
    fn default() -> Self {
        Self { delay_min: 80, jitter: 300, spikes_per_mille: 3, spike: 20 * MS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network<(), u32> {
        Network::new(2, Weather::default(), Rng::new(1, "network"))
    }

    fn numbers(network: &mut Network<(), u32>, id: ConnId, end: usize, arrivals: usize) -> Vec<u32> {
        (0..arrivals)
            .filter_map(|_| match network.arrive(id, end) {
                Lane::Message(number) => Some(number),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_way_that_is_cut_delivers_in_order_when_it_is_free_again() {
        let mut network = network();
        let id = network.open((), 0, 1);
        let mut last = 0;
        for number in 0..4 {
            let at = network.send(10, id, 0, Some(number)).unwrap();
            assert!(at >= last);
            last = at;
        }
        assert_eq!(numbers(&mut network, id, 1, 1), [0]);
        network.cut(20, 0, 1);
        assert!(numbers(&mut network, id, 1, 2).is_empty());
        assert_eq!(network.heal(0, 1), [(id, 1, 2)]);
        assert_eq!(numbers(&mut network, id, 1, 3), [1, 2, 3]);
    }

    #[test]
    fn an_end_that_closed_hears_nothing_more_and_the_other_learns_of_it_last() {
        let mut network = network();
        let id = network.open((), 0, 1);
        network.send(0, id, 0, Some(7));
        network.send(0, id, 1, Some(8));
        network.send(0, id, 0, None);
        assert!(network.send(0, id, 0, Some(9)).is_none(), "it is closed here");
        assert!(matches!(network.arrive(id, 0), Lane::Nothing));
        assert!(matches!(network.arrive(id, 1), Lane::Message(7)));
        assert!(matches!(network.arrive(id, 1), Lane::Closed));
        assert_eq!(network.about(id), None);
        let next = network.open((), 0, 1);
        assert_ne!(next, id, "a number is never given again");
    }
}
