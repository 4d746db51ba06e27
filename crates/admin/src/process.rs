//! Processes of nodes: started, found, signalled, waited for.
//!
//! A node holds a lock on its data folder for as long as it lives, so whoever holds the lock is the node, however it
//! was started, and a folder whose lock is held by nobody is written by nobody. The holder is read from the system's
//! table of locks. We never try to take the lock: a node that starts at that moment would find its folder in use.

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

use crate::data_lock;
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
    /// Whether it runs cannot be known, and something would be lost if it did.
    #[error(
        "cannot tell whether node '{node}' runs: {error}\nmake that readable, or stop the node by hand, and try again"
    )]
    Untraceable {
        /// The node.
        node: String,
        /// Why.
        error: io::Error,
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
    /// The system does not say.
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

/// Looks for the node's process.
pub(crate) fn presence(node: &NodeRecord) -> Presence {
    match running(node) {
        Ok(Some(pid)) => Presence::Running(pid),
        Ok(None) => Presence::Stopped,
        Err(_) => Presence::Unknown,
    }
}

/// The process that holds the node's data folder, or the one that we started and that is about to.
fn running(node: &NodeRecord) -> io::Result<Option<i32>> {
    let holder = data_lock::holder(&node.datadir);
    if matches!(holder, Ok(Some(_))) {
        return holder;
    }
    let started = node.pid.filter(|pid| was_started_here(*pid, &node.datadir));
    started.map_or(holder, |pid| Ok(Some(pid)))
}

/// Whether the process runs `node … --data-dir <datadir>`, as [`start`] starts it; so a process id that went to another
/// program is not taken for the node. A process that has ended has no command line.
fn was_started_here(pid: i32, datadir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    arguments.get(1).is_some_and(|first| *first == b"node")
        && arguments
            .windows(2)
            .any(|pair| pair[0] == b"--data-dir" && pair[1] == datadir.as_os_str().as_bytes())
}

/// The state of a process, as `R`, `S` or `T`; `None` if there is none.
fn state_of(pid: i32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state …`, and the name may hold anything.
    line.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Whether the process has ended, with all its threads: only then are its ports and files free.
/// One that nobody has waited for yet has ended too.
pub(crate) fn has_ended(pid: i32) -> bool {
    match state_of(pid) {
        None => true,
        Some('Z') => fs::read_dir(format!("/proc/{pid}/task")).map_or(true, |threads| threads.count() <= 1),
        Some(_) => false,
    }
}

/// Whether a signal has stopped the process (SIGSTOP), so that it hears no other.
pub(crate) fn is_suspended(pid: i32) -> bool {
    matches!(state_of(pid), Some('T' | 't'))
}

/// The process of a node that is waited for.
pub(crate) enum Awaited {
    /// We started it.
    Started(Child),
    /// It was there.
    Found(i32),
}

impl Awaited {
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Self::Started(child) => child.id().cast_signed(),
            Self::Found(pid) => *pid,
        }
    }

    /// How it ended, if it has.
    pub(crate) fn end(&mut self) -> Option<String> {
        match self {
            Self::Started(child) => child.try_wait().ok().flatten().map(|status| status.to_string()),
            Self::Found(pid) => has_ended(*pid).then(|| "another process had started it".into()),
        }
    }
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
    let found = running(node);
    let found = found.map_err(|error| ProcessError::Untraceable { node: node.name.clone(), error })?;
    let Some(pid) = found else { return Ok(None) };
    let signal = if force { Signal::SIGKILL } else { Signal::SIGTERM };
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => return Err(ProcessError::Signal { node: node.name.clone(), signal, pid, error }),
    }
    let deadline = Instant::now() + STOP_WAIT;
    while !has_ended(pid) {
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

    /// A process that holds the lock of a data folder, as a node does. Nothing on its command line says whose it is.
    fn hold(folder: &Path) -> (Guard, NodeRecord) {
        let datadir = folder.join("data");
        fs::create_dir_all(&datadir).unwrap();
        let child = Command::new("flock")
            .args(["--nonblock", "--no-fork", "lock", "sleep", "100"])
            .current_dir(&datadir)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        (Guard(child), record(datadir, None))
    }

    /// A shell that was started as a node is, and has not taken the lock yet: `sh node --data-dir …` runs the script
    /// called `node`.
    fn begin(folder: &Path) -> (Guard, NodeRecord) {
        fs::write(folder.join("node"), "while :; do sleep 0.02; done").unwrap();
        let datadir = folder.join("data");
        let child = Command::new("/bin/sh")
            .arg("node")
            .arg("--data-dir")
            .arg(&datadir)
            .current_dir(folder)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).ok();
        (Guard(child), record(datadir, pid))
    }

    fn record(datadir: PathBuf, pid: Option<i32>) -> NodeRecord {
        NodeRecord {
            name: "n".into(),
            role: PlannedRole::Master,
            host: "127.0.0.1".into(),
            port: 1,
            rpc_port: 2,
            http_port: 3,
            datadir,
            datadir_made: true,
            node_id: None,
            pid,
        }
    }

    /// Ends with the test, whatever becomes of it.
    struct Guard(Child);

    impl Guard {
        fn pid(&self) -> i32 {
            self.0.id().cast_signed()
        }
    }

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
        // Our own process has an id that is surely taken.
        let own = i32::try_from(std::process::id()).ok();
        assert_eq!(presence(&record(folder.path().to_owned(), own)), Presence::Stopped);
        // The node of another folder is another node.
        let (guard, mut other) = begin(folder.path());
        other.datadir = folder.path().join("other");
        assert_eq!(other.pid, Some(guard.pid()));
        assert_eq!(presence(&other), Presence::Stopped);
    }

    #[tokio::test]
    async fn a_node_is_found_by_its_lock_however_it_was_started_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, record) = hold(folder.path());
        until("it holds the lock", || presence(&record) == Presence::Running(guard.pid())).await;
        assert_eq!(stop(&record, false).await.unwrap(), Some(guard.pid()));
        assert_eq!(presence(&record), Presence::Stopped, "even before anybody has waited for it");
        assert_eq!(stop(&record, false).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_node_that_has_not_taken_its_lock_yet_is_found_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, record) = begin(folder.path());
        until("it shows its command line", || presence(&record) == Presence::Running(guard.pid())).await;
        assert_eq!(stop(&record, true).await.unwrap(), Some(guard.pid()));
        assert_eq!(presence(&record), Presence::Stopped);
    }

    #[tokio::test]
    async fn a_suspended_node_runs_and_can_be_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, record) = hold(folder.path());
        let pid = guard.pid();
        until("it holds the lock", || presence(&record) == Presence::Running(pid)).await;
        assert!(!is_suspended(pid));
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        until("it is suspended", || is_suspended(pid)).await;
        assert_eq!(presence(&record), Presence::Running(pid));
        assert!(!has_ended(pid));
        assert_eq!(stop(&record, true).await.unwrap(), Some(pid));
        assert_eq!(presence(&record), Presence::Stopped);
    }

    #[tokio::test]
    async fn what_cannot_be_known_is_not_taken_for_stopped() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the folder should be: the lock cannot be looked at.
        let datadir = folder.path().join("data");
        fs::write(&datadir, "").unwrap();
        let record = record(datadir, None);
        assert_eq!(presence(&record), Presence::Unknown);
        let error = stop(&record, true).await.unwrap_err();
        assert!(matches!(error, ProcessError::Untraceable { .. }), "{error}");
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
