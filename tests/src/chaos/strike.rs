//! Makes faults on a running cluster, and undoes them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;

use super::fault::Fault;
use super::plan::Step;
use crate::cluster::Cluster;
use crate::moment::Moment;
use crate::network::Internet;
use crate::wait::wait_while_not;
use crate::writers::DATABASE;

/// Who is master aggregator is known within this, or the fault is made to the first aggregator.
const MASTER_BOUND: Duration = Duration::from_secs(2);
/// A leaf whose disk is full stops within this, if anything is written to it.
const STOPS_BOUND: Duration = Duration::from_secs(20);
/// Statements that are written until a leaf has used up the room that its log had reserved, at most, and the rows of
/// one and the bytes of each.
const PRESSURE: (usize, usize, usize) = (400, 500, 1000);
/// One of them takes no longer, or it is left.
const PRESSURE_BOUND: Duration = Duration::from_secs(3);
/// An operator waits no longer for a statement.
const OPERATOR_BOUND: Duration = Duration::from_secs(10);
/// A leaf that is detached is attached again within this.
const ATTACH_BOUND: Duration = Duration::from_secs(40);
/// A leaf that lost its disk is counted on again within this, or is killed all the same.
const COPY_BOUND: Duration = Duration::from_secs(10);
/// Copies of a leaf that is counted on again are under way for so long before it is killed, at most, in milliseconds.
const COPYING_MS: u64 = 150;

/// A cluster on hosts of its own, with all that can be done to it.
#[derive(Debug)]
pub struct Field<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its hosts.
    pub internet: &'a Internet,
    /// The leaf whose disk can be filled; its disk is never taken away.
    pub small: &'a str,
    /// Nodes that were killed, or whose disk was filled, and are not started again.
    down: BTreeSet<String>,
    asleep: BTreeSet<String>,
    /// Leaves that an operator may have detached.
    detached: BTreeSet<String>,
    /// Nodes that may end by themselves: their disk was full.
    excused: BTreeSet<String>,
}

/// A fault that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Struck {
    /// What was done, with the names of the nodes.
    pub text: String,
    cut: Vec<(String, String)>,
    kill: Vec<String>,
    sleep: Vec<String>,
}

impl<'a> Field<'a> {
    /// A cluster in which nothing is wrong.
    #[must_use]
    pub fn new(cluster: &'a Cluster, internet: &'a Internet, small: &'a str) -> Self {
        let (down, asleep, detached, excused) = Default::default();
        Self { cluster, internet, small, down, asleep, detached, excused }
    }

    /// Makes a fault. What is down or asleep already stays so.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn strike(&mut self, step: &Step) -> Result<Struck> {
        let leaf = self.leaf(step.dice).await?;
        let (mut kill, mut sleep, mut cut) = (Vec::new(), Vec::new(), Vec::new());
        let mut done = String::new();
        match step.fault {
            Fault::KillLeaf => kill.push(leaf),
            Fault::KillMaster => kill.push(self.master().await?),
            Fault::KillMasterAndLeaf => kill.extend([self.master().await?, leaf]),
            Fault::SleepLeaf => sleep.push(leaf),
            Fault::SleepMaster => sleep.push(self.master().await?),
            Fault::SplitEven => {
                let (aggregators, leaves) = (self.cluster.aggregators(), self.cluster.leaves());
                // Either half has one leaf of each pair: by turns the dice give it the other one.
                let turn = (step.dice % 2) as usize;
                let of = |nodes: &[String], turn: usize| -> BTreeSet<String> {
                    let mine = nodes.iter().enumerate().filter(|(i, _)| i % 2 == turn);
                    mine.map(|(_, name)| name.clone()).collect()
                };
                let half: BTreeSet<String> = of(&aggregators, 0).union(&of(&leaves, turn)).cloned().collect();
                cut = self.both_ways(&half)?;
            }
            Fault::SplitMinorityPrimary => cut = self.both_ways(&BTreeSet::from([leaf]))?,
            Fault::SplitMinorityMaster => cut = self.both_ways(&BTreeSet::from([self.master().await?]))?,
            Fault::SplitMute => cut = self.ways_from(&leaf)?,
            Fault::SplitDeaf => {
                cut = self.ways_from(&leaf)?.into_iter().map(|(here, there)| (there, here)).collect();
            }
            Fault::SplitMasterLeaf => cut = self.between(&self.master().await?, &leaf)?,
            Fault::SplitPrimaryReplica => cut = self.between(&leaf, &self.pair_of(&leaf).await?)?,
            Fault::PowerCut => kill.extend(self.everybody()),
            Fault::FullDisk => {
                self.excused.insert(self.small.to_owned());
                self.down.insert(self.small.to_owned());
                self.cluster.small_disk().context("no leaf has a small disk")?.fill()?;
                self.press().await;
            }
            Fault::KillWhileProvisioned => {
                let leaf = if leaf == self.small { self.pair_of(&leaf).await? } else { leaf };
                anyhow::ensure!(
                    self.lose_disk(&leaf, step.dice).await?,
                    "{leaf} has something that nobody else has, and keeps its disk"
                );
                kill.push(leaf);
            }
            Fault::HandOver => {
                let instances = self.cluster.any_aggregator().await?.instances(DATABASE).await?;
                let replicas: Vec<_> = instances.iter().filter(|instance| instance.is_sync()).collect();
                let to =
                    replicas.get(step.dice as usize % replicas.len().max(1)).context("nobody is in sync")?;
                let name = self.cluster.name_of_id(to.node).context("an unknown leaf")?;
                let place = self.quoted(&name)?;
                done = self.operate(&format!("PROMOTE PARTITION {DATABASE}:{} ON {place}", to.ordinal)).await;
            }
            Fault::DetachLeaf => {
                let place = self.quoted(&leaf)?;
                self.detached.insert(leaf);
                done = self.operate(&format!("DETACH LEAF {place} ENSURE_PARTITION_SAFETY")).await;
            }
        }
        kill.retain(|name| !self.down.contains(name));
        sleep.retain(|name| !self.down.contains(name) && self.asleep.insert(name.clone()));
        for name in &kill {
            self.down.insert(name.clone());
            self.asleep.remove(name);
        }
        try_join_all(kill.iter().map(|name| self.cluster.kill9(name))).await?;
        for name in &sleep {
            self.cluster.stop(name)?;
        }
        self.internet.cut(cut.iter().cloned())?;
        let text = match done.as_str() {
            "" => self.told(step.fault, &kill, &sleep, &cut),
            _ => done,
        };
        Ok(Struck { text, cut, kill, sleep })
    }

    fn told(&self, fault: Fault, kill: &[String], sleep: &[String], cut: &[(String, String)]) -> String {
        let names = match fault {
            Fault::FullDisk => self.small.to_owned(),
            Fault::PowerCut => String::new(),
            _ if cut.is_empty() => [kill, sleep].concat().join(" and "),
            _ => {
                let name = |address: &String| self.name_at(address);
                let ways: BTreeSet<String> =
                    cut.iter().map(|(from, to)| format!("{}→{}", name(from), name(to))).collect();
                ways.into_iter().collect::<Vec<_>>().join(" ")
            }
        };
        format!("{}: {names}", fault.description()).trim_end_matches(": ").to_owned()
    }

    /// Undoes a fault, as far as no other has made the same.
    ///
    /// # Errors
    /// When it cannot be undone; [`Self::heal`] tries again.
    pub async fn undo(&mut self, struck: &Struck, fault: Fault) -> Result<()> {
        self.internet.mend(&struck.cut)?;
        for name in &struck.sleep {
            if self.asleep.remove(name) {
                self.cluster.cont(name)?;
            }
        }
        if fault == Fault::FullDisk {
            self.make_room().await?;
        }
        if fault == Fault::DetachLeaf {
            self.operate("ATTACH LEAF ALL").await;
        }
        let killed: Vec<&String> = struck.kill.iter().filter(|name| self.down.contains(*name)).collect();
        try_join_all(killed.iter().map(|name| self.cluster.restart(name))).await?;
        for name in killed.into_iter().cloned().collect::<Vec<_>>() {
            self.down.remove(&name);
        }
        Ok(())
    }

    /// Undoes everything: every way is open, every node is awake and runs.
    ///
    /// # Errors
    /// When something cannot be undone.
    pub async fn heal(&mut self) -> Result<()> {
        self.internet.mend_all()?;
        for name in std::mem::take(&mut self.asleep) {
            self.cluster.cont(&name)?;
        }
        if let Some(disk) = self.cluster.small_disk() {
            disk.free()?;
        }
        self.cluster.restart_all().await?;
        self.down.clear();
        self.excused.clear();
        if std::mem::take(&mut self.detached).is_empty() {
            return Ok(());
        }
        // A statement whose answer was lost may still be carried out: asked until nobody is detached.
        wait_while_not("no leaf is detached", ATTACH_BOUND, async || {
            let states = self.cluster.any_aggregator().await?.leaf_states().await?;
            if states.iter().any(|(_, state)| state == "detached") {
                self.operate("ATTACH LEAF ALL").await;
                return Ok(false);
            }
            Ok(true)
        })
        .await
    }

    /// Sends an operator's statement to some aggregator; what was said and what came of it.
    async fn operate(&self, statement: &str) -> String {
        let sent = async {
            let mut client = self.cluster.any_aggregator().await?;
            anyhow::Ok(client.run_within(OPERATOR_BOUND, statement).await?)
        };
        match tokio::time::timeout(OPERATOR_BOUND, sent).await {
            Ok(Ok(_)) => format!("{statement}: OK"),
            Ok(Err(error)) => format!("{statement}: {error:#}"),
            Err(_) => format!("{statement}: no answer"),
        }
    }

    fn quoted(&self, name: &str) -> Result<String> {
        let node = self.cluster.node(name)?;
        Ok(format!("'{}':{}", node.host, node.port))
    }

    /// The nodes that do not run although nobody has killed them.
    ///
    /// # Errors
    /// When the toolbox fails.
    pub async fn ended_by_themselves(&self) -> Result<Vec<String>> {
        let nodes = self.cluster.refresh().await?;
        let ended = nodes.into_iter().filter(|node| node.process_state == "Stopped").map(|node| node.name);
        Ok(ended.filter(|name| !self.down.contains(name) && !self.excused.contains(name)).collect())
    }

    /// Writes until the leaf with the full disk has stopped: its log has reserved room that has to be used up first.
    /// In a cluster that is hurt otherwise it may not get there; then nothing comes of the fault.
    async fn press(&self) {
        let (statements, rows, bytes) = PRESSURE;
        let text = "x".repeat(bytes);
        let table = format!("{DATABASE}.ballast");
        let create =
            format!("CREATE TABLE IF NOT EXISTS {table} (id BIGINT PRIMARY KEY, text VARCHAR({bytes}))");
        for statement in 0..statements {
            let first = statement * rows;
            let values: Vec<String> = (first..first + rows).map(|id| format!("({id}, '{text}')")).collect();
            let written = async {
                let mut client = self.cluster.any_aggregator().await?;
                client.run(&create).await?;
                client.run(&format!("REPLACE INTO {table} VALUES {}", values.join(", "))).await?;
                anyhow::Ok(())
            };
            // What becomes of it is the leaf's to say.
            let _ = tokio::time::timeout(PRESSURE_BOUND, written).await;
            if matches!(self.small_has_stopped().await, Ok(true)) {
                return;
            }
        }
    }

    async fn small_has_stopped(&self) -> Result<bool> {
        let nodes = self.cluster.refresh().await?;
        Ok(nodes.iter().any(|node| node.name == self.small && node.process_state == "Stopped"))
    }

    /// Waits until the leaf has seen that its disk is full, gives the room back, and starts it.
    async fn make_room(&mut self) -> Result<()> {
        let name = self.small;
        let stopped = wait_while_not("the leaf with the full disk has stopped", STOPS_BOUND, async || {
            self.small_has_stopped().await
        });
        // It may have written nothing meanwhile, for instance because it was cut off.
        let _ = stopped.await;
        self.cluster.small_disk().context("no leaf has a small disk")?.free()?;
        self.cluster.restart(name).await?;
        self.down.remove(name);
        Ok(())
    }

    /// Takes a leaf's disk away, and lets copies to it begin; false if that would lose something, and the leaf only was
    /// started again.
    async fn lose_disk(&mut self, leaf: &str, dice: u64) -> Result<bool> {
        if self.asleep.remove(leaf) {
            self.cluster.cont(leaf)?;
        }
        if self.down.insert(leaf.to_owned()) {
            self.cluster.kill9(leaf).await?;
        }
        // Only once others lead what it led: an operator must not take a disk away that is the last.
        let is_needed = self.is_needed(leaf).await?;
        if !is_needed {
            self.cluster.wipe(leaf)?;
        }
        let empty = Moment::now();
        self.cluster.restart(leaf).await?;
        self.down.remove(leaf);
        if is_needed {
            return Ok(false);
        }
        let address = self.cluster.node(leaf)?.address();
        let copied = wait_while_not("copies to the leaf begin", COPY_BOUND, async || {
            let events = self.cluster.any_aggregator().await?.events_since(empty).await?;
            Ok(events.iter().any(|event| event.kind == "NODE_ONLINE" && event.details.contains(&address)))
        });
        let _ = copied.await;
        // What is seen next is the end of the copies: only time tells when they are half done.
        tokio::time::sleep(Duration::from_millis(dice % COPYING_MS)).await;
        Ok(true)
    }

    /// Whether a leaf that is down may have something that nobody else has.
    async fn is_needed(&self, leaf: &str) -> Result<bool> {
        let id = self.cluster.id(leaf)?;
        let free = wait_while_not(
            "others lead what the leaf led, and it is in sync with nobody",
            STOPS_BOUND,
            async || {
                let instances = self.cluster.any_aggregator().await?.instances(DATABASE).await?;
                Ok(instances.iter().filter(|instance| instance.node == id).all(|instance| {
                    let others = instances.iter().filter(|other| other.ordinal == instance.ordinal);
                    !instance.is_primary()
                        && others.filter(|other| other.node != id).any(|other| other.serves())
                }))
            },
        );
        Ok(free.await.is_err())
    }

    async fn master(&self) -> Result<String> {
        match self.cluster.master(MASTER_BOUND).await {
            Ok(name) => Ok(name),
            Err(_) => self.cluster.aggregators().into_iter().next().context("there are no aggregators"),
        }
    }

    /// A leaf that leads something, or just a leaf, as the dice say.
    async fn leaf(&self, dice: u64) -> Result<String> {
        let instances = async { self.cluster.any_aggregator().await?.instances(DATABASE).await };
        let instances = tokio::time::timeout(MASTER_BOUND, instances).await;
        let leading: BTreeSet<u64> = match instances {
            Ok(Ok(instances)) => {
                instances.iter().filter(|instance| instance.serves()).map(|instance| instance.node).collect()
            }
            _ => BTreeSet::new(),
        };
        let leaves: Vec<String> =
            self.cluster.leaves().into_iter().filter(|name| !self.down.contains(name)).collect();
        let leads = |name: &&String| self.cluster.id(name).is_ok_and(|id| leading.contains(&id));
        let chosen: Vec<&String> = leaves.iter().filter(leads).collect();
        let chosen = if chosen.is_empty() { leaves.iter().collect() } else { chosen };
        match chosen.get(dice as usize % chosen.len().max(1)) {
            Some(name) => Ok((*name).clone()),
            None => self.cluster.leaves().into_iter().next().context("there are no leaves"),
        }
    }

    /// The leaf that has copies of the same partitions; another one if the catalog cannot be asked.
    async fn pair_of(&self, leaf: &str) -> Result<String> {
        let id = self.cluster.id(leaf)?;
        let instances = async { self.cluster.any_aggregator().await?.instances(DATABASE).await };
        let instances = tokio::time::timeout(MASTER_BOUND, instances).await;
        let instances = instances.ok().and_then(Result::ok).unwrap_or_default();
        let mine: BTreeSet<u64> =
            instances.iter().filter(|one| one.node == id).map(|one| one.ordinal).collect();
        let pair = instances.iter().find(|one| one.node != id && mine.contains(&one.ordinal));
        let pair = pair.and_then(|one| self.cluster.name_of_id(one.node));
        let other = || self.cluster.leaves().into_iter().find(|name| name != leaf);
        pair.or_else(other).context("there is one leaf only")
    }

    fn everybody(&self) -> Vec<String> {
        self.cluster.aggregators().into_iter().chain(self.cluster.leaves()).collect()
    }

    fn address(&self, name: &str) -> Result<String> {
        Ok(self.cluster.node(name)?.host)
    }

    fn name_at(&self, address: &str) -> String {
        let found =
            self.everybody().into_iter().find(|name| self.address(name).is_ok_and(|at| at == address));
        found.unwrap_or_else(|| address.to_owned())
    }

    /// From one node to all others.
    fn ways_from(&self, name: &str) -> Result<Vec<(String, String)>> {
        let here = self.address(name)?;
        let others = self.everybody().into_iter().filter(|other| other != name);
        others.map(|other| Ok((here.clone(), self.address(&other)?))).collect()
    }

    fn between(&self, one: &str, other: &str) -> Result<Vec<(String, String)>> {
        let (one, other) = (self.address(one)?, self.address(other)?);
        Ok(vec![(one.clone(), other.clone()), (other, one)])
    }

    /// Between these nodes and all others.
    fn both_ways(&self, these: &BTreeSet<String>) -> Result<Vec<(String, String)>> {
        let mut ways = Vec::new();
        for one in these {
            for other in self.everybody().iter().filter(|other| !these.contains(*other)) {
                ways.extend(self.between(one, other)?);
            }
        }
        Ok(ways)
    }
}
