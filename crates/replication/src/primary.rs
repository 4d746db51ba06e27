//! The instance that takes writes.
//!
//! It waits for every replica that the catalog calls `Ready` or `Sync`, and for each that it has asked to have made
//! `Ready`: the question may already be answered with yes (S3). So by the time the catalog says `Sync`, nothing has
//! been acknowledged for a while that the replica does not have.
//!
//! * S11: a replica is silent only while this process listens; the time that it slept is taken off.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_model::limits::{
    REPLICATION_BATCH_BYTES_MAX, REPLICATION_BATCH_RECORDS_MAX, WRITES_IN_FLIGHT_BYTES_MAX,
    WRITES_IN_FLIGHT_MAX,
};
use baton_model::{Epoch, Instant, Lsn, NodeId, StatementId, SyncState, mutated};

use crate::hand_over::{HandOver, HandOverError};
use crate::history::History;
use crate::instance::{Effect, Lag, Log, WriteError};
use crate::message::Message;
use crate::outcomes::StatementOutcome;
use crate::record::{Payload, Record, Write};
use crate::view::View;

/// Records on their way to one replica, at most. A replica that lacks no more than these is close enough to be waited
/// for: it has all of them already, or will within a round trip and a sync.
const WINDOW_RECORDS: u64 = 4 * REPLICATION_BATCH_RECORDS_MAX as u64;
/// Bytes on their way to one replica, about: there may be one message more.
const WINDOW_BYTES: usize = 4 * REPLICATION_BATCH_BYTES_MAX;
/// Two ticks further apart than this are a stall of this process: what is beyond counts against no replica (S11).
pub const TICK_GAP_MAX: Duration = Duration::from_millis(100);
/// A replica that owes an acknowledgement for this long is reported to the master aggregator; sooner, if
/// `sync_replica_timeout_ms` is less.
pub const LAG_REPORT_AFTER: Duration = Duration::from_millis(500);
/// An unanswered request to the master aggregator, or a report, is repeated after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How far one replica is.
#[derive(Clone, Debug, Default)]
struct Peer {
    link: Option<u64>,
    /// The version at which it asked to follow on this link.
    followed_at: u64,
    /// The next record to send; while it is provisioned, the one after the copy.
    next: Lsn,
    /// The first record that it was or will be sent on this link.
    from: Lsn,
    /// Of each message on its way, the last record and the bytes.
    on_the_way: VecDeque<(Lsn, usize)>,
    bytes_on_the_way: usize,
    /// It has everything up to here, at least in the hands of its operating system.
    matched: Lsn,
    /// It has everything up to here synced; all that counts under `SYNC DURABILITY` (S2).
    synced: Lsn,
    /// The commit point that it was told.
    told: Lsn,
    /// Records for it are being read from disk.
    reading: bool,
    /// It is to have a copy, and has not acknowledged it yet.
    provisioning: bool,
    /// It was refused one that did not fit.
    wants_fresh: bool,
    /// The newest version under which `Ready` was asked for, while the catalog says `Async`.
    asked_ready: Option<u64>,
    /// It was reported since, so that `Async` may be the answer.
    giving_up: bool,
    /// Since when it owes an acknowledgement.
    behind_since: Option<Instant>,
    asked_at: Option<Instant>,
}

impl Peer {
    /// It starts over on a new link, with what it has; the next record is to come from here.
    fn start_over(&mut self, next: Lsn) {
        self.reading = false;
        self.provisioning = false;
        self.wants_fresh = false;
        self.matched = Lsn(0);
        self.synced = Lsn(0);
        self.told = Lsn(0);
        self.next = next;
        self.from = next;
        self.on_the_way.clear();
        self.bytes_on_the_way = 0;
    }

    fn note_sent(&mut self, records: &[Record]) {
        let Some(last) = records.last() else { return };
        let bytes = records.iter().map(Record::bytes).sum();
        self.next = last.lsn.next();
        self.on_the_way.push_back((last.lsn, bytes));
        self.bytes_on_the_way += bytes;
    }

    /// How much it has that counts now.
    fn has(&self, log: &Log) -> Lsn {
        if log.synced { self.synced } else { self.matched }
    }

    fn note_acknowledged(&mut self, durable: Lsn, synced: bool) {
        self.matched = self.matched.max(durable);
        if synced {
            self.synced = self.synced.max(durable);
        }
        while let Some((_, bytes)) = self.on_the_way.pop_front_if(|(last, _)| *last <= durable) {
            self.bytes_on_the_way -= bytes;
        }
    }

    fn has_room(&self) -> bool {
        self.next.0.saturating_sub(self.matched.0) <= WINDOW_RECORDS && self.bytes_on_the_way < WINDOW_BYTES
    }

    /// The first record that it may ask for, now or after its link was lost.
    fn needs(&self) -> Lsn {
        if self.matched > Lsn(0) { self.matched.next() } else { self.from }
    }
}

/// A write that waits for its commit.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    lsn: Lsn,
    bytes: usize,
    since: Instant,
}

/// A primary's state in one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    view: View,
    /// The last tick.
    ticked: Instant,
    peers: BTreeMap<NodeId, Peer>,
    /// Where the record of this epoch's start stands. Once it is applied, clients are served.
    epoch_start: Lsn,
    serving: bool,
    /// The tickets that wait, by the LSN they wait for.
    pending: BTreeMap<Lsn, Vec<(u64, StatementOutcome)>>,
    pending_count: usize,
    /// The writes that are not applied.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When it last said that the partition is synced.
    said_synced_at: Option<Instant>,
    /// While this is there, no new write is taken.
    hand_over: Option<HandOver>,
}

impl Primary {
    /// Begins an epoch: its first record seals everything before it.
    pub(crate) fn begin(now: Instant, view: View, log: &mut Log, effects: &mut Vec<Effect>) -> Self {
        let epoch_start = log.last.next();
        log.push(Record { epoch: view.epoch, lsn: epoch_start, payload: Payload::EpochStart });
        let mut primary = Self {
            view: View { replicas: BTreeMap::new(), ..view.clone() },
            ticked: now,
            peers: BTreeMap::new(),
            epoch_start,
            serving: false,
            pending: BTreeMap::new(),
            pending_count: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            said_synced_at: None,
            hand_over: None,
        };
        primary.see(now, view, effects);
        primary
    }

    /// The catalog has moved on within this epoch.
    pub(crate) fn see(&mut self, now: Instant, view: View, effects: &mut Vec<Effect>) {
        if view.version < self.view.version {
            return;
        }
        self.peers.retain(|node, peer| {
            let stays = view.replicas.contains_key(node);
            // It may be a replica again before its leaf has seen that it was none: then it must follow anew.
            if !stays && let Some(link) = peer.link {
                effects.push(Effect::CloseLink { peer: *node, link });
            }
            stays
        });
        for (node, (state, _)) in &view.replicas {
            let peer = self.peers.entry(*node).or_default();
            if self.view.replicas.get(node).is_some_and(|(before, _)| before != state) {
                peer.asked_at = None; // That question is answered; the next one need not wait.
            }
            if *state != SyncState::Async {
                peer.asked_ready = None;
            } else if (peer.link.is_none() || peer.giving_up || !view.sync_replication)
                && peer.asked_ready.is_some_and(|asked| view.version > asked)
            {
                // S3: the version has moved past every request of ours, so none can be granted any more.
                peer.asked_ready = None;
                peer.giving_up = false;
            }
            let waited = *state != SyncState::Async || peer.asked_ready.is_some();
            if !waited {
                peer.behind_since = None;
            } else if peer.link.is_none() {
                peer.behind_since.get_or_insert(now);
            }
        }
        self.view = view;
        if self.hand_over.as_ref().is_some_and(|plan| !Self::is_heir(&self.view, plan.to)) {
            self.end_hand_over(HandOverError::NotSync, effects);
        }
    }

    /// Whether a replica may be handed over to (S4).
    fn is_heir(view: &View, to: NodeId) -> bool {
        view.replicas.get(&to).is_some_and(|(state, online)| *state == SyncState::Sync && *online)
    }

    /// Stops taking writes. A plan from before is given up.
    pub(crate) fn begin_hand_over(&mut self, epoch: Epoch, plan: HandOver, effects: &mut Vec<Effect>) {
        let refusal = if !self.serving || epoch != self.view.epoch {
            Some(HandOverError::NotPrimary)
        } else if !Self::is_heir(&self.view, plan.to) {
            Some(HandOverError::NotSync)
        } else {
            None
        };
        if let Some(error) = refusal {
            plan.refuse(error, effects);
            return;
        }
        self.end_hand_over(HandOverError::Superseded, effects);
        self.hand_over = Some(plan);
    }

    /// From now on writes are taken again.
    fn end_hand_over(&mut self, why: HandOverError, effects: &mut Vec<Effect>) {
        if let Some(plan) = self.hand_over.take() {
            plan.refuse(why, effects);
        }
    }

    /// Says once that nothing is under way any more: all is committed, so the whole in-sync set has it.
    fn note_drained(&mut self, now: Instant, log: &Log, effects: &mut Vec<Effect>) {
        let Some(plan) = &mut self.hand_over else { return };
        let has_all =
            self.peers.get(&plan.to).is_some_and(|peer| peer.link.is_some() && peer.matched == log.last);
        if log.applied == log.last && has_all {
            plan.drained(now, log.last, effects);
        }
    }

    fn waits_for(view: &View, node: NodeId, peer: &Peer) -> bool {
        if mutated!(DropReplicaEarly) && peer.giving_up {
            return false;
        }
        peer.asked_ready.is_some()
            || view.replicas.get(&node).is_some_and(|(state, _)| *state != SyncState::Async)
    }

    /// Whether it has said that nothing is under way any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.hand_over.as_ref().is_some_and(HandOver::is_drained)
    }

    pub(crate) fn is_irreplaceable(&self) -> bool {
        !self.peers.iter().any(|(node, peer)| Self::waits_for(&self.view, *node, peer))
    }

    pub(crate) fn serves(&self) -> bool {
        self.serving
    }

    pub(crate) fn write(
        &mut self,
        now: Instant,
        ticket: u64,
        epoch: Epoch,
        write: Write,
        log: &mut Log,
        effects: &mut Vec<Effect>,
    ) {
        if !self.serving {
            effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) });
            return;
        }
        // S12: the statement may have come before, through another connection.
        if log.outcomes.get(write.statement).is_some() {
            self.await_statement(ticket, write.statement, log, effects);
            return;
        }
        if epoch != self.view.epoch {
            effects.push(Effect::Reply { ticket, result: Err(WriteError::NotPrimary) });
            return;
        }
        if self.hand_over.is_some() {
            effects.push(Effect::Reply { ticket, result: Err(WriteError::HandingOver) });
            return;
        }
        if self.pending_count >= WRITES_IN_FLIGHT_MAX || self.in_flight_bytes >= WRITES_IN_FLIGHT_BYTES_MAX {
            effects.push(Effect::Reply { ticket, result: Err(WriteError::TooManyInFlight) });
            return;
        }
        let lsn = log.last.next();
        let outcome = StatementOutcome { lsn, affected_rows: write.affected_rows };
        let record = Record { epoch: self.view.epoch, lsn, payload: Payload::Write(write) };
        self.in_flight.push_back(InFlight { lsn, bytes: record.bytes(), since: now });
        self.in_flight_bytes += record.bytes();
        log.push(record);
        self.pending.entry(lsn).or_default().push((ticket, outcome));
        self.pending_count += 1;
    }

    /// Answers with the outcome of a statement that the log holds, once it is committed.
    pub(crate) fn await_statement(
        &mut self,
        ticket: u64,
        statement: StatementId,
        log: &Log,
        effects: &mut Vec<Effect>,
    ) {
        match log.outcomes.get(statement) {
            Some(outcome) if outcome.lsn <= log.applied => {
                effects.push(Effect::Reply { ticket, result: Ok(outcome) });
            }
            Some(outcome) => {
                self.pending.entry(outcome.lsn).or_default().push((ticket, outcome));
                self.pending_count += 1;
            }
            None => effects.push(Effect::Reply { ticket, result: Err(WriteError::Deposed) }),
        }
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        node: NodeId,
        link: u64,
        message: Message,
        log: &mut Log,
        effects: &mut Vec<Effect>,
    ) {
        if message.epoch() > log.epoch && !mutated!(SkipEpochCheck) {
            // S5: somebody newer is primary. The catalog will say so; until then nothing more is committed.
            effects.push(Effect::CloseLink { peer: node, link });
            self.link_down(now, node, link);
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else {
            effects.push(Effect::CloseLink { peer: node, link });
            return;
        };
        match message {
            Message::Follow { history, last, .. } => {
                if let Some(old) = peer.link.replace(link)
                    && old != link
                {
                    effects.push(Effect::CloseLink { peer: node, link: old });
                }
                peer.followed_at = self.view.version;
                let keep = log.history.common(log.last, &history, last);
                let empty = last == Lsn(0) && log.applied > Lsn(0);
                if empty || keep.next() < log.first {
                    // From here on the log is held for it.
                    peer.start_over(log.first);
                    peer.provisioning = true;
                    let at_least = Lsn(log.first.0 - 1);
                    effects.push(Effect::Provision { peer: node, link, at_least, fresh: false });
                } else {
                    peer.start_over(keep.next());
                    let message = Message::Start { epoch: log.epoch, keep };
                    effects.push(Effect::Send { peer: node, link, message });
                }
            }
            Message::Ack { epoch, durable, synced } if epoch == log.epoch && peer.link == Some(link) => {
                let before = peer.has(log);
                if durable > peer.matched {
                    // What it acknowledges while it is copied is the copy.
                    peer.provisioning &= durable.next() < peer.next;
                }
                peer.note_acknowledged(durable.min(log.last), synced);
                let has = peer.has(log);
                if has > before {
                    peer.behind_since = (has < log.last).then_some(now);
                }
            }
            Message::Ack { .. } | Message::Refused { .. } => {}
            _ => effects.push(Effect::CloseLink { peer: node, link }),
        }
    }

    pub(crate) fn link_down(&mut self, now: Instant, node: NodeId, link: u64) {
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.link == Some(link)
        {
            peer.link = None;
            peer.reading = false;
            peer.provisioning = false;
            peer.behind_since.get_or_insert(now);
        }
    }

    pub(crate) fn log_read(
        &mut self,
        node: NodeId,
        link: u64,
        records: Vec<Record>,
        log: &Log,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.link != Some(link) || !std::mem::take(&mut peer.reading) {
            return;
        }
        match records.first() {
            Some(first) if first.lsn == peer.next => {
                let after = Lsn(first.lsn.0 - 1);
                peer.note_sent(&records);
                peer.told = log.commit;
                let message = Message::Append { epoch: log.epoch, after, records, commit: log.commit };
                effects.push(Effect::Send { peer: node, link, message });
            }
            // The records were trimmed meanwhile: the replica starts over, and gets the rows.
            _ => {
                effects.push(Effect::CloseLink { peer: node, link });
                peer.link = None;
            }
        }
    }

    /// S6: a copy that was kept may be of rows that this log never had, after a power cut that took committed records
    /// (`ASYNC DURABILITY`). Its epochs tell.
    pub(crate) fn copy_ready(
        &mut self,
        now: Instant,
        node: NodeId,
        link: u64,
        (copy, at, made_with): (u64, Lsn, &History),
        log: &Log,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.link != Some(link) || !peer.provisioning {
            return;
        }
        let fits =
            at <= log.applied && at.next() >= log.first && log.history.common(log.last, made_with, at) == at;
        if !fits && !std::mem::replace(&mut peer.wants_fresh, true) {
            let at_least = Lsn(log.first.0 - 1);
            effects.push(Effect::Provision { peer: node, link, at_least, fresh: true });
            return;
        }
        if !fits {
            effects.push(Effect::CloseLink { peer: node, link });
            self.link_down(now, node, link);
            return;
        }
        peer.next = at.next();
        peer.from = at.next();
        let mut history = log.history.clone();
        history.cut(at);
        let outcomes = log.outcomes.up_to(at);
        let message = Message::Provision { epoch: log.epoch, copy, at, history, outcomes };
        effects.push(Effect::Send { peer: node, link, message });
    }

    /// Time-outs, requests to the master aggregator, and what makes quiet replicas learn of the commit point.
    pub(crate) fn tick(&mut self, now: Instant, log: &mut Log, effects: &mut Vec<Effect>) {
        if self.hand_over.as_ref().is_some_and(|plan| now >= plan.until()) {
            self.end_hand_over(HandOverError::NotDrained, effects);
        }
        self.forgive_own_stall(now);
        self.note_who_is_behind(now, log);
        self.ask(now, log, effects);
        self.say_synced(now, log, effects);
        log.trim(self.first_needed(), effects);
        for (node, peer) in &mut self.peers {
            if let Some(link) = peer.link
                && !peer.provisioning
                && peer.told < log.commit
                && peer.next > log.commit
            {
                peer.told = log.commit;
                let after = Lsn(peer.next.0 - 1);
                let message =
                    Message::Append { epoch: log.epoch, after, records: Vec::new(), commit: log.commit };
                effects.push(Effect::Send { peer: *node, link, message });
            }
        }
    }

    /// Cuts the log, unless a replica is away: what that one lacks is kept as long as always.
    pub(crate) fn snapshot(&mut self, log: &mut Log, effects: &mut Vec<Effect>) {
        if self.peers.values().all(|peer| peer.link.is_some()) {
            let needed = self.first_needed();
            log.cut_before(needed.min(log.applied.next()), effects);
        } else {
            log.trim(self.first_needed(), effects);
        }
    }

    /// Whether nothing can come of it that time passes: everybody has everything, knows that it is committed, and is
    /// what it should be, and no hand-over is under way.
    pub(crate) fn is_at_rest(&self, log: &Log) -> bool {
        self.serving
            && self.pending_count == 0
            && self.hand_over.is_none()
            && !(self.view.unsynced && log.synced)
            && self.peers.iter().all(|(node, peer)| {
                let Some((state, online)) = self.view.replicas.get(node).copied() else { return false };
                let has_all = peer.matched == log.last && peer.has(log) == log.last;
                let follows = peer.link.is_some() && has_all && peer.told == log.commit;
                let settled = peer.asked_ready.is_none() && peer.behind_since.is_none();
                let away = state == SyncState::Async && !online && peer.link.is_none();
                let left_async = state == SyncState::Async && !self.view.sync_replication;
                settled && (away || follows && (state == SyncState::Sync || left_async))
            })
    }

    /// S11: while this process did not run, no replica could be heard.
    fn forgive_own_stall(&mut self, now: Instant) {
        let slept = now.since(self.ticked).saturating_sub(TICK_GAP_MAX);
        self.ticked = now;
        if slept.is_zero() {
            return;
        }
        let peers = self.peers.values_mut().filter_map(|peer| peer.behind_since.as_mut());
        for since in peers.chain(self.in_flight.iter_mut().map(|write| &mut write.since)) {
            *since = (*since + slept).min(now);
        }
    }

    /// The first record that a replica which is linked now may still ask for.
    fn first_needed(&self) -> Lsn {
        let linked = self.peers.values().filter(|peer| peer.link.is_some());
        linked.map(Peer::needs).min().unwrap_or(Lsn(u64::MAX))
    }

    fn note_who_is_behind(&mut self, now: Instant, log: &Log) {
        for (node, peer) in &mut self.peers {
            let lagging = peer.link.is_none() || peer.has(log) < log.last;
            if !lagging || !Self::waits_for(&self.view, *node, peer) {
                peer.behind_since = None;
            } else {
                peer.behind_since.get_or_insert(now);
            }
        }
    }

    fn ask(&mut self, now: Instant, log: &Log, effects: &mut Vec<Effect>) {
        let report_after = self.view.settings.sync_replica_timeout.min(LAG_REPORT_AFTER);
        for (node, peer) in &mut self.peers {
            let Some((state, online)) = self.view.replicas.get(node).copied() else { continue };
            let has = peer.has(log);
            let close = peer.link.is_some()
                && !peer.provisioning
                && log.last.0.saturating_sub(has.0) <= WINDOW_RECORDS
                && has > Lsn(0);
            let silent = peer.behind_since.map_or(Duration::ZERO, |since| now.since(since));
            let gone = peer.link.is_none() && !online;
            if Self::waits_for(&self.view, *node, peer) && (silent >= report_after || gone) {
                if peer.asked_at.is_none_or(|at| now.since(at) >= ASK_AGAIN) {
                    peer.asked_at = Some(now);
                    peer.giving_up = true;
                    // In the order of their positions, and so of their age.
                    let after = self.in_flight.partition_point(|write| write.lsn <= has);
                    let oldest =
                        self.in_flight.get(after).map_or(Duration::ZERO, |write| now.since(write.since));
                    let lag = Lag {
                        silent,
                        linked: peer.link.is_some(),
                        waiting_writes: (self.in_flight.len() - after) as u64,
                        oldest_wait: oldest,
                    };
                    effects.push(Effect::ReportLag {
                        epoch: self.view.epoch,
                        version: self.view.version,
                        replica: *node,
                        lag,
                    });
                }
                continue;
            }
            let (wish, reason) =
                if state == SyncState::Async && self.serving && self.view.sync_replication && online && close
                {
                    (SyncState::Ready, format!("it has the log up to {has}"))
                } else if state == SyncState::Ready && self.serving && close && has >= log.commit {
                    // S4: only once it serves does a primary know all that was committed before its time.
                    (SyncState::Sync, format!("it has every commit up to {}", log.commit))
                } else {
                    continue;
                };
            if wish == SyncState::Ready && peer.followed_at != self.view.version {
                // S4: what it acknowledged on this link may have been on a disk that is gone, and the catalog has
                // moved since to say so. It has to show again what it has.
                if let Some(link) = peer.link.take() {
                    effects.push(Effect::CloseLink { peer: *node, link });
                }
                if peer.asked_ready.is_some_and(|asked| self.view.version > asked) {
                    peer.asked_ready = None; // S3: it cannot be granted any more.
                }
                continue;
            }
            if peer.asked_at.is_some_and(|at| now.since(at) < ASK_AGAIN) {
                continue;
            }
            peer.asked_at = Some(now);
            if wish == SyncState::Ready {
                // S3: from the moment it is asked for, the answer may be yes.
                peer.asked_ready = Some(self.view.version);
            }
            peer.giving_up = false;
            effects.push(Effect::RequestSyncState {
                epoch: self.view.epoch,
                version: self.view.version,
                replica: *node,
                state: wish,
                reason,
            });
        }
    }

    /// S2: says so once all that was acknowledged, in whatever sense, is synced on all who must have it. What is
    /// acknowledged after that is synced before.
    fn say_synced(&mut self, now: Instant, log: &Log, effects: &mut Vec<Effect>) {
        let mut waited = self.peers.iter().filter(|(node, peer)| Self::waits_for(&self.view, **node, peer));
        let synced = log.synced
            && self.serving
            && log.durable >= log.commit
            && waited.all(|(_, peer)| peer.synced >= log.commit);
        if self.view.unsynced && synced && self.said_synced_at.is_none_or(|at| now.since(at) >= ASK_AGAIN) {
            self.said_synced_at = Some(now);
            effects.push(Effect::RequestSynced { epoch: self.view.epoch, version: self.view.version });
        }
    }

    /// After a batch of events: send, commit, apply, answer.
    pub(crate) fn flush(&mut self, now: Instant, log: &mut Log, effects: &mut Vec<Effect>) {
        for (node, peer) in &mut self.peers {
            let waited = Self::waits_for(&self.view, *node, peer);
            Self::send(*node, peer, log, effects);
            if waited && peer.has(log) < log.last {
                peer.behind_since.get_or_insert(now);
            }
        }
        // S2: the least of all that must have it.
        let commit = self
            .peers
            .iter()
            .filter(|(node, peer)| Self::waits_for(&self.view, **node, peer) && !mutated!(AckBeforeInSync))
            .map(|(_, peer)| peer.has(log))
            .fold(log.durable, Lsn::min);
        log.commit = log.commit.max(commit);
        log.apply_committed(effects);
        if !self.serving && log.applied >= self.epoch_start {
            self.serving = true;
            effects.push(Effect::Serve(true));
        }
        while let Some(write) = self.in_flight.pop_front_if(|write| write.lsn <= log.applied) {
            self.in_flight_bytes -= write.bytes;
        }
        while let Some(entry) = self.pending.first_entry()
            && *entry.key() <= log.applied
        {
            for (ticket, outcome) in entry.remove() {
                self.pending_count -= 1;
                effects.push(Effect::Reply { ticket, result: Ok(outcome) });
            }
        }
        self.note_drained(now, log, effects);
    }

    fn send(node: NodeId, peer: &mut Peer, log: &Log, effects: &mut Vec<Effect>) {
        let Some(link) = peer.link else { return };
        while !peer.provisioning && !peer.reading && peer.next <= log.last && peer.has_room() {
            let after = Lsn(peer.next.0 - 1);
            let records = log.records_after(
                after,
                REPLICATION_BATCH_RECORDS_MAX,
                REPLICATION_BATCH_BYTES_MAX,
                log.last,
            );
            if records.is_empty() {
                peer.reading = true;
                effects.push(Effect::ReadLog { peer: node, link, from: peer.next });
                return;
            }
            peer.note_sent(&records);
            peer.told = log.commit;
            let message = Message::Append { epoch: log.epoch, after, records, commit: log.commit };
            effects.push(Effect::Send { peer: node, link, message });
        }
    }

    /// Ends the epoch for this instance: nobody is served, no waiting write is acknowledged, whatever comes in late.
    pub(crate) fn end(mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Serve(false));
        self.end_hand_over(HandOverError::NotPrimary, effects);
        for (ticket, _) in self.pending.into_values().flatten() {
            effects.push(Effect::Reply { ticket, result: Err(WriteError::Deposed) });
        }
        for (node, peer) in self.peers {
            if let Some(link) = peer.link {
                effects.push(Effect::CloseLink { peer: node, link });
            }
        }
    }
}
