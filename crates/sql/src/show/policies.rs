//! SHOW of policies, of where they decide, and of one decision with all that it was made from.

use baton_catalog::{BindingScope, Catalog, Decision, PolicyModule};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum};
use serde_json::Value;

use super::{NUMBER, TEXT, answer, text, texts};
use crate::bind::Context;
use crate::expression::calendar::datetime_text;
use crate::session::ResultSet;

/// Each module that is kept, by name, the current one of each name first.
pub(super) fn modules(catalog: &Catalog) -> ResultSet {
    let row = |module: &PolicyModule| {
        let current = catalog.policy(&module.name).is_some_and(|current| current.hash == module.hash);
        vec![
            text(&module.name),
            text(&module.version),
            text(module.decision_points.join(", ")),
            Datum::Int(i64::try_from(module.bytes.len()).unwrap_or(i64::MAX)),
            text(&module.hash),
            text(if current { "YES" } else { "NO" }),
            text(module.signature.as_ref().map_or("", |signature| &signature.key)),
            text(catalog.quarantine(&module.hash).map_or("", |held| &held.reason)),
        ]
    };
    let rows = catalog.policies().flat_map(|policy| catalog.policy_versions(&policy.name).rev().map(row));
    let columns = [
        ("Policy", TEXT),
        ("Version", TEXT),
        ("Decision_Points", TEXT),
        ("Bytes", NUMBER),
        ("Hash", TEXT),
        ("Current", TEXT),
        ("Signed_By", TEXT),
        ("Quarantined", TEXT),
    ];
    answer(&columns, rows.collect())
}

/// Each binding; those that decide for the whole cluster are the first of their decision points.
pub(super) fn bindings(catalog: &Catalog) -> ResultSet {
    let rows = catalog.bindings().map(|binding| {
        let settings: Vec<String> =
            binding.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let scope = match binding.scope {
            BindingScope::Cluster => "cluster".to_owned(),
            scope => catalog.scope_text(scope).trim_start_matches(" for ").to_owned(),
        };
        vec![
            text(&binding.decision_point),
            text(&binding.policy),
            text(settings.join(", ")),
            text(&binding.hash),
            text(scope),
            text(if binding.shadow { "shadow" } else { "active" }),
            text(binding.report.as_deref().unwrap_or_default()),
            text(binding.previous.last().map_or("", |before| &before.policy)),
            text(catalog.quarantine(&binding.hash).map_or("", |held| &held.reason)),
        ]
    });
    let columns =
        ["Decision_Point", "Policy", "Settings", "Hash", "Scope", "Mode", "Report", "Before", "Quarantined"];
    texts(&columns, rows.collect())
}

/// One decision, as fields and values. What has several lines has several rows, of which the first one is named.
pub(super) fn decision(id: u64, catalog: &Catalog) -> Result<ResultSet, SqlError> {
    let decision = catalog.decisions().find(|decision| decision.id == id).ok_or_else(|| {
        let text = format!("Decision {id} is not kept (any more); see SHOW POLICY DECISIONS");
        SqlError::new(ErrorCode::OperationRefused, text)
    })?;
    let Decision { at_ms, node, decision_point, subject, verdict, reason, policy, hash, .. } = decision;
    let version = catalog.module(hash).map_or("", |module| &module.version);
    let moment = i64::try_from(*at_ms).ok().and_then(|ms| ms.checked_mul(1000));
    let moment = moment.map(datetime_text);
    let input = serde_json::from_str::<Value>(&decision.input).unwrap_or_default();
    let settings = match input.get("settings") {
        Some(settings) => settings.to_string(),
        None => String::new(),
    };
    let mut rows = vec![
        ("id", id.to_string()),
        ("time", moment.unwrap_or_default()),
        ("node", catalog.address_of(*node)),
        ("point", decision_point.clone()),
        ("subject", subject.clone()),
        ("verdict", verdict.clone()),
        ("reason", reason.clone()),
        ("policy", policy.clone()),
        ("version", version.to_owned()),
        ("hash", hash.clone()),
        ("settings", settings),
        ("fuel", decision.fuel.to_string()),
        ("micros", decision.micros.to_string()),
        ("fallback", decision.fallback.clone()),
    ];
    for (name, json) in [("input", &decision.input), ("answer", &decision.answer)] {
        let pretty =
            serde_json::from_str::<Value>(json).and_then(|value| serde_json::to_string_pretty(&value));
        let pretty = pretty.unwrap_or_else(|_| json.clone());
        let lines = pretty.lines().enumerate();
        rows.extend(lines.map(|(n, line)| (if n == 0 { name } else { "" }, line.to_owned())));
    }
    let rows = rows.into_iter().map(|(field, value)| vec![text(field), text(value)]);
    Ok(answer(&[("Field", TEXT), ("Value", ColumnType::Text)], rows.collect()))
}

/// The nodes that are under maintenance now.
pub(super) fn maintenance(context: &Context<'_>) -> ResultSet {
    let now_ms = u64::try_from(context.session.now_us / 1000).unwrap_or(0);
    let number = |number: u64| Datum::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let rows = context.catalog.nodes().filter_map(|node| {
        let until_ms = node.maintenance_until_ms.filter(|_| node.is_in_maintenance(now_ms))?;
        let until_us = i64::try_from(until_ms).ok()?.checked_mul(1000)?;
        Some(vec![
            text(&node.host),
            number(node.sql_port.into()),
            text(node.role.to_string()),
            Datum::DateTime(until_us),
            number((until_ms - now_ms).div_ceil(1000)),
        ])
    });
    let columns = [
        ("Host", TEXT),
        ("Port", NUMBER),
        ("Role", TEXT),
        ("Until", ColumnType::DateTime),
        ("Seconds_Left", NUMBER),
    ];
    answer(&columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use baton_catalog::{Command, Entry, NewBinding, NewNode, PolicySignature};
    use baton_model::{
        AggregatorRole, Blob, CatalogIndex, ClusterId, DatabaseId, Incarnation, NodeId, NodeRole, StoreId,
    };

    use super::*;
    use crate::session::Session;

    fn catalog(commands: Vec<Command>) -> Catalog {
        let mut catalog = Catalog::default();
        for command in commands {
            let index = CatalogIndex(catalog.index().0 + 1);
            catalog.apply(index, &Entry { statement: None, at_ms: 1_000, command }).outcome.unwrap();
        }
        catalog
    }

    fn module(version: &str) -> PolicyModule {
        PolicyModule {
            name: "wary".into(),
            version: version.into(),
            hash: format!("hash-{version}"),
            decision_points: vec!["detection".into(), "promotion".into()],
            bytes: Blob::new(&[1, 2, 3]),
            signature: Some(PolicySignature { key: "k".into(), signature: "s".into() }),
        }
    }

    fn found() -> Command {
        let node = NewNode {
            host: "h".into(),
            sql_port: 3306,
            rpc_port: 4306,
            http_port: 5306,
            role: NodeRole::Aggregator,
            aggregator_role: Some(AggregatorRole::VotingMember),
            availability_group: None,
            incarnation: Incarnation(1),
            store: StoreId(1),
        };
        Command::FoundCluster { cluster: ClusterId(1), node, policies: vec![module("1")], bindings: vec![] }
    }

    fn bind(version: &str) -> NewBinding {
        let settings = BTreeMap::from([("limit".to_owned(), "7".to_owned())]);
        NewBinding::of_cluster(vec!["promotion".into()], "wary".into(), format!("hash-{version}"), settings)
    }

    fn lines(result: &ResultSet) -> Vec<String> {
        let cell = |datum: &Datum| match datum {
            Datum::Text(text) => text.clone(),
            other => other.to_string(),
        };
        result.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join("|")).collect()
    }

    #[test]
    fn each_version_and_each_binding_has_a_row() {
        let catalog = catalog(vec![
            found(),
            Command::InstallPolicy { module: module("2"), replace: true },
            Command::BindPolicy(bind("1")),
            Command::BindPolicy(NewBinding { scope: BindingScope::Group(2), ..bind("2") }),
            Command::BindPolicy(NewBinding { shadow: true, report: Some("r".into()), ..bind("2") }),
            Command::QuarantinePolicy { hash: "hash-1".into(), reason: "it traps".into() },
        ]);
        assert_eq!(
            lines(&modules(&catalog)),
            [
                "wary|2|detection, promotion|3|hash-2|YES|k|",
                "wary|1|detection, promotion|3|hash-1|NO|k|it traps"
            ]
        );
        assert_eq!(
            lines(&bindings(&catalog)),
            [
                "promotion|wary|limit = 7|hash-1|cluster|active|||it traps",
                "promotion|wary|limit = 7|hash-2|cluster|shadow|r||",
                "promotion|wary|limit = 7|hash-2|group 2|active|||"
            ]
        );
    }

    #[test]
    fn a_decision_is_told_with_all_that_it_was_made_from() {
        let decided = Decision {
            id: 0,
            at_ms: 1_709_210_096_789,
            node: NodeId(1),
            decision_point: "promotion".into(),
            subject: "shop_3".into(),
            verdict: "promote n2".into(),
            reason: "lsn 7".into(),
            policy: "wary".into(),
            hash: "hash-1".into(),
            input: r#"{"settings":{"limit":"7"},"seed":1}"#.into(),
            answer: r#"{"ranking":[2]}"#.into(),
            fuel: 9,
            micros: 8,
            fallback: String::new(),
        };
        let catalog = catalog(vec![found(), Command::RecordDecision(decided)]);
        let told = lines(&decision(1, &catalog).unwrap());
        assert_eq!(
            told[..14],
            [
                "id|1",
                "time|2024-02-29 12:34:56.789000",
                "node|h:3306",
                "point|promotion",
                "subject|shop_3",
                "verdict|promote n2",
                "reason|lsn 7",
                "policy|wary",
                "version|1",
                "hash|hash-1",
                r#"settings|{"limit":"7"}"#,
                "fuel|9",
                "micros|8",
                "fallback|"
            ]
        );
        let input = told.iter().position(|line| line == "input|{").expect("the input begins");
        let answer = told.iter().position(|line| line == "answer|{").expect("the answer begins");
        assert!(told[input..answer].iter().any(|line| line.contains(r#""limit": "7""#)));
        assert!(told[answer..].iter().any(|line| line.starts_with('|') && line.contains("ranking")));
        assert!(decision(2, &catalog).is_err());
    }

    #[test]
    fn only_maintenance_that_goes_on_is_shown() {
        let mark = Command::MarkMaintenance { node: NodeId(1), until_ms: Some(61_000) };
        let catalog = catalog(vec![found(), mark]);
        let shown = |now_us| {
            let session = Session { now_us, ..Session::default() };
            lines(&maintenance(&Context { catalog: &catalog, session: &session }))
        };
        assert_eq!(shown(1_500_000), ["h|3306|Aggregator|61000000us|60"]);
        assert!(shown(61_000_000).is_empty());
        assert_eq!(catalog.scope_text(BindingScope::Database(DatabaseId(9))), " for database d9");
    }
}
