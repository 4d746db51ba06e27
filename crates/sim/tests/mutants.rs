//! Every broken rule is caught, or the simulator proves nothing. Run by `cargo xtask test`, in a build of its own.
#![cfg(feature = "mutants")]

use baton_model::mutant::Mutant;
use baton_sim::policies::Shelf;
use baton_sim::run::{noticed, run, setup_of};
use baton_sim::story::Detail;

/// A mutant is caught within so many seeds.
const SEEDS: u64 = 200;

/// The first seed that catches it, and how.
fn caught(mutant: Mutant) -> Option<(u64, String)> {
    Mutant::set(Some(mutant));
    let found = (0..SEEDS).find_map(|seed| Some((seed, noticed(seed)?)));
    Mutant::set(None);
    found
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
    ignore_lost_tail => IgnoreLostTail,
    read_past_prepared => ReadPastPrepared,
}

#[test]
fn without_a_mutant_all_rules_hold() {
    Mutant::set(None);
    for seed in 0..20 {
        let report = run(setup_of(seed), Shelf::default(), Detail::Nothing, false);
        assert_eq!(report.violations, [], "seed {seed}");
    }
}
