//! How a node is told what it is: a TOML file, or flags, or both; a flag wins.

use std::path::PathBuf;

use baton_model::NodeRole;
use serde::Deserialize;

/// `role` in the file and on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRoleName {
    /// Routes SQL.
    Aggregator,
    /// Holds partitions.
    Leaf,
}

impl std::str::FromStr for NodeRoleName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "aggregator" | "master" => Ok(Self::Aggregator),
            "leaf" => Ok(Self::Leaf),
            _ => Err(format!("role is aggregator or leaf, not '{text}'")),
        }
    }
}

impl From<NodeRoleName> for NodeRole {
    fn from(name: NodeRoleName) -> Self {
        match name {
            NodeRoleName::Aggregator => Self::Aggregator,
            NodeRoleName::Leaf => Self::Leaf,
        }
    }
}

/// The file, every key optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// `aggregator` or `leaf`.
    pub role: Option<NodeRoleName>,
    /// The address to listen on, and the one that others are told.
    pub host: Option<String>,
    /// The SQL port.
    pub port: Option<u16>,
    /// The RPC port.
    pub rpc_port: Option<u16>,
    /// The HTTP port.
    pub http_port: Option<u16>,
    /// Where everything is kept.
    pub data_dir: Option<PathBuf>,
}

/// What a node must know to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What it is for.
    pub role: NodeRole,
    /// The address to listen on, and the one that others are told.
    pub host: String,
    /// The SQL port.
    pub sql_port: u16,
    /// The RPC port.
    pub rpc_port: u16,
    /// The HTTP port.
    pub http_port: u16,
    /// Where everything is kept.
    pub data_dir: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {error}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// Something is said nowhere.
    #[error("{0} is missing: give --{flag} or `{0} = …` in the file", flag = .0.replace('_', "-"))]
    Missing(&'static str),
}

impl NodeConfig {
    /// The flags, completed by the file, completed by defaults (port 3306, RPC port + 1000, HTTP port + 2000).
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn complete(flags: ConfigFile, file: Option<&PathBuf>) -> Result<Self, ConfigError> {
        let from_file = match file {
            None => ConfigFile::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| ConfigError::Read { path: path.clone(), error })?;
                toml::from_str(&text)
                    .map_err(|error| ConfigError::Parse { path: path.clone(), error: Box::new(error) })?
            }
        };
        let sql_port = flags.port.or(from_file.port).unwrap_or(3306);
        Ok(Self {
            role: flags.role.or(from_file.role).ok_or(ConfigError::Missing("role"))?.into(),
            host: flags.host.or(from_file.host).unwrap_or_else(|| "127.0.0.1".into()),
            sql_port,
            rpc_port: flags.rpc_port.or(from_file.rpc_port).unwrap_or(sql_port.saturating_add(1000)),
            http_port: flags.http_port.or(from_file.http_port).unwrap_or(sql_port.saturating_add(2000)),
            data_dir: flags.data_dir.or(from_file.data_dir).ok_or(ConfigError::Missing("data_dir"))?,
        })
    }
}
