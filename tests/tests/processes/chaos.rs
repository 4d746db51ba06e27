//! Clusters that are hurt in every way while clients of every kind watch: short plans that do not change.
//! `cargo xtask chaos` goes on for hours, with plans drawn from a seed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::chaos::{self, Fault, Plan};
use baton_tests::{disk, network, scenario};

use crate::stage::leave_none;

/// One at a time, whatever the harness does: a machine of two processors has room for one such cluster.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a plan on a cluster of its own, in namespaces that end with the thread that enters them.
fn survives(plan: &Plan, seed: u64) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    leave_none();
    let plan = plan.clone();
    let alone = std::thread::spawn(move || {
        network::enter_own_namespace().unwrap_or_else(|error| panic!("{error:#}"));
        disk::enter_own_mounts().unwrap_or_else(|error| panic!("{error:#}"));
        scenario::run(hurt(plan, seed));
    });
    if let Err(panic) = alone.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn hurt(plan: Plan, seed: u64) -> Result<()> {
    let internet = chaos::internet()?;
    let cluster = chaos::cluster(&internet).await?;
    cluster
        .judged(async || {
            let mut tell = |at: baton_tests::Moment, text: &str| println!("    {at} {text}");
            let report = chaos::round(&cluster, &internet, &plan, seed, &mut tell).await?;
            println!("    {:?}", report.numbers);
            let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
            ensure!(violations.is_empty(), "{}", violations.join("\n"));
            let made: u64 = report.faults.values().sum();
            ensure!(made == plan.steps.len() as u64, "{made} of {} faults were made", plan.steps.len());
            ensure!(report.numbers.acknowledged > 0 && report.numbers.reads > 0, "{:?}", report.numbers);
            Ok(())
        })
        .await
}

#[test]
fn nothing_is_lost_when_nodes_are_killed_and_wake_up_and_an_operator_moves_things() {
    let faults = [
        Fault::KillLeaf,
        Fault::HandOver,
        Fault::SleepLeaf,
        Fault::KillMasterAndLeaf,
        Fault::DetachLeaf,
        Fault::SleepMaster,
    ];
    survives(&Plan::one_by_one(&faults, Duration::from_millis(2500), Duration::from_millis(1500)), 1);
}

#[test]
fn nothing_is_lost_in_netsplits_of_every_kind() {
    let faults = [
        Fault::SplitEven,
        Fault::SplitMinorityPrimary,
        Fault::SplitMute,
        Fault::SplitDeaf,
        Fault::SplitMasterLeaf,
        Fault::SplitPrimaryReplica,
    ];
    survives(&Plan::one_by_one(&faults, Duration::from_millis(3000), Duration::from_millis(1500)), 2);
}

#[test]
fn nothing_is_lost_in_a_power_cut_and_on_a_full_disk_and_while_a_leaf_is_copied_to() {
    let faults = [Fault::PowerCut, Fault::FullDisk, Fault::KillWhileProvisioned];
    survives(&Plan::one_by_one(&faults, Duration::from_millis(2000), Duration::from_millis(2500)), 3);
}
