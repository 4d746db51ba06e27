//! Processes of nodes: started, found, signalled, waited for.
//!
//! A process is a node's if it runs `node` with the node's data folder, whatever its id. So a process id that went
//! to another program is never taken for the node, and a node that somebody else started is found.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::state::NodeRecord;

/// Names another binary to start nodes with than the one that runs.
const BINARY_VARIABLE: &str = "BATON_BIN";
/// How long a node that was asked to stop, or killed, may take to be gone.
const STOP_WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How much of the end of a log is looked at for its last lines.
const LOG_TAIL_BYTES: u64 = 4096;
const LOG_TAIL_LINES: usize = 5;

/// Why a process could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start node '{node}' with {binary}: {error}")]
    Start {
        /// The node.
        node: String,
        /// The binary.
        binary: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A signal could not be sent.
    #[error("cannot send {signal} to node '{node}' (process {pid}): {error}")]
    Signal {
        /// The node.
        node: String,
        /// The signal.
        signal: Signal,
        /// The process.
        pid: i32,
        /// Why.
        error: Errno,
    },
    /// It did not end.
    #[error("node '{node}' (process {pid}) is still there {seconds} s after {signal}{hint}")]
    StillThere {
        /// The node.
        node: String,
        /// The process.
        pid: i32,
        /// How long it had.
        seconds: u64,
        /// The signal.
        signal: Signal,
        /// What to do.
        hint: &'static str,
    },
}

/// Whether a node's process is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    /// Yes, even if a signal has stopped it.
    Running(i32),
    Stopped,
    /// The process table cannot be read.
    Unknown,
}

impl Presence {
    pub(crate) const fn pid(self) -> Option<i32> {
        match self {
            Self::Running(pid) => Some(pid),
            Self::Stopped | Self::Unknown => None,
        }
    }
}

/// Looks for the node's process: first where it was last, then among all.
pub(crate) fn presence(node: &NodeRecord) -> Presence {
    if let Some(pid) = node.pid
        && is_node(pid, &node.datadir)
    {
        return Presence::Running(pid);
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Presence::Unknown };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| is_node(*pid, &node.datadir))
        .map_or(Presence::Stopped, Presence::Running)
}

/// Whether the process runs `node … --data-dir <datadir>`. A process that has ended has no command line.
fn is_node(pid: i32, datadir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    arguments.get(1).is_some_and(|first| *first == b"node")
        && arguments
            .windows(2)
            .any(|pair| pair[0] == b"--data-dir" && pair[1] == datadir.as_os_str().as_bytes())
}

/// Whether a signal has stopped the process (SIGSTOP), so that it hears no other.
fn is_suspended(pid: i32) -> bool {
    let Ok(line) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // `pid (name) state …`, and the name may hold anything.
    line.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
}

/// Starts the node's process, in a group of its own and with its output in its log, so that it outlives us.
pub(crate) fn start(node: &NodeRecord, log: &Path) -> Result<Child, ProcessError> {
    let binary = std::env::var_os(BINARY_VARIABLE).map_or_else(std::env::current_exe, |path| Ok(path.into()));
    let failed = |binary: &Path| {
        let (node, binary) = (node.name.clone(), binary.to_owned());
        move |error| ProcessError::Start { node, binary, error }
    };
    let binary = binary.map_err(failed(Path::new("this binary")))?;
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(failed(log))?;
    let errors = output.try_clone().map_err(failed(log))?;
    Command::new(&binary)
        .arg("node")
        .args(["--role", if node.role.is_aggregator() { "aggregator" } else { "leaf" }])
        .args(["--host", &node.host])
        .args(["--port", &node.port.to_string()])
        .args(["--rpc-port", &node.rpc_port.to_string()])
        .args(["--http-port", &node.http_port.to_string()])
        .arg("--data-dir")
        .arg(&node.datadir)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(failed(&binary))
}

/// Ends the node's process and waits until it is gone. Says which one it was, if there was one.
pub(crate) async fn stop(node: &NodeRecord, force: bool) -> Result<Option<i32>, ProcessError> {
    let Presence::Running(pid) = presence(node) else { return Ok(None) };
    let signal = if force { Signal::SIGKILL } else { Signal::SIGTERM };
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => return Err(ProcessError::Signal { node: node.name.clone(), signal, pid, error }),
    }
    let deadline = Instant::now() + STOP_WAIT;
    while is_node(pid, &node.datadir) {
        if Instant::now() >= deadline {
            let hint = match (force, is_suspended(pid)) {
                (true, _) => "; the operating system does not let it go, see its state in /proc",
                (false, true) => "; it is suspended: send it SIGCONT, or say --force",
                (false, false) => "; read its log, or say --force",
            };
            let seconds = STOP_WAIT.as_secs();
            return Err(ProcessError::StillThere { node: node.name.clone(), pid, seconds, signal, hint });
        }
        sleep(POLL).await;
    }
    Ok(Some(pid))
}

/// The last lines of a log, for an error message; empty if there is none.
pub(crate) fn log_tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_file::PlannedRole;

    /// A shell that looks like a node of that folder: `sh node --data-dir …` runs the script called `node`.
    fn pretend(folder: &Path, script: &str) -> (Child, NodeRecord) {
        fs::write(folder.join("node"), script).unwrap();
        let datadir = folder.join("data");
        let child = Command::new("/bin/sh")
            .arg("node")
            .arg("--data-dir")
            .arg(&datadir)
            .current_dir(folder)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let record = NodeRecord {
            name: "n".into(),
            role: PlannedRole::Master,
            host: "127.0.0.1".into(),
            port: 1,
            rpc_port: 2,
            http_port: 3,
            datadir,
            datadir_made: true,
            node_id: None,
            pid: i32::try_from(child.id()).ok(),
        };
        (child, record)
    }

    /// Ends with the test, whatever becomes of it.
    struct Guard(Child);

    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    async fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            sleep(POLL).await;
        }
    }

    #[test]
    fn a_process_of_another_program_is_no_node() {
        let folder = tempfile::tempdir().unwrap();
        let (child, mut record) = pretend(folder.path(), "sleep 100");
        let _guard = Guard(child);
        record.datadir = folder.path().join("other");
        // Our own process has an id that is surely taken.
        record.pid = i32::try_from(std::process::id()).ok();
        assert_eq!(presence(&record), Presence::Stopped);
    }

    #[tokio::test]
    async fn a_node_is_found_by_its_folder_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (child, mut record) = pretend(folder.path(), "trap 'exit 0' TERM; while :; do sleep 0.02; done");
        let pid = record.pid.unwrap();
        let _guard = Guard(child);
        until("it shows its command line", || presence(&record) == Presence::Running(pid)).await;
        record.pid = None;
        assert_eq!(presence(&record), Presence::Running(pid), "found among all processes");
        assert_eq!(stop(&record, false).await.unwrap(), Some(pid));
        assert_eq!(presence(&record), Presence::Stopped, "even before anybody has waited for it");
        assert_eq!(stop(&record, false).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_suspended_node_runs_and_can_be_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (child, record) = pretend(folder.path(), "while :; do sleep 0.02; done");
        let pid = record.pid.unwrap();
        let _guard = Guard(child);
        until("it shows its command line", || presence(&record) == Presence::Running(pid)).await;
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        until("it is suspended", || is_suspended(pid)).await;
        assert_eq!(presence(&record), Presence::Running(pid));
        assert_eq!(stop(&record, true).await.unwrap(), Some(pid));
        assert_eq!(presence(&record), Presence::Stopped);
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(log_tail(&log), "");
        fs::write(&log, (0..2000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        assert_eq!(log_tail(&log), "line 1995\nline 1996\nline 1997\nline 1998\nline 1999");
    }
}
