//! The wire between the members of one process, and the members themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use baton_catalog::{Command, Entry, NewNode};
use baton_consensus::{Address, ControlConfig, ControlGroup, OpenError, RaftWire, WireError};
use baton_model::{ClusterId, Incarnation, NodeId, NodeRole, StoreId};
use bytes::Bytes;
use tempfile::TempDir;

/// Which requests are pieces of a snapshot, by their first byte.
const SNAPSHOT_PIECE: u8 = 4;

/// Where a member is said to be. Nothing listens there.
pub fn address(id: u64) -> Address {
    Address { host: "127.0.0.1".into(), rpc_port: 10_000 + u16::try_from(id).unwrap() }
}

/// The first entry of a cluster.
pub fn founding() -> Entry {
    let node = NewNode {
        host: "127.0.0.1".into(),
        sql_port: 3306,
        rpc_port: 10_001,
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

/// An entry that makes `lock_wait_timeout_ms` 1000 + n.
pub fn set(n: u64) -> Entry {
    let command = Command::SetVariable { name: "lock_wait_timeout_ms".into(), value: (1000 + n).to_string() };
    Entry { statement: None, at_ms: n, command }
}

/// Waits for a condition, and says what was waited for if it does not come about.
pub async fn eventually(within: Duration, mut condition: impl FnMut() -> bool, what: &str) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < within, "waited {within:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All links between the members.
#[derive(Default)]
pub struct Net {
    members: Mutex<BTreeMap<NodeId, Weak<ControlGroup>>>,
    isolated: Mutex<BTreeSet<NodeId>>,
    snapshot_pieces: AtomicUsize,
}

impl Net {
    /// Lets everything to and from a member vanish, as a switch that died does.
    pub fn isolate(&self, member: NodeId) {
        self.isolated.lock().unwrap().insert(member);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.isolated.lock().unwrap().clear();
    }

    /// How many pieces of snapshots were sent.
    pub fn snapshot_pieces(&self) -> usize {
        self.snapshot_pieces.load(Ordering::Relaxed)
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        let isolated = self.isolated.lock().unwrap();
        isolated.contains(&from) || isolated.contains(&to)
    }
}

struct Wire {
    from: NodeId,
    net: Arc<Net>,
}

#[async_trait]
impl RaftWire for Wire {
    async fn call(
        &self,
        target: NodeId,
        called: String,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, WireError> {
        assert_eq!(called, address(target.0).to_string());
        if request.first() == Some(&SNAPSHOT_PIECE) {
            self.net.snapshot_pieces.fetch_add(1, Ordering::Relaxed);
        }
        if self.net.is_cut(self.from, target) {
            tokio::time::sleep(timeout).await;
            return Err(WireError::Timeout);
        }
        let member = self.net.members.lock().unwrap().get(&target).and_then(Weak::upgrade);
        let Some(member) = member else {
            return Err(WireError::Unreachable("nobody listens there".into()));
        };
        let answer = member.handle(&request).await.map_err(|error| WireError::Failed(error.to_string()))?;
        if self.net.is_cut(self.from, target) {
            tokio::time::sleep(timeout).await;
            return Err(WireError::Timeout);
        }
        Ok(answer)
    }
}

/// A control group.
pub struct Cluster {
    pub net: Arc<Net>,
    config: ControlConfig,
    dirs: BTreeMap<u64, TempDir>,
    members: BTreeMap<u64, Arc<ControlGroup>>,
}

impl Cluster {
    /// Members 1 to `voters`, all of them voters, led by 1, with a founded cluster.
    pub async fn of(voters: u64) -> Self {
        Self::with(ControlConfig::default(), voters).await
    }

    /// The same with other figures.
    pub async fn with(config: ControlConfig, voters: u64) -> Self {
        let mut cluster =
            Self { net: Arc::default(), config, dirs: BTreeMap::new(), members: BTreeMap::new() };
        cluster.open(1).await;
        let first = cluster.member(1);
        first.found(address(1)).await.unwrap();
        first.propose(founding()).await.unwrap().unwrap();
        for id in 2..=voters {
            cluster.open(id).await;
            first.add_learner(NodeId(id), address(id)).await.unwrap();
        }
        if voters > 1 {
            first.set_voters((1..=voters).map(NodeId).collect()).await.unwrap();
        }
        cluster
    }

    /// Opens a member, on the disk that it had or on a new one.
    pub async fn open(&mut self, id: u64) {
        self.dirs.entry(id).or_insert_with(|| tempfile::tempdir().unwrap());
        let member = Arc::new(self.try_open(id, id).await.unwrap());
        self.net.members.lock().unwrap().insert(NodeId(id), Arc::downgrade(&member));
        self.members.insert(id, member);
    }

    /// Opens the folder of one member as another.
    pub async fn try_open(&self, folder: u64, id: u64) -> Result<ControlGroup, OpenError> {
        let dir: PathBuf = self.dirs[&folder].path().join("control");
        let wire = Arc::new(Wire { from: NodeId(id), net: Arc::clone(&self.net) });
        ControlGroup::open(&dir, NodeId(id), wire, self.config.clone()).await
    }

    /// Stops a member without a word to the others.
    pub async fn kill(&mut self, id: u64) {
        self.net.members.lock().unwrap().remove(&NodeId(id));
        let member = self.members.remove(&id).unwrap();
        member.shutdown().await;
        drop(member);
    }

    /// A member that runs.
    pub fn member(&self, id: u64) -> Arc<ControlGroup> {
        Arc::clone(&self.members[&id])
    }

    /// Lets members campaign in turn until one is elected, and answers which. It need not be the first: who lacks an
    /// entry that the others have is refused.
    pub async fn elect(&self, among: &[u64], within: Duration) -> u64 {
        let start = Instant::now();
        for id in among.iter().cycle() {
            let member = self.member(*id);
            if member.campaign().await.unwrap() {
                eventually(within, || member.is_leader(), "a majority confirms the new leader").await;
                return *id;
            }
            assert!(
                start.elapsed() < within,
                "nobody of {among:?} was elected within {within:?}: {member:?}"
            );
        }
        unreachable!("there is always a next one")
    }

    /// Stops all members.
    pub async fn stop(mut self) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            self.kill(id).await;
        }
    }
}
