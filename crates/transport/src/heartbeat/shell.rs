//! The thread that pings: drives a [`Detector`] with real sockets and real time.
//!
//! At each tick, and at once after hard evidence (a connection refused, timed out or lost), a judge is asked; what it
//! says goes back into the detector, and each change of health is reported once.
//! Everything runs on one thread of its own, so that no data delays a ping and no lock is needed.
//! If this thread ever ends, the channel of changes ends: a node that sees that must not go on as if all were well.
//!
//! With every ping the lender is asked what it lends to its receiver, on the strength of the last pong on that connection.
//!
//! * S11: before a late tick is counted, all that arrived meanwhile is taken in.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_detector::{Detector, Effect, Event, Grant, Health, Observation};
use baton_model::limits::LEAF_READ_LEASE_RENEWAL_MS;
use baton_model::{Instant, NodeId, NodeRole};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::line::{Line, LineEvent, What};
use super::{Pong, Pulse, frame};
use crate::Clock;

/// Events of lines that wait, at most; a line with more to say waits itself.
const EVENTS_MAX: usize = 1024;
/// Changes of health that wait to be read, at most; beyond that, changes of one node are merged.
const CHANGES_MAX: usize = 256;
const CONTROLS_MAX: usize = 16;
/// The number of a ping that only renews a lease: the detector knows nothing of it, so it is missed by nobody.
const SEQ_OF_RENEWAL: u64 = 0;
/// So often the loop gives way after a stall: readers are woken, read what has arrived, and tell it.
const CATCH_UP_TURNS: usize = 4;
/// How long [`HeartbeatShell::stop`] waits for the thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Asked with every ping, on the pinging thread: what is lent to a node, whose last pong was received at the first and
/// sent, by its own clock, at the second moment.
pub type Lend = Box<dyn FnMut(NodeId, Instant, Instant) -> Option<Grant> + Send>;

/// Of who is no master aggregator.
#[must_use]
pub fn lend_nothing() -> Lend {
    Box::new(|_, _, _| None)
}

/// A node to be pinged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The node. This node itself is left out silently.
    pub node: NodeId,
    /// Where its RPC port is.
    pub address: SocketAddr,
    /// What it is for.
    pub role: NodeRole,
    /// The opinion to start from, if the node is new to this shell.
    pub health: Health,
}

/// A judge's verdict on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// The node.
    pub node: NodeId,
    /// The verdict.
    pub health: Health,
    /// Why, for people.
    pub reason: String,
    /// What the policy wants to keep of the node.
    pub memory: Vec<u8>,
}

/// The opinion of a node changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthChange {
    /// The node.
    pub node: NodeId,
    /// The opinion until now; never equal to `to`.
    pub from: Health,
    /// The opinion from now on.
    pub to: Health,
    /// The judge's reason.
    pub reason: String,
    /// When.
    pub at: Instant,
}

/// The pinging thread cannot be started, or is gone.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The thread could not be started.
    #[error("cannot start the heartbeat thread: {0}")]
    Start(#[source] io::Error),
    /// The thread has ended.
    #[error("the heartbeat thread has ended")]
    Ended,
}

enum Control {
    Targets(Vec<Target>),
    Interval(Duration),
}

/// The handle of the pinging thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct HeartbeatShell {
    controls: mpsc::Sender<Control>,
    observations: watch::Receiver<Arc<Observation>>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl HeartbeatShell {
    /// Starts to tick every `interval`, with nobody to ping yet.
    /// Judge and lender are asked on the thread: what they take is taken from the pings.
    ///
    /// # Errors
    /// [`HeartbeatError::Start`].
    pub fn start(
        pulse: Arc<Pulse>,
        clock: Clock,
        interval: Duration,
        judge: impl FnMut(&Observation) -> Vec<Judgement> + Send + 'static,
        lend: Lend,
    ) -> Result<(Self, mpsc::Receiver<HealthChange>), HeartbeatError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HeartbeatError::Start)?;
        let (controls, control) = mpsc::channel(CONTROLS_MAX);
        let (changes, changed) = mpsc::channel(CHANGES_MAX);
        let (publish, observations) = watch::channel(Arc::default());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("heartbeat-ping".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let (tell, events) = mpsc::channel(EVENTS_MAX);
                    let observer = Observer {
                        detector: Detector::new(interval),
                        addresses: BTreeMap::new(),
                        lines: BTreeMap::new(),
                        attempts: 0,
                        tell,
                        clock,
                        pulse,
                        judge,
                        lend,
                        publish,
                        changes,
                        unreported: VecDeque::new(),
                        failed_at: None,
                    };
                    tokio::select! {
                        () = observer.run(interval, control, events) => {}
                        () = stopped.cancelled() => {}
                    }
                });
            })
            .map_err(HeartbeatError::Start)?;
        Ok((Self { controls, observations, stop, thread: Some(thread) }, changed))
    }

    /// From now on exactly these nodes are pinged. What is known of a node that stays, stays.
    ///
    /// # Errors
    /// [`HeartbeatError::Ended`].
    pub async fn set_targets(&self, targets: Vec<Target>) -> Result<(), HeartbeatError> {
        self.controls.send(Control::Targets(targets)).await.map_err(|_| HeartbeatError::Ended)
    }

    /// From now on pings are sent this often.
    ///
    /// # Errors
    /// [`HeartbeatError::Ended`].
    pub async fn set_interval(&self, interval: Duration) -> Result<(), HeartbeatError> {
        self.controls.send(Control::Interval(interval)).await.map_err(|_| HeartbeatError::Ended)
    }

    /// All evidence, as of the last tick or the last hard evidence.
    #[must_use]
    pub fn observations(&self) -> watch::Receiver<Arc<Observation>> {
        self.observations.clone()
    }

    /// Ends the thread and waits for it, a bounded time.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            let _ = tokio::time::timeout(STOP_TIMEOUT, joined).await;
        }
    }
}

impl Drop for HeartbeatShell {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What lives on the thread.
struct Observer<J> {
    detector: Detector,
    addresses: BTreeMap<NodeId, SocketAddr>,
    lines: BTreeMap<NodeId, Line>,
    attempts: u64,
    tell: mpsc::Sender<LineEvent>,
    clock: Clock,
    pulse: Arc<Pulse>,
    judge: J,
    lend: Lend,
    publish: watch::Sender<Arc<Observation>>,
    changes: mpsc::Sender<HealthChange>,
    unreported: VecDeque<HealthChange>,
    /// When a node was judged failed last.
    failed_at: Option<Instant>,
}

impl<J: FnMut(&Observation) -> Vec<Judgement>> Observer<J> {
    async fn run(
        mut self,
        mut interval: Duration,
        mut controls: mpsc::Receiver<Control>,
        mut events: mpsc::Receiver<LineEvent>,
    ) {
        let mut ticker = ticker(interval);
        let mut ticked_at = self.clock.now();
        let renewal = Duration::from_millis(LEAF_READ_LEASE_RENEWAL_MS);
        let mut renewals = self::ticker(renewal);
        loop {
            tokio::select! {
                control = controls.recv() => match control {
                    None => return,
                    Some(Control::Targets(targets)) => self.aim(&targets),
                    Some(Control::Interval(new)) => {
                        interval = new.max(Duration::from_millis(1));
                        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
                        self.step(self.clock.now(), Event::IntervalSet { interval_ms });
                        ticker = self::ticker(interval);
                    }
                },
                Some(event) = events.recv() => {
                    let hard = self.take(event) | self.take_all(&mut events);
                    // A failover waits for who has answered since the verdict: that is told as soon as it is known.
                    let waited_for =
                        self.failed_at.is_some_and(|at| self.clock.now().since(at) < 2 * interval);
                    if hard || waited_for {
                        self.judge();
                    }
                }
                _ = ticker.tick() => {
                    if self.clock.now().since(ticked_at) > 2 * interval {
                        for _ in 0..CATCH_UP_TURNS {
                            tokio::task::yield_now().await;
                            self.take_all(&mut events);
                        }
                    }
                    self.take_all(&mut events);
                    ticked_at = self.clock.now();
                    self.step(ticked_at, Event::Tick);
                    self.judge();
                    self.pulse.set_sightings(self.detector.sightings(ticked_at));
                }
                _ = renewals.tick(), if interval > renewal => {
                    self.take_all(&mut events);
                    self.renew();
                }
            }
        }
    }

    /// Watches exactly these targets.
    fn aim(&mut self, targets: &[Target]) {
        let now = self.clock.now();
        let own = self.pulse.identity().member().map(|member| member.node);
        let wanted: BTreeMap<NodeId, &Target> = targets
            .iter()
            .filter(|target| Some(target.node) != own)
            .map(|target| (target.node, target))
            .collect();
        let moved: Vec<NodeId> = self
            .addresses
            .iter()
            .filter(|(node, address)| wanted.get(node).is_none_or(|target| target.address != **address))
            .map(|(&node, _)| node)
            .collect();
        let known = self.detector.observation(now);
        for node in moved {
            self.step(now, Event::Unwatch { node });
            self.addresses.remove(&node);
        }
        for (&node, target) in &wanted {
            // A node that only moved keeps the opinion that this shell has of it.
            let health = known.of(node).map_or(target.health, |evidence| evidence.health);
            self.addresses.insert(node, target.address);
            self.step(now, Event::Watch { node, role: target.role, health });
        }
        self.unreported.retain(|change| wanted.contains_key(&change.node));
    }

    /// Takes in all events that wait, and says whether there was hard evidence among them.
    fn take_all(&mut self, events: &mut mpsc::Receiver<LineEvent>) -> bool {
        let mut hard = false;
        for _ in 0..EVENTS_MAX {
            match events.try_recv() {
                Ok(event) => hard |= self.take(event),
                Err(_) => break,
            }
        }
        hard
    }

    fn take(&mut self, LineEvent { node, attempt, at, what }: LineEvent) -> bool {
        let Some(line) = self.lines.get_mut(&node).filter(|line| line.attempt == attempt) else {
            return false;
        };
        let event = match what {
            What::Connected(writer) => {
                line.connected(writer);
                Event::Connected { node }
            }
            What::Refused => Event::ConnectRefused { node },
            What::TimedOut => Event::ConnectTimedOut { node },
            What::Lost => Event::ConnectionLost { node },
            What::Pong(pong) if self.is_of(node, &pong) => {
                let Pong { seq, report, sightings, sent_at, .. } = pong;
                if let Some(line) = self.lines.get_mut(&node) {
                    line.heard = Some((at, sent_at));
                }
                Event::Pong { node, seq, report, sightings }
            }
            What::Pong(pong) => {
                debug!(%node, by = %pong.node, of = %pong.cluster_id, "another node answers at the address");
                Event::ConnectionLost { node }
            }
        };
        let hard = !matches!(event, Event::Connected { .. } | Event::Pong { .. });
        if hard {
            self.lines.remove(&node);
        }
        self.step(at, event);
        hard
    }

    /// S10: whether the answer comes from that node of this cluster, or from a process that is in no cluster.
    fn is_of(&self, node: NodeId, pong: &Pong) -> bool {
        let cluster_id = self.pulse.identity().member().map(|member| member.cluster_id);
        !pong.report.joined || (pong.node == node && Some(pong.cluster_id) == cluster_id)
    }

    fn step(&mut self, now: Instant, event: Event) {
        for effect in self.detector.step(now, event) {
            match effect {
                Effect::Connect { node } => self.connect(node),
                Effect::Disconnect { node } => drop(self.lines.remove(&node)),
                Effect::Ping { node, seq } => self.ping(node, seq),
                // Reported by `judge`, which knows the reason.
                Effect::HealthChanged { .. } => {}
            }
        }
    }

    fn connect(&mut self, node: NodeId) {
        let Some(&address) = self.addresses.get(&node) else { return };
        self.attempts += 1;
        let line = Line::connect(node, address, self.attempts, self.clock, self.tell.clone());
        self.lines.insert(node, line);
    }

    fn ping(&mut self, node: NodeId, seq: u64) {
        let now = self.clock.now();
        if self.send(node, seq, now) {
            self.step(now, Event::PingSent { node, seq });
        }
    }

    /// Whether it left.
    fn send(&mut self, node: NodeId, seq: u64, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(&node) else { return false };
        // The pong was heard before the lender asks itself whether it still leads.
        let lease = line.heard.and_then(|(received_at, sent_at)| (self.lend)(node, received_at, sent_at));
        match frame::encode(&self.pulse.ping(seq, now, lease)) {
            Ok(frame) => line.send(&frame),
            Err(error) => {
                error!(%node, %error, "a ping cannot be encoded");
                false
            }
        }
    }

    /// Renews the leases where heartbeats are too far apart for it.
    fn renew(&mut self) {
        let now = self.clock.now();
        let heard: Vec<NodeId> =
            self.lines.iter().filter(|(_, line)| line.heard.is_some()).map(|(node, _)| *node).collect();
        for node in heard {
            self.send(node, SEQ_OF_RENEWAL, now);
        }
    }

    /// Asks the judge, feeds its verdicts back, reports the changes, and publishes what is known now.
    fn judge(&mut self) {
        let now = self.clock.now();
        let mut observation = self.detector.observation(now);
        for Judgement { node, health, reason, memory } in (self.judge)(&observation) {
            for effect in self.detector.step(now, Event::Judged { node, health, memory }) {
                if let Effect::HealthChanged { node, from, to } = effect {
                    if to == Health::Failed {
                        self.failed_at = Some(now);
                    }
                    if let Ok(at) = observation.nodes.binary_search_by_key(&node, |evidence| evidence.node) {
                        observation.nodes[at].health = to;
                    }
                    self.report(HealthChange { node, from, to, reason: reason.clone(), at: now });
                }
            }
        }
        self.publish.send_replace(Arc::new(observation));
        self.flush();
    }

    /// Merges with a change of the same node that nobody has read yet, so that what waits is bounded.
    fn report(&mut self, change: HealthChange) {
        match self.unreported.iter().position(|waiting| waiting.node == change.node) {
            None => self.unreported.push_back(change),
            Some(at) => {
                let from = self.unreported[at].from;
                if from == change.to {
                    self.unreported.remove(at);
                } else {
                    self.unreported[at] = HealthChange { from, ..change };
                }
            }
        }
    }

    fn flush(&mut self) {
        while let Some(change) = self.unreported.pop_front() {
            match self.changes.try_send(change) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(change)) => {
                    self.unreported.push_front(change);
                    return;
                }
            }
        }
    }
}

fn ticker(interval: Duration) -> Interval {
    let mut ticker = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticker
}
