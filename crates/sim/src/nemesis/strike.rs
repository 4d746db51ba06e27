//! What each fault does, and to whom.

use baton_model::PartitionId;

use super::{Cure, Fault, NOTICED, printed};
use crate::kernel::{MS, S, Time};
use crate::world::{End, Purpose, World};

impl World {
    pub(super) fn random_leaf(&mut self) -> usize {
        let leaves = self.leaves();
        leaves.start + self.nemesis.rng.below(leaves.len() as u64) as usize
    }

    /// Half of the time it is the master.
    fn random_aggregator(&mut self) -> usize {
        let master = self.acting_leaders().first().map(|id| World::position(*id));
        let count = self.setup.aggregators as u64;
        match master.filter(|_| self.nemesis.rng.coin()) {
            Some(master) => master,
            None => self.nemesis.rng.below(count) as usize,
        }
    }

    fn random_node(&mut self) -> usize {
        self.nemesis.rng.below(self.nodes.len() as u64) as usize
    }

    /// A leaf and an aggregator through which somebody reads there, if anybody does.
    fn random_read(&mut self) -> (usize, usize) {
        let (leaf, aggregator) = (self.random_leaf(), self.random_aggregator());
        let reads: Vec<(usize, PartitionId)> = self.workload.reads().collect();
        if reads.is_empty() {
            return (leaf, aggregator);
        }
        let (at, partition) = self.nemesis.rng.pick(&reads);
        (self.catalog().partition(partition).map_or(leaf, |known| World::position(known.primary)), at)
    }

    /// The leaves of a partition's primary and of its replica.
    fn random_instances(&mut self) -> Option<(usize, usize)> {
        let count = self.catalog().partitions().count() as u64;
        let chosen = self.nemesis.rng.below(count) as usize;
        let partition = self.catalog().partitions().nth(chosen)?;
        let replica = partition.replicas.keys().next()?;
        Some((World::position(partition.primary), World::position(*replica)))
    }

    fn random_pair(&mut self) -> (usize, usize) {
        let a = self.random_node();
        let b = (a + 1 + self.nemesis.rng.below(self.nodes.len() as u64 - 1) as usize) % self.nodes.len();
        (a, b)
    }

    pub(super) fn cut_ways(&mut self, what: Fault, ways: Vec<(usize, usize)>) {
        self.cut_for(what, ways, 1, 0);
    }

    /// For so many times as long as faults last, and more.
    fn cut_for(&mut self, what: Fault, ways: Vec<(usize, usize)>, times: Time, more: Time) {
        let ways: Vec<_> = ways.into_iter().filter(|(from, to)| !self.net.is_cut(*from, *to)).collect();
        self.tell(|| format!("fault {what:?}: cut {}", printed(&ways)));
        for (from, to) in &ways {
            self.cut(*from, *to);
        }
        let after = times * self.length() + more;
        self.cure_after(after, Cure::Heal(ways));
    }

    pub(super) fn kill(&mut self, node: usize, power: bool) {
        if !self.nodes[node].up {
            return;
        }
        let how = if power { End::PowerCut } else { End::Killed };
        self.end(node, how, power && self.setup.loses_power);
        self.cure_later(Cure::Start(node));
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::KillLeaf => {
                let leaf = self.random_leaf();
                self.kill(leaf, false);
            }
            Fault::RestartLeaf => {
                let leaf = self.random_leaf();
                if self.nodes[leaf].up {
                    let power = self.setup.loses_power && self.nemesis.rng.coin();
                    self.end(leaf, if power { End::PowerCut } else { End::Killed }, power);
                    let after = self.nemesis.rng.between(MS, 200 * MS);
                    self.cure_after(after, Cure::Start(leaf));
                }
            }
            Fault::PowerCutLeaf => {
                let leaf = self.random_leaf();
                self.kill(leaf, true);
            }
            Fault::PowerCutPair => {
                if let Some((a, b)) = self.random_instances() {
                    self.kill(a, true);
                    self.kill(b, true);
                }
            }
            Fault::KillAggregator => {
                let aggregator = self.random_aggregator();
                self.kill(aggregator, false);
            }
            Fault::PowerCutAggregator => {
                let aggregator = self.random_aggregator();
                self.kill(aggregator, true);
            }
            Fault::KillMasterAndLeaf => {
                let (aggregator, leaf) = (self.random_aggregator(), self.random_leaf());
                let power = self.nemesis.rng.coin();
                self.kill(aggregator, power);
                self.kill(leaf, power);
            }
            Fault::PowerCutAll => (0..self.nodes.len()).for_each(|node| self.kill(node, true)),
            Fault::PauseLeaf | Fault::PauseAggregator | Fault::Sleep => self.stop_process(fault),
            Fault::AmbushCommit => self.lie_in_wait(),
            Fault::ClockJump => {
                let node = self.random_node();
                let by = self.nemesis.rng.between(10 * MS, 40 * S);
                self.jump_clock(node, by);
                self.tell(|| format!("the clock of n{} jumps by {} ms", node + 1, by / MS));
            }
            Fault::CutPair => {
                let (a, b) = self.random_pair();
                self.cut_ways(fault, vec![(a, b), (b, a)]);
            }
            Fault::CutOneWay => {
                let way = self.random_pair();
                self.cut_ways(fault, vec![way]);
            }
            Fault::Isolate | Fault::IsolateOneWay => {
                let node = self.random_node();
                let (both, out) = (fault == Fault::Isolate, self.nemesis.rng.coin());
                let others = (0..self.nodes.len()).filter(|other| *other != node);
                let ways = others.flat_map(|other| [(node, other, out), (other, node, !out)]);
                let ways =
                    ways.filter(|(.., wanted)| both || *wanted).map(|(from, to, _)| (from, to)).collect();
                self.cut_ways(fault, ways);
            }
            Fault::Netsplit => {
                let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.nemesis.rng.coin()).collect();
                let ways = (0..side.len())
                    .flat_map(|from| (0..side.len()).map(move |to| (from, to)))
                    .filter(|(from, to)| side[*from] != side[*to])
                    .collect();
                self.cut_ways(fault, ways);
            }
            Fault::Strand => {
                let (leaf, aggregator) = self.random_read();
                let stranded = |node: &usize| [leaf, aggregator].contains(node);
                let others: Vec<usize> = (0..self.nodes.len()).filter(|node| !stranded(node)).collect();
                let ways = others.into_iter().flat_map(|other| {
                    [(leaf, other), (other, leaf), (aggregator, other), (other, aggregator)]
                });
                self.cut_for(fault, ways.collect(), 3, NOTICED);
            }
            Fault::CutLeavesFromMaster => {
                let master = self.random_aggregator();
                let leaves = self.leaves().filter(|leaf| leaf % 2 == master % 2 || master == 0);
                let ways = leaves.flat_map(|leaf| [(leaf, master), (master, leaf)]).collect();
                self.cut_ways(fault, ways);
            }
            Fault::Flap => {
                let (a, b) = self.random_pair();
                self.tell(|| format!("fault Flap: between n{} and n{}", a + 1, b + 1));
                let times = self.nemesis.rng.between(3, 20) as u32;
                self.cure_after(1, Cure::Flap(a, b, times, S));
            }
            Fault::FlapReplication => {
                let Some((a, b)) = self.random_instances() else { return };
                self.tell(|| format!("fault FlapReplication: between n{} and n{}", a + 1, b + 1));
                let timeout = self.catalog().number("sync_replica_timeout_ms") * MS;
                let times = self.nemesis.rng.between(4, 12) as u32;
                self.cure_after(1, Cure::FlapReplication(a, b, times, timeout));
                // What was asked for while they heard each other may come when they do not.
                if self.nemesis.rng.per_mille(700) {
                    self.nemesis.late_requests = 4 * timeout;
                    self.cure_after(Time::from(times) * timeout, Cure::RequestsInTime);
                }
            }
            Fault::SlowWay => {
                let (a, b) = self.random_pair();
                let by = self.nemesis.rng.pick(&[5 * MS, 50 * MS, 300 * MS, 2 * S]);
                self.tell(|| format!("fault SlowWay: n{} to n{} by {} ms", a + 1, b + 1, by / MS));
                self.net.slow_down(a, b, by);
                self.cure_later(Cure::Quicken(vec![(a, b)]));
            }
            Fault::BreakConnections => {
                let node = self.random_node();
                self.tell(|| format!("fault BreakConnections: of n{}", node + 1));
                for (conn, purpose, ends) in self.net.all().collect::<Vec<_>>() {
                    if ends.contains(&node) && (purpose != Purpose::Heartbeat || self.nemesis.rng.coin()) {
                        self.break_connection(conn, purpose, ends);
                    }
                }
            }
            Fault::BreakCalls => {
                self.nemesis.calls_break = self.nemesis.rng.pick(&[20, 100, 400]);
                let per_mille = self.nemesis.calls_break;
                self.tell(|| format!("fault BreakCalls: {per_mille} of a thousand"));
                self.cure_later(Cure::CallsHold);
            }
            Fault::Clog => {
                let (observer, node) = (self.random_aggregator(), self.random_node());
                self.tell(|| format!("fault Clog: n{} to n{}", observer + 1, node + 1));
                self.nemesis.clogged.push((observer, node));
                self.cure_later(Cure::Unclog(observer, node));
            }
            Fault::LateRequests => {
                let most = self.nemesis.rng.pick(&[S, 4 * S, 15 * S]);
                self.tell(|| format!("fault LateRequests: by up to {} ms", most / MS));
                self.nemesis.late_requests = most;
                self.cure_later(Cure::RequestsInTime);
            }
            Fault::SlowDisk => {
                let node = self.random_node();
                let by = self.nemesis.rng.pick(&[20 * MS, 100 * MS, 700 * MS, 5 * S]);
                self.tell(|| format!("fault SlowDisk: n{} by {} ms", node + 1, by / MS));
                self.nodes[node].disk_weather.slower = by;
                self.cure_later(Cure::Spin(node));
            }
            Fault::FailSync => {
                let node = self.random_node();
                if self.setup.loses_power && self.nodes[node].up {
                    self.nodes[node].disk_weather.fails = true;
                    self.cure_later(Cure::Start(node));
                }
            }
            Fault::LoseDisk => {
                let leaf = self.random_leaf();
                if self.can_spare(leaf) {
                    self.end(leaf, End::Killed, false);
                    self.lose_disk(leaf);
                    self.cure_later(Cure::Start(leaf));
                }
            }
            Fault::SetVariable
            | Fault::BindPolicy
            | Fault::TransferMaster
            | Fault::PromotePartition
            | Fault::Rebalance
            | Fault::AlterDatabase
            | Fault::CreateOrDropDatabase
            | Fault::AddReplica
            | Fault::SwitchOff
            | Fault::DetachLeaf
            | Fault::ReplaceLeaf => self.operator_acts(fault),
        }
    }

    /// A clock jumps ahead, and the control group's leases may be wrong for a while.
    pub(crate) fn jump_clock(&mut self, node: usize, by: Time) {
        let now = self.now;
        self.nodes[node].clock.jump(now, by);
        self.nemesis.clock_disturbed = Some(now);
        if self.aggregators().contains(&node) {
            self.nemesis.lender_jumped = Some(now);
        }
    }

    fn stop_process(&mut self, fault: Fault) {
        let node = match fault {
            Fault::PauseLeaf => self.random_leaf(),
            Fault::PauseAggregator => self.random_aggregator(),
            _ => self.random_node(),
        };
        if self.nodes[node].up && self.nodes[node].paused_since.is_none() {
            let slept = fault == Fault::Sleep;
            if slept {
                self.nemesis.clock_disturbed = Some(self.now);
            }
            self.pause(node);
            self.cure_later(Cure::Resume(node, slept));
        }
    }

    /// Whether everything that was acknowledged is somewhere else too, with somebody who counts.
    pub(super) fn can_spare(&self, leaf: usize) -> bool {
        let id = self.nodes[leaf].id;
        self.catalog().partitions().filter(|p| p.role_of(id).is_some()).all(|partition| {
            partition.instances().filter(|other| *other != id).any(|other| {
                let other = World::position(other);
                let chronicle = self.checks.chronicles.get(&partition.id);
                let copy = self.leaf(other).disk.synced.copies.get(&partition.id);
                self.counts_on(other, partition.id)
                    && !self.may_lack(other, partition)
                    && chronicle.is_none_or(|known| known.is_had_by(copy))
            })
        })
    }
}
