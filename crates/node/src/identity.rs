//! Who this data directory belongs to: one small file, written atomically, and a lock on the directory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use baton_model::{ClusterId, NodeId, NodeRole, StoreId};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The role that the directory was made for.
    pub role: NodeRole,
    /// This life of the directory.
    pub store: StoreId,
    /// The cluster it belongs to; None before it joined one.
    pub cluster: Option<ClusterId>,
    /// The node's id in it; 0 before.
    pub node: NodeId,
    /// Where the catalog can be watched until the mirrored one says better.
    pub aggregators: Vec<String>,
    /// Of an aggregator: whether its control group's log was made, so that it must be there ever after.
    #[serde(default)]
    pub has_control: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read or written.
    #[error("cannot use the data directory {path}: {error}")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has it.
    #[error("the data directory {0} is in use by another node; stop that node first")]
    InUse(PathBuf),
    /// It was made for the other role.
    #[error(
        "the data directory {path} belongs to a {found:?}, but this node is started as {wanted:?}; give the right --role or another --data-dir"
    )]
    WrongRole {
        /// The directory.
        path: PathBuf,
        /// The role it was made for.
        found: NodeRole,
        /// The role that was asked for.
        wanted: NodeRole,
    },
    /// The file is not one of ours.
    #[error("{path} is no identity of a Baton node ({error}); restore it, or use another --data-dir")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The directory holds something that is no node's.
    #[error("the data directory {0} is not empty and holds no Baton node; use an empty one")]
    Foreign(PathBuf),
    /// The directory belongs to another cluster.
    #[error(
        "this data directory belongs to cluster {found}, not to {wanted}; wipe it, or use another --data-dir"
    )]
    OtherCluster {
        /// The cluster it belongs to.
        found: ClusterId,
        /// The cluster that wants it.
        wanted: ClusterId,
    },
}

/// A data directory that is ours as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

const FILE: &str = "identity.json";
const LOCK: &str = "lock";

impl DataDir {
    /// Takes a directory, and reads or makes its identity.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(path: &Path, role: NodeRole, fresh: StoreId) -> Result<(Self, Identity), IdentityError> {
        let io = |error| IdentityError::Io { path: path.into(), error };
        fs::create_dir_all(path).map_err(io)?;
        let known = path.join(FILE).exists();
        let others = fs::read_dir(path)
            .map_err(io)?
            .filter_map(Result::ok)
            .any(|entry| entry.file_name() != LOCK && entry.file_name() != "identity.json.new");
        if !known && others {
            return Err(IdentityError::Foreign(path.into()));
        }
        let file = File::create(path.join(LOCK)).map_err(io)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| IdentityError::InUse(path.into()))?;
        let dir = Self { path: path.into(), _lock: lock };
        if known {
            let identity = dir.read()?;
            if identity.role != role {
                return Err(IdentityError::WrongRole {
                    path: path.into(),
                    found: identity.role,
                    wanted: role,
                });
            }
            return Ok((dir, identity));
        }
        let identity = Identity {
            role,
            store: fresh,
            cluster: None,
            node: NodeId(0),
            aggregators: Vec::new(),
            has_control: false,
        };
        dir.write(&identity)?;
        Ok((dir, identity))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> Result<Identity, IdentityError> {
        let path = self.path.join(FILE);
        let text =
            fs::read_to_string(&path).map_err(|error| IdentityError::Io { path: path.clone(), error })?;
        serde_json::from_str(&text)
            .map_err(|error| IdentityError::Unreadable { path, error: error.to_string() })
    }

    /// Writes the identity, durably: the old or the new one survives a crash, never a half.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn write(&self, identity: &Identity) -> Result<(), IdentityError> {
        let path = self.path.join(FILE);
        let io = |error| IdentityError::Io { path: path.clone(), error };
        let text = serde_json::to_string_pretty(identity).expect("an identity is JSON");
        let new = self.path.join("identity.json.new");
        let mut file = File::create(&new).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&new, &path).map_err(io)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity_and_refuses_another_role_or_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let (first, made) = DataDir::open(&path, NodeRole::Leaf, StoreId(7)).unwrap();
        assert!(matches!(DataDir::open(&path, NodeRole::Leaf, StoreId(8)), Err(IdentityError::InUse(_))));
        drop(first);
        let (again, found) = DataDir::open(&path, NodeRole::Leaf, StoreId(9)).unwrap();
        assert_eq!(found, made);
        drop(again);
        let refused = DataDir::open(&path, NodeRole::Aggregator, StoreId(9));
        assert!(matches!(refused, Err(IdentityError::WrongRole { .. })));
    }

    #[test]
    fn a_directory_with_other_peoples_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        let refused = DataDir::open(dir.path(), NodeRole::Leaf, StoreId(1));
        assert!(matches!(refused, Err(IdentityError::Foreign(_))));
    }
}
