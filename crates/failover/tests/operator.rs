//! Operators' plans: whatever the cluster looks like they leave it balanced, they may be cut short anywhere, and no
//! copy is given up before there are enough others.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use baton_catalog::{Command, Database, NewStep, PlanAction, PlanKind, PlanStep, StepStatus};
use baton_failover::{
    HeldBack, Next, Returns, Wishes, check, copies_left, may_clear, next, orphans, pair_of, placement,
    rebalance, restore_redundancy,
};
use baton_model::{InstanceRole, NodeId, NodeRole, PartitionId, ReplicationMode, SyncState};
use baton_policy::{Health, NodeEvidence};
use proptest::prelude::*;

use self::world::{Native, World};

/// A plan's end comes within so many turns.
const TURNS: usize = 20_000;

fn database(world: &World) -> Database {
    world.catalog.database("db").expect("it was created").clone()
}

fn wishes(without: &[NodeId]) -> Wishes {
    Wishes { without: without.iter().copied().collect(), full: false }
}

fn plan(world: &World, without: &[NodeId]) -> Vec<NewStep> {
    let database = database(world);
    let steps = rebalance(&world.catalog, &database, &wishes(without), placer!()).expect("it can be done");
    assert_eq!(check(&world.catalog, &database, &wishes(without).without, &steps), Ok(()), "{steps:?}");
    steps
}

fn begin(world: &mut World, kind: PlanKind, without: &[NodeId], steps: &[NewStep]) {
    let database = database(world).id;
    world
        .apply(&Command::StartPlan {
            database,
            kind,
            emptied: wishes(without).without,
            steps: steps.to_vec(),
        })
        .expect("it may begin");
}

/// Copies of a partition that are in sync, on leaves that are online; the primary is one.
fn copies(world: &World, id: PartitionId) -> usize {
    let partition = world.catalog.partition(id).expect("it is there");
    let online = |node: &NodeId| world.catalog.node(*node).is_some_and(|node| node.is_online());
    usize::from(world.catalog.serving(id).is_some()) + partition.in_sync_replicas().filter(online).count()
}

/// One thing is done about the plan that is under way: one command, or one replica that catches up. None once it ended.
fn turn(world: &mut World) -> Option<()> {
    let running = world.catalog.plans().find(|plan| !plan.status.is_over())?.id;
    let open: Vec<PlanStep> =
        world.catalog.plan_steps(running).filter(|step| !step.status.is_over()).cloned().collect();
    let Some(phase) = open.iter().map(|step| step.phase).min() else {
        let (status, details) = (StepStatus::Success, String::new());
        world.apply(&Command::EndPlan { plan: running, status, details }).expect("it was under way");
        return Some(());
    };
    let step = open.iter().find(|step| step.phase == phase).expect("it has the least");
    let commands = match next(&world.catalog, step, &|_, _| true) {
        Next::Done | Next::RemoveData { .. } => vec![Command::NoteStep {
            plan: running,
            step: step.number,
            status: StepStatus::Success,
            details: String::new(),
        }],
        Next::Propose(commands) => commands,
        Next::HandOver { partition, to } => {
            let epoch = world.catalog.partition(partition).expect("it is there").epoch;
            vec![Command::HandOver { partition, epoch, to, reason: "planned".into() }]
        }
        Next::Wait(why) | Next::Stuck(why) => {
            vec![catch_up(world, step.partition).unwrap_or_else(|| panic!("{step:?}: {why}"))]
        }
        Next::Failed(details) => {
            vec![Command::EndPlan { plan: running, status: StepStatus::Failed, details }]
        }
    };
    for command in commands {
        world.apply(&command).unwrap_or_else(|why| panic!("{command:?}: {why}"));
    }
    Some(())
}

/// A replica of the partition rises by one step.
fn catch_up(world: &World, id: PartitionId) -> Option<Command> {
    let partition = world.catalog.partition(id)?;
    let online = |node: &NodeId| world.catalog.node(*node).is_some_and(|node| node.is_online());
    let behind = |(node, state): &(&NodeId, &SyncState)| **state != SyncState::Sync && online(node);
    let (replica, state) = partition.replicas.iter().find(behind)?;
    Some(Command::SetSyncState {
        partition: id,
        epoch: partition.epoch,
        version: partition.version,
        replica: *replica,
        state: if *state == SyncState::Async { SyncState::Ready } else { SyncState::Sync },
        reason: "caught up".into(),
    })
}

/// The plan is carried out; after each turn nothing is worse than it was.
fn carry_out(world: &mut World, without: &[NodeId]) -> StepStatus {
    let groups: BTreeSet<_> = world
        .catalog
        .leaves()
        .filter(|leaf| leaf.is_online() && !without.contains(&leaf.id))
        .map(|leaf| leaf.availability_group)
        .collect();
    let level = usize::try_from(world.catalog.number("redundancy_level")).expect("it is 1 or 2");
    let wanted = level.min(groups.len());
    let ids: Vec<PartitionId> = world.catalog.partitions().map(|partition| partition.id).collect();
    let mut before: Vec<usize> = ids.iter().map(|id| copies(world, *id)).collect();
    for _ in 0..TURNS {
        if turn(world).is_none() {
            return world.catalog.plan_of(database(world).id).expect("there was one").status;
        }
        for (id, before) in ids.iter().zip(&mut before) {
            let now = copies(world, *id);
            assert!(now >= wanted.min(*before), "S7: {id} has {now} copies, and had {before}");
            assert!(world.catalog.serving(*id).is_some(), "{id} is not served");
            *before = now;
        }
    }
    panic!("there is no end to it");
}

fn roles(world: &World) -> Vec<(NodeId, BTreeSet<NodeId>)> {
    world.catalog.partitions().map(|p| (p.primary, p.replicas.keys().copied().collect())).collect()
}

/// Carried out as far as any of its turns, then gone on with by another master aggregator; or given up there, and planned
/// anew.
fn check_every_prefix(world: &World, steps: &[NewStep], without: &[NodeId]) {
    let mut whole = world.clone();
    begin(&mut whole, PlanKind::Rebalance, without, steps);
    assert_eq!(carry_out(&mut whole, without), StepStatus::Success);
    let mut so_far = world.clone();
    begin(&mut so_far, PlanKind::Rebalance, without, steps);
    for count in 0.. {
        let mut resumed = so_far.clone();
        assert_eq!(carry_out(&mut resumed, without), StepStatus::Success);
        assert_eq!(roles(&resumed), roles(&whole), "after {count} turns");
        let mut anew = so_far.clone();
        let running = anew.catalog.plans().find(|plan| !plan.status.is_over()).map(|plan| plan.id);
        if let Some(running) = running {
            let (status, details) = (StepStatus::Cancelled, String::new());
            anew.apply(&Command::EndPlan { plan: running, status, details }).expect("it was under way");
        }
        let again = plan(&anew, without);
        if !again.is_empty() {
            begin(&mut anew, PlanKind::Rebalance, without, &again);
            assert_eq!(carry_out(&mut anew, without), StepStatus::Success);
        }
        assert_eq!(plan(&anew, without), vec![], "after {count} turns");
        assert_balanced(&anew, without);
        if turn(&mut so_far).is_none() {
            return;
        }
    }
}

/// Every partition has its copies in different groups, and no leaf has two primaries more than another one, if both
/// groups are alike.
fn assert_balanced(world: &World, without: &[NodeId]) {
    let leaves: Vec<_> =
        world.catalog.leaves().filter(|leaf| leaf.is_online() && !without.contains(&leaf.id)).collect();
    let of_group = |group| leaves.iter().filter(|leaf| leaf.availability_group == Some(group)).count();
    let redundant = world.catalog.number("redundancy_level") > 1 && of_group(1) > 0 && of_group(2) > 0;
    let spread =
        world.catalog.variable("leaf_failover_fanout").is_some_and(|fanout| fanout == "load_balanced");
    let mut primaries: BTreeMap<NodeId, usize> = leaves.iter().map(|leaf| (leaf.id, 0)).collect();
    let mut instances = primaries.clone();
    for partition in world.catalog.partitions() {
        let groups: BTreeSet<_> = partition
            .instances()
            .map(|leaf| world.catalog.node(leaf).expect("it is a leaf").availability_group)
            .collect();
        assert_eq!(partition.instances().count(), if redundant { 2 } else { 1 }, "{partition:?}");
        if redundant {
            assert_eq!(groups.len(), 2, "{partition:?}");
            if !spread && without.is_empty() {
                let pair = pair_of(&world.catalog, partition.primary);
                assert_eq!(partition.replicas.keys().next().copied(), pair, "{partition:?}");
            }
        }
        *primaries.get_mut(&partition.primary).expect("it may hold some") += 1;
        for leaf in partition.instances() {
            *instances.get_mut(&leaf).expect("it may hold some") += 1;
        }
    }
    if !redundant || of_group(1) == of_group(2) {
        assert_within_one("primaries", &primaries);
        assert_within_one("instances", &instances);
    }
}

fn assert_within_one(what: &str, counts: &BTreeMap<NodeId, usize>) {
    let (least, most) = (counts.values().min(), counts.values().max());
    assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{what} {counts:?}");
}

fn failed(world: &mut World, id: NodeId) {
    let incarnation = world.catalog.node(id).expect("it is a leaf").incarnation;
    let command = Command::SetNodeOffline { node: id, incarnation, reason: "silent".into() };
    world.apply(&command).expect("it was online");
    // The observer learns of it now.
    world.problems();
}

#[test]
fn a_new_database_needs_no_plan_whatever_the_cluster_looks_like() {
    for fanout in ["paired", "load_balanced"] {
        for redundancy in 1..=2 {
            for (first, second) in (1..6).flat_map(|first| (0..6).map(move |second| (first, second))) {
                for partitions in [1, 2, 3, 5, 8, 16, 25, 40] {
                    let mut world = World::new(first, second, redundancy);
                    world.set("leaf_failover_fanout", fanout);
                    world.create(partitions, ReplicationMode::Sync);
                    assert_eq!(
                        plan(&world, &[]),
                        vec![],
                        "{fanout} {redundancy} {first}+{second} {partitions}"
                    );
                    assert_balanced(&world, &[]);
                }
            }
        }
    }
}

#[test]
fn what_a_leaf_serves_is_copied_by_all_leaves_of_the_other_group() {
    for (leaves, partitions) in [(2, 8), (2, 16), (3, 18), (4, 32), (4, 64)] {
        let mut world = World::new(leaves, leaves, 2);
        world.set("leaf_failover_fanout", "load_balanced");
        world.create(partitions, ReplicationMode::Sync);
        let mut heirs: BTreeMap<(NodeId, NodeId), usize> = BTreeMap::new();
        for partition in world.catalog.partitions() {
            let replica = partition.replicas.keys().next().expect("it has one");
            *heirs.entry((partition.primary, *replica)).or_default() += 1;
        }
        for leaf in world.catalog.leaves() {
            let of: Vec<_> = heirs.iter().filter(|((primary, _), _)| *primary == leaf.id).collect();
            assert_eq!(of.len() as u64, leaves, "{leaves} leaves a group: {of:?}");
            let counts: BTreeMap<NodeId, usize> = of.iter().map(|((_, to), count)| (*to, **count)).collect();
            assert_within_one("heirs", &counts);
        }
    }
}

#[test]
fn a_new_pair_of_leaves_gets_its_part_and_no_more_is_moved() {
    let mut world = World::new(2, 2, 2);
    world.create(12, ReplicationMode::Sync);
    world.add_leaf(1);
    world.add_leaf(2);
    let steps = plan(&world, &[]);
    let count = |action| steps.iter().filter(|step| step.action == action).count();
    assert_eq!(count(PlanAction::Copy), 8, "four partitions, two copies each: {steps:?}");
    assert_eq!(count(PlanAction::PromoteWithDrop), 4);
    assert_eq!(count(PlanAction::Drop), 4);
    check_every_prefix(&world, &steps, &[]);
}

#[test]
fn primaries_go_back_after_a_failover_and_nothing_is_copied() {
    let mut world = World::new(2, 2, 2);
    world.create(8, ReplicationMode::Sync);
    let leaf = NodeId(2);
    let ids: Vec<_> = world.catalog.partitions().filter(|p| p.primary == leaf).map(|p| p.id).collect();
    for id in ids {
        let partition = world.catalog.partition(id).expect("it is there").clone();
        let to = *partition.replicas.keys().next().expect("it has one");
        let (epoch, reason) = (partition.epoch, "its leaf failed".into());
        world.apply(&Command::PromoteInstance { partition: id, epoch, to, reason }).expect("it is in sync");
    }
    let steps = plan(&world, &[]);
    assert!(
        !steps.is_empty() && steps.iter().all(|s| s.action == PlanAction::PromoteWithRepoint),
        "{steps:?}"
    );
    check_every_prefix(&world, &steps, &[]);
}

#[test]
fn a_leaf_is_emptied() {
    for redundancy in 1..=2 {
        let mut world = World::new(3, 3, redundancy);
        world.create(9, ReplicationMode::Sync);
        let leaf = NodeId(3);
        let steps = plan(&world, &[leaf]);
        check_every_prefix(&world, &steps, &[leaf]);
        begin(&mut world, PlanKind::RemoveLeaf, &[leaf], &steps);
        assert_eq!(carry_out(&mut world, &[leaf]), StepStatus::Success);
        assert!(world.catalog.partitions().all(|partition| partition.role_of(leaf).is_none()));
        world.apply(&Command::RemoveLeaf { node: leaf, force: false }).expect("nothing is on it");
    }
}

/// As after `REBALANCE PARTITIONS … FORCE` with a leaf away.
#[test]
fn nothing_is_balanced_while_no_pair_is_whole() {
    let mut world = World::new(1, 1, 2);
    world.create(1, ReplicationMode::Sync);
    let partition = world.catalog.partitions().next().expect("there is one").clone();
    let (primary, replica) = (partition.primary, *partition.replicas.keys().next().expect("it has one"));
    world
        .apply(&Command::SetSyncState {
            partition: partition.id,
            epoch: partition.epoch,
            version: partition.version,
            replica,
            state: SyncState::Async,
            reason: "test".into(),
        })
        .expect("its primary serves");
    failed(&mut world, primary);
    let (id, epoch, loss) = (partition.id, partition.epoch, "test".into());
    world
        .apply(&Command::ForcePrimary { partition: id, epoch, to: replica, loss })
        .expect("nobody else could serve");
    assert_eq!(plan(&world, &[]), vec![]);
}

/// The supervisor leaves alone what a plan has to do with, also between the plan's end and the removal of the leaf.
#[test]
fn the_only_leaf_of_its_group_is_emptied_and_stays_empty() {
    let mut world = World::new(1, 1, 2);
    world.create(3, ReplicationMode::Sync);
    let leaf = NodeId(3);
    let steps = plan(&world, &[leaf]);
    begin(&mut world, PlanKind::RemoveLeaf, &[leaf], &steps);
    for _ in 0..100 {
        if turn(&mut world).is_none() {
            break;
        }
        world.settle().expect("it comes to an end");
    }
    assert_eq!(
        world.catalog.plan_of(database(&world).id).expect("there was one").status,
        StepStatus::Success
    );
    world.settle().expect("it comes to an end");
    world.apply(&Command::RemoveLeaf { node: leaf, force: false }).expect("nothing is on it");
}

#[test]
fn a_dead_leaf_is_emptied_without_it() {
    let mut world = World::new(2, 2, 2);
    world.create(8, ReplicationMode::Sync);
    let dead = NodeId(2);
    failed(&mut world, dead);
    world.judge(dead, Health::Failed, "silent");
    world.pass(std::time::Duration::from_millis(150));
    for leaf in [3, 4, 5].map(NodeId) {
        world.answers(leaf);
    }
    world.settle().expect("it comes to an end");
    let steps = plan(&world, &[dead]);
    begin(&mut world, PlanKind::RemoveLeaf, &[dead], &steps);
    assert_eq!(carry_out(&mut world, &[dead]), StepStatus::Success);
    assert!(world.catalog.partitions().all(|p| p.role_of(dead).is_none() && copies(&world, p.id) == 2));
}

#[test]
fn what_has_one_copy_gets_a_second_one_and_nothing_is_moved() {
    for fanout in ["paired", "load_balanced"] {
        let mut world = World::new(2, 2, 2);
        world.set("leaf_failover_fanout", fanout);
        world.create(8, ReplicationMode::Sync);
        let database = database(&world);
        assert_eq!(restore_redundancy(&world.catalog, &database, &BTreeSet::new()), vec![]);
        failed(&mut world, NodeId(4));
        world.judge(NodeId(4), Health::Failed, "silent");
        world.pass(std::time::Duration::from_millis(150));
        for leaf in [2, 3, 5].map(NodeId) {
            world.answers(leaf);
        }
        world.settle().expect("it comes to an end");
        let steps = restore_redundancy(&world.catalog, &database, &BTreeSet::new());
        assert_eq!(check(&world.catalog, &database, &BTreeSet::new(), &steps), Ok(()));
        assert_eq!(steps.len(), 4, "{steps:?}");
        assert!(
            steps.iter().all(|step| step.action == PlanAction::Copy && step.target == NodeId(5)),
            "{steps:?}"
        );
        begin(&mut world, PlanKind::RestoreRedundancy, &[], &steps);
        assert_eq!(carry_out(&mut world, &[]), StepStatus::Success);
        assert!(world.catalog.partitions().all(|partition| copies(&world, partition.id) == 2));
    }
}

#[test]
fn a_database_whose_replicas_are_never_in_sync_keeps_its_primaries() {
    let mut world = World::new(2, 2, 2);
    world.create(4, ReplicationMode::Async);
    world.add_leaf(1);
    world.add_leaf(2);
    assert_eq!(plan(&world, &[]), vec![]);
    let stuck = rebalance(&world.catalog, &database(&world), &wishes(&[NodeId(2)]), placer!());
    assert!(stuck.is_err_and(|why| why.to_string().contains("ASYNC REPLICATION")));
}

#[test]
fn other_databases_count_if_they_are_to() {
    let mut world = World::new(3, 3, 2);
    world.create(1, ReplicationMode::Sync);
    let places = placement(&world.catalog, "aa", 1, 2, placer!()).expect("there are leaves");
    let (name, if_not_exists) = ("aa".into(), false);
    let (replication, durability) = (ReplicationMode::Sync, baton_model::Durability::Sync);
    let create = Command::CreateDatabase { name, if_not_exists, replication, durability, placements: places };
    world.apply(&create).expect("there is none yet");
    assert_eq!(plan(&world, &[]), vec![], "each by itself is as even as can be");
    let full = Wishes { full: true, ..Wishes::default() };
    let steps = rebalance(&world.catalog, &database(&world), &full, placer!()).expect("it can be done");
    assert!(!steps.is_empty(), "one of the two goes elsewhere");
}

#[test]
fn a_plan_that_would_give_up_a_copy_is_not_begun() {
    let mut world = World::new(2, 2, 2);
    world.create(1, ReplicationMode::Sync);
    let database = database(&world);
    let partition = world.catalog.partitions().next().expect("it is there").clone();
    let replica = *partition.replicas.keys().next().expect("it has one");
    let step = |action, target, from, phase| NewStep { action, ordinal: 0, target, from, phase };
    let spare = NodeId(3);
    for (steps, why) in [
        (vec![step(PlanAction::Drop, replica, None, 3)], "too few copies are left"),
        (vec![step(PlanAction::Drop, partition.primary, None, 3)], "it is the primary"),
        (vec![step(PlanAction::Drop, spare, None, 3)], "there is no instance of it"),
        (vec![step(PlanAction::Copy, replica, None, 1)], "there is an instance of it already"),
        (vec![step(PlanAction::Copy, NodeId(1), None, 1)], "its target is no leaf"),
        (
            vec![step(PlanAction::PromoteWithDrop, replica, Some(partition.primary), 2)],
            "too few copies are left",
        ),
        (
            vec![step(PlanAction::PromoteWithRepoint, replica, Some(spare), 2)],
            "it is not between its primary and a replica",
        ),
        (
            vec![step(PlanAction::Copy, spare, None, 2), step(PlanAction::Drop, replica, None, 1)],
            "its phase is over",
        ),
    ] {
        let refused = check(&world.catalog, &database, &BTreeSet::new(), &steps);
        assert!(refused.as_ref().is_err_and(|text| text.contains(why)), "{steps:?}: {refused:?}");
    }
    // Whatever was planned: the catalog itself gives no copy up.
    let copies_left = copies_left(&world.catalog, &database, &BTreeSet::new(), replica);
    let (partition, reason) = (partition.id, "planned".into());
    assert!(world.apply(&Command::DropReplica { partition, node: replica, copies_left, reason }).is_err());
}

#[test]
fn a_step_waits_for_what_is_not_in_sync_and_ends_when_it_cannot_be_done() {
    let mut world = World::new(1, 1, 2);
    world.create(2, ReplicationMode::Sync);
    let partition = world.catalog.partitions().next().expect("it is there").clone();
    let replica = *partition.replicas.keys().next().expect("it has one");
    let step = PlanStep {
        plan: 1,
        number: 0,
        action: PlanAction::PromoteWithRepoint,
        partition: partition.id,
        target: replica,
        from: Some(partition.primary),
        phase: 2,
        status: StepStatus::Scheduled,
        details: String::new(),
        started_ms: None,
        ended_ms: None,
    };
    let drop = PlanStep { action: PlanAction::Drop, from: None, ..step.clone() };
    let now = |world: &World, step: &PlanStep| next(&world.catalog, step, &|_, _| false);
    assert_eq!(now(&world, &step), Next::HandOver { partition: partition.id, to: replica });
    let (epoch, version, state) = (partition.epoch, partition.version, SyncState::Async);
    let reason = "slow".into();
    world
        .apply(&Command::SetSyncState { partition: partition.id, epoch, version, replica, state, reason })
        .expect("the primary may ask for it");
    assert!(matches!(now(&world, &step), Next::Wait(_)), "S4");
    failed(&mut world, replica);
    assert!(matches!(now(&world, &step), Next::Failed(_)));
    failed(&mut world, partition.primary);
    assert!(matches!(now(&world, &drop), Next::Stuck(_)), "S7: nobody serves it");
    world.apply(&Command::DropDatabase { name: "db".into(), if_exists: false }).expect("it is there");
    assert!(matches!(now(&world, &step), Next::Failed(_)));
}

/// A leaf is emptied of the replicas of a database with ASYNC REPLICATION while the one that could take them is away. Then
/// that one is back, and the database is altered to SYNC: a second copy is wanted, and this plan makes none.
#[test]
fn a_copy_is_not_given_up_once_another_one_is_wanted() {
    let mut world = World::new(1, 2, 2);
    world.create(1, ReplicationMode::Async);
    let partition = world.catalog.partitions().next().expect("there is one").clone();
    let holder = *partition.replicas.keys().next().expect("it has a replica");
    let third = world.catalog.leaves().map(|leaf| leaf.id).find(|leaf| partition.role_of(*leaf).is_none());
    let third = third.expect("there are three leaves");
    failed(&mut world, third);
    let steps = plan(&world, &[holder]);
    assert!(matches!(steps.as_slice(), [NewStep { action: PlanAction::Drop, .. }]), "{steps:?}");
    begin(&mut world, PlanKind::RemoveLeaf, &[holder], &steps);
    let step = world.catalog.plan_steps(1).next().expect("it has a step").clone();
    world.pass(std::time::Duration::from_secs(1));
    world.answers(third);
    world.settle().expect("it is attached");
    let now = |world: &World| next(&world.catalog, &step, &|_, _| false);
    assert!(matches!(now(&world), Next::Propose(_)));
    let (name, replication, durability) = ("db".into(), Some(ReplicationMode::Sync), None);
    world.apply(&Command::AlterDatabase { name, replication, durability }).expect("it is served");
    assert!(matches!(now(&world), Next::Stuck(_)), "{:?}", now(&world));
}

/// Whoever waits for what never comes keeps every other plan of the database from beginning.
#[test]
fn a_primary_is_not_to_move_any_more_once_its_replicas_are_never_in_sync() {
    let mut world = World::new(1, 1, 2);
    world.create(2, ReplicationMode::Sync);
    let partition = world.catalog.partitions().next().expect("it is there").clone();
    let target = *partition.replicas.keys().next().expect("it has one");
    let (action, from) = (PlanAction::PromoteWithRepoint, Some(partition.primary));
    let step = NewStep { action, ordinal: partition.id.ordinal, target, from, phase: 2 };
    begin(&mut world, PlanKind::Rebalance, &[], &[step]);
    let replication = Some(ReplicationMode::Async);
    world
        .apply(&Command::AlterDatabase { name: "db".into(), replication, durability: None })
        .expect("it is served");
    let plan = world.catalog.plans().next().expect("it goes on").id;
    let step = world.catalog.plan_steps(plan).next().expect("it has one");
    assert!(matches!(next(&world.catalog, step, &|_, _| true), Next::Failed(_)));
}

#[test]
fn an_orphan_stays_while_its_partition_has_no_primary() {
    let mut world = World::new(2, 2, 2);
    world.create(1, ReplicationMode::Sync);
    let partition = world.catalog.partitions().next().expect("it is there").clone();
    let gone = PartitionId { database: baton_model::DatabaseId(99), ordinal: 0 };
    let spare = NodeId(3);
    let held = [(partition.primary, partition.id), (spare, partition.id), (spare, gone)];
    assert_eq!(orphans(&world.catalog, held), vec![(spare, partition.id)]);
    assert!(may_clear(&world.catalog, spare, partition.id));
    assert!(!may_clear(&world.catalog, partition.primary, partition.id));
    failed(&mut world, partition.primary);
    assert!(!may_clear(&world.catalog, spare, partition.id), "S7");
}

#[test]
fn a_leaf_that_fails_again_and_again_is_used_later_and_later_unless_it_is_needed() {
    let second = std::time::Duration::from_secs(1);
    let mut world = World::new(1, 1, 2);
    world.create(1, ReplicationMode::Sync);
    let primary = world.catalog.partitions().next().expect("it is there").primary;
    let leaf = if primary == NodeId(2) { NodeId(3) } else { NodeId(2) };
    failed(&mut world, leaf);
    for (flaps, seconds) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (7, 30), (60, 30)] {
        let mut returns = Returns::default();
        world.answers(leaf);
        world.sight.nodes.get_mut(&leaf).expect("it is seen").flaps_last_hour = flaps;
        let held = held_back(&mut returns, &world);
        let left = held.get(&leaf).and_then(|held| held.left).unwrap_or_default();
        assert_eq!(left, second * seconds, "{flaps}");
        world.pass(second * seconds);
        world.answers(leaf);
        assert!(held_back(&mut returns, &world).is_empty(), "{flaps}");
    }
    let mut returns = Returns::default();
    assert!(!held_back(&mut returns, &world).is_empty());
    failed(&mut world, primary);
    assert!(held_back(&mut returns, &world).is_empty(), "nobody else can serve");
}

/// A policy that calls everybody failed stops no cluster (S8).
#[test]
fn a_leaf_that_answers_is_not_given_up_where_nobody_else_could_serve() {
    let mut world = World::new(1, 1, 2);
    world.create(2, ReplicationMode::Sync);
    let (first, second) = (NodeId(2), NodeId(3));
    for leaf in [first, second] {
        world.answers(leaf);
    }
    let judge = |world: &mut World, leaf: NodeId, health: Health, is_heard: bool| {
        let seen = world.sight.nodes.get_mut(&leaf).expect("it is seen");
        (seen.health, seen.is_heard) = (health, is_heard);
    };
    let spared = |world: &World| {
        let mut sight = world.sight.clone();
        sight.spare(&world.catalog);
        [first, second].map(|leaf| sight.is_well(leaf))
    };
    judge(&mut world, first, Health::Failed, true);
    assert_eq!(spared(&world), [false, true], "its pair takes over");
    judge(&mut world, second, Health::Failed, true);
    assert_eq!(spared(&world), [true, true], "nothing would serve");
    judge(&mut world, second, Health::Failed, false);
    assert_eq!(spared(&world), [true, false], "who does not answer has failed");
    judge(&mut world, second, Health::Healthy, true);
    judge(&mut world, first, Health::Suspect, true);
    failed(&mut world, second);
    judge(&mut world, second, Health::Failed, false);
    assert_eq!(spared(&world), [true, false], "whom nobody else can replace takes over, suspect or not");
}

/// Where its pair can take over anything, a leaf that its policy gives up is given up: nothing that hangs on it waits for
/// the one partition that nobody can take over.
#[test]
fn a_leaf_is_not_spared_for_one_partition_that_nobody_can_take_over() {
    let mut world = World::new(1, 1, 2);
    world.create(4, ReplicationMode::Sync);
    let (first, second) = (NodeId(2), NodeId(3));
    for leaf in [first, second] {
        world.answers(leaf);
    }
    let alone = world.catalog.partitions().find(|p| p.primary == first).expect("it has some").clone();
    let lost = Command::SetSyncState {
        partition: alone.id,
        epoch: alone.epoch,
        version: alone.version,
        replica: second,
        state: SyncState::Async,
        reason: "it lags".into(),
    };
    world.apply(&lost).expect("it can be");
    let seen = world.sight.nodes.get_mut(&first).expect("it is seen");
    (seen.health, seen.is_heard) = (Health::Failed, true);
    world.sight.spare(&world.catalog);
    assert!(world.sight.is_failed(first));
}

/// Two leaves die together, and the one that comes back is held back: the other one, which is not missed yet, is not
/// promoted on the strength of what it said before.
#[test]
fn whoever_was_not_heard_since_a_leaf_was_given_up_does_not_take_over_from_it() {
    let mut world = World::new(1, 1, 2);
    world.create(1, ReplicationMode::Sync);
    let primary = world.catalog.partitions().next().expect("it is there").primary;
    let replica = if primary == NodeId(2) { NodeId(3) } else { NodeId(2) };
    let held = |world: &mut World| {
        let why = HeldBack { left: None, reason: "never (chaos)".into() };
        world.sight.held_back.insert(primary, why);
    };
    world.answers(primary);
    world.answers(replica);
    failed(&mut world, primary);
    world.problems();
    // It answers again, and is not used.
    world.pass(std::time::Duration::from_secs(1));
    world.answers(primary);
    held(&mut world);
    assert_eq!(world.problems(), vec![], "nobody knows whether the other one lives");
    world.answers(replica);
    held(&mut world);
    assert!(!world.problems().is_empty(), "it lives");
}

/// What classic holds back.
fn held_back(returns: &mut Returns, world: &World) -> BTreeMap<NodeId, HeldBack> {
    let of = |node: NodeId| {
        let flaps_last_hour = world.sight.nodes.get(&node)?.flaps_last_hour;
        Some(NodeEvidence { flaps_last_hour, ..NodeEvidence::answering(node.0, NodeRole::Leaf) })
    };
    returns.look(&world.catalog, &world.sight, &of, &mut Native)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// From any placement to a balanced one, cut short anywhere.
    #[test]
    fn every_plan_can_be_cut_short_anywhere(
        (first, second) in (1_u64..4, 0_u64..4),
        (redundancy, partitions) in (1_u64..3, 1_u32..7),
        (fanout, then) in (any::<bool>(), any::<bool>()),
        (more_first, more_second) in (0_u64..2, 0_u64..2),
        moved in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        emptied in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut world = World::new(first, second, redundancy);
        let name = |spread| if spread { "load_balanced" } else { "paired" };
        world.set("leaf_failover_fanout", name(fanout));
        world.create(partitions, ReplicationMode::Sync);
        for group in (0..more_first).map(|_| 1).chain((0..more_second).map(|_| 2)) {
            world.add_leaf(group);
        }
        world.set("leaf_failover_fanout", name(then));
        for which in moved {
            let ids: Vec<_> = world.catalog.partitions().map(|p| (p.id, p.epoch)).collect();
            let (partition, epoch) = ids[which.index(ids.len())];
            let heir = world.catalog.partition(partition).and_then(|p| p.promotable().next());
            if let Some(to) = heir {
                let reason = "test".into();
                world.apply(&Command::HandOver { partition, epoch, to, reason }).expect("it is in sync");
            }
        }
        let leaves: Vec<NodeId> = world.catalog.leaves().map(|leaf| leaf.id).collect();
        let without: Vec<NodeId> =
            emptied.filter(|_| leaves.len() > 1).map(|which| leaves[which.index(leaves.len())]).into_iter().collect();
        let steps = plan(&world, &without);
        if steps.is_empty() {
            assert_balanced(&world, &without);
        } else {
            check_every_prefix(&world, &steps, &without);
        }
    }

    /// Leaves fail and come back while a plan is under way: it ends, and nothing is lost by it.
    #[test]
    fn a_plan_ends_whatever_fails_meanwhile(
        partitions in 1_u32..7,
        failures in prop::collection::vec((0_usize..40, 0_usize..6), 1..4),
    ) {
        let mut world = World::new(2, 2, 2);
        world.create(partitions, ReplicationMode::Sync);
        world.add_leaf(1);
        world.add_leaf(2);
        let steps = plan(&world, &[]);
        if !steps.is_empty() {
            begin(&mut world, PlanKind::Rebalance, &[], &steps);
        }
        let leaves: Vec<NodeId> = world.catalog.leaves().map(|leaf| leaf.id).collect();
        for (turns, which) in failures {
            for _ in 0..turns {
                if turn(&mut world).is_none() {
                    break;
                }
            }
            let leaf = leaves[which];
            failed(&mut world, leaf);
            world.judge(leaf, Health::Failed, "silent");
            world.pass(std::time::Duration::from_millis(150));
            for other in leaves.iter().filter(|other| **other != leaf) {
                world.answers(*other);
            }
            prop_assert!(world.settle().is_some());
            world.answers(leaf);
            prop_assert!(world.settle().is_some());
            for partition in world.catalog.partitions() {
                prop_assert!(world.catalog.serving(partition.id).is_some(), "{partition:?}");
            }
        }
        for _ in 0..TURNS {
            if turn(&mut world).is_none() {
                break;
            }
        }
        prop_assert!(world.catalog.plans().all(|plan| plan.status.is_over()));
        for partition in world.catalog.partitions() {
            let role = partition.role_of(partition.primary);
            prop_assert_eq!(role, Some(InstanceRole::Primary));
            prop_assert!(partition.instances().count() >= 2, "{:?}", partition);
        }
        while let Some(command) = world.catalog.partitions().map(|p| p.id).collect::<Vec<_>>().into_iter().find_map(|id| catch_up(&world, id)) {
            world.apply(&command).expect("it may rise");
        }
        let again = plan(&world, &[]);
        if !again.is_empty() {
            begin(&mut world, PlanKind::Rebalance, &[], &again);
            prop_assert_eq!(carry_out(&mut world, &[]), StepStatus::Success);
        }
        assert_balanced(&world, &[]);
    }
}
