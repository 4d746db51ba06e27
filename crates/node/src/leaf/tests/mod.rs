//! One leaf with one instance, on a real disk: what it takes, what it refuses, and how it answers.

mod catalog;
mod transactions;

use std::time::Duration;

use baton_catalog::{Command, Entry, InstancePlacement, NewNode};
use baton_detector::Grant;
use baton_model::errors::ErrorCode;
use baton_model::limits::{
    LEAF_READ_LEASE_MS, LEAF_READ_LEASE_WAIT_MS, MESSAGE_BYTES_MAX, SCAN_BATCH_BYTES_MAX,
    TRANSACTION_OUTCOMES_KEPT,
};
use baton_model::{
    AggregatorRole, Blob, CatalogIndex, ClusterId, Column, ColumnType, Datum, Durability, Epoch, Incarnation,
    Key, Lsn, NodeId, NodeRole, ReplicationMode, StatementId, StoreId, SyncState, TableKind, TableSchema,
    TransactionId, encode_row,
};
use baton_replication::transaction::{Answer, DECIDED, Decided, Home, Origin, Place, Request, key_of};
use baton_replication::{Known, Settings, View};
use baton_sql::{Access, ChangeProgram, ScanRequest};
use baton_transport::heartbeat::Pulse;
use baton_transport::{Clock, Identity, Member};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::partition::Input;
use super::*;
use crate::config::NodeConfig;
use crate::identity::DataDir;
use crate::wire::{
    DrainRequest, GetRequest, Knowledge, Membership, ScanNews, TakeBackRequest, Within, WriteOperation,
    WriteRequest, WrittenWithin, decode,
};

const HERE: NodeId = NodeId(2);
const THERE: NodeId = NodeId(3);
const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };
const TABLE: TableId = TableId(1);
const MIB: usize = 1 << 20;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

struct Stage {
    leaf: Arc<Leaf>,
    _dir: TempDir,
}

impl Stage {
    /// A leaf that serves the partition in its first epoch, alone.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let member = Member { cluster_id: ClusterId(7), node: HERE };
        let (data_dir, mut identity) = DataDir::open(dir.path(), NodeRole::Leaf, StoreId(1)).unwrap();
        identity.cluster = Some(member.cluster_id);
        identity.node = HERE;
        let store = open_data(&data_dir, &mut identity, StoreId(2)).unwrap();
        let config = NodeConfig {
            role: NodeRole::Leaf,
            host: "h".into(),
            sql_port: 1,
            rpc_port: 2,
            http_port: 3,
            data_dir: dir.path().into(),
        };
        let pulse = Arc::new(Pulse::new(Identity::new(Some(member)), Incarnation(1), identity.store));
        let shutdown = CancellationToken::new();
        let context = Arc::new(Context::new(config, Clock::start(), pulse, data_dir, identity, shutdown));
        let store = Arc::new(store);
        let (lag, _) = lag::reports();
        let mark = Arc::new(Mutex::new(TailMark::begin(dir.path(), false, false).unwrap()));
        let copies = Copies::open(Arc::clone(&context), Arc::clone(&store)).unwrap();
        let handle = PartitionHandle::start(
            Arc::clone(&context),
            Arc::clone(&store),
            Arc::clone(&copies),
            PARTITION,
            lag.clone(),
        )
        .unwrap();
        let instances = RwLock::new(BTreeMap::from([(PARTITION, handle)]));
        let stage = Self {
            leaf: Arc::new(Leaf {
                context,
                store,
                copies,
                turns: Turns::default(),
                writing: Semaphore::new(WRITES_MAX),
                instances,
                lag,
                mark,
                reconciling: tokio::sync::Mutex::default(),
            }),
            _dir: dir,
        };
        stage.see(1, HERE, &[]).await;
        stage.wait_until_it_serves(Some(Epoch(1))).await;
        stage
    }

    fn instance(&self) -> Arc<PartitionHandle> {
        self.leaf.instance(PARTITION).unwrap()
    }

    /// The catalog says this; its version is the number of the call, so to speak.
    async fn see(&self, version: u64, primary: NodeId, replicas: &[(NodeId, SyncState)]) {
        let epoch = if primary == HERE { Epoch(1) } else { Epoch(2) };
        self.see_at(epoch, version, primary, replicas).await;
    }

    async fn see_at(&self, epoch: Epoch, version: u64, primary: NodeId, replicas: &[(NodeId, SyncState)]) {
        let replicas = replicas.iter().map(|(node, state)| (*node, (*state, true))).collect();
        let settings = Settings { sync_replica_timeout: LONG, ..Settings::default() };
        let view = View {
            epoch,
            version,
            primary,
            armed: true,
            replicas,
            sync_replication: true,
            sync_durability: true,
            unsynced: false,
            settings,
        };
        self.instance().see(view).await;
    }

    async fn wait_until_it_serves(&self, epoch: Option<Epoch>) {
        let serves = async {
            while self.instance().tenure().map(|tenure| tenure.epoch()) != epoch {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, serves).await.expect("it does so soon");
    }

    /// Until the statement is in the log, and so holds its locks, and waits for its commit.
    async fn wait_until_in_flight(&self, statement: u128) {
        let statement = StatementId(statement);
        let instance = self.instance();
        let in_flight = async {
            while !matches!(
                instance.ask(|reply| Input::Known { statement, reply }).await,
                Some(Known::InFlight(_))
            ) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, in_flight).await.expect("it is in the log soon");
    }

    async fn write(&self, statement: u128, operation: WriteOperation) -> Result<u64, DataRefusal> {
        let statement = StatementId(statement);
        self.leaf.write(WriteRequest { partition: PARTITION, statement, lock_wait_ms: 50, operation }).await
    }

    async fn insert(&self, statement: u128, rows: Vec<(Key, Blob)>) -> Result<u64, DataRefusal> {
        self.write(statement, WriteOperation::Insert { table: TABLE, replace: false, rows }).await
    }

    async fn get(&self, keys: impl IntoIterator<Item = u8>) -> Result<Vec<Option<Vec<u8>>>, DataRefusal> {
        let keys = keys.into_iter().map(|key| vec![key]).collect();
        self.leaf.get(&GetRequest { partition: PARTITION, table: TABLE, keys, within: None }).await
    }

    fn is_irreplaceable(&self) -> bool {
        self.instance().tenure().is_some_and(|tenure| tenure.is_irreplaceable())
    }

    /// A replica that must be waited for, and that acknowledges nothing, could take this primary's place.
    async fn is_replaceable(&self) {
        self.see(2, HERE, &[(THERE, SyncState::Sync)]).await;
        let replaceable = async {
            while self.is_irreplaceable() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, replaceable).await.expect("it hears so soon");
    }

    /// The master aggregator confirms what this leaf is by this catalog.
    fn lease(&self, index: CatalogIndex) {
        let context = &self.leaf.context;
        let now = context.clock.now();
        context.pulse.take_lease(now, Grant { answered_at: now, index });
    }

    /// What a scan's reader is told.
    async fn scan(&self, access: Access) -> Vec<ScanNews> {
        let request = ScanRequest {
            partition: PARTITION,
            schema: schema(),
            projection: vec![0],
            filter: None,
            limit: None,
            access,
        };
        let mut rows = match self.leaf.scan(request, None).await {
            Ok(rows) => rows,
            Err(refusal) => return vec![ScanNews::Refused(refusal)],
        };
        let mut news = Vec::new();
        while let Some(message) = rows.recv().await {
            assert!(message.len() < 2 * SCAN_BATCH_BYTES_MAX, "{} bytes in a message", message.len());
            news.push(decode(&message).unwrap());
        }
        news
    }
}

fn schema() -> TableSchema {
    let column = Column {
        name: "text".into(),
        column_type: ColumnType::Text,
        nullable: true,
        default: None,
        auto_increment: false,
    };
    TableSchema {
        id: TABLE,
        database: PARTITION.database,
        name: "t".into(),
        kind: TableKind::Sharded,
        columns: vec![column],
        primary_key: vec![],
        shard_key: vec![],
    }
}

fn row(key: u8, bytes: usize) -> (Key, Blob) {
    (vec![key], encode_row(&[Datum::Text("x".repeat(bytes))]).into())
}

fn delete_all() -> WriteOperation {
    let program = ChangeProgram { schema: schema(), access: Access::All, predicate: None, assignments: None };
    WriteOperation::Change { program, count_found: false }
}

fn code(refusal: &DataRefusal) -> Option<ErrorCode> {
    if let DataRefusal::Failed(error) = refusal { Some(error.code) } else { None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_no_message_could_carry_is_refused_and_nothing_is_done() {
    let stage = Stage::new().await;
    let refused = stage.insert(1, (0..4).map(|key| row(key, 13 * MIB)).collect()).await.unwrap_err();
    assert_eq!(code(&refused), Some(ErrorCode::TooBig));
    assert_eq!(stage.get(0..4).await.unwrap(), vec![None; 4]);
    assert_eq!(stage.insert(2, (0..3).map(|key| row(key, 13 * MIB)).collect()).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_by_key_are_one_message_or_an_error_that_says_so() {
    let stage = Stage::new().await;
    for key in 0..5 {
        stage.insert(u128::from(key), vec![row(key, 15 * MIB)]).await.unwrap();
    }
    let rows = stage.get(0..4).await.unwrap();
    assert!(rows.iter().all(Option::is_some));
    assert!(crate::wire::encode(&crate::wire::Response::Rows(Ok(rows))).len() < MESSAGE_BYTES_MAX);
    assert_eq!(code(&stage.get(0..5).await.unwrap_err()), Some(ErrorCode::TooBig));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_cut_by_bytes_as_well_as_by_rows() {
    let stage = Stage::new().await;
    stage.insert(1, (0..40).map(|key| row(key, MIB)).collect()).await.unwrap();
    let keys = (0..40).map(|key| vec![key]).collect();
    for access in [Access::All, Access::Prefix(vec![]), Access::Keys(keys)] {
        let news = stage.scan(access.clone()).await;
        let batches = news.iter().filter(|news| matches!(news, ScanNews::Batch(_))).count();
        assert_eq!(batches, 10, "{access:?}");
        assert!(matches!(news.last(), Some(ScanNews::End)), "{access:?}");
    }
    assert_eq!(stage.write(2, delete_all()).await, Ok(40));
    assert!(matches!(stage.scan(Access::All).await[..], [ScanNews::End]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_statement_is_carried_out() {
    let stage = Stage::new().await;
    let rows: Vec<_> = (0..3_000_u32).map(|n| (n.to_be_bytes().to_vec(), row(0, 1).1)).collect();
    assert_eq!(stage.insert(1, rows).await, Ok(3_000));
    assert_eq!(stage.write(2, delete_all()).await, Ok(3_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_for_its_first_run_and_does_not_give_up_waiting_for_its_locks() {
    let stage = Stage::new().await;
    // Nothing commits: a replica that never comes is waited for.
    stage.see(2, HERE, &[(THERE, SyncState::Sync)]).await;
    let (first, retry) = (stage.insert(1, vec![row(1, 1)]), stage.insert(1, vec![row(1, 1)]));
    let other = async {
        stage.wait_until_in_flight(1).await;
        let other = stage.insert(2, vec![row(1, 1)]).await;
        stage.see(3, HERE, &[(THERE, SyncState::Async)]).await;
        other
    };
    let (first, retry, other) = tokio::join!(first, retry, other);
    assert_eq!((first, retry), (Ok(1), Ok(1)), "they waited longer than a lock is waited for");
    assert_eq!(code(&other.unwrap_err()), Some(ErrorCode::LockWaitTimeout));
    assert_eq!(stage.insert(1, vec![row(1, 1)]).await, Ok(1), "once more, and still the first outcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_whose_rows_others_hold_is_answered_at_once() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    stage.see(2, HERE, &[(THERE, SyncState::Sync)]).await;
    let other = stage.write(2, delete_all());
    let retry = async {
        stage.wait_until_in_flight(2).await;
        let retry = stage.insert(1, vec![row(1, 1)]).await;
        stage.see(3, HERE, &[(THERE, SyncState::Async)]).await;
        retry
    };
    let (other, retry) = tokio::join!(other, retry);
    assert_eq!((other, retry), (Ok(1), Ok(1)));
}

/// Checklist 13: a replica answers no reads at all, so nobody sees writes in another order than they were committed in.
/// S12: its client was told that nothing was done, and a copy of the request comes late.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_without_a_change_ends_so_again_whatever_has_changed_meanwhile() {
    let stage = Stage::new().await;
    assert_eq!(stage.write(1, delete_all()).await, Ok(0));
    stage.insert(2, vec![row(1, 1)]).await.unwrap();
    let again = stage.insert(3, vec![row(1, 1)]).await.unwrap_err();
    assert_eq!(code(&again), Some(ErrorCode::DuplicateEntry));
    assert_eq!(stage.write(1, delete_all()).await, Ok(0), "it is that statement, and not another one");
    assert_eq!(stage.write(4, delete_all()).await, Ok(1));
    assert_eq!(stage.insert(3, vec![row(1, 1)]).await, Err(again));
    assert_eq!(stage.get(1..2).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_primary_any_more_neither_reads_nor_writes() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let schema = schema();
    stage.see(2, THERE, &[(HERE, SyncState::Async)]).await;
    stage.wait_until_it_serves(None).await;
    assert_eq!(stage.get(0..1).await, Err(DataRefusal::NotPrimary));
    assert_eq!(stage.insert(2, vec![row(2, 1)]).await, Err(DataRefusal::NotPrimary));
    let access = Access::All;
    let (partition, filter, limit) = (PARTITION, None, None);
    let request = ScanRequest { partition, schema, projection: vec![0], filter, limit, access };
    assert_eq!(stage.leaf.scan(request, None).await.unwrap_err(), DataRefusal::NotPrimary);
}

fn new_node(sql_port: u16, role: NodeRole) -> NewNode {
    NewNode {
        host: "h".into(),
        sql_port,
        rpc_port: sql_port + 1000,
        http_port: sql_port + 2000,
        role,
        aggregator_role: Some(AggregatorRole::VotingMember),
        availability_group: Some(1),
        incarnation: Incarnation(1),
        store: StoreId(1),
    }
}

/// A catalog after these commands.
fn catalog(commands: impl IntoIterator<Item = Command>) -> Arc<Catalog> {
    let found = Command::FoundCluster {
        cluster: ClusterId(7),
        node: new_node(1, NodeRole::Aggregator),
        policies: vec![],
        bindings: vec![],
    };
    let commands = [found, Command::AddNode(new_node(2, NodeRole::Leaf))].into_iter().chain(commands);
    let mut catalog = Catalog::default();
    for (index, command) in (1..).map(CatalogIndex).zip(commands) {
        catalog.apply(index, &Entry { statement: None, at_ms: 0, command }).outcome.unwrap();
    }
    Arc::new(catalog)
}

fn create_database(name: &str) -> Command {
    Command::CreateDatabase {
        name: name.into(),
        if_not_exists: false,
        replication: ReplicationMode::Sync,
        durability: Durability::Sync,
        placements: vec![InstancePlacement { primary: HERE, replicas: vec![] }],
    }
}

/// The database of [`PARTITION`] as the master aggregator made it, with a replica.
fn with_replica() -> [Command; 2] {
    let placements = vec![InstancePlacement { primary: HERE, replicas: vec![THERE] }];
    let Command::CreateDatabase { name, if_not_exists, replication, durability, .. } = create_database("one")
    else {
        unreachable!()
    };
    let create = Command::CreateDatabase { name, if_not_exists, replication, durability, placements };
    [Command::AddNode(new_node(3, NodeRole::Leaf)), create]
}

/// Checklist 11: whoever could have been replaced without knowing it shows nothing that it read, whatever statement it
/// was read for, until the master aggregator has confirmed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_could_be_replaced_shows_what_it_reads_under_a_lease_only() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let known = catalog(with_replica());
    stage.leaf.context.publish_catalog(Arc::clone(&known));
    assert!(stage.get(1..2).await.is_ok(), "alone: nobody could be promoted");
    stage.is_replaceable().await;

    let nothing = ChangeProgram {
        schema: schema(),
        access: Access::Keys(vec![vec![9]]),
        predicate: None,
        assignments: None,
    };
    let nothing = || WriteOperation::Change { program: nothing.clone(), count_found: false };
    let begun = Instant::now();
    let (read, taken, none, scanned) = tokio::join!(
        stage.get(1..2),
        stage.insert(2, vec![row(1, 1)]),
        stage.write(3, nothing()),
        stage.scan(Access::All),
    );
    assert_eq!(read, Err(DataRefusal::NoLease));
    assert_eq!(taken, Err(DataRefusal::NoLease), "that a key is taken was only read");
    assert_eq!(none, Err(DataRefusal::NoLease), "that no row is meant was only read");
    assert!(matches!(scanned[..], [ScanNews::Refused(DataRefusal::NoLease)]));
    assert!(begun.elapsed() >= Duration::from_millis(LEAF_READ_LEASE_WAIT_MS), "reads waited for one");

    stage.lease(known.index());
    assert!(stage.get(1..2).await.unwrap()[0].is_some());
    assert_eq!(code(&stage.insert(4, vec![row(1, 1)]).await.unwrap_err()), Some(ErrorCode::DuplicateEntry));
    assert_eq!(stage.write(5, nothing()).await, Ok(0));

    // It ends by itself, and a read waits for the next one.
    sleep(Duration::from_millis(LEAF_READ_LEASE_MS)).await;
    let renewed = async {
        sleep(Duration::from_millis(100)).await;
        stage.lease(known.index());
    };
    let (read, ()) = tokio::join!(stage.get(1..2), renewed);
    assert!(read.is_ok());
}

/// Checklist 11: a lease is worth nothing by a catalog that this leaf has yet to hear of, nor where the catalog already
/// says what the instance has yet to be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_counts_by_the_catalog_that_the_leaf_has() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let known = catalog(with_replica());
    stage.leaf.context.publish_catalog(Arc::clone(&known));
    stage.is_replaceable().await;
    stage.lease(known.index().next());
    assert_eq!(stage.get(1..2).await, Err(DataRefusal::NoLease));

    let reason = String::new();
    let promote = Command::PromoteInstance { partition: PARTITION, epoch: Epoch(1), to: THERE, reason };
    let newer = catalog(with_replica().into_iter().chain([promote]));
    stage.leaf.context.publish_catalog(Arc::clone(&newer));
    stage.lease(newer.index());
    assert_eq!(stage.instance().tenure().unwrap().epoch(), Epoch(1), "it has not been told");
    assert_eq!(stage.get(1..2).await, Err(DataRefusal::NotPrimary));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_leaf_read_lease_off_a_primary_reads_on() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let off = Command::SetVariable { name: "leaf_read_lease".into(), value: "OFF".into() };
    stage.leaf.context.publish_catalog(catalog(with_replica().into_iter().chain([off])));
    stage.is_replaceable().await;
    assert!(stage.get(1..2).await.unwrap()[0].is_some());
}

/// S2: locks hold nobody off who writes at another primary. What a statement has read in one epoch of its leaf is
/// nothing in the next, although its locks were held all the time. Checklist 6 and 12.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_spans_two_epochs_of_its_primary_is_refused() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let tenure = stage.instance().tenure().unwrap();
    let (held, waiting) = tenure.lock_for_statement([(TABLE, vec![1])]);
    assert!(waiting.is_none());
    let replaced_twice = async {
        // Time to reach the lock; whoever has not will find another tenure.
        sleep(Duration::from_millis(20)).await;
        stage.see(2, THERE, &[(HERE, SyncState::Async)]).await;
        stage.see_at(Epoch(3), 3, HERE, &[]).await;
        stage.wait_until_it_serves(Some(Epoch(3))).await;
        drop(held);
    };
    let patient = |statement, operation| {
        let (partition, statement) = (PARTITION, StatementId(statement));
        stage.leaf.write(WriteRequest { partition, statement, lock_wait_ms: 20_000, operation })
    };
    let insert = WriteOperation::Insert { table: TABLE, replace: false, rows: vec![row(1, 1)] };
    let replace = WriteOperation::Insert { table: TABLE, replace: true, rows: vec![row(1, 2)] };
    let (deleted, inserted, replaced, ()) =
        tokio::join!(patient(2, delete_all()), patient(3, insert), patient(4, replace), replaced_twice);
    for outcome in [deleted, inserted, replaced] {
        assert_eq!(outcome, Err(DataRefusal::NotPrimary));
    }
    assert_eq!(tenure.may_show(), Err(DataRefusal::NotPrimary), "what was read in it is the past");
    assert_eq!(stage.get(1..2).await.unwrap(), [Some(row(1, 1).1.to_vec())], "nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_ended_serves_nobody() {
    let stage = Stage::new().await;
    let instance = stage.instance();
    stage.leaf.stop().await;
    assert!(instance.tenure().is_none());
    assert!(!stage.leaf.context.shutdown.is_cancelled(), "it was told to end");
}
