//! What time brings to a primary, and whether it can bring anything.
//!
//! * S11: the time that this process slept is taken off before anybody is found silent.
//! * While `is_at_rest`, a tick does nothing but trim the log.
//!
//! Not here: what is said of those who are behind (`requests.rs`).

use std::time::Duration;

use baton_model::{Instant, Lsn, SyncState};

use super::Primary;
use crate::hand_over::HandOverError;
use crate::instance::{Effect, Log};
use crate::message::Message;

/// Two ticks further apart than this are a stall of this process: what is beyond counts against no replica (S11).
pub const TICK_GAP_MAX: Duration = Duration::from_millis(100);

impl Primary {
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
}
