//! What a primary tells the master aggregator and asks of it: who lags, who may rise, that all is synced.
//!
//! * S3: a replica is waited for from the moment at which `Ready` is asked for it: the answer may be yes.
//! * S4: `Ready` is asked for a replica that has shown what it has under the version that the request names, and
//!   nobody's rise before this primary serves.
//! * S2: the partition is called synced once all who must have what was acknowledged have it on disk.
//!
//! Not here: what is decided about it, and what the answer changes (`see`).

use std::time::Duration;

use baton_model::{Instant, Lsn, SyncState};

use super::Primary;
use super::peer::WINDOW_RECORDS;
use crate::instance::{Effect, Lag, Log};

/// A replica that owes an acknowledgement for this long is reported to the master aggregator; sooner, if
/// `sync_replica_timeout_ms` is less.
pub const LAG_REPORT_AFTER: Duration = Duration::from_millis(500);
/// An unanswered request to the master aggregator, or a report, is repeated after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);

impl Primary {
    pub(super) fn ask(&mut self, now: Instant, log: &Log, effects: &mut Vec<Effect>) {
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
    pub(super) fn say_synced(&mut self, now: Instant, log: &Log, effects: &mut Vec<Effect>) {
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
}
