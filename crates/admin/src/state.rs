//! What the toolbox remembers between two commands: `cluster.json` in the state folder.
//!
//! It is replaced atomically under a lock, so that commands that run at the same time lose nothing of each other,
//! and readable by its owner alone, since root's password is in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cluster_file::PlannedRole;
use crate::error::AdminError;

/// How long a command waits for another one to finish its short work on the file.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(20);

const RECORD: &str = "cluster.json";
const LOCK: &str = "lock";

/// The cluster as the toolbox made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterState {
    /// Root's password as of now; empty until setup has set it.
    pub root_password: String,
    /// Every node, in the order of the cluster file.
    pub nodes: Vec<NodeRecord>,
}

/// One node as the toolbox made it. What changes without the toolbox (who is master) is not in here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRecord {
    /// Its name, unique in the cluster.
    pub name: String,
    /// What it was set up as.
    pub role: PlannedRole,
    /// The address of all its listeners.
    pub host: String,
    /// The SQL port.
    pub port: u16,
    /// The port for other nodes.
    pub rpc_port: u16,
    /// The port for metrics and health.
    pub http_port: u16,
    /// The data folder, absolute.
    pub datadir: PathBuf,
    /// Whether the folder was made by the toolbox, and goes with the cluster.
    pub datadir_made: bool,
    /// Its id in the catalog when it was last asked for.
    pub node_id: Option<u64>,
    /// The process that was started last.
    pub pid: Option<i32>,
}

impl ClusterState {
    /// The node of that name.
    ///
    /// # Errors
    /// With the names that there are.
    pub fn node(&self, name: &str) -> Result<&NodeRecord, AdminError> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| AdminError::NoSuchNode {
            name: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// The state folder.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// The folder at this path, which need not exist yet.
    ///
    /// # Errors
    /// If the path cannot be made absolute.
    pub fn at(path: &Path) -> Result<Self, AdminError> {
        let path = std::path::absolute(path).map_err(|error| AdminError::io("use", path, error))?;
        Ok(Self { path })
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log file of a node.
    #[must_use]
    pub fn log(&self, node: &str) -> PathBuf {
        self.logs().join(format!("{node}.log"))
    }

    /// The folder of the log files.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The folder of the data folders that the cluster file does not name.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Makes the folder with a first record in it.
    ///
    /// # Errors
    /// If there is a cluster already, or the folder cannot be written.
    pub fn create(&self, state: &ClusterState) -> Result<(), AdminError> {
        for folder in [self.path.clone(), self.logs()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| AdminError::io("make the folder", &folder, error))?;
        }
        let _lock = self.lock()?;
        if self.record().exists() {
            return Err(AdminError::Exists(self.path.clone()));
        }
        self.write(state)
    }

    /// What the record says.
    ///
    /// # Errors
    /// If there is none, or it is none.
    pub fn read(&self) -> Result<ClusterState, AdminError> {
        let path = self.record();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(AdminError::NoCluster(self.path.clone()));
            }
            Err(error) => return Err(AdminError::io("read", path, error)),
        };
        serde_json::from_slice(&text)
            .map_err(|error| AdminError::Unreadable { path, reason: error.to_string() })
    }

    /// Changes the record.
    ///
    /// # Errors
    /// As [`read`](Self::read), or if it cannot be written.
    pub fn update(&self, change: impl FnOnce(&mut ClusterState)) -> Result<(), AdminError> {
        let _lock = self.lock()?;
        let mut state = self.read()?;
        change(&mut state);
        self.write(&state)
    }

    /// Notes the process of a node.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn note_pid(&self, name: &str, pid: Option<i32>) -> Result<(), AdminError> {
        self.update(|state| {
            if let Some(node) = state.nodes.iter_mut().find(|node| node.name == name) {
                node.pid = pid;
            }
        })
    }

    /// Removes the record and the logs, and the folder itself if nothing else is in it.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(&self) -> Result<(), AdminError> {
        remove_tree(&self.logs())?;
        let data = self.data();
        // Data folders are removed one by one by whoever knows which are the toolbox's; this one only if it is empty.
        let _ = fs::remove_dir(&data);
        for file in [self.record(), self.path.join(LOCK)] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(AdminError::io("remove", file, error));
                }
                _ => {}
            }
        }
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }

    fn record(&self) -> PathBuf {
        self.path.join(RECORD)
    }

    fn write(&self, state: &ClusterState) -> Result<(), AdminError> {
        let path = self.record();
        let draft = self.path.join(format!("{RECORD}.draft"));
        let written = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(state)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|error| AdminError::io("write", path.clone(), error))
    }

    /// Held while the record is read and replaced; released with the file.
    fn lock(&self) -> Result<File, AdminError> {
        let path = self.path.join(LOCK);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(
                |error| match error.kind() {
                    io::ErrorKind::NotFound => AdminError::NoCluster(self.path.clone()),
                    _ => AdminError::io("lock", &path, error),
                },
            )?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(LOCK_RETRY)
                }
                Err(TryLockError::WouldBlock) => return Err(AdminError::Locked(self.path.clone())),
                Err(TryLockError::Error(error)) => return Err(AdminError::io("lock", path, error)),
            }
        }
    }
}

/// Removes a folder with all that is in it; it is fine if there is none.
pub(crate) fn remove_tree(path: &Path) -> Result<(), AdminError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(AdminError::io("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record(name: &str) -> NodeRecord {
        NodeRecord {
            name: name.into(),
            role: PlannedRole::Leaf { group: 1 },
            host: "127.0.0.1".into(),
            port: 3306,
            rpc_port: 13306,
            http_port: 23306,
            datadir: "/data".into(),
            datadir_made: true,
            node_id: None,
            pid: None,
        }
    }

    fn state() -> ClusterState {
        ClusterState { root_password: "secret".into(), nodes: vec![record("a"), record("b")] }
    }

    #[test]
    fn a_record_comes_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::at(&folder.path().join("state")).unwrap();
        assert!(matches!(dir.read(), Err(AdminError::NoCluster(_))));
        assert!(matches!(dir.note_pid("a", None), Err(AdminError::NoCluster(_))));
        dir.create(&state()).unwrap();
        assert_eq!(dir.read().unwrap(), state());
        assert!(matches!(dir.create(&state()), Err(AdminError::Exists(_))));
        let mode = fs::metadata(dir.record()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        dir.remove().unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn changes_made_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::at(folder.path()).unwrap();
        dir.create(&state()).unwrap();
        std::thread::scope(|scope| {
            for (name, pid) in [("a", 7), ("b", 8)] {
                let dir = &dir;
                scope.spawn(move || (0..20).for_each(|_| dir.note_pid(name, Some(pid)).unwrap()));
            }
        });
        let nodes = dir.read().unwrap().nodes;
        assert_eq!(nodes.iter().map(|node| node.pid).collect::<Vec<_>>(), [Some(7), Some(8)]);
    }

    #[test]
    fn a_damaged_record_is_said_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::at(folder.path()).unwrap();
        fs::write(dir.record(), "{\"nodes\": 3}").unwrap();
        assert!(matches!(dir.read(), Err(AdminError::Unreadable { .. })));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert!(state().node("c").unwrap_err().to_string().ends_with("there are: a, b"));
    }
}
