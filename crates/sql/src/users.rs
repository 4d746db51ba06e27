//! Users and what they may do: the statements about them, and what a statement asks of whoever says it.
//!
//! What is read is guarded where a table is looked up (`Context::require` in `read`), so that no way of naming one gets
//! around it; everything else in [`permit`], before a statement is carried out.
//! Not here: names. Whoever may log in sees what databases and tables there are.

use std::collections::BTreeSet;

use baton_catalog::{Catalog, Command, GrantScope, Privilege, Rejection, User, grants};
use baton_model::errors::{ErrorCode, SqlError};

use crate::bind::{Context, INFORMATION_SCHEMA};
use crate::session::Session;
use crate::statement::{ChangeStatement, ClusterStatement, SchemaStatement, Show, Statement, TableName};

/// A statement about users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserStatement {
    /// `CREATE USER [IF NOT EXISTS] user [IDENTIFIED BY 'password']`.
    Create {
        /// The user.
        user: String,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// The password; empty if none was given.
        password: String,
    },
    /// `ALTER USER user IDENTIFIED BY 'password'`, `SET PASSWORD [FOR user] = …`.
    SetPassword {
        /// The user; None is the session's own.
        user: Option<String>,
        /// The new password.
        password: String,
    },
    /// `DROP USER [IF EXISTS] user, …`.
    Drop {
        /// The users.
        users: BTreeSet<String>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `GRANT … ON … TO …`.
    Grant {
        /// What they may do.
        privileges: Granted,
        /// With what.
        target: GrantTarget,
        /// The users.
        users: BTreeSet<String>,
        /// With a password, it becomes that of the users, and those that there are not are made.
        password: Option<String>,
    },
    /// `REVOKE … ON … FROM …`.
    Revoke {
        /// What they may not do any more.
        privileges: Granted,
        /// With what.
        target: GrantTarget,
        /// The users.
        users: BTreeSet<String>,
    },
    /// `REVOKE ALL PRIVILEGES, GRANT OPTION FROM …`.
    RevokeAll {
        /// The users.
        users: BTreeSet<String>,
    },
}

impl UserStatement {
    /// What is to be asked of the catalog. A statement that names somebody who is not there does nothing to the others.
    /// `asker` says it, and `hash` makes of a password what is kept of it.
    ///
    /// # Errors
    /// 1396 of a user that there is not, 1046 where a name needs a database, 1221.
    pub fn command(
        self,
        asker: &str,
        session: &Session,
        catalog: &Catalog,
        hash: impl Fn(&str) -> Option<[u8; 20]>,
    ) -> Result<Command, SqlError> {
        let each =
            |users: BTreeSet<String>, may_miss: bool, commands: &dyn Fn(String) -> Vec<Command>| match users
                .iter()
                .find(|user| !may_miss && catalog.user(user).is_none())
            {
                Some(user) => Err(SqlError::from(&Rejection::NoSuchUser(user.clone()))),
                None => Ok(Command::Batch(users.into_iter().flat_map(commands).collect())),
            };
        match self {
            Self::Create { user, if_not_exists, password } => {
                Ok(Command::CreateUser { user, if_not_exists, password_hash: hash(&password) })
            }
            Self::SetPassword { user, password } => {
                let user = user.unwrap_or_else(|| asker.to_owned());
                Ok(Command::SetPassword { user, password_hash: hash(&password) })
            }
            Self::Drop { users, if_exists } => {
                each(users, if_exists, &|user| vec![Command::DropUser { user, if_exists }])
            }
            Self::Grant { privileges, target, users, password } => {
                let scope = target.scope(session)?;
                let privileges = privileges.at(&scope)?;
                each(users, password.is_some(), &|user| {
                    let create = password.as_deref().map(|password| {
                        let (user, password_hash) = (user.clone(), hash(password));
                        match catalog.user(&user) {
                            Some(_) => Command::SetPassword { user, password_hash },
                            None => Command::CreateUser { user, if_not_exists: true, password_hash },
                        }
                    });
                    let (privileges, scope) = (privileges.clone(), scope.clone());
                    create.into_iter().chain([Command::Grant { user, privileges, scope }]).collect()
                })
            }
            Self::Revoke { privileges, target, users } => {
                let scope = target.scope(session)?;
                let privileges = privileges.at(&scope)?;
                each(users, false, &|user| {
                    vec![Command::Revoke { user, privileges: privileges.clone(), scope: scope.clone() }]
                })
            }
            Self::RevokeAll { users } => each(users, false, &|user| vec![Command::RevokeAll { user }]),
        }
    }
}

/// The privileges that a statement names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Granted {
    /// `ALL`: what that is depends on the target.
    pub all: bool,
    /// Those that are named.
    pub named: BTreeSet<Privilege>,
}

/// What a GRANT is for, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantTarget {
    /// `*.*`.
    Cluster,
    /// `db.*`; None is the session's.
    Database(Option<String>),
    /// A table.
    Table(TableName),
}

impl Granted {
    /// The privileges at a scope.
    ///
    /// # Errors
    /// 1221 for one that can be held for the whole cluster only.
    pub fn at(&self, scope: &GrantScope) -> Result<BTreeSet<Privilege>, SqlError> {
        let mut privileges = self.named.clone();
        if let Some(wide) = privileges.iter().find(|it| !it.is_of_data() && *scope != GrantScope::Cluster) {
            let text = format!("Incorrect usage of {wide}: it is held for the whole cluster, ON *.*");
            return Err(SqlError::new(ErrorCode::WrongUsage, text));
        }
        if self.all {
            privileges.extend(scope.all());
        }
        Ok(privileges)
    }
}

impl GrantTarget {
    /// With the session's database where none is named. What there is not can be granted for, as in MySQL.
    ///
    /// # Errors
    /// 1046 if none is chosen.
    pub fn scope(&self, session: &Session) -> Result<GrantScope, SqlError> {
        let database = |name: &Option<String>| {
            name.clone()
                .or_else(|| session.database.clone())
                .ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))
        };
        Ok(match self {
            Self::Cluster => GrantScope::Cluster,
            Self::Database(name) => GrantScope::Database(database(name)?),
            Self::Table(TableName { database: of, table }) => GrantScope::table(&database(of)?, table),
        })
    }
}

impl<'a> Context<'a> {
    /// Who asks. None for this node itself, which may do everything.
    fn asker(&self) -> Option<&'a str> {
        let user = self.session.user.as_str();
        (!user.is_empty()).then(|| user.split_once('@').map_or(user, |(name, _)| name))
    }

    fn user(&self, name: &str) -> Option<&'a User> {
        self.catalog.user(name)
    }

    /// Whether whoever asks may do this.
    pub(crate) fn holds(&self, privilege: Privilege, scope: &GrantScope) -> bool {
        self.asker().is_none_or(|name| self.user(name).is_some_and(|user| user.may(privilege, scope)))
    }

    /// Refuses whoever may not do this.
    ///
    /// # Errors
    /// 1142, 1044 or 1227, by what it is about.
    pub(crate) fn require(&self, privilege: Privilege, scope: &GrantScope) -> Result<(), SqlError> {
        if self.holds(privilege, scope) {
            return Ok(());
        }
        let name = self.asker().unwrap_or_default();
        let (code, text) = match scope {
            GrantScope::Table(_, table) => (
                ErrorCode::TableAccessDenied,
                format!("{privilege} command denied to user '{name}'@'%' for table '{table}'"),
            ),
            GrantScope::Database(database) => (
                ErrorCode::DatabaseAccessDenied,
                format!(
                    "Access denied for user '{name}'@'%' to database '{database}' ({privilege} is needed)"
                ),
            ),
            GrantScope::Cluster => (
                ErrorCode::SpecificAccessDenied,
                format!("Access denied; you need the {privilege} privilege for this operation"),
            ),
        };
        Err(SqlError::new(code, text))
    }

    /// Refuses whoever may not do this with a table.
    fn require_of_table(&self, privilege: Privilege, name: &TableName) -> Result<(), SqlError> {
        let database = self.database_name(name.database.as_deref())?;
        // By its own name, which may be spelled otherwise here; one that there is not, as it is spelled.
        let spelled = || GrantScope::table(database, &name.table);
        let known = self.database(Some(database)).and_then(|database| {
            let table = self.table(name)?;
            Ok(GrantScope::table(&database.name, &table.schema.name))
        });
        self.require(privilege, &known.unwrap_or_else(|_| spelled()))
    }

    fn require_of_database(&self, privilege: Privilege, name: &str) -> Result<(), SqlError> {
        self.require(privilege, &GrantScope::Database(name.to_owned()))
    }

    fn refuse_roots_password(&self) -> Result<(), SqlError> {
        let name = self.asker().unwrap_or_default();
        let text = format!("Access denied for user '{name}'@'%': only root sets root's password");
        Err(SqlError::new(ErrorCode::SpecificAccessDenied, text))
    }

    /// Refuses whoever may do nothing at all in a database.
    fn require_entry(&self, database: Option<&str>) -> Result<(), SqlError> {
        let Some(database) = database.or(self.session.database.as_deref()) else { return Ok(()) };
        let free = database.eq_ignore_ascii_case(INFORMATION_SCHEMA);
        let enters = |name| self.user(name).is_some_and(|user| user.may_enter(database));
        if free || self.asker().is_none_or(enters) {
            return Ok(());
        }
        let name = self.asker().unwrap_or_default();
        let text = format!("Access denied for user '{name}'@'%' to database '{database}'");
        Err(SqlError::new(ErrorCode::DatabaseAccessDenied, text))
    }
}

/// Refuses a statement that its session's user may not say, but for what it reads.
///
/// # Errors
/// 1044, 1142, 1227; 1046 where a name needs a database and none is chosen.
pub fn permit(statement: &Statement, catalog: &Catalog, session: &Session) -> Result<(), SqlError> {
    // A node of no cluster knows no users, and does nothing that they could be refused.
    if catalog.cluster().is_none() {
        return Ok(());
    }
    let context = Context { catalog, session };
    let cluster = |privilege| context.require(privilege, &GrantScope::Cluster);
    match statement {
        Statement::Cluster(ClusterStatement::User(statement)) => permit_user(statement, &context),
        Statement::Cluster(_) => cluster(Privilege::Cluster),
        Statement::SetGlobal(_) => cluster(Privilege::Super),
        Statement::Schema(statement) => permit_schema(statement, &context),
        // A backup goes to, and a restore comes from, any place that the server reaches, and may be of any database.
        Statement::Backup(_) => cluster(Privilege::Backup),
        Statement::Use(database) => context.require_entry(Some(database)),
        Statement::Show(show) => permit_show(show, &context),
        Statement::Insert(insert) => {
            context.require_of_table(Privilege::Insert, &insert.table)?;
            if insert.replace {
                context.require_of_table(Privilege::Delete, &insert.table)?;
            }
            Ok(())
        }
        Statement::Change(change) => permit_change(change, &context),
        // What it reads is guarded where the tables are looked up; what it locks, here.
        Statement::Query(query) => query.locking().map_or(Ok(()), |rows| {
            context.require_of_table(Privilege::Select, &rows.table)?;
            context.require_of_table(Privilege::Update, &rows.table)
        }),
        Statement::Explain(_) => Ok(()),
        Statement::SetSession(_)
        | Statement::Begin { .. }
        | Statement::Commit
        | Statement::Rollback
        | Statement::Savepoint(_)
        | Statement::RollbackTo(_)
        | Statement::ReleaseSavepoint(_) => Ok(()),
    }
}

/// Refuses to make a database the default one in which the session's user may do nothing.
///
/// # Errors
/// 1044.
pub fn permit_use(database: &str, catalog: &Catalog, session: &Session) -> Result<(), SqlError> {
    Context { catalog, session }.require_entry(Some(database))
}

fn permit_user(statement: &UserStatement, context: &Context<'_>) -> Result<(), SqlError> {
    let (privileges, target) = match statement {
        UserStatement::SetPassword { user, .. }
            if user.as_deref().is_none_or(|user| context.asker().is_none_or(|own| own == user)) =>
        {
            return Ok(());
        }
        UserStatement::SetPassword { user: Some(user), .. } if user == grants::ROOT => {
            return context.refuse_roots_password();
        }
        UserStatement::Grant { privileges, target, password, users } => {
            if password.is_some() && users.contains(grants::ROOT) && context.asker() != Some(grants::ROOT) {
                context.refuse_roots_password()?;
            }
            if password.is_some() {
                context.require(Privilege::Super, &GrantScope::Cluster)?;
            }
            (privileges, target)
        }
        UserStatement::Revoke { privileges, target, .. } => (privileges, target),
        _ => return context.require(Privilege::Super, &GrantScope::Cluster),
    };
    // Nobody gives what they do not have.
    let scope = target.scope(context.session)?;
    context.require(Privilege::GrantOption, &scope)?;
    privileges.at(&scope)?.into_iter().try_for_each(|privilege| context.require(privilege, &scope))
}

fn permit_schema(statement: &SchemaStatement, context: &Context<'_>) -> Result<(), SqlError> {
    match statement {
        SchemaStatement::CreateDatabase { name, .. } => context.require_of_database(Privilege::Create, name),
        SchemaStatement::AlterDatabase { name, .. } => context.require_of_database(Privilege::Alter, name),
        SchemaStatement::DropDatabase { name, .. } => context.require_of_database(Privilege::Drop, name),
        SchemaStatement::CreateTable { database, schema, .. } => {
            let name = TableName { database: database.clone(), table: schema.name.clone() };
            context.require_of_table(Privilege::Create, &name)
        }
        SchemaStatement::DropTable { tables, .. } => {
            tables.iter().try_for_each(|table| context.require_of_table(Privilege::Drop, table))
        }
    }
}

fn permit_show(show: &Show, context: &Context<'_>) -> Result<(), SqlError> {
    match show {
        Show::Grants { user: Some(user) } if context.asker().is_some_and(|own| own != user) => {
            context.require(Privilege::Super, &GrantScope::Cluster)
        }
        Show::Tables { database, .. } | Show::TableStatus { database, .. } => {
            context.require_entry(database.as_deref())
        }
        Show::CreateDatabase { database } => context.require_entry(Some(database)),
        Show::Columns { table, .. } | Show::Indexes { table } | Show::CreateTable { table } => {
            context.require_entry(table.database.as_deref())
        }
        _ => Ok(()),
    }
}

/// Checks that the session's user may write as an UPDATE or DELETE does. One that reads to find its rows shows what is
/// there by what it changes.
fn permit_change(change: &ChangeStatement, context: &Context<'_>) -> Result<(), SqlError> {
    let privilege = if change.assignments.is_some() { Privilege::Update } else { Privilege::Delete };
    context.require_of_table(privilege, &change.table)?;
    if change.predicate.is_some() || change.assignments.is_some() {
        context.require_of_table(Privilege::Select, &change.table)?;
    }
    Ok(())
}

/// The GRANT statements that a user's privileges come to.
///
/// # Errors
/// 1141 of a user that there is not.
pub(crate) fn grants_of(user: &str, context: &Context<'_>) -> Result<Vec<String>, SqlError> {
    if user == grants::ROOT {
        return Ok(vec![grants::statement_of_root()]);
    }
    let known = context.user(user).ok_or_else(|| {
        let text = format!("There is no such grant defined for user '{user}' on host '%'");
        SqlError::new(ErrorCode::NonexistingGrant, text)
    })?;
    Ok(known.grants.statements(user))
}
