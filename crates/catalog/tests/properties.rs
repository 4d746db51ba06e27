//! Any commands in any order, good and bad: two catalogs agree, rows and catalog agree, and nothing goes backwards.

use std::collections::{BTreeMap, BTreeSet};

use baton_catalog::{
    Applied, BindingScope, Catalog, CatalogRow, Command, Decision, Entry, GrantScope, InstancePlacement,
    NewBinding, NewNode, NewStep, Outcome, PlanAction, PlanKind, PolicyModule, Privilege, ReferenceWrite,
    Rejection, RowKey, Severity, StepStatus, event_type,
};
use baton_model::limits::{
    CATALOG_OUTCOMES_KEPT, DECISIONS_KEPT, EVENTS_KEPT, POLICIES_MAX, POLICY_BINDINGS_KEPT, POLICY_BYTES_MAX,
    POLICY_VERSIONS_KEPT, QUARANTINES_KEPT,
};
use baton_model::{
    AggregatorRole, Blob, CatalogIndex, ClusterId, Column, ColumnType, DatabaseId, Durability, Epoch,
    Incarnation, NodeId, NodeRole, PartitionId, ReplicationMode, StatementId, StoreId, SyncState, TableId,
    TableKind, TableSchema,
};
use proptest::prelude::*;

/// A command that is not made yet: what it says depends on the catalog that it comes to, so that many are good.
#[derive(Clone, Debug)]
enum Intent {
    Found {
        policies: u8,
        binding: u8,
    },
    AddNode {
        port: u16,
        leaf: bool,
        group: u32,
    },
    RemoveNode(u64),
    Offline {
        node: u64,
        right: bool,
    },
    Online {
        node: u64,
        incarnation: u64,
        store: u64,
        lost_tail: bool,
    },
    Promote {
        partition: usize,
        epoch: i64,
        to: u64,
    },
    NoteOffline(usize),
    SetSync {
        partition: usize,
        epoch: i64,
        version: i64,
        replica: u64,
        state: SyncState,
    },
    AddReplica {
        partition: usize,
        version: i64,
        node: u64,
    },
    CreateDatabase {
        name: u8,
        lenient: bool,
        modes: u8,
        placements: Vec<(u64, Vec<u64>)>,
    },
    AlterDatabase {
        name: u8,
        modes: u8,
    },
    NoteSynced {
        partition: usize,
        epoch: i64,
        version: i64,
    },
    DropDatabase {
        name: u8,
        lenient: bool,
    },
    CreateTable {
        database: u8,
        name: u8,
        columns: u8,
        reference: bool,
        lenient: bool,
    },
    DropTable {
        database: u8,
        name: u8,
        lenient: bool,
    },
    SetVariable {
        name: usize,
        value: usize,
    },
    User {
        what: u8,
        user: u8,
        lenient: bool,
    },
    InstallPolicy {
        name: u8,
        version: u8,
        replace: bool,
        big: bool,
    },
    BindPolicy {
        points: u8,
        name: u8,
        version: u8,
        scope: u8,
        shadow: bool,
    },
    /// What else is asked for about policies.
    Policy {
        what: u8,
        points: u8,
        name: u8,
        version: u8,
        scope: u8,
        flag: bool,
    },
    TakeAutoIncrement {
        table: u64,
        count: u64,
        at_least: u64,
    },
    WriteReference {
        table: u64,
        version: i64,
        rows: Vec<(u8, bool)>,
    },
    RecordDecision,
    RecordEvent,
    /// What an operator, or a plan of one, asks for.
    Operator {
        what: u8,
        partition: usize,
        epoch: i64,
        node: u64,
        flag: bool,
    },
    Batch(Vec<Intent>),
}

fn node() -> impl Strategy<Value = u64> {
    0_u64..7
}

fn few() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 1 => Just(-1), 1 => Just(1)]
}

/// One of a few users, `root` among them, and one of a few things for which they are granted something.
fn user_command(what: u8, user: u8, lenient: bool) -> Command {
    let name = if user == 0 { "root".to_owned() } else { format!("u{user}") };
    let hash = lenient.then_some([user; 20]);
    let scope = match user {
        0 | 1 => GrantScope::Cluster,
        2 => GrantScope::Database("db0".into()),
        _ => GrantScope::Table("db0".into(), "t0".into()),
    };
    let privileges = scope.all().filter(|privilege| lenient || *privilege == Privilege::Select).collect();
    match what {
        0 => Command::CreateUser { user: name, if_not_exists: lenient, password_hash: hash },
        1 => Command::DropUser { user: name, if_exists: lenient },
        2 => Command::SetPassword { user: name, password_hash: hash },
        3 => Command::Grant { user: name, privileges, scope },
        4 => Command::Revoke { user: name, privileges, scope },
        _ => Command::RevokeAll { user: name },
    }
}

fn state() -> impl Strategy<Value = SyncState> {
    prop_oneof![Just(SyncState::Async), Just(SyncState::Ready), Just(SyncState::Sync)]
}

fn simple() -> impl Strategy<Value = Intent> {
    use Intent::{
        AddNode, AddReplica, AlterDatabase, BindPolicy, CreateDatabase, CreateTable, DropDatabase, DropTable,
        Found, InstallPolicy, NoteOffline, NoteSynced, Offline, Online, Operator, Policy, Promote,
        RecordDecision, RecordEvent, RemoveNode, SetSync, SetVariable, TakeAutoIncrement, User,
        WriteReference,
    };
    let placements = prop::collection::vec((2_u64..6, prop::collection::vec(2_u64..6, 0..3)), 0..3);
    let at_least = prop_oneof![0_u64..20, Just(u64::MAX)];
    prop_oneof![
        1 => (0_u8..3, 0_u8..3).prop_map(|(policies, binding)| Found { policies, binding }),
        2 => (0_u16..6, any::<bool>(), 1_u32..3).prop_map(|(port, leaf, group)| AddNode { port, leaf, group }),
        1 => node().prop_map(RemoveNode),
        3 => (node(), any::<bool>()).prop_map(|(node, right)| Offline { node, right }),
        4 => (node(), 0_u64..3, 0_u64..2, any::<bool>()).prop_map(
            |(node, incarnation, store, lost_tail)| Online { node, incarnation, store, lost_tail }
        ),
        4 => (0_usize..6, few(), node()).prop_map(|(partition, epoch, to)| Promote { partition, epoch, to }),
        1 => (0_usize..6).prop_map(NoteOffline),
        8 => (0_usize..6, few(), few(), node(), state()).prop_map(
            |(partition, epoch, version, replica, state)| SetSync { partition, epoch, version, replica, state }
        ),
        2 => (0_usize..6, few(), node())
            .prop_map(|(partition, version, node)| AddReplica { partition, version, node }),
        2 => (0_u8..4, any::<bool>(), 0_u8..4, placements).prop_map(
            |(name, lenient, modes, placements)| CreateDatabase { name, lenient, modes, placements }
        ),
        2 => (0_u8..4, any::<u8>()).prop_map(|(name, modes)| AlterDatabase { name, modes }),
        2 => (0_usize..6, few(), few())
            .prop_map(|(partition, epoch, version)| NoteSynced { partition, epoch, version }),
        1 => (0_u8..4, any::<bool>()).prop_map(|(name, lenient)| DropDatabase { name, lenient }),
        3 => (0_u8..3, 0_u8..4, 0_u8..3, any::<bool>(), any::<bool>()).prop_map(
            |(database, name, columns, reference, lenient)| CreateTable { database, name, columns, reference, lenient }
        ),
        1 => (0_u8..3, 0_u8..4, any::<bool>())
            .prop_map(|(database, name, lenient)| DropTable { database, name, lenient }),
        2 => (0_usize..6, 0_usize..5).prop_map(|(name, value)| SetVariable { name, value }),
        3 => (0_u8..6, 0_u8..4, any::<bool>()).prop_map(|(what, user, lenient)| User { what, user, lenient }),
        2 => (0_u8..3, 0_u8..4, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
            |(name, version, replace, big)| InstallPolicy { name, version, replace, big }
        ),
        3 => (0_u8..3, 0_u8..3, 0_u8..4, 0_u8..6, any::<bool>()).prop_map(
            |(points, name, version, scope, shadow)| BindPolicy { points, name, version, scope, shadow }
        ),
        3 => (0_u8..6, 0_u8..3, 0_u8..3, 0_u8..4, 0_u8..6, any::<bool>()).prop_map(
            |(what, points, name, version, scope, flag)| Policy { what, points, name, version, scope, flag }
        ),
        2 => (0_u64..5, 0_u64..9, at_least)
            .prop_map(|(table, count, at_least)| TakeAutoIncrement { table, count, at_least }),
        3 => (0_u64..5, few(), prop::collection::vec((0_u8..4, any::<bool>()), 0..3))
            .prop_map(|(table, version, rows)| WriteReference { table, version, rows }),
        1 => Just(RecordDecision),
        1 => Just(RecordEvent),
        12 => (0_u8..10, 0_usize..6, few(), node(), any::<bool>()).prop_map(
            |(what, partition, epoch, node, flag)| Operator { what, partition, epoch, node, flag }
        ),
    ]
}

fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![9 => simple(), 1 => prop::collection::vec(simple(), 0..4).prop_map(Intent::Batch)]
}

/// Intents, each of a statement or of none; a statement may come twice.
fn history() -> impl Strategy<Value = Vec<(Option<u8>, Intent)>> {
    prop::collection::vec((prop::option::weighted(0.3, 0_u8..20), intent()), 1..80)
}

fn new_node(port: u16, leaf: bool, group: u32) -> NewNode {
    NewNode {
        host: "h".into(),
        sql_port: port,
        rpc_port: port + 1_000,
        http_port: port + 2_000,
        role: if leaf { NodeRole::Leaf } else { NodeRole::Aggregator },
        aggregator_role: Some(AggregatorRole::VotingMember),
        availability_group: Some(group),
        incarnation: Incarnation(0),
        store: StoreId(0),
    }
}

fn module(name: u8, bytes: usize) -> PolicyModule {
    version(name, 0, bytes)
}

fn version(name: u8, version: u8, bytes: usize) -> PolicyModule {
    PolicyModule {
        name: format!("p{name}"),
        version: version.to_string(),
        hash: hash(name, version),
        decision_points: vec!["detection".into(), "promotion".into()],
        bytes: Blob::from(vec![0; bytes]),
        signature: None,
    }
}

fn hash(name: u8, version: u8) -> String {
    format!("0123456789ab{name:02x}{version:02x}")
}

/// One decision point that modules answer, two of them, or one more that they do not.
fn points(last: u8) -> Vec<String> {
    ["detection", "promotion", "cooking"][..=usize::from(last)].iter().map(|point| (*point).into()).collect()
}

/// The cluster, databases and groups, also some that are not there.
fn scope(number: u8) -> BindingScope {
    match number {
        0 | 1 => BindingScope::Cluster,
        2 | 3 => BindingScope::Database(DatabaseId(u64::from(number) - 1)),
        _ => BindingScope::Group(u32::from(number) - 2),
    }
}

fn decision() -> Decision {
    Decision {
        id: 77,
        at_ms: 1,
        node: NodeId(1),
        decision_point: "detection".into(),
        subject: "leaf h:2".into(),
        verdict: "failed".into(),
        reason: "silent".into(),
        policy: "classic".into(),
        hash: String::new(),
        input: "{}".into(),
        answer: String::new(),
        fuel: 1,
        micros: 1,
        fallback: String::new(),
    }
}

/// The partition at this place, or one that is not there; with its epoch and version.
fn partition(catalog: &Catalog, place: usize) -> (PartitionId, u64, u64) {
    match catalog.partitions().nth(place) {
        Some(partition) => (partition.id, partition.epoch.0, partition.version),
        None => (PartitionId { database: DatabaseId(9), ordinal: 0 }, 1, 1),
    }
}

fn off(number: u64, by: i64) -> u64 {
    number.saturating_add_signed(by)
}

impl Intent {
    fn command(&self, catalog: &Catalog) -> Command {
        match self {
            Self::Found { policies, binding } => Command::FoundCluster {
                cluster: ClusterId(1),
                node: new_node(0, false, 1),
                policies: (0..*policies).map(|name| module(name, 3)).collect(),
                bindings: (0..*binding).map(|name| ("detection".into(), format!("p{name}"))).collect(),
            },
            Self::AddNode { port, leaf, group } => Command::AddNode(new_node(*port, *leaf, *group)),
            Self::RemoveNode(node) => Command::RemoveNode { node: NodeId(*node) },
            Self::Offline { node, right } => Command::SetNodeOffline {
                node: NodeId(*node),
                incarnation: match catalog.node(NodeId(*node)) {
                    Some(known) if *right => known.incarnation,
                    _ => Incarnation(99),
                },
                reason: "silent".into(),
            },
            Self::Online { node, incarnation, store, lost_tail } => Command::SetNodeOnline {
                node: NodeId(*node),
                incarnation: Incarnation(*incarnation),
                store: StoreId(*store),
                lost_tail: *lost_tail,
            },
            Self::Promote { partition: place, epoch, to } => {
                let (id, at, _) = partition(catalog, *place);
                let epoch = Epoch(off(at, *epoch));
                Command::PromoteInstance { partition: id, epoch, to: NodeId(*to), reason: "dead".into() }
            }
            Self::NoteOffline(place) => Command::NotePartitionOffline {
                partition: partition(catalog, *place).0,
                reason: "nobody".into(),
            },
            Self::SetSync { partition: place, epoch, version, replica, state } => {
                let (id, at, of) = partition(catalog, *place);
                Command::SetSyncState {
                    partition: id,
                    epoch: Epoch(off(at, *epoch)),
                    version: off(of, *version),
                    replica: NodeId(*replica),
                    state: *state,
                    reason: "asked".into(),
                }
            }
            Self::AddReplica { partition: place, version, node } => {
                let (id, _, of) = partition(catalog, *place);
                Command::AddReplica { partition: id, version: off(of, *version), node: NodeId(*node) }
            }
            Self::CreateDatabase { name, lenient, modes, placements } => Command::CreateDatabase {
                name: if *name == 0 { String::new() } else { format!("db{name}") },
                if_not_exists: *lenient,
                replication: if modes & 1 == 0 { ReplicationMode::Sync } else { ReplicationMode::Async },
                durability: if modes & 2 == 0 { Durability::Sync } else { Durability::Async },
                placements: placements
                    .iter()
                    .map(|(primary, replicas)| InstancePlacement {
                        primary: NodeId(*primary),
                        replicas: replicas.iter().map(|node| NodeId(*node)).collect(),
                    })
                    .collect(),
            },
            Self::AlterDatabase { name, modes } => Command::AlterDatabase {
                name: format!("db{name}"),
                replication: [None, Some(ReplicationMode::Sync), Some(ReplicationMode::Async)]
                    [usize::from(modes % 3)],
                durability: [None, Some(Durability::Sync), Some(Durability::Async)]
                    [usize::from(modes / 3 % 3)],
            },
            Self::NoteSynced { partition: place, epoch, version } => {
                let (id, at, of) = partition(catalog, *place);
                Command::NoteSynced {
                    partition: id,
                    epoch: Epoch(off(at, *epoch)),
                    version: off(of, *version),
                }
            }
            Self::DropDatabase { name, lenient } => {
                Command::DropDatabase { name: format!("db{name}"), if_exists: *lenient }
            }
            Self::CreateTable { database, name, columns, reference, lenient } => Command::CreateTable {
                database: format!("db{database}"),
                schema: schema(*name, *columns, *reference),
                if_not_exists: *lenient,
            },
            Self::DropTable { database, name, lenient } => Command::DropTable {
                database: format!("db{database}"),
                table: format!("t{name}"),
                if_exists: *lenient,
            },
            Self::SetVariable { name, value } => Command::SetVariable {
                name: [
                    "auto_attach",
                    "AUTO-attach",
                    "redundancy_level",
                    "leaf_failover_fanout",
                    "nonsense",
                    "",
                ][*name]
                    .into(),
                value: ["ON", "off", "2", "paired", "-1"][*value].into(),
            },
            Self::User { what, user, lenient } => user_command(*what, *user, *lenient),
            Self::InstallPolicy { name, version: of, replace, big } => Command::InstallPolicy {
                module: version(*name, *of, if *big { POLICY_BYTES_MAX + 1 } else { 3 }),
                replace: *replace,
            },
            Self::BindPolicy { points: last, name, version, scope: of, shadow } => {
                Command::BindPolicy(NewBinding {
                    scope: scope(*of),
                    shadow: *shadow,
                    ..NewBinding::of_cluster(
                        points(*last),
                        format!("p{name}"),
                        hash(*name, *version),
                        BTreeMap::from([("miss_limit".into(), "7".into())]),
                    )
                })
            }
            Self::Policy { what, points: last, name, version, scope: of, flag } => {
                let (decision_points, scope) = (points(*last), scope(*of));
                match what {
                    0 => Command::DropPolicy { name: format!("p{name}"), if_exists: *flag },
                    1 => Command::UnbindPolicy { decision_points, scope, shadow: *flag },
                    2 => {
                        let before = |point: &String| {
                            let binding = catalog.binding_at(point, scope, false)?;
                            Some((point.clone(), binding.previous.last()?.hash.clone()))
                        };
                        let back_to = decision_points.iter().filter_map(before).collect();
                        Command::RollbackPolicy { back_to, scope }
                    }
                    3 => Command::QuarantinePolicy { hash: hash(*name, *version), reason: "traps".into() },
                    4 => Command::ReleasePolicy { name: format!("p{name}") },
                    _ => Command::MarkMaintenance {
                        node: NodeId((*version).into()),
                        until_ms: flag.then(|| catalog.index().0 + u64::from(*of)),
                    },
                }
            }
            Self::TakeAutoIncrement { table, count, at_least } => {
                Command::TakeAutoIncrement { table: TableId(*table), count: *count, at_least: *at_least }
            }
            Self::WriteReference { table, version, rows } => {
                let found = catalog.table_by_id(TableId(*table));
                Command::WriteReference(ReferenceWrite {
                    table: TableId(*table),
                    expected_version: off(found.map_or(1, |table| table.version), *version),
                    rows: rows
                        .iter()
                        .map(|(key, keep)| (vec![*key], keep.then(|| Blob::new(&[*key]))))
                        .collect(),
                    affected_rows: 1,
                    last_insert_id: 0,
                })
            }
            Self::RecordDecision => Command::RecordDecision(decision()),
            Self::RecordEvent => Command::RecordEvent {
                severity: Severity::Notice,
                event_type: event_type::POLICY_FALLBACK.into(),
                node: None,
                details: "trap".into(),
            },
            Self::Operator { what, partition: place, epoch, node, flag } => {
                let (id, at, _) = partition(catalog, *place);
                let (node, epoch) = (NodeId(*node), Epoch(off(at, *epoch)));
                let plan = catalog.plans().last().map_or(1, |plan| plan.id);
                let status = if *flag { StepStatus::Success } else { StepStatus::Running };
                let known = catalog.node(node);
                match what {
                    0 => Command::HandOver { partition: id, epoch, to: node, reason: "planned".into() },
                    1 => Command::DropReplica {
                        partition: id,
                        node,
                        copies_left: if *flag { 2 } else { 1 },
                        reason: "planned".into(),
                    },
                    2 => Command::ForcePrimary { partition: id, epoch, to: node, loss: "all".into() },
                    3 => Command::ForgetOrphan { partition: id, node },
                    4 => Command::DetachLeaf { node, last_copies: *flag, reason: "work".into() },
                    5 => Command::AttachLeaf {
                        node,
                        incarnation: known.map_or(Incarnation(0), |known| known.incarnation),
                        store: if *flag { known.map_or(StoreId(0), |known| known.store) } else { StoreId(9) },
                        lost_tail: *flag,
                    },
                    6 => Command::RemoveLeaf { node, force: *flag },
                    7 => Command::StartPlan {
                        database: id.database,
                        kind: PlanKind::Rebalance,
                        emptied: BTreeSet::new(),
                        steps: (0..2)
                            .map(|ordinal| NewStep {
                                action: PlanAction::Copy,
                                ordinal,
                                target: node,
                                from: None,
                                phase: 1,
                            })
                            .collect(),
                    },
                    8 => {
                        let step = u32::try_from(*place).unwrap_or(0);
                        Command::NoteStep { plan, step, status, details: String::new() }
                    }
                    _ => Command::EndPlan { plan, status, details: String::new() },
                }
            }
            Self::Batch(intents) => {
                Command::Batch(intents.iter().map(|intent| intent.command(catalog)).collect())
            }
        }
    }
}

fn schema(name: u8, columns: u8, reference: bool) -> TableSchema {
    let column = |place: u8| Column {
        name: format!("c{place}"),
        column_type: ColumnType::Int { bits: 64, unsigned: false },
        nullable: false,
        default: None,
        auto_increment: false,
    };
    TableSchema {
        id: TableId(0),
        database: DatabaseId(0),
        name: format!("t{name}"),
        columns: (0..columns).map(column).collect(),
        primary_key: vec![],
        shard_key: vec![],
        kind: if reference { TableKind::Reference } else { TableKind::Sharded },
    }
}

fn rows(catalog: &Catalog) -> BTreeMap<RowKey, CatalogRow> {
    catalog.rows().map(|row| (row.key(), row)).collect()
}

/// A catalog, and its rows as a disk has them that only learns of what is said to have changed.
struct Kept {
    catalog: Catalog,
    disk: BTreeMap<RowKey, CatalogRow>,
}

impl Kept {
    fn new() -> Self {
        let catalog = Catalog::default();
        Self { disk: rows(&catalog), catalog }
    }

    /// A cluster with an aggregator, n1, and leaves n2 to n5.
    fn founded() -> Self {
        let mut kept = Self::new();
        let found = Intent::Found { policies: 2, binding: 1 }.command(&kept.catalog);
        kept.apply(None, found).outcome.expect("it is the first");
        for port in 2..6 {
            let leaf = Command::AddNode(new_node(port, true, 1 + u32::from(port % 2)));
            kept.apply(None, leaf).outcome.expect("the port is free");
        }
        for (name, modes) in [(1, 0), (2, 2)] {
            let placements = vec![(2, vec![3, 4]), (3, vec![2])];
            let create = Intent::CreateDatabase { name, lenient: false, modes, placements };
            let create = create.command(&kept.catalog);
            kept.apply(None, create).outcome.expect("the leaves are there");
        }
        kept
    }

    fn apply(&mut self, statement: Option<StatementId>, command: Command) -> Applied {
        let index = self.catalog.index().next();
        let applied = self.catalog.apply(index, &Entry { statement, at_ms: index.0, command });
        for key in &applied.changed {
            match self.catalog.row(key) {
                Some(row) => drop(self.disk.insert(key.clone(), row)),
                None => drop(self.disk.remove(key)),
            }
        }
        applied
    }
}

/// What is bound is there, and binds what it was: bytes, not names.
fn check_policies(catalog: &Catalog) {
    for binding in catalog.bindings() {
        let modules = std::iter::once(binding.module()).chain(binding.previous.iter().cloned());
        for bound in modules {
            let module = catalog.module(&bound.hash).expect("what is bound, or was, is kept");
            assert_eq!(module.name, bound.policy);
            assert!(module.decision_points.contains(&binding.decision_point));
        }
        assert!(binding.previous.len() <= POLICY_BINDINGS_KEPT);
        if let BindingScope::Database(id) = binding.scope {
            assert!(
                catalog.databases().any(|database| database.id == id),
                "{binding:?} outlived its database"
            );
        }
    }
    let of_names: usize =
        catalog.policies().map(|module| catalog.policy_versions(&module.name).count()).sum();
    assert_eq!(of_names, catalog.modules().count(), "each module is a version of its policy");
}

/// What a step must not have done.
fn check_step(
    before: &Catalog,
    after: &Catalog,
    statement: Option<StatementId>,
    command: &Command,
    outcome: &Outcome,
) {
    if outcome.is_err() {
        let of_others = |catalog: &Catalog| -> Vec<CatalogRow> {
            let rows = catalog.rows();
            rows.filter(|row| !matches!(row, CatalogRow::Outcome(s, ..) if Some(*s) == statement)).collect()
        };
        assert_eq!(of_others(before), of_others(after), "refused, and yet something changed: {command:?}");
    }
    check_policies(after);
    for partition in after.partitions() {
        for node in partition.instances() {
            // A primary's leaf may have been removed: then an operator has to say who else is.
            assert!(after.node(node).map_or(node == partition.primary, |known| known.is_leaf()), "{node}");
        }
        assert!(!partition.replicas.contains_key(&partition.primary), "two instances on one node");
        let database = after.database_by_id(partition.id.database).expect("a partition has its database");
        if database.replication == ReplicationMode::Async {
            assert_eq!(partition.in_sync_replicas().count(), 0, "nobody is in sync in {database:?}");
        }
        if database.durability == Durability::Async {
            assert!(partition.unsynced, "checklist 9: {partition:?} in {database:?}");
        }
        if partition.primary_unsure {
            assert!(partition.promotable().next().is_some(), "checklist 10: {partition:?} waits for nobody");
        }
        let Some(old) = before.partition(partition.id) else {
            if !matches!(command, Command::Batch(_)) {
                assert_eq!((partition.epoch, partition.version), (Epoch(1), 1));
            }
            continue;
        };
        assert!(partition.version >= old.version && partition.epoch >= old.epoch, "{old:?} ⇨ {partition:?}");
        assert_eq!(partition == old, partition.version == old.version, "{old:?} ⇨ {partition:?}");
        if partition.primary != old.primary {
            assert!(partition.epoch > old.epoch, "S1: {old:?} ⇨ {partition:?}");
        }
        // Of one command; a batch is several.
        if !matches!(command, Command::Batch(_)) {
            assert!(partition.epoch.0 <= old.epoch.0 + 1, "S1: {old:?} ⇨ {partition:?}");
            if partition.primary != old.primary {
                let state = old.replicas.get(&partition.primary);
                assert!(before.node(partition.primary).is_some_and(|node| node.is_online()));
                if matches!(command, Command::ForcePrimary { .. }) {
                    assert!(before.serving(old.id).is_none(), "S4: {old:?} ⇨ {partition:?}");
                    assert_eq!(partition.in_sync_replicas().count(), 0);
                    let keeps = !old.primary_lost && before.node(old.primary).is_some();
                    assert_eq!(after.is_set_aside(old.id, old.primary), keeps, "S7: {old:?}");
                } else {
                    assert_eq!(state, Some(&SyncState::Sync), "S4: {old:?} ⇨ {partition:?}");
                    let planned = matches!(command, Command::HandOver { .. });
                    let then = if planned { SyncState::Sync } else { SyncState::Async };
                    assert_eq!(partition.replicas.get(&old.primary), Some(&then));
                }
            }
            // S7: an instance goes by an operator's word alone, and its primary serves.
            for node in old.replicas.keys().filter(|node| partition.role_of(**node).is_none()) {
                let served = after.serving(old.id).is_some();
                assert!(
                    matches!(command, Command::DropReplica { .. }) && served
                        || matches!(command, Command::RemoveLeaf { force: true, .. }),
                    "S7: {node} of {old:?} ⇨ {partition:?}"
                );
            }
            if old.unsynced && !partition.unsynced {
                assert!(matches!(command, Command::NoteSynced { .. }), "{old:?} ⇨ {partition:?}");
            }
            for (node, state) in &partition.replicas {
                if *node == old.primary {
                    continue;
                }
                if *state == SyncState::Sync && old.replicas.get(node) != Some(&SyncState::Sync) {
                    assert_eq!(old.replicas.get(node), Some(&SyncState::Ready), "{old:?} ⇨ {partition:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_rules(history in history(), founded in prop::bool::weighted(0.9)) {
        let (mut one, mut other) =
            if founded { (Kept::founded(), Kept::founded()) } else { (Kept::new(), Kept::new()) };
        let mut outcomes: BTreeMap<StatementId, Outcome> = BTreeMap::new();
        for (statement, intent) in history {
            let statement = statement.map(|number| StatementId(number.into()));
            let command = intent.command(&one.catalog);
            let before = one.catalog.clone();
            let applied = one.apply(statement, command.clone());
            prop_assert_eq!(&applied, &other.apply(statement, command.clone()), "the same entry, the same answer");
            if let Some(first) = statement.and_then(|statement| outcomes.get(&statement)) {
                // S12
                prop_assert_eq!(first, &applied.outcome);
                prop_assert_eq!(rows(&before), rows(&one.catalog));
            } else {
                check_step(&before, &one.catalog, statement, &command, &applied.outcome);
                if !matches!(applied.outcome, Err(Rejection::TableChanged(_))) {
                    outcomes.extend(statement.map(|statement| (statement, applied.outcome.clone())));
                }
            }
            prop_assert_eq!(&one.disk, &rows(&one.catalog), "what is on disk is what is in memory");
        }
        prop_assert_eq!(&one.catalog, &other.catalog);
        let mut all: Vec<CatalogRow> = one.disk.into_values().collect();
        prop_assert_eq!(&one.catalog, &Catalog::from_rows(one.catalog.index(), all.clone()));
        all.reverse();
        prop_assert_eq!(&one.catalog, &Catalog::from_rows(one.catalog.index(), all), "in any order");
    }
}

#[test]
fn what_grows_is_bounded_and_the_oldest_goes_first() {
    let mut kept = Kept::founded();
    for _ in 0..EVENTS_KEPT + 40 {
        kept.apply(None, Intent::RecordEvent.command(&Catalog::default())).outcome.expect("an event");
    }
    for _ in 0..DECISIONS_KEPT + 40 {
        kept.apply(None, Command::RecordDecision(decision())).outcome.expect("a decision");
    }
    let outcomes = CATALOG_OUTCOMES_KEPT as u128 + 40;
    for statement in 1..=outcomes {
        kept.apply(
            Some(StatementId(statement)),
            Intent::User { what: 0, user: 1, lenient: true }.command(&Catalog::default()),
        )
        .outcome
        .expect("a password");
    }
    let ids: Vec<u64> = kept.catalog.events().map(|event| event.id).collect();
    assert_eq!(ids.len(), EVENTS_KEPT);
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let ids: Vec<u64> = kept.catalog.decisions().map(|decision| decision.id).collect();
    assert_eq!(ids, (41..41 + DECISIONS_KEPT as u64).collect::<Vec<_>>());
    let remembered = (1..=outcomes).filter(|s| kept.catalog.outcome(StatementId(*s)).is_some());
    assert!(remembered.eq(41..=outcomes));
    assert_eq!(kept.disk, rows(&kept.catalog));
    assert_eq!(kept.catalog, Catalog::from_rows(kept.catalog.index(), kept.disk.into_values()));
}

#[test]
fn a_cluster_is_founded_as_a_whole_or_not_at_all() {
    let found = |policies: Vec<PolicyModule>, point: &str, policy: &str| Command::FoundCluster {
        cluster: ClusterId(1),
        node: new_node(0, false, 1),
        policies,
        bindings: vec![("detection".into(), "p0".into()), (point.into(), policy.into())],
    };
    let good = || vec![module(0, 3)];
    let same = PolicyModule { hash: hash(0, 0), ..module(1, 3) };
    let many = (0..=POLICIES_MAX).map(|name| module(name as u8, 3)).collect();
    for bad in [
        found(vec![module(0, 3), module(1, POLICY_BYTES_MAX + 1)], "promotion", "p0"),
        found(vec![module(0, 3), same], "promotion", "p0"),
        found(many, "promotion", "p0"),
        found(good(), "promotion", "nobody"),
        found(good(), "cooking", "p0"),
    ] {
        let mut kept = Kept::new();
        assert!(kept.apply(None, bad).outcome.is_err());
        assert_eq!(kept.disk, Kept::new().disk);
        let again = found(good(), "promotion", "p0");
        assert!(kept.apply(None, again).outcome.is_ok(), "it can be tried again");
    }
}

#[test]
fn policies_are_bounded_and_what_is_bound_is_kept() {
    let mut kept = Kept::founded();
    let install = |name, of| Command::InstallPolicy { module: version(name, of, 3), replace: true };
    let bind = |of| {
        let hash = hash(0, of);
        Command::BindPolicy(NewBinding::of_cluster(points(0), "p0".into(), hash, BTreeMap::new()))
    };
    let last = (POLICY_VERSIONS_KEPT + POLICY_BINDINGS_KEPT) as u8 + 10;
    for of in 1..=last {
        kept.apply(None, install(0, of)).outcome.expect("another version");
    }
    let versions =
        |kept: &Kept| kept.catalog.policy_versions("p0").map(|m| m.version.clone()).collect::<Vec<_>>();
    let newest = |count: usize| (last + 1 - count as u8..=last).map(|of| of.to_string()).collect::<Vec<_>>();
    // Version 0 is bound.
    let mut wanted = newest(POLICY_VERSIONS_KEPT - 1);
    wanted.insert(0, "0".into());
    assert_eq!(versions(&kept), wanted);
    for of in last..last + 20 {
        kept.apply(None, install(0, of)).outcome.expect("another version");
        kept.apply(None, bind(of)).outcome.expect("it is there");
    }
    let detection = kept.catalog.binding("detection").expect("it is bound");
    assert_eq!(detection.previous.len(), POLICY_BINDINGS_KEPT);
    assert_eq!(versions(&kept).len(), POLICY_BINDINGS_KEPT + 1);
    for name in 2..POLICIES_MAX as u8 {
        kept.apply(None, install(name, 0)).outcome.expect("there is room");
    }
    assert!(matches!(kept.apply(None, install(200, 0)).outcome, Err(Rejection::Limit(_))));
    for of in 0..QUARANTINES_KEPT + 10 {
        let of = (of % 250) as u8;
        let name = if of < 125 { 2 } else { 3 };
        kept.apply(None, install(name, of)).outcome.expect("another version");
        let hash = hash(name, of);
        kept.apply(None, Command::QuarantinePolicy { hash, reason: "traps".into() })
            .outcome
            .expect("it is there");
    }
    assert!(kept.catalog.quarantines().count() <= QUARANTINES_KEPT);
    check_policies(&kept.catalog);
    assert_eq!(kept.disk, rows(&kept.catalog));
}

/// S12: an attempt that came too late is no outcome of its statement; what it is computed to next is.
#[test]
fn a_reference_write_that_came_too_late_may_be_computed_again() {
    let mut kept = Kept::founded();
    let create = Intent::CreateTable { database: 1, name: 1, columns: 1, reference: true, lenient: false };
    let create = create.command(&kept.catalog);
    kept.apply(None, create).outcome.expect("the database is there");
    let mut write = |statement, version| {
        let intent = Intent::WriteReference { table: 1, version, rows: vec![(statement, true)] };
        let command = intent.command(&kept.catalog);
        kept.apply(Some(StatementId(statement.into())), command).outcome
    };
    assert!(write(1, 0).is_ok());
    assert_eq!(write(2, -1), Err(Rejection::TableChanged(TableId(1))));
    let done = write(2, 0);
    assert!(done.is_ok());
    assert_eq!(write(2, -1), done, "a late copy of the first attempt");
    assert_eq!(write(2, 0), done, "a retry");
    assert_eq!(kept.catalog.reference_rows(TableId(1)).count(), 2);
}

#[test]
fn an_index_that_was_applied_is_never_applied_again() {
    let mut kept = Kept::founded();
    let index = kept.catalog.index();
    let entry = Entry { statement: None, at_ms: 0, command: Command::RemoveNode { node: NodeId(1) } };
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kept.catalog.apply(index, &entry)));
    assert!(again.is_err());
    assert!(
        kept.catalog.apply(CatalogIndex(index.0 + 7), &entry).outcome.is_ok(),
        "gaps are the control group's"
    );
}
