//! EXPLAIN of operators' statements, and what is shown of orphans and of leaves that are not used.

use baton_catalog::{Catalog, Node};
use baton_gateway::Answer;
use baton_model::errors::SqlError;
use baton_model::{ColumnType, Datum, NodeState, PartitionId, Row};
use baton_sql::{Maintenance, action_name};

use super::Aggregator;
use crate::local_sql::table;
use crate::wire::InstanceStatus;

const TEXT: ColumnType = ColumnType::Text;
const NUMBER: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

fn text(value: impl ToString) -> Datum {
    Datum::Text(value.to_string())
}

fn number(value: impl TryInto<i64>) -> Datum {
    value.try_into().map_or(Datum::Null, Datum::Int)
}

impl Aggregator {
    /// What an operator's statement would do now.
    ///
    /// # Errors
    /// That it could not be done.
    pub(super) async fn explain_maintenance(
        &self,
        statement: &Maintenance,
        catalog: &Catalog,
    ) -> Result<Answer, SqlError> {
        if *statement == Maintenance::ClearOrphans {
            return Ok(self.explain_clear_orphans(catalog).await);
        }
        let all = matches!(
            statement,
            Maintenance::RebalanceAll { .. }
                | Maintenance::RebalancePartitionsOfAll
                | Maintenance::RestoreAll
        );
        let timed = !matches!(statement, Maintenance::RestoreRedundancy { .. } | Maintenance::RestoreAll);
        let mut columns = if all { vec![("Database", TEXT)] } else { Vec::new() };
        columns.extend([
            ("Action", TEXT),
            ("Ordinal", NUMBER),
            ("Target_Host", TEXT),
            ("Target_Port", NUMBER),
            ("Phase", NUMBER),
        ]);
        if timed {
            columns.push(("Estimated_Time_Remaining_Ms", NUMBER));
        }
        let steps = self.steps_of(catalog, statement)?;
        let rows = steps.into_iter().map(|(database, kind, step)| {
            let target = catalog.node(step.target);
            let mut row = if all { vec![text(&database.name)] } else { Vec::new() };
            row.extend([
                text(action_name(kind, step.action)),
                number(step.ordinal),
                target.map_or(Datum::Null, |node| text(&node.host)),
                target.map_or(Datum::Null, |node| number(node.sql_port)),
                number(step.phase),
            ]);
            if timed {
                row.push(Datum::Null);
            }
            row
        });
        Ok(table(&columns, rows.collect()))
    }

    async fn explain_clear_orphans(&self, catalog: &Catalog) -> Answer {
        let columns =
            [("Host", TEXT), ("Port", NUMBER), ("Database", TEXT), ("Action", TEXT), ("Details", TEXT)];
        let rows = self.orphans_now(catalog).await.into_iter().map(|(node, partition, may)| {
            let node = catalog.node(node);
            vec![
                node.map_or(Datum::Null, |node| text(&node.host)),
                node.map_or(Datum::Null, |node| number(node.sql_port)),
                text(catalog.partition_name(partition)),
                text(if may { "DROP" } else { "KEEP" }),
                text(if may { "" } else { "its partition has no primary that serves" }),
            ]
        });
        table(&columns, rows.collect())
    }

    /// The state of a leaf as it is shown: one that answers and is not used yet is being attached, or waits for an
    /// operator.
    pub(super) fn shown_state(&self, catalog: &Catalog, node: &Node) -> Datum {
        let answers = || self.sight(catalog).is_well(node.id);
        if node.state == NodeState::Offline && answers() {
            return text(if catalog.switch("auto_attach") { "attaching" } else { "detached" });
        }
        text(node.state)
    }

    /// How long a leaf that answers is not used yet, in seconds, as far as can be told; of the master aggregator alone.
    pub(super) fn shown_grace(&self, node: &Node) -> Datum {
        let held_back = self.held_back();
        held_back
            .get(&node.id)
            .and_then(|held| held.left)
            .map_or(Datum::Null, |left| number(left.as_secs_f64().ceil() as i64))
    }
}

/// A row of SHOW CLUSTER STATUS about data that the catalog does not give to the leaf that has it.
pub(super) fn orphan_row(catalog: &Catalog, leaf: &Node, said: &InstanceStatus) -> Row {
    let partition: PartitionId = said.partition;
    let primary = catalog.partition(partition).map(|known| known.primary);
    let master = primary.and_then(|primary| catalog.node(primary));
    let aside = catalog
        .set_aside()
        .find(|copy| copy.partition == partition && copy.node == leaf.id)
        .map_or_else(String::new, |copy| format!(", set aside: it was the primary of {}", copy.epoch));
    vec![
        number(leaf.id.0),
        text(&leaf.host),
        number(leaf.sql_port),
        text(catalog.partition_name(partition)),
        text("Orphan"),
        text("online"),
        text(format!("0:{}", said.last.0)),
        Datum::Null,
        Datum::Null,
        primary.map_or(Datum::Null, |primary| number(primary.0)),
        master.map_or(Datum::Null, |node| text(&node.host)),
        master.map_or(Datum::Null, |node| number(node.sql_port)),
        text("Orphan"),
        text(format!("epoch {}, log {}, applied {}{aside}", said.epoch.0, said.last.0, said.applied.0)),
    ]
}
