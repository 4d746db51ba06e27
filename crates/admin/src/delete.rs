//! `delete-cluster`: nothing is left of what the toolbox made.

use std::fs::{self, File};

use futures::future::join_all;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::error::AdminError;
use crate::process;
use crate::report::Report;
use crate::state::{NodeRecord, StateDir, remove_tree};

#[derive(Serialize)]
struct Deleted {
    deleted: Vec<String>,
}

/// Kills every node, then removes its data, its log and the record. No cluster is no error: the wish is fulfilled.
pub(crate) async fn delete_cluster(dir: &StateDir, report: &Report) -> Result<(), AdminError> {
    let state = match dir.read() {
        Ok(state) => state,
        Err(AdminError::NoCluster(path)) => {
            report
                .result(&Deleted { deleted: Vec::new() }, || format!("{} holds no cluster", path.display()));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let stopped = join_all(state.nodes.iter().map(|node| async {
        report.progress(&format!("killing {}", node.name));
        process::stop(node, true).await?;
        Ok(())
    }));
    // Data is removed only when nobody can write it any more.
    AdminError::gather(stopped.await)?;
    for node in &state.nodes {
        remove_data(node)?;
    }
    dir.remove()?;
    let deleted = Deleted { deleted: state.nodes.into_iter().map(|node| node.name).collect() };
    report.result(&deleted, || format!("deleted {}", deleted.deleted.join(", ")));
    Ok(())
}

/// A folder that the toolbox made goes; one that was there, empty, is emptied again. Its lock is held meanwhile: whoever
/// starts a node there in this moment is refused.
fn remove_data(node: &NodeRecord) -> Result<(), AdminError> {
    let lock = node.datadir.join("lock");
    let _held = match File::open(&lock) {
        Ok(file) => {
            let held = Flock::lock(file, FlockArg::LockExclusiveNonblock);
            Some(held.map_err(|(_, error)| {
                AdminError::io("remove what a process still uses", lock, error.into())
            })?)
        }
        Err(_) => None,
    };
    if node.datadir_made {
        return remove_tree(&node.datadir);
    }
    let Ok(entries) = fs::read_dir(&node.datadir) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            remove_tree(&path)?;
        } else {
            fs::remove_file(&path).map_err(|error| AdminError::io("remove", path, error))?;
        }
    }
    Ok(())
}
