//! Runs the stories in `tests/scripts`: a detector in a small simulated network, judged by the classic rule.
//!
//! Each fault sets the printed clock back to zero, so that a story reads as "so long after the fault".
//! Not printed: pings and pongs of nodes that are well.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use baton_detector::{Detector, Effect, Event, Evidence, Health, Report, Sighting};
use baton_model::limits::{HEARTBEAT_CONNECT_TIMEOUT_MS, HEARTBEAT_INTERVAL_MS};
use baton_model::{Incarnation, Instant, NodeId, NodeRole};
use goldenscript::{Command, Context, Runner};

test_each_file::test_each_path! { in "crates/detector/tests/scripts" as scripts => tell }

fn tell(path: &Path) {
    goldenscript::run(&mut Story::new(), path).expect("the script is readable");
}

/// How long a message travels.
const TRAVEL: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_millis(HEARTBEAT_INTERVAL_MS);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process runs.
    Up,
    /// The process hangs: its kernel accepts connections, nothing answers.
    Stopped,
    /// There is no process: the host refuses.
    Down,
    /// The network swallows everything.
    Cut,
}

struct Node {
    state: State,
    linked: bool,
    /// Which link a message in flight belongs to.
    link: u64,
    /// Pings that lie in a buffer until the node goes on.
    held: Vec<u64>,
    incarnation: u64,
    tells: Vec<Sighting>,
    /// How long an answer takes.
    travel: Duration,
}

enum Happening {
    Outcome(Event),
    Ping(u64),
}

struct Story {
    now: Instant,
    zero: Instant,
    next_tick: Instant,
    stalled_until: Instant,
    burst: bool,
    detector: Detector,
    nodes: BTreeMap<NodeId, Node>,
    queue: BTreeMap<(Instant, u64), (NodeId, u64, Happening)>,
    queued: u64,
    text: String,
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        match command.name.as_str() {
            // watch n1 n2 … : start to watch nodes that run.
            "watch" => {
                while let Some(name) = args.next_pos() {
                    let node = node_id(name)?;
                    self.nodes.insert(node, Node::new());
                    self.step(Event::Watch { node, role: NodeRole::Leaf, health: Health::Healthy });
                }
            }
            "unwatch" => {
                let node = node_id(args.next_pos().ok_or("which node?")?)?;
                self.step(Event::Unwatch { node });
            }
            // run 3.1s : let time pass.
            "run" => {
                let until = self.now + duration(args.next_pos().ok_or("how long?")?)?;
                self.run_until(until);
            }
            // stall 2s [burst=true] : the observer gets no time to run; then its late ticks come as one, or all at once.
            "stall" => {
                self.zero = self.now;
                self.stalled_until = self.now + duration(args.next_pos().ok_or("how long?")?)?;
                self.burst = args.take_key("burst").is_some_and(|value| value == "true");
            }
            // kill n2 | start n2 | stop n2 | continue n2 | cut n2 | mend n2 | reset n2
            "kill" | "start" | "stop" | "continue" | "cut" | "mend" | "reset" => {
                let node = node_id(args.next_pos().ok_or("which node?")?)?;
                self.zero = self.now;
                self.fault(&command.name, node)?;
            }
            // slow n2 10s : from now on its answers take so long.
            "slow" => {
                let node = node_id(args.next_pos().ok_or("which node?")?)?;
                let travel = duration(args.next_pos().ok_or("by how much?")?)?;
                self.nodes.get_mut(&node).ok_or("unknown node")?.travel = travel;
            }
            // tell n3 n2 misses=5 refusals=0 age=0 : from now on the pongs of n3 carry what it sees of n2.
            "tell" => {
                let by = node_id(args.next_pos().ok_or("who?")?)?;
                let node = node_id(args.next_pos().ok_or("of whom?")?)?;
                let mut number = |key: &str| args.take_key(key).map_or(Ok(0), str::parse::<u32>);
                let sighting = Sighting {
                    node,
                    misses: number("misses")?,
                    refusals: number("refusals")?,
                    timeouts: number("timeouts")?,
                    age_ms: number("age")?,
                };
                let tells = &mut self.nodes.get_mut(&by).ok_or("unknown node")?.tells;
                tells.retain(|told| told.node != node);
                tells.push(sighting);
            }
            // show n2 : all evidence of it.
            "show" => {
                let node = node_id(args.next_pos().ok_or("which node?")?)?;
                let observation = self.detector.observation(self.now);
                let evidence = observation.of(node).ok_or("not watched")?;
                self.text = show(evidence);
                writeln!(self.text, "observer late {}ms", observation.observer_late_ms)?;
            }
            // sightings : what this observer tells others.
            "sightings" => {
                for Sighting { node, misses, refusals, timeouts, age_ms } in self.detector.sightings(self.now)
                {
                    writeln!(
                        self.text,
                        "{node} {misses} misses, {refusals} refusals, {timeouts} timeouts, {age_ms}ms old"
                    )?;
                }
            }
            name => return Err(format!("unknown command {name}").into()),
        }
        args.reject_next()?;
        Ok(std::mem::take(&mut self.text))
    }
}

impl Story {
    fn new() -> Self {
        Self {
            now: Instant(0),
            zero: Instant(0),
            next_tick: Instant(0),
            stalled_until: Instant(0),
            burst: false,
            detector: Detector::new(INTERVAL),
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            text: String::new(),
        }
    }

    fn run_until(&mut self, until: Instant) {
        loop {
            // The worst order for S11: after a stall, the late tick comes before all that arrived meanwhile.
            let tick_at = self.next_tick.max(self.stalled_until);
            let queued_at = self.queue.keys().next().map(|&(at, _)| at.max(self.stalled_until));
            let tick_first = queued_at.is_none_or(|at| tick_at <= at);
            let at = queued_at.map_or(tick_at, |at| at.min(tick_at)).max(self.now);
            if at > until {
                self.now = until;
                return;
            }
            self.now = at;
            if tick_first {
                self.next_tick = self.next_tick + INTERVAL;
                while !self.burst && self.next_tick <= self.now {
                    self.next_tick = self.next_tick + INTERVAL;
                }
                self.step(Event::Tick);
                self.judge();
            } else if let Some((_, (node, link, happening))) = self.queue.pop_first() {
                self.happen(node, link, happening);
            }
        }
    }

    fn happen(&mut self, node: NodeId, link: u64, happening: Happening) {
        let Some(sim) = self.nodes.get_mut(&node).filter(|sim| sim.link == link) else { return };
        match happening {
            Happening::Outcome(event) => {
                sim.linked = matches!(event, Event::Connected { .. });
                let hard = !sim.linked;
                let text = event.to_string();
                self.step(event);
                let score = self.score(node);
                self.say(&if hard { format!("{text}, score {score}") } else { text });
                if hard {
                    self.judge();
                }
            }
            Happening::Ping(seq) if sim.state == State::Up => {
                let report =
                    Report { incarnation: Incarnation(sim.incarnation), joined: true, ..Report::default() };
                let sightings = sim.tells.clone();
                let before = self.evidence(node);
                self.step(Event::Pong { node, seq, report, sightings });
                match before {
                    Some(e) if e.report.is_some_and(|r| r.incarnation != report.incarnation) => {
                        self.say(&format!("{node} answers as another run"));
                    }
                    Some(e) if e.connection_lost || e.misses + e.refusals + e.timeouts > 0 => {
                        self.say(&format!("{node} answers again"));
                    }
                    _ => {}
                }
            }
            Happening::Ping(seq) => sim.held.push(seq),
        }
    }

    fn step(&mut self, event: Event) {
        for effect in self.detector.step(self.now, event) {
            match effect {
                Effect::Connect { node } => self.connect(node),
                Effect::Disconnect { node } => {
                    self.say(&effect.to_string());
                    self.unlink(node);
                }
                Effect::Ping { node, seq } => {
                    self.step(Event::PingSent { node, seq });
                    let travel = self.nodes.get(&node).map_or(TRAVEL, |sim| sim.travel);
                    self.enqueue(travel, node, Happening::Ping(seq));
                }
                Effect::HealthChanged { node, .. } => {
                    let reason = self.evidence(node).map_or_else(String::new, |e| reason(&e));
                    self.say(&format!("{effect} ({reason})"));
                }
            }
        }
    }

    fn connect(&mut self, node: NodeId) {
        let Some(sim) = self.nodes.get_mut(&node) else { return };
        sim.link += 1;
        let (after, event) = match sim.state {
            State::Up | State::Stopped => (TRAVEL, Event::Connected { node }),
            State::Down => (Duration::ZERO, Event::ConnectRefused { node }),
            State::Cut => {
                (Duration::from_millis(HEARTBEAT_CONNECT_TIMEOUT_MS), Event::ConnectTimedOut { node })
            }
        };
        self.enqueue(after, node, Happening::Outcome(event));
    }

    fn fault(&mut self, name: &str, node: NodeId) -> Result<(), Box<dyn Error>> {
        let sim = self.nodes.get_mut(&node).ok_or("unknown node")?;
        match name {
            "start" => (sim.state, sim.incarnation) = (State::Up, sim.incarnation + 1),
            "stop" => sim.state = State::Stopped,
            "cut" => sim.state = State::Cut,
            "kill" => sim.state = State::Down,
            "continue" | "mend" => {
                sim.state = State::Up;
                for seq in std::mem::take(&mut sim.held) {
                    self.enqueue(TRAVEL, node, Happening::Ping(seq));
                }
            }
            _ => {}
        }
        if matches!(name, "kill" | "reset") {
            self.reset(node);
        }
        Ok(())
    }

    /// Breaks the link, and lets the observer know.
    fn reset(&mut self, node: NodeId) {
        if self.nodes.get(&node).is_some_and(|sim| sim.linked) {
            self.unlink(node);
            self.enqueue(Duration::ZERO, node, Happening::Outcome(Event::ConnectionLost { node }));
        }
    }

    fn unlink(&mut self, node: NodeId) {
        if let Some(sim) = self.nodes.get_mut(&node) {
            sim.link += 1;
            sim.linked = false;
            sim.held.clear();
        }
    }

    fn enqueue(&mut self, after: Duration, node: NodeId, happening: Happening) {
        let Some(sim) = self.nodes.get(&node) else { return };
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), (node, sim.link, happening));
    }

    /// The classic rule; its real home is the policy.
    fn judge(&mut self) {
        for evidence in self.detector.evidence(self.now) {
            let health = match score(&evidence) {
                0 => Health::Healthy,
                200.. => Health::Failed,
                100.. if evidence.health == Health::Healthy => Health::Suspect,
                _ => evidence.health,
            };
            self.step(Event::Judged { node: evidence.node, health, memory: vec![] });
        }
    }

    fn evidence(&self, node: NodeId) -> Option<Evidence> {
        self.detector.observation(self.now).of(node).cloned()
    }

    fn score(&self, node: NodeId) -> u32 {
        self.evidence(node).map_or(0, |evidence| score(&evidence))
    }

    fn say(&mut self, text: &str) {
        let at = Instant(self.now.0 - self.zero.0);
        let _ = writeln!(self.text, "{at} {text}");
    }
}

impl Node {
    fn new() -> Self {
        Self {
            state: State::Up,
            linked: false,
            link: 0,
            held: vec![],
            incarnation: 1,
            tells: vec![],
            travel: TRAVEL,
        }
    }
}

fn score(evidence: &Evidence) -> u32 {
    evidence.misses + 60 * (evidence.refusals + evidence.timeouts)
}

fn reason(evidence: &Evidence) -> String {
    let Evidence { misses, refusals, timeouts, .. } = evidence;
    let mut text = format!("score {}: {misses} misses", score(evidence));
    if *refusals > 0 {
        let _ = write!(text, ", {refusals} refusals");
    }
    if *timeouts > 0 {
        let _ = write!(text, ", {timeouts} timeouts");
    }
    text
}

fn show(evidence: &Evidence) -> String {
    let mut text = format!("{} {} {}\n", evidence.node, evidence.health, reason(evidence));
    let _ = writeln!(
        text,
        "connecting {}, connection lost {}, last pong {}ms ago, asked for {}ms ago, {} flaps",
        evidence.connecting,
        evidence.connection_lost,
        evidence.last_pong_age_ms.unwrap_or_default(),
        evidence.asked_age_ms.unwrap_or_default(),
        evidence.flaps_last_hour
    );
    let _ = writeln!(
        text,
        "rtt {}us ± {}us, {} pong intervals of {}..{}ms",
        evidence.rtt_mean_us,
        evidence.rtt_deviation_us,
        evidence.pong_intervals_ms.len(),
        evidence.pong_intervals_ms.iter().min().unwrap_or(&0),
        evidence.pong_intervals_ms.iter().max().unwrap_or(&0)
    );
    for witness in &evidence.witnesses {
        let _ = writeln!(
            text,
            "{} saw {} misses, {} refusals, {} timeouts, {}ms ago",
            witness.observer, witness.misses, witness.refusals, witness.timeouts, witness.age_ms
        );
    }
    text
}

fn node_id(name: &str) -> Result<NodeId, Box<dyn Error>> {
    Ok(NodeId(name.trim_start_matches('n').parse()?))
}

fn duration(text: &str) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::from_secs_f64(text.trim_end_matches('s').parse()?))
}
