//! A cluster in one process, for scripts: a catalog, and the rows of every partition in maps.
//!
//! Everything that would be sent is encoded and decoded again on its way.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use baton_catalog::{Catalog, Command, Entry, InstancePlacement, NewNode, Reply};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{
    AggregatorRole, Blob, CatalogIndex, ClusterId, Incarnation, Key, NodeId, NodeRole, PartitionId, Row,
    StatementId, StoreId, TableId, TableKind, decode_row, encode_row,
};
use baton_sql::{
    Access, BatchStream, Change, ChangeProgram, ClusterStatement, InsertPlan, LeafScan, Partitions, ReadPlan,
    ResultSet, ScanRequest, Scanner, SchemaStatement, Session, Statement, answer_show, bind_change,
    bind_insert, execute_query, explain_query, limits, ordinal, parse, permit, plan_read, row_key,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// 2024-02-29 12:34:56.789, as microseconds.
pub const NOW_US: i64 = 1_709_210_096_789_000;

type Rows = BTreeMap<(TableId, Key), Vec<u8>>;

/// The rows of all partitions.
#[derive(Debug, Default)]
pub struct Leaves(Mutex<BTreeMap<PartitionId, Rows>>);

fn over_the_wire<T: Serialize + DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
}

impl Leaves {
    fn chosen(&self, partition: PartitionId, table: TableId, access: &Access) -> Vec<(Key, Row)> {
        let partitions = self.0.lock().unwrap();
        let Some(rows) = partitions.get(&partition) else { return Vec::new() };
        rows.range((table, Key::new())..)
            .take_while(|((of, _), _)| *of == table)
            .filter(|((_, key), _)| match access {
                Access::Keys(keys) => keys.contains(key),
                Access::Prefix(prefix) => key.starts_with(prefix),
                Access::All => true,
            })
            .map(|((_, key), row)| (key.clone(), decode_row(row).unwrap()))
            .collect()
    }

    fn write(&self, partition: PartitionId, table: TableId, key: &Key, row: Option<&Row>) {
        let mut partitions = self.0.lock().unwrap();
        let rows = partitions.entry(partition).or_default();
        match row {
            Some(row) => drop(rows.insert((table, key.clone()), encode_row(row))),
            None => drop(rows.remove(&(table, key.clone()))),
        }
    }
}

#[async_trait]
impl Scanner for Leaves {
    async fn scan(&self, request: ScanRequest) -> Result<BatchStream, SqlError> {
        let request = over_the_wire(&request);
        let rows = self.chosen(request.partition, request.schema.id, &request.access);
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        let mut scan = LeafScan::compile(&request)?;
        let mut batches = Vec::new();
        for chunk in rows.chunks(limits::SCAN_CHUNK_ROWS) {
            if scan.is_done() {
                break;
            }
            batches.extend(scan.feed(chunk)?.map(Ok));
        }
        Ok(Box::pin(futures::stream::iter(batches)))
    }
}

/// What a statement answers with.
#[derive(Debug)]
pub enum Answer {
    Rows(ResultSet),
    Done { affected: u64, matched: u64 },
}

pub struct World {
    pub catalog: Catalog,
    pub leaves: Arc<Leaves>,
    pub session: Session,
    statements: u128,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            leaves: Arc::default(),
            session: Session {
                user: "root@localhost".into(),
                connection_id: 7,
                now_us: NOW_US,
                master: Some(NodeId(1)),
                ..Session::default()
            },
            statements: 0,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
        };
        let node = |role, port, group| NewNode {
            host: "127.0.0.1".into(),
            sql_port: port,
            rpc_port: port + 1000,
            http_port: port + 2000,
            role,
            aggregator_role: (role == NodeRole::Aggregator).then_some(AggregatorRole::VotingMember),
            availability_group: group,
            incarnation: Incarnation(1),
            store: StoreId(1),
        };
        let aggregator = node(NodeRole::Aggregator, 3306, None);
        let found = Command::FoundCluster {
            cluster: ClusterId(1),
            node: aggregator,
            policies: vec![],
            bindings: vec![],
        };
        world.apply(found);
        world.apply(Command::AddNode(node(NodeRole::Leaf, 3307, Some(1))));
        world.apply(Command::AddNode(node(NodeRole::Leaf, 3308, Some(2))));
        world
    }

    /// A world with a database `shop` of four partitions, in use.
    pub fn with_shop() -> Self {
        let mut world = Self::new();
        world.run("CREATE DATABASE shop PARTITIONS 4").unwrap();
        world.session.database = Some("shop".into());
        world
    }

    fn apply(&mut self, command: Command) {
        self.try_apply(command).unwrap();
    }

    fn try_apply(&mut self, command: Command) -> Result<(), SqlError> {
        let index = CatalogIndex(self.catalog.index().0 + 1);
        let entry = Entry { statement: None, at_ms: 1_709_210_000_000, command };
        let applied = self.catalog.apply(index, &entry);
        let outcome = applied.outcome.and_then(|reply| match reply {
            Reply::Batch(outcomes) => outcomes.into_iter().collect::<Result<Vec<_>, _>>().map(drop),
            _ => Ok(()),
        });
        outcome.map_err(|rejection| SqlError::from(&rejection))
    }

    pub fn run(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let statement = parse(sql)?;
        self.execute(&statement)
    }

    pub fn execute(&mut self, statement: &Statement) -> Result<Answer, SqlError> {
        self.statements += 1;
        let done = Ok(Answer::Done { affected: 0, matched: 0 });
        permit(statement, &self.catalog, &self.session)?;
        match statement {
            Statement::Cluster(ClusterStatement::User(statement)) => {
                let own = self.session.user.split('@').next().unwrap_or_default();
                let hash = |password: &str| (!password.is_empty()).then_some([7; 20]);
                let command = statement.clone().command(own, &self.session, &self.catalog, hash)?;
                self.try_apply(command).and(done)
            }
            Statement::Schema(schema) => self.schema(schema).and(done),
            Statement::Insert(insert) => {
                let bound = match bind_insert(insert, &self.catalog, &self.session)? {
                    InsertPlan::Rows(bound) => bound,
                    InsertPlan::Select { query, target } => {
                        let result = self.query(|catalog, session, leaves| async move {
                            execute_query(&query, catalog, &session, leaves).await
                        })?;
                        target.bind(result)?
                    }
                };
                self.insert(bound)
            }
            Statement::Change(change) => {
                let bound = bind_change(change, &self.catalog, &self.session)?;
                self.change(&bound)
            }
            Statement::Query(query) => match plan_read(query, &self.catalog, &self.session)? {
                ReadPlan::Constant(result) => Ok(Answer::Rows(result)),
                ReadPlan::Points(points) => {
                    let mut rows = Vec::new();
                    for (ordinal, key) in &points.keys {
                        if points.schema.kind == TableKind::Reference {
                            let row = self.catalog.reference_row(points.schema.id, key);
                            rows.extend(row.map(|row| decode_row(row).unwrap()));
                        } else {
                            let partition =
                                PartitionId { database: points.schema.database, ordinal: *ordinal };
                            let access = Access::Keys(vec![key.clone()]);
                            let found = self.leaves.chosen(partition, points.schema.id, &access);
                            rows.extend(found.into_iter().map(|(_, row)| row));
                        }
                    }
                    points.result(rows).map(Answer::Rows)
                }
                ReadPlan::General => {
                    let query = query.clone();
                    let result = self.query(|catalog, session, leaves| async move {
                        execute_query(&query, catalog, &session, leaves).await
                    });
                    result.map(Answer::Rows)
                }
            },
            Statement::Explain(query) => {
                let query = query.clone();
                let result = self.query(|catalog, session, leaves| async move {
                    explain_query(&query, catalog, &session, leaves).await
                });
                result.map(Answer::Rows)
            }
            Statement::Show(show) => match answer_show(show, &self.catalog, &self.session)? {
                Some(result) => Ok(Answer::Rows(result)),
                None => Err(SqlError::new(ErrorCode::UnknownError, "for the node")),
            },
            Statement::Use(database) => {
                self.session.database = Some(database.clone());
                done
            }
            Statement::SetSession(variables) => {
                self.session.assign(variables, &self.catalog)?;
                done
            }
            other => Err(SqlError::new(ErrorCode::UnknownError, format!("for the node: {other:?}"))),
        }
    }

    /// The result of a query, by the planner even if there is a shortcut.
    pub fn general(&mut self, sql: &str) -> Result<ResultSet, SqlError> {
        let Statement::Query(query) = parse(sql)? else { panic!("no query: {sql}") };
        self.query(|catalog, session, leaves| async move {
            execute_query(&query, catalog, &session, leaves).await
        })
    }

    /// The columns of a statement, before it is carried out.
    pub fn columns(&self, sql: &str) -> Option<Vec<(String, baton_model::ColumnType)>> {
        let (statement, catalog) = (parse(sql).unwrap(), Arc::new(self.catalog.clone()));
        self.runtime.block_on(baton_sql::columns_of(&statement, &catalog, &self.session))
    }

    fn query<F: Future<Output = Result<ResultSet, SqlError>>>(
        &self,
        run: impl FnOnce(Arc<Catalog>, Session, Arc<dyn Scanner>) -> F,
    ) -> Result<ResultSet, SqlError> {
        let leaves: Arc<dyn Scanner> = Arc::clone(&self.leaves) as Arc<dyn Scanner>;
        self.runtime.block_on(run(Arc::new(self.catalog.clone()), self.session.clone(), leaves))
    }

    fn schema(&mut self, statement: &SchemaStatement) -> Result<(), SqlError> {
        let database_or_own = |database: &Option<String>, session: &Session| {
            database.clone().or_else(|| session.database.clone()).unwrap_or_default()
        };
        match statement {
            SchemaStatement::CreateDatabase { name, if_not_exists, replication, durability, partitions } => {
                let placement = InstancePlacement { primary: NodeId(2), replicas: vec![NodeId(3)] };
                self.try_apply(Command::CreateDatabase {
                    name: name.clone(),
                    if_not_exists: *if_not_exists,
                    replication: *replication,
                    durability: *durability,
                    placements: vec![placement; partitions.unwrap_or(2) as usize],
                })
            }
            SchemaStatement::AlterDatabase { name, replication, durability } => {
                self.try_apply(Command::AlterDatabase {
                    name: name.clone(),
                    replication: *replication,
                    durability: *durability,
                })
            }
            SchemaStatement::DropDatabase { name, if_exists } => {
                self.try_apply(Command::DropDatabase { name: name.clone(), if_exists: *if_exists })
            }
            SchemaStatement::CreateTable { database, schema, if_not_exists } => {
                self.try_apply(Command::CreateTable {
                    database: database_or_own(database, &self.session),
                    schema: (**schema).clone(),
                    if_not_exists: *if_not_exists,
                })
            }
            SchemaStatement::DropTable { tables, if_exists } => {
                for table in tables {
                    self.try_apply(Command::DropTable {
                        database: database_or_own(&table.database, &self.session),
                        table: table.table.clone(),
                        if_exists: *if_exists,
                    })?;
                }
                Ok(())
            }
        }
    }

    fn insert(&mut self, mut bound: baton_sql::BoundInsert) -> Result<Answer, SqlError> {
        let table = bound.schema.id;
        let next = self.catalog.table_by_id(table).unwrap().auto_increment_next;
        let first = next.max(bound.auto_increment_given.map_or(0, |given| given + 1));
        let count = bound.auto_increment_missing.len() as u64;
        if bound.schema.auto_increment().is_some() {
            self.apply(Command::TakeAutoIncrement { table, count, at_least: first });
        }
        bound.fill_auto_increment(first)?;
        let partitions = self.catalog.database_by_id(bound.schema.database).unwrap().partitions;
        let mut affected = 0;
        for (number, row) in bound.rows.iter().enumerate() {
            let key = row_key(&bound.schema, row, (StatementId(self.statements), number as u32))?;
            let ordinal = ordinal(&bound.schema, row, &key, partitions);
            let partition = PartitionId { database: bound.schema.database, ordinal };
            let reference = bound.schema.kind == TableKind::Reference;
            let exists = if reference {
                self.catalog.reference_row(table, &key).is_some()
            } else {
                !self.leaves.chosen(partition, table, &Access::Keys(vec![key.clone()])).is_empty()
            };
            if exists && !bound.replace {
                let text = "Duplicate entry for key 'PRIMARY'";
                return Err(SqlError::new(ErrorCode::DuplicateEntry, text));
            }
            affected += if exists { 2 } else { 1 };
            if reference {
                self.write_reference(table, vec![(key, Some(Blob::from(encode_row(row))))]);
            } else {
                self.leaves.write(partition, table, &key, Some(row));
            }
        }
        Ok(Answer::Done { affected, matched: bound.rows.len() as u64 })
    }

    fn write_reference(&mut self, table: TableId, rows: Vec<(Key, Option<Blob>)>) {
        let expected_version = self.catalog.table_by_id(table).unwrap().version;
        self.apply(Command::WriteReference(baton_catalog::ReferenceWrite {
            table,
            expected_version,
            rows,
            affected_rows: 0,
            last_insert_id: 0,
        }));
    }

    fn change(&mut self, bound: &baton_sql::BoundChange) -> Result<Answer, SqlError> {
        let table = bound.schema.id;
        let (mut affected, mut matched) = (0, 0);
        let mut count = |change: &Option<Change>| match change {
            Some(Change::Update(_) | Change::Delete) => {
                affected += 1;
                matched += 1;
            }
            Some(Change::Unchanged) => matched += 1,
            None => {}
        };
        if bound.schema.kind == TableKind::Reference {
            let program: ChangeProgram = over_the_wire(&bound.program);
            let (keys, rows): (Vec<Key>, Vec<Row>) = self
                .catalog
                .reference_rows(table)
                .map(|(key, row)| (key.clone(), decode_row(row).unwrap()))
                .unzip();
            let changes = program.compile()?.evaluate(&rows)?;
            changes.iter().for_each(&mut count);
            let written = keys.into_iter().zip(changes).filter_map(|(key, change)| match change? {
                Change::Update(row) => Some((key, Some(Blob::from(encode_row(&row))))),
                Change::Delete => Some((key, None)),
                Change::Unchanged => None,
            });
            self.write_reference(table, written.collect());
            return Ok(Answer::Done { affected, matched });
        }
        let partitions = self.catalog.database_by_id(bound.schema.database).unwrap().partitions;
        let ordinals = match &bound.partitions {
            Partitions::All => (0..partitions).collect(),
            Partitions::These(ordinals) => ordinals.clone(),
        };
        for ordinal in ordinals {
            let partition = PartitionId { database: bound.schema.database, ordinal };
            let program: ChangeProgram = over_the_wire(&bound.program_for(ordinal));
            let chosen = self.leaves.chosen(partition, table, &program.access);
            let (keys, rows): (Vec<Key>, Vec<Row>) = chosen.into_iter().unzip();
            let changes = program.compile()?.evaluate(&rows)?;
            for (key, change) in keys.iter().zip(&changes) {
                count(change);
                match change {
                    Some(Change::Update(row)) => self.leaves.write(partition, table, key, Some(row)),
                    Some(Change::Delete) => self.leaves.write(partition, table, key, None),
                    Some(Change::Unchanged) | None => {}
                }
            }
        }
        Ok(Answer::Done { affected, matched })
    }
}
