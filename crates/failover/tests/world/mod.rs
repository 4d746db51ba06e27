//! A catalog, and what the master aggregator, n1, sees of its nodes.

#![allow(dead_code, reason = "scripts and properties each use a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, NewNode, Outcome};
use baton_failover::{Answer, Ask, Learned, NodeSight, Placer, Plan, Problem, Sight, placement, problems};
use baton_model::{
    AggregatorRole, CatalogIndex, ClusterId, Durability, Incarnation, Instant, NodeId, NodeRole,
    ReplicationMode, StoreId,
};
use baton_policy::{Classic, Health, Policy, PromotionInput, PromotionVerdict, Question};

/// The master aggregator.
pub const MASTER: NodeId = NodeId(1);

/// How the `promotion` policy answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Answers {
    /// As classic does.
    #[default]
    Well,
    /// With leaves that were not offered, and only then with those that were.
    NotOffered,
    /// With nobody.
    Nobody,
    /// With the first candidate many times.
    Twice,
}

impl Ask<PromotionInput> for Answers {
    fn ask(&mut self, input: PromotionInput) -> Answer<PromotionVerdict> {
        let mut verdict = Classic.promote(&input);
        verdict.ranking = match self {
            Self::Well => verdict.ranking,
            Self::NotOffered => [input.failed_primary, 1, 99].into_iter().chain(verdict.ranking).collect(),
            Self::Nobody => vec![],
            Self::Twice => vec![verdict.ranking[0]; 3],
        };
        Answer { verdict, policy: "classic".into() }
    }
}

/// Classic, whatever it is asked.
pub struct Native;

impl<Q: Question> Ask<Q> for Native {
    fn ask(&mut self, question: Q) -> Answer<Q::Verdict> {
        Answer { verdict: question.answer_of(&Classic), policy: "classic".into() }
    }
}

/// Classic shares partitions out, and nothing is known of the leaves.
#[macro_export]
macro_rules! placer {
    () => {
        &mut baton_failover::Placer {
            sight: &baton_failover::Sight::default(),
            policy: &mut $crate::world::Native,
        }
    };
}

#[derive(Clone)]
pub struct World {
    pub catalog: Catalog,
    pub sight: Sight,
    /// Which run of a node's process, on which disk, is there to answer; the catalog may know another.
    pub runs: BTreeMap<NodeId, (Incarnation, StoreId)>,
    /// The nodes whose machines went down under the run before.
    pub lost_tails: BTreeSet<NodeId>,
    /// The partitions that were said to be offline.
    pub noted: BTreeSet<baton_model::PartitionId>,
    learned: Learned,
    pub answers: Answers,
    /// Of the next database.
    pub durability: Durability,
}

impl World {
    /// So many leaves in each of the two availability groups, all well: n2 and up, first group first.
    pub fn new(first: u64, second: u64, redundancy: u64) -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            sight: Sight { now: Instant::from_millis(1_000), ..Sight::default() },
            runs: BTreeMap::new(),
            lost_tails: BTreeSet::new(),
            noted: BTreeSet::new(),
            learned: Learned::default(),
            answers: Answers::Well,
            durability: Durability::Sync,
        };
        let node = new_node(1, NodeRole::Aggregator, 1);
        let (policies, bindings) = (vec![], vec![]);
        let found = Command::FoundCluster { cluster: ClusterId(1), node, policies, bindings };
        world.apply(&found).expect("it is the first");
        for _ in 0..first {
            world.add_leaf(1);
        }
        for _ in 0..second {
            world.add_leaf(2);
        }
        world.set("redundancy_level", &redundancy.to_string());
        world
    }

    pub fn add_leaf(&mut self, group: u32) {
        let id = NodeId(self.catalog.nodes().count() as u64 + 1);
        self.apply(&Command::AddNode(new_node(id.0, NodeRole::Leaf, group))).expect("its port is free");
        self.runs.insert(id, (Incarnation(1), StoreId(1)));
        self.sight.nodes.insert(id, unseen());
        self.answers(id);
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.apply(&Command::SetVariable { name: name.into(), value: value.into() })
            .expect("it is a variable");
    }

    pub fn create(&mut self, partitions: u32, replication: ReplicationMode) {
        let redundancy = self.catalog.number("redundancy_level");
        let mut placer = Placer { sight: &self.sight, policy: &mut Native };
        let placements = placement(&self.catalog, "db", partitions, redundancy, &mut placer);
        let placements = placements.expect("there is a leaf");
        let create = Command::CreateDatabase {
            name: "db".into(),
            if_not_exists: false,
            replication,
            durability: self.durability,
            placements,
        };
        self.apply(&create).expect("there is none yet");
    }

    pub fn apply(&mut self, command: &Command) -> Outcome {
        let index = CatalogIndex(self.catalog.index().0 + 1);
        self.catalog.apply(index, &Entry { statement: None, at_ms: 0, command: command.clone() }).outcome
    }

    /// A node answers now, and is judged healthy.
    pub fn answers(&mut self, id: NodeId) {
        let run = self.runs.get(&id).copied();
        if let Some(seen) = self.sight.nodes.get_mut(&id) {
            seen.health = Health::Healthy;
            seen.failed_at = None;
            seen.last_pong = Some(self.sight.now);
            seen.answered_as = run;
            seen.lost_tail = self.lost_tails.contains(&id);
            seen.asked_at = Some(self.sight.now + Duration::from_micros(1));
        }
    }

    /// The last that was heard of a node is from this run, longer ago than this observer looks, and nobody misses it yet.
    pub fn recalls(&mut self, id: NodeId, run: (Incarnation, StoreId), just_now: bool) {
        if let Some(seen) = self.sight.nodes.get_mut(&id) {
            (seen.health, seen.failed_at) = (Health::Healthy, None);
            (seen.answered_as, seen.asked_at) = (Some(run), Some(Instant(0)));
            seen.last_pong = just_now.then_some(self.sight.now);
        }
    }

    /// What the detection policy says of a node now.
    pub fn judge(&mut self, id: NodeId, health: Health, reason: &str) {
        let now = self.sight.now;
        if let Some(seen) = self.sight.nodes.get_mut(&id) {
            seen.reason = reason.into();
            if health == Health::Failed && seen.health != Health::Failed {
                seen.failed_at = Some(now);
            }
            seen.health = health;
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.sight.now = self.sight.now + time;
    }

    /// Another node is master aggregator now: it begins to look, and knows nothing of what was noted.
    pub fn next_master(&mut self) {
        self.noted.clear();
        self.sight.now = Instant::from_millis(1_000);
        self.learned = Learned::default();
        for seen in self.sight.nodes.values_mut() {
            *seen = unseen();
        }
    }

    pub fn problems(&mut self) -> Vec<Problem> {
        self.sight.learned = self.learned.look(self.sight.now, &self.catalog);
        problems(&self.catalog, &self.sight, MASTER)
    }

    pub fn plan(&mut self) -> Plan {
        let found = self.problems();
        let plan = Plan::make(&found, &self.catalog, &self.sight, &self.noted, &mut self.answers);
        self.noted.clone_from(&plan.noted);
        plan
    }

    /// Plans and acts until there is nothing to do. None if there is no end to it.
    pub fn settle(&mut self) -> Option<()> {
        for _ in 0..10 {
            let plan = self.plan();
            if plan.commands.is_empty() {
                return Some(());
            }
            let _ = self.apply(&Command::Batch(plan.commands));
        }
        None
    }

    /// Who is what, without the versions and epochs, which tell of the way.
    pub fn roles(&self) -> Vec<String> {
        let nodes =
            self.catalog.nodes().map(|node| format!("{} {} {}", node.id, node.state, node.incarnation));
        let partitions = self.catalog.partitions().map(|p| {
            let lost = if p.has_able_primary() { "" } else { " (lost)" };
            format!("{} {} {}{lost} {:?}", p.id, p.epoch, p.primary, p.replicas)
        });
        nodes.chain(partitions).collect()
    }

    /// A plan is carried out as far as its first few commands, and the next master aggregator, which sees the same,
    /// makes a plan of its own: does it come to the same end?
    ///
    /// # Errors
    /// After how many commands it does not.
    pub fn check_every_prefix(&self) -> Result<(), String> {
        let plan = self.clone().plan();
        let mut whole = self.clone();
        let _ = whole.apply(&Command::Batch(plan.commands.clone()));
        whole.settle().ok_or("there is no end to it")?;
        for count in 0..=plan.commands.len() {
            let mut next = self.clone();
            for command in &plan.commands[..count] {
                let _ = next.apply(command);
            }
            next.noted.clear();
            next.settle().ok_or("there is no end to it")?;
            if next.roles() != whole.roles() {
                return Err(format!(
                    "after {count} of\n{plan}{:#?}\nis not\n{:#?}",
                    next.roles(),
                    whole.roles()
                ));
            }
        }
        Ok(())
    }
}

fn unseen() -> NodeSight {
    NodeSight {
        health: Health::Healthy,
        reason: String::new(),
        failed_at: None,
        last_pong: None,
        answered_as: None,
        lost_tail: false,
        asked_at: None,
        rtt_mean_us: 100,
        flaps_last_hour: 0,
        is_heard: false,
        vitals: None,
        in_maintenance: false,
    }
}

fn new_node(id: u64, role: NodeRole, group: u32) -> NewNode {
    NewNode {
        host: format!("n{id}"),
        sql_port: 3306,
        rpc_port: 4306,
        http_port: 5306,
        role,
        aggregator_role: Some(AggregatorRole::VotingMember),
        availability_group: Some(group),
        incarnation: Incarnation(1),
        store: StoreId(1),
    }
}
