//! Every broken rule is caught, or the simulator proves nothing. Run by `cargo xtask test`, in a build of its own.
#![cfg(feature = "mutants")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use baton_model::mutant::Mutant;
use baton_sim::policies::Shelf;
use baton_sim::run::{run, setup_of};
use baton_sim::story::Detail;

/// A mutant is caught within so many seeds.
const SEEDS: u64 = 200;

/// How a seed notices the mutant that is on.
fn noticed(seed: u64) -> Option<String> {
    let lived =
        catch_unwind(AssertUnwindSafe(|| run(setup_of(seed), Shelf::default(), Detail::Nothing, false)));
    match lived {
        Ok(report) => report.violations.first().map(|v| format!("{}: {}", v.invariant, v.what)),
        Err(_) => Some("panic".to_owned()),
    }
}

/// The first seed that catches it, and how.
fn caught(mutant: Mutant) -> Option<(u64, String)> {
    Mutant::set(Some(mutant));
    let found = (0..SEEDS).find_map(|seed| Some((seed, noticed(seed)?)));
    Mutant::set(None);
    found
}

/// Says of every mutant, or of the one that `MUTANT` names, by how many of the first seeds it is caught: a mutant that
/// few notice needs worlds with more of its faults.
#[test]
#[ignore = "it takes minutes, and shows how strong the worlds are"]
fn by_how_many_seeds_each_is_caught() {
    let wanted = std::env::var("MUTANT").ok();
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for mutant in Mutant::ALL {
        if wanted.as_ref().is_some_and(|wanted| *wanted != format!("{mutant:?}")) {
            continue;
        }
        Mutant::set(Some(mutant));
        let by: Vec<u64> = (0..seeds).filter(|seed| noticed(*seed).is_some()).collect();
        Mutant::set(None);
        println!("{mutant:?}: {} of {seeds} seeds, first {:?}", by.len(), by.first());
    }
}

/// One test for each, so that they run side by side and are named when they fail.
macro_rules! mutants {
    ($($name:ident => $mutant:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let (seed, how) = caught(Mutant::$mutant).expect("it is caught");
            println!("{:?} is caught by seed {seed}: {how}", Mutant::$mutant);
        })*

        #[test]
        fn each_mutant_has_its_test() {
            assert_eq!([$(Mutant::$mutant),*], Mutant::ALL);
        }
    };
}

mutants! {
    ack_before_in_sync => AckBeforeInSync,
    ack_before_durable => AckBeforeDurable,
    skip_epoch_check => SkipEpochCheck,
    promote_async => PromoteAsync,
    cut_by_own_commit => CutByOwnCommit,
    drop_replica_early => DropReplicaEarly,
    keep_epoch_at_restart => KeepEpochAtRestart,
    count_unsent_pings => CountUnsentPings,
    lose_history => LoseHistory,
    forget_outcomes => ForgetOutcomes,
    decide_by_timeout => DecideByTimeout,
    unlock_prepared => UnlockPrepared,
    read_without_lease => ReadWithoutLease,
}

#[test]
fn without_a_mutant_all_rules_hold() {
    Mutant::set(None);
    for seed in 0..20 {
        let report = run(setup_of(seed), Shelf::default(), Detail::Nothing, false);
        assert_eq!(report.violations, [], "seed {seed}");
    }
}
