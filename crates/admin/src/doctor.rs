//! `doctor`: looks the cluster through for what will hurt later, and says for each what mends it.
//!
//! [`examine`] decides, from plain facts; everything else here only gathers them. Somebody who does not answer is a
//! finding, and no reason to stop looking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use serde::Serialize;

use crate::asking;
use crate::client::{Client, ClientError, Record};
use crate::error::AdminError;
use crate::http;
use crate::process::{Presence, presence};
use crate::report::Report;
use crate::state::{ClusterState, NodeRecord, StateDir};
use crate::survey::unserved;

/// How long an aggregator may take to answer each question.
const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// Less free than this, and a node will soon stop.
const FREE_DISK_MIN: u64 = 1 << 30;
/// Less free than this is worth a word.
const FREE_DISK_LOW: u64 = 5 << 30;
/// Clocks that are further apart show in the times of events and in maintenance marks.
const SKEW_MAX_MS: u64 = 500;

/// Replicas that are to be in sync and are not, of each database.
const BEHIND: &str = "SELECT p.DATABASE_NAME AS db, COUNT(*) AS replicas \
                      FROM information_schema.DISTRIBUTED_PARTITIONS p \
                      JOIN information_schema.DISTRIBUTED_DATABASES d ON p.DATABASE_NAME = d.DATABASE_NAME \
                      WHERE d.REPLICATION = 'sync' AND p.ROLE = 'Replica' AND p.SYNC_STATE <> 'sync' \
                      GROUP BY p.DATABASE_NAME";

/// How bad it is. The worst comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Clients suffer now.
    Critical,
    /// One more failure, and they would.
    Warning,
    /// Worth knowing.
    Note,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Finding {
    severity: Severity,
    what: String,
    mend: String,
}

/// A process of the cluster, as it was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) runs: bool,
    /// None if it does not say.
    pub(crate) free_disk_bytes: Option<u64>,
    /// How far its clock is from ours, beyond what asking it took.
    pub(crate) skew_ms: Option<u64>,
    /// Whether it says that it is the master aggregator.
    pub(crate) is_master: bool,
}

/// An aggregator or a leaf, as the cluster sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) state: String,
    /// Of an aggregator.
    pub(crate) role: Option<String>,
    /// Of a leaf.
    pub(crate) group: Option<String>,
}

/// Everything that was found out. What an aggregator was to tell is empty if none did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) processes: Vec<Process>,
    /// Why no aggregator could be asked.
    pub(crate) unasked: Option<String>,
    pub(crate) aggregators: Vec<Member>,
    pub(crate) leaves: Vec<Member>,
    pub(crate) variables: BTreeMap<String, String>,
    /// What keeps a database from being served.
    pub(crate) unserved: Option<String>,
    /// Databases with replicas that are not in sync, and how many.
    pub(crate) behind: BTreeMap<String, usize>,
    /// Policies in quarantine, and why.
    pub(crate) quarantined: BTreeMap<String, String>,
    /// Nodes that are marked as under maintenance.
    pub(crate) marked: usize,
    /// Whether root may log in without a password.
    pub(crate) root_is_open: bool,
}

/// What is to be said of the facts, the worst first.
pub(crate) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |severity, what: String, mend: &str| {
        found.push(Finding { severity, what, mend: mend.to_owned() });
    };
    use Severity::{Critical, Warning};

    for process in &facts.processes {
        let name = &process.name;
        if !process.runs {
            say(Critical, format!("{name} does not run"), &format!("baton admin start-node --name {name}"));
        }
        match process.free_disk_bytes {
            Some(free) if free < FREE_DISK_MIN => say(
                Critical,
                format!("the disk of {name} is full: {} MiB are free", free >> 20),
                "make room: a leaf that cannot write stops; backups and old data folders go first",
            ),
            Some(free) if free < FREE_DISK_LOW => say(
                Warning,
                format!("the disk of {name} is nearly full: {} MiB are free", free >> 20),
                "make room, or move partitions: ADD LEAF, then REBALANCE PARTITIONS ON db",
            ),
            _ => {}
        }
        if let Some(skew) = process.skew_ms.filter(|skew| *skew > SKEW_MAX_MS) {
            say(
                Warning,
                format!("the clock of {name} is {skew} ms off"),
                "synchronise the clocks (chrony): times of events and maintenance marks are the clocks'",
            );
        }
    }
    let masters: Vec<&str> =
        facts.processes.iter().filter(|it| it.is_master).map(|it| it.name.as_str()).collect();
    if masters.len() > 1 {
        say(
            Critical,
            format!("{} all say that they are the master aggregator", masters.join(" and ")),
            "look again in a second; if it stays so, stop all but the one that most aggregators name",
        );
    }
    if let Some(why) = &facts.unasked {
        say(Critical, format!("no aggregator could be asked: {why}"), "baton admin start-node --all");
    } else {
        examine_members(facts, &mut say);
        examine_settings(facts, &mut say);
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

fn examine_members(facts: &Facts, say: &mut impl FnMut(Severity, String, &str)) {
    use Severity::{Critical, Note, Warning};
    let is_on = |variable: &str| facts.variables.get(variable).is_some_and(|value| value == "ON");
    let address = |member: &Member| format!("{}:{}", member.host, member.port);
    for member in facts.aggregators.iter().chain(&facts.leaves) {
        if member.state != "online" {
            let mend = match member.state.as_str() {
                "detached" => format!("ATTACH LEAF '{}':{}", member.host, member.port),
                _ => "start it, or look at its log and its network".to_owned(),
            };
            say(Warning, format!("{} is {}", address(member), member.state), &mend);
        }
    }
    let roles = |wanted: &[&str]| {
        let has = |member: &&Member| member.role.as_deref().is_some_and(|role| wanted.contains(&role));
        facts.aggregators.iter().filter(has).collect::<Vec<_>>()
    };
    let voters = roles(&["Leader", "Voting Member"]);
    if roles(&["Leader"]).is_empty() {
        say(
            Critical,
            "there is no master aggregator".to_owned(),
            "with consensus the voting members elect one: start enough of them for a majority; without, start the old one",
        );
    }
    if !is_on("consensus_enabled") && facts.aggregators.len() > 1 {
        say(
            Warning,
            "nobody is elected when the master aggregator is lost: consensus is off".to_owned(),
            "SET GLOBAL consensus_enabled = ON, and add voting members",
        );
    } else if voters.len().is_multiple_of(2) && !voters.is_empty() {
        say(
            Warning,
            format!("{} voting members survive no more failures than {}", voters.len(), voters.len() - 1),
            "ADD AGGREGATOR root@'host':port AS VOTING MEMBER, or REMOVE AGGREGATOR and add it as a follower",
        );
    }
    let hosts: BTreeSet<&str> = voters.iter().map(|member| member.host.as_str()).collect();
    if voters.len() > 1 && hosts.len() == 1 {
        say(
            Note,
            "all voting members are on one host, and are lost with it".to_owned(),
            "in production put each into a failure domain of its own",
        );
    }
    let groups: BTreeSet<_> = facts.leaves.iter().filter_map(|leaf| leaf.group.as_deref()).collect();
    if facts.variables.get("redundancy_level").is_some_and(|level| level == "1") {
        say(
            Warning,
            "every partition has one copy: a leaf that fails takes its partitions with it".to_owned(),
            "SET GLOBAL redundancy_level = 2, ADD LEAF … INTO GROUP 2, then RESTORE REDUNDANCY ON each database",
        );
    } else if !facts.leaves.is_empty() && groups.len() < 2 {
        say(
            Warning,
            "all leaves are in one availability group, so that no partition has a second copy".to_owned(),
            "ADD LEAF root@'host':port INTO GROUP 2, then RESTORE REDUNDANCY ON each database",
        );
    }
}

fn examine_settings(facts: &Facts, say: &mut impl FnMut(Severity, String, &str)) {
    use Severity::{Critical, Note, Warning};
    let is_off = |variable: &str| facts.variables.get(variable).is_some_and(|value| value == "OFF");
    if let Some(what) = &facts.unserved {
        say(
            Critical,
            what.clone(),
            "SHOW PARTITIONS ON the database says where its copies are; start those leaves",
        );
    }
    for (database, replicas) in &facts.behind {
        say(
            Warning,
            format!("{replicas} replicas of {database} are not in sync"),
            &format!(
                "they catch up by themselves; if they do not: EXPLAIN RESTORE REDUNDANCY ON `{database}`"
            ),
        );
    }
    for (variable, what) in [
        ("leaf_failure_detection", "a leaf that fails is not failed over"),
        ("aggregator_failure_detection", "an aggregator that fails is not noticed"),
        ("auto_attach", "a leaf that comes back is not used until ATTACH LEAF"),
    ] {
        if is_off(variable) {
            say(Warning, format!("{what}: {variable} is OFF"), &format!("SET GLOBAL {variable} = ON"));
        }
    }
    if is_off("leaf_read_lease") {
        say(
            Note,
            "a primary that is cut off may answer reads from the past: leaf_read_lease is OFF".to_owned(),
            "SET GLOBAL leaf_read_lease = ON",
        );
    }
    for (policy, why) in &facts.quarantined {
        say(
            Warning,
            format!("policy {policy} is in quarantine, and classic decides in its place: {why}"),
            &format!("mend it and CREATE OR REPLACE POLICY, or RELEASE POLICY `{policy}`"),
        );
    }
    if facts.marked > 0 {
        say(
            Note,
            format!(
                "{} nodes are marked as under maintenance, and are not failed over meanwhile",
                facts.marked
            ),
            "SHOW MAINTENANCE says until when; SET MAINTENANCE … OFF ends it",
        );
    }
    if facts.root_is_open {
        say(Warning, "root needs no password".to_owned(), "ALTER USER root IDENTIFIED BY 'a password'");
    }
}

/// `doctor`.
pub(crate) async fn doctor(dir: &StateDir, report: &Report) -> Result<(), AdminError> {
    let state = dir.read()?;
    let facts = gather(dir, &state).await;
    let findings = examine(&facts);
    report.result(&findings, || {
        if findings.is_empty() {
            return "✓ nothing is wrong with the cluster".to_owned();
        }
        let line = |finding: &Finding| {
            let mark = match finding.severity {
                Severity::Critical => "✗ critical",
                Severity::Warning => "! warning",
                Severity::Note => "· note",
            };
            format!("{mark}: {}\n    {}\n", finding.what, finding.mend)
        };
        findings.iter().map(line).collect()
    });
    match findings.iter().filter(|finding| finding.severity != Severity::Note).count() {
        0 => Ok(()),
        count => Err(AdminError::Unwell(count)),
    }
}

async fn gather(dir: &StateDir, state: &ClusterState) -> Facts {
    let processes = join_all(state.nodes.iter().map(process)).await;
    let mut facts = Facts { processes, ..Facts::default() };
    match asking::connect(dir, state, ANSWER_BOUND).await {
        Ok((node, mut client)) => {
            if let Err(error) = ask(&mut client, &mut facts).await {
                facts.unasked = Some(format!("{}: {error}", node.name));
            }
            // A state folder of old may know no password; then it was changed by SQL.
            facts.root_is_open = Client::connect(node, "", ANSWER_BOUND).await.is_ok();
        }
        Err(error) => facts.unasked = Some(error.to_string()),
    }
    facts
}

async fn process(node: &NodeRecord) -> Process {
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let began = now_ms();
    let told = http::health(node).await;
    let ended = now_ms();
    let number = |key: &str| told.as_ref().and_then(|told| told[key].as_u64());
    let skew = number("nowMs").map(u128::from).map(|theirs| {
        // The answer was made at some time between.
        if theirs < began { began - theirs } else { theirs.saturating_sub(ended) }
    });
    Process {
        name: node.name.clone(),
        runs: matches!(presence(node), Presence::Running(_)),
        free_disk_bytes: number("freeDiskBytes").filter(|free| *free > 0),
        skew_ms: skew.and_then(|skew| u64::try_from(skew).ok()),
        is_master: told.as_ref().is_some_and(|told| told["role"] == "Master"),
    }
}

async fn ask(client: &mut Client, facts: &mut Facts) -> Result<(), ClientError> {
    let member = |row: &Record| Member {
        host: row.get("host").cloned().unwrap_or_default(),
        port: row.get("port").cloned().unwrap_or_default(),
        state: row.get("state").cloned().unwrap_or_default(),
        role: row.get("role").cloned(),
        group: row.get("availability_group").cloned(),
    };
    facts.aggregators = client.query("SHOW AGGREGATORS").await?.iter().map(member).collect();
    facts.leaves = client.query("SHOW LEAVES").await?.iter().map(member).collect();
    for row in client.query("SHOW GLOBAL VARIABLES").await? {
        if let (Some(name), Some(value)) = (row.get("variable_name"), row.get("value")) {
            facts.variables.insert(name.clone(), value.clone());
        }
    }
    facts.unserved = unserved(client).await?;
    for row in client.query(BEHIND).await? {
        let count = row.get("replicas").and_then(|count| count.parse().ok()).unwrap_or_default();
        facts.behind.insert(row.get("db").cloned().unwrap_or_default(), count);
    }
    for row in client.query("SHOW POLICIES").await? {
        if let (Some(policy), Some(why)) =
            (row.get("policy"), row.get("quarantined").filter(|why| !why.is_empty()))
        {
            facts.quarantined.insert(policy.clone(), why.clone());
        }
    }
    facts.marked = client.query("SHOW MAINTENANCE").await?.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(port: &str, role: Option<&str>, group: Option<&str>) -> Member {
        Member {
            host: format!("10.0.0.{port}"),
            port: port.to_owned(),
            state: "online".to_owned(),
            role: role.map(str::to_owned),
            group: group.map(str::to_owned),
        }
    }

    /// Three voters on three hosts, two leaves in two groups, and nothing wrong.
    fn well() -> Facts {
        let variables = [
            ("consensus_enabled", "ON"),
            ("redundancy_level", "2"),
            ("leaf_failure_detection", "ON"),
            ("aggregator_failure_detection", "ON"),
            ("auto_attach", "ON"),
            ("leaf_read_lease", "ON"),
        ];
        let process = |name: &str| Process {
            name: name.to_owned(),
            runs: true,
            free_disk_bytes: Some(1 << 40),
            skew_ms: Some(2),
            is_master: name == "a1",
        };
        Facts {
            processes: ["a1", "a2", "a3", "l1", "l2"].map(process).to_vec(),
            aggregators: vec![
                member("1", Some("Leader"), None),
                member("2", Some("Voting Member"), None),
                member("3", Some("Voting Member"), None),
            ],
            leaves: vec![member("4", None, Some("1")), member("5", None, Some("2"))],
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Facts::default()
        }
    }

    /// What was said, and how bad it is.
    type Said = Vec<(Severity, String)>;

    /// What is said when this is changed.
    fn said(change: impl FnOnce(&mut Facts)) -> Said {
        let mut facts = well();
        change(&mut facts);
        examine(&facts).into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    #[test]
    fn a_cluster_that_is_well_has_no_findings() {
        assert_eq!(said(|_| {}), []);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found_alone() {
        use Severity::{Critical, Note, Warning};
        let set = |name: &'static str, value: &'static str| {
            move |facts: &mut Facts| drop(facts.variables.insert(name.to_owned(), value.to_owned()))
        };
        let cases: Vec<(Said, Severity, &str)> = vec![
            (said(|facts| facts.processes[1].runs = false), Critical, "a2 does not run"),
            (
                said(|facts| facts.processes[3].free_disk_bytes = Some(1 << 20)),
                Critical,
                "the disk of l1 is full",
            ),
            (
                said(|facts| facts.processes[3].free_disk_bytes = Some(2 << 30)),
                Warning,
                "nearly full: 2048 MiB",
            ),
            (said(|facts| facts.processes[4].skew_ms = Some(900)), Warning, "the clock of l2 is 900 ms off"),
            (said(|facts| facts.processes[1].is_master = true), Critical, "a1 and a2 all say"),
            (said(|facts| facts.unasked = Some("x".into())), Critical, "no aggregator could be asked: x"),
            (said(|facts| facts.leaves[0].state = "offline".into()), Warning, "10.0.0.4:4 is offline"),
            (
                said(|facts| drop(facts.aggregators.pop())),
                Warning,
                "2 voting members survive no more failures than 1",
            ),
            (
                said(|facts| facts.aggregators[0].role = Some("Voting Member".into())),
                Critical,
                "there is no master aggregator",
            ),
            (
                said(|facts| facts.aggregators.iter_mut().for_each(|it| it.host = "h".into())),
                Note,
                "all voting members are on one host",
            ),
            (said(set("consensus_enabled", "OFF")), Warning, "nobody is elected"),
            (said(set("redundancy_level", "1")), Warning, "every partition has one copy"),
            (said(|facts| facts.leaves[1].group = Some("1".into())), Warning, "in one availability group"),
            (said(|facts| facts.unserved = Some("partition 3 …".into())), Critical, "partition 3"),
            (
                said(|facts| facts.behind = BTreeMap::from([("db".into(), 4)])),
                Warning,
                "4 replicas of db are not in sync",
            ),
            (said(set("leaf_failure_detection", "OFF")), Warning, "leaf_failure_detection is OFF"),
            (said(set("auto_attach", "OFF")), Warning, "auto_attach is OFF"),
            (said(set("leaf_read_lease", "OFF")), Note, "leaf_read_lease is OFF"),
            (
                said(|facts| drop(facts.quarantined.insert("p".into(), "it traps".into()))),
                Warning,
                "policy p",
            ),
            (said(|facts| facts.marked = 1), Note, "1 nodes are marked"),
            (said(|facts| facts.root_is_open = true), Warning, "root needs no password"),
        ];
        for (found, severity, words) in cases {
            assert!(
                matches!(&found[..], [(how, what)] if *how == severity && what.contains(words)),
                "{words}: {found:?}"
            );
        }
    }

    #[test]
    fn the_worst_comes_first() {
        let found = said(|facts| {
            facts.marked = 1;
            facts.root_is_open = true;
            facts.processes[0].runs = false;
        });
        let severities: Vec<_> = found.into_iter().map(|(severity, _)| severity).collect();
        assert_eq!(severities, [Severity::Critical, Severity::Warning, Severity::Note]);
    }
}
