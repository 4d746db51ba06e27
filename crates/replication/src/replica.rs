//! The instance that follows.
//!
//! It keeps one link, to the primary of its epoch, appends what it is sent, acknowledges what is durable, and applies
//! what is committed. It has no opinion about the commit point.
//!
//! With `ASYNC DURABILITY` a primary may come back from a power cut with less than its replica has applied.
//! * S6: the replica cuts nothing of that. It stands aside, and may still be promoted with all it has.
//! * S7: only when the catalog says, in this primary's epoch, that nobody counts on it, it asks for a new copy; what it
//!   has goes when all of that copy is there.

use baton_model::{Epoch, Lsn, NodeId, StatementId, SyncState, mutated};

use crate::history::History;
use crate::instance::{Effect, Log};
use crate::message::Message;
use crate::outcomes::StatementOutcome;
use crate::sizes::Sizes;

/// A replica's state under one primary.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) primary: NodeId,
    link: Option<u64>,
    stage: Stage,
    /// What it acknowledged last on this link, and whether as synced.
    acked: (Lsn, bool),
    /// What the catalog says of this instance, and in which epoch it said so.
    state: (Epoch, SyncState),
    /// The primary does not have all that is applied here.
    parted: bool,
}

#[derive(Clone, Debug)]
enum Stage {
    /// `Follow` is not answered yet.
    Asking,
    /// A copy is being fetched, beside what is here.
    Provisioning { copy: u64, at: Lsn, history: History, outcomes: Vec<(StatementId, StatementOutcome)> },
    /// Records come in.
    Following,
}

impl Replica {
    pub(crate) fn new(primary: NodeId, epoch: Epoch, state: SyncState) -> Self {
        let state = (epoch, state);
        Self { primary, link: None, stage: Stage::Asking, acked: (Lsn(0), false), state, parted: false }
    }

    /// The catalog has moved on under this primary.
    pub(crate) fn see(&mut self, epoch: Epoch, state: SyncState, log: &Log, effects: &mut Vec<Effect>) {
        let before = self.counts(log);
        self.state = (epoch, state);
        if self.parted && before && !self.counts(log) {
            effects.push(Effect::Link(Some(self.primary)));
        }
    }

    /// Whether somebody may count on what is here. A word of the catalog from before this primary's epoch does not
    /// say that nobody does: it may have risen since.
    fn counts(&self, log: &Log) -> bool {
        self.state != (log.epoch, SyncState::Async)
    }

    /// The primary does not have all that is applied here.
    fn part(&mut self, shared: Lsn, log: &Log, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.parted, true) {
            let text = format!(
                "S6: the primary shares this log up to {shared} only, but it is applied up to {}; \
                 it stands aside until it may be copied anew",
                log.applied
            );
            effects.push(Effect::Report(text));
        }
        self.link = None;
        effects.push(Effect::Link((!self.counts(log)).then_some(self.primary)));
    }

    pub(crate) fn link_up(&mut self, peer: NodeId, link: u64, log: &Log, effects: &mut Vec<Effect>) {
        if peer != self.primary {
            return;
        }
        self.link = Some(link);
        self.stage = Stage::Asking;
        self.acked = (Lsn(0), false);
        let (history, last) = if self.parted && !self.counts(log) {
            // As one who has nothing: that is answered with a copy.
            (History::default(), Lsn(0))
        } else if mutated!(CutByOwnCommit) {
            (log.history.clone(), log.commit)
        } else {
            (log.history.clone(), log.last)
        };
        let message = Message::Follow { epoch: log.epoch, history, last };
        effects.push(Effect::Send { peer, link, message });
    }

    pub(crate) fn link_down(&mut self, link: u64) {
        if self.link == Some(link) {
            self.link = None;
            self.stage = Stage::Asking;
        }
    }

    /// # Errors
    /// What was seen that must never be; the instance halts.
    pub(crate) fn receive(
        &mut self,
        peer: NodeId,
        link: u64,
        message: Message,
        log: &mut Log,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        if self.link != Some(link) || peer != self.primary {
            // Somebody who takes this instance for a primary, or an old link.
            if matches!(message, Message::Follow { .. }) {
                effects.push(Effect::CloseLink { peer, link });
            }
            return Ok(());
        }
        if message.epoch() < log.epoch && !mutated!(SkipEpochCheck) {
            // S5
            effects.push(Effect::Send { peer, link, message: Message::Refused { epoch: log.epoch } });
            return Ok(());
        }
        log.adopt(message.epoch());
        match (message, &mut self.stage) {
            (Message::Start { keep, .. }, Stage::Asking) => {
                if keep < log.applied {
                    self.part(keep, log, effects);
                    return Ok(());
                }
                if keep < log.last {
                    log.cut(keep);
                    effects.push(Effect::Truncate(keep));
                }
                log.sync_wanted = true;
                self.stage = Stage::Following;
            }
            (Message::Append { after, records, commit, .. }, Stage::Following) => {
                if after > log.last {
                    return Err(format!("a gap in the log: {after} after {}", log.last));
                }
                let mut before = after;
                for record in records {
                    if record.lsn != before.next() {
                        return Err(format!("a gap in a message: {} after {before}", record.lsn));
                    }
                    before = record.lsn;
                    if record.lsn > log.last {
                        let newest = log.history.newest().unwrap_or_default();
                        if record.epoch < newest || record.epoch > log.epoch {
                            return Err(format!(
                                "S5: {}{} from the primary of {} after a record of {newest}",
                                record.epoch, record.lsn, log.epoch
                            ));
                        }
                        log.push(record);
                    }
                }
                log.commit = log.commit.max(commit.min(log.last));
            }
            (Message::Provision { copy, at, history, outcomes, .. }, Stage::Asking) => {
                log.save_epochs(effects);
                effects.push(Effect::FetchCopy { peer, link, copy });
                self.stage = Stage::Provisioning { copy, at, history, outcomes };
            }
            // The primary refused, or said something out of turn: start over.
            _ => {
                self.link = None;
                effects.push(Effect::Link(Some(self.primary)));
            }
        }
        Ok(())
    }

    /// All of a copy is here: it takes the place of everything that was.
    pub(crate) fn copy_here(&mut self, here: u64, log: &mut Log, effects: &mut Vec<Effect>) {
        let Stage::Provisioning { copy, at, history, outcomes } = &mut self.stage else { return };
        if *copy != here {
            return;
        }
        let at = *at;
        log.applied = Lsn(0);
        log.cut(Lsn(0));
        log.history = std::mem::take(history);
        log.history.cut(at);
        for (statement, outcome) in std::mem::take(outcomes) {
            log.outcomes.insert(statement, outcome);
        }
        log.first = at.next();
        log.sizes = Sizes::default();
        log.last = at;
        log.commit = at;
        log.applied = at;
        log.sync_wanted = true;
        log.epochs_changed = false; // They are written with the copy.
        effects.push(Effect::InstallCopy {
            copy: here,
            at,
            epoch: log.epoch,
            history: log.history.clone(),
            outcomes: log.outcomes.up_to(at),
        });
        self.parted = false;
        self.stage = Stage::Following;
    }

    /// After a batch of events: apply, acknowledge.
    pub(crate) fn flush(&mut self, log: &mut Log, effects: &mut Vec<Effect>) {
        log.apply_committed(effects);
        let durable = if mutated!(AckBeforeDurable) { log.last } else { log.durable };
        let synced = log.synced;
        let is_news = durable > self.acked.0 || (synced && !self.acked.1 && durable > Lsn(0));
        if let Some(link) = self.link
            && matches!(self.stage, Stage::Following)
            && is_news
        {
            self.acked = (durable, synced);
            let message = Message::Ack { epoch: log.epoch, durable, synced };
            effects.push(Effect::Send { peer: self.primary, link, message });
        }
    }
}
