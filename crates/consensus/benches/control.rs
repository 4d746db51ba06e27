//! Committed catalog commands a second, on three voters in one process, each with its own store on the real disk.
//!
//! `cargo bench -p baton-consensus` prints, for 1, 8 and 64 clients that propose one after the other: how many commands
//! were committed and applied a second, how long one took, and how many syncs of the leader's disk it cost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use baton_catalog::{Command, Entry, NewNode};
use baton_consensus::{Address, ControlConfig, ControlGroup, RaftWire, WireError};
use baton_model::{ClusterId, Incarnation, NodeId, NodeRole, StoreId};
use bytes::Bytes;

/// How long each number of clients proposes.
const RUN: Duration = Duration::from_secs(5);
/// How long they propose before that, unmeasured.
const WARM_UP: Duration = Duration::from_secs(1);

type Members = Arc<Mutex<BTreeMap<NodeId, Weak<ControlGroup>>>>;

/// A wire without a network, so that the figure is that of the group and its disks.
struct Direct(Members);

#[async_trait]
impl RaftWire for Direct {
    async fn call(&self, target: NodeId, _: String, request: Bytes, _: Duration) -> Result<Bytes, WireError> {
        let member = self.0.lock().expect("no member panics").get(&target).and_then(Weak::upgrade);
        let member = member.ok_or_else(|| WireError::Unreachable("it is gone".into()))?;
        member.handle(&request).await.map_err(|error| WireError::Failed(error.to_string()))
    }
}

fn founding() -> Entry {
    let node = NewNode {
        host: "127.0.0.1".into(),
        sql_port: 3306,
        rpc_port: 1,
        http_port: 8080,
        role: NodeRole::Aggregator,
        aggregator_role: None,
        availability_group: None,
        incarnation: Incarnation(1),
        store: StoreId(1),
    };
    let command = Command::FoundCluster { cluster: ClusterId(1), node, policies: vec![], bindings: vec![] };
    Entry { statement: None, at_ms: 0, command }
}

fn set(n: u64) -> Entry {
    let value = (1000 + n % 1000).to_string();
    Entry {
        statement: None,
        at_ms: n,
        command: Command::SetVariable { name: "lock_wait_timeout_ms".into(), value },
    }
}

async fn propose_for(leader: &Arc<ControlGroup>, clients: u64, run: Duration) -> Vec<Duration> {
    let end = Instant::now() + run;
    let mut tasks = Vec::new();
    for client in 0..clients {
        let leader = Arc::clone(leader);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            for n in client.. {
                let start = Instant::now();
                if start >= end {
                    break;
                }
                leader.propose(set(n)).await.expect("the leader leads").expect("the command is valid");
                latencies.push(start.elapsed());
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no client panics"));
    }
    latencies.sort_unstable();
    latencies
}

async fn run() {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    let members: Members = Arc::default();
    let mut group = Vec::new();
    for id in 1..=3 {
        let path = dir.path().join(id.to_string());
        let wire = Arc::new(Direct(Arc::clone(&members)));
        let member = ControlGroup::open(&path, NodeId(id), wire, ControlConfig::default()).await;
        let member = Arc::new(member.expect("the member opens"));
        members.lock().expect("no member panics").insert(NodeId(id), Arc::downgrade(&member));
        group.push(member);
    }
    let address = |port| Address { host: "127.0.0.1".into(), rpc_port: port };
    let leader = &group[0];
    leader.found(address(1)).await.expect("the group is new");
    leader.propose(founding()).await.expect("it leads").expect("the cluster is new");
    for id in 2..=3_u16 {
        leader.add_learner(NodeId(id.into()), address(id)).await.expect("the member is up");
    }
    leader.set_voters((1..=3).map(NodeId).collect()).await.expect("they have caught up");

    println!("clients  commands/s   p50 us   p99 us   syncs/s   last sync us");
    for clients in [1, 8, 64] {
        propose_for(leader, clients, WARM_UP).await;
        let syncs = leader.syncs();
        let latencies = propose_for(leader, clients, RUN).await;
        let seconds = RUN.as_secs_f64();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_micros();
        println!(
            "{clients:7} {:11.0} {:8} {:8} {:9.0} {:14}",
            latencies.len() as f64 / seconds,
            at(0.50),
            at(0.99),
            (leader.syncs() - syncs) as f64 / seconds,
            leader.last_sync_us(),
        );
    }
    for member in &group {
        member.shutdown().await;
    }
}

fn main() {
    tokio::runtime::Runtime::new().expect("threads can be started").block_on(run());
}
