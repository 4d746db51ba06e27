//! What a seed's world is made of: drawn once, before anything happens.

use std::collections::BTreeMap;

use baton_model::limits::TRANSACTION_OUTCOMES_KEPT;
use baton_model::{Durability, ReplicationMode};

use crate::kernel::{MS, Rng, S, Time, Weather};
use crate::policies::CHAOS;

/// A database of the world.
#[derive(Clone, Debug)]
pub struct DatabaseSetup {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Whether its replicas rise to `Sync`.
    pub replication: ReplicationMode,
    /// Whether a write waits for the disk.
    pub durability: Durability,
}

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// How many aggregators; all are voting members.
    pub aggregators: usize,
    /// How many leaves; every other one in the second availability group.
    pub leaves: usize,
    /// The policy that decides, by its name on the shelf.
    pub policy: String,
    /// The policy's settings.
    pub policy_settings: BTreeMap<String, String>,
    /// The databases.
    pub databases: Vec<DatabaseSetup>,
    /// Global variables that are not as usual.
    pub variables: Vec<(String, String)>,
    /// How messages travel.
    pub weather: Weather,
    /// How long a sync takes: at least, and what is added at random at most.
    pub sync: (Time, Time),
    /// Clients, spread over the aggregators.
    pub clients: usize,
    /// Clients that only read.
    pub readers: usize,
    /// How long a client thinks between two statements, on average.
    pub think: Time,
    /// How often a client that does the next thing writes, unless it only reads.
    pub writes_per_mille: u64,
    /// Rows of each partition that clients write to.
    pub keys: u64,
    /// How often a client that does the next thing begins a transaction.
    pub transactions_per_mille: u64,
    /// How many outcomes of transactions a partition keeps.
    pub outcomes_kept: usize,
    /// How long an aggregator keeps a statement going.
    pub patience: Time,
    /// Between two faults, on average; 0 for none.
    pub fault_every: Time,
    /// How long faults go on.
    pub faults_last: Time,
    /// How often each kind of fault is drawn, by [`crate::nemesis::Fault::ALL`].
    pub fault_weights: Vec<u32>,
    /// How long a fault lasts, on average.
    pub fault_length: Time,
    /// Whether machines lose power, or only processes die.
    pub loses_power: bool,
    /// Parts per million by which clocks are off, at most.
    pub drift_ppm: u64,
}

/// Policies that a seed may draw, and how often.
const POLICIES: [(&str, u32); 4] = [("classic", 3), ("hasty", 4), ("swift", 4), (CHAOS, 3)];
/// How a policy that misbehaves does so, and how often: each time in another way, or always in the same.
const WAYS: [(&str, u32); 3] = [("random", 4), ("always", 1), ("never", 1)];

impl Setup {
    /// The world of a seed. `weights` says how often each kind of fault is drawn, before the seed makes its own mixture.
    #[must_use]
    pub fn draw(seed: u64, weights: &[u32]) -> Self {
        let mut rng = Rng::new(seed, "setup");
        let policy = POLICIES[rng.weighted(&POLICIES.map(|(_, weight)| weight)).unwrap_or(0)].0;
        let mut policy_settings = BTreeMap::new();
        let mut variables = Vec::new();
        let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
        // The documented times take half a minute for each failure; most worlds live faster.
        let patient = policy == "classic";
        if policy == "hasty" {
            policy_settings.insert("miss_limit".to_owned(), rng.between(8, 40).to_string());
            policy_settings.insert("refusal_penalty".to_owned(), rng.between(2, 20).to_string());
        }
        if policy == CHAOS {
            let way = WAYS[rng.weighted(&WAYS.map(|(_, weight)| weight)).unwrap_or(0)].0;
            policy_settings.insert(CHAOS.to_owned(), way.to_owned());
        }
        if !patient {
            set("consensus_election_timeout", rng.pick(&[500, 1_000, 3_000, 10_000]).to_string());
            set("sync_replica_timeout_ms", rng.pick(&[200, 500, 1_000, 5_000]).to_string());
            if rng.per_mille(200) {
                set("heartbeat_interval_ms", rng.pick(&[50, 100, 300]).to_string());
            }
        }
        if rng.per_mille(150) {
            set("leaf_read_lease", "OFF".to_owned());
        }
        let loses_power = rng.per_mille(700);
        let mut databases = vec![DatabaseSetup {
            name: "shop".to_owned(),
            partitions: rng.between(2, 8) as u32,
            replication: ReplicationMode::Sync,
            durability: Durability::Sync,
        }];
        if rng.coin() {
            databases.push(DatabaseSetup {
                name: "log".to_owned(),
                partitions: rng.between(1, 4) as u32,
                replication: ReplicationMode::Sync,
                durability: Durability::Async,
            });
        }
        if rng.per_mille(200) {
            databases.push(DatabaseSetup {
                name: "cache".to_owned(),
                partitions: rng.between(1, 2) as u32,
                replication: ReplicationMode::Async,
                durability: Durability::Sync,
            });
        }
        let weather = match rng.below(4) {
            0 => Weather { delay_min: 50, jitter: 20, spikes_per_mille: 0, spike: 0 },
            1 => Weather { delay_min: 200, jitter: 3 * MS, spikes_per_mille: 10, spike: 50 * MS },
            2 => Weather { delay_min: 200, jitter: MS, spikes_per_mille: 3, spike: 400 * MS },
            _ => Weather::default(),
        };
        let mut dice = Rng::new(seed, "setup of transactions");
        let transactions_per_mille = dice.pick(&[0, 100, 300, 300, 600]);
        let outcomes_kept = dice.pick(&[4, 20, TRANSACTION_OUTCOMES_KEPT]);
        if dice.per_mille(300) {
            set("transaction_idle_timeout_ms", dice.pick(&[1_000, 3_000]).to_string());
        }
        if dice.per_mille(400) {
            set("lock_wait_timeout_ms", dice.pick(&[200, 1_000]).to_string());
        }
        // Some kinds of faults never, some much: lives that differ find more than lives of one mixture.
        let mixture = |rng: &mut Rng| rng.pick(&[0, 0, 1, 1, 1, 3]);
        let mut fault_weights: Vec<u32> = weights.iter().map(|weight| weight * mixture(&mut rng)).collect();
        if fault_weights.iter().all(|weight| *weight == 0) {
            fault_weights = weights.to_vec();
        }
        Self {
            seed,
            aggregators: 3,
            leaves: 4,
            policy: policy.to_owned(),
            policy_settings,
            databases,
            variables,
            weather,
            sync: rng.pick(&[(100, 300), (300, 2 * MS), (MS, 8 * MS)]),
            clients: rng.between(2, 6) as usize,
            readers: rng.pick(&[0, 3, 6]),
            think: rng.pick(&[20 * MS, 60 * MS, 150 * MS]),
            writes_per_mille: 600,
            keys: rng.pick(&[1, 4, 16]),
            transactions_per_mille,
            outcomes_kept,
            patience: rng.pick(&[2 * S, 8 * S, 20 * S]),
            fault_every: if patient { 10 * S } else { rng.pick(&[300 * MS, S, 2 * S, 5 * S]) },
            faults_last: if patient { 120 * S } else { 45 * S },
            fault_weights,
            fault_length: if patient { 20 * S } else { rng.pick(&[500 * MS, 2 * S, 5 * S]) },
            loses_power,
            drift_ppm: rng.pick(&[0, 50, 500]),
        }
    }

    /// The world by which speed is measured: three aggregators and four leaves under load, without faults.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        let mut setup = Self::draw(seed, &[]);
        setup.policy = "classic".to_owned();
        setup.policy_settings.clear();
        setup.variables.clear();
        setup.databases.truncate(1);
        setup.databases[0].partitions = 8;
        setup.weather = Weather::default();
        setup.sync = (100, 300);
        setup.transactions_per_mille = 40;
        (setup.clients, setup.think, setup.keys) = (6, 90 * MS, 16);
        setup.readers = 0;
        setup.fault_every = 0;
        setup.faults_last = 300 * S;
        setup
    }
}
