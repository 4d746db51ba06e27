//! One leaf with one instance, on a real disk: what it takes, what it refuses, and how it answers.

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
        let mark = Arc::new(Mutex::new(TailMark::begin(dir.path(), false).unwrap()));
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

fn create_table(name: &str) -> Command {
    let schema = TableSchema { name: name.into(), ..schema() };
    Command::CreateTable { database: "one".into(), schema, if_not_exists: false }
}

fn drop_table(name: &str) -> Command {
    Command::DropTable { database: "one".into(), table: name.into(), if_exists: false }
}

/// Checklist 7: what the catalog does not know is no reason to drop it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_while_the_leaf_was_down_goes_and_what_is_newer_than_its_catalog_stays() {
    let stage = Stage::new().await;
    let there = |database| PartitionId { database: DatabaseId(database), ordinal: 0 };
    for database in 1..=4 {
        for table in 1..=4 {
            let row = (TableId(table), vec![1], Some(vec![1]));
            stage.leaf.store.apply(there(database), Lsn(1), [row], &[]).unwrap();
        }
    }
    // Database 2 and table 2 were dropped; database 4 and table 4 are in no catalog that this leaf has seen.
    let now = catalog([
        create_database("one"),
        create_database("two"),
        create_database("three"),
        create_table("one"),
        create_table("two"),
        create_table("three"),
        drop_table("two"),
        Command::DropDatabase { name: "two".into(), if_exists: false },
    ]);
    let mut seen = Seen::default();
    stage.leaf.remove_what_was_dropped(&now, &mut seen).unwrap();
    assert_eq!(stage.leaf.store.partitions().unwrap(), [there(1), there(3), there(4)]);
    assert_eq!(stage.leaf.store.tables(there(1)).unwrap(), [1, 3, 4].map(TableId));
    assert_eq!(stage.leaf.store.tables(there(4)).unwrap(), [1, 2, 3, 4].map(TableId));

    // The newest ones are dropped while it runs.
    let later =
        catalog([create_database("one"), create_database("two"), create_table("one"), create_table("two")]);
    stage.leaf.remove_what_was_dropped(&later, &mut seen).unwrap();
    assert_eq!(stage.leaf.store.partitions().unwrap(), [there(1), there(4)]);
    assert_eq!(stage.leaf.store.tables(there(1)).unwrap(), [1, 4].map(TableId));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_to_hand_over_takes_no_write_and_goes_on_by_itself() {
    let stage = Stage::new().await;
    let request =
        DrainRequest { partition: PARTITION, epoch: Epoch(1), to: THERE, drain_ms: 300, hold_ms: 300 };
    let refused = stage.leaf.drain(&request).await;
    assert!(refused.is_err_and(|why| why.contains("not in sync")), "it has no replica");

    // The replica acknowledges nothing: what is under way does not end.
    stage.see(2, HERE, &[(THERE, SyncState::Sync)]).await;
    let leaf = Arc::clone(&stage.leaf);
    let draining = tokio::spawn(async move { leaf.drain(&request).await });
    let turned_away = async {
        for key in 1..=u8::MAX {
            let write = timeout(Duration::from_millis(20), stage.insert(key.into(), vec![row(key, 1)]));
            if let Ok(outcome) = write.await {
                return outcome;
            }
        }
        Ok(0)
    };
    assert_eq!(timeout(LONG, turned_away).await.expect("it is soon"), Err(DataRefusal::HandingOver));
    let ended = draining.await.unwrap();
    assert!(ended.as_ref().is_err_and(|why| why.contains("in time")), "{ended:?}");

    // Nobody else was named, so it goes on.
    stage.see(3, HERE, &[]).await;
    assert_eq!(stage.insert(1000, vec![row(0, 1)]).await, Ok(1));
    assert_eq!(stage.leaf.instance(PARTITION).unwrap().tenure().map(|t| t.epoch()), Some(Epoch(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_to_hand_over_waits_for_transactions_and_begins_none() {
    let stage = Stage::new().await;
    let request =
        DrainRequest { partition: PARTITION, epoch: Epoch(1), to: THERE, drain_ms: 200, hold_ms: 200 };
    let place = stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let leaf = Arc::clone(&stage.leaf);
    let draining = tokio::spawn(async move { leaf.drain(&request).await });
    let turned_away = async {
        for number in 10..u32::MAX {
            let other = TransactionId::new(7, u64::from(number));
            stage.put(other, 1, &[9]).await?;
            stage.end(Request::Finish { transaction: other, commit: false }).await;
        }
        Ok(place)
    };
    assert_eq!(timeout(LONG, turned_away).await.expect("it is soon"), Err(DataRefusal::HandingOver));
    assert_eq!(stage.put(TRANSACTION, 2, &[2]).await, Ok(place), "what is open goes on");
    let ended = draining.await.unwrap();
    assert!(ended.as_ref().is_err_and(|why| why.contains("1 transactions are open")), "{ended:?}");
    assert!(stage.put(OTHER, 1, &[3]).await.is_ok(), "nothing came of it");
    let commit = Request::Commit { transaction: TRANSACTION, place, prepared: vec![] };
    assert_eq!(stage.end(commit).await, Answer::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_only_while_its_partition_is_served_elsewhere() {
    let stage = Stage::new().await;
    let orphaned = PartitionId { database: DatabaseId(2), ordinal: 0 };
    stage.leaf.store.apply(orphaned, Lsn(7), [(TABLE, vec![1], Some(vec![1]))], &[]).unwrap();
    let elsewhere = Command::CreateDatabase {
        name: "two".into(),
        if_not_exists: false,
        replication: ReplicationMode::Sync,
        durability: Durability::Sync,
        placements: vec![InstancePlacement { primary: THERE, replicas: vec![] }],
    };
    let first = [Command::AddNode(new_node(3, NodeRole::Leaf)), create_database("one"), elsewhere];
    let offline =
        Command::SetNodeOffline { node: THERE, incarnation: Incarnation(1), reason: "silent".into() };
    let online = Command::SetNodeOnline {
        node: THERE,
        incarnation: Incarnation(1),
        store: StoreId(1),
        lost_tail: false,
    };

    // Its primary is offline: this may be the last copy (S7).
    let unserved = catalog(first.clone().into_iter().chain([offline.clone()]));
    stage.leaf.context.publish_catalog(Arc::clone(&unserved));
    let told = stage.leaf.status();
    let told: Vec<_> = told.iter().filter(|one| one.role == "orphan").collect();
    assert_eq!(told.iter().map(|one| (one.partition, one.last)).collect::<Vec<_>>(), [(orphaned, Lsn(7))]);
    assert!(stage.leaf.drop_orphan(orphaned, unserved.index()).await.is_err());

    let served = catalog(first.into_iter().chain([offline, online]));
    stage.leaf.context.publish_catalog(Arc::clone(&served));
    assert!(
        stage.leaf.drop_orphan(orphaned, served.index().next()).await.is_err(),
        "a newer catalog says so"
    );
    assert!(stage.leaf.drop_orphan(PARTITION, served.index()).await.is_err(), "it is this leaf's own");
    assert!(stage.leaf.store.partitions().unwrap().contains(&orphaned));
    assert_eq!(stage.leaf.drop_orphan(orphaned, served.index()).await, Ok(()));
    assert!(!stage.leaf.store.partitions().unwrap().contains(&orphaned));
    assert_eq!(stage.leaf.drop_orphan(orphaned, served.index()).await, Ok(()), "a second time");
}

const ORIGIN: Origin =
    Origin { aggregator: NodeId(1), incarnation: Incarnation(1), began_at: CatalogIndex(1) };
const TRANSACTION: TransactionId = TransactionId::new(1, 1);
const OTHER: TransactionId = TransactionId::new(2, 2);

impl Stage {
    /// A statement of a transaction, its number given; its workspace is found, or opened.
    async fn write_within(
        &self,
        transaction: TransactionId,
        number: u32,
        operation: WriteOperation,
    ) -> Result<WrittenWithin, DataRefusal> {
        let statement = StatementId(transaction.0 << 32 | u128::from(number));
        let request = WriteRequest { partition: PARTITION, statement, lock_wait_ms: 2_000, operation };
        let member = Membership { transaction, origin: ORIGIN, place: None, number, keep: 1 };
        self.leaf.write_within(request, member).await
    }

    async fn put(&self, transaction: TransactionId, number: u32, keys: &[u8]) -> Result<Place, DataRefusal> {
        let rows = keys.iter().map(|key| row(*key, 1)).collect();
        let operation = WriteOperation::Insert { table: TABLE, replace: true, rows };
        Ok(self.write_within(transaction, number, operation).await?.place)
    }

    async fn end(&self, request: Request) -> Answer {
        timeout(LONG, self.leaf.end_transaction(PARTITION, request)).await.expect("it answers")
    }

    async fn get_within(&self, transaction: TransactionId, place: Place, key: u8) -> bool {
        let within = Some(Within { transaction, place, locked_only: false });
        let request = GetRequest { partition: PARTITION, table: TABLE, keys: vec![vec![key]], within };
        self.leaf.get(&request).await.unwrap()[0].is_some()
    }

    async fn has(&self, key: u8) -> bool {
        self.get(key..key + 1).await.unwrap()[0].is_some()
    }
}

/// A home that is not there.
fn home() -> Home {
    let partition = PartitionId { database: DatabaseId(1), ordinal: 9 };
    Home { partition, place: Place { epoch: Epoch(1), number: 1 } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sees_what_it_wrote_and_nobody_else_does_before_its_commit() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let place = stage.put(TRANSACTION, 1, &[2]).await.unwrap();
    let deleted = stage.write_within(TRANSACTION, 2, delete_all()).await.unwrap();
    assert_eq!((deleted.place, deleted.affected_rows), (place, 2));
    assert_eq!(stage.put(TRANSACTION, 3, &[3]).await, Ok(place));
    assert_eq!(stage.put(TRANSACTION, 3, &[3]).await, Ok(place), "a retry is answered");
    assert!(!stage.get_within(TRANSACTION, place, 1).await && stage.get_within(TRANSACTION, place, 3).await);
    assert!(stage.has(1).await && !stage.has(3).await);

    let back = TakeBackRequest { partition: PARTITION, transaction: TRANSACTION, place, after: 1 };
    assert!(stage.leaf.take_back(&back).unwrap().has_written);
    assert!(stage.get_within(TRANSACTION, place, 1).await && !stage.get_within(TRANSACTION, place, 3).await);

    let commit = || Request::Commit { transaction: TRANSACTION, place, prepared: vec![] };
    assert_eq!(stage.end(commit()).await, Answer::Committed);
    assert!(stage.has(2).await);
    assert_eq!(stage.end(commit()).await, Answer::Committed, "a retry is answered from the rows");
    let known = stage.leaf.knowledge(TRANSACTION, CatalogIndex(0), &[(PARTITION, Epoch(1))]);
    assert_eq!(known, [(PARTITION, Knowledge::Committed)]);
    let known = stage.leaf.knowledge(OTHER, CatalogIndex(0), &[(PARTITION, Epoch(1))]);
    assert_eq!(known, [(PARTITION, Knowledge::Nothing)]);
    let known = stage.leaf.knowledge(OTHER, CatalogIndex(0), &[(PARTITION, Epoch(2))]);
    assert_eq!(known, [], "an older primary cannot say it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_that_closes_a_circle_of_waits_is_told_at_once() {
    let stage = Stage::new().await;
    stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    stage.put(OTHER, 1, &[2]).await.unwrap();
    let second = async {
        while stage.leaf.waits().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        let refused = stage.put(OTHER, 2, &[1]).await;
        let rolled_back = Request::Finish { transaction: OTHER, commit: false };
        assert_eq!(stage.end(rolled_back).await, Answer::Finished);
        refused
    };
    let (first, second) = tokio::join!(stage.put(TRANSACTION, 2, &[2]), second);
    assert_eq!(second, Err(DataRefusal::Deadlock));
    assert!(first.is_ok(), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_is_told_when_its_transaction_is_over() {
    let stage = Stage::new().await;
    stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let waiting = stage.put(OTHER, 1, &[1]);
    let over = async {
        while stage.leaf.waits().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        stage.end(Request::Finish { transaction: OTHER, commit: false }).await
    };
    let (waiting, over) = tokio::join!(waiting, over);
    assert_eq!((waiting, over), (Err(DataRefusal::RolledBack), Answer::Finished));
    let commit = Request::Finish { transaction: TRANSACTION, commit: false };
    assert_eq!(stage.end(commit).await, Answer::Finished);
    assert!(!stage.has(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_what_is_prepared_is_waited_for_by_readers_and_survives_its_primary() {
    let stage = Stage::new().await;
    let place = stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let prepare = || Request::Prepare { transaction: TRANSACTION, place, home: home() };
    assert_eq!(stage.end(prepare()).await, Answer::Prepared);
    assert_eq!(stage.get(1..2).await, Err(DataRefusal::InDoubt), "it may be committed");
    assert!(!stage.has(2).await, "others are read");

    // The leaf's process ends, and another run of it takes over with what is on disk.
    stage.see(2, THERE, &[(HERE, SyncState::Async)]).await;
    stage.wait_until_it_serves(None).await;
    let settings = Settings { sync_replica_timeout: LONG, ..Settings::default() };
    let replicas = std::collections::BTreeMap::new();
    let view = View {
        epoch: Epoch(3),
        version: 3,
        primary: HERE,
        armed: true,
        replicas,
        sync_replication: true,
        sync_durability: true,
        unsynced: false,
        settings,
    };
    stage.instance().see(view).await;
    stage.wait_until_it_serves(Some(Epoch(3))).await;
    assert_eq!(stage.end(prepare()).await, Answer::Prepared, "it still is");
    let locked = stage.insert(7, vec![row(1, 1)]).await.unwrap_err();
    assert_eq!(code(&locked), Some(ErrorCode::LockWaitTimeout));

    let reading = stage.has(1);
    let finish = async {
        sleep(Duration::from_millis(50)).await;
        stage.end(Request::Finish { transaction: TRANSACTION, commit: true }).await
    };
    let (seen, finished) = tokio::join!(reading, finish);
    assert_eq!((seen, finished), (true, Answer::Finished), "the reader waited for it");
    let left = stage.leaf.store.tables(PARTITION).unwrap();
    assert_eq!(left, [TABLE], "nothing is prepared any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_what_was_prepared_when_it_began_and_for_nothing_later() {
    let stage = Stage::new().await;
    let first = stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let second = stage.put(OTHER, 1, &[2]).await.unwrap();
    let prepare = |transaction, place| Request::Prepare { transaction, place, home: home() };
    assert_eq!(stage.end(prepare(TRANSACTION, first)).await, Answer::Prepared);
    let meanwhile = async {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(stage.end(prepare(OTHER, second)).await, Answer::Prepared);
        let finish = Request::Finish { transaction: TRANSACTION, commit: true };
        assert_eq!(stage.end(finish).await, Answer::Finished);
    };
    // Another one is always prepared where many commit; a reader of all rows must come to its turn.
    let (news, ()) = tokio::join!(stage.scan(Access::All), meanwhile);
    assert!(matches!(news.last(), Some(ScanNews::End)), "it saw {} messages", news.len());
    assert_eq!(stage.get(2..3).await, Err(DataRefusal::InDoubt), "the second one still is");
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_old_outcomes_go_unless_somebody_may_ask_for_them_and_then_nothing_is_called_aborted() {
    let stage = Stage::new().await;
    let tenure = stage.instance().tenure().unwrap();
    let kept = TRANSACTION_OUTCOMES_KEPT as u64;
    let id = |number: u64| TransactionId::new(number, 0);
    // One of the oldest has a participant that cannot be asked whether it has finished.
    let decided = |number: u64| Decided {
        prepared: if number == 5 { vec![(home().partition, Epoch(1))] } else { vec![] },
    };
    let rows = (1..=kept + 1_000).map(|n| (DECIDED, key_of(id(n)), Some(decided(n).to_row().to_vec())));
    stage.leaf.store.apply(PARTITION, Lsn(1), rows, &[]).unwrap();
    stage.leaf.prune(&tenure, &Catalog::default()).await.unwrap();
    let known = [1, 5, 1_000, 1_001, kept + 1_000, kept + 1_001].map(|n| tenure.knowledge(id(n)).unwrap());
    let (forgotten, committed, nothing) = (Knowledge::Forgotten, Knowledge::Committed, Knowledge::Nothing);
    assert_eq!(known, [forgotten, committed, forgotten, committed, committed, nothing]);
    // A coordinator that asks again for one that was forgotten is not told that it was aborted.
    let place = Place { epoch: Epoch(1), number: 77 };
    let commit = |n| Request::Commit { transaction: id(n), place, prepared: vec![] };
    assert_eq!(stage.end(commit(7)).await, Answer::Forgotten);
    assert_eq!(stage.end(commit(kept + 1_001)).await, Answer::Aborted);
    assert_eq!(stage.end(Request::Inquire { transaction: id(7), place }).await, Answer::Aborted);
    // Nothing is left to do, and the next look finds that at once.
    stage.leaf.prune(&tenure, &Catalog::default()).await.unwrap();
    assert_eq!(tenure.knowledge(id(1_001)), Ok(Knowledge::Committed));
}
