//! Whether what the last run of this leaf did not sync may be gone.
//!
//! What a process has handed to the operating system outlives the process, and not the machine. So a leaf writes down
//! under which boot of its machine it runs, and once it has ended with everything synced; the next run reads it.
//! After a sync that failed nobody knows what the operating system still has, so such a run counts as lost as well.
//! Until the catalog knows of a run that may have lost something, every later run says so as well (checklist 9).
//!
//! Not here: what follows from it. That is decided in the catalog, and only under `ASYNC DURABILITY` it is anything.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use crate::context::Context;
use crate::identity::IdentityError;

const FILE: &str = "run.json";
/// Another value after every boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// The boot under which it runs; empty if that cannot be told.
    boot: String,
    /// Whether it has ended, with everything synced.
    ended: bool,
    /// Whether this run, or one before it that the catalog never heard of, may lack something.
    lost_tail: bool,
}

/// The mark of this run in its data directory.
#[derive(Debug)]
pub struct TailMark {
    path: PathBuf,
    run: Run,
}

impl TailMark {
    /// Marks the begin of a run, durably, before anything is written by it. `has_data` is whether there is anything to
    /// lose: a directory with data and without a mark is of a run that nothing is known of. `sync_failed` is whether a run
    /// before this one ended because its disk could not be synced.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(dir: &Path, has_data: bool, sync_failed: bool) -> Result<Self, IdentityError> {
        let boot = fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default();
        Self::begin_under(dir, has_data, sync_failed, boot)
    }

    fn begin_under(
        dir: &Path,
        has_data: bool,
        sync_failed: bool,
        boot: String,
    ) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        let last = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Run>(&bytes).ok());
        let machine_went_down = match last {
            Some(last) => last.lost_tail || !(last.ended || last.boot == boot && !boot.is_empty()),
            None => has_data,
        };
        let lost_tail = machine_went_down || sync_failed;
        if lost_tail {
            let why = if sync_failed { "a sync has failed" } else { "the machine may have gone down" };
            warn!("{why} under this leaf: what it had not synced may be gone");
        }
        let mark = Self { path, run: Run { boot, ended: false, lost_tail } };
        mark.write()?;
        Ok(mark)
    }

    /// Whether what was not synced may be gone.
    pub fn lost_tail(&self) -> bool {
        self.run.lost_tail
    }

    /// The catalog knows of this run, and what follows from it is in the catalog.
    ///
    /// # Errors
    /// The disk's.
    fn known(&mut self) -> Result<(), IdentityError> {
        self.run.lost_tail = false;
        self.write()
    }

    /// Everything is synced, and nothing more is written by this run.
    ///
    /// # Errors
    /// The disk's.
    pub fn end(&mut self) -> Result<(), IdentityError> {
        self.run.ended = true;
        self.write()
    }

    fn write(&self) -> Result<(), IdentityError> {
        let io = |error| IdentityError::Io { path: self.path.clone(), error };
        let bytes = serde_json::to_vec(&self.run).expect("a few plain fields");
        let fresh = self.path.with_extension("json.new");
        let mut file = File::create(&fresh).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&fresh, &self.path).map_err(io)?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

/// Waits until the catalog knows of this run, and notes it.
pub async fn note_when_known(context: Arc<Context>, mark: Arc<std::sync::Mutex<TailMark>>) {
    let lock = || mark.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !lock().lost_tail() {
        return;
    }
    let mut catalogs = context.watch_catalog();
    let run = context.pulse.incarnation();
    loop {
        let known =
            catalogs.borrow_and_update().node(context.node()).is_some_and(|node| node.incarnation == run);
        if known {
            if let Err(error) = tokio::task::block_in_place(|| lock().known()) {
                error!(%error, "the data directory cannot be written; this leaf stops");
                context.shutdown.cancel();
            }
            return;
        }
        tokio::select! {
            changed = catalogs.changed() => if changed.is_err() { return },
            () = context.shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(dir: &Path, boot: &str) -> TailMark {
        TailMark::begin_under(dir, true, false, boot.to_owned()).unwrap()
    }

    /// Checklist 9: a clean end, or a process that died on a machine that lives, has lost nothing.
    #[test]
    fn only_a_machine_that_went_down_under_a_run_loses_its_tail() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(
            !TailMark::begin_under(dir, false, false, "a".into()).unwrap().lost_tail(),
            "there was nothing"
        );
        assert!(!begin(dir, "a").lost_tail(), "it was killed");
        begin(dir, "a").end().unwrap();
        assert!(!begin(dir, "b").lost_tail(), "it had ended before the machine did");
        assert!(begin(dir, "c").lost_tail(), "it had not");
    }

    #[test]
    fn a_loss_that_the_catalog_does_not_know_of_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        begin(dir, "a");
        assert!(begin(dir, "b").lost_tail());
        let mut again = begin(dir, "b");
        assert!(again.lost_tail(), "killed before anybody heard of it");
        again.end().unwrap();
        let mut again = begin(dir, "b");
        assert!(again.lost_tail(), "ended before anybody heard of it");
        again.known().unwrap();
        assert!(!begin(dir, "b").lost_tail());
    }

    #[test]
    fn a_sync_that_failed_loses_the_tail_although_the_machine_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        begin(dir, "a");
        let failed = TailMark::begin_under(dir, true, true, "a".into()).unwrap();
        assert!(failed.lost_tail());
        let mut again = begin(dir, "a");
        assert!(again.lost_tail(), "killed before anybody heard of it");
        again.known().unwrap();
        assert!(!begin(dir, "a").lost_tail());
    }

    #[test]
    fn what_cannot_be_told_counts_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        begin(dir, "").known().unwrap();
        assert!(begin(dir, "").lost_tail(), "no boot is known");
        begin(dir, "a").known().unwrap();
        fs::write(dir.join(FILE), b"{").unwrap();
        assert!(begin(dir, "a").lost_tail(), "the mark is garbled");
        fs::remove_file(dir.join(FILE)).unwrap();
        assert!(begin(dir, "a").lost_tail(), "the mark is gone, and there is data");
    }
}
