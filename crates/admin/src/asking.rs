//! Asks the cluster through its aggregators: what it shows, and what it is told.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::client::{Client, Table, quoted};
use crate::error::AdminError;
use crate::process::{Presence, presence};
use crate::report::{Report, boxed};
use crate::state::{ClusterState, NodeRecord, StateDir};
use crate::survey::{address, survey};

/// How long an aggregator may take to answer.
pub(crate) const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// A backup, a restore or a snapshot of a database may take this long.
pub(crate) const LONG_BOUND: Duration = Duration::from_secs(24 * 60 * 60);

/// The master aggregator if one is known, else any aggregator that runs; with a connection to it.
pub(crate) async fn connect<'a>(
    dir: &StateDir,
    state: &'a ClusterState,
    bound: Duration,
) -> Result<(&'a NodeRecord, Client), AdminError> {
    let master = survey(state).await.and_then(|view| view.master);
    let mut running: Vec<&NodeRecord> = state
        .nodes
        .iter()
        .filter(|node| node.role.is_aggregator() && matches!(presence(node), Presence::Running(_)))
        .collect();
    running.sort_by_key(|node| master.as_ref() != Some(&address(node)));
    let mut last = None;
    for node in running {
        match Client::connect(node, &state.root_password, bound).await {
            Ok(client) => return Ok((node, client)),
            Err(error) => {
                last = Some(AdminError::NotServing {
                    node: node.name.clone(),
                    reason: error.to_string(),
                    log: dir.log(&node.name),
                });
            }
        }
    }
    Err(last.unwrap_or(AdminError::NoAggregator))
}

/// Shows the rows of a statement, those columns of it that are named, or all.
pub(crate) async fn show(
    dir: &StateDir,
    command: &str,
    sql: &str,
    columns: &[&str],
    report: &Report,
) -> Result<(), AdminError> {
    let state = dir.read()?;
    let (node, mut client) = connect(dir, &state, ANSWER_BOUND).await?;
    let table = client.table(sql).await.map_err(|error| AdminError::Statement {
        statement: sql.to_owned(),
        node: node.name.clone(),
        error: Box::new(error),
        log: dir.log(&node.name),
    })?;
    let table = narrowed(table, columns);
    report.progress(&format!("✓ Successfully ran '{command}'"));
    let objects: Vec<Value> = table.rows.iter().map(|row| object(&table.columns, row)).collect();
    report.result(&objects, || boxed(&table.columns, &table.rows));
    Ok(())
}

fn narrowed(table: Table, columns: &[&str]) -> Table {
    if columns.is_empty() {
        return table;
    }
    let places: Vec<usize> = columns
        .iter()
        .filter_map(|column| table.columns.iter().position(|name| name.eq_ignore_ascii_case(column)))
        .collect();
    Table {
        columns: places.iter().map(|place| table.columns[*place].clone()).collect(),
        rows: table.rows.iter().map(|row| places.iter().map(|place| row[*place].clone()).collect()).collect(),
    }
}

fn object(columns: &[String], row: &[Option<String>]) -> Value {
    let value = |cell: &Option<String>| cell.clone().map_or(Value::Null, Value::String);
    Value::Object(columns.iter().cloned().zip(row.iter().map(value)).collect::<Map<_, _>>())
}

/// Says statements, one after the other, and tells what was done.
pub(crate) async fn say(
    dir: &StateDir,
    statements: &[String],
    done: &str,
    report: &Report,
    bound: Duration,
) -> Result<(), AdminError> {
    let state = dir.read()?;
    // Who does not even let us in is not waited for.
    let (node, mut client) = connect(dir, &state, ANSWER_BOUND).await?;
    client.set_bound(bound);
    for statement in statements {
        report.progress(statement);
        client.execute_patiently(statement, ANSWER_BOUND).await.map_err(|error| AdminError::Statement {
            statement: statement.clone(),
            node: node.name.clone(),
            error: Box::new(error),
            log: dir.log(&node.name),
        })?;
    }
    report.result(&serde_json::json!({ "done": done, "statements": statements }), || done.to_owned());
    Ok(())
}

/// `update-config --set-global`: a key may be spelled with dashes.
pub(crate) fn set_global(key: &str, value: &str) -> String {
    format!("SET GLOBAL {} = {}", key.replace('-', "_"), quoted(value))
}

/// `snapshot-database`, of the primaries and then of the replicas.
pub(crate) fn snapshot(database: &str) -> Vec<String> {
    vec![format!("SNAPSHOT DATABASE {}", name(database)), format!("_SYNC_SNAPSHOT {}", name(database))]
}

/// `create-backup`.
pub(crate) fn backup(database: &str, to: &str) -> String {
    format!("BACKUP DATABASE {} TO {}", name(database), quoted(to))
}

/// `restore-backup`.
pub(crate) fn restore(backup: &str, as_name: Option<&str>, from: &str) -> String {
    let renamed = as_name.map_or_else(String::new, |as_name| format!(" AS {}", name(as_name)));
    format!("RESTORE DATABASE {}{renamed} FROM {}", name(backup), quoted(from))
}

/// A name as SQL takes it, whatever is in it.
fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_statement_whatever_the_name() {
        assert_eq!(set_global("consensus-enabled", "ON"), "SET GLOBAL consensus_enabled = 'ON'");
        assert_eq!(backup("a`; DROP", "/x'y"), "BACKUP DATABASE `a``; DROP` TO '/x''y'");
        assert_eq!(restore("a", Some("b"), "/x"), "RESTORE DATABASE `a` AS `b` FROM '/x'");
        assert_eq!(snapshot("a"), ["SNAPSHOT DATABASE `a`", "_SYNC_SNAPSHOT `a`"]);
    }
}
