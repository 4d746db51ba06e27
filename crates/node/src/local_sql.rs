//! What every node answers by itself, in a cluster or not: who it is, its variables, constants.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use baton_catalog::Catalog;
use baton_gateway::{
    Answer, AnswerColumn, Client, PasswordHash, PreparedShape, Session as GatewaySession, Sessions,
};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum, NodeId, NodeRole, Row};
use baton_sql::{
    ReadPlan, ResultSet, Session, Statement, answer_show, columns_of, parameter_count, parse, permit,
    permit_use, plan_read, substitute,
};

use crate::context::Context;
use crate::server::wall_clock_us;

/// What `ADD LEAF` and `ADD AGGREGATOR` ask a node after they have logged in.
pub const IDENTITY_QUERY: &str = "SHOW NODE IDENTITY";
/// The columns of its answer, all text.
pub const IDENTITY_COLUMNS: [&str; 7] =
    ["role", "rpc_port", "http_port", "incarnation", "store", "cluster", "node"];

/// The answer to [`IDENTITY_QUERY`].
pub fn identity(context: &Context) -> Answer {
    let identity = context.identity();
    let role = match context.config.role {
        NodeRole::Leaf => "leaf",
        NodeRole::Aggregator => "aggregator",
    };
    let values = [
        role.to_owned(),
        context.config.rpc_port.to_string(),
        context.config.http_port.to_string(),
        context.pulse.incarnation().0.to_string(),
        context.pulse.store().0.to_string(),
        identity.cluster.map_or_else(String::new, |cluster| cluster.to_string()),
        identity.node.0.to_string(),
    ];
    Answer::Rows {
        columns: IDENTITY_COLUMNS.map(|name| AnswerColumn::new(name, ColumnType::Text)).to_vec(),
        rows: vec![values.map(Datum::Text).to_vec()],
    }
}

/// Whether a statement is [`IDENTITY_QUERY`].
pub fn asks_identity(sql: &str) -> bool {
    sql.trim().trim_end_matches(';').eq_ignore_ascii_case(IDENTITY_QUERY)
}

/// A result of the SQL crate as an answer of the gateway.
pub fn answer(result: ResultSet) -> Answer {
    let columns = result.columns.into_iter().map(|(name, of)| AnswerColumn::new(name, of)).collect();
    Answer::Rows { columns, rows: result.rows }
}

/// An answer made here: names, types, rows.
pub fn table(columns: &[(&str, ColumnType)], rows: Vec<Row>) -> Answer {
    let columns = columns.iter().map(|(name, of)| AnswerColumn::new(*name, *of)).collect();
    Answer::Rows { columns, rows }
}

/// What `@@name` says of this node, beside the global variables.
pub fn node_variables(context: &Context, master: Option<String>) -> Arc<BTreeMap<String, String>> {
    let config = &context.config;
    let leaf = config.role == NodeRole::Leaf;
    let yes_no = |yes: bool| if yes { "1" } else { "0" }.to_owned();
    let variables = [
        ("hostname", config.host.clone()),
        ("port", config.sql_port.to_string()),
        ("rpc_port", config.rpc_port.to_string()),
        ("http_port", config.http_port.to_string()),
        ("datadir", config.data_dir.display().to_string()),
        ("server_id", context.node().0.to_string()),
        ("as_leaf", yes_no(leaf)),
        ("as_aggregator", yes_no(!leaf)),
        ("master_aggregator", master.unwrap_or_default()),
    ];
    Arc::new(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The password of a user, from the catalog; a node of no cluster knows `root` without a password, so that it can be
/// taken into one, or so that its BOOTSTRAP, if it was broken off, can be gone on with.
pub fn password_hash(context: &Context, user: &str) -> Option<PasswordHash> {
    let (identity, catalog) = (context.identity(), context.catalog());
    if identity.cluster.is_none() || identity.node == NodeId(1) && catalog.cluster().is_none() {
        return (user == "root").then_some(PasswordHash::EMPTY);
    }
    catalog.user(user).map(|user| PasswordHash::from_bytes(user.password_hash))
}

/// The session of a client that has just come in.
pub fn session_of(client: &Client) -> Session {
    Session {
        user: format!("{}@{}", client.user, client.peer.ip().to_canonical()),
        connection_id: u64::from(client.connection_id),
        ..Session::default()
    }
}

/// A statement with the values of its `?` in place.
///
/// # Errors
/// [`SqlError`].
pub fn with_parameters(sql: &str, parameters: &[Datum]) -> Result<Statement, SqlError> {
    let statement = parse(sql)?;
    if parameters.is_empty() { Ok(statement) } else { substitute(&statement, parameters) }
}

/// What a statement needs and, as far as that is known before its execution, what it returns.
///
/// # Errors
/// [`SqlError`].
pub async fn shape(sql: &str, catalog: &Arc<Catalog>, session: &Session) -> Result<PreparedShape, SqlError> {
    let statement = parse(sql)?;
    let columns = columns_of(&statement, catalog, session).await.unwrap_or_default();
    Ok(PreparedShape {
        parameters: parameter_count(&statement),
        columns: columns.into_iter().map(|(name, of)| AnswerColumn::new(name, of)).collect(),
    })
}

/// The sessions of a leaf: for operators who want to know how it is. Data is read and written through aggregators.
pub struct LeafSessions(pub Arc<Context>);

/// One of them.
pub struct LeafSession {
    context: Arc<Context>,
    session: Session,
}

impl Sessions for LeafSessions {
    type Session = LeafSession;

    fn password_hash(&self, user: &str) -> Option<PasswordHash> {
        password_hash(&self.0, user)
    }

    fn knows_users(&self) -> bool {
        self.0.catalog().cluster().is_some()
    }

    fn open(&self, client: &Client) -> LeafSession {
        let session = Session { node_variables: node_variables(&self.0, None), ..session_of(client) };
        LeafSession { context: Arc::clone(&self.0), session }
    }
}

impl LeafSession {
    fn choose(&mut self, database: &str) -> Result<(), SqlError> {
        let known = database == "information_schema" || self.context.catalog().database(database).is_some();
        if !known {
            return Err(SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{database}'")));
        }
        permit_use(database, &self.context.catalog(), &self.session)?;
        self.session.database = Some(database.to_owned());
        Ok(())
    }

    fn run(&mut self, statement: &Statement) -> Result<Answer, SqlError> {
        let catalog = self.context.catalog();
        self.session.now_us = wall_clock_us();
        permit(statement, &catalog, &self.session)?;
        let answered = match statement {
            Statement::SetSession(assignments) => {
                self.session.assign(assignments, &catalog)?;
                return Ok(Answer::done());
            }
            Statement::Commit | Statement::Rollback => return Ok(Answer::done()),
            Statement::Use(database) => {
                self.choose(database)?;
                return Ok(Answer::done());
            }
            Statement::Show(show) => answer_show(show, &catalog, &self.session)?,
            Statement::Query(query) => match plan_read(query, &catalog, &self.session)? {
                ReadPlan::Constant(result) => Some(result),
                _ => None,
            },
            _ => None,
        };
        answered.map(answer).ok_or_else(|| {
            let address = catalog.aggregators().find(|node| node.is_online()).map(|node| node.address());
            let text = format!(
                "This is a leaf: it answers about itself only. Send the statement to an aggregator{}",
                address.map_or_else(String::new, |address| format!(", for example {address}"))
            );
            SqlError::new(ErrorCode::OperationRefused, text)
        })
    }
}

#[async_trait]
impl GatewaySession for LeafSession {
    async fn query(&mut self, sql: &str) -> Result<Answer, SqlError> {
        if asks_identity(sql) {
            return Ok(identity(&self.context));
        }
        self.run(&parse(sql)?)
    }

    async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        self.choose(name)
    }

    async fn prepare(&mut self, sql: &str) -> Result<PreparedShape, SqlError> {
        shape(sql, &self.context.catalog(), &self.session).await
    }

    async fn execute(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError> {
        self.run(&with_parameters(sql, parameters)?)
    }

    fn database(&self) -> Option<&str> {
        self.session.database.as_deref()
    }
}
