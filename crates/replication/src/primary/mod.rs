//! The instance that takes writes.
//!
//! It waits for every replica that the catalog calls `Ready` or `Sync`, and for each that it has asked to have made
//! `Ready`: the question may already be answered with yes (S3). So by the time the catalog says `Sync`, nothing has
//! been acknowledged for a while that the replica does not have.
//!
//! * S11: a replica is silent only while this process listens; the time that it slept is taken off.
//!
//! Not here: any say in who is primary or for how long a replica is waited for.
//! `peer.rs` is how far one replica is, `links.rs` what is said to replicas, `tick.rs` what time brings, `requests.rs`
//! what the master aggregator is told and asked for.

mod links;
mod peer;
mod requests;
mod tick;

use std::collections::{BTreeMap, VecDeque};

use baton_model::limits::{WRITES_IN_FLIGHT_BYTES_MAX, WRITES_IN_FLIGHT_MAX};
use baton_model::{Epoch, Instant, Lsn, NodeId, StatementId, SyncState, mutated};

use peer::Peer;
pub use requests::LAG_REPORT_AFTER;
pub use tick::TICK_GAP_MAX;

use crate::hand_over::{HandOver, HandOverError};
use crate::instance::{Effect, Log, WriteError};
use crate::outcomes::StatementOutcome;
use crate::record::{Payload, Record, Write};
use crate::view::View;

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

    /// Cuts the log, unless a replica is away: what that one lacks is kept as long as always.
    pub(crate) fn snapshot(&mut self, log: &mut Log, effects: &mut Vec<Effect>) {
        if self.peers.values().all(|peer| peer.link.is_some()) {
            let needed = self.first_needed();
            log.cut_before(needed.min(log.applied.next()), effects);
        } else {
            log.trim(self.first_needed(), effects);
        }
    }

    /// The first record that a replica which is linked now may still ask for.
    fn first_needed(&self) -> Lsn {
        let linked = self.peers.values().filter(|peer| peer.link.is_some());
        linked.map(Peer::needs).min().unwrap_or(Lsn(u64::MAX))
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
