//! What policies decided on this node, as JSON lines in a ring of files: `decisions/` in the data directory.
//!
//! Each line is a view with who decided, so that `baton policy replay` reads the files as they are. They are written by a
//! thread of their own: no decision waits for the disk, and what does not fit, or cannot be written, is left out. They are
//! not synced; what a power cut takes of them is lost.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use baton_policy_host::Decision;
use baton_policy_view::{Kept, Viewed};
use serde::Serialize;
use tracing::warn;

use crate::server::wall_clock_ms;

/// Bytes of one file; the next is begun when it has as many.
const FILE_BYTES: u64 = 8 << 20;
/// How many files there are; the oldest goes.
const FILES_MAX: usize = 8;
/// Decisions that wait to be written, at most; more are left out, and counted.
const WAITING_MAX: usize = 8_192;
/// Nodes, partitions and cells that they are about, at most.
const WAITING_SIZE_MAX: usize = 65_536;
/// After a failure to write, the next file is begun so much later.
const AGAIN: Duration = Duration::from_secs(5);
/// What is written waits for so long before it is in the file, if nothing follows.
const FLUSH: Duration = Duration::from_millis(200);

/// Who decided, and how.
#[derive(Serialize)]
struct About<'a> {
    at_ms: u64,
    node: u64,
    policy: &'a str,
    hash: &'a str,
    fuel: u64,
    micros: u64,
    fallback: &'a str,
}

type Line = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Writes decisions down.
#[derive(Debug)]
pub struct Ring {
    lines: Option<SyncSender<Line>>,
    /// What those that wait are about, summed up.
    waiting: Arc<AtomicUsize>,
    left_out: AtomicU64,
}

impl Ring {
    /// Begins a new file in this folder. Where that cannot be, nothing is kept, and the log says so: a cluster fails over
    /// without its diary.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let lines = start(folder).inspect_err(|error| {
            warn!(%error, folder = %folder.display(), "decisions are not written down");
        });
        Self { lines: lines.ok(), waiting: Arc::default(), left_out: AtomicU64::new(0) }
    }

    /// Keeps a decision of this node.
    pub fn keep<Q: Viewed + 'static>(&self, node: u64, question: &Q, decision: &Decision<Q::Verdict>)
    where
        Q::Verdict: 'static,
    {
        let Some(lines) = &self.lines else { return };
        let size = question.size() + 1;
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > WAITING_SIZE_MAX {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (question, decision, at_ms) = (question.clone(), decision.clone(), wall_clock_ms());
        let waiting = Arc::clone(&self.waiting);
        let line = move || {
            waiting.fetch_sub(size, Ordering::Relaxed);
            let about = About {
                at_ms,
                node,
                policy: &decision.module,
                hash: &decision.hash,
                fuel: decision.stats.fuel,
                micros: decision.stats.micros,
                fallback: decision.fallback.as_deref().unwrap_or_default(),
            };
            let view = question.view(decision.verdict.clone());
            let mut line = serde_json::to_vec(&Kept { view: &view, rest: about }).unwrap_or_default();
            line.push(b'\n');
            line
        };
        if lines.try_send(Box::new(line)).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many decisions were not written down.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

/// The thread ends when its sender is dropped.
fn start(folder: &Path) -> io::Result<SyncSender<Line>> {
    let mut files = Files::begin(folder)?;
    let (lines, waiting) = sync_channel::<Line>(WAITING_MAX);
    let run = move || {
        while let Err(error) = files.write(&waiting) {
            warn!(%error, "decisions are not written down for a moment");
            thread::sleep(AGAIN);
            match Files::begin(&files.folder) {
                Ok(begun) => files = begun,
                Err(error) => warn!(%error, "no file can be begun for decisions"),
            }
        }
    };
    thread::Builder::new().name("decisions".to_owned()).spawn(run)?;
    Ok(lines)
}

/// The files of a ring, the one that is written to last.
struct Files {
    folder: PathBuf,
    /// Their numbers.
    numbers: VecDeque<u64>,
    file: BufWriter<File>,
    written: u64,
}

impl Files {
    fn begin(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut numbers = VecDeque::from(numbers);
        let file = next(folder, &mut numbers)?;
        Ok(Self { folder: folder.to_owned(), numbers, file, written: 0 })
    }

    fn write(&mut self, waiting: &Receiver<Line>) -> io::Result<()> {
        loop {
            match waiting.recv_timeout(FLUSH) {
                Ok(line) => {
                    let line = line();
                    if self.written > 0 && self.written + line.len() as u64 > FILE_BYTES {
                        self.file.flush()?;
                        self.file = next(&self.folder, &mut self.numbers)?;
                        self.written = 0;
                    }
                    self.file.write_all(&line)?;
                    self.written += line.len() as u64;
                }
                Err(RecvTimeoutError::Timeout) => self.file.flush()?,
                Err(RecvTimeoutError::Disconnected) => {
                    // Nothing follows: a disk that does not take the rest is not waited for.
                    if let Err(error) = self.file.flush() {
                        warn!(%error, "the last decisions are not written down");
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// Begins the next file, and removes the oldest if there are too many.
fn next(folder: &Path, numbers: &mut VecDeque<u64>) -> io::Result<BufWriter<File>> {
    let path = |number: u64| folder.join(format!("{number:08}.jsonl"));
    let number = numbers.back().map_or(1, |last| last + 1);
    let file = File::create(path(number))?;
    numbers.push_back(number);
    while numbers.len() > FILES_MAX {
        if let Some(oldest) = numbers.pop_front() {
            match fs::remove_file(path(oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(BufWriter::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_file_goes_and_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..=FILES_MAX {
            Files::begin(folder.path()).unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), FILES_MAX);
        assert_eq!(names[0], "00000002.jsonl");
        assert_eq!(names[FILES_MAX - 1], "00000009.jsonl");
    }

    #[test]
    fn a_file_that_is_full_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::begin(folder.path()).unwrap();
        let (lines, waiting) = sync_channel::<Line>(8);
        for letter in *b"abc" {
            lines.send(Box::new(move || vec![letter; FILE_BYTES as usize / 2])).unwrap();
        }
        drop(lines);
        files.write(&waiting).unwrap();
        let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert_eq!(bytes("00000001.jsonl").len() as u64, FILE_BYTES);
        assert_eq!(bytes("00000002.jsonl"), vec![b'c'; FILE_BYTES as usize / 2]);
    }
}
