//! `information_schema`: the catalog as tables.

use baton_model::limits::IDENTIFIER_BYTES_MAX;
use baton_model::{
    AggregatorRole, Column, ColumnType, DatabaseId, Datum, Row, TableId, TableKind, TableSchema,
};

use super::rebalance::rebalance_status;
use crate::bind::{Context, INFORMATION_SCHEMA};
use crate::session::ResultSet;

const NAME: ColumnType = ColumnType::Varchar(IDENTIFIER_BYTES_MAX as u32);
const TEXT: ColumnType = ColumnType::Text;
const NUMBER: ColumnType = ColumnType::Int { bits: 64, unsigned: false };
const MOMENT: ColumnType = ColumnType::DateTime;

fn text(text: impl Into<String>) -> Datum {
    Datum::Text(text.into())
}

fn int(number: impl TryInto<i64>) -> Datum {
    Datum::Int(number.try_into().unwrap_or(i64::MAX))
}

fn yes_or_no(yes: bool) -> Datum {
    text(if yes { "YES" } else { "NO" })
}

fn table_of(columns: &[(&str, ColumnType)], rows: Vec<Row>) -> ResultSet {
    ResultSet { columns: columns.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect(), rows }
}

/// A moment of the catalog's wall clock.
fn moment(at_ms: u64) -> Datum {
    i64::try_from(at_ms).ok().and_then(|ms| ms.checked_mul(1000)).map_or(Datum::Null, Datum::DateTime)
}

/// A result's shape as that of a table.
pub(crate) fn schema_of(result: &ResultSet) -> TableSchema {
    let column = |(name, column_type): &(String, ColumnType)| Column {
        name: name.clone(),
        column_type: *column_type,
        nullable: true,
        default: None,
        auto_increment: false,
    };
    TableSchema {
        id: TableId(0),
        database: DatabaseId(0),
        name: String::new(),
        kind: TableKind::Reference,
        columns: result.columns.iter().map(column).collect(),
        primary_key: Vec::new(),
        shard_key: Vec::new(),
    }
}

/// The names of the tables, in order.
pub(crate) const SYSTEM_TABLES: &[&str] = &[
    "AGGREGATORS",
    "COLUMNS",
    "DISTRIBUTED_DATABASES",
    "DISTRIBUTED_PARTITIONS",
    "ENGINES",
    "KEY_COLUMN_USAGE",
    "LEAVES",
    "MV_EVENTS",
    "MV_POLICY_DECISIONS",
    "MV_REBALANCE_STATUS",
    "REFERENTIAL_CONSTRAINTS",
    "ROUTINES",
    "SCHEMATA",
    "STATISTICS",
    "TABLES",
    "TABLE_CONSTRAINTS",
    "VIEWS",
];

/// A table of `information_schema`, by its name without case.
pub(crate) fn system_table(name: &str, context: &Context<'_>) -> Option<ResultSet> {
    Some(match name.to_ascii_uppercase().as_str() {
        "SCHEMATA" => schemata(context),
        "TABLES" => tables(context),
        "COLUMNS" => columns(context),
        "STATISTICS" => statistics(context),
        "KEY_COLUMN_USAGE" => key_columns(context),
        "TABLE_CONSTRAINTS" => constraints(context),
        "AGGREGATORS" => aggregators(context),
        "LEAVES" => leaves(context),
        "DISTRIBUTED_DATABASES" => databases(context),
        "DISTRIBUTED_PARTITIONS" => partitions(context),
        "MV_EVENTS" => events(context),
        "MV_POLICY_DECISIONS" => decisions(context),
        "MV_REBALANCE_STATUS" => rebalance_status(context),
        "ENGINES" => table_of(
            &[("ENGINE", NAME), ("SUPPORT", NAME), ("COMMENT", TEXT)],
            vec![vec![text("Baton"), text("DEFAULT"), text("Replicated rows")]],
        ),
        "VIEWS" => {
            table_of(&[("TABLE_CATALOG", NAME), ("TABLE_SCHEMA", NAME), ("TABLE_NAME", NAME)], Vec::new())
        }
        "ROUTINES" => {
            table_of(&[("ROUTINE_SCHEMA", NAME), ("ROUTINE_NAME", NAME), ("ROUTINE_TYPE", NAME)], Vec::new())
        }
        "REFERENTIAL_CONSTRAINTS" => table_of(
            &[("CONSTRAINT_SCHEMA", NAME), ("CONSTRAINT_NAME", NAME), ("TABLE_NAME", NAME)],
            Vec::new(),
        ),
        _ => return None,
    })
}

/// The names of the databases as clients see them, in order.
pub(crate) fn database_names(context: &Context<'_>) -> Vec<String> {
    let mut names: Vec<String> = context.catalog.databases().map(|database| database.name.clone()).collect();
    names.push(INFORMATION_SCHEMA.to_owned());
    names.sort_unstable();
    names
}

fn schemata(context: &Context<'_>) -> ResultSet {
    let row = |name: String| vec![text("def"), text(name), text("utf8mb4"), text("utf8mb4_bin"), Datum::Null];
    table_of(
        &[
            ("CATALOG_NAME", NAME),
            ("SCHEMA_NAME", NAME),
            ("DEFAULT_CHARACTER_SET_NAME", NAME),
            ("DEFAULT_COLLATION_NAME", NAME),
            ("SQL_PATH", TEXT),
        ],
        database_names(context).into_iter().map(row).collect(),
    )
}

/// Every table with the name of its database.
fn all_tables<'a>(context: &Context<'a>) -> impl Iterator<Item = (&'a str, &'a baton_catalog::Table)> {
    let catalog = context.catalog;
    catalog.databases().flat_map(move |database| {
        catalog.tables(database.id).map(move |table| (database.name.as_str(), table))
    })
}

fn tables(context: &Context<'_>) -> ResultSet {
    let row = |(database, table): (&str, &baton_catalog::Table)| {
        let kind = match table.schema.kind {
            TableKind::Sharded => "SHARDED",
            TableKind::Reference => "REFERENCE",
        };
        let automatic = table.schema.auto_increment().map_or(Datum::Null, |_| int(table.auto_increment_next));
        vec![
            text("def"),
            text(database),
            text(&table.schema.name),
            text("BASE TABLE"),
            text("Baton"),
            text(kind),
            automatic,
            text("utf8mb4_bin"),
            text(""),
        ]
    };
    table_of(
        &[
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("TABLE_TYPE", NAME),
            ("ENGINE", NAME),
            ("DISTRIBUTION", NAME),
            ("AUTO_INCREMENT", NUMBER),
            ("TABLE_COLLATION", NAME),
            ("TABLE_COMMENT", TEXT),
        ],
        all_tables(context).map(row).collect(),
    )
}

/// The type's name without its length.
fn data_type(column_type: ColumnType) -> String {
    let printed = column_type.to_string();
    printed.split(['(', ' ']).next().unwrap_or_default().to_ascii_lowercase()
}

/// What `COLUMN_KEY` says of a column.
pub(crate) fn column_key(schema: &TableSchema, position: usize) -> &'static str {
    if schema.primary_key.contains(&position) {
        "PRI"
    } else if schema.shard_key.contains(&position) {
        "MUL"
    } else {
        ""
    }
}

/// A DEFAULT as clients read it: text without its quotes.
pub(crate) fn shown_default(column: &Column) -> Datum {
    column.default.as_deref().map_or(Datum::Null, |default| {
        match default.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')) {
            Some(inner) => text(inner.replace("''", "'")),
            None => text(default),
        }
    })
}

fn columns(context: &Context<'_>) -> ResultSet {
    let mut rows = Vec::new();
    for (database, table) in all_tables(context) {
        for (position, column) in table.schema.columns.iter().enumerate() {
            let length = match column.column_type {
                ColumnType::Char(n) | ColumnType::Varchar(n) | ColumnType::Varbinary(n) => int(n),
                ColumnType::Text | ColumnType::Json | ColumnType::Blob => int(u32::MAX),
                _ => Datum::Null,
            };
            let (precision, scale) = match column.column_type {
                ColumnType::Decimal { precision, scale } => (int(precision), int(scale)),
                ColumnType::Int { bits, .. } => (int(u32::from(bits) * 30103 / 100_000 + 1), int(0)),
                _ => (Datum::Null, Datum::Null),
            };
            let is_text = matches!(
                column.column_type,
                ColumnType::Char(_) | ColumnType::Varchar(_) | ColumnType::Text | ColumnType::Json
            );
            let of_text = |value: &str| if is_text { text(value) } else { Datum::Null };
            rows.push(vec![
                text("def"),
                text(database),
                text(&table.schema.name),
                text(&column.name),
                int(position + 1),
                shown_default(column),
                yes_or_no(column.nullable),
                text(data_type(column.column_type)),
                length,
                precision,
                scale,
                of_text("utf8mb4"),
                of_text("utf8mb4_bin"),
                text(column.column_type.to_string()),
                text(column_key(&table.schema, position)),
                text(if column.auto_increment { "auto_increment" } else { "" }),
                text(""),
            ]);
        }
    }
    table_of(
        &[
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("ORDINAL_POSITION", NUMBER),
            ("COLUMN_DEFAULT", TEXT),
            ("IS_NULLABLE", NAME),
            ("DATA_TYPE", NAME),
            ("CHARACTER_MAXIMUM_LENGTH", NUMBER),
            ("NUMERIC_PRECISION", NUMBER),
            ("NUMERIC_SCALE", NUMBER),
            ("CHARACTER_SET_NAME", NAME),
            ("COLLATION_NAME", NAME),
            ("COLUMN_TYPE", TEXT),
            ("COLUMN_KEY", NAME),
            ("EXTRA", NAME),
            ("COLUMN_COMMENT", TEXT),
        ],
        rows,
    )
}

/// The keys of a table: name, whether it is unique, and its columns.
pub(crate) fn keys(schema: &TableSchema) -> Vec<(&'static str, bool, &[usize])> {
    let mut keys: Vec<(&'static str, bool, &[usize])> = Vec::new();
    if !schema.primary_key.is_empty() {
        keys.push(("PRIMARY", true, &schema.primary_key));
    }
    if !schema.shard_key.is_empty() && schema.shard_key != schema.primary_key {
        keys.push(("__SHARDKEY", false, &schema.shard_key));
    }
    keys
}

fn statistics(context: &Context<'_>) -> ResultSet {
    let mut rows = Vec::new();
    for (database, table) in all_tables(context) {
        for (key, unique, positions) in keys(&table.schema) {
            for (n, position) in positions.iter().enumerate() {
                let column = &table.schema.columns[*position];
                rows.push(vec![
                    text("def"),
                    text(database),
                    text(&table.schema.name),
                    int(i32::from(!unique)),
                    text(database),
                    text(key),
                    int(n + 1),
                    text(&column.name),
                    text(if column.nullable { "YES" } else { "" }),
                    text("BTREE"),
                ]);
            }
        }
    }
    table_of(
        &[
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("NON_UNIQUE", NUMBER),
            ("INDEX_SCHEMA", NAME),
            ("INDEX_NAME", NAME),
            ("SEQ_IN_INDEX", NUMBER),
            ("COLUMN_NAME", NAME),
            ("NULLABLE", NAME),
            ("INDEX_TYPE", NAME),
        ],
        rows,
    )
}

fn key_columns(context: &Context<'_>) -> ResultSet {
    let mut rows = Vec::new();
    for (database, table) in all_tables(context) {
        for (n, position) in table.schema.primary_key.iter().enumerate() {
            rows.push(vec![
                text(database),
                text("PRIMARY"),
                text(database),
                text(&table.schema.name),
                text(&table.schema.columns[*position].name),
                int(n + 1),
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]);
        }
    }
    table_of(
        &[
            ("CONSTRAINT_SCHEMA", NAME),
            ("CONSTRAINT_NAME", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("ORDINAL_POSITION", NUMBER),
            ("REFERENCED_TABLE_SCHEMA", NAME),
            ("REFERENCED_TABLE_NAME", NAME),
            ("REFERENCED_COLUMN_NAME", NAME),
        ],
        rows,
    )
}

fn constraints(context: &Context<'_>) -> ResultSet {
    let rows = all_tables(context)
        .filter(|(_, table)| !table.schema.primary_key.is_empty())
        .map(|(database, table)| {
            vec![
                text(database),
                text("PRIMARY"),
                text(database),
                text(&table.schema.name),
                text("PRIMARY KEY"),
            ]
        })
        .collect();
    table_of(
        &[
            ("CONSTRAINT_SCHEMA", NAME),
            ("CONSTRAINT_NAME", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("CONSTRAINT_TYPE", NAME),
        ],
        rows,
    )
}

fn aggregators(context: &Context<'_>) -> ResultSet {
    let row = |node: &baton_catalog::Node| {
        let master = context.session.master == Some(node.id);
        let role = match node.aggregator_role {
            _ if master => "Leader",
            // Without consensus only the master aggregator has a vote.
            Some(AggregatorRole::VotingMember) if context.catalog.switch("consensus_enabled") => {
                "Voting Member"
            }
            _ => "Follower",
        };
        vec![
            int(node.id.0),
            text(&node.host),
            int(node.sql_port),
            text(node.state.to_string()),
            int(i32::from(master)),
            text(role),
        ]
    };
    table_of(
        &[
            ("NODE_ID", NUMBER),
            ("HOST", TEXT),
            ("PORT", NUMBER),
            ("STATE", NAME),
            ("MASTER_AGGREGATOR", NUMBER),
            ("ROLE", NAME),
        ],
        context.catalog.aggregators().map(row).collect(),
    )
}

fn leaves(context: &Context<'_>) -> ResultSet {
    let row = |node: &baton_catalog::Node| {
        vec![
            int(node.id.0),
            text(&node.host),
            int(node.sql_port),
            node.availability_group.map_or(Datum::Null, int),
            text(node.state.to_string()),
        ]
    };
    table_of(
        &[
            ("NODE_ID", NUMBER),
            ("HOST", TEXT),
            ("PORT", NUMBER),
            ("AVAILABILITY_GROUP", NUMBER),
            ("STATE", NAME),
        ],
        context.catalog.leaves().map(row).collect(),
    )
}

fn databases(context: &Context<'_>) -> ResultSet {
    let unsynced = |database: &baton_catalog::Database| {
        context.catalog.partitions_of(database.id).filter(|partition| partition.unsynced).count()
    };
    let row = |database: &baton_catalog::Database| {
        vec![
            int(database.id.0),
            text(&database.name),
            int(database.partitions),
            text(format!("{:?}", database.replication).to_lowercase()),
            text(format!("{:?}", database.durability).to_lowercase()),
            int(u64::try_from(unsynced(database)).unwrap_or(u64::MAX)),
        ]
    };
    table_of(
        &[
            ("DATABASE_ID", NUMBER),
            ("DATABASE_NAME", NAME),
            ("NUM_PARTITIONS", NUMBER),
            ("REPLICATION", NAME),
            ("DURABILITY", NAME),
            ("UNSYNCED_PARTITIONS", NUMBER),
        ],
        context.catalog.databases().map(row).collect(),
    )
}

fn partitions(context: &Context<'_>) -> ResultSet {
    let catalog = context.catalog;
    let mut rows = Vec::new();
    for partition in catalog.partitions() {
        let database =
            catalog.database_by_id(partition.id.database).map(|d| d.name.clone()).unwrap_or_default();
        for id in partition.instances() {
            let node = catalog.node(id);
            let (role, state) = match partition.replicas.get(&id) {
                None if partition.primary_lost => ("Master", "lost".to_owned()),
                None if partition.primary_unsure => ("Master", "unsure".to_owned()),
                None => ("Master", "sync".to_owned()),
                Some(state) => ("Replica", state.to_string()),
            };
            rows.push(vec![
                text(&database),
                int(partition.id.ordinal),
                node.map_or(Datum::Null, |node| text(&node.host)),
                node.map_or(Datum::Null, |node| int(node.sql_port)),
                text(role),
                text(state),
                int(id.0),
                text(node.map_or("unknown".to_owned(), |node| node.state.to_string())),
                int(partition.epoch.0),
                int(partition.version),
            ]);
        }
    }
    table_of(
        &[
            ("DATABASE_NAME", NAME),
            ("ORDINAL", NUMBER),
            ("HOST", TEXT),
            ("PORT", NUMBER),
            ("ROLE", NAME),
            ("SYNC_STATE", NAME),
            ("NODE_ID", NUMBER),
            ("NODE_STATE", NAME),
            ("EPOCH", NUMBER),
            ("VERSION", NUMBER),
        ],
        rows,
    )
}

fn events(context: &Context<'_>) -> ResultSet {
    let row = |event: &baton_catalog::Event| {
        vec![
            int(event.id),
            moment(event.at_ms),
            event.node.map_or(Datum::Null, |node| int(node.0)),
            event.node.map_or(Datum::Null, |node| text(context.catalog.address_of(node))),
            text(event.severity.to_string()),
            text(&event.event_type),
            text(&event.details),
        ]
    };
    table_of(
        &[
            ("EVENT_ID", NUMBER),
            ("EVENT_TIME", MOMENT),
            ("ORIGIN_NODE_ID", NUMBER),
            ("NODE", TEXT),
            ("SEVERITY", NAME),
            ("EVENT_TYPE", NAME),
            ("DETAILS", TEXT),
        ],
        context.catalog.events().map(row).collect(),
    )
}

fn decisions(context: &Context<'_>) -> ResultSet {
    let row = |decision: &baton_catalog::Decision| {
        vec![
            int(decision.id),
            moment(decision.at_ms),
            text(context.catalog.address_of(decision.node)),
            text(&decision.decision_point),
            text(&decision.subject),
            text(&decision.verdict),
            text(&decision.reason),
            text(&decision.policy),
            text(&decision.hash),
            int(decision.fuel),
            int(decision.micros),
            text(&decision.fallback),
            text(&decision.input),
            text(&decision.answer),
        ]
    };
    table_of(
        &[
            ("DECISION_ID", NUMBER),
            ("DECISION_TIME", MOMENT),
            ("NODE", TEXT),
            ("DECISION_POINT", NAME),
            ("SUBJECT", TEXT),
            ("VERDICT", TEXT),
            ("REASON", TEXT),
            ("POLICY", NAME),
            ("HASH", NAME),
            ("FUEL", NUMBER),
            ("MICROS", NUMBER),
            ("FALLBACK", TEXT),
            ("INPUT", TEXT),
            ("ANSWER", TEXT),
        ],
        context.catalog.decisions().map(row).collect(),
    )
}
