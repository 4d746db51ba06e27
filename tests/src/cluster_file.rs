//! The cluster file that the toolbox is given: made from a few numbers, or taken from a file and moved to free ports.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_yaml_ng::{Mapping, Value};

use crate::ports;

/// The password of `root` in clusters made here.
pub const ROOT_PASSWORD: &str = "s3cret of the test";

/// A cluster on 127.0.0.1.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Aggregators, the first of them the master aggregator, all voting members if there are several.
    pub aggregators: usize,
    /// Aggregators without a vote, behind those in order.
    pub followers: usize,
    /// Leaves, by turns in group 1 and 2.
    pub leaves: usize,
    /// Availability groups, 1 or 2.
    pub groups: usize,
    /// The policy of all decision points; `classic` if none is named.
    pub policy: Option<String>,
    /// `SET GLOBAL` of these once the cluster stands.
    pub variables: Vec<(String, String)>,
    /// The address of each node, aggregators first; all on 127.0.0.1 if there are none.
    pub hosts: Vec<String>,
}

impl ClusterSpec {
    /// So many aggregators and leaves, in two groups, under `classic`.
    #[must_use]
    pub fn new(aggregators: usize, leaves: usize) -> Self {
        let (variables, hosts) = (Vec::new(), Vec::new());
        Self { aggregators, followers: 0, leaves, groups: 2, policy: None, variables, hosts }
    }

    /// The same with so many more aggregators that have no vote.
    #[must_use]
    pub fn followers(mut self, count: usize) -> Self {
        self.followers = count;
        self
    }

    /// The same under another policy.
    #[must_use]
    pub fn policy(mut self, name: &str) -> Self {
        self.policy = Some(name.to_owned());
        self
    }

    /// The same with this global variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same in one group, without replicas.
    #[must_use]
    pub fn without_replicas(mut self) -> Self {
        self.groups = 1;
        self
    }

    /// The same with each node on a host of its own.
    #[must_use]
    pub fn on_hosts(mut self, addresses: Vec<String>) -> Self {
        self.hosts = addresses;
        self
    }

    /// Its cluster file, without ports. Nodes are called `a1 …` and `l1 …`.
    #[must_use]
    pub fn to_file(&self) -> ClusterFile {
        let aggregators = (1..=self.aggregators + self.followers).map(|n| {
            let mut node = mapping([("name", format!("a{n}").into())]);
            if n == 1 {
                node.insert("role".into(), "Master".into());
            } else {
                node.insert("role".into(), "Aggregator".into());
                let role = if n <= self.aggregators { "voting_member" } else { "follower" };
                node.insert("aggregator_role".into(), role.into());
            }
            Value::from(node)
        });
        let leaves = (1..=self.leaves).map(|n| {
            let group = (n - 1) % self.groups + 1;
            Value::from(mapping([
                ("name", format!("l{n}").into()),
                ("role", "Leaf".into()),
                ("availability_group", (group as u64).into()),
            ]))
        });
        let nodes = aggregators.chain(leaves);
        let host = |address: &str, nodes: Vec<Value>| {
            let nodes = Value::Sequence(nodes);
            mapping([("hostname", address.into()), ("localhost", true.into()), ("nodes", nodes)]).into()
        };
        let hosts: Vec<Value> = if self.hosts.is_empty() {
            vec![host("127.0.0.1", nodes.collect())]
        } else {
            nodes.zip(&self.hosts).map(|(node, address)| host(address, vec![node])).collect()
        };
        ClusterFile(Value::from(mapping([
            ("root_password", ROOT_PASSWORD.into()),
            ("high_availability", (self.groups > 1).into()),
            ("sync_variables", Value::from(mapping([("consensus_enabled", "ON".into())]))),
            ("hosts", Value::Sequence(hosts)),
        ])))
    }
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Mapping {
    entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect()
}

/// A cluster file as YAML.
#[derive(Clone, Debug)]
pub struct ClusterFile(Value);

impl ClusterFile {
    /// Reads one.
    ///
    /// # Errors
    /// When it cannot be read or is no YAML.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self(serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))?))
    }

    /// The same cluster on free ports, with data folders where the toolbox puts them.
    ///
    /// # Errors
    /// When there are no free ports, or it is no cluster file.
    pub fn on_free_ports(mut self) -> Result<Self> {
        let hosts =
            self.0.get_mut("hosts").and_then(Value::as_sequence_mut).context("there are no `hosts`")?;
        for host in hosts {
            let nodes =
                host.get_mut("nodes").and_then(Value::as_sequence_mut).context("a host has no `nodes`")?;
            for node in nodes {
                let ports = ports::free(3)?;
                let config: Mapping = ["port", "rpc_port", "http_port"]
                    .into_iter()
                    .zip(ports)
                    .map(|(key, port)| (Value::from(key), Value::from(port)))
                    .collect();
                let node = node.as_mapping_mut().context("a node is no mapping")?;
                node.insert("config".into(), config.into());
            }
        }
        Ok(self)
    }

    /// The password of `root`.
    #[must_use]
    pub fn root_password(&self) -> String {
        match self.0.get("root_password") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_yaml_ng::to_string(&self.0)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
