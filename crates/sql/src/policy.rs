//! What an operator asks for about policies and maintenance.

use std::collections::BTreeMap;
use std::fmt;

use crate::statement::Address;

/// What a binding is for, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyScope {
    /// Everything that has no binding of its own.
    Cluster,
    /// `FOR DATABASE db`.
    Database(String),
    /// `FOR GROUP n`: 1 or 2.
    Group(u32),
}

impl fmt::Display for PolicyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Database(name) => write!(f, "database {name}"),
            Self::Group(group) => write!(f, "group {group}"),
        }
    }
}

/// A module, its settings, and what it is bound for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPolicy {
    /// The decision point in lower case; None is ALL.
    pub decision_point: Option<String>,
    /// The name of the policy.
    pub policy: String,
    /// `VERSION 'prefix'`: how the hash begins, in lower case; the current version without.
    pub version: Option<String>,
    /// The settings.
    pub settings: BTreeMap<String, String>,
    /// For what.
    pub scope: PolicyScope,
}

/// A statement about policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyStatement {
    /// `CREATE [OR REPLACE] POLICY name FROM {x'…' | BASE64 '…'} [SIGNED BY 'key' SIGNATURE 'signature']`.
    Create {
        /// The name.
        name: String,
        /// OR REPLACE.
        replace: bool,
        /// The component.
        bytes: Vec<u8>,
        /// The public key and the signature, both in hexadecimal digits as they were written.
        signature: Option<(String, String)>,
    },
    /// `DROP POLICY [IF EXISTS] name`.
    Drop {
        /// The name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `SET POLICY {point | ALL} = name [VERSION 'prefix'] [WITH (…)] [FOR …] [REPORT 'json']`.
    Set {
        /// What is to decide.
        wanted: WantedPolicy,
        /// What `baton sim --json` printed of it.
        report: Option<String>,
    },
    /// `SET POLICY {point | ALL} = DEFAULT FOR …`.
    SetDefault {
        /// The decision point in lower case; None is ALL.
        decision_point: Option<String>,
        /// A database or a group.
        scope: PolicyScope,
    },
    /// `SET SHADOW POLICY {point | ALL} = name …`.
    SetShadow(WantedPolicy),
    /// `SET SHADOW POLICY {point | ALL} = NONE [FOR …]`.
    SetNoShadow {
        /// The decision point in lower case; None is ALL.
        decision_point: Option<String>,
        /// For what.
        scope: PolicyScope,
    },
    /// `ROLLBACK POLICY {point | ALL} [FOR …]`.
    Rollback {
        /// The decision point in lower case; None is ALL.
        decision_point: Option<String>,
        /// For what.
        scope: PolicyScope,
    },
    /// `RELEASE POLICY name`.
    Release {
        /// The name.
        name: String,
    },
    /// `SET MAINTENANCE 'host':port {FOR n SECONDS | OFF}`.
    Maintenance {
        /// The node.
        node: Address,
        /// For how long from now on; None is OFF.
        seconds: Option<u64>,
    },
}
