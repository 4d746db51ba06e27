//! What a primary and its replicas say to each other: where they go on, records, acknowledgements, copies.
//!
//! * S5: nothing that carries a newer epoch is taken, nor an acknowledgement of an older one.
//! * S6: a replica goes on from where both epoch histories agree; a copy that does not fit the log is not handed out.
//!
//! Not here: what an acknowledgement brings about (`flush`), and what quiet replicas are told in time (`tick.rs`).

use baton_model::limits::{REPLICATION_BATCH_BYTES_MAX, REPLICATION_BATCH_RECORDS_MAX};
use baton_model::{Instant, Lsn, NodeId, mutated};

use super::Primary;
use super::peer::Peer;
use crate::history::History;
use crate::instance::{Effect, Log};
use crate::message::Message;
use crate::record::Record;

impl Primary {
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

    pub(super) fn send(node: NodeId, peer: &mut Peer, log: &Log, effects: &mut Vec<Effect>) {
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
}
