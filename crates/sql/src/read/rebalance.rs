//! `MV_REBALANCE_STATUS`: the last plan of each database, step by step.

use baton_catalog::{OperatorPlan, PlanAction, PlanKind, PlanStep};
use baton_model::limits::IDENTIFIER_BYTES_MAX;
use baton_model::{ColumnType, Datum, Row};

use crate::bind::Context;
use crate::session::ResultSet;

const NAME: ColumnType = ColumnType::Varchar(IDENTIFIER_BYTES_MAX as u32);
const NUMBER: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

fn text(text: impl Into<String>) -> Datum {
    Datum::Text(text.into())
}

fn int(number: impl TryInto<i64>) -> Datum {
    Datum::Int(number.try_into().unwrap_or(i64::MAX))
}

/// What a step does, as it is printed: a copy that restores redundancy is one WITH FORCE.
#[must_use]
pub fn action_name(kind: PlanKind, action: PlanAction) -> String {
    let force = kind == PlanKind::RestoreRedundancy && action == PlanAction::Copy;
    format!("{action}{}", if force { " FORCE" } else { "" })
}

/// One row for each step. The time that is left is not estimated.
pub(super) fn rebalance_status(context: &Context<'_>) -> ResultSet {
    let columns = [
        ("DATABASE_NAME", NAME),
        ("ACTION", NAME),
        ("ORDINAL", NUMBER),
        ("TARGET_HOST", NAME),
        ("TARGET_PORT", NUMBER),
        ("PHASE", NUMBER),
        ("STATUS", ColumnType::Text),
        ("RUNNING_TIME_MS", NUMBER),
        ("ESTIMATED_TIME_REMAINING_MS", NUMBER),
    ];
    let catalog = context.catalog;
    let mut plans: Vec<(&str, &OperatorPlan)> = catalog
        .plans()
        .filter_map(|plan| Some((catalog.database_by_id(plan.database)?.name.as_str(), plan)))
        .collect();
    plans.sort_unstable_by_key(|(name, _)| *name);
    let mut rows: Vec<Row> = Vec::new();
    for (name, plan) in plans {
        for step in catalog.plan_steps(plan.id) {
            let target = catalog.node(step.target);
            rows.push(vec![
                text(name),
                text(action_name(plan.kind, step.action)),
                int(step.partition.ordinal),
                target.map_or(Datum::Null, |node| text(&node.host)),
                target.map_or(Datum::Null, |node| int(node.sql_port)),
                int(step.phase),
                text(status(step)),
                running_time(step, context.session.now_us),
                Datum::Null,
            ]);
        }
    }
    ResultSet { columns: columns.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect(), rows }
}

fn status(step: &PlanStep) -> String {
    if step.details.is_empty() {
        step.status.to_string()
    } else {
        format!("{} ({})", step.status, step.details)
    }
}

/// Since it was begun, or while it was done.
fn running_time(step: &PlanStep, now_us: i64) -> Datum {
    let Some(started) = step.started_ms else { return Datum::Null };
    let now_ms = u64::try_from(now_us / 1000).unwrap_or_default();
    int(step.ended_ms.unwrap_or(now_ms).saturating_sub(started))
}
