//! What the detection loop costs: a thousand nodes that answer on this machine, pinged every 150 ms and judged by classic
//! in the sandbox, the wire included.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use baton_detector::{Health, Observation};
use baton_failover::{Known, detection_input, felt};
use baton_model::limits::HEARTBEAT_INTERVAL_MS;
use baton_model::{ClusterId, Incarnation, NodeId, NodeRole, StoreId};
use baton_policy_host::{BUILTINS, Binding, Bindings, BoundFor, Decider, PolicyHost};
use baton_transport::heartbeat::{self, HeartbeatShell, Judgement, Pulse, Target, lend_nothing};
use baton_transport::{Clock, Identity, Member};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::figure::Figure;

/// How many nodes answer.
const NODES: u64 = 1_000;
/// The id of the first of them.
const FIRST: u64 = 2;
/// For so long they are watched.
const WATCHED: Duration = Duration::from_secs(15);
/// All of them answer within this.
const READY: Duration = Duration::from_secs(60);
/// Of one processor.
const GOAL: f64 = 0.10;
/// The kernel counts processor time in so many parts of a second.
const TICKS: f64 = 100.0;

/// Answers the pings of as many nodes as there are listeners, all on one thread: those are other machines' business, and
/// a thread for each would take its turns on our processors.
fn answer_all(listeners: Vec<TcpListener>, clock: Clock) -> Result<thread::JoinHandle<Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answering = move || {
        runtime.block_on(async {
            let mut nodes = JoinSet::new();
            for (listener, node) in listeners.into_iter().zip(FIRST..) {
                nodes.spawn(async move {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    let (stream, _) = listener.accept().await?;
                    heartbeat::answer(stream, pulse(node), clock).await
                });
            }
            // Each ends with its connection.
            let mut answered = Ok(());
            while let Some(ended) = nodes.join_next().await {
                answered = answered.and(ended.map_err(anyhow::Error::from).and_then(|ended| match ended {
                    // The other end has hung up, as it should.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                    ended => ended.map_err(Into::into),
                }));
            }
            answered
        })
    };
    Ok(thread::Builder::new().name("other-machines".to_owned()).spawn(answering)?)
}

fn pulse(node: u64) -> Arc<Pulse> {
    let member = Member { cluster_id: ClusterId(7), node: NodeId(node) };
    Arc::new(Pulse::new(Identity::new(Some(member)), Incarnation(node), StoreId(node)))
}

/// Classic in the sandbox, as a node asks it.
fn judge() -> Result<impl FnMut(&Observation) -> Vec<Judgement> + Send + 'static> {
    let module = PolicyHost::new()?.compile(BUILTINS[0].bytes)?;
    let mut bindings = Bindings::default();
    for point in module.manifest().decision_points.clone() {
        let binding = Binding { module: Arc::clone(&module), settings: Default::default() };
        bindings.bind(point, BoundFor::Cluster, binding);
    }
    let decider = Decider::new(bindings);
    Ok(move |observation: &Observation| {
        let mut input = detection_input(observation, &Known::default());
        let decision = decider.decide(&mut input);
        assert_eq!(decision.fallback, None, "the policy decides");
        let verdicts = decision.verdict.into_iter();
        let judgement = |(node, health, reason, memory)| Judgement { node, health, reason, memory };
        verdicts
            .map(|v| judgement((NodeId(v.node), felt(v.health), v.reason.to_string(), v.memory)))
            .collect()
    })
}

/// Measures the processor time of the thread that pings and judges.
pub async fn measure() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let clock = Clock::start();
    let mut listeners = Vec::new();
    let mut targets = Vec::new();
    for node in FIRST..FIRST + NODES {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        targets.push(Target { node: NodeId(node), address, role: NodeRole::Leaf, health: Health::Healthy });
        listeners.push(listener);
    }
    let others = answer_all(listeners, clock)?;
    let interval = Duration::from_millis(HEARTBEAT_INTERVAL_MS);
    let (shell, _changes) = HeartbeatShell::start(pulse(1), clock, interval, judge()?, lend_nothing())?;
    shell.set_targets(targets).await?;
    let answering = |seen: &Observation| seen.nodes.iter().filter(|node| node.report.is_some()).count();
    let mut observations = shell.observations();
    let all = observations.wait_for(|seen| answering(seen) as u64 == NODES);
    tokio::time::timeout(READY, all).await.context("not all nodes answer")??;
    let (before, begun) = (ticks_of("heartbeat-ping")?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let share = (ticks_of("heartbeat-ping")? - before) / TICKS / begun.elapsed().as_secs_f64();
    let seen = shell.observations().borrow().clone();
    let missed = seen.nodes.iter().filter(|node| node.misses > 2).count();
    ensure!(missed == 0, "{missed} of {NODES} nodes are not heard: this machine is too busy");
    shell.stop().await;
    let answered = tokio::task::spawn_blocking(|| others.join()).await?;
    answered.map_err(|_| anyhow!("the thread that answers panicked"))??;
    Figure {
        what: format!("detection loop over {NODES} nodes, wire included"),
        goal: format!("< {:.0} %", GOAL * 100.0),
        measured: format!("{:.1} %", share * 100.0),
        met: Some(share < GOAL),
        note: format!("of one processor, every {HEARTBEAT_INTERVAL_MS} ms, classic in the sandbox"),
    }
    .print()
}

/// The processor time of this process's thread of that name, in parts of a second.
fn ticks_of(name: &str) -> Result<f64> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let Ok(comm) = fs::read_to_string(task.join("comm")) else { continue };
        if comm.trim_end() != name {
            continue;
        }
        let stat = fs::read_to_string(task.join("stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
        let numbers: Vec<&str> = fields.split(' ').collect();
        let (user, system): (f64, f64) = (numbers[11].parse()?, numbers[12].parse()?);
        return Ok(user + system);
    }
    bail!("there is no thread {name}")
}
