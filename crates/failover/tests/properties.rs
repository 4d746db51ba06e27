//! Whatever is seen in whatever order: no plan does harm, every plan can be finished by another, and once all is well
//! everything is served.

mod world;

use std::time::Duration;

use baton_catalog::Command;
use baton_failover::{pair_of, placement};
use baton_model::{Durability, Incarnation, NodeId, ReplicationMode, StoreId, SyncState};
use baton_policy::Health;
use proptest::prelude::*;

use self::world::{Answers, MASTER, World};

#[derive(Clone, Debug)]
enum Act {
    /// Time passes, and these leaves answer.
    Pong(u64, Vec<usize>),
    Judge(usize, Health),
    /// Another run is there, on its disk or on an empty one, with all that was written or only with what was synced; it
    /// answers with the next pong.
    Restart(usize, bool, bool),
    /// A primary has a replica's state moved.
    State(usize, SyncState),
    Switch(&'static str, bool),
    Policy(Answers),
    NextMaster,
    /// The plan is carried out, all of it or so many commands.
    Plan(Option<usize>),
}

fn act() -> impl Strategy<Value = Act> {
    let leaf = 0_usize..6;
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Suspect), Just(Health::Failed)];
    let state = prop_oneof![Just(SyncState::Async), Just(SyncState::Ready), Just(SyncState::Sync)];
    let switch = prop_oneof![Just("leaf_failure_detection"), Just("auto_attach")];
    let answers = prop_oneof![
        Just(Answers::Well),
        Just(Answers::NotOffered),
        Just(Answers::Nobody),
        Just(Answers::Twice)
    ];
    prop_oneof![
        5 => (0_u64..300, prop::collection::vec(leaf.clone(), 0..6)).prop_map(|(ms, leaves)| Act::Pong(ms, leaves)),
        4 => (leaf.clone(), health).prop_map(|(leaf, health)| Act::Judge(leaf, health)),
        2 => (leaf, prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(leaf, lost, tail)| Act::Restart(leaf, lost, tail)),
        3 => (0_usize..8, state).prop_map(|(partition, state)| Act::State(partition, state)),
        1 => (switch, prop::bool::weighted(0.7)).prop_map(|(name, on)| Act::Switch(name, on)),
        1 => answers.prop_map(Act::Policy),
        1 => Just(Act::NextMaster),
        5 => prop::option::weighted(0.3, 0_usize..4).prop_map(Act::Plan),
    ]
}

struct Life {
    world: World,
    runs: u64,
}

impl Life {
    fn leaf(&self, place: usize) -> NodeId {
        let leaves: Vec<NodeId> = self.world.catalog.leaves().map(|leaf| leaf.id).collect();
        leaves[place % leaves.len()]
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Pong(ms, leaves) => {
                self.world.pass(Duration::from_millis(*ms));
                for place in leaves {
                    self.world.answers(self.leaf(*place));
                }
            }
            Act::Judge(place, health) => self.world.judge(self.leaf(*place), *health, "seen"),
            Act::Restart(place, lost, tail) => {
                self.runs += 1;
                let id = self.leaf(*place);
                let run = self.world.runs.get_mut(&id).expect("every leaf has one");
                run.0 = Incarnation(self.runs);
                if *tail {
                    self.world.lost_tails.insert(id);
                } else {
                    self.world.lost_tails.remove(&id);
                }
                if *lost {
                    run.1 = StoreId(self.runs);
                }
            }
            Act::State(place, state) => {
                let place = place % self.world.catalog.partitions().count();
                let partition =
                    self.world.catalog.partitions().nth(place).expect("there are so many").clone();
                if let Some(replica) = partition.replicas.keys().next() {
                    let _ = self.world.apply(&Command::SetSyncState {
                        partition: partition.id,
                        epoch: partition.epoch,
                        version: partition.version,
                        replica: *replica,
                        state: *state,
                        reason: "asked".into(),
                    });
                }
            }
            Act::Switch(name, on) => self.world.set(name, if *on { "ON" } else { "OFF" }),
            Act::Policy(answers) => self.world.answers = *answers,
            Act::NextMaster => self.world.next_master(),
            Act::Plan(count) => {
                let plan = self.world.plan();
                for command in &plan.commands {
                    self.check(command, &plan.commands);
                }
                let count = count.unwrap_or(usize::MAX).min(plan.commands.len());
                let _ = self.world.apply(&Command::Batch(plan.commands[..count].to_vec()));
            }
        }
    }

    /// That a command of a plan does no harm.
    fn check(&self, command: &Command, plan: &[Command]) {
        let World { catalog, sight, .. } = &self.world;
        let dying = |id: NodeId| {
            plan.iter().any(|other| matches!(other, Command::SetNodeOffline { node, .. } if *node == id))
        };
        let online = |id: NodeId| catalog.node(id).is_some_and(|node| node.is_online()) && !dying(id);
        match command {
            Command::SetNodeOffline { node, .. } => {
                assert!(sight.is_failed(*node) && catalog.switch("leaf_failure_detection"), "{command:?}");
                assert_ne!(*node, MASTER);
            }
            Command::SetNodeOnline { node, incarnation, store, .. } => {
                let answered = sight.nodes[node].answered_as;
                assert!(sight.is_well(*node) && answered == Some((*incarnation, *store)), "{command:?}");
            }
            Command::PromoteInstance { partition, to, .. } => {
                let partition = catalog.partition(*partition).expect("it is there");
                assert_eq!(partition.replicas.get(to), Some(&SyncState::Sync), "S4: {command:?}");
                assert!(!partition.has_able_primary() || !online(partition.primary), "{command:?}");
                assert!(
                    online(*to) && sight.is_well_since_failure_of(*to, partition.primary, false),
                    "{command:?}"
                );
            }
            Command::SetSyncState { partition, replica, state, .. } => {
                let partition = catalog.partition(*partition).expect("it is there");
                assert_eq!(*state, SyncState::Async, "{command:?}");
                assert!(!online(*replica) && online(partition.primary), "{command:?}");
                assert!(sight.is_well_since_failure_of(partition.primary, *replica, false), "{command:?}");
            }
            Command::AddReplica { partition, node, .. } => {
                let partition = catalog.partition(*partition).expect("it is there");
                assert!(partition.replicas.is_empty() && online(*node), "{command:?}");
            }
            Command::NotePartitionOffline { partition, .. } => {
                let partition = catalog.partition(*partition).expect("it is there");
                assert!(!partition.has_able_primary() || !online(partition.primary), "{command:?}");
            }
            other => panic!("no plan does this: {other:?}"),
        }
    }

    /// Everybody answers, the policy is classic, nothing is switched off.
    fn mend(&mut self) {
        self.world.answers = Answers::Well;
        self.world.set("leaf_failure_detection", "ON");
        self.world.set("auto_attach", "ON");
        self.world.pass(Duration::from_secs(1));
        for place in 0..self.world.catalog.leaves().count() {
            self.world.answers(self.leaf(place));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Checklist 3, 7 and 17: nobody is promoted who is not in sync, no copy is dropped, and a plan that was half carried
    /// out is finished by whoever is master aggregator next.
    #[test]
    fn no_plan_does_harm_and_all_is_served_in_the_end(
        (first, second) in (1_u64..3, 0_u64..3),
        redundancy in 1_u64..3,
        partitions in 1_u32..7,
        replication in prop_oneof![3 => Just(ReplicationMode::Sync), 1 => Just(ReplicationMode::Async)],
        durability in prop_oneof![Just(Durability::Sync), Just(Durability::Async)],
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut life = Life { world: World::new(first, second, redundancy), runs: 100 };
        life.world.durability = durability;
        life.world.create(partitions, replication);
        for act in &acts {
            life.act(act);
        }
        if life.world.answers != Answers::Nobody {
            prop_assert_eq!(life.world.check_every_prefix(), Ok(()));
        }
        life.mend();
        prop_assert_eq!(life.world.check_every_prefix(), Ok(()));
        prop_assert!(life.world.settle().is_some(), "there is no end to it");
        for partition in life.world.catalog.partitions() {
            let served = life.world.catalog.serving(partition.id).is_some();
            let lost = partition.primary_lost && partition.promotable().count() == 0;
            prop_assert!(served || lost, "{partition:?}");
        }
    }

    #[test]
    fn every_leaf_gets_its_part(
        (first, second) in (0_u64..5, 0_u64..5),
        redundancy in 1_u64..3,
        partitions in 1_u32..40,
        offline in prop::collection::btree_set(2_u64..11, 0..3),
    ) {
        let mut world = World::new(first, second, redundancy);
        let offline: Vec<NodeId> = offline.into_iter().map(NodeId).collect();
        for id in &offline {
            let node = world.catalog.node(*id).map(|node| node.incarnation);
            if let Some(incarnation) = node {
                let command = Command::SetNodeOffline { node: *id, incarnation, reason: "silent".into() };
                world.apply(&command).expect("it is online");
            }
        }
        let online = world.catalog.leaves().filter(|leaf| leaf.is_online()).count();
        let Ok(placements) = placement(&world.catalog, "db", partitions, redundancy, placer!()) else {
            prop_assert_eq!(online, 0);
            return Ok(());
        };
        prop_assert_eq!(placements.len(), partitions as usize);
        for place in &placements {
            let primary = world.catalog.node(place.primary).expect("it is a leaf");
            prop_assert!(primary.is_online());
            let pair = pair_of(&world.catalog, place.primary).filter(|_| redundancy > 1);
            prop_assert_eq!(place.replicas.first().copied(), pair);
            for replica in &place.replicas {
                let replica = world.catalog.node(*replica).expect("it is a leaf");
                prop_assert_ne!(replica.availability_group, primary.availability_group);
            }
        }
        if first == second && offline.iter().all(|id| world.catalog.node(*id).is_none()) {
            let held = |id| placements.iter().filter(|place| place.primary == id).count();
            let counts: Vec<usize> = world.catalog.leaves().map(|leaf| held(leaf.id)).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
        }
    }
}
