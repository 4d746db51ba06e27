//! The control group's vote and log, as openraft wants them.
//!
//! * A vote and an entry are on disk before openraft is told so; entries wait together for one sync.
//! * The log has no gap; a gap that is read is an error, and that stops the member.
//! * The end of the log stays in memory, so that replication and apply read no disk in the usual case.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_storage::{ControlMeta, ControlStore};
use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{APPEND_BYTES_MAX, READ_AHEAD_ENTRIES, RECENT_BYTES_MAX, RECENT_ENTRIES_MAX};
use crate::types::{LogEntry, LogId, Types, Vote};

/// The log and the vote of one member. A clone reads and writes the same ones.
#[derive(Clone)]
pub(crate) struct LogStore {
    store: Arc<ControlStore>,
    state: Arc<Mutex<State>>,
}

struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// The last entry, or the last purged one if there are no others.
    last: Option<LogId>,
    /// The end of the log, without gaps, with the size of each entry.
    recent: VecDeque<(LogEntry, usize)>,
    recent_bytes: usize,
}

impl LogStore {
    /// Reads where the log and the vote are.
    pub(crate) fn open(store: Arc<ControlStore>) -> io::Result<Self> {
        let vote = read_meta(&store, ControlMeta::Vote)?;
        let purged: Option<LogId> = read_meta(&store, ControlMeta::Purged)?;
        let last = match store.last_entry().map_err(io::Error::other)? {
            Some((_, bytes)) => Some(decode::<LogEntry>(&bytes)?.log_id),
            None => purged,
        };
        let state = State { vote, purged, last: last.max(purged), recent: VecDeque::new(), recent_bytes: 0 };
        Ok(Self { store, state: Arc::new(Mutex::new(state)) })
    }

    /// The vote that is kept.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.state().vote
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from `from` (inclusive) to `to` (exclusive), until they have `bytes_max` bytes, one at least if there
    /// is one. From memory if they are all there.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        if let Some(entries) = self.state().read_recent(from, to, bytes_max) {
            return Ok(entries);
        }
        let stored = self.store.entries(from, to, bytes_max).map_err(io::Error::other)?;
        for pair in stored.windows(2) {
            if pair[0].0 + 1 != pair[1].0 {
                return Err(io::Error::other(format!(
                    "the control log has a gap between {} and {}",
                    pair[0].0, pair[1].0
                )));
            }
        }
        stored.iter().map(|(_, bytes)| decode(bytes)).collect()
    }
}

impl State {
    fn read_recent(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let first = self.recent.front()?.0.log_id.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (entry, size) in self.recent.iter().skip(skip) {
            bytes += size;
            if entry.log_id.index >= to || (bytes > bytes_max && !entries.is_empty()) {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries)
    }

    fn push(&mut self, entry: LogEntry, size: usize) {
        // An entry that does not follow the last one begins the memory anew.
        if self.recent.back().is_some_and(|(last, _)| last.log_id.index + 1 != entry.log_id.index) {
            self.recent.clear();
            self.recent_bytes = 0;
        }
        self.last = Some(entry.log_id);
        self.recent.push_back((entry, size));
        self.recent_bytes += size;
        while self.recent.len() > RECENT_ENTRIES_MAX
            || (self.recent_bytes > RECENT_BYTES_MAX && self.recent.len() > 1)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, size)) = self.recent.pop_front() {
            self.recent_bytes -= size;
        }
    }

    fn forget_from(&mut self, index: u64) {
        while self.recent.back().is_some_and(|(entry, _)| entry.log_id.index >= index) {
            if let Some((_, size)) = self.recent.pop_back() {
                self.recent_bytes -= size;
            }
        }
    }

    fn forget_through(&mut self, index: u64) {
        while self.recent.front().is_some_and(|(entry, _)| entry.log_id.index <= index) {
            self.pop_front();
        }
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<LogEntry>> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<LogEntry>> {
        self.read(from, to, APPEND_BYTES_MAX)
    }

    /// In pieces, so that a member that has much to apply does not read it all into memory.
    async fn entries_stream<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<LogEntry>> + OptionalSend {
        let (from, to) = bounds(&range);
        let reader = self.clone();
        let pieces = futures::stream::try_unfold(from, move |from| {
            let read = reader.read(from, to.min(from.saturating_add(READ_AHEAD_ENTRIES)), APPEND_BYTES_MAX);
            async move {
                let entries = read?;
                let next = entries.last().map(|entry| entry.log_id.index + 1);
                Ok::<_, io::Error>(
                    next.map(|next| (futures::stream::iter(entries.into_iter().map(Ok)), next)),
                )
            }
        });
        Box::pin(futures::TryStreamExt::try_flatten(pieces))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.state();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.store.put_meta(ControlMeta::Vote, &encode(vote)?).map_err(io::Error::other)?;
        self.store.barrier().wait().await;
        self.state().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut sized = Vec::new();
        for entry in entries {
            let bytes = encode(&entry)?;
            sized.push((entry, bytes.len()));
            encoded.push((sized[sized.len() - 1].0.log_id.index, bytes));
        }
        self.store.append(encoded).map_err(io::Error::other)?;
        {
            let mut state = self.state();
            for (entry, size) in sized {
                state.push(entry, size);
            }
        }
        self.store.barrier().after_sync(move || callback.io_completed(Ok(())));
        Ok(())
    }

    /// Not synced: what is appended in the place of the entries that go lies behind this in the write-ahead log.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        if self.state().last <= last {
            return Ok(());
        }
        let from = last.next_index();
        self.store.truncate_from(from).map_err(io::Error::other)?;
        let mut state = self.state();
        state.forget_from(from);
        state.last = last.max(state.purged);
        Ok(())
    }

    /// Not synced: the rows of what goes lie before this in the write-ahead log, so they are there if this is.
    async fn purge(&mut self, through: LogId) -> io::Result<()> {
        self.store.purge_through(through.index, &encode(&through)?).map_err(io::Error::other)?;
        let mut state = self.state();
        state.forget_through(through.index);
        state.purged = state.purged.max(Some(through));
        state.last = state.last.max(state.purged);
        Ok(())
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn read_meta<T: DeserializeOwned>(store: &ControlStore, name: ControlMeta) -> io::Result<Option<T>> {
    match store.meta(name).map_err(io::Error::other)? {
        Some(bytes) => decode(&bytes).map(Some),
        None => Ok(None),
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(io::Error::other)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}
