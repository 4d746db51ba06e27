//! A few seeds in the ordinary test run; `cargo xtask sim` runs many.

use baton_sim::policies::Shelf;
use baton_sim::run::{run, setup_of};
use baton_sim::setup::Setup;
use baton_sim::story::Detail;

/// Seeds in a build that is optimized, and in one that is not.
const SEEDS: u64 = if cfg!(debug_assertions) { 4 } else { 60 };

#[test]
fn all_rules_hold() {
    for seed in 0..SEEDS {
        let report = run(setup_of(seed), Shelf::default(), Detail::Nothing, false);
        assert_eq!(report.violations, [], "cargo xtask sim --seed {seed}");
        assert!(report.statements[0] > 0, "seed {seed} wrote nothing");
    }
}

#[test]
fn a_calm_world_loses_nothing_and_leaves_nothing_unknown() {
    let setup = Setup { faults_last: 20_000_000, ..Setup::calm(1) };
    let report = run(setup, Shelf::default(), Detail::Nothing, false);
    assert_eq!(report.violations, []);
    let [written, read, undone, unknown] = report.statements;
    assert!(written > 400 && read > 200, "{:?}", report.statements);
    assert_eq!((undone, unknown), (0, 0));
}
