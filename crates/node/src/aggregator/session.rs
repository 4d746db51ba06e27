//! A client's session at an aggregator: each statement goes where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use baton_catalog::Catalog;
use baton_gateway::{
    Answer, Client, PasswordHash, PreparedShape, Session as GatewaySession, Sessions, TransactionStatus,
};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::STATEMENT_ROWS_MAX;
use baton_model::{
    Blob, DatabaseId, Datum, Key, PartitionId, Row, StatementId, TableId, TableKind, decode_row, encode_row,
};
use baton_sql::{
    BoundChange, BoundInsert, ChangeProgram, ClusterStatement, InsertPlan, Partitions, Place, PointGet,
    Query, ReadPlan, Session, Statement, answer_show, bind_change, bind_insert, classify, execute_query,
    explain_query, ordinal, permit, permit_use, plan_read, row_key,
};
use futures::future::join_all;

use super::Aggregator;
use super::route::LeafScanner;
use super::transaction::{Failure, Transaction, no_savepoint};
use crate::local_sql::{
    answer, asks_identity, identity, node_variables, password_hash, session_of, shape, with_parameters,
};
use crate::server::wall_clock_us;
use crate::wire::{ForwardAnswer, ForwardRefusal, ForwardRequest, WriteOperation};

/// The variable that says the id of the open transaction; empty while there is none.
const TRANSACTION_ID: &str = "baton_transaction_id";

/// The sessions of an aggregator.
pub struct ClientSessions(pub Arc<Aggregator>);

/// One of them.
pub struct ClientSession {
    aggregator: Arc<Aggregator>,
    user: String,
    session: Session,
    /// Whether the count of an UPDATE is to be that of the rows it found.
    counts_found_rows: bool,
    /// The transaction that is open: since BEGIN, or with autocommit off since the first statement that wrote or locked.
    transaction: Option<Transaction>,
    /// With autocommit off, whether a reference table was, or may have been, written since the last COMMIT or ROLLBACK:
    /// that is committed, and cannot be rolled back.
    reference_written: bool,
}

impl Sessions for ClientSessions {
    type Session = ClientSession;

    fn password_hash(&self, user: &str) -> Option<PasswordHash> {
        password_hash(&self.0.context, user)
    }

    fn knows_users(&self) -> bool {
        self.0.context.catalog().cluster().is_some()
    }

    fn open(&self, client: &Client) -> ClientSession {
        ClientSession {
            aggregator: Arc::clone(&self.0),
            user: client.user.clone(),
            session: session_of(client),
            counts_found_rows: client.counts_found_rows,
            transaction: None,
            reference_written: false,
        }
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
        let may = |catalog: &Catalog| permit_use(name, catalog, &self.session);
        let seen = self.aggregator.context.catalog();
        if may(&seen).is_err() && self.aggregator.catch_up(seen.index()).await {
            may(&self.aggregator.context.catalog())?;
        } else {
            may(&seen)?;
        }
        self.session.database = Some(name.to_owned());
        Ok(())
    }

    async fn prepare(&mut self, sql: &str) -> Result<PreparedShape, SqlError> {
        shape(sql, &self.aggregator.context.catalog(), &self.session).await
    }

    async fn execute(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError> {
        let seen = self.aggregator.context.catalog().index();
        let outcome = match self.execute_once(sql, parameters).await {
            // Nothing was done: what it names was not found.
            Err(error) if is_about_names(error.code) && self.aggregator.catch_up(seen).await => {
                self.execute_once(sql, parameters).await
            }
            outcome => outcome,
        };
        outcome.map_err(placed)
    }

    fn database(&self) -> Option<&str> {
        self.session.database.as_deref()
    }

    fn transaction_status(&self) -> TransactionStatus {
        TransactionStatus { autocommit: !self.session.has_autocommit_off(), open: self.transaction.is_some() }
    }
}

fn done(affected_rows: u64, last_insert_id: u64) -> Answer {
    Answer::Done { affected_rows, last_insert_id, info: String::new() }
}

/// Whether the catalog does not know what a statement names, or that its user may say it.
fn is_about_names(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownDatabase
            | ErrorCode::NoSuchTable
            | ErrorCode::UnknownColumn
            | ErrorCode::TableAccessDenied
            | ErrorCode::DatabaseAccessDenied
            | ErrorCode::SpecificAccessDenied
    )
}

/// What is not supported says where it stands; where nothing better is known, that is where the statement begins.
fn placed(mut error: SqlError) -> SqlError {
    if error.code == ErrorCode::NotSupported && !error.message.contains(" at line ") {
        error.message.push_str(" at line 1 column 1");
    }
    error
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
        let mut variables = node_variables(&self.aggregator.context, master);
        let id = self.transaction.as_ref().map_or_else(String::new, |open| open.id().to_string());
        Arc::make_mut(&mut variables).insert(TRANSACTION_ID.into(), id);
        self.session.node_variables = variables;
        if let Statement::Cluster(ClusterStatement::BootstrapAggregator { host, port }) = &statement {
            self.aggregator.bootstrap(host, *port).await?;
            return Ok(Answer::done());
        }
        permit(&statement, &catalog, &self.session)?;
        match classify(&statement, &catalog, &self.session) {
            Place::Local => self.local(statement, &catalog).await,
            _ if catalog.cluster().is_none() => {
                // Clients ask about their connection before they say what they want.
                if let Statement::Query(query) = &statement
                    && let ReadPlan::Constant(result) = plan_read(query, &catalog, &self.session)?
                {
                    return Ok(answer(result));
                }
                let text = "This node belongs to no cluster yet: BOOTSTRAP AGGREGATOR makes it the first of a new one, ADD AGGREGATOR at a master aggregator takes it into another";
                Err(SqlError::new(ErrorCode::OperationRefused, text))
            }
            Place::Master => {
                match statement {
                    Statement::Insert(_) | Statement::Change(_) => self.may_write_reference()?,
                    // As in MySQL: what changes the schema commits what was open.
                    Statement::Schema(_) | Statement::Cluster(_) | Statement::Backup(_) => {
                        self.commit().await?;
                    }
                    _ => {}
                }
                let writes = matches!(statement, Statement::Insert(_) | Statement::Change(_));
                self.at_master(sql, parameters, writes).await
            }
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
                let was_off = self.session.has_autocommit_off();
                self.session.assign(&assignments, catalog)?;
                if was_off && !self.session.has_autocommit_off() {
                    self.commit().await?;
                }
                Ok(Answer::done())
            }
            Statement::Use(name) => self.use_database(&name).await.map(|()| Answer::done()),
            Statement::Begin { read_only } => {
                self.commit().await?;
                self.transaction = Some(Transaction::begin(&self.aggregator, read_only));
                Ok(Answer::done())
            }
            Statement::Commit => self.commit().await.map(|()| Answer::done()),
            Statement::Rollback => self.rollback().await.map(|()| Answer::done()),
            Statement::Savepoint(name) => {
                if self.session.has_autocommit_off() {
                    self.open();
                }
                // Outside of a transaction it is gone with its own statement.
                self.transaction.as_mut().map_or(Ok(()), |open| open.savepoint(&name))?;
                Ok(Answer::done())
            }
            Statement::RollbackTo(name) => {
                let open = self.transaction.as_mut().ok_or_else(|| no_savepoint(&name))?;
                let outcome = open.rollback_to(&name).await;
                self.settle(outcome).await.map(|()| Answer::done())
            }
            Statement::ReleaseSavepoint(name) => {
                self.transaction.as_mut().ok_or_else(|| no_savepoint(&name))?.release(&name)?;
                Ok(Answer::done())
            }
            Statement::Query(query) => self.select(&query, catalog).await,
            Statement::Explain(query) => {
                let scanner = self.scanner(None);
                explain_query(&query, Arc::clone(catalog), &self.session, scanner).await.map(answer)
            }
            _ => Err(SqlError::new(ErrorCode::NotSupported, "This statement is not supported here")),
        }
    }

    /// Executes here if this is the master aggregator, else there; through an election if need be.
    async fn at_master(&mut self, sql: &str, parameters: &[Datum], writes: bool) -> Result<Answer, SqlError> {
        let answered = self.ask_master(sql, parameters).await;
        let may_have_written = match &answered {
            Ok(_) => true,
            Err(error) => error.code == ErrorCode::OutcomeUnknown,
        };
        self.reference_written |= writes && may_have_written && self.session.has_autocommit_off();
        let ForwardAnswer { affected_rows, last_insert_id, index } = answered?;
        self.aggregator.wait_for_index(index).await;
        if last_insert_id > 0 {
            self.session.last_insert_id = last_insert_id;
        }
        Ok(done(affected_rows, last_insert_id))
    }

    async fn ask_master(&self, sql: &str, parameters: &[Datum]) -> Result<ForwardAnswer, SqlError> {
        let statement = StatementId(rand::random());
        let session = Session { node_variables: Arc::default(), ..self.session.clone() };
        let request = || ForwardRequest {
            statement,
            sql: sql.to_owned(),
            parameters: parameters.to_vec(),
            user: self.user.clone(),
            session: session.clone(),
            counts_found_rows: self.counts_found_rows,
        };
        let mut deadline = tokio::time::Instant::now() + self.aggregator.buffer_time();
        // S12: once an attempt may have been carried out, only an answer makes the outcome known again.
        let mut uncertain: Option<String> = None;
        loop {
            if self.aggregator.group_status().is_leader {
                match self.aggregator.execute_at_master(request()).await {
                    Ok(answer) => return Ok(answer),
                    Err(ForwardRefusal::Failed(error)) => return Err(error),
                    // It was deposed meanwhile: the next one is asked, with the same id.
                    Err(ForwardRefusal::NotTheMaster) => {}
                    Err(ForwardRefusal::Unknown) => uncertain = Some("this aggregator was deposed".into()),
                    Err(ForwardRefusal::StillRunning) => {
                        deadline = tokio::time::Instant::now() + self.aggregator.buffer_time();
                        uncertain = Some("this aggregator was at work on it".into());
                        continue;
                    }
                }
            }
            match self.aggregator.forward(request(), &mut uncertain).await {
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
                answer => return answer,
            }
        }
    }

    async fn data(&mut self, statement: Statement, catalog: &Arc<Catalog>) -> Result<Answer, SqlError> {
        match statement {
            Statement::Insert(insert) => {
                let mut bound = match bind_insert(&insert, catalog, &self.session)? {
                    InsertPlan::Rows(bound) => bound,
                    InsertPlan::Select { query, target } => {
                        let scanner = self.scanner(None);
                        let rows = execute_query(&query, Arc::clone(catalog), &self.session, scanner).await?;
                        target.bind(rows)?
                    }
                };
                let (affected, first) = self.insert_numbered(&mut bound, catalog).await?;
                if first > 0 {
                    self.session.last_insert_id = first;
                }
                Ok(done(affected, first))
            }
            Statement::Change(change) => {
                let bound = bind_change(&change, catalog, &self.session)?;
                self.change(bound, catalog).await.map(|affected| done(affected, 0))
            }
            Statement::Query(query) => self.select(&query, catalog).await,
            other => self.local(other, catalog).await,
        }
    }

    /// Writes new rows, and answers with their number and the first AUTO_INCREMENT value among them, or 0.
    async fn insert_numbered(
        &mut self,
        bound: &mut BoundInsert,
        catalog: &Catalog,
    ) -> Result<(u64, u64), SqlError> {
        let missing = bound.auto_increment_missing.clone();
        let first = self.aggregator.number_rows(bound).await?;
        let written = self.insert(bound, catalog).await;
        let is_taken = |error: &SqlError| error.code == ErrorCode::DuplicateEntry;
        if first > 0 && written.as_ref().is_err_and(is_taken) {
            // Somebody has used values of this aggregator's block. A new one begins above all that were ever given.
            self.aggregator.forget_auto_increment(bound.schema.id);
            bound.auto_increment_missing = missing;
            let first = self.aggregator.number_rows(bound).await?;
            return self.insert(bound, catalog).await.map(|affected| (affected, first));
        }
        written.map(|affected| (affected, first))
    }

    async fn insert(&mut self, bound: &BoundInsert, catalog: &Catalog) -> Result<u64, SqlError> {
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
        let operations = operations.collect();
        self.write(statement, operations).await
    }

    async fn change(&mut self, bound: BoundChange, catalog: &Catalog) -> Result<u64, SqlError> {
        let count_found = self.counts_found_rows;
        let operations =
            operations_of(&bound, catalog, |program| WriteOperation::Change { program, count_found })?;
        self.write(StatementId(rand::random()), operations).await
    }

    /// One statement: in the open transaction, or as its own.
    async fn write(
        &mut self,
        statement: StatementId,
        mut operations: Vec<(PartitionId, WriteOperation)>,
    ) -> Result<u64, SqlError> {
        if self.session.has_autocommit_off() && !operations.is_empty() {
            if self.reference_written {
                return Err(SqlError::new(
                    ErrorCode::OperationRefused,
                    "A reference table was written, and that is committed: COMMIT before you write to other tables",
                ));
            }
            self.open();
        }
        if let Some(open) = &mut self.transaction {
            if open.read_only {
                let text = "Cannot execute statement in a READ ONLY transaction";
                return Err(SqlError::new(ErrorCode::ReadOnlyTransaction, text));
            }
            let outcome = open.write(operations).await;
            return self.settle(outcome).await;
        }
        match operations.pop() {
            None => Ok(0),
            // One partition needs nobody else.
            Some((partition, operation)) if operations.is_empty() => {
                self.aggregator.write(partition, statement, operation).await
            }
            Some(last) => {
                operations.push(last);
                self.aggregator.write_everywhere(&operations).await
            }
        }
    }

    /// Opens a transaction, unless one is open.
    fn open(&mut self) {
        if self.transaction.is_none() {
            self.transaction = Some(Transaction::begin(&self.aggregator, false));
        }
    }

    /// Commits what is open, if anything is.
    async fn commit(&mut self) -> Result<(), SqlError> {
        self.reference_written = false;
        match self.transaction.take() {
            Some(open) => open.commit().await,
            None => Ok(()),
        }
    }

    async fn rollback(&mut self) -> Result<(), SqlError> {
        if let Some(open) = self.transaction.take() {
            open.rollback().await;
        }
        if std::mem::take(&mut self.reference_written) {
            return Err(SqlError::new(
                ErrorCode::NotSupported,
                "Cannot roll back the write to a reference table: it has committed by itself",
            ));
        }
        Ok(())
    }

    /// What a statement of the open transaction came to. One that cannot go on is rolled back.
    async fn settle<T>(&mut self, outcome: Result<T, Failure>) -> Result<T, SqlError> {
        match outcome {
            Ok(answer) => Ok(answer),
            Err(Failure::Statement(error)) => Err(error),
            Err(Failure::Transaction(error)) => {
                if let Some(open) = self.transaction.take() {
                    open.rollback().await;
                }
                Err(error)
            }
        }
    }

    /// A write to a reference table commits by itself, so it is refused where a client would take it for a part of
    /// something that can be rolled back.
    fn may_write_reference(&self) -> Result<(), SqlError> {
        let Some(open) = &self.transaction else { return Ok(()) };
        if open.read_only {
            let text = "Cannot execute statement in a READ ONLY transaction";
            return Err(SqlError::new(ErrorCode::ReadOnlyTransaction, text));
        }
        let text = "A write to a reference table commits by itself and is no part of a transaction: COMMIT or ROLLBACK first, then write to it";
        Err(SqlError::new(ErrorCode::OperationRefused, text))
    }

    /// How queries reach the leaves: in a transaction, as it reads.
    fn scanner(&self, locked: Option<TableId>) -> Arc<LeafScanner> {
        let reading = self.transaction.as_ref().map(|open| open.reading(locked));
        Arc::new(LeafScanner(Arc::clone(&self.aggregator), reading))
    }

    /// A query; in a transaction, FOR UPDATE locks its rows first, and then sees no others.
    async fn select(&mut self, query: &Query, catalog: &Arc<Catalog>) -> Result<Answer, SqlError> {
        let mut locked = None;
        if let Some(rows) = query.locking()
            && (self.transaction.is_some() || self.session.has_autocommit_off())
        {
            let bound = bind_change(&rows, catalog, &self.session)?;
            if bound.schema.kind == TableKind::Reference {
                let text = "FOR UPDATE of a reference table";
                return Err(SqlError::new(ErrorCode::NotSupported, format!("{text} is not supported")));
            }
            let operations = operations_of(&bound, catalog, |program| WriteOperation::Lock { program })?;
            self.open();
            if let Some(open) = &mut self.transaction {
                let outcome = open.write(operations).await;
                self.settle(outcome).await?;
            }
            locked = Some(bound.schema.id);
        }
        let answered = self.read(query, catalog, locked).await;
        // What it had written is gone where it read.
        if answered.as_ref().is_err_and(|error| error.code == ErrorCode::Deadlock)
            && let Some(open) = self.transaction.take()
        {
            open.rollback().await;
        }
        answered
    }

    async fn read(
        &self,
        query: &Query,
        catalog: &Arc<Catalog>,
        locked: Option<TableId>,
    ) -> Result<Answer, SqlError> {
        match plan_read(query, catalog, &self.session)? {
            ReadPlan::Constant(result) => Ok(answer(result)),
            ReadPlan::Points(points) => {
                let rows = self.points(&points, catalog).await?;
                points.result(rows).map(answer)
            }
            ReadPlan::General => {
                let scanner = self.scanner(locked);
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
        let reading = self.transaction.as_ref().map(|open| open.reading(None));
        let gets = by_ordinal.into_iter().map(|(place, keys)| {
            let partition = PartitionId { database: schema.database, ordinal: place };
            let within = reading.as_ref().and_then(|reading| reading.of(partition, schema.id));
            self.aggregator.get(partition, schema.id, keys, within)
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

/// What a change asks of each partition that it may concern.
fn operations_of(
    bound: &BoundChange,
    catalog: &Catalog,
    operation: impl Fn(ChangeProgram) -> WriteOperation,
) -> Result<Vec<(PartitionId, WriteOperation)>, SqlError> {
    let database = bound.schema.database;
    let ordinals: BTreeSet<u32> = match &bound.partitions {
        Partitions::All => (0..partitions_of(catalog, database)?).collect(),
        Partitions::These(ordinals) => ordinals.iter().copied().collect(),
    };
    let of = |ordinal| (PartitionId { database, ordinal }, operation(bound.program_for(ordinal)));
    Ok(ordinals.into_iter().map(of).collect())
}

fn partitions_of(catalog: &Catalog, database: DatabaseId) -> Result<u32, SqlError> {
    catalog.database_by_id(database).map(|database| database.partitions).ok_or_else(|| {
        SqlError::new(ErrorCode::UnknownDatabase, "Unknown database: it was dropped meanwhile")
    })
}
