//! A client's session at an aggregator: each statement goes where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use baton_catalog::Catalog;
use baton_gateway::{Answer, AnswerColumn, PasswordHash, PreparedShape, Session as GatewaySession, Sessions};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{AUTO_INCREMENT_BLOCK, STATEMENT_ROWS_MAX};
use baton_model::{
    Blob, DatabaseId, Datum, Key, PartitionId, Row, StatementId, TableKind, decode_row, encode_row,
};
use baton_sql::{
    BoundChange, BoundInsert, ClusterStatement, InsertPlan, Partitions, Place, PointGet, Query, ReadPlan,
    Session, Statement, answer_show, bind_change, bind_insert, classify, execute_query, explain_query,
    ordinal, plan_read, row_key,
};
use futures::future::join_all;

use super::Aggregator;
use super::route::LeafScanner;
use crate::local_sql::{
    answer, asks_identity, identity, node_variables, password_hash, shape, with_parameters,
};
use crate::server::wall_clock_us;
use crate::wire::{ForwardAnswer, ForwardRefusal, ForwardRequest, WriteOperation};

/// The sessions of an aggregator.
pub struct ClientSessions(pub Arc<Aggregator>);

/// One of them.
pub struct ClientSession {
    aggregator: Arc<Aggregator>,
    user: String,
    session: Session,
    /// Whether a statement has written since the last COMMIT: each statement commits by itself.
    written: bool,
}

impl Sessions for ClientSessions {
    type Session = ClientSession;

    fn password_hash(&self, user: &str) -> Option<PasswordHash> {
        password_hash(&self.0.context.catalog(), user)
    }

    fn open(&self, connection_id: u32, user: &str, peer: SocketAddr) -> ClientSession {
        let session = Session {
            user: format!("{user}@{}", peer.ip()),
            connection_id: u64::from(connection_id),
            ..Session::default()
        };
        ClientSession { aggregator: Arc::clone(&self.0), user: user.to_owned(), session, written: false }
    }
}

#[async_trait]
impl GatewaySession for ClientSession {
    async fn query(&mut self, sql: &str) -> Result<Answer, SqlError> {
        self.execute(sql, &[]).await
    }

    async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        let catalog = self.aggregator.context.catalog();
        let known = |catalog: &Catalog| {
            name.eq_ignore_ascii_case("information_schema") || catalog.database(name).is_some()
        };
        let known = known(&catalog)
            || self.aggregator.catch_up(catalog.index()).await && known(&self.aggregator.context.catalog());
        if !known {
            return Err(SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{name}'")));
        }
        self.session.database = Some(name.to_owned());
        Ok(())
    }

    async fn prepare(&mut self, sql: &str) -> Result<PreparedShape, SqlError> {
        shape(sql)
    }

    async fn execute(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError> {
        let seen = self.aggregator.context.catalog().index();
        match self.execute_once(sql, parameters).await {
            // Nothing was done: what it names was not found.
            Err(error) if is_about_names(error.code) && self.aggregator.catch_up(seen).await => {
                self.execute_once(sql, parameters).await
            }
            outcome => outcome,
        }
    }

    fn database(&self) -> Option<&str> {
        self.session.database.as_deref()
    }
}

fn done(affected_rows: u64, last_insert_id: u64) -> Answer {
    Answer::Done { affected_rows, last_insert_id, info: String::new() }
}

/// Whether the catalog does not know what a statement names.
fn is_about_names(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownDatabase | ErrorCode::NoSuchTable | ErrorCode::UnknownColumn)
}

impl ClientSession {
    async fn execute_once(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError> {
        if asks_identity(sql) {
            return Ok(identity(&self.aggregator.context));
        }
        let statement = with_parameters(sql, parameters)?;
        let catalog = self.aggregator.context.catalog();
        self.session.now_us = wall_clock_us();
        let status = self.aggregator.group_status();
        self.session.master = status.leader;
        let master = status
            .leader
            .map(|leader| if status.is_leader { "self".to_owned() } else { catalog.address_of(leader) });
        self.session.node_variables = node_variables(&self.aggregator.context, master);
        if let Statement::Cluster(ClusterStatement::BootstrapAggregator { host, port }) = &statement {
            self.aggregator.bootstrap(host, *port).await?;
            return Ok(Answer::done());
        }
        match classify(&statement, &catalog, &self.session) {
            Place::Local => self.local(statement, &catalog).await,
            _ if catalog.cluster().is_none() => {
                let text = "This node belongs to no cluster yet: BOOTSTRAP AGGREGATOR makes it the first of a new one, ADD AGGREGATOR at a master aggregator takes it into another";
                Err(SqlError::new(ErrorCode::OperationRefused, text))
            }
            Place::Master => self.at_master(sql, parameters).await,
            Place::Data => self.data(statement, &catalog).await,
        }
    }

    async fn local(&mut self, statement: Statement, catalog: &Arc<Catalog>) -> Result<Answer, SqlError> {
        match statement {
            Statement::Show(show) => match answer_show(&show, catalog, &self.session)? {
                Some(result) => Ok(answer(result)),
                None => self.aggregator.show(&show, catalog, self.session.database.as_deref()).await,
            },
            Statement::SetSession(assignments) => {
                self.session.variables.extend(assignments);
                Ok(Answer::done())
            }
            Statement::Use(name) => self.use_database(&name).await.map(|()| Answer::done()),
            Statement::Begin => Err(SqlError::new(
                ErrorCode::NotSupported,
                "Transactions over several statements are not supported yet; each statement commits by itself",
            )),
            Statement::Commit => {
                self.written = false;
                Ok(Answer::done())
            }
            Statement::Rollback if std::mem::take(&mut self.written) => Err(SqlError::new(
                ErrorCode::NotSupported,
                "Cannot roll back: each statement has committed by itself; transactions are not supported yet",
            )),
            Statement::Rollback => Ok(Answer::done()),
            Statement::Query(query) => self.select(&query, catalog).await,
            Statement::Explain(query) => {
                let scanner = Arc::new(LeafScanner(Arc::clone(&self.aggregator)));
                explain_query(&query, Arc::clone(catalog), &self.session, scanner).await.map(answer)
            }
            _ => Err(SqlError::new(ErrorCode::NotSupported, "This statement is not supported here")),
        }
    }

    /// Executes here if this is the master aggregator, else there; through an election if need be.
    async fn at_master(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError> {
        let request = || ForwardRequest {
            statement: StatementId(0),
            sql: sql.to_owned(),
            parameters: parameters.to_vec(),
            database: self.session.database.clone(),
            user: self.user.clone(),
        };
        let statement = StatementId(rand::random());
        let deadline = tokio::time::Instant::now() + self.aggregator.buffer_time();
        // S12: once an attempt may have been carried out, only an answer makes the outcome known again.
        let mut uncertain: Option<String> = None;
        let answered = loop {
            if self.aggregator.group_status().is_leader {
                match self.aggregator.execute_at_master(ForwardRequest { statement, ..request() }).await {
                    Ok(answer) => break answer,
                    Err(ForwardRefusal::Failed(error)) => return Err(error),
                    // It was deposed meanwhile: the next one is asked, with the same id.
                    Err(ForwardRefusal::NotTheMaster) => {}
                    Err(ForwardRefusal::Unknown) => uncertain = Some("this aggregator was deposed".into()),
                }
            }
            let request = ForwardRequest { statement, ..request() };
            match self.aggregator.forward(request, &mut uncertain).await {
                // This node became the master aggregator while it looked for one.
                Err(error)
                    if error.code == ErrorCode::NotTheMaster
                        && self.aggregator.group_status().is_leader
                        && tokio::time::Instant::now() < deadline => {}
                Err(error) if error.code == ErrorCode::NotTheMaster && uncertain.is_some() => {
                    let text =
                        "The master aggregator was lost; whether the statement was carried out is unknown";
                    return Err(SqlError::new(ErrorCode::OutcomeUnknown, text));
                }
                answer => break answer?,
            }
        };
        self.written = true;
        match answered {
            ForwardAnswer::Done { affected_rows, last_insert_id, index } => {
                self.aggregator.wait_for_index(index).await;
                if last_insert_id > 0 {
                    self.session.last_insert_id = last_insert_id;
                }
                Ok(done(affected_rows, last_insert_id))
            }
            ForwardAnswer::Rows { columns, rows } => Ok(Answer::Rows {
                columns: columns.into_iter().map(|(name, of)| AnswerColumn::new(name, of)).collect(),
                rows,
            }),
        }
    }

    async fn data(&mut self, statement: Statement, catalog: &Arc<Catalog>) -> Result<Answer, SqlError> {
        match statement {
            Statement::Insert(insert) => {
                let mut bound = match bind_insert(&insert, catalog, &self.session)? {
                    InsertPlan::Rows(bound) => bound,
                    InsertPlan::Select { query, target } => {
                        let scanner = Arc::new(LeafScanner(Arc::clone(&self.aggregator)));
                        let rows = execute_query(&query, Arc::clone(catalog), &self.session, scanner).await?;
                        target.bind(rows)?
                    }
                };
                let first = self.aggregator.number_rows(&mut bound).await?;
                self.written = true;
                let affected = self.insert(bound, catalog).await?;
                if first > 0 {
                    self.session.last_insert_id = first;
                }
                Ok(done(affected, first))
            }
            Statement::Change(change) => {
                let bound = bind_change(&change, catalog, &self.session)?;
                self.written = true;
                self.change(bound, catalog).await.map(|affected| done(affected, 0))
            }
            Statement::Query(query) => self.select(&query, catalog).await,
            other => self.local(other, catalog).await,
        }
    }

    async fn insert(&self, bound: BoundInsert, catalog: &Catalog) -> Result<u64, SqlError> {
        if bound.rows.len() > STATEMENT_ROWS_MAX {
            let text = format!("A statement writes at most {STATEMENT_ROWS_MAX} rows");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        let schema = &bound.schema;
        let partitions = partitions_of(catalog, schema.database)?;
        let statement = StatementId(rand::random());
        let mut by_ordinal: BTreeMap<u32, Vec<(Key, Blob)>> = BTreeMap::new();
        for (number, row) in (0_u32..).zip(&bound.rows) {
            let key = row_key(schema, row, (statement, number))?;
            let place = ordinal(schema, row, &key, partitions);
            by_ordinal.entry(place).or_default().push((key, Blob::from(encode_row(row))));
        }
        let operations = by_ordinal.into_iter().map(|(place, rows)| {
            let operation = WriteOperation::Insert { table: schema.id, replace: bound.replace, rows };
            (PartitionId { database: schema.database, ordinal: place }, operation)
        });
        self.write(statement, operations.collect()).await
    }

    async fn change(&self, bound: BoundChange, catalog: &Catalog) -> Result<u64, SqlError> {
        let database = bound.schema.database;
        let ordinals: BTreeSet<u32> = match bound.partitions {
            Partitions::All => (0..partitions_of(catalog, database)?).collect(),
            Partitions::These(ordinals) => ordinals.into_iter().collect(),
        };
        let operations = ordinals.into_iter().map(|ordinal| {
            (PartitionId { database, ordinal }, WriteOperation::Change(bound.program.clone()))
        });
        self.write(StatementId(rand::random()), operations.collect()).await
    }

    /// One statement, partition by partition, all at the same time. It is atomic in each partition; if one fails, the
    /// error says what was done in the others.
    async fn write(
        &self,
        statement: StatementId,
        operations: Vec<(PartitionId, WriteOperation)>,
    ) -> Result<u64, SqlError> {
        let count = operations.len();
        let writes = operations
            .into_iter()
            .map(|(partition, operation)| self.aggregator.write(partition, statement, operation));
        let mut affected = 0;
        let mut carried_out = 0;
        let mut first_error: Option<SqlError> = None;
        for outcome in join_all(writes).await {
            match outcome {
                Ok(rows) => {
                    affected += rows;
                    carried_out += 1;
                }
                // What is unknown outweighs what failed.
                Err(error) if error.code == ErrorCode::OutcomeUnknown => first_error = Some(error),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        match first_error {
            None => Ok(affected),
            Some(mut error) => {
                if carried_out > 0 {
                    error.message.push_str(&format!(
                        " (in {carried_out} of {count} partitions the statement was carried out; it is atomic in each partition only)"
                    ));
                }
                Err(error)
            }
        }
    }

    async fn select(&self, query: &Query, catalog: &Arc<Catalog>) -> Result<Answer, SqlError> {
        match plan_read(query, catalog, &self.session)? {
            ReadPlan::Constant(result) => Ok(answer(result)),
            ReadPlan::Points(points) => {
                let rows = self.points(&points, catalog).await?;
                points.result(rows).map(answer)
            }
            ReadPlan::General => {
                let scanner = Arc::new(LeafScanner(Arc::clone(&self.aggregator)));
                execute_query(query, Arc::clone(catalog), &self.session, scanner).await.map(answer)
            }
        }
    }

    /// Rows by key: from the catalog, or from each partition at the same time.
    async fn points(&self, points: &PointGet, catalog: &Catalog) -> Result<Vec<Row>, SqlError> {
        let schema = &points.schema;
        let garbled =
            |error: baton_model::RowError| SqlError::new(ErrorCode::UnknownError, error.to_string());
        if schema.kind == TableKind::Reference {
            let found = points.keys.iter().filter_map(|(_, key)| catalog.reference_row(schema.id, key));
            return found.map(|bytes| decode_row(bytes).map_err(garbled)).collect();
        }
        let mut by_ordinal: BTreeMap<u32, Vec<Key>> = BTreeMap::new();
        for (place, key) in &points.keys {
            by_ordinal.entry(*place).or_default().push(key.clone());
        }
        let gets = by_ordinal.into_iter().map(|(place, keys)| {
            let partition = PartitionId { database: schema.database, ordinal: place };
            self.aggregator.get(partition, schema.id, keys)
        });
        let mut rows = Vec::new();
        for found in join_all(gets).await {
            for bytes in found?.into_iter().flatten() {
                rows.push(decode_row(&bytes).map_err(garbled)?);
            }
        }
        Ok(rows)
    }
}

fn partitions_of(catalog: &Catalog, database: DatabaseId) -> Result<u32, SqlError> {
    catalog.database_by_id(database).map(|database| database.partitions).ok_or_else(|| {
        SqlError::new(ErrorCode::UnknownDatabase, "Unknown database: it was dropped meanwhile")
    })
}

impl Aggregator {
    /// Gives AUTO_INCREMENT values to the rows that miss one, and answers with the first of them, or 0.
    /// Values come in blocks of [`AUTO_INCREMENT_BLOCK`] from the catalog, so each aggregator has its own.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn number_rows(&self, bound: &mut BoundInsert) -> Result<u64, SqlError> {
        let table = bound.schema.id;
        if let Some(given) = bound.auto_increment_given {
            let known =
                self.context.catalog().table_by_id(table).map_or(1, |table| table.auto_increment_next);
            if given >= known {
                self.take_auto_increment(table, 0, given.saturating_add(1)).await?;
            }
            let mut blocks = self.auto_increment.lock().await;
            if let Some((next, end)) = blocks.get_mut(&table) {
                // A value of this aggregator's own block is not given out a second time.
                *next = (*next).max(given.saturating_add(1)).min(*end);
            }
        }
        let count = bound.auto_increment_missing.len() as u64;
        if count == 0 {
            return Ok(0);
        }
        let mut blocks = self.auto_increment.lock().await;
        let (next, end) = blocks.entry(table).or_insert((0, 0));
        if *end - *next < count {
            let size = count.max(AUTO_INCREMENT_BLOCK);
            *next = self.take_auto_increment(table, size, 1).await?;
            *end = *next + size;
        }
        let first = *next;
        *next += count;
        bound.fill_auto_increment(first)?;
        Ok(first)
    }
}
