//! Cleans up after a cluster, whatever becomes of the program that started it.
//!
//! Nodes outlive the toolbox that starts them, and so they would outlive a test that panics or is killed.
//! A guard is a small process that waits for its standard input to close, which the system does for us in every case,
//! and then deletes the cluster, kills what is left of it, and removes its folder.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The longest that a guard may take to clean up before we go on without it.
const CLEAN_UP_BOUND: Duration = Duration::from_secs(60);

/// `$1` the binary, `$2` the folder of everything of this cluster, `$3` the toolbox's state folder in it.
/// Of what is left, only processes that run our binary and name our folder are killed, each by its own id.
const SCRIPT: &str = r#"
cat > /dev/null
timeout 45 "$1" admin --state-dir "$3" delete-cluster --yes > /dev/null 2>&1
for process in /proc/[0-9]*; do
  case "$(readlink "$process/exe" 2> /dev/null)" in "$1"*) ;; *) continue ;; esac
  if tr '\0' '\n' < "$process/cmdline" 2> /dev/null | grep -qF -- "$2/"; then kill -9 "${process#/proc/}"; fi
done
[ -n "$BATON_KEEP" ] && exit
while read -r what place rest; do
  case "$place" in "$2"/*) umount --lazy "$place" ;; esac
done < /proc/mounts
rm -rf "$2"
"#;

/// Cleans up when dropped.
#[derive(Debug)]
pub struct Guard {
    process: Child,
}

impl Guard {
    /// Starts to guard. The folder must be one that was made for this cluster alone.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn over(binary: &Path, folder: &Path, state_dir: &Path) -> Result<Self> {
        let process = Command::new("sh")
            .args(["-c", SCRIPT, "baton-guard"])
            .args([binary, folder, state_dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal is not for it.
            .process_group(0)
            .spawn()
            .context("cannot start a shell to guard the cluster")?;
        Ok(Self { process })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + CLEAN_UP_BOUND;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("the cluster is not cleaned up within {} s", CLEAN_UP_BOUND.as_secs());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
