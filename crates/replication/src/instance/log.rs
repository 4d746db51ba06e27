//! The log as far as both roles need it: where it ends, what of it is durable, committed and applied.
//!
//! * S2: what was durable before a cut, or before `SYNC DURABILITY`, proves nothing after it; `cuts` tells them apart.
//! * S6: nothing is cut that is applied.
//! * S12: a record is forgotten once it is applied, and its statement is written down before that.
//!
//! Not here: where two logs part (`history.rs`), who decides what is committed, and the disk.

use std::collections::VecDeque;

use baton_model::{Epoch, Lsn};

use super::Effect;
use crate::history::History;
use crate::outcomes::Outcomes;
use crate::record::Record;
use crate::sizes::Sizes;
use crate::view::Settings;

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
