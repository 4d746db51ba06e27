//! What it costs to apply one command to the catalog of a large cluster: 100 leaves, 8 databases of 128 partitions.

use std::hint::black_box;

use baton_catalog::{
    Catalog, Command, Entry, InstancePlacement, NewNode, ReferenceWrite, Severity, event_type,
};
use baton_model::{
    Blob, CatalogIndex, ClusterId, Column, ColumnType, DatabaseId, Datum, Durability, Incarnation, NodeId,
    NodeRole, PartitionId, ReplicationMode, StatementId, StoreId, SyncState, TableId, TableKind, TableSchema,
    encode_key,
};
use criterion::{Criterion, criterion_group, criterion_main};

const LEAVES: u64 = 100;
const DATABASES: u64 = 8;
const PARTITIONS: u64 = 128;
const REFERENCE_ROWS: u64 = 1000;

/// A catalog, and the entries that come to it.
struct Log {
    catalog: Catalog,
    next: u64,
}

impl Log {
    /// Applies a command; with a statement id, as those of clients have one.
    fn apply(&mut self, command: Command) {
        self.next += 1;
        let statement = Some(StatementId(u128::from(self.next)));
        let entry = Entry { statement, at_ms: self.next, command };
        black_box(self.catalog.apply(CatalogIndex(self.next), &entry)).outcome.expect("the command is good");
    }
}

fn node(role: NodeRole, n: u64) -> NewNode {
    let port = u16::try_from(10_000 + 3 * n).expect("a port");
    NewNode {
        host: "127.0.0.1".into(),
        sql_port: port,
        rpc_port: port + 1,
        http_port: port + 2,
        role,
        aggregator_role: None,
        availability_group: (role == NodeRole::Leaf).then_some(1 + (n % 2) as u32),
        incarnation: Incarnation(n),
        store: StoreId(n),
    }
}

fn column(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.into(), column_type, nullable: false, default: None, auto_increment: false }
}

/// The large cluster; its first leaf is n2.
fn cluster() -> Log {
    let mut log = Log { catalog: Catalog::default(), next: 0 };
    log.apply(Command::FoundCluster {
        cluster: ClusterId(7),
        node: node(NodeRole::Aggregator, 0),
        policies: Vec::new(),
        bindings: Vec::new(),
    });
    for n in 1..=LEAVES {
        log.apply(Command::AddNode(node(NodeRole::Leaf, n)));
    }
    for database in 0..DATABASES {
        let placement = |ordinal: u64| InstancePlacement {
            primary: NodeId(2 + ordinal % LEAVES),
            replicas: vec![NodeId(2 + (ordinal + 1) % LEAVES)],
        };
        log.apply(Command::CreateDatabase {
            name: format!("db{database}"),
            if_not_exists: false,
            replication: ReplicationMode::Sync,
            durability: Durability::Async,
            placements: (0..PARTITIONS).map(placement).collect(),
        });
    }
    let schema = TableSchema {
        id: TableId(0),
        database: DatabaseId(0),
        name: "reference".into(),
        kind: TableKind::Reference,
        columns: vec![
            column("id", ColumnType::Int { bits: 64, unsigned: false }),
            column("note", ColumnType::Text),
        ],
        primary_key: vec![0],
        shard_key: Vec::new(),
    };
    log.apply(Command::CreateTable { database: "db0".into(), schema, if_not_exists: false });
    log
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalog/apply");
    group.bench_function("set_variable", |bencher| {
        let mut log = cluster();
        let mut value = 0;
        bencher.iter(|| {
            value = value % 1000 + 100;
            log.apply(Command::SetVariable {
                name: "sync_replica_timeout_ms".into(),
                value: value.to_string(),
            });
        });
    });
    group.bench_function("set_sync_state", |bencher| {
        let mut log = cluster();
        let ids: Vec<PartitionId> = log.catalog.partitions().map(|partition| partition.id).collect();
        let mut at = 0;
        bencher.iter(|| {
            at = (at + 1) % ids.len();
            let partition = log.catalog.partition(ids[at]).expect("it is there");
            let replica = partition.replicas.keys().next().copied().expect("it has one");
            let (epoch, version) = (partition.epoch, partition.version);
            let state = match partition.replicas[&replica] {
                SyncState::Async => SyncState::Ready,
                SyncState::Ready => SyncState::Sync,
                SyncState::Sync => SyncState::Async,
            };
            let reason = "it is a bench".into();
            log.apply(Command::SetSyncState { partition: ids[at], epoch, version, replica, state, reason });
        });
    });
    group.bench_function("write_reference_row", |bencher| {
        let mut log = cluster();
        let database = log.catalog.database("db0").expect("it is there").id;
        let table = log.catalog.table(database, "reference").expect("it is there").schema.id;
        let mut id = 0;
        bencher.iter(|| {
            id = (id + 1) % REFERENCE_ROWS;
            let expected_version = log.catalog.table_by_id(table).expect("it is there").version;
            let key = encode_key([&Datum::Int(id as i64)]).expect("a key");
            let rows = vec![(key, Some(Blob::new(&[7; 64])))];
            log.apply(Command::WriteReference(ReferenceWrite {
                table,
                expected_version,
                rows,
                affected_rows: 1,
                last_insert_id: 0,
            }));
        });
    });
    group.bench_function("record_event", |bencher| {
        let mut log = cluster();
        bencher.iter(|| {
            log.apply(Command::RecordEvent {
                severity: Severity::Notice,
                event_type: event_type::NODE_ONLINE.into(),
                node: Some(NodeId(2)),
                details: "it is a bench".into(),
            });
        });
    });
    // What a failing leaf costs at once: it goes offline, and is back, which looks at all it holds.
    group.bench_function("node_offline_and_online", |bencher| {
        let mut log = cluster();
        bencher.iter(|| {
            let leaf = NodeId(2);
            let (incarnation, store) = (Incarnation(1), StoreId(1));
            log.apply(Command::SetNodeOffline { node: leaf, incarnation, reason: "it is a bench".into() });
            log.apply(Command::SetNodeOnline { node: leaf, incarnation, store, lost_tail: false });
        });
    });
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
