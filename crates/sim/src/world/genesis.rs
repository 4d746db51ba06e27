//! How a world begins, and what others may ask of it.

use std::rc::Rc;

use baton_catalog::{Catalog, Command, Entry, InstancePlacement, NewBinding, NewNode};
use baton_failover::{Placer, Sight, placement};
use baton_model::{
    AggregatorRole, ClusterId, Durability, Incarnation, Instant, NodeId, NodeRole, NodeState, PartitionId,
    ReplicationMode, StoreId, SyncState,
};
use baton_policy::DecisionPoint;

use super::control::Truth;
use super::outcome::CLOCKS_APART_MS;
use super::{Aggregator, DiskWeather, Event, Heard, Leaf, Node, Origin, Role, World};
use crate::invariants::Checks;
use crate::kernel::{Clock, MS, Network, Queue, Rng, S, Time};
use crate::nemesis::Nemesis;
use crate::policies::{CHAOS, Shelf};
use crate::setup::{DatabaseSetup, Setup};
use crate::story::Story;
use crate::workload::Workload;

/// What a node said so lately is what it is now.
const A_MOMENT: Time = S / 2;
/// How many nodes may come later.
const SPARES: usize = 2;

/// A machine with a node on it that was never started.
fn machine(setup: &Setup, at: usize, clocks: &mut Rng) -> Node {
    let id = NodeId(at as u64 + 1);
    let drift = clocks.between(0, 2 * setup.drift_ppm).cast_signed() - setup.drift_ppm.cast_signed();
    let role = if at < setup.aggregators {
        let (members, now) = (setup.aggregators, Instant(0));
        Role::Aggregator(Box::new(Aggregator::start(id, Default::default(), members, now, now)))
    } else {
        Role::Leaf(Box::new(Leaf::start(Default::default(), Instant(0))))
    };
    Node {
        id,
        up: false,
        powered: true,
        paused_since: None,
        clock: Clock::new(clocks.between(S, 1_000 * S), drift),
        wall_ahead: clocks.between(1, CLOCKS_APART_MS * MS - 1),
        run: 0,
        incarnation: Incarnation(id.0),
        store: StoreId(id.0),
        lost_tail: false,
        mark: false,
        backlog: Vec::new(),
        heard: Heard::default(),
        disk_weather: DiskWeather::default(),
        loop_delay: 0,
        syncing_since: None,
        sync_took: 0,
        role,
    }
}

impl World {
    /// A cluster that was founded and has just been started, with databases that are empty.
    #[must_use]
    pub fn new(setup: Setup, shelf: Shelf, story: Story) -> Self {
        let seed = setup.seed;
        let mut clocks = Rng::new(seed, "clocks");
        let count = setup.aggregators + setup.leaves;
        let nodes = (0..count).map(|at| machine(&setup, at, &mut clocks)).collect();
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            net: Network::new(count + SPARES, setup.weather, Rng::new(seed, "network")),
            rng: Rng::new(seed, "world"),
            clocks,
            nodes,
            truth: Truth::default(),
            shelf,
            checks: Checks::default(),
            story,
            workload: Workload::new(
                setup.clients,
                setup.readers,
                setup.aggregators,
                Rng::new(seed, "workload"),
                Rng::new(seed, "transactions"),
            ),
            nemesis: Nemesis::new(Rng::new(seed, "nemesis")),
            setup: Rc::new(setup),
            attempts: 0,
            incarnations: 1_000,
            parked: Vec::new(),
            digest: seed,
            events: 0,
        };
        world.found_cluster();
        for node in 0..count {
            world.start(node);
        }
        for client in 0..world.workload.clients() {
            world.client_thinks(client);
        }
        world.unleash();
        world
    }

    fn found_cluster(&mut self) {
        let setup = Rc::clone(&self.setup);
        let bindings = DecisionPoint::ALL.map(|point| (point.to_string(), setup.policy.clone()));
        let mut commands = vec![Command::FoundCluster {
            cluster: ClusterId(1),
            node: self.new_node(0, None),
            policies: self.shelf.modules(),
            bindings: bindings.to_vec(),
        }];
        commands.extend((1..self.nodes.len()).map(|at| Command::AddNode(self.new_node(at, None))));
        if !setup.policy_settings.is_empty() {
            commands.push(Command::BindPolicy(NewBinding::of_cluster(
                DecisionPoint::ALL.iter().map(ToString::to_string).collect(),
                setup.policy.clone(),
                Shelf::hash(&setup.policy),
                setup.policy_settings.clone(),
            )));
        }
        let set =
            |(name, value): (&str, &str)| Command::SetVariable { name: name.into(), value: value.into() };
        commands.extend([("consensus_enabled", "ON"), ("redundancy_level", "2")].map(set));
        commands.extend(setup.variables.iter().map(|(name, value)| set((name, value))));
        self.found(commands);
        for database in &setup.databases {
            let command = self.database(database).expect("the leaves are there");
            self.found(vec![command]);
        }
    }

    /// Whether another node may come.
    pub(crate) fn has_room_for_a_node(&self) -> bool {
        self.nodes.len() < self.setup.aggregators + self.setup.leaves + SPARES
    }

    /// The leaf that comes next.
    pub(crate) fn new_leaf(&self, group: u32) -> NewNode {
        self.new_node(self.nodes.len(), Some(group))
    }

    /// Nodes that the catalog knows and that are not there yet are there from now on.
    pub(super) fn welcome(&mut self) {
        let last = self.catalog().nodes().map(|node| Self::position(node.id)).max().unwrap_or_default();
        while self.nodes.len() <= last {
            let at = self.nodes.len();
            let node = machine(&self.setup, at, &mut self.clocks);
            self.nodes.push(node);
            self.start_soon(at);
        }
    }

    fn new_node(&self, at: usize, group: Option<u32>) -> NewNode {
        let id = NodeId(at as u64 + 1);
        let aggregator = at < self.setup.aggregators;
        NewNode {
            host: "h".into(),
            sql_port: 3300 + at as u16,
            rpc_port: 4300 + at as u16,
            http_port: 5300 + at as u16,
            role: if aggregator { NodeRole::Aggregator } else { NodeRole::Leaf },
            aggregator_role: aggregator.then_some(AggregatorRole::VotingMember),
            availability_group: (!aggregator)
                .then(|| group.unwrap_or(1 + (at - self.setup.aggregators) as u32 % 2)),
            incarnation: Incarnation(id.0),
            store: StoreId(id.0),
        }
    }

    fn database(&self, wanted: &DatabaseSetup) -> Option<Command> {
        let (catalog, sight) = (self.catalog(), Sight::default());
        let mut policy = self.shelf.by(catalog);
        let mut placer = Placer { sight: &sight, policy: &mut policy };
        let placements: Vec<InstancePlacement> =
            placement(catalog, &wanted.name, wanted.partitions, 2, &mut placer).ok()?;
        Some(Command::CreateDatabase {
            name: wanted.name.clone(),
            if_not_exists: false,
            replication: wanted.replication,
            durability: wanted.durability,
            placements,
        })
    }

    /// What creates a small database now; None if no leaf is online.
    pub(crate) fn create_database(&self, name: &str) -> Option<Command> {
        self.database(&DatabaseSetup {
            name: name.to_owned(),
            partitions: 2,
            replication: ReplicationMode::Sync,
            durability: Durability::Sync,
        })
    }

    /// An operator's entry reaches the master aggregator.
    pub(crate) fn propose_for_operator(&mut self, master: usize, entry: Entry) {
        self.propose(master, entry, Origin::Nobody);
    }

    /// The master aggregator hands its office over, if the other can take it.
    pub(crate) fn hand_over(&mut self, master: usize, to: usize) -> bool {
        self.transfer_to(master, to)
    }

    // ---- what others may ask

    /// The catalog that a leaf acts under.
    pub(crate) fn acts_under(&self, leaf: usize) -> &Catalog {
        self.catalog_at(self.leaf(leaf).mirror)
    }

    /// The committed catalog before this index.
    pub(crate) fn catalog_before(&self, index: u64) -> &Rc<Catalog> {
        self.catalog_at(index - 1)
    }

    /// Every member that runs and calls itself master aggregator.
    #[must_use]
    pub fn acting_leaders(&self) -> Vec<NodeId> {
        let leads = |at: &usize| {
            let node = &self.nodes[*at];
            node.up
                && node.paused_since.is_none()
                && self.aggregator(*at).control.is_leader(self.group_time(*at), *at)
        };
        self.aggregators().filter(leads).map(|at| self.nodes[at].id).collect()
    }

    /// Whether a partition cannot go on without its operator: its primary has lost its disk, or was removed by force, and
    /// nobody may be promoted.
    #[must_use]
    pub fn is_given_up(&self, partition: PartitionId) -> bool {
        self.catalog().partition(partition).is_some_and(|known| {
            let is_gone = known.primary_lost || self.catalog().node(known.primary).is_none();
            is_gone && known.replicas.values().all(|state| *state != SyncState::Sync)
        })
    }

    /// Whether clients get nothing done there until an operator has helped: it is given up, or rows of it are in doubt
    /// until the home of their transaction, which is given up, has said how that ended.
    #[must_use]
    pub fn is_out_of_reach(&self, partition: PartitionId) -> bool {
        self.is_given_up(partition) || self.in_doubt_for_good(partition) > 0
    }

    /// The run of a node that is well, as it answered the master aggregator a moment ago, and whether it may lack something.
    pub(crate) fn run_seen(&self, master: usize, node: NodeId) -> Option<(Incarnation, StoreId, bool)> {
        let (sight, now) = (self.sight(master), self.local(master));
        let seen = sight.nodes.get(&node).filter(|_| sight.is_well(node))?;
        seen.asked_at.filter(|asked| now.since(*asked).as_micros() < u128::from(A_MOMENT))?;
        seen.answered_as.map(|(incarnation, store)| (incarnation, store, seen.lost_tail))
    }

    /// How many transactions are prepared in a partition whose home only its operator can bring back: nobody else may say
    /// how they ended.
    #[must_use]
    pub fn in_doubt_for_good(&self, partition: PartitionId) -> usize {
        let Some(known) = self.catalog().partition(partition) else { return 0 };
        let copy = self.leaf(Self::position(known.primary)).disk.now.copies.get(&partition);
        let prepared = copy.map(|copy| copy.rows.prepared()).unwrap_or_default();
        prepared.iter().filter(|(_, prepared)| self.is_given_up(prepared.home.partition)).count()
    }

    /// A plan that is not over, unless it waits for an operator.
    #[must_use]
    pub fn open_plan(&self) -> Option<String> {
        let catalog = self.catalog();
        let is_stuck = |database| catalog.partitions_of(database).any(|p| self.is_given_up(p.id));
        let mut open = catalog.plans().filter(|plan| !plan.status.is_over() && !is_stuck(plan.database));
        open.next().map(|plan| format!("{} of {:?} goes on", plan.kind, plan.database))
    }

    /// Whether a policy that misbehaves was bound to every decision point when the world began.
    #[must_use]
    pub fn is_chaotic(&self) -> bool {
        self.setup.policy == CHAOS
    }

    /// What is not served though it could be; None if there is nothing.
    #[must_use]
    pub fn unserved(&self) -> Option<String> {
        let leaders = self.acting_leaders();
        let [_] = leaders.as_slice() else { return Some(format!("master aggregators: {leaders:?}")) };
        let catalog = self.catalog();
        let is_served = |id: PartitionId| {
            catalog.serving(id).is_some_and(|node| {
                let real = &self.nodes[Self::position(node.id)];
                (node.incarnation, node.store) == (real.incarnation, real.store)
            })
        };
        let unserved = catalog.partitions().find(|p| !self.is_given_up(p.id) && !is_served(p.id))?;
        Some(format!("{} is served by nobody", unserved.id))
    }

    /// What keeps the cluster from being at rest, beside plans; None if nothing does.
    #[must_use]
    pub fn unrest(&self) -> Option<String> {
        let leaders = self.acting_leaders();
        let [master] = leaders.as_slice() else { return Some(format!("master aggregators: {leaders:?}")) };
        let catalog = self.catalog();
        for at in self.aggregators() {
            let control = &self.aggregator(at).control;
            if control.commit != self.truth.index() {
                return Some(format!("n{} has the catalog up to {} only", at + 1, control.commit));
            }
            let leader = control.leader(self.group_time(at), at).map(|leader| self.nodes[leader].id);
            if leader != Some(*master) {
                return Some(format!("n{} follows {leader:?} and not {master}", at + 1));
            }
        }
        for node in catalog.nodes() {
            let real = &self.nodes[Self::position(node.id)];
            if node.state != NodeState::Online {
                return Some(format!("{} is offline in the catalog", node.id));
            }
            if node.incarnation != real.incarnation || node.store != real.store {
                return Some(format!("the catalog knows another run of {}", node.id));
            }
        }
        for at in catalog.leaves().map(|leaf| Self::position(leaf.id)) {
            if self.leaf(at).mirror != self.truth.index() {
                return Some(format!("n{} has the catalog up to {} only", at + 1, self.leaf(at).mirror));
            }
        }
        for partition in catalog.partitions().filter(|partition| !self.is_given_up(partition.id)) {
            let id = partition.id;
            let instance = |node: NodeId| self.leaf(Self::position(node)).instances.get(&id);
            let Some(primary) = instance(partition.primary) else {
                return Some(format!("{} does not run {id}", partition.primary));
            };
            if primary.serving != Some(partition.epoch) {
                return Some(format!("{} does not serve {id} at {}", partition.primary, partition.epoch));
            }
            let positions = primary.core.positions();
            let database = catalog.database_by_id(id.database);
            let sync = database.is_some_and(|database| database.replication == ReplicationMode::Sync);
            if partition.unsynced && database.is_some_and(|known| known.durability == Durability::Sync) {
                return Some(format!("{id} is not known to be synced"));
            }
            for (replica, state) in &partition.replicas {
                if sync && *state != SyncState::Sync {
                    return Some(format!("{replica} of {id} is {state}"));
                }
                let there = instance(*replica).map(|running| running.core.positions());
                if !self.workload.is_busy() && there != Some(positions) {
                    return Some(format!("{replica} of {id} is at {there:?}, its primary at {positions:?}"));
                }
            }
            if let Some(why) =
                primary.tenure.as_ref().and_then(|tenure| tenure.unrest(self.in_doubt_for_good(id)))
                && !self.workload.is_busy()
            {
                return Some(format!("in {id}, {why}"));
            }
        }
        None
    }

    /// A client's event comes to pass now, whoever waits for it.
    pub fn wake_clients(&mut self) {
        for client in 0..self.workload.clients() {
            let now = self.now;
            self.at(now, Event::Client(client));
        }
    }
}
