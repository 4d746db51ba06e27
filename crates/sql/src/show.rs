//! The SHOWs that an aggregator answers from its catalog and its session.

mod policies;

use baton_catalog::Catalog;
use baton_model::errors::SqlError;
use baton_model::{ColumnType, Datum, Durability, SyncState, TableKind, TableSchema};

use crate::bind::{Columns, Context, INFORMATION_SCHEMA, bind_scalar};
use crate::expression::{Pattern, REGULAR_ESCAPE};
use crate::read::{SYSTEM_TABLES, column_key, database_names, keys, schema_of, shown_default, system_table};
use crate::session::{ResultSet, Session};
use crate::statement::{Show, ShowFilter, TableName};
use crate::users::grants_of;
use crate::variables;

const TEXT: ColumnType = ColumnType::Varchar(512);
const NUMBER: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

fn text(text: impl Into<String>) -> Datum {
    Datum::Text(text.into())
}

fn answer(columns: &[(&str, ColumnType)], rows: Vec<Vec<Datum>>) -> ResultSet {
    ResultSet { columns: columns.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect(), rows }
}

/// Columns of text.
fn texts(columns: &[&str], rows: Vec<Vec<Datum>>) -> ResultSet {
    ResultSet { columns: columns.iter().map(|name| ((*name).to_owned(), TEXT)).collect(), rows }
}

/// The answer to a SHOW. None is one that needs more than catalog and session: AGGREGATORS, LEAVES, CLUSTER STATUS,
/// PARTITIONS, PROCESSLIST, TRANSACTION OUTCOME and EXPLAIN of an operator's plan.
///
/// # Errors
/// 1046, 1049 and 1146 for databases and tables that are not there.
pub fn answer_show(show: &Show, catalog: &Catalog, session: &Session) -> Result<Option<ResultSet>, SqlError> {
    let context = Context { catalog, session };
    Ok(Some(match show {
        Show::Databases { filter, extended: true } => narrow(databases_extended(&context), filter, &context)?,
        Show::Databases { filter, extended: false } => {
            let rows = database_names(&context).into_iter().map(|name| vec![text(name)]);
            narrow(texts(&["Database"], rows.collect()), filter, &context)?
        }
        Show::Tables { full, database, filter } => tables(*full, database.as_deref(), filter, &context)?,
        Show::TableStatus { database, filter } => table_status(database.as_deref(), filter, &context)?,
        Show::Columns { full, table, filter } => {
            narrow(columns(*full, schema(table, &context)?), filter, &context)?
        }
        Show::Indexes { table } => indexes(schema(table, &context)?),
        Show::CreateTable { table } => {
            let schema = schema(table, &context)?;
            texts(&["Table", "Create Table"], vec![vec![text(&schema.name), text(create_table(schema))]])
        }
        Show::CreateDatabase { database } => {
            let database = context.database(Some(database))?;
            let statement = format!(
                "CREATE DATABASE `{}` WITH {} DURABILITY {} REPLICATION PARTITIONS {}",
                database.name,
                format!("{:?}", database.durability).to_uppercase(),
                format!("{:?}", database.replication).to_uppercase(),
                database.partitions
            );
            texts(&["Database", "Create Database"], vec![vec![text(&database.name), text(statement)]])
        }
        Show::Variables { global, filter } => {
            let variables = variables::all(&context, *global).into_iter();
            let rows = variables.map(|(name, value)| vec![text(name), text(value)]);
            narrow(texts(&["Variable_name", "Value"], rows.collect()), filter, &context)?
        }
        Show::Status { .. } => texts(&["Variable_name", "Value"], Vec::new()),
        Show::Warnings => answer(&[("Level", TEXT), ("Code", NUMBER), ("Message", TEXT)], Vec::new()),
        Show::Engines => texts(
            &["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"],
            vec![["Baton", "DEFAULT", "Replicated rows", "YES", "NO", "YES"].map(text).into()],
        ),
        Show::Collation { filter } => narrow(collations(), filter, &context)?,
        Show::CharacterSet { filter } => {
            let row = vec![text("utf8mb4"), text("UTF-8 Unicode"), text("utf8mb4_bin"), Datum::Int(4)];
            let columns =
                [("Charset", TEXT), ("Description", TEXT), ("Default collation", TEXT), ("Maxlen", NUMBER)];
            narrow(answer(&columns, vec![row]), filter, &context)?
        }
        Show::Grants { user } => {
            let own = session.user.split('@').next().unwrap_or_default();
            let user = user.as_deref().unwrap_or(own);
            let rows = grants_of(user, &context)?.into_iter().map(|grant| vec![text(grant)]);
            texts(&[&format!("Grants for {user}@%")], rows.collect())
        }
        Show::Nothing { columns } => texts(columns, Vec::new()),
        Show::RebalanceStatus { database } => rebalance_status(database.as_deref(), &context)?,
        Show::Policies => policies::modules(catalog),
        Show::PolicyBindings => policies::bindings(catalog),
        Show::PolicyDecision { id } => policies::decision(*id, catalog)?,
        Show::Maintenance => policies::maintenance(&context),
        Show::PolicyDecisions { limit } => newest("MV_POLICY_DECISIONS", *limit, &context),
        Show::Events { limit } => newest("MV_EVENTS", *limit, &context),
        Show::Aggregators { .. }
        | Show::Leaves
        | Show::ClusterStatus
        | Show::Partitions { .. }
        | Show::Plan(_)
        | Show::ShadowReport
        | Show::MaintenancePlan(_)
        | Show::Processlist
        | Show::TransactionOutcome { .. } => return Ok(None),
    }))
}

/// Of each database, its state and who follows, as far as the catalog knows: as many replicas as it has in all its
/// partitions, by what they are in the catalog now.
fn databases_extended(context: &Context<'_>) -> ResultSet {
    let catalog = context.catalog;
    let count = |count: usize| Datum::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let rows = database_names(context).into_iter().map(|name| {
        let Some(database) = catalog.database(&name) else {
            let none = [text("online"), text(""), Datum::Int(0), Datum::Int(0)];
            return [text(name), text("local")].into_iter().chain(none).collect();
        };
        let replicas =
            || catalog.partitions_of(database.id).flat_map(|partition| partition.replicas.values());
        let slow = replicas().filter(|state| **state == SyncState::Async).count();
        let offline = catalog.partitions_of(database.id).filter(|p| catalog.serving(p.id).is_none()).count();
        let unsynced = catalog.partitions_of(database.id).filter(|partition| partition.unsynced).count();
        let mut details =
            format!("{:?} durability, {:?} replication", database.durability, database.replication)
                .to_lowercase();
        if database.durability == Durability::Sync && unsynced > 0 {
            details.push_str(&format!("; {unsynced} of {} partitions not synced yet", database.partitions));
        }
        if offline > 0 {
            details.push_str(&format!("; {offline} of {} partitions offline", database.partitions));
        }
        vec![
            text(name),
            text("master"),
            text(if offline == 0 { "online" } else { "offline" }),
            text(details),
            count(slow),
            count(replicas().count() - slow),
        ]
    });
    let columns = [
        ("Database", TEXT),
        ("Role", TEXT),
        ("State", TEXT),
        ("Details", TEXT),
        ("AsyncSlaves", NUMBER),
        ("SyncSlaves", NUMBER),
    ];
    answer(&columns, rows.collect())
}

/// The plan of one database, or those of all with their names before.
fn rebalance_status(database: Option<&str>, context: &Context<'_>) -> Result<ResultSet, SqlError> {
    let of = database.map(|name| context.database(Some(name))).transpose()?;
    let mut result = system_table("MV_REBALANCE_STATUS", context).unwrap_or_default();
    let names = [
        "Database",
        "Action",
        "Ordinal",
        "Target_Host",
        "Target_Port",
        "Phase",
        "Status",
        "Running_Time",
        "Estimated_Time_Remaining_Ms",
    ];
    for ((column, _), name) in result.columns.iter_mut().zip(names) {
        name.clone_into(column);
    }
    if let Some(of) = of {
        result.rows.retain(|row| row.first() == Some(&text(&of.name)));
        result.columns.remove(0);
        for row in &mut result.rows {
            row.remove(0);
        }
    }
    Ok(result)
}

/// The last rows of a table of `information_schema` that is in order of time.
fn newest(table: &str, limit: Option<u64>, context: &Context<'_>) -> ResultSet {
    let mut result = system_table(table, context).unwrap_or_default();
    let wanted = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let older = result.rows.len().saturating_sub(wanted);
    result.rows.drain(..older);
    result
}

/// The rows that a filter lets through.
fn narrow(mut result: ResultSet, filter: &ShowFilter, context: &Context<'_>) -> Result<ResultSet, SqlError> {
    if let Some(pattern) = &filter.like {
        let pattern = Pattern::new(&pattern.to_lowercase(), Some(REGULAR_ESCAPE));
        let liked = |row: &Vec<Datum>| matches!(row.first(), Some(Datum::Text(name)) if pattern.matches(&name.to_lowercase()));
        result.rows.retain(liked);
    }
    if let Some(condition) = &filter.condition {
        let schema = schema_of(&result);
        let columns = Columns { schema: Some(&schema), name: "", database: None, clause: "where clause" };
        let condition = bind_scalar((**condition).clone(), &columns, context)?;
        let mut kept = Vec::with_capacity(result.rows.len());
        for row in result.rows {
            if condition.truth(&row)? == Some(true) {
                kept.push(row);
            }
        }
        result.rows = kept;
    }
    Ok(result)
}

fn schema<'a>(table: &TableName, context: &Context<'a>) -> Result<&'a TableSchema, SqlError> {
    Ok(&context.table(table)?.schema)
}

/// The names of a database's tables in order, and its own name.
fn table_names(database: Option<&str>, context: &Context<'_>) -> Result<(String, Vec<String>), SqlError> {
    let name = context.database_name(database)?;
    if name.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
        let names = SYSTEM_TABLES.iter().map(|name| (*name).to_owned()).collect();
        return Ok((INFORMATION_SCHEMA.to_owned(), names));
    }
    let database = context.database(database)?;
    let mut names: Vec<String> =
        context.catalog.tables(database.id).map(|table| table.schema.name.clone()).collect();
    names.sort_unstable();
    Ok((database.name.clone(), names))
}

fn tables(
    full: bool,
    database: Option<&str>,
    filter: &ShowFilter,
    context: &Context<'_>,
) -> Result<ResultSet, SqlError> {
    let (database, names) = table_names(database, context)?;
    let heading = match &filter.like {
        Some(pattern) => format!("Tables_in_{database} ({pattern})"),
        None => format!("Tables_in_{database}"),
    };
    let rows = names.into_iter();
    let all = if full {
        texts(&[&heading, "Table_type"], rows.map(|name| vec![text(name), text("BASE TABLE")]).collect())
    } else {
        texts(&[&heading], rows.map(|name| vec![text(name)]).collect())
    };
    narrow(all, filter, context)
}

fn table_status(
    database: Option<&str>,
    filter: &ShowFilter,
    context: &Context<'_>,
) -> Result<ResultSet, SqlError> {
    let (_, names) = table_names(database, context)?;
    let columns = [
        ("Name", TEXT),
        ("Engine", TEXT),
        ("Version", NUMBER),
        ("Row_format", TEXT),
        ("Rows", NUMBER),
        ("Auto_increment", NUMBER),
        ("Collation", TEXT),
        ("Comment", TEXT),
    ];
    let row = |name: String| {
        vec![
            text(name),
            text("Baton"),
            Datum::Int(10),
            text("Dynamic"),
            Datum::Null,
            Datum::Null,
            text("utf8mb4_bin"),
            text(""),
        ]
    };
    narrow(answer(&columns, names.into_iter().map(row).collect()), filter, context)
}

fn columns(full: bool, schema: &TableSchema) -> ResultSet {
    let mut rows = Vec::new();
    for (position, column) in schema.columns.iter().enumerate() {
        let default = shown_default(column);
        let nullable = text(if column.nullable { "YES" } else { "NO" });
        let extra = text(if column.auto_increment { "auto_increment" } else { "" });
        let (name, of, key) =
            (text(&column.name), text(column.column_type.to_string()), text(column_key(schema, position)));
        rows.push(if full {
            let collation = match column.column_type {
                ColumnType::Char(_) | ColumnType::Varchar(_) | ColumnType::Text => text("utf8mb4_bin"),
                _ => Datum::Null,
            };
            vec![name, of, collation, nullable, key, default, extra, text("select,insert,update"), text("")]
        } else {
            vec![name, of, nullable, key, default, extra]
        });
    }
    let headings: &[&str] = if full {
        &["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"]
    } else {
        &["Field", "Type", "Null", "Key", "Default", "Extra"]
    };
    texts(headings, rows)
}

fn indexes(schema: &TableSchema) -> ResultSet {
    let mut rows = Vec::new();
    for (name, unique, positions) in keys(schema) {
        for (n, position) in positions.iter().enumerate() {
            let column = &schema.columns[*position];
            rows.push(vec![
                text(&schema.name),
                Datum::Int((!unique).into()),
                text(name),
                Datum::Int(n as i64 + 1),
                text(&column.name),
                text("A"),
                Datum::Null,
                Datum::Null,
                Datum::Null,
                text(if column.nullable { "YES" } else { "" }),
                text("BTREE"),
                text(""),
                text(""),
                text("YES"),
                Datum::Null,
            ]);
        }
    }
    let columns = [
        ("Table", TEXT),
        ("Non_unique", NUMBER),
        ("Key_name", TEXT),
        ("Seq_in_index", NUMBER),
        ("Column_name", TEXT),
        ("Collation", TEXT),
        ("Cardinality", NUMBER),
        ("Sub_part", NUMBER),
        ("Packed", TEXT),
        ("Null", TEXT),
        ("Index_type", TEXT),
        ("Comment", TEXT),
        ("Index_comment", TEXT),
        ("Visible", TEXT),
        ("Expression", TEXT),
    ];
    answer(&columns, rows)
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The statement that would create a table.
fn create_table(schema: &TableSchema) -> String {
    let names = |positions: &[usize]| {
        positions.iter().map(|position| quoted(&schema.columns[*position].name)).collect::<Vec<_>>().join(",")
    };
    let mut lines: Vec<String> = schema
        .columns
        .iter()
        .map(|column| {
            let mut line = format!("  {} {}", quoted(&column.name), column.column_type);
            if !column.nullable {
                line.push_str(" NOT NULL");
            }
            if let Some(default) = &column.default {
                line.push_str(&format!(" DEFAULT {default}"));
            } else if column.nullable {
                line.push_str(" DEFAULT NULL");
            }
            if column.auto_increment {
                line.push_str(" AUTO_INCREMENT");
            }
            line
        })
        .collect();
    if !schema.primary_key.is_empty() {
        lines.push(format!("  PRIMARY KEY ({})", names(&schema.primary_key)));
    }
    if schema.kind == TableKind::Sharded {
        lines.push(format!("  SHARD KEY ({})", names(&schema.shard_key)));
    }
    let kind = if schema.kind == TableKind::Reference { "REFERENCE " } else { "" };
    format!("CREATE {kind}TABLE {} (\n{}\n)", quoted(&schema.name), lines.join(",\n"))
}

fn collations() -> ResultSet {
    let all = [
        ("utf8mb4_bin", "utf8mb4", 46, "Yes"),
        ("utf8mb4_general_ci", "utf8mb4", 45, ""),
        ("binary", "binary", 63, "Yes"),
    ];
    let rows = all.iter().map(|(name, set, id, default)| {
        vec![text(*name), text(*set), Datum::Int(*id), text(*default), text("Yes"), Datum::Int(1)]
    });
    let columns = [
        ("Collation", TEXT),
        ("Charset", TEXT),
        ("Id", NUMBER),
        ("Default", TEXT),
        ("Compiled", TEXT),
        ("Sortlen", NUMBER),
    ];
    answer(&columns, rows.collect())
}
