//! The SHOW statements that need more than the catalog: who is seen how, and what the instances say.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::{Catalog, Node};
use baton_failover::pair_of;
use baton_gateway::Answer;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum, InstanceRole, NodeId, NodeState, Row};
use baton_sql::Show;
use futures::future::join_all;

use super::Aggregator;
use super::show_plans::orphan_row;
use crate::local_sql::table;
use crate::wire::{InstanceStatus, Request, Response};

/// A leaf that does not say how its instances are within this is shown without.
const ASK: Duration = Duration::from_secs(2);

pub(super) const TEXT: ColumnType = ColumnType::Text;
pub(super) const NUMBER: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

pub(super) fn text(value: impl ToString) -> Datum {
    Datum::Text(value.to_string())
}

pub(super) fn number(value: impl TryInto<i64>) -> Datum {
    value.try_into().map_or(Datum::Null, Datum::Int)
}

impl Aggregator {
    /// Answers a SHOW.
    ///
    /// # Errors
    /// [`SqlError`].
    pub async fn show(
        &self,
        show: &Show,
        catalog: &Catalog,
        database: Option<&str>,
    ) -> Result<Answer, SqlError> {
        match show {
            Show::Aggregators { extended } => Ok(self.show_aggregators(catalog, *extended)),
            Show::Leaves => Ok(self.show_leaves(catalog)),
            Show::ClusterStatus => Ok(self.show_cluster_status(catalog).await),
            Show::Partitions { extended, database: named } => {
                let name = named.as_deref().or(database);
                let name =
                    name.ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))?;
                show_partitions(catalog, name, *extended)
            }
            Show::Plan(statement) => self.explain_maintenance(statement, catalog).await,
            Show::ShadowReport => Ok(self.show_shadow_report()),
            Show::MaintenancePlan(kind) => Ok(self.show_maintenance_plan(*kind, catalog)),
            Show::TransactionOutcome { id } => self.show_transaction_outcome(id).await,
            Show::Processlist => Ok(table(
                &[
                    ("Id", NUMBER),
                    ("User", TEXT),
                    ("Host", TEXT),
                    ("db", TEXT),
                    ("Command", TEXT),
                    ("Info", TEXT),
                ],
                Vec::new(),
            )),
            _ => Err(SqlError::new(ErrorCode::NotSupported, "This SHOW is not supported")),
        }
    }

    /// Heartbeat connections to a node, its mean round trip in milliseconds, and its state as seen now.
    fn seen(&self, node: &Node) -> (Datum, Datum, Datum) {
        let judged = self.judged();
        let judged = judged.borrow();
        match judged.observation.of(node.id) {
            None => (number(0), Datum::Null, text(node.state)),
            Some(seen) => {
                let connections = i64::from(!seen.connecting && seen.report.is_some());
                let latency = if seen.rtt_mean_us == 0 {
                    Datum::Null
                } else {
                    text(format!("{}.{:03}", seen.rtt_mean_us / 1000, seen.rtt_mean_us % 1000))
                };
                let runtime = if node.is_online() { text(seen.health) } else { text(node.state) };
                (Datum::Int(connections), latency, runtime)
            }
        }
    }

    fn show_aggregators(&self, catalog: &Catalog, extended: bool) -> Answer {
        let status = self.group_status();
        let mut columns = vec![
            ("Host", TEXT),
            ("Port", NUMBER),
            ("State", TEXT),
            ("Opened_Connections", NUMBER),
            ("Average_Roundtrip_Latency_ms", TEXT),
            ("Master_Aggregator", NUMBER),
            ("Role", TEXT),
            ("NodeID", NUMBER),
            ("Runtime_State", TEXT),
        ];
        if extended {
            columns.extend([
                ("Rpc_Port", NUMBER),
                ("Http_Port", NUMBER),
                ("Term", NUMBER),
                ("Log_Index", NUMBER),
            ]);
        }
        let rows = catalog.aggregators().map(|node| {
            let me = node.id == self.context.node();
            let leads = status.leader == Some(node.id);
            // Who counts now, whatever the catalog has them to be: without consensus that is the master aggregator alone.
            let votes = status.voters.contains(&node.id);
            let role = match (leads, votes) {
                (true, _) => "Leader",
                (false, true) => "Voting Member",
                (false, false) => "Follower",
            };
            let (connections, latency, runtime) =
                if me { (number(1), Datum::Null, text("online")) } else { self.seen(node) };
            // An aggregator sees itself online, whatever a master aggregator that is gone said of it.
            let state = if me || leads { text("online") } else { text(node.state) };
            let mut row = vec![
                text(&node.host),
                number(node.sql_port),
                state,
                connections,
                latency,
                number(i64::from(leads)),
                text(role),
                number(node.id.0),
                runtime,
            ];
            if extended {
                row.extend([number(node.rpc_port), number(node.http_port)]);
                row.extend([if me { number(status.term) } else { Datum::Null }, self.log_index_of(node.id)]);
            }
            row
        });
        table(&columns, rows.collect())
    }

    fn log_index_of(&self, node: NodeId) -> Datum {
        if node == self.context.node() {
            return number(self.log_index());
        }
        let judged = self.judged();
        let judged = judged.borrow();
        judged
            .observation
            .of(node)
            .and_then(|seen| seen.report)
            .map_or(Datum::Null, |report| number(report.log_index))
    }

    fn show_leaves(&self, catalog: &Catalog) -> Answer {
        let columns = [
            ("Host", TEXT),
            ("Port", NUMBER),
            ("Availability_Group", NUMBER),
            ("Pair_Host", TEXT),
            ("Pair_Port", NUMBER),
            ("State", TEXT),
            ("Opened_Connections", NUMBER),
            ("Average_Roundtrip_Latency_ms", TEXT),
            ("NodeId", NUMBER),
            ("Grace_Period_in_Seconds", NUMBER),
            ("Runtime_State", TEXT),
        ];
        let rows = catalog.leaves().map(|node| {
            let pair = pair_of(catalog, node.id).and_then(|pair| catalog.node(pair));
            let (connections, latency, runtime) = self.seen(node);
            vec![
                text(&node.host),
                number(node.sql_port),
                node.availability_group.map_or(Datum::Null, number),
                pair.map_or(Datum::Null, |pair| text(&pair.host)),
                pair.map_or(Datum::Null, |pair| number(pair.sql_port)),
                self.shown_state(catalog, node),
                connections,
                latency,
                number(node.id.0),
                self.shown_grace(node),
                runtime,
            ]
        });
        table(&columns, rows.collect())
    }

    /// What every leaf says of its instances, beside what the catalog says.
    async fn show_cluster_status(&self, catalog: &Catalog) -> Answer {
        let columns = [
            ("NODE_ID", NUMBER),
            ("HOST", TEXT),
            ("PORT", NUMBER),
            ("DATABASE_NAME", TEXT),
            ("ROLE", TEXT),
            ("STATE", TEXT),
            ("POSITION", TEXT),
            ("MASTER_HOST", TEXT),
            ("MASTER_PORT", NUMBER),
            ("METADATA_MASTER_NODE_ID", NUMBER),
            ("METADATA_MASTER_HOST", TEXT),
            ("METADATA_MASTER_PORT", NUMBER),
            ("METADATA_ROLE", TEXT),
            ("DETAILS", TEXT),
        ];
        let leaves: Vec<&Node> = catalog.leaves().collect();
        let asked = leaves.iter().map(|leaf| self.instances_of(leaf));
        let mut rows: Vec<Row> = Vec::new();
        for (leaf, told) in leaves.iter().zip(join_all(asked).await) {
            for partition in catalog.partitions() {
                let Some(role) = partition.role_of(leaf.id) else { continue };
                let said = told.get(&partition.id);
                rows.push(instance_row(catalog, leaf, partition, role, said));
            }
            let orphaned = |one: &&InstanceStatus| {
                catalog.partition(one.partition).is_some_and(|known| known.role_of(leaf.id).is_none())
            };
            rows.extend(told.values().filter(orphaned).map(|one| orphan_row(catalog, leaf, one)));
        }
        table(&columns, rows)
    }

    async fn instances_of(&self, leaf: &Node) -> BTreeMap<baton_model::PartitionId, InstanceStatus> {
        if leaf.state == NodeState::Offline {
            return BTreeMap::new();
        }
        match self.context.ask(&leaf.rpc_address(), &Request::Instances, ASK).await {
            Ok(Response::Instances(told)) => told.into_iter().map(|one| (one.partition, one)).collect(),
            _ => BTreeMap::new(),
        }
    }
}

fn instance_row(
    catalog: &Catalog,
    leaf: &Node,
    partition: &baton_catalog::Partition,
    role: InstanceRole,
    said: Option<&InstanceStatus>,
) -> Row {
    let master = catalog.node(partition.primary);
    let state = match said {
        None => "offline",
        Some(said) if said.role == "halted" => "unrecoverable",
        Some(said) if role == InstanceRole::Primary && said.serving => "online",
        Some(_) if role == InstanceRole::Primary => "transition",
        Some(_) => "replicating",
    };
    let follows = if role == InstanceRole::Primary { None } else { master };
    let metadata_role = match role {
        InstanceRole::Primary => "Master".to_owned(),
        InstanceRole::Replica(sync) => {
            let sync = sync.to_string();
            format!("{}{} Replica", sync[..1].to_ascii_uppercase(), &sync[1..])
        }
    };
    let details = said.map_or_else(
        || "not heard".to_owned(),
        |said| {
            format!(
                "epoch {}, log {}, committed {}, applied {}",
                said.epoch.0, said.last.0, said.commit.0, said.applied.0
            )
        },
    );
    vec![
        number(leaf.id.0),
        text(&leaf.host),
        number(leaf.sql_port),
        text(catalog.partition_name(partition.id)),
        text(role),
        text(state),
        said.map_or(Datum::Null, |said| text(format!("0:{}", said.last.0))),
        follows.map_or(Datum::Null, |node| text(&node.host)),
        follows.map_or(Datum::Null, |node| number(node.sql_port)),
        number(partition.primary.0),
        master.map_or(Datum::Null, |node| text(&node.host)),
        master.map_or(Datum::Null, |node| number(node.sql_port)),
        text(metadata_role),
        text(details),
    ]
}

fn show_partitions(catalog: &Catalog, name: &str, extended: bool) -> Result<Answer, SqlError> {
    let database = catalog
        .database(name)
        .ok_or_else(|| SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{name}'")))?;
    let mut columns =
        vec![("Ordinal", NUMBER), ("Host", TEXT), ("Port", NUMBER), ("Role", TEXT), ("Locked", NUMBER)];
    if extended {
        columns.extend([("Sync_State", TEXT), ("Node_Id", NUMBER), ("Epoch", NUMBER), ("Node_State", TEXT)]);
    }
    let mut rows = Vec::new();
    for partition in catalog.partitions_of(database.id) {
        for node in partition.instances() {
            let Some(role) = partition.role_of(node) else { continue };
            let there = catalog.node(node).filter(|node| node.is_online());
            // A primary that cannot serve leaves its row without a host; a replica that is away leaves none.
            let serves = match role {
                InstanceRole::Primary => there.filter(|_| partition.has_able_primary()),
                InstanceRole::Replica(_) if there.is_none() && !extended => continue,
                InstanceRole::Replica(_) => there,
            };
            let mut row = vec![
                number(partition.id.ordinal),
                serves.map_or(Datum::Null, |node| text(&node.host)),
                serves.map_or(Datum::Null, |node| number(node.sql_port)),
                text(role),
                number(0),
            ];
            if extended {
                let sync = match role {
                    InstanceRole::Primary if partition.primary_lost => text("lost"),
                    InstanceRole::Primary if partition.primary_unsure => text("unsure"),
                    InstanceRole::Primary => Datum::Null,
                    InstanceRole::Replica(state) => text(state),
                };
                let state = catalog.node(node).map_or(Datum::Null, |node| text(node.state));
                row.extend([sync, number(node.0), number(partition.epoch.0), state]);
            }
            rows.push(row);
        }
    }
    Ok(table(&columns, rows))
}
