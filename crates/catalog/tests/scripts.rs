//! Runs the stories in `tests/scripts`: commands as they come to the catalog.
//!
//! Printed is the answer to each, every event that it left, and every partition that it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use baton_catalog::{
    BindingScope, Catalog, Command, Entry, InstancePlacement, NewBinding, NewNode, NewStep, Partition,
    PlanAction, PlanKind, PolicyModule, PolicySignature, Reply, RowKey, StepStatus,
};
use baton_model::{
    AggregatorRole, Blob, CatalogIndex, ClusterId, Column, ColumnType, DatabaseId, Durability, Epoch,
    Incarnation, NodeId, NodeRole, PartitionId, ReplicationMode, StatementId, StoreId, SyncState, TableId,
    TableKind, TableSchema,
};
use goldenscript::{ArgumentConsumer, Context, Runner};

test_each_file::test_each_path! { in "crates/catalog/tests/scripts" as scripts => tell }

fn tell(path: &Path) {
    goldenscript::run(&mut Story::default(), path).expect("the script is readable");
}

#[derive(Default)]
struct Story {
    catalog: Catalog,
}

impl Runner for Story {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &Self::Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let statement = args.take_key("statement").map(str::parse).transpose()?.map(StatementId);
        let command = match command.name.as_str() {
            // found leaves=3 : an aggregator, n1, and leaves n2 and up, each as run i1 on disk s1. Not told.
            "found" => {
                let leaves: u64 = args.take_key("leaves").map_or(Ok(2), str::parse)?;
                self.apply(None, found())?;
                for leaf in 2..2 + leaves {
                    self.apply(None, Command::AddNode(new_node(leaf, NodeRole::Leaf)))?;
                }
                return Ok(String::new());
            }
            // create n2 n3 [replication=async] [durability=async] : a database of one partition; n2 is primary.
            "create" => {
                let replication = match args.take_key("replication") {
                    Some("async") => ReplicationMode::Async,
                    _ => ReplicationMode::Sync,
                };
                let durability = match args.take_key("durability") {
                    Some("async") => Durability::Async,
                    _ => Durability::Sync,
                };
                let primary = node(&mut args)?;
                let mut replicas = Vec::new();
                while let Ok(replica) = node(&mut args) {
                    replicas.push(replica);
                }
                let placements = vec![InstancePlacement { primary, replicas }];
                let (name, if_not_exists) = ("db".into(), false);
                Command::CreateDatabase { name, if_not_exists, replication, durability, placements }
            }
            "offline" => Command::SetNodeOffline {
                node: node(&mut args)?,
                incarnation: Incarnation(number(&mut args, "run")?.unwrap_or(1)),
                reason: "silent".into(),
            },
            // online n2 run=2 [disk=2] [tail=lost] : perhaps without what the run before did not sync.
            "online" => Command::SetNodeOnline {
                node: node(&mut args)?,
                incarnation: Incarnation(number(&mut args, "run")?.unwrap_or(1)),
                store: StoreId(number(&mut args, "disk")?.unwrap_or(1)),
                lost_tail: args.take_key("tail") == Some("lost"),
            },
            // promote n3 epoch=1
            "promote" => Command::PromoteInstance {
                partition: PARTITION,
                epoch: Epoch(number(&mut args, "epoch")?.unwrap_or(self.partition()?.epoch.0)),
                to: node(&mut args)?,
                reason: "its primary failed".into(),
            },
            // state n3 ready [epoch=1] [version=1] : as asked by the primary, now or at another time.
            "state" => Command::SetSyncState {
                partition: PARTITION,
                epoch: Epoch(number(&mut args, "epoch")?.unwrap_or(self.partition()?.epoch.0)),
                version: number(&mut args, "version")?.unwrap_or(self.partition()?.version),
                replica: node(&mut args)?,
                state: match args.next_pos() {
                    Some("async") => SyncState::Async,
                    Some("ready") => SyncState::Ready,
                    Some("sync") => SyncState::Sync,
                    other => return Err(format!("which state? {other:?}").into()),
                },
                reason: "asked".into(),
            },
            "replica" => Command::AddReplica {
                partition: PARTITION,
                version: number(&mut args, "version")?.unwrap_or(self.partition()?.version),
                node: node(&mut args)?,
            },
            // alter [replication=async] [durability=sync]
            "alter" => Command::AlterDatabase {
                name: "db".into(),
                replication: match args.take_key("replication") {
                    Some("sync") => Some(ReplicationMode::Sync),
                    Some("async") => Some(ReplicationMode::Async),
                    _ => None,
                },
                durability: match args.take_key("durability") {
                    Some("sync") => Some(Durability::Sync),
                    Some("async") => Some(Durability::Async),
                    _ => None,
                },
            },
            // synced [epoch=1] [version=1] : as said by the primary, now or at another time.
            "synced" => Command::NoteSynced {
                partition: PARTITION,
                epoch: Epoch(number(&mut args, "epoch")?.unwrap_or(self.partition()?.epoch.0)),
                version: number(&mut args, "version")?.unwrap_or(self.partition()?.version),
            },
            // hand-over n3 [epoch=1]
            "hand-over" => Command::HandOver {
                partition: PARTITION,
                epoch: Epoch(number(&mut args, "epoch")?.unwrap_or(self.partition()?.epoch.0)),
                to: node(&mut args)?,
                reason: "planned".into(),
            },
            // drop-replica n3 left=2
            "drop-replica" => Command::DropReplica {
                partition: PARTITION,
                copies_left: number(&mut args, "left")?.unwrap_or(1) as u32,
                node: node(&mut args)?,
                reason: "planned".into(),
            },
            // force n3 [epoch=1] : by an operator's word.
            "force" => Command::ForcePrimary {
                partition: PARTITION,
                epoch: Epoch(number(&mut args, "epoch")?.unwrap_or(self.partition()?.epoch.0)),
                to: node(&mut args)?,
                loss: "all that only the old primary has is lost".into(),
            },
            "forget-orphan" => Command::ForgetOrphan { partition: PARTITION, node: node(&mut args)? },
            // detach n3 [last]
            "detach" => Command::DetachLeaf {
                node: node(&mut args)?,
                last_copies: args.next_pos() == Some("last"),
                reason: "DETACH LEAF".into(),
            },
            "attach" => Command::AttachLeaf {
                incarnation: Incarnation(number(&mut args, "run")?.unwrap_or(1)),
                store: StoreId(number(&mut args, "disk")?.unwrap_or(1)),
                lost_tail: args.take_key("tail") == Some("lost"),
                node: node(&mut args)?,
            },
            // remove n3 [force]
            "remove" => {
                Command::RemoveLeaf { node: node(&mut args)?, force: args.next_pos() == Some("force") }
            }
            // plan n4 : a copy there, and the old replica goes. step 0 running. end success.
            "plan" => {
                let target = node(&mut args)?;
                let old = *self.partition()?.replicas.keys().next().ok_or("it has no replica")?;
                let step = |action, target, phase| NewStep { action, ordinal: 0, target, from: None, phase };
                let steps = vec![step(PlanAction::Copy, target, 1), step(PlanAction::Drop, old, 3)];
                Command::StartPlan {
                    database: PARTITION.database,
                    kind: PlanKind::Rebalance,
                    emptied: BTreeSet::new(),
                    steps,
                }
            }
            "step" | "end" => {
                let plan = number(&mut args, "plan")?.unwrap_or(1);
                let step =
                    if command.name == "step" { args.next_pos().ok_or("which?")?.parse()? } else { 0 };
                let status = match args.next_pos() {
                    Some("running") => StepStatus::Running,
                    Some("failed") => StepStatus::Failed,
                    _ => StepStatus::Success,
                };
                let details = String::new();
                match command.name.as_str() {
                    "step" => Command::NoteStep { plan, step, status, details },
                    _ => Command::EndPlan { plan, status, details },
                }
            }
            "drop" => Command::DropDatabase { name: "db".into(), if_exists: false },
            // restore n2 n3 by=7 : begins to restore a database of one partition with one table.
            "restore" => {
                let primary = node(&mut args)?;
                let mut replicas = Vec::new();
                while let Ok(replica) = node(&mut args) {
                    replicas.push(replica);
                }
                Command::BeginRestore {
                    statement: StatementId(args.take_key("by").ok_or("by whom?")?.parse()?),
                    name: "db".into(),
                    replication: ReplicationMode::Sync,
                    durability: Durability::Sync,
                    placements: vec![InstancePlacement { primary, replicas }],
                    tables: vec![(table(), 42)],
                }
            }
            // restored 1, not-restored 1 : of the database with this number.
            "restored" => {
                Command::FinishRestore { database: database(&mut args)?, details: "from 'x'".into() }
            }
            "not-restored" => {
                Command::AbortRestore { database: database(&mut args)?, reason: "a file is damaged".into() }
            }
            // show : the databases that clients see, those on their way, and the tables.
            "show" => {
                args.reject_next()?;
                let visible: Vec<_> = self.catalog.databases().map(|d| (&d.name, d.id)).collect();
                let hidden: Vec<_> = self.catalog.restores().map(|r| (r.database, r.statement.0)).collect();
                let all = self.catalog.databases_and_hidden();
                let tables: Vec<_> = all
                    .flat_map(|d| self.catalog.tables(d.id))
                    .map(|t| (&t.schema.name, t.schema.database, t.schema.id, t.auto_increment_next))
                    .collect();
                return Ok(format!("visible {visible:?}\non the way {hidden:?}\ntables {tables:?}\n"));
            }
            // install swift 2 [replace] [signed] : version 2 of swift, whose hash is `swift-2`.
            "install" => {
                let name = args.next_pos().ok_or("which policy?")?.to_owned();
                let version = args.next_pos().ok_or("which version?")?.to_owned();
                let words: Vec<_> = std::iter::from_fn(|| args.next_pos()).collect();
                let signature = PolicySignature { key: "k".into(), signature: "s".into() };
                let module = PolicyModule {
                    hash: format!("{name}-{version}"),
                    name,
                    version,
                    decision_points: vec!["detection".into(), "promotion".into()],
                    bytes: Blob::new(&[]),
                    signature: words.contains(&"signed").then_some(signature),
                };
                Command::InstallPolicy { module, replace: words.contains(&"replace") }
            }
            // drop-policy swift [if-exists]
            "drop-policy" => Command::DropPolicy {
                name: args.next_pos().ok_or("which policy?")?.to_owned(),
                if_exists: args.next_pos().is_some(),
            },
            // bind detection promotion to=swift-2 [group=1] [database=1] [shadow=yes] [limit=5]
            "bind" => {
                let scope = scope(&mut args)?;
                let hash = args.take_key("to").ok_or("to which module?")?.to_owned();
                let policy = hash.split('-').next().unwrap_or_default().to_owned();
                let settings = args.take_key("limit").map(|value| ("limit".into(), value.into()));
                let settings = BTreeMap::from_iter(settings);
                let shadow = args.take_key("shadow").is_some();
                let report = args.take_key("report").map(str::to_owned);
                let points = points(&mut args);
                let binding = NewBinding::of_cluster(points, policy, hash, settings);
                Command::BindPolicy(NewBinding { scope, shadow, report, ..binding })
            }
            "unbind" => Command::UnbindPolicy {
                scope: scope(&mut args)?,
                shadow: args.take_key("shadow").is_some(),
                decision_points: points(&mut args),
            },
            "rollback" => {
                let (scope, points) = (scope(&mut args)?, points(&mut args));
                Command::RollbackPolicy { scope, back_to: back_to(&self.catalog, &points, scope) }
            }
            "quarantine" => Command::QuarantinePolicy {
                hash: args.next_pos().ok_or("which module?")?.to_owned(),
                reason: "it traps".into(),
            },
            "release" => Command::ReleasePolicy { name: args.next_pos().ok_or("which policy?")?.to_owned() },
            // maintain n2 for=60000 : milliseconds from now on; without, it has ended.
            "maintain" => Command::MarkMaintenance {
                until_ms: number(&mut args, "for")?.map(|ms| self.catalog.index().0 + 1 + ms),
                node: node(&mut args)?,
            },
            // policies : the versions of each, and what is bound.
            "policies" => {
                args.reject_next()?;
                let mut text = String::new();
                for module in self.catalog.policies() {
                    let of = self.catalog.policy_versions(&module.name);
                    let hashes: Vec<&str> = of.map(|module| module.hash.as_str()).collect();
                    writeln!(text, "{} [{}]", module.name, hashes.join(", "))?;
                }
                for binding in self.catalog.bindings() {
                    let mode = if binding.shadow { "shadow" } else { "active" };
                    let scope = self.catalog.scope_text(binding.scope);
                    let before: Vec<&str> = binding.previous.iter().map(|old| old.hash.as_str()).collect();
                    writeln!(
                        text,
                        "{}{scope} {mode}: {} {:?} report {:?} before [{}]",
                        binding.decision_point,
                        binding.hash,
                        binding.settings,
                        binding.report,
                        before.join(", ")
                    )?;
                }
                return Ok(text);
            }
            name => return Err(format!("unknown command {name}").into()),
        };
        args.reject_next()?;
        self.apply(statement, command)
    }
}

const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };

impl Story {
    fn partition(&self) -> Result<&Partition, Box<dyn Error>> {
        Ok(self.catalog.partition(PARTITION).ok_or("create the database first")?)
    }

    fn apply(&mut self, statement: Option<StatementId>, command: Command) -> Result<String, Box<dyn Error>> {
        let index = CatalogIndex(self.catalog.index().0 + 1);
        let before = self.catalog.given_up_ms();
        let applied = self.catalog.apply(index, &Entry { statement, at_ms: index.0, command });
        let mut text = match applied.outcome {
            Ok(Reply::Done { index }) => format!("{index} done\n"),
            Ok(reply) => format!("{reply:?}\n"),
            Err(rejection) => format!("refused: {rejection}\n"),
        };
        for key in applied.changed {
            match key {
                RowKey::Event(id) => {
                    let event = self.catalog.events().find(|event| event.id == id).ok_or("it was kept")?;
                    writeln!(text, "   {} {} {}", event.severity, event.event_type, event.details)?;
                }
                RowKey::Partition(id) => match self.catalog.partition(id) {
                    Some(partition) => writeln!(text, "   {}", show(partition))?,
                    None => writeln!(text, "   {id} is gone")?,
                },
                RowKey::SetAside(id, node) => {
                    let there = self.catalog.is_set_aside(id, node);
                    writeln!(text, "   {id} on {node} is {}", if there { "set aside" } else { "forgotten" })?;
                }
                RowKey::Plan(id) => match self.catalog.plan(id) {
                    Some(plan) => writeln!(text, "   plan {id} {} {}", plan.kind, plan.status)?,
                    None => writeln!(text, "   plan {id} is gone")?,
                },
                RowKey::PlanStep(id, number) => {
                    match self.catalog.plan_steps(id).find(|step| step.number == number) {
                        Some(step) => {
                            let (action, target, status) = (step.action, step.target, step.status);
                            writeln!(text, "   step {number} {action} {target} {status}")?;
                        }
                        None => writeln!(text, "   step {number} is gone")?,
                    }
                }
                RowKey::Counters if self.catalog.given_up_ms() != before => {
                    writeln!(text, "   data is given up")?;
                }
                _ => {}
            }
        }
        Ok(text)
    }
}

fn show(partition: &Partition) -> String {
    let replicas: Vec<String> =
        partition.replicas.iter().map(|(id, state)| format!("{id} {state}")).collect();
    let Partition { id, epoch, version, primary, primary_lost, primary_unsure, unsynced, .. } = partition;
    let lost = match (primary_lost, primary_unsure) {
        (true, _) => " (lost)",
        (false, true) => " (unsure)",
        _ => "",
    };
    let unsynced = if *unsynced { " unsynced" } else { "" };
    format!("{id} {epoch} v{version} primary={primary}{lost} [{}]{unsynced}", replicas.join(", "))
}

fn table() -> TableSchema {
    let column = Column {
        name: "id".into(),
        column_type: ColumnType::Text,
        nullable: false,
        default: None,
        auto_increment: false,
    };
    TableSchema {
        id: TableId(99),
        database: DatabaseId(99),
        name: "t".into(),
        kind: TableKind::Sharded,
        columns: vec![column],
        primary_key: vec![0],
        shard_key: vec![0],
    }
}

fn database(args: &mut ArgumentConsumer<'_>) -> Result<DatabaseId, Box<dyn Error>> {
    Ok(DatabaseId(args.next_pos().ok_or("which database?")?.parse()?))
}

fn scope(args: &mut ArgumentConsumer<'_>) -> Result<BindingScope, Box<dyn Error>> {
    let database = number(args, "database")?.map(|id| BindingScope::Database(DatabaseId(id)));
    let group = number(args, "group")?.map(|group| BindingScope::Group(group as u32));
    Ok(database.or(group).unwrap_or(BindingScope::Cluster))
}

/// What was bound before at these decision points; an empty hash where nothing was.
fn back_to(catalog: &Catalog, points: &[String], scope: BindingScope) -> BTreeMap<String, String> {
    let before = |point: &String| {
        let binding = catalog.binding_at(point, scope, false);
        let hash = binding.and_then(|binding| Some(binding.previous.last()?.hash.clone()));
        (point.clone(), hash.unwrap_or_default())
    };
    points.iter().map(before).collect()
}

fn points(args: &mut ArgumentConsumer<'_>) -> Vec<String> {
    std::iter::from_fn(|| args.next_pos().map(str::to_owned)).collect()
}

fn found() -> Command {
    let node = new_node(1, NodeRole::Aggregator);
    Command::FoundCluster { cluster: ClusterId(1), node, policies: vec![], bindings: vec![] }
}

fn new_node(id: u64, role: NodeRole) -> NewNode {
    NewNode {
        host: format!("n{id}"),
        sql_port: 3306,
        rpc_port: 4306,
        http_port: 5306,
        role,
        aggregator_role: Some(AggregatorRole::VotingMember),
        availability_group: Some(1),
        incarnation: Incarnation(1),
        store: StoreId(1),
    }
}

fn node(args: &mut ArgumentConsumer) -> Result<NodeId, Box<dyn Error>> {
    let name = args.next_pos().and_then(|name| name.strip_prefix('n'));
    Ok(NodeId(name.ok_or("which node?")?.parse()?))
}

fn number(args: &mut ArgumentConsumer, key: &str) -> Result<Option<u64>, Box<dyn Error>> {
    Ok(args.take_key(key).map(str::parse).transpose()?)
}
