//! Makes writes durable, one sync for all who wait.
//!
//! A write goes to RocksDB first, unsynced; then its writer asks the barrier. One thread syncs the write-ahead log for
//! everybody who has asked by then, and while it does so the next ones gather. So the number of syncs depends on how
//! long a sync takes and not on how many ask.
//!
//! * S2: what is asked for after a write returned is on disk when the answer comes.
//! * A failed sync ends the process: there is no answer that would be true. Where something is acknowledged before it is
//!   synced, it is noted first that what was not synced may be gone, for the next run of the process.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::Engine;

/// Callers that wait for one sync, at most; one more waits for its place.
const WAITERS_MAX: usize = 65_536;

/// How long a disk that failed may take to note that it did.
const NOTE_MAX: Duration = Duration::from_millis(300);

type Callback = Box<dyn FnOnce() + Send>;

/// The group commit of one store.
pub struct SyncBarrier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    last_sync_us: AtomicU64,
    /// When the sync that goes on began, in microseconds after `epoch`; 0 if none does.
    sync_began_us: AtomicU64,
    epoch: Instant,
    syncs: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Callback>,
    closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_epoch_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl SyncBarrier {
    /// Starts the syncing thread of a store. `note` is a file that is made when a sync fails.
    pub(crate) fn new(engine: Engine, name: &'static str, note: Option<PathBuf>) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            last_sync_us: AtomicU64::new(0),
            sync_began_us: AtomicU64::new(0),
            epoch: Instant::now(),
            syncs: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("sync-{name}"))
            .spawn(move || run(&of_thread, &engine, name, note.as_deref()))
            .unwrap_or_else(|error| halt(name, &error));
        Self { shared, thread: Some(thread) }
    }

    /// Calls back, on the syncing thread, once everything written before this call is on disk.
    /// The callback must be short and must not block.
    pub fn after_sync(&self, callback: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.queue();
        while queue.waiting.len() >= WAITERS_MAX {
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting.push_back(Box::new(callback));
        self.shared.work.notify_one();
    }

    /// Waits until everything written before this call is on disk.
    pub async fn wait(&self) {
        let (done, synced) = oneshot::channel();
        self.after_sync(move || {
            let _ = done.send(());
        });
        // The thread serves every waiter before it ends, and the process ends if it cannot.
        let _ = synced.await;
    }

    /// As [`SyncBarrier::wait`], for threads that may block.
    pub fn wait_blocking(&self) {
        let (done, synced) = std::sync::mpsc::sync_channel(1);
        self.after_sync(move || {
            let _ = done.send(());
        });
        let _ = synced.recv();
    }

    /// How long the last sync took, in microseconds; 0 before the first. A vital sign: it says whether the disk works.
    #[must_use]
    pub fn last_sync_us(&self) -> u64 {
        self.shared.last_sync_us.load(Ordering::Relaxed)
    }

    /// How long the sync that goes on now has taken so far, in microseconds; 0 if none does. A disk that hangs shows here
    /// before any sync ends.
    #[must_use]
    pub fn syncing_us(&self) -> u64 {
        let began_us = self.shared.sync_began_us.load(Ordering::Relaxed);
        if began_us == 0 { 0 } else { self.shared.since_epoch_us().saturating_sub(began_us) }
    }

    /// How many syncs there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for SyncBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncBarrier({} syncs, the last took {} us)", self.syncs(), self.last_sync_us())
    }
}

impl Drop for SyncBarrier {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, engine: &Engine, name: &'static str, note: Option<&Path>) {
    loop {
        let waiting = {
            let mut queue = shared.queue();
            while queue.waiting.is_empty() {
                if queue.closed {
                    return;
                }
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            shared.room.notify_all();
            std::mem::take(&mut queue.waiting)
        };
        let start = Instant::now();
        shared.sync_began_us.store(shared.since_epoch_us().max(1), Ordering::Relaxed);
        if let Err(error) = engine.flush_wal(true) {
            note.inspect(|note| try_to_note(note));
            halt(name, &error);
        }
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        shared.last_sync_us.store(micros.max(1), Ordering::Relaxed);
        shared.sync_began_us.store(0, Ordering::Relaxed);
        shared.syncs.fetch_add(1, Ordering::Relaxed);
        for callback in waiting {
            callback();
        }
    }
}

/// Notes that a sync has failed, if the disk takes that within [`NOTE_MAX`]: the process must end, whatever its disk does.
fn try_to_note(note: &Path) {
    let (done, noted) = std::sync::mpsc::sync_channel(1);
    let note = note.to_owned();
    let writing = std::thread::Builder::new().spawn(move || {
        note_failure(&note);
        let _ = done.send(());
    });
    if writing.is_err() || noted.recv_timeout(NOTE_MAX).is_err() {
        tracing::error!("that a sync has failed could not be noted in time");
    }
}

fn note_failure(note: &Path) {
    let dir = note.parent().unwrap_or(Path::new("."));
    let noted =
        File::create(note).and_then(|file| file.sync_all()).and_then(|()| File::open(dir)?.sync_all());
    if let Err(error) = noted {
        tracing::error!(%error, "that a sync has failed could not be noted in {}", note.display());
    }
}

/// Ends the process: what is on the disk is unknown from here on.
fn halt(name: &str, error: &dyn fmt::Display) -> ! {
    tracing::error!("HALT: the store '{name}' cannot be synced to disk: {error}");
    eprintln!(
        "HALT: the store '{name}' cannot be synced to disk: {error}; the node stops so that it promises nothing false"
    );
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_noted_where_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("data.unsynced");
        try_to_note(&note);
        assert!(note.exists());
        try_to_note(&dir.path().join("is not there").join("data.unsynced"));
    }
}
