//! A disk that is small enough to be filled, in a mount namespace of its own.
//!
//! A mount namespace belongs to a thread and what that thread starts; its disks end with them.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};

/// Bytes that are written at once to fill a disk up, the last of them until not one fits any more.
const BALLAST_STEPS: [usize; 2] = [1 << 20, 1 << 10];

/// Moves this thread, and all threads and processes that it will start, into a mount namespace whose mounts nobody
/// else sees.
///
/// # Errors
/// When we are not root.
pub fn enter_own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace; run this as root")?;
    run("mount", &["--make-rprivate", "/"])
}

/// A mounted small disk, in memory. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts an empty disk of so many bytes in a folder, which is made.
    ///
    /// # Errors
    /// When we are not root.
    pub fn mount(folder: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let place = folder.to_str().context("the path of a disk is no UTF-8")?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=0755"), "small-disk", place])?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Fills it up: not one more block can be written.
    ///
    /// # Errors
    /// When it cannot be written to for another reason.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast()).context("cannot make the file that fills a disk")?;
        for step in BALLAST_STEPS {
            let bytes = vec![0; step];
            loop {
                match ballast.write(&bytes) {
                    Ok(written) if written > 0 => {}
                    Ok(_) => break,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("a disk cannot be filled"),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back that [`Self::fill`] took.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("a disk stays full"),
            _ => Ok(()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(place) = self.folder.to_str() {
            // Nobody else sees it, and it ends with our namespace at the latest.
            let _ = run("umount", &["--lazy", place]);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(())
}
