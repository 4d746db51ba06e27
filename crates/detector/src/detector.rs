//! The observer: one clock of ticks over all watched nodes.
//!
//! Guarantees: effects depend on the events and their times alone; events of nodes that are not watched, and events
//! that do not fit the state of a connection, change nothing; time that runs backwards counts as no time.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::limits::HEARTBEAT_INTERVAL_MS;
use baton_model::{Instant, NodeId};

use crate::watched::Watched;
use crate::{Effect, Event, Evidence, Observation, Sighting};

/// One observer's evidence of every node it pings.
#[derive(Clone, Debug)]
pub struct Detector {
    interval: Duration,
    ticked_at: Option<Instant>,
    late: Duration,
    /// When the observer's last stall ended.
    stall_ended_at: Instant,
    nodes: BTreeMap<NodeId, Watched>,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new(Duration::from_millis(HEARTBEAT_INTERVAL_MS))
    }
}

impl Detector {
    /// A detector that watches nobody yet. The shell sends it a [`Event::Tick`] every `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_millis(1)),
            ticked_at: None,
            late: Duration::ZERO,
            stall_ended_at: Instant(0),
            nodes: BTreeMap::new(),
        }
    }

    /// Takes in what happened at `now` and says what is to be done, in this order.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        match event {
            Event::Watch { node, role, health } => match self.nodes.get_mut(&node) {
                Some(watched) => {
                    watched.role = role;
                    vec![]
                }
                None => {
                    self.nodes.insert(node, Watched::new(now, role, health));
                    vec![Effect::Connect { node }]
                }
            },
            Event::Unwatch { node } => self.unwatch(node),
            Event::IntervalSet { interval_ms } => {
                self.interval = Duration::from_millis(u64::from(interval_ms.max(1)));
                vec![]
            }
            Event::Tick => self.tick(now),
            Event::Connected { node } => self.at(node, |watched| watched.connected(now, node)),
            Event::ConnectRefused { node } => self.at(node, |watched| watched.refused(now, node)),
            Event::ConnectTimedOut { node } => self.at(node, |watched| watched.timed_out(now, node)),
            Event::ConnectionLost { node } => self.at(node, |watched| watched.lost(now, node)),
            Event::PingSent { node, seq } => self.at(node, |watched| watched.sent(now, seq)),
            Event::Judged { node, health, memory } => {
                self.at(node, |watched| watched.judged(now, node, health, memory))
            }
            Event::Pong { node, seq, report, sightings } => {
                if !self.nodes.contains_key(&node) {
                    return vec![];
                }
                for sighting in sightings.iter().filter(|sighting| sighting.node != node) {
                    if let Some(watched) = self.nodes.get_mut(&sighting.node) {
                        watched.witnessed(now, node, sighting);
                    }
                }
                let stalled = self.ticked_at.is_some_and(|at| now.since(at) > 2 * self.interval);
                let measure_from = if stalled { now } else { self.stall_ended_at };
                self.at(node, |watched| watched.pong(now, seq, report, measure_from))
            }
        }
    }

    /// The evidence of every watched node at `now`, by id.
    #[must_use]
    pub fn evidence(&self, now: Instant) -> Vec<Evidence> {
        self.nodes.iter().map(|(&node, watched)| watched.evidence(now, node, self.interval)).collect()
    }

    /// All evidence at `now`, with how well the observer itself runs.
    #[must_use]
    pub fn observation(&self, now: Instant) -> Observation {
        Observation {
            at: now,
            interval_ms: u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX),
            observer_late_ms: self.observer_late_ms(),
            nodes: self.evidence(now),
        }
    }

    /// What this observer tells other observers at `now`. A node of which nothing is known yet is left out.
    #[must_use]
    pub fn sightings(&self, now: Instant) -> Vec<Sighting> {
        let age = self.ticked_at.map_or(Duration::ZERO, |at| now.since(at));
        self.nodes.iter().filter_map(|(&node, watched)| watched.sighting(node, age)).collect()
    }

    /// How much later than an interval the last tick came, in milliseconds.
    #[must_use]
    pub fn observer_late_ms(&self) -> u32 {
        u32::try_from(self.late.as_millis()).unwrap_or(u32::MAX)
    }

    fn unwatch(&mut self, node: NodeId) -> Vec<Effect> {
        if self.nodes.remove(&node).is_none() {
            return vec![];
        }
        for watched in self.nodes.values_mut() {
            watched.forget_witness(node);
        }
        vec![Effect::Disconnect { node }]
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        // S11: a tick stands for one interval, however late it comes; and after a stall, ticks that come in a burst
        // gave nobody time to answer.
        let fair = self.interval / 2;
        let (counts, late) = match self.ticked_at {
            Some(at) => (now.since(at) >= fair, now.since(at).saturating_sub(self.interval)),
            None => (true, Duration::ZERO),
        };
        self.ticked_at = Some(now);
        self.late = late;
        if late > self.interval {
            self.stall_ended_at = now;
        }
        let mut effects = Vec::with_capacity(self.nodes.len());
        for (&node, watched) in &mut self.nodes {
            if counts {
                watched.count_miss(now, fair);
            }
            watched.act(now, node, &mut effects);
        }
        effects
    }

    fn at(&mut self, node: NodeId, act: impl FnOnce(&mut Watched) -> Vec<Effect>) -> Vec<Effect> {
        self.nodes.get_mut(&node).map_or_else(Vec::new, act)
    }
}
