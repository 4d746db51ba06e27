//! A child process writes until it is killed with SIGKILL; then the store is opened again.
//!
//! The child is this test binary, run for the test named `writer` or `installer` with an environment variable that names
//! the folder.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baton_model::{DatabaseId, Lsn, PartitionId, TableId};
use baton_storage::{ControlStore, DataStore};

const FOLDER: &str = "BATON_CRASH_TEST_FOLDER";
const INSTALLER: &str = "BATON_CRASH_TEST_INSTALLER";
const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };
const TABLE: TableId = TableId(1);
/// Lines that the parent waits for before it kills; each stands for a synced write.
const SYNCED_LINES: usize = 200;

/// Not a test of its own: the child.
#[test]
fn writer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let data = DataStore::open(&folder.join("data")).unwrap();
    let control = ControlStore::open(&folder.join("control")).unwrap();
    let last = data.log_bounds(PARTITION).unwrap().map_or(0, |bounds| bounds.last.0);
    let apply = |n: u64| {
        let row = (TABLE, n.to_be_bytes().to_vec(), Some(vec![7; 300]));
        data.apply(PARTITION, Lsn(n), [row], &[("last", &n.to_be_bytes())]).unwrap();
    };
    // What the last child had begun when it was killed is finished, as an instance does.
    (data.applied(PARTITION).unwrap().0 + 1..=last).for_each(apply);
    for n in control.last_entry().unwrap().map_or(0, |(n, _)| n) + 1..=last {
        control.append([(n, vec![7; 300])]).unwrap();
    }
    let mut out = std::io::stdout();
    for n in last + 1.. {
        data.append(PARTITION, &[(Lsn(n), vec![7; 300])]).unwrap();
        apply(n);
        control.append([(n, vec![7; 300])]).unwrap();
        if n % 7 == 0 {
            data.trim_before(PARTITION, Lsn(n.saturating_sub(50))).unwrap();
            control.purge_through(n.saturating_sub(50), &n.to_be_bytes()).unwrap();
        }
        data.barrier().wait_blocking();
        control.barrier().wait_blocking();
        writeln!(out, "\nsynced {n}").unwrap();
        out.flush().unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a child until it has synced so often, and for so long more, kills it, and answers with the last write that it
/// reported.
fn run_and_kill(folder: &Path, child: &str, variable: &str, synced: usize, more: Duration) -> u64 {
    let test = child;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(variable, folder);
    let mut child = Killed(child.stdout(Stdio::piped()).spawn().unwrap());
    let (lines, reported) = std::sync::mpsc::channel();
    let out = child.0.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("synced ").and_then(|n| n.parse::<u64>().ok())
                && lines.send(n).is_err()
            {
                break;
            }
        }
    });
    let mut last = 0;
    for _ in 0..synced {
        last = reported.recv_timeout(Duration::from_secs(60)).expect("the child writes");
    }
    std::thread::sleep(more);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    last = reported.iter().last().unwrap_or(last);
    reader.join().unwrap();
    last
}

#[test]
fn what_was_synced_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for _ in 0..3 {
        let last = run_and_kill(folder.path(), "writer", FOLDER, SYNCED_LINES, Duration::ZERO);
        assert!(last > before, "the child goes on where the last one was killed");
        before = last;

        let data = DataStore::open(&folder.path().join("data")).unwrap();
        let bounds = data.log_bounds(PARTITION).unwrap().expect("there is a log");
        assert!(bounds.last.0 >= last, "{last} was synced, but the log ends at {}", bounds.last);
        let records = data.read_log(PARTITION, bounds.first, usize::MAX, usize::MAX).unwrap();
        assert_eq!(records.len() as u64, bounds.last.0 - bounds.first.0 + 1, "the log has no gap");
        let applied = data.applied(PARTITION).unwrap();
        assert!(applied.0 >= last && applied <= bounds.last);
        assert_eq!(data.meta(PARTITION, "last").unwrap().unwrap(), applied.0.to_be_bytes());
        let rows = data
            .view(PARTITION, |view| {
                view.scan(TABLE, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).count()
            })
            .unwrap();
        assert_eq!(rows as u64, applied.0, "the rows are exactly those that were applied");

        let control = ControlStore::open(&folder.path().join("control")).unwrap();
        let entries = control.entries(0, u64::MAX, usize::MAX).unwrap();
        assert!(entries.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "the control log has no gap");
        assert!(control.last_entry().unwrap().unwrap().0 >= last);
    }
}

/// Not a test of its own: a child that lets copies take the place of a partition, again and again.
#[test]
fn installer() {
    let Ok(folder) = std::env::var(INSTALLER) else { return };
    let folder = Path::new(&folder);
    let source = DataStore::open(&folder.join("source")).unwrap();
    let target = DataStore::open(&folder.join("target")).unwrap();
    let mut out = std::io::stdout();
    for n in source.applied(PARTITION).unwrap().0 + 1.. {
        // The copy as of n has n rows, and the target between two copies has a row that is in none.
        source
            .apply(PARTITION, Lsn(n), [(TABLE, n.to_be_bytes().to_vec(), Some(vec![7; 300]))], &[])
            .unwrap();
        let files = folder.join(format!("files-{n}-{}", std::process::id()));
        std::fs::create_dir(&files).unwrap();
        let exported = source.export_files(PARTITION, &[], &files, 10_000, |_| true).unwrap().unwrap();
        target.install_files(PARTITION, &exported.files, exported.at, &[("last", &n.to_be_bytes())]).unwrap();
        target.barrier().wait_blocking();
        std::fs::remove_dir_all(&files).unwrap();
        writeln!(out, "\nsynced {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_copy_that_a_kill_cuts_off_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..8_u64 {
        run_and_kill(folder.path(), "installer", INSTALLER, 3, Duration::from_millis(round * 3));
        let target = DataStore::open(&folder.path().join("target")).unwrap();
        let applied = target.applied(PARTITION).unwrap();
        let last = target.meta(PARTITION, "last").unwrap();
        let rows = target
            .view(PARTITION, |view| {
                view.scan(TABLE, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).count()
            })
            .unwrap();
        assert_eq!(rows as u64, applied.0, "as of {applied}");
        let expected = (applied > Lsn(0)).then(|| applied.0.to_be_bytes().to_vec());
        assert_eq!(last, expected, "its small state is of the same copy");
    }
}
