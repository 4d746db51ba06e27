//! The cluster file: the YAML of the source documents, and the plan that it comes to.
//!
//! Every error names the place in the file. A key that the documents know but that means nothing here is accepted
//! and noted; any other key that is not known is an error, since it is most likely a known one misspelt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use baton_catalog::variables;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

/// The host of a file that names none: this machine.
const HOST: &str = "127.0.0.1";
/// The first SQL port that is given out by itself.
const PORT_FIRST: u16 = 3306;
/// The RPC and the HTTP port are this far above the SQL port, where the file does not say otherwise.
const RPC_PORT_OFFSET: u16 = 10_000;
const HTTP_PORT_OFFSET: u16 = 20_000;

/// What a node is set up as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlannedRole {
    /// The aggregator that the cluster begins with.
    Master,
    /// A child aggregator.
    #[serde(rename_all = "camelCase")]
    Aggregator {
        /// Whether it counts for the quorum.
        voting_member: bool,
    },
    /// A leaf.
    Leaf {
        /// Its availability group, 1 or 2.
        group: u32,
    },
}

impl PlannedRole {
    /// Whether it routes SQL.
    #[must_use]
    pub const fn is_aggregator(self) -> bool {
        matches!(self, Self::Master | Self::Aggregator { .. })
    }
}

/// One node to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedNode {
    /// Its name, unique in the cluster.
    pub name: String,
    /// What it is set up as.
    pub role: PlannedRole,
    /// The address of all its listeners.
    pub host: String,
    /// The SQL port.
    pub port: u16,
    /// The port for other nodes.
    pub rpc_port: u16,
    /// The port for metrics and health.
    pub http_port: u16,
    /// The data folder, if the file names one.
    pub datadir: Option<PathBuf>,
}

/// What a cluster file asks for, complete and consistent in itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterPlan {
    /// Root's password to be; may be empty.
    pub root_password: String,
    /// Whether each partition has two copies.
    pub high_availability: bool,
    /// Global variables in the order in which they are to be set.
    pub variables: Vec<(String, String)>,
    /// The nodes in the order of the file; one of them is the master.
    pub nodes: Vec<PlannedNode>,
    /// What in the file has no effect.
    pub notes: Vec<String>,
}

/// Why a cluster file is no plan.
#[derive(Debug, thiserror::Error)]
pub enum ClusterFileError {
    /// It cannot be read.
    #[error("cannot read the cluster file {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not of the shape of a cluster file.
    #[error("{path}: {error}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: serde_yaml_ng::Error,
    },
    /// It asks for something that cannot be.
    #[error("{path}: {at}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The key, such as `hosts[0].nodes[2].role`.
        at: String,
        /// What is wrong there.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Any scalar, as the text that stands in the file.
    root_password: Option<String>,
    high_availability: Option<bool>,
    #[serde(default)]
    sync_variables: BTreeMap<String, Value>,
    hosts: Vec<Host>,
    license: Option<Value>,
    memsql_server_version: Option<Value>,
    package_type: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    hostname: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
    /// Every host is this machine, whatever this says; but one that is said to be another needs a name.
    localhost: Option<bool>,
    ssh: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: Option<String>,
    role: String,
    aggregator_role: Option<String>,
    availability_group: Option<u32>,
    #[serde(default)]
    config: Config,
    register: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Config {
    port: Option<u16>,
    rpc_port: Option<u16>,
    http_port: Option<u16>,
    datadir: Option<PathBuf>,
    auditlogsdir: Option<Value>,
    plancachedir: Option<Value>,
    tracelogsdir: Option<Value>,
}

/// A complaint about a key of the file.
struct Wrong {
    at: String,
    reason: String,
}

fn wrong<T>(at: impl Into<String>, reason: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at: at.into(), reason: reason.into() })
}

impl Host {
    fn name(&self) -> &str {
        self.hostname.as_deref().unwrap_or(HOST)
    }
}

impl ClusterPlan {
    /// Reads a cluster file. Data folders that it names relatively are relative to its own folder.
    ///
    /// # Errors
    /// [`ClusterFileError`].
    pub fn read(path: &Path) -> Result<Self, ClusterFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ClusterFileError::Read { path: path.to_owned(), error })?;
        let mut plan = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for datadir in plan.nodes.iter_mut().filter_map(|node| node.datadir.as_mut()) {
            let full = folder.join(&*datadir);
            *datadir = std::path::absolute(&full)
                .map_err(|error| ClusterFileError::Read { path: full.clone(), error })?;
        }
        Ok(plan)
    }

    /// Understands the text of a cluster file; `path` is for the errors.
    ///
    /// # Errors
    /// [`ClusterFileError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ClusterFileError> {
        let file: File = serde_yaml_ng::from_str(text)
            .map_err(|error| ClusterFileError::Shape { path: path.to_owned(), error })?;
        plan(file).map_err(|Wrong { at, reason }| ClusterFileError::Content {
            path: path.to_owned(),
            at,
            reason,
        })
    }

    /// The node that the cluster begins with.
    #[must_use]
    pub fn master(&self) -> Option<&PlannedNode> {
        self.nodes.iter().find(|node| node.role == PlannedRole::Master)
    }
}

fn plan(file: File) -> Result<ClusterPlan, Wrong> {
    let mut notes = Vec::new();
    let note = |notes: &mut Vec<String>, at: String, given: bool| {
        if given {
            notes.push(format!("{at} has no effect here"));
        }
    };
    note(&mut notes, "license".into(), file.license.is_some());
    note(&mut notes, "memsql_server_version".into(), file.memsql_server_version.is_some());
    note(&mut notes, "package_type".into(), file.package_type.is_some());

    let mut variables = sync_variables(&file.sync_variables)?;
    let consensus = variables.iter().any(|(name, value)| name == "consensus_enabled" && value == "ON");
    let leaves =
        file.hosts.iter().flat_map(|host| &host.nodes).filter(|node| node.role.eq_ignore_ascii_case("leaf"));
    let leaves = leaves.count();
    // The source documents have it on unless it is turned off; a lone leaf has nobody to pair with.
    let high_availability = file.high_availability.unwrap_or(leaves > 1);

    let mut ports = Ports::taken_by(&file.hosts)?;
    let mut nodes: Vec<PlannedNode> = Vec::new();
    let mut ungrouped = 0;
    let mut counts = BTreeMap::<&str, usize>::new();
    for (host_at, host) in file.hosts.into_iter().enumerate() {
        let at = format!("hosts[{host_at}]");
        note(&mut notes, format!("{at}.ssh"), host.ssh.is_some());
        let host_name = host.name().to_owned();
        if host_name.trim().is_empty() {
            return wrong(format!("{at}.hostname"), "it is empty");
        }
        if host.hostname.is_none() && host.localhost == Some(false) {
            return wrong(
                format!("{at}.hostname"),
                "it is missing, and `localhost: false` says that it matters",
            );
        }
        for (node_at, node) in host.nodes.into_iter().enumerate() {
            let at = format!("{at}.nodes[{node_at}]");
            note(&mut notes, format!("{at}.register"), node.register.is_some());
            note(&mut notes, format!("{at}.config.auditlogsdir"), node.config.auditlogsdir.is_some());
            note(&mut notes, format!("{at}.config.plancachedir"), node.config.plancachedir.is_some());
            note(&mut notes, format!("{at}.config.tracelogsdir"), node.config.tracelogsdir.is_some());
            let mut role = role(&at, &node, high_availability, consensus, &mut ungrouped)?;
            if !high_availability && role == (PlannedRole::Leaf { group: 2 }) {
                notes.push(format!(
                    "{at}.availability_group has no effect here: without `high_availability: true` there is group 1 only"
                ));
                role = PlannedRole::Leaf { group: 1 };
            }
            let kind = match role {
                PlannedRole::Master => "master",
                PlannedRole::Aggregator { .. } => "aggregator",
                PlannedRole::Leaf { .. } => "leaf",
            };
            let count = counts.entry(kind).or_default();
            *count += 1;
            let name = node.name.unwrap_or_else(|| format!("{kind}-{count}"));
            check_name(&format!("{at}.name"), &name)?;
            if nodes.iter().any(|other| other.name == name) {
                return wrong(format!("{at}.name"), format!("there are two nodes called '{name}'"));
            }
            let port = ports.give(node.config.port, Some(PORT_FIRST));
            let rpc_port = ports.give(node.config.rpc_port, port.checked_add(RPC_PORT_OFFSET));
            let http_port = ports.give(node.config.http_port, port.checked_add(HTTP_PORT_OFFSET));
            let datadir = node.config.datadir;
            nodes.push(PlannedNode {
                name,
                role,
                host: host_name.clone(),
                port,
                rpc_port,
                http_port,
                datadir,
            });
        }
    }
    match nodes.iter().filter(|node| node.role == PlannedRole::Master).count() {
        1 => {}
        0 => return wrong("hosts", "no node has `role: Master`; the cluster begins with one"),
        _ => return wrong("hosts", "several nodes have `role: Master`; the others are `role: Aggregator`"),
    }
    if high_availability {
        for group in [1, 2] {
            if !nodes.iter().any(|node| node.role == PlannedRole::Leaf { group }) {
                return wrong(
                    "high_availability",
                    format!(
                        "it is on, but no leaf is in availability group {group}; it needs leaves in both"
                    ),
                );
            }
        }
        match variables.iter().find(|(name, _)| name == "redundancy_level") {
            Some((_, copies)) if copies != "2" => {
                return wrong(
                    "sync_variables.redundancy_level",
                    format!(
                        "it is {copies}, and high availability is 2 copies; say 2, or `high_availability: false`"
                    ),
                );
            }
            Some(_) => {}
            None => variables.push(("redundancy_level".into(), "2".into())),
        }
    }
    let root_password = file.root_password.unwrap_or_default();
    Ok(ClusterPlan { root_password, high_availability, variables, nodes, notes })
}

fn role(
    at: &str,
    node: &Node,
    high_availability: bool,
    consensus: bool,
    ungrouped: &mut u32,
) -> Result<PlannedRole, Wrong> {
    let voting_member = match node.aggregator_role.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("voting_member") => Some(true),
        Some("follower") => Some(false),
        Some(other) => {
            return wrong(
                format!("{at}.aggregator_role"),
                format!("'{other}' is neither voting_member nor follower"),
            );
        }
    };
    match (node.role.to_ascii_lowercase().as_str(), voting_member) {
        ("leaf", Some(_)) => wrong(format!("{at}.aggregator_role"), "a leaf has none"),
        ("master" | "aggregator", _) if node.availability_group.is_some() => {
            wrong(format!("{at}.availability_group"), "an aggregator has none")
        }
        ("master", _) => Ok(PlannedRole::Master),
        ("aggregator", Some(true)) if !consensus => wrong(
            format!("{at}.aggregator_role"),
            "a voting member needs `consensus_enabled: ON` under `sync_variables`",
        ),
        ("aggregator", _) => Ok(PlannedRole::Aggregator { voting_member: voting_member == Some(true) }),
        ("leaf", None) => match node.availability_group {
            Some(group @ (1 | 2)) => Ok(PlannedRole::Leaf { group }),
            Some(other) => wrong(format!("{at}.availability_group"), format!("{other} is neither 1 nor 2")),
            None => {
                *ungrouped += 1;
                let group = if high_availability { (*ungrouped - 1) % 2 + 1 } else { 1 };
                Ok(PlannedRole::Leaf { group })
            }
        },
        (other, _) => wrong(format!("{at}.role"), format!("'{other}' is none of Master, Aggregator, Leaf")),
    }
}

/// The variables by their own names and in their canonical values, with `consensus_enabled` first, since others depend
/// on it. What the cluster would refuse is refused here, where nothing has been started yet.
fn sync_variables(given: &BTreeMap<String, Value>) -> Result<Vec<(String, String)>, Wrong> {
    let mut named: Vec<(String, String)> = Vec::new();
    for (name, value) in given {
        let at = format!("sync_variables.{name}");
        let Some(variable) = variables::find(name) else {
            let known: Vec<&str> = variables::ALL.iter().map(|variable| variable.name).collect();
            return wrong(at, format!("there is no such variable; there are: {}", known.join(", ")));
        };
        let text = match value {
            Value::Bool(true) => "ON".to_owned(),
            Value::Bool(false) => "OFF".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return wrong(at, "a variable's value is a word, a number, or a text"),
        };
        let canonical = match variable.parse(&text) {
            Ok(canonical) => canonical,
            Err(takes) => return wrong(at, format!("'{text}' cannot be: {takes}")),
        };
        if named.iter().any(|(other, _)| other == variable.name) {
            return wrong(at, "it is there twice");
        }
        named.push((variable.name.to_owned(), canonical));
    }
    named.sort_by_key(|(name, _)| name != "consensus_enabled");
    Ok(named)
}

/// A name is part of file names.
fn check_name(at: &str, name: &str) -> Result<(), Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(plain) {
        return wrong(at, format!("'{name}' is no name: 1 to 64 letters, digits, '-', '_' and '.'"));
    }
    Ok(())
}

/// The ports that are given away. Those of the file are fixed per host; those made here differ everywhere.
struct Ports {
    fixed: BTreeSet<(String, u16)>,
    everywhere: BTreeSet<u16>,
}

impl Ports {
    fn taken_by(hosts: &[Host]) -> Result<Self, Wrong> {
        let mut ports = Self { fixed: BTreeSet::new(), everywhere: BTreeSet::new() };
        for (host_at, host) in hosts.iter().enumerate() {
            for (node_at, Node { config, .. }) in host.nodes.iter().enumerate() {
                let given =
                    [("port", config.port), ("rpc_port", config.rpc_port), ("http_port", config.http_port)];
                for (key, port) in given.into_iter().filter_map(|(key, port)| Some((key, port?))) {
                    let at = format!("hosts[{host_at}].nodes[{node_at}].config.{key}");
                    if port == 0 {
                        return wrong(at, "0 is no port");
                    }
                    if !ports.fixed.insert((host.name().to_owned(), port)) {
                        return wrong(at, format!("{}:{port} is given twice", host.name()));
                    }
                    ports.everywhere.insert(port);
                }
            }
        }
        Ok(ports)
    }

    /// The port of the file, or the first free one from `wish` on; below the range of wishes if that is full.
    fn give(&mut self, fixed: Option<u16>, wish: Option<u16>) -> u16 {
        if let Some(port) = fixed {
            return port;
        }
        let wish = wish.unwrap_or(PORT_FIRST + RPC_PORT_OFFSET);
        let port = (wish..=u16::MAX).chain((1024..wish).rev()).find(|port| !self.everywhere.contains(port));
        // A cluster of 64,000 nodes would need more machines than one.
        let port = port.unwrap_or(wish);
        self.everywhere.insert(port);
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<ClusterPlan, String> {
        ClusterPlan::parse(text, Path::new("c.yaml")).map_err(|error| error.to_string())
    }

    const SMALL: &str = "
license: abc
root_password: secret
high_availability: true
sync_variables: {redundancy_level: 2, heartbeat_interval_ms: 100, consensus_enabled: ON}
hosts:
- hostname: 127.0.0.1
  localhost: true
  ssh: {host: h, private_key: k}
  nodes:
  - {register: false, role: Master, config: {port: 5000, auditlogsdir: /x}}
  - {role: aggregator, aggregator_role: VOTING_MEMBER}
  - {role: Aggregator}
  - {role: Leaf, name: left}
  - {role: Leaf}
- hostname: 127.0.0.2
  nodes:
  - {role: leaf, availability_group: 2, config: {port: 5000, datadir: d}}
";

    #[test]
    fn a_file_becomes_a_plan() {
        let plan = parsed(SMALL).unwrap();
        assert_eq!(plan.root_password, "secret");
        let names: Vec<&str> = plan.variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["consensus_enabled", "heartbeat_interval_ms", "redundancy_level"]);
        let nodes: Vec<(&str, PlannedRole, u16)> =
            plan.nodes.iter().map(|node| (node.name.as_str(), node.role, node.port)).collect();
        assert_eq!(
            nodes,
            [
                ("master-1", PlannedRole::Master, 5000),
                ("aggregator-1", PlannedRole::Aggregator { voting_member: true }, 3306),
                ("aggregator-2", PlannedRole::Aggregator { voting_member: false }, 3307),
                ("left", PlannedRole::Leaf { group: 1 }, 3308),
                ("leaf-2", PlannedRole::Leaf { group: 2 }, 3309),
                ("leaf-3", PlannedRole::Leaf { group: 2 }, 5000),
            ]
        );
        assert_eq!((plan.nodes[1].rpc_port, plan.nodes[1].http_port), (13306, 23306));
        assert_eq!(plan.notes.len(), 4, "{:?}", plan.notes);
        let ports: Vec<(&str, u16)> = plan
            .nodes
            .iter()
            .flat_map(|node| {
                [node.port, node.rpc_port, node.http_port].map(|port| (node.host.as_str(), port))
            })
            .collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len(), "{ports:?}");
    }

    #[test]
    fn default_ports_never_collide_even_at_the_end_of_the_range() {
        let text = "
hosts:
- hostname: h
  nodes:
  - {role: Master, config: {port: 65530}}
  - {role: Leaf, config: {port: 13306}}
  - {role: Aggregator, config: {port: 60000}}
";
        let nodes = parsed(text).unwrap().nodes;
        let ports: BTreeSet<u16> = nodes.iter().flat_map(|n| [n.port, n.rpc_port, n.http_port]).collect();
        assert_eq!(ports.len(), 9, "{ports:?}");
    }

    #[test]
    fn without_a_word_high_availability_is_on_if_it_can_be() {
        let file = |leaves: usize| {
            let leaf = "  - {role: Leaf}\n".repeat(leaves);
            parsed(&format!("hosts:\n- hostname: h\n  nodes:\n  - {{role: Master}}\n{leaf}")).unwrap()
        };
        assert!(!file(1).high_availability);
        assert!(file(2).high_availability);
        assert_eq!(file(2).variables, [("redundancy_level".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_host_without_a_name_is_this_machine() {
        let file = |host: &str| parsed(&format!("hosts:\n- {{{host}nodes: [{{role: Master}}]}}"));
        for host in ["", "localhost: true, "] {
            assert_eq!(file(host).unwrap().nodes[0].host, "127.0.0.1", "{host}");
        }
        let error = file("localhost: false, ").unwrap_err();
        assert!(error.contains("hosts[0].hostname: it is missing"), "{error}");
        let error = file("hostname: '', ").unwrap_err();
        assert!(error.contains("hosts[0].hostname: it is empty"), "{error}");
        // Ports of hosts that are the same machine collide, whether it has a name or not.
        let error = parsed(
            "hosts:\n- nodes: [{role: Master, config: {port: 7}}]\n\
             - {hostname: 127.0.0.1, nodes: [{role: Leaf, config: {port: 7}}]}",
        );
        assert!(error.unwrap_err().contains("127.0.0.1:7 is given twice"));
    }

    #[test]
    fn a_password_is_the_text_that_stands_there() {
        let password = |scalar: &str| {
            parsed(&format!("root_password: {scalar}\nhosts: [{{nodes: [{{role: Master}}]}}]"))
                .unwrap()
                .root_password
        };
        for (scalar, text) in [
            ("12345", "12345"),
            ("007", "007"),
            ("1.50", "1.50"),
            ("0x10", "0x10"),
            ("true", "true"),
            ("'12'", "12"),
            ("\"\"", ""),
            ("", ""),
        ] {
            assert_eq!(password(scalar), text, "{scalar}");
        }
    }

    #[test]
    fn without_high_availability_group_2_is_group_1_and_that_is_said() {
        let plan = parsed(
            "high_availability: false\nhosts:\n- nodes:\n  - {role: Master}\n\
             \x20 - {role: Leaf, availability_group: 1}\n  - {role: Leaf, availability_group: 2}\n",
        )
        .unwrap();
        let groups: Vec<PlannedRole> = plan.nodes[1..].iter().map(|node| node.role).collect();
        assert_eq!(groups, [PlannedRole::Leaf { group: 1 }; 2]);
        assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
        assert!(
            plan.notes[0].starts_with("hosts[0].nodes[2].availability_group has no effect"),
            "{:?}",
            plan.notes
        );
        assert!(plan.variables.is_empty(), "{:?}", plan.variables);
    }

    #[test]
    fn variables_are_those_of_the_cluster_with_values_that_they_take() {
        let file = |variables: &str| {
            parsed(&format!("sync_variables: {{{variables}}}\nhosts: [{{nodes: [{{role: Master}}]}}]"))
        };
        let plan = file("Consensus-Enabled: true, auto_attach: 0, heartbeat_interval_ms: '0200'").unwrap();
        let set: Vec<(&str, &str)> =
            plan.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            set,
            [("consensus_enabled", "ON"), ("auto_attach", "OFF"), ("heartbeat_interval_ms", "200")]
        );
        for (variables, expected) in [
            ("maximum_memory: 100", "sync_variables.maximum_memory: there is no such variable; there are: "),
            ("'x; DROP': 1", "there is no such variable"),
            ("heartbeat_interval_ms: 5", "'5' cannot be: it is a number from 10 to 10000"),
            ("heartbeat_interval_ms: 1.5", "'1.5' cannot be: it is a number"),
            ("auto_attach: maybe", "'maybe' cannot be: it is ON or OFF"),
            ("leaf_failover_fanout: round_robin", "it is one of paired"),
            ("auto_attach: [ON]", "a variable's value is a word, a number, or a text"),
            ("auto_attach: ON, AUTO-ATTACH: OFF", "it is there twice"),
        ] {
            let error = file(variables).unwrap_err();
            assert!(error.contains(expected), "{variables}\n{error}");
        }
        let leaves = "  - {role: Leaf}\n  - {role: Leaf}\n";
        let error = parsed(&format!(
            "sync_variables: {{redundancy_level: 1}}\nhosts:\n- nodes:\n  - {{role: Master}}\n{leaves}"
        ));
        let error = error.unwrap_err();
        assert!(
            error.contains("sync_variables.redundancy_level: it is 1, and high availability is 2"),
            "{error}"
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let at = |nodes: &str| parsed(&format!("hosts:\n- hostname: h\n  nodes:\n{nodes}")).unwrap_err();
        for (nodes, expected) in [
            ("  - {role: Leaf}", "c.yaml: hosts: no node has `role: Master`"),
            ("  - {role: Master}\n  - {role: Master}", "c.yaml: hosts: several nodes"),
            ("  - {role: Mast}", "c.yaml: hosts[0].nodes[0].role: 'mast'"),
            (
                "  - {role: Master}\n  - {role: Aggregator, aggregator_role: voter}",
                "nodes[1].aggregator_role: 'voter'",
            ),
            (
                "  - {role: Master}\n  - {role: Aggregator, aggregator_role: voting_member}",
                "consensus_enabled: ON",
            ),
            (
                "  - {role: Master}\n  - {role: Leaf, aggregator_role: follower}",
                "nodes[1].aggregator_role: a leaf",
            ),
            ("  - {role: Master}\n  - {role: Leaf, availability_group: 3}", "3 is neither 1 nor 2"),
            ("  - {role: Master, name: x}\n  - {role: Leaf, name: x}", "nodes[1].name: there are two"),
            ("  - {role: Master, name: ../x}", "nodes[0].name: '../x' is no name"),
            (
                "  - {role: Master, config: {port: 1}}\n  - {role: Leaf, config: {rpc_port: 1}}",
                "h:1 is given twice",
            ),
            ("  - {role: Master, config: {port: 0}}", "nodes[0].config.port: 0 is no port"),
            ("  - {role: Master, config: {port: 70000}}", "hosts[0].nodes[0].config.port: "),
            ("  - {role: Master, rol: Leaf}", "hosts[0].nodes[0]: unknown field `rol`"),
        ] {
            let error = at(nodes);
            assert!(error.contains(expected), "{nodes}\n{error}");
        }
        let error = parsed(
            "high_availability: true\nhosts:\n- hostname: h\n  nodes: [{role: Master}, {role: Leaf}]\n",
        );
        assert!(
            error
                .unwrap_err()
                .contains("high_availability: it is on, but no leaf is in availability group 2")
        );
        assert!(parsed("hosts: [").is_err());
    }
}
