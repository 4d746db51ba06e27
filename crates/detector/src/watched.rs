//! One watched node: its connection, its counters, and what it and others said.
//!
//! The link goes `Connecting → Linked → Connecting …`, with `Waiting` in between so that attempts start at least
//! [`RETRY`] apart, but for one after a link that broke before it proved good; while there is no link, the misses go
//! on rising with every tick.
//! A pong proves life whenever it comes and whichever ping it answers, and sets all counters back to zero.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_model::limits::{HEARTBEAT_RETRY_MS, PONG_INTERVALS_KEPT};
use baton_model::{Instant, NodeId, NodeRole, mutated};

use crate::{Effect, Evidence, Health, Report, Sighting, Witness};

/// Connection attempts start at least this far apart.
const RETRY: Duration = Duration::from_millis(HEARTBEAT_RETRY_MS);
/// A failed node's silent link is given up after this long: the operating system resends on it at ever longer
/// intervals, so a fresh attempt notices much sooner that the way is free again.
const FAILED_LINK_SILENCE: Duration = Duration::from_secs(10);
/// Any silent link is given up after this long; beyond the 30 s that a link may be silent before it means failure.
const LINK_SILENCE: Duration = Duration::from_secs(40);
/// What a witness said is evidence for so many intervals; after that the witness counts as absent.
const WITNESS_INTERVALS: u32 = 20;
/// Pings whose answers are still waited for, at most; later ones are sent, and give no round-trip time.
const PINGS_OPEN_MAX: usize = 64;
/// Returns from failure that are remembered, at most.
const FLAPS_KEPT: usize = 64;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// An attempt runs.
    Connecting,
    /// The last attempt failed; the next one starts with the first tick that is late enough.
    Waiting,
    /// There is a connection, since then.
    Linked(Instant),
}

/// The state of one watched node.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) role: NodeRole,
    health: Health,
    memory: Vec<u8>,
    /// Whether it failed since it was healthy.
    fell: bool,
    returns: VecDeque<Instant>,

    link: Link,
    attempt_at: Instant,
    /// Since when there is no link that proved good; meaningless while there is one.
    unlinked_at: Instant,
    connection_lost: bool,
    /// Whether an attempt was already hurried because a link broke before it carried a pong.
    hurried: bool,

    /// The number of the last ping asked for.
    seq: u64,
    /// Pings that really left on this link and are unanswered, oldest first.
    open: VecDeque<(u64, Instant)>,
    misses: u32,
    refusals: u32,
    timeouts: u32,

    last_pong_at: Option<Instant>,
    /// When the newest ping was sent that was answered.
    asked_at: Option<Instant>,
    /// The pong that the next interval is measured from; none after a new link.
    interval_from: Option<Instant>,
    intervals_ms: VecDeque<u32>,
    rtt_mean_us: u32,
    rtt_deviation_us: u32,
    report: Option<Report>,
    witnesses: BTreeMap<NodeId, (Instant, Sighting)>,
}

impl Watched {
    /// A node whose first connection attempt starts now.
    pub(crate) fn new(now: Instant, role: NodeRole, health: Health) -> Self {
        Self {
            role,
            health,
            memory: vec![],
            fell: health == Health::Failed,
            returns: VecDeque::new(),
            link: Link::Connecting,
            attempt_at: now,
            unlinked_at: now,
            connection_lost: false,
            hurried: false,
            seq: 0,
            open: VecDeque::new(),
            misses: 0,
            refusals: 0,
            timeouts: 0,
            last_pong_at: None,
            asked_at: None,
            interval_from: None,
            intervals_ms: VecDeque::new(),
            rtt_mean_us: 0,
            rtt_deviation_us: 0,
            report: None,
            witnesses: BTreeMap::new(),
        }
    }

    /// Counts the interval that ends now, if the node had a `fair` time to answer in it and did not.
    /// S11: on a link only a ping that really left can be missed.
    pub(crate) fn count_miss(&mut self, now: Instant, fair: Duration) {
        let waited_since = match self.link {
            Link::Linked(since) if mutated!(CountUnsentPings) => Some(since),
            Link::Linked(_) => self.open.back().map(|&(_, at)| at),
            Link::Connecting | Link::Waiting => Some(self.unlinked_at),
        };
        if waited_since.is_some_and(|since| now.since(since) >= fair) {
            self.misses = self.misses.saturating_add(1);
        }
    }

    /// Does what a tick asks for: the next ping, or the next attempt to connect.
    pub(crate) fn act(&mut self, now: Instant, node: NodeId, effects: &mut Vec<Effect>) {
        match self.link {
            Link::Connecting => {}
            Link::Waiting => effects.extend(self.retry(now, node)),
            Link::Linked(since) => {
                let silence = now.since(self.last_pong_at.map_or(since, |at| at.max(since)));
                let patience = if self.health == Health::Failed { FAILED_LINK_SILENCE } else { LINK_SILENCE };
                if silence >= patience && self.misses > 0 {
                    self.unlink(now);
                    effects.push(Effect::Disconnect { node });
                    effects.extend(self.retry(now, node));
                } else {
                    effects.push(self.ping(node));
                }
            }
        }
    }

    pub(crate) fn connected(&mut self, now: Instant, node: NodeId) -> Vec<Effect> {
        if self.link != Link::Connecting {
            return vec![];
        }
        self.link = Link::Linked(now);
        // At once, not with the next tick: proof of life is what everybody waits for.
        vec![self.ping(node)]
    }

    pub(crate) fn refused(&mut self, now: Instant, node: NodeId) -> Vec<Effect> {
        if self.link != Link::Connecting {
            return vec![];
        }
        self.refusals = self.refusals.saturating_add(1);
        self.retry(now, node)
    }

    pub(crate) fn timed_out(&mut self, now: Instant, node: NodeId) -> Vec<Effect> {
        if self.link != Link::Connecting {
            return vec![];
        }
        self.timeouts = self.timeouts.saturating_add(1);
        self.retry(now, node)
    }

    pub(crate) fn lost(&mut self, now: Instant, node: NodeId) -> Vec<Effect> {
        if !matches!(self.link, Link::Linked(_)) {
            return vec![];
        }
        self.connection_lost = true;
        let proved = self.is_proved();
        self.unlink(now);
        // A dying process still takes the connection that is asked for when the old one breaks, and serves nobody:
        // the next tick knows more. Once only, for a node that hangs up on everybody is not to be stormed.
        if !proved && !std::mem::replace(&mut self.hurried, true) {
            self.attempt_at = Instant(now.0.saturating_sub(u64::from(micros(RETRY))));
            return vec![];
        }
        self.retry(now, node)
    }

    pub(crate) fn sent(&mut self, now: Instant, seq: u64) -> Vec<Effect> {
        let newer = self.open.back().is_none_or(|&(last, _)| seq > last);
        if matches!(self.link, Link::Linked(_)) && newer && seq <= self.seq {
            // It is the oldest whose answer comes next: of a node that is slower than this many pings, none would be known.
            if self.open.len() < PINGS_OPEN_MAX {
                self.open.push_back((seq, now));
            }
        }
        vec![]
    }

    /// Times are measured only if the observer did not stall since `measure_from`: whatever began before was perhaps
    /// over long before the observer noticed (S11).
    pub(crate) fn pong(
        &mut self,
        now: Instant,
        seq: u64,
        report: Report,
        measure_from: Instant,
    ) -> Vec<Effect> {
        self.misses = 0;
        self.refusals = 0;
        self.timeouts = 0;
        self.connection_lost = false;
        self.hurried &= !matches!(self.link, Link::Linked(_));
        self.report = Some(report);
        self.last_pong_at = Some(now);
        let sent_at = self.open.iter().find(|&&(open, _)| open == seq).map(|&(_, at)| at);
        self.asked_at = self.asked_at.max(sent_at);
        while self.open.front().is_some_and(|&(open, _)| open <= seq) {
            self.open.pop_front();
        }
        if let Some(at) = sent_at.filter(|&at| at >= measure_from) {
            self.measure_rtt(micros(now.since(at)));
        }
        if let Some(before) = self.interval_from.replace(now).filter(|&before| before > measure_from) {
            if self.intervals_ms.len() == PONG_INTERVALS_KEPT {
                self.intervals_ms.pop_front();
            }
            self.intervals_ms.push_back(millis(now.since(before)));
        }
        vec![]
    }

    pub(crate) fn judged(
        &mut self,
        now: Instant,
        node: NodeId,
        health: Health,
        memory: Vec<u8>,
    ) -> Vec<Effect> {
        self.memory = memory;
        let from = std::mem::replace(&mut self.health, health);
        if from == health {
            return vec![];
        }
        match health {
            Health::Failed => self.fell = true,
            Health::Suspect => {}
            Health::Healthy => {
                if std::mem::take(&mut self.fell) {
                    if self.returns.len() == FLAPS_KEPT {
                        self.returns.pop_front();
                    }
                    self.returns.push_back(now);
                }
            }
        }
        vec![Effect::HealthChanged { node, from, to: health }]
    }

    pub(crate) fn witnessed(&mut self, now: Instant, observer: NodeId, sighting: &Sighting) {
        let seen_at = Instant(now.0.saturating_sub(u64::from(sighting.age_ms) * 1000));
        self.witnesses.insert(observer, (seen_at, *sighting));
    }

    pub(crate) fn forget_witness(&mut self, observer: NodeId) {
        self.witnesses.remove(&observer);
    }

    pub(crate) fn sighting(&self, node: NodeId, age: Duration) -> Option<Sighting> {
        let Self { misses, refusals, timeouts, .. } = *self;
        let known = self.last_pong_at.is_some() || misses > 0 || refusals > 0 || timeouts > 0;
        known.then(|| Sighting { node, misses, refusals, timeouts, age_ms: millis(age) })
    }

    pub(crate) fn evidence(&self, now: Instant, node: NodeId, interval: Duration) -> Evidence {
        let witness_age_max = interval * WITNESS_INTERVALS;
        Evidence {
            node,
            role: self.role,
            health: self.health,
            memory: self.memory.clone(),
            misses: self.misses,
            refusals: self.refusals,
            timeouts: self.timeouts,
            connecting: !matches!(self.link, Link::Linked(_)),
            connection_lost: self.connection_lost,
            rtt_mean_us: self.rtt_mean_us,
            rtt_deviation_us: self.rtt_deviation_us,
            pong_intervals_ms: self.intervals_ms.iter().copied().collect(),
            last_pong_age_ms: self.last_pong_at.map(|at| millis(now.since(at))),
            asked_age_ms: self.asked_at.map(|at| millis(now.since(at)).saturating_add(1)),
            report: self.report,
            witnesses: self
                .witnesses
                .iter()
                .filter(|(_, (seen_at, _))| now.since(*seen_at) <= witness_age_max)
                .map(|(&observer, &(seen_at, Sighting { misses, refusals, timeouts, .. }))| Witness {
                    observer,
                    misses,
                    refusals,
                    timeouts,
                    age_ms: millis(now.since(seen_at)),
                })
                .collect(),
            flaps_last_hour: u32::try_from(self.returns.iter().filter(|&&at| now.since(at) <= HOUR).count())
                .unwrap_or(u32::MAX),
        }
    }

    fn ping(&mut self, node: NodeId) -> Effect {
        self.seq += 1;
        Effect::Ping { node, seq: self.seq }
    }

    /// Whether the link, if there is one, has carried a pong.
    fn is_proved(&self) -> bool {
        matches!(self.link, Link::Linked(since) if self.last_pong_at.is_some_and(|at| at >= since))
    }

    fn unlink(&mut self, now: Instant) {
        // A link that never carried a pong was no interruption of the absence.
        if self.is_proved() {
            self.unlinked_at = now;
        }
        self.link = Link::Waiting;
        self.open.clear();
        self.interval_from = None;
    }

    /// Starts the next attempt if the last one started long enough ago; otherwise a tick will.
    fn retry(&mut self, now: Instant, node: NodeId) -> Vec<Effect> {
        if now.since(self.attempt_at) < RETRY {
            self.link = Link::Waiting;
            return vec![];
        }
        self.link = Link::Connecting;
        self.attempt_at = now;
        vec![Effect::Connect { node }]
    }

    /// Smooths as TCP does (RFC 6298, section 2), because it is cheap, known, and forgets within a few seconds.
    fn measure_rtt(&mut self, sample_us: u32) {
        if self.rtt_mean_us == 0 {
            self.rtt_mean_us = sample_us;
            self.rtt_deviation_us = sample_us / 2;
            return;
        }
        let error = sample_us.abs_diff(self.rtt_mean_us);
        self.rtt_deviation_us = weigh(self.rtt_deviation_us, error, 4);
        self.rtt_mean_us = weigh(self.rtt_mean_us, sample_us, 8);
    }
}

/// `mean` moved towards `sample` by one part in `parts`.
fn weigh(mean: u32, sample: u32, parts: u64) -> u32 {
    let moved = (u64::from(mean) * (parts - 1) + u64::from(sample)) / parts;
    u32::try_from(moved).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
