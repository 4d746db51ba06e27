//! Statements that belong to the master aggregator, executed by it.
//!
//! * S12: every one carries its id into the catalog's log; the first outcome is the answer to every retry.

use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, Outcome, Rejection, Reply};
use baton_failover::placement;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::PARTITIONS_MAX;
use baton_model::{CatalogIndex, Durability, StatementId};
use baton_sql::{
    ClusterStatement, InsertPlan, SchemaStatement, Session, Statement, bind_change, bind_insert,
    execute_query, parse, permit, substitute,
};

use super::Aggregator;
use super::master::ProposalError;
use super::policies::{TRUSTED_KEYS, check_trusted_keys};
use super::route::LeafScanner;
use super::supervisor::until;
use crate::local_sql::node_variables;
use crate::server::{wall_clock_ms, wall_clock_us};
use crate::wire::{ForwardAnswer, ForwardRefusal, ForwardRequest};

/// `ALTER DATABASE … SYNC DURABILITY` waits no longer for its partitions.
const SYNCED_PATIENCE: Duration = Duration::from_secs(10);

/// A proposal that failed, for whoever asked this node as the master aggregator.
pub fn refusal(error: ProposalError) -> ForwardRefusal {
    match error {
        ProposalError::NoMaster => ForwardRefusal::NotTheMaster,
        error @ ProposalError::TooBig(_) => ForwardRefusal::Failed(error.into()),
        ProposalError::Unknown(_) => ForwardRefusal::Unknown,
    }
}

impl From<SqlError> for ForwardRefusal {
    fn from(error: SqlError) -> Self {
        Self::Failed(error)
    }
}

impl From<&Rejection> for ForwardRefusal {
    fn from(rejection: &Rejection) -> Self {
        Self::Failed(rejection.into())
    }
}

/// What a client is told of an outcome.
pub fn answer(outcome: Outcome, index: CatalogIndex) -> Result<ForwardAnswer, ForwardRefusal> {
    let done =
        |affected_rows, last_insert_id, index| Ok(ForwardAnswer { affected_rows, last_insert_id, index });
    match outcome {
        Err(rejection) => Err((&rejection).into()),
        Ok(Reply::Done { index }) => done(0, 0, index),
        Ok(Reply::Written { affected_rows, last_insert_id, index }) => {
            done(affected_rows, last_insert_id, index)
        }
        Ok(Reply::Batch(outcomes)) => match outcomes.into_iter().find_map(Result::err) {
            Some(rejection) => Err((&rejection).into()),
            None => done(0, 0, index),
        },
        Ok(Reply::Node(_) | Reply::AutoIncrement(_) | Reply::Plan(_)) => done(1, 0, index),
    }
}

impl Aggregator {
    /// The catalog with everything that was ever acknowledged, as only the master aggregator has it.
    ///
    /// # Errors
    /// [`ForwardRefusal::NotTheMaster`].
    pub async fn current_catalog(&self) -> Result<Arc<Catalog>, ForwardRefusal> {
        let group = self.group().ok_or(ForwardRefusal::NotTheMaster)?;
        group.linearize().await.map_err(|_| ForwardRefusal::NotTheMaster)?;
        Ok(group.catalog())
    }

    /// Commits a command for a statement.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn commit(
        &self,
        statement: StatementId,
        command: Command,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let entry = Entry { statement: Some(statement), at_ms: wall_clock_ms(), command };
        let outcome = self.propose(entry).await.map_err(refusal)?;
        answer(outcome, self.group().map_or(CatalogIndex(0), |group| group.catalog().index()))
    }

    /// Executes a statement as the master aggregator.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn execute_at_master(
        self: &Arc<Self>,
        request: ForwardRequest,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        if !self.group_status().is_leader {
            return Err(ForwardRefusal::NotTheMaster);
        }
        let id = request.statement;
        let catalog = self.current_catalog().await?;
        let mut statement = parse(&request.sql)?;
        // A change of members goes on after its entry is committed, and so does its retry.
        let goes_on = matches!(
            statement,
            Statement::Cluster(
                ClusterStatement::AddAggregator { .. }
                    | ClusterStatement::AddLeaf { .. }
                    | ClusterStatement::RemoveAggregator(_)
                    | ClusterStatement::Maintenance(_)
            ) | Statement::Schema(SchemaStatement::AlterDatabase { .. })
        );
        if !goes_on && let Some(outcome) = catalog.outcome(id) {
            return answer(outcome.clone(), catalog.index());
        }
        if !request.parameters.is_empty() {
            statement = substitute(&statement, &request.parameters)?;
        }
        let session = Session {
            now_us: wall_clock_us(),
            node_variables: node_variables(&self.context, Some("self".into())),
            ..request.session.clone()
        };
        permit(&statement, &catalog, &session)?;
        match statement {
            Statement::Cluster(cluster) => self.execute_cluster(id, cluster, &request, &catalog).await,
            Statement::Backup(backup) => self.execute_backup(id, backup).await,
            Statement::Schema(schema) => self.execute_schema(id, schema, &session, &catalog).await,
            Statement::SetGlobal(assignments) => {
                for (name, value) in &assignments {
                    if name.replace('-', "_").eq_ignore_ascii_case(TRUSTED_KEYS) {
                        check_trusted_keys(value)?;
                    }
                }
                let command = |(name, value)| Command::SetVariable { name, value };
                self.commit(id, Command::Batch(assignments.into_iter().map(command).collect())).await
            }
            Statement::Insert(insert) => {
                let mut bound = match bind_insert(&insert, &catalog, &session)? {
                    InsertPlan::Rows(bound) => bound,
                    InsertPlan::Select { query, target } => {
                        let scanner = Arc::new(LeafScanner(Arc::clone(self), None));
                        target.bind(execute_query(&query, Arc::clone(&catalog), &session, scanner).await?)?
                    }
                };
                let first = self.number_rows(&mut bound).await?;
                let outcome = self.insert_reference(id, bound, first).await?;
                answer(outcome, catalog.index())
            }
            Statement::Change(change) => {
                let bound = bind_change(&change, &catalog, &session)?;
                answer(self.change_reference(id, bound, request.counts_found_rows).await?, catalog.index())
            }
            _ => {
                Err(SqlError::new(ErrorCode::NotSupported, "This statement is not for the master aggregator")
                    .into())
            }
        }
    }

    /// Waits until every partition of a database has synced what it holds, so that an OK means what it says (S2).
    async fn until_synced(&self, name: &str) -> Result<(), SqlError> {
        let unsynced = |catalog: &Catalog| {
            let of = catalog.database(name).map(|database| database.id);
            of.map_or(0, |id| catalog.partitions_of(id).filter(|partition| partition.unsynced).count())
        };
        if until(self, SYNCED_PATIENCE, |catalog| unsynced(catalog) == 0).await.is_ok() {
            return Ok(());
        }
        let text = format!(
            "Database '{name}' is altered, but {} of its partitions have not synced what they hold yet; \
             see SHOW DATABASES EXTENDED",
            unsynced(&self.context.catalog())
        );
        Err(SqlError::new(ErrorCode::OutcomeUnknown, text))
    }

    async fn execute_schema(
        &self,
        id: StatementId,
        schema: SchemaStatement,
        session: &Session,
        catalog: &Catalog,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let current = |named: Option<String>| {
            named
                .or_else(|| session.database.clone())
                .ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))
        };
        let command = match schema {
            SchemaStatement::CreateDatabase { name, if_not_exists, replication, durability, partitions } => {
                let leaves = u32::try_from(catalog.leaves().count()).unwrap_or(u32::MAX);
                let per_leaf = u32::try_from(catalog.number("default_partitions_per_leaf")).unwrap_or(1);
                let count =
                    partitions.unwrap_or_else(|| leaves.saturating_mul(per_leaf).clamp(1, PARTITIONS_MAX));
                let placements = self
                    .placing(catalog, |placer| {
                        placement(catalog, &name, count, catalog.number("redundancy_level"), placer)
                    })
                    .map_err(|error| SqlError::new(ErrorCode::OperationRefused, error.to_string()))?;
                Command::CreateDatabase { name, if_not_exists, replication, durability, placements }
            }
            SchemaStatement::AlterDatabase { name, replication, durability } => {
                let answer = self
                    .commit(id, Command::AlterDatabase { name: name.clone(), replication, durability })
                    .await?;
                if durability == Some(Durability::Sync) {
                    self.until_synced(&name).await?;
                }
                return Ok(answer);
            }
            SchemaStatement::DropDatabase { name, if_exists } => {
                if catalog.database(&name).is_none() && !if_exists {
                    let text = format!("Can't drop database '{name}'; database doesn't exist");
                    return Err(SqlError::new(ErrorCode::DatabaseDropMissing, text).into());
                }
                Command::DropDatabase { name, if_exists }
            }
            SchemaStatement::CreateTable { database, schema, if_not_exists } => {
                Command::CreateTable { database: current(database)?, schema: *schema, if_not_exists }
            }
            SchemaStatement::DropTable { tables, if_exists } => {
                let mut commands = Vec::new();
                for table in tables {
                    let database = current(table.database)?;
                    let found = catalog.database(&database).and_then(|d| catalog.table(d.id, &table.table));
                    if found.is_none() && !if_exists {
                        let text = format!("Unknown table '{database}.{}'", table.table);
                        return Err(SqlError::new(ErrorCode::UnknownTable, text).into());
                    }
                    commands.push(Command::DropTable { database, table: table.table, if_exists });
                }
                Command::Batch(commands)
            }
        };
        self.commit(id, command).await
    }
}
