//! The global variables: their names, defaults, what values they take, and what they mean.
//!
//! Names and defaults are the reference system's where it has them. Values are text; ON ≡ 1, OFF ≡ 0.

use baton_model::limits;

/// What a variable takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// ON or OFF.
    Switch,
    /// A whole number between the two, both inclusive.
    Number(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Public keys of 64 hexadecimal digits with commas between them; may be empty.
    Keys,
}

/// A global variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Its value where none was set.
    pub default: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it means.
    pub doc: &'static str,
}

const fn variable(name: &'static str, default: &'static str, kind: Kind, doc: &'static str) -> Variable {
    Variable { name, default, kind, doc }
}

/// All of them, by name.
pub const ALL: &[Variable] = &[
    variable(
        "aggregator_failure_detection",
        "ON",
        Kind::Switch,
        "Whether the master aggregator marks aggregators offline.",
    ),
    variable(
        "auto_attach",
        "ON",
        Kind::Switch,
        "Whether a leaf that can be reached again is used again by itself.",
    ),
    variable(
        "consensus_election_timeout",
        "30000",
        Kind::Number(100, 3_600_000),
        "Milliseconds for which a voting member under `classic` waits for a silent master aggregator.",
    ),
    variable(
        "consensus_enabled",
        "OFF",
        Kind::Switch,
        "Whether aggregators may be voting members, so that a lost master aggregator is replaced by election. OFF leaves the master aggregator as the only one with a vote: its log is the only one that counts, and a cluster that loses it for good cannot be mended.",
    ),
    variable(
        "default_partitions_per_leaf",
        "2",
        Kind::Number(1, 64),
        "Partitions per leaf of a database created without PARTITIONS n.",
    ),
    variable(
        "enable_query_forwarding",
        "ON",
        Kind::Switch,
        "Whether a child aggregator forwards what belongs to the master aggregator.",
    ),
    variable(
        "failover_buffer_ms",
        "60000",
        Kind::Number(0, 600_000),
        "Milliseconds for which an aggregator holds a statement during a failover or an election before it fails.",
    ),
    variable(
        "failover_initial_grace_interval_seconds",
        "1",
        Kind::Number(0, 3_600),
        "Seconds for which a leaf that failed twice within an hour must answer before it is used again; each further failure doubles them.",
    ),
    variable(
        "failover_maximum_grace_interval_seconds",
        "30",
        Kind::Number(0, 3_600),
        "Seconds that the grace interval of a leaf that fails again and again does not exceed.",
    ),
    variable(
        "heartbeat_interval_ms",
        "150",
        Kind::Number(10, 10_000),
        "Milliseconds between two heartbeats to a node.",
    ),
    variable(
        "leaf_failure_detection",
        "ON",
        Kind::Switch,
        "Whether the master aggregator fails leaves over.",
    ),
    variable(
        "leaf_failover_fanout",
        "paired",
        Kind::Choice(&["paired", "load_balanced"]),
        "Where replicas go. `paired`: those of a leaf's partitions are all on its pair; `load_balanced`: spread over the leaves of the other availability group.",
    ),
    variable(
        "leaf_read_lease",
        "ON",
        Kind::Switch,
        "Whether a primary shows what it reads only while the master aggregator has confirmed that it still is one.",
    ),
    variable(
        "lock_wait_timeout_ms",
        "10000",
        Kind::Number(1, 600_000),
        "Milliseconds for which a write waits for a row lock before error 1205.",
    ),
    variable(
        "log_bytes_kept",
        "1073741824",
        Kind::Number(1 << 20, 1 << 50),
        "Bytes of a partition's log that are kept for replicas that catch up, about; four times as many while one does.",
    ),
    variable(
        "log_records_kept",
        "200000",
        Kind::Number(1_000, 1 << 40),
        "Records of a partition's log that are kept for replicas that catch up; four times as many while one does.",
    ),
    variable(
        "policy_gate",
        "OFF",
        Kind::Switch,
        "Whether a policy decides only with a report of the lab that it passed; those that come with the binary need none.",
    ),
    variable(
        "policy_trusted_keys",
        "",
        Kind::Keys,
        "Public keys, with commas between them, by one of which a policy must be signed; empty asks for no signature.",
    ),
    variable(
        "provisioning_bytes_per_second",
        "0",
        Kind::Number(0, 1 << 40),
        "Bytes a second of copies of partitions that a leaf reads, and that it sends, to new replicas; 0 is no limit.",
    ),
    variable(
        "redundancy_level",
        "1",
        Kind::Number(1, 2),
        "Copies of each partition: the number of availability groups that databases are placed on.",
    ),
    variable(
        "sync_replica_timeout_ms",
        "5000",
        Kind::Number(100, 600_000),
        "Milliseconds without an acknowledgement after which `classic` has a primary go on without its replica; no policy waits for more than three times that.",
    ),
    variable(
        "transaction_idle_timeout_ms",
        "300000",
        Kind::Number(1_000, 86_400_000),
        "Milliseconds after which an open transaction that does nothing is rolled back.",
    ),
];

/// The limits and the table must say the same; the table is text so that it prints itself.
const _: () = assert!(
    limits::HEARTBEAT_INTERVAL_MS == 150
        && limits::CONSENSUS_ELECTION_TIMEOUT_MS == 30_000
        && limits::SYNC_REPLICA_TIMEOUT_MS == 5_000
        && limits::FAILOVER_BUFFER_MS == 60_000
        && limits::LOCK_WAIT_TIMEOUT_MS == 10_000
        && limits::TRANSACTION_IDLE_TIMEOUT_MS == 300_000
        && limits::PARTITIONS_PER_LEAF == 2
        && limits::LOG_RECORDS_KEPT == 200_000
        && limits::LOG_BYTES_KEPT == 1_073_741_824
);

/// The variable of this name, without case; dashes count as underscores.
#[must_use]
pub fn find(name: &str) -> Option<&'static Variable> {
    let name = name.replace('-', "_");
    ALL.iter().find(|variable| variable.name.eq_ignore_ascii_case(&name))
}

impl Variable {
    /// The value in its canonical form.
    ///
    /// # Errors
    /// What it takes instead.
    pub fn parse(&self, value: &str) -> Result<String, String> {
        match self.kind {
            Kind::Switch => match value.to_ascii_uppercase().as_str() {
                "ON" | "1" | "TRUE" => Ok("ON".into()),
                "OFF" | "0" | "FALSE" => Ok("OFF".into()),
                _ => Err("it is ON or OFF".into()),
            },
            Kind::Number(least, most) => match value.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
                _ => Err(format!("it is a number from {least} to {most}")),
            },
            Kind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
                Some(word) => Ok((*word).into()),
                None => Err(format!("it is one of {}", words.join(", "))),
            },
            Kind::Keys => keys(value),
        }
    }
}

/// The canonical form of a list of keys: lower case, each once, in order.
fn keys(value: &str) -> Result<String, String> {
    let mut keys: Vec<String> =
        value.split(',').map(|key| key.trim().to_ascii_lowercase()).filter(|key| !key.is_empty()).collect();
    if let Some(bad) = keys.iter().find(|key| key.len() != 64 || !key.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(format!(
            "'{bad}' is no public key of 64 hexadecimal digits, as `baton policy keygen` prints it"
        ));
    }
    keys.sort_unstable();
    keys.dedup();
    if keys.len() > limits::POLICY_KEYS_MAX {
        return Err(format!("it has at most {} keys", limits::POLICY_KEYS_MAX));
    }
    Ok(keys.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_in_one_way() {
        let variable = find("policy_trusted_keys").expect("it is there");
        let (one, other) = ("0a".repeat(32), "ff".repeat(32));
        let written = format!(" {}, {one},{one}, ", other.to_uppercase());
        assert_eq!(variable.parse(&written), Ok(format!("{one},{other}")));
        assert_eq!(variable.parse(" "), Ok(String::new()));
        assert!(variable.parse(&one[1..]).is_err());
        assert!(variable.parse(&"zz".repeat(32)).is_err());
    }

    #[test]
    fn every_default_is_a_value_of_its_variable() {
        for variable in ALL {
            assert_eq!(
                variable.parse(variable.default).as_deref(),
                Ok(variable.default),
                "{}",
                variable.name
            );
        }
    }
}
