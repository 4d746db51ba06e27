//! What this node alone can say of policies: what those that are asked beside would have decided, and in which order nodes
//! are to be worked on.

use baton_catalog::Catalog;
use baton_failover::maintenance_input;
use baton_gateway::Answer;
use baton_model::NodeId;
use baton_policy::MaintenancePurpose;
use baton_policy_host::ShadowReport;
use baton_sql::MaintenanceKind;
use tokio::task::block_in_place;

use super::Aggregator;
use super::asking::answer;
use super::show::{NUMBER, TEXT, number, text};
use crate::local_sql::table;

impl Aggregator {
    /// `SHOW SHADOW REPORT`: what was counted of each policy that this node asks beside, then what it would have decided
    /// otherwise, the newest first.
    pub(super) fn show_shadow_report(&self) -> Answer {
        let ShadowReport { counts, disagreements } = self.decider.shadow_report();
        let columns = [
            ("Decision_Point", TEXT),
            ("Policy", TEXT),
            ("Asked", NUMBER),
            ("Disagreed", NUMBER),
            ("Failed", NUMBER),
            ("Skipped", NUMBER),
            ("Seconds_Ago", NUMBER),
            ("Subject", TEXT),
            ("Active", TEXT),
            ("Shadow", TEXT),
        ];
        let empty = baton_model::Datum::Null;
        let mut rows = Vec::new();
        for ((point, _), count) in counts {
            let numbers = [count.asked, count.disagreed, count.failed, count.skipped].map(number);
            let mut row = vec![text(point), text(&count.module)];
            row.extend(numbers);
            row.extend([empty.clone(), empty.clone(), empty.clone(), empty.clone()]);
            rows.push(row);
        }
        let now_ms = self.context.clock.now().as_millis();
        let told = |(choice, why): &(String, String)| {
            text(if why.is_empty() { choice.clone() } else { format!("{choice} ({why})") })
        };
        for one in disagreements.iter().rev() {
            let mut row = vec![text(one.point), text(&one.module)];
            row.extend([empty.clone(), empty.clone(), empty.clone(), empty.clone()]);
            row.extend([
                number(now_ms.saturating_sub(one.now_ms) / 1000),
                text(&one.subject),
                told(&one.active),
                told(&one.shadow),
            ]);
            rows.push(row);
        }
        table(&columns, rows)
    }

    /// `EXPLAIN MAINTENANCE`: the stages that the `maintenance` policy makes of all nodes.
    pub(super) fn show_maintenance_plan(&self, kind: MaintenanceKind, catalog: &Catalog) -> Answer {
        let purpose = match kind {
            MaintenanceKind::Restart => MaintenancePurpose::Restart,
            MaintenanceKind::Stop => MaintenancePurpose::Stop,
            MaintenanceKind::Start => MaintenancePurpose::Start,
        };
        let master = self.group_status().leader.unwrap_or_else(|| self.context.node());
        let mut question = maintenance_input(catalog, &self.sight(catalog), master, purpose);
        // A policy computes, for as long as it may: no other task waits for that.
        let answer = answer(block_in_place(|| self.decide(&mut question)));
        let columns = [
            ("Stage", NUMBER),
            ("Host", TEXT),
            ("Port", NUMBER),
            ("Role", TEXT),
            ("Availability_Group", NUMBER),
            ("Reason", TEXT),
            ("Policy", TEXT),
        ];
        let mut rows = Vec::new();
        for (stage, of_stage) in (1_u32..).zip(&answer.verdict.stages) {
            for node in of_stage.nodes.iter().filter_map(|node| catalog.node(NodeId(*node))) {
                let role =
                    if node.id == master { "Master Aggregator".to_owned() } else { node.role.to_string() };
                rows.push(vec![
                    number(stage),
                    text(&node.host),
                    number(node.sql_port),
                    text(role),
                    node.availability_group.map_or(baton_model::Datum::Null, number),
                    text(&of_stage.reason),
                    text(&answer.policy),
                ]);
            }
        }
        table(&columns, rows)
    }
}
