//! The policy lab: a policy in a library of faults, and what that came to.
//!
//! A scenario says what befalls whom and when; a seed says which node that is, how the network is, and when clients
//! write. What is measured is what an operator asks: how long until it was noticed, how long nobody could write, how
//! long there was no master aggregator, who was failed without need, and whether a rule was broken.
//!
//! Not here: running a policy in a sandbox. Whatever is a [`Policy`](baton_policy::Policy) can be played.

mod measure;
mod scenario;
mod stage;

use baton_model::{Durability, ReplicationMode};
use baton_policy::Settings;

pub use self::measure::{Measured, Moment};
pub use self::scenario::{Scenario, ScenarioError, library};
use self::stage::Stage;
use crate::kernel::{MS, S, Weather};
use crate::policies::Shelf;
use crate::setup::{DatabaseSetup, Setup};

/// The world of a scenario: three aggregators and four leaves, a database of 8 partitions, clients that write all the time.
fn setup(seed: u64, policy: &str, settings: &Settings) -> Setup {
    let mut setup = Setup::calm(seed);
    policy.clone_into(&mut setup.policy);
    setup.policy_settings.clone_from(settings);
    setup.databases = vec![DatabaseSetup {
        name: "shop".to_owned(),
        partitions: 8,
        replication: ReplicationMode::Sync,
        durability: Durability::Sync,
    }];
    setup.weather = Weather::default();
    setup.sync = (300, 2 * MS);
    (setup.clients, setup.readers, setup.think, setup.keys) = (8, 0, 25 * MS, 16);
    // A client that waits for a read would not write meanwhile.
    setup.writes_per_mille = 1_000;
    setup.transactions_per_mille = 0;
    // Whoever waits for what is lost would not write meanwhile.
    setup.patience = S;
    setup.fault_every = 0;
    setup.loses_power = true;
    setup
}

/// Broken rules that are told of one scenario, at most.
const BROKEN_MAX: usize = 10;

/// Plays a scenario with the policy of this name from the shelf. The same arguments give the same answer.
#[must_use]
pub fn play(scenario: &Scenario, seed: u64, shelf: Shelf, policy: &str, settings: &Settings) -> Measured {
    Stage::new(setup(seed, policy, settings), shelf).play(scenario)
}

/// What many seeds of one scenario came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// How many seeds.
    pub seeds: usize,
    /// Whether anybody has to be failed over.
    pub wanted: bool,
    /// In how many of them all nodes that had failed were noticed.
    pub noticed: usize,
    /// Until a node that had failed was noticed, in milliseconds.
    pub detection_ms: Spread,
    /// The longest time in which no write was done in some partition, in milliseconds.
    pub write_gap_ms: Spread,
    /// The longest time without a master aggregator, in milliseconds.
    pub master_gap_ms: Spread,
    /// Nodes that were failed, and master aggregators that were replaced, although nothing was wrong with them.
    pub needless: usize,
    /// In how many of them the cluster did not come to rest in time.
    pub restless: usize,
    /// Rules that were broken, with the seeds: the first ten.
    pub broken: Vec<String>,
}

/// The middle and the worst of some numbers. None of no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    /// The median.
    pub median: Option<u64>,
    /// Of a hundred, 99 are at most this.
    pub p99: Option<u64>,
}

impl Spread {
    /// Of these numbers.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = numbers.into_iter().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(rank).copied()
        };
        Self { median: at(50), p99: at(99) }
    }
}

impl Row {
    /// Of these seeds of a scenario, from the first on.
    #[must_use]
    pub fn of(scenario: &Scenario, first: u64, measured: &[Measured]) -> Self {
        let seeds = || (first..).zip(measured);
        let broken = seeds()
            .flat_map(|(seed, one)| one.broken.iter().map(move |what| format!("seed {seed}: {what}")))
            .take(BROKEN_MAX);
        Self {
            scenario: scenario.name.clone(),
            seeds: measured.len(),
            wanted: !scenario.fails.is_empty(),
            noticed: measured
                .iter()
                .filter(|one| one.wanted > 0 && one.detection_ms.len() == one.wanted)
                .count(),
            detection_ms: Spread::of(measured.iter().flat_map(|one| one.detection_ms.values().copied())),
            write_gap_ms: Spread::of(measured.iter().map(|one| one.write_gap_ms)),
            master_gap_ms: Spread::of(measured.iter().map(|one| one.master_gap_ms)),
            needless: measured.iter().map(|one| one.needless).sum(),
            restless: measured.iter().filter(|one| one.restless.is_some()).count(),
            broken: broken.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_worst() {
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(Spread::of([7]), Spread { median: Some(7), p99: Some(7) });
        assert_eq!(Spread::of(1..=200), Spread { median: Some(100), p99: Some(198) });
    }
}
