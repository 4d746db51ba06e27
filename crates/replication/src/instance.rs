//! One copy of a partition: what it knows, and which of its two roles it plays.
//!
//! The shell gathers what happened since the last time and calls [`Instance::step`] with all of it, so that many
//! writes become one append, one sync and one message to each replica.
//! Effects are carried out in order. [`Effect::Append`] need not be durable when the next effect runs; that is what
//! [`Effect::Sync`] and [`Event::Durable`] are for, and nothing is acknowledged before them (S2).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use baton_model::limits::{LOG_BYTES_KEPT, LOG_RECORDS_KEPT, SYNC_REPLICA_TIMEOUT_MS};
use baton_model::{Epoch, Instant, Lsn, NodeId, PartitionId, StatementId, SyncState, mutated};

use crate::hand_over::{HandOver, HandOverError};
use crate::history::History;
use crate::message::Message;
use crate::outcomes::{Known, Outcomes, StatementOutcome};
use crate::primary::Primary;
use crate::record::{Record, Write};
use crate::replica::Replica;
use crate::sizes::Sizes;

/// What an instance found on its disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Saved {
    /// The newest epoch it knew.
    pub epoch: Epoch,
    /// The epochs of its log. Entries beyond `last` are left over from a write that was not finished.
    pub history: History,
    /// The first LSN whose record it still has; `last + 1` if it has none.
    pub first: Lsn,
    /// The end of its log.
    pub last: Lsn,
    /// About how many bytes its log has.
    pub log_bytes: u64,
    /// Its rows are as of this LSN.
    pub applied: Lsn,
    /// The records after `applied`, in order.
    pub unapplied: Vec<Record>,
    /// The statements that [`Effect::InstallCopy`] or [`Effect::SaveOutcomes`] came with, and those of its log, oldest
    /// first.
    pub outcomes: Vec<(StatementId, StatementOutcome)>,
}

/// Times and limits that the catalog sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a replica that is waited for may say nothing before it is usually given up. The master aggregator says
    /// when; here it only bounds when the first report is due.
    pub sync_replica_timeout: Duration,
    /// Records of the log that are kept behind its applied end, at most.
    pub log_records_kept: u64,
    /// Bytes of the log that are kept behind its applied end, about, at most.
    pub log_bytes_kept: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sync_replica_timeout: Duration::from_millis(SYNC_REPLICA_TIMEOUT_MS),
            log_records_kept: LOG_RECORDS_KEPT,
            log_bytes_kept: LOG_BYTES_KEPT,
        }
    }
}

/// What the newest catalog says about the partition. The shell has it durable before it hands it over, so that a
/// primary that is waited for by the catalog's word is waited for after a crash as well (S3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The partition's epoch.
    pub epoch: Epoch,
    /// The partition's version.
    pub version: u64,
    /// Who is primary.
    pub primary: NodeId,
    /// Whether this process may act, if it is the primary: the catalog knows this run of it, and its data is whole.
    pub armed: bool,
    /// The replicas, their states, and whether their nodes are online.
    pub replicas: BTreeMap<NodeId, (SyncState, bool)>,
    /// Whether replicas are meant to rise to `Sync`.
    pub sync_replication: bool,
    /// Whether a write is to be synced before it is acknowledged. The shell syncs accordingly from the step on that
    /// brings this view.
    pub sync_durability: bool,
    /// Whether the catalog believes that something acknowledged may not be synced everywhere.
    pub unsynced: bool,
    /// Times and limits.
    pub settings: Settings,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The catalog says this now.
    View(View),
    /// A client's write, its rows locked; the ticket comes back with the reply.
    Write {
        /// Names the write in the reply.
        ticket: u64,
        /// The epoch in which this instance served when the write was begun. In another one the rows that it was made
        /// of may have changed, although its locks were held all the time: it is refused.
        epoch: Epoch,
        /// What to write.
        write: Write,
    },
    /// A retry of a statement that the log holds already; answered like the write itself (S12).
    Await {
        /// Names the retry in the reply.
        ticket: u64,
        /// The statement.
        statement: StatementId,
    },
    /// The master aggregator is about to make a replica the primary, as planned: no new write is taken from now on, and
    /// [`Effect::Drained`] says when all that was taken before is committed, or that it was not in time. If no other
    /// primary is named after that, this one goes on, whatever became of the plan.
    HandOver {
        /// Names the plan in the answer.
        ticket: u64,
        /// The epoch that is to end.
        epoch: Epoch,
        /// The replica.
        to: NodeId,
        /// What is under way must end within this, or writes are taken again.
        drain: Duration,
        /// After it has ended, writes are taken again if nobody else is named within this.
        hold: Duration,
    },
    /// The answer to [`Effect::Sync`], with its numbers.
    Durable {
        /// The log is durable up to here, as the database's durability demands.
        lsn: Lsn,
        /// How often the log had been cut, or had come to be synced, when the sync was asked for.
        cuts: u64,
    },
    /// The link that this replica asked for is open.
    LinkUp {
        /// The primary.
        peer: NodeId,
        /// The link; every link has another number.
        link: u64,
    },
    /// A message came in on a link.
    Received {
        /// The sender.
        peer: NodeId,
        /// The link.
        link: u64,
        /// The message.
        message: Message,
    },
    /// A link is gone.
    LinkDown {
        /// Who was on the other side.
        peer: NodeId,
        /// The link.
        link: u64,
    },
    /// The answer to [`Effect::ReadLog`].
    LogRead {
        /// The replica it was read for.
        peer: NodeId,
        /// The link it was read for.
        link: u64,
        /// Records with consecutive LSNs; none if they are gone.
        records: Vec<Record>,
    },
    /// The answer to [`Effect::Provision`]: there is a copy that the replica can fetch.
    CopyReady {
        /// The replica.
        peer: NodeId,
        /// The link.
        link: u64,
        /// The number of the copy. No other copy that this node makes or made has it.
        copy: u64,
        /// Its rows are as of this LSN.
        at: Lsn,
        /// The epochs of the log when it was made. It may be an older one, kept since.
        history: History,
    },
    /// The answer to [`Effect::FetchCopy`]: all of the copy is on this disk, and it is what the primary made.
    CopyHere {
        /// The number of the copy.
        copy: u64,
    },
    /// The log is to be cut at its applied end, as far as no replica is about to ask for it.
    Snapshot,
    /// Some time has passed.
    Tick,
}

/// What to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write down the newest epoch and the epochs of the log. Comes before the records that need it.
    SaveEpochs {
        /// The newest epoch known (S5).
        epoch: Epoch,
        /// The epochs of the log.
        history: History,
    },
    /// Append to the log.
    Append(Vec<Record>),
    /// Cut everything after this LSN.
    Truncate(Lsn),
    /// Make everything so far durable, then say [`Event::Durable`] with these numbers.
    Sync {
        /// The end of the log.
        lsn: Lsn,
        /// How often the log was cut so far, or came to be synced: what was durable before a cut proves nothing of what
        /// came after it, and what was handed to the system before `SYNC DURABILITY` proves nothing of the disk.
        cuts: u64,
    },
    /// Write the rows of these records, with the LSN of the last.
    Apply(Vec<Record>),
    /// Forget the records before this LSN.
    Trim(Lsn),
    /// Write down the statements that are remembered and whose records are about to be forgotten, in the place of what
    /// was so written before: they come back before those of the log in [`Saved::outcomes`] (S12).
    SaveOutcomes(Vec<(StatementId, StatementOutcome)>),
    /// Send a message on a link. If the link is full or gone, say [`Event::LinkDown`].
    Send {
        /// The receiver.
        peer: NodeId,
        /// The link.
        link: u64,
        /// The message.
        message: Message,
    },
    /// Read records from this LSN on and answer with [`Event::LogRead`].
    ReadLog {
        /// For this replica.
        peer: NodeId,
        /// On this link.
        link: u64,
        /// The first LSN.
        from: Lsn,
    },
    /// Have a copy of all rows ready to be fetched, then say [`Event::CopyReady`]. It takes as long as it takes. If it
    /// cannot be made, close the link and say [`Event::LinkDown`].
    Provision {
        /// For this replica.
        peer: NodeId,
        /// On this link.
        link: u64,
        /// An older copy is of no use: the log after it is gone.
        at_least: Lsn,
        /// Whether it must be made now. Else one that was made before and kept will do, if it fits.
        fresh: bool,
    },
    /// Keep a link open to this node, and to no other; None: to nobody.
    Link(Option<NodeId>),
    /// Close a link, whoever opened it.
    CloseLink {
        /// Who is on the other side.
        peer: NodeId,
        /// The link.
        link: u64,
    },
    /// Answer a write.
    Reply {
        /// The write.
        ticket: u64,
        /// How it went.
        result: Result<StatementOutcome, WriteError>,
    },
    /// Tell the master aggregator that a replica keeps this primary waiting. What is done about it is decided there (S3).
    ReportLag {
        /// The epoch of this primary.
        epoch: Epoch,
        /// The version it acts under.
        version: u64,
        /// The replica.
        replica: NodeId,
        /// How it lags.
        lag: Lag,
    },
    /// Answer [`Event::HandOver`]: nothing is under way up to this LSN any more, or why it was not to be.
    Drained {
        /// The plan.
        ticket: u64,
        /// The end of the log.
        result: Result<Lsn, HandOverError>,
    },
    /// Ask the master aggregator to move a replica to this state, `Ready` or `Sync`.
    RequestSyncState {
        /// The epoch of this primary.
        epoch: Epoch,
        /// The version it acts under.
        version: u64,
        /// The replica.
        replica: NodeId,
        /// The state.
        state: SyncState,
        /// Why, for people.
        reason: String,
    },
    /// Tell the master aggregator that everything acknowledged is synced on every member of the in-sync set.
    RequestSynced {
        /// The epoch of this primary.
        epoch: Epoch,
        /// The version it acts under.
        version: u64,
    },
    /// From now on clients may read and write here, or may not any more.
    Serve(bool),
    /// Fetch this copy, beside what is here, then say [`Event::CopyHere`]. What was received of it before counts, also
    /// before a restart. If it cannot be had, close the link and say [`Event::LinkDown`]. Whatever else was being fetched
    /// is not wanted any more.
    FetchCopy {
        /// From this primary.
        peer: NodeId,
        /// The link that it is about.
        link: u64,
        /// The number of the copy.
        copy: u64,
    },
    /// Let a copy that is here take the place of everything that this instance has: its rows, an empty log after them,
    /// its epochs, and the statements that it remembers, which have no record in that log and come back before those of
    /// the log in [`Saved::outcomes`] (S12). After a crash before the end, the instance is as before, or empty.
    InstallCopy {
        /// The number of the copy.
        copy: u64,
        /// Its rows are as of this LSN.
        at: Lsn,
        /// The newest epoch known (S5).
        epoch: Epoch,
        /// The epochs of the log up to there (S6).
        history: History,
        /// The statements up to there, oldest first.
        outcomes: Vec<(StatementId, StatementOutcome)>,
    },
    /// Something that people should know was seen; the instance goes on.
    Report(String),
    /// Something that must never be was seen: stop this instance and report it.
    Halt(String),
}

/// How a replica keeps its primary waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lag {
    /// How long it has owed an acknowledgement, without what the primary itself slept (S11).
    pub silent: Duration,
    /// Whether it has a link to the primary.
    pub linked: bool,
    /// How many writes of clients wait for it.
    pub waiting_writes: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait: Duration,
}

/// Why a write was not carried out by this instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// This instance is no primary that serves, or not in the write's epoch. Nothing was done.
    NotPrimary,
    /// Too many writes wait for their commit. Nothing was done.
    TooManyInFlight,
    /// It is about to hand over to another instance. Nothing was done.
    HandingOver,
    /// It stopped being the primary while the write waited: the write is lost or will be committed by the next
    /// primary, which knows by the statement's id (S12).
    Deposed,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPrimary => "this instance is not the primary",
            Self::TooManyInFlight => "too many writes of this partition wait for their commit",
            Self::HandingOver => "this instance is about to hand over to another one",
            Self::Deposed => "this instance stopped being the primary before the write was committed",
        })
    }
}

impl std::error::Error for WriteError {}

/// The role an instance plays now.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// The catalog does not say, or this process may not act.
    Idle,
    Primary(Primary),
    Replica(Replica),
}

/// The log as far as both roles need it.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) epoch: Epoch,
    pub(crate) history: History,
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
    pub(crate) durable: Lsn,
    /// Whether `durable` means synced to disk; else, handed to the operating system.
    pub(crate) synced: bool,
    pub(crate) cuts: u64,
    pub(crate) commit: Lsn,
    pub(crate) applied: Lsn,
    /// The newest records, at least all that are not applied.
    pub(crate) recent: VecDeque<Record>,
    pub(crate) recent_bytes: usize,
    pub(crate) sizes: Sizes,
    pub(crate) settings: Settings,
    pub(crate) outcomes: Outcomes,
    /// Records of this step that are not handed to the shell yet.
    pub(crate) unwritten: Vec<Record>,
    /// The epochs changed in this step.
    pub(crate) epochs_changed: bool,
    pub(crate) sync_wanted: bool,
}

/// Log records are trimmed this many at a time.
const TRIM_STEP: u64 = 10_000;
/// Or once they have so many bytes.
const TRIM_BYTES: u64 = 16 << 20;
/// So many times the log is kept, at most, while a linked replica still needs it: a replica that is copied for longer
/// than the log is kept would otherwise be copied again, and again.
const HELD_TIMES: u64 = 4;
/// Bytes of applied records that are kept in memory for replicas that are a little behind.
const RECENT_BYTES_MAX: usize = 8 << 20;

impl Log {
    pub(crate) fn adopt(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.epochs_changed = true;
        }
    }

    /// The database's durability is this from now on.
    pub(crate) fn demand(&mut self, synced: bool) {
        self.sync_wanted |= synced != self.synced;
        if synced && !self.synced {
            // S2: what was handed to the operating system is not on disk by that.
            self.durable = Lsn(0);
            self.cuts += 1;
        }
        self.synced = synced;
    }

    pub(crate) fn push(&mut self, record: Record) {
        assert_eq!(record.lsn, self.last.next(), "a log has no gaps");
        if self.history.newest() != Some(record.epoch) {
            self.history.note(record.epoch, record.lsn);
            self.epochs_changed = true;
        }
        self.last = record.lsn;
        self.outcomes.note(&record);
        self.sizes.add(record.lsn, record.bytes() as u64);
        self.recent_bytes += record.bytes();
        self.recent.push_back(record.clone());
        self.unwritten.push(record);
        self.sync_wanted = true;
    }

    /// S6: what is cut was never committed.
    pub(crate) fn cut(&mut self, last: Lsn) {
        assert!(last >= self.applied, "S6: {last} would cut what is applied up to {}", self.applied);
        while self.recent.back().is_some_and(|record| record.lsn > last)
            && let Some(record) = self.recent.pop_back()
        {
            self.recent_bytes -= record.bytes();
        }
        self.history.cut(last);
        self.outcomes.cut(last);
        self.sizes.cut_after(last);
        self.last = last;
        self.durable = self.durable.min(last);
        self.cuts += 1;
        self.commit = self.commit.min(last);
        self.epochs_changed = true;
    }

    /// Hands what this step appended to the shell.
    pub(crate) fn write_out(&mut self, effects: &mut Vec<Effect>) {
        self.save_epochs(effects);
        if !self.unwritten.is_empty() {
            effects.push(Effect::Append(std::mem::take(&mut self.unwritten)));
        }
        if std::mem::take(&mut self.sync_wanted) {
            effects.push(Effect::Sync { lsn: self.last, cuts: self.cuts });
        }
    }

    pub(crate) fn save_epochs(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.epochs_changed) {
            effects.push(Effect::SaveEpochs { epoch: self.epoch, history: self.history.clone() });
        }
    }

    /// Applies what is committed.
    pub(crate) fn apply_committed(&mut self, effects: &mut Vec<Effect>) {
        let up_to = self.commit.min(self.last);
        if up_to <= self.applied {
            return;
        }
        let records: Vec<Record> = self.records_after(self.applied, usize::MAX, usize::MAX, up_to);
        assert_eq!(records.len() as u64, up_to.0 - self.applied.0, "what is not applied is in memory");
        self.applied = up_to;
        effects.push(Effect::Apply(records));
        while self.recent_bytes > RECENT_BYTES_MAX
            && self.recent.front().is_some_and(|record| record.lsn <= self.applied)
            && let Some(record) = self.recent.pop_front()
        {
            self.recent_bytes -= record.bytes();
        }
    }

    /// Forgets the oldest records once there are many more than are kept for replicas that catch up. From `needed`
    /// on, somebody is about to ask for them.
    pub(crate) fn trim(&mut self, needed: Lsn, effects: &mut Vec<Effect>) {
        let kept = |times: u64| {
            let records = self.settings.log_records_kept.saturating_mul(times);
            let by_count = Lsn(self.applied.0.saturating_sub(records) + 1);
            by_count.max(self.sizes.newest(self.settings.log_bytes_kept.saturating_mul(times)))
        };
        let keep_from = kept(1).min(needed).max(kept(HELD_TIMES)).min(self.applied.next());
        if keep_from.0 >= self.first.0 + TRIM_STEP
            || keep_from > self.first && self.sizes.before(keep_from) >= TRIM_BYTES
        {
            self.cut_before(keep_from, effects);
        }
    }

    /// Forgets the records before an LSN, which are applied, and keeps the statements in them that are remembered (S12).
    pub(crate) fn cut_before(&mut self, keep_from: Lsn, effects: &mut Vec<Effect>) {
        if keep_from <= self.first {
            return;
        }
        debug_assert!(keep_from <= self.applied.next(), "only what is applied is forgotten");
        let remembered = self.outcomes.up_to(Lsn(keep_from.0 - 1));
        if !remembered.is_empty() {
            effects.push(Effect::SaveOutcomes(remembered));
        }
        self.first = keep_from;
        self.sizes.cut_before(keep_from);
        effects.push(Effect::Trim(keep_from));
    }

    /// Records from memory after this LSN, up to the limits; the first one is given whatever its size.
    pub(crate) fn records_after(&self, after: Lsn, count: usize, bytes: usize, up_to: Lsn) -> Vec<Record> {
        let Some(front) = self.recent.front() else { return Vec::new() };
        let Some(skip) = (after.0 + 1).checked_sub(front.lsn.0) else { return Vec::new() };
        let mut taken: usize = 0;
        self.recent
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take_while(|record| record.lsn <= up_to)
            .take(count)
            .take_while(|record| {
                let first = taken == 0;
                taken = taken.saturating_add(record.bytes());
                first || taken <= bytes
            })
            .cloned()
            .collect()
    }
}

/// One copy of a partition.
#[derive(Clone, Debug)]
pub struct Instance {
    pub(crate) partition: PartitionId,
    pub(crate) node: NodeId,
    pub(crate) log: Log,
    pub(crate) role: Role,
    halted: bool,
}

impl Instance {
    /// The copy of a partition on a node, as it was found on disk.
    #[must_use]
    pub fn open(partition: PartitionId, node: NodeId, saved: Saved) -> Self {
        let mut history = if mutated!(LoseHistory) { History::default() } else { saved.history };
        history.cut(saved.last);
        let mut outcomes = Outcomes::default();
        for (statement, outcome) in saved.outcomes.into_iter().filter(|_| !mutated!(ForgetOutcomes)) {
            outcomes.insert(statement, outcome);
        }
        let log = Log {
            epoch: saved.epoch,
            history,
            first: saved.first.max(Lsn(1)),
            last: saved.last,
            // What was read back may still lie in the system's cache only.
            durable: Lsn(0),
            synced: true,
            cuts: 0,
            commit: saved.applied,
            applied: saved.applied,
            recent_bytes: saved.unapplied.iter().map(Record::bytes).sum(),
            recent: saved.unapplied.into(),
            sizes: Sizes::of(saved.first.max(Lsn(1)), saved.log_bytes),
            settings: Settings::default(),
            outcomes,
            unwritten: Vec::new(),
            epochs_changed: false,
            sync_wanted: true,
        };
        Self { partition, node, log, role: Role::Idle, halted: false }
    }

    /// What happened, in order. Answers with what to do, in order.
    pub fn step(&mut self, now: Instant, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            if self.halted {
                Self::turn_away(event, &mut effects);
                continue;
            }
            self.take(now, event, &mut effects);
        }
        if self.halted {
            return effects;
        }
        self.log.write_out(&mut effects);
        match &mut self.role {
            Role::Primary(primary) => primary.flush(now, &mut self.log, &mut effects),
            Role::Replica(replica) => replica.flush(&mut self.log, &mut effects),
            Role::Idle => {}
        }
        effects
    }

    /// What a halted instance answers: nobody waits for it.
    fn turn_away(event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Write { ticket, .. } | Event::Await { ticket, .. } => {
                effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) });
            }
            Event::HandOver { ticket, .. } => {
                effects.push(Effect::Drained { ticket, result: Err(HandOverError::NotPrimary) });
            }
            Event::LinkUp { peer, link } | Event::Received { peer, link, .. } => {
                effects.push(Effect::CloseLink { peer, link });
            }
            _ => {}
        }
    }

    fn take(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::View(view) => self.see(now, view, effects),
            Event::Write { ticket, epoch, write } => match &mut self.role {
                Role::Primary(primary) => primary.write(now, ticket, epoch, write, &mut self.log, effects),
                _ => effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) }),
            },
            Event::Await { ticket, statement } => match &mut self.role {
                Role::Primary(primary) => primary.await_statement(ticket, statement, &self.log, effects),
                _ => effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) }),
            },
            Event::HandOver { ticket, epoch, to, drain, hold } => match &mut self.role {
                Role::Primary(primary) => {
                    let plan = HandOver::new(ticket, to, now + drain, hold);
                    primary.begin_hand_over(epoch, plan, effects);
                }
                _ => effects.push(Effect::Drained { ticket, result: Err(HandOverError::NotPrimary) }),
            },
            Event::Durable { lsn, cuts } => {
                if cuts == self.log.cuts {
                    self.log.durable = self.log.durable.max(lsn);
                }
            }
            Event::Received { peer, link, message } => {
                let outcome = match &mut self.role {
                    Role::Primary(primary) => {
                        primary.receive(now, peer, link, message, &mut self.log, effects);
                        Ok(())
                    }
                    Role::Replica(replica) => replica.receive(peer, link, message, &mut self.log, effects),
                    Role::Idle => {
                        effects.push(Effect::CloseLink { peer, link });
                        Ok(())
                    }
                };
                if let Err(reason) = outcome {
                    self.halt(reason, effects);
                }
            }
            Event::LinkUp { peer, link } => {
                if let Role::Replica(replica) = &mut self.role {
                    replica.link_up(peer, link, &self.log, effects);
                }
            }
            Event::LinkDown { peer, link } => match &mut self.role {
                Role::Primary(primary) => primary.link_down(now, peer, link),
                Role::Replica(replica) => replica.link_down(link),
                Role::Idle => {}
            },
            Event::LogRead { peer, link, records } => {
                if let Role::Primary(primary) = &mut self.role {
                    primary.log_read(peer, link, records, &self.log, effects);
                }
            }
            Event::CopyReady { peer, link, copy, at, history } => {
                if let Role::Primary(primary) = &mut self.role {
                    primary.copy_ready(now, peer, link, (copy, at, &history), &self.log, effects);
                }
            }
            Event::CopyHere { copy } => {
                if let Role::Replica(replica) = &mut self.role {
                    replica.copy_here(copy, &mut self.log, effects);
                }
            }
            Event::Snapshot => match &mut self.role {
                Role::Primary(primary) => primary.snapshot(&mut self.log, effects),
                Role::Replica(_) => self.log.cut_before(self.log.applied.next(), effects),
                Role::Idle => {}
            },
            Event::Tick => match &mut self.role {
                Role::Primary(primary) => primary.tick(now, &mut self.log, effects),
                Role::Replica(_) => self.log.trim(Lsn(u64::MAX), effects),
                Role::Idle => {}
            },
        }
    }

    fn see(&mut self, now: Instant, view: View, effects: &mut Vec<Effect>) {
        self.log.demand(view.sync_durability);
        if view.epoch < self.log.epoch {
            return; // S5: a catalog that is behind what this instance has already seen.
        }
        self.log.settings = view.settings;
        if view.primary == self.node {
            if let Role::Primary(primary) = &mut self.role
                && self.log.epoch == view.epoch
                && view.armed
            {
                primary.see(now, view, effects);
                return;
            }
            self.step_down(effects);
            if !view.armed {
                return;
            }
            if self.log.history.newest().is_some_and(|newest| newest >= view.epoch) {
                let reason = format!(
                    "S1: told to be primary at {}, but the log has records of {}",
                    view.epoch, self.log.history
                );
                self.halt(reason, effects);
                return;
            }
            self.log.adopt(view.epoch);
            self.role = Role::Primary(Primary::begin(now, view, &mut self.log, effects));
        } else if let Some((state, _)) = view.replicas.get(&self.node) {
            if let Role::Replica(replica) = &mut self.role
                && replica.primary == view.primary
                && self.log.epoch == view.epoch
            {
                replica.see(view.epoch, *state, &self.log, effects);
            } else {
                self.step_down(effects);
                self.log.adopt(view.epoch);
                self.role = Role::Replica(Replica::new(view.primary, view.epoch, *state));
                effects.push(Effect::Link(Some(view.primary)));
            }
        } else {
            self.step_down(effects);
        }
    }

    /// Leaves the present role. Writes that wait are given up, even if an acknowledgement is on its way.
    fn step_down(&mut self, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.role, Role::Idle) {
            Role::Primary(primary) => primary.end(effects),
            Role::Replica(_) => effects.push(Effect::Link(None)),
            Role::Idle => {}
        }
    }

    fn halt(&mut self, reason: String, effects: &mut Vec<Effect>) {
        self.step_down(effects);
        self.halted = true;
        effects.push(Effect::Halt(reason));
    }

    /// What is known of a statement. A write asks once its rows are locked, before it reads them (S12).
    #[must_use]
    pub fn known(&self, statement: StatementId) -> Known {
        match self.log.outcomes.get(statement) {
            None => Known::No,
            Some(outcome) if outcome.lsn <= self.log.applied => Known::Committed(outcome),
            Some(outcome) => Known::InFlight(outcome),
        }
    }

    /// Whether nothing can come of it that time passes, until something happens: then ticks may be rare, and one of them
    /// comes before whatever happens next, so that the pause is no stall (S11).
    /// Whoever lets a primary do something because of the time says so in `Primary::is_at_rest`.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        match &self.role {
            Role::Primary(primary) => primary.is_at_rest(&self.log),
            // A tick trims what was applied, and it has come since.
            Role::Replica(_) | Role::Idle => true,
        }
    }

    /// Whether clients may read and write here.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.serves())
    }

    /// Whether it is the primary, and nobody can take its place unless it asks the master aggregator for something
    /// first: no replica is in sync, and none can become so by what was asked before. Nothing that is promotable comes
    /// about in any other way, but for what an operator does with loss.
    #[must_use]
    pub fn is_irreplaceable(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.is_irreplaceable())
    }

    /// Whether it is a primary that has said that nothing is under way any more, so that another one may be named at any
    /// moment: what is read here from then on may be the past before this instance knows it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.is_drained())
    }

    /// The newest epoch it knows.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.log.epoch
    }

    /// The end of its log, its commit point, and how far its rows are.
    #[must_use]
    pub fn positions(&self) -> (Lsn, Lsn, Lsn) {
        (self.log.last, self.log.commit, self.log.applied)
    }

    /// The partition it is a copy of.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// `primary`, `replica` or `idle`, for logs.
    #[must_use]
    pub fn role_name(&self) -> &'static str {
        match self.role {
            _ if self.halted => "halted",
            Role::Idle => "idle",
            Role::Primary(_) => "primary",
            Role::Replica(_) => "replica",
        }
    }
}
