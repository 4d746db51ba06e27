//! What operators do meanwhile: statements at the master aggregator, which may or may not be heard.

use std::collections::BTreeMap;

use baton_catalog::{Command, Entry, NewBinding, Node, PlanKind, StepStatus};
use baton_failover::Wishes;
use baton_model::{DatabaseId, Durability, NodeId, NodeState, PartitionId, ReplicationMode, StatementId};
use baton_policy::{DecisionPoint, MaintenancePurpose};

use super::{Cure, Fault, OPERATORS, SWITCHES};
use crate::kernel::MS;
use crate::policies::{CHAOS, Shelf};
use crate::world::{Order, World};

impl World {
    pub(super) fn operator_says(&mut self, command: Command) {
        let Some(master) = self.acting_leaders().first().map(|id| World::position(*id)) else { return };
        let text = crate::story::command(&command);
        self.tell(|| format!("an operator at n{}: {text}", master + 1));
        let entry = Entry { statement: None, at_ms: self.wall_us(master) / MS, command };
        self.propose_for_operator(master, entry);
    }

    pub(super) fn switch(&mut self, name: &str, value: &str) {
        self.operator_says(Command::SetVariable { name: name.to_owned(), value: value.to_owned() });
    }

    /// An operator has had enough of a policy that misbehaves, and binds another one.
    pub fn lift_chaos(&mut self) {
        self.nemesis.lifts_chaos = true;
        self.insist();
    }

    /// An operator who was not heard, or overtaken by what he said before, says it again.
    pub fn insist(&mut self) {
        let detached = |node: &&Node| node.state == NodeState::Detached;
        let detached: Vec<NodeId> = self.catalog().leaves().filter(detached).map(|leaf| leaf.id).collect();
        for leaf in detached {
            self.attach_leaf(Self::position(leaf));
        }
        if self.nemesis.lifts_chaos && self.catalog().bindings().any(|binding| binding.policy == CHAOS) {
            self.operator_says(Command::BindPolicy(NewBinding::of_cluster(
                DecisionPoint::ALL.iter().map(ToString::to_string).collect(),
                "swift".to_owned(),
                Shelf::hash("swift"),
                BTreeMap::new(),
            )));
        }
        for name in SWITCHES {
            if !self.catalog().switch(name) {
                self.switch(name, "ON");
            }
        }
    }

    pub(super) fn operator_acts(&mut self, fault: Fault) {
        let rng = &mut self.nemesis.rng;
        match fault {
            Fault::SetVariable => {
                let (name, value) = rng.pick(&[
                    ("sync_replica_timeout_ms", "200"),
                    ("sync_replica_timeout_ms", "2000"),
                    ("sync_replica_timeout_ms", "5000"),
                    ("heartbeat_interval_ms", "100"),
                    ("heartbeat_interval_ms", "150"),
                    ("consensus_election_timeout", "1000"),
                ]);
                self.operator_says(Command::SetVariable { name: name.to_owned(), value: value.to_owned() });
            }
            Fault::SwitchOff => {
                let name = rng.pick(&SWITCHES);
                self.switch(name, "OFF");
                self.cure_later(Cure::SwitchOn(name));
            }
            Fault::BindPolicy => {
                let policy = rng.pick(&["hasty", "swift", CHAOS]);
                let point = rng.pick(&DecisionPoint::ALL);
                let settings = match policy {
                    CHAOS => BTreeMap::from([(CHAOS.to_owned(), "random".to_owned())]),
                    "hasty" if self.setup.policy == policy => self.setup.policy_settings.clone(),
                    _ => BTreeMap::new(),
                };
                self.operator_says(Command::BindPolicy(NewBinding::of_cluster(
                    vec![point.to_string()],
                    policy.to_owned(),
                    Shelf::hash(policy),
                    settings,
                )));
            }
            Fault::TransferMaster => {
                let to = rng.below(self.setup.aggregators as u64) as usize;
                if let Some(master) = self.acting_leaders().first().map(|id| World::position(*id))
                    && self.hand_over(master, to)
                {
                    self.tell(|| format!("an operator at n{}: hands over to n{}", master + 1, to + 1));
                }
            }
            Fault::PromotePartition => self.promote_partition(),
            Fault::DetachLeaf => self.detach_leaf(),
            Fault::ReplaceLeaf => self.replace_leaf(),
            Fault::Rebalance => {
                self.ask_for_an_order();
                self.rebalance();
            }
            Fault::AlterDatabase => self.alter_database(),
            Fault::CreateOrDropDatabase => {
                let extra = self.catalog().databases().find(|db| db.name.starts_with("extra"));
                let command = match extra.map(|db| db.name.clone()) {
                    Some(name) => Command::DropDatabase { name, if_exists: true },
                    None => {
                        self.nemesis.databases += 1;
                        let name = format!("extra{}", self.nemesis.databases);
                        match self.create_database(&name) {
                            Some(command) => command,
                            None => return,
                        }
                    }
                };
                self.operator_says(command);
            }
            Fault::AddReplica => {
                let leaves = self.catalog().leaves().map(|leaf| leaf.id).collect::<Vec<_>>();
                let node = self.nemesis.rng.pick(&leaves);
                let candidates: Vec<(PartitionId, u64)> = self
                    .catalog()
                    .partitions()
                    .filter(|p| p.role_of(node).is_none() && p.replicas.len() < 2)
                    .map(|p| (p.id, p.version))
                    .collect();
                if !candidates.is_empty() {
                    let (partition, version) = self.nemesis.rng.pick(&candidates);
                    self.operator_says(Command::AddReplica { partition, version, node });
                }
            }
            _ => {}
        }
    }

    /// An operator changes a database's replication or its durability.
    fn alter_database(&mut self) {
        let databases: Vec<DatabaseId> = self.catalog().databases().map(|database| database.id).collect();
        let chosen = self.nemesis.rng.pick(&databases);
        let Some(database) = self.catalog().database_by_id(chosen).cloned() else { return };
        let replicates = self.nemesis.rng.coin();
        let replication = replicates.then_some(match database.replication {
            ReplicationMode::Sync => ReplicationMode::Async,
            ReplicationMode::Async => ReplicationMode::Sync,
        });
        let durability = (!replicates).then_some(match database.durability {
            Durability::Sync => Durability::Async,
            Durability::Async => Durability::Sync,
        });
        self.operator_says(Command::AlterDatabase { name: database.name, replication, durability });
    }

    /// An operator begins a plan, or stops one.
    /// An operator asks in which order nodes are to be worked on; whatever a policy says, it must be an order (S8).
    fn ask_for_an_order(&mut self) {
        let Some(master) = self.acting_leaders().first().map(|id| World::position(*id)) else { return };
        let purposes = [MaintenancePurpose::Restart, MaintenancePurpose::Stop, MaintenancePurpose::Start];
        let purpose = self.nemesis.rng.pick(&purposes);
        if let Err(why) = self.order_of_maintenance(master, purpose) {
            self.violated("S8", format!("an order of maintenance is none: {why}"));
        }
    }

    fn rebalance(&mut self) {
        let Some(master) = self.acting_leaders().first().map(|id| World::position(*id)) else { return };
        let databases: Vec<DatabaseId> = self.catalog().databases().map(|database| database.id).collect();
        let rng = &mut self.nemesis.rng;
        let database = rng.pick(&databases);
        let (stops, completes, full) = (rng.per_mille(200), rng.per_mille(300), rng.coin());
        let running = self.catalog().plan_of(database).filter(|plan| !plan.status.is_over());
        match running.map(|plan| plan.id) {
            Some(plan) if stops => {
                let (status, details) = (StepStatus::Cancelled, "STOP REBALANCE".to_owned());
                self.operator_says(Command::EndPlan { plan, status, details });
            }
            Some(_) => {}
            None => {
                let kind = if completes { PlanKind::RestoreRedundancy } else { PlanKind::Rebalance };
                self.begin_plan(master, database, kind, &Wishes { full, ..Wishes::default() });
            }
        }
    }

    /// An operator moves a primary, and perhaps the primaries of a whole leaf.
    fn promote_partition(&mut self) {
        let Some(master) = self.acting_leaders().first().map(|id| World::position(*id)) else { return };
        let leaf = self.random_leaf();
        let id = self.nodes[leaf].id;
        let rng = &mut self.nemesis.rng;
        let (all, kill, statement) = (rng.per_mille(300), rng.per_mille(300), rng.coin());
        let mut moves: Vec<(PartitionId, NodeId)> = self
            .catalog()
            .partitions()
            .filter(|partition| partition.primary == id)
            .filter_map(|partition| {
                let any = partition.replicas.keys().next().copied();
                Some((partition.id, partition.promotable().next().or(any)?))
            })
            .collect();
        if !all && !moves.is_empty() {
            moves = vec![self.nemesis.rng.pick(&moves)];
        }
        for (partition, to) in moves {
            let how = if kill { " at once" } else { "" };
            self.tell(|| format!("an operator at n{}: hands {partition} over to {to}{how}", master + 1));
            self.nemesis.statements += u128::from(statement);
            let statement = statement.then_some(StatementId(OPERATORS + self.nemesis.statements));
            self.switch_over(master, Order { partition, to, kill, statement, step: None });
        }
    }
}
