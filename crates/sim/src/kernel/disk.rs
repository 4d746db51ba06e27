//! A disk: what a process sees of it, and what is left after the power was cut.
//!
//! Everything written is an operation in order. A sync makes all before it durable; one runs at a time, and those who
//! ask meanwhile share the next one, as in a group commit. What was not synced when the power goes is lost from some
//! operation on; what was synced is never lost.

use std::collections::VecDeque;

/// What lies on a disk.
pub trait Medium: Clone + Default {
    /// One write.
    type Op: Clone;
    /// Carries out a write.
    fn take(&mut self, op: Self::Op);
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk<M: Medium> {
    /// As a process sees it.
    pub now: M,
    /// As it is after the worst power cut.
    pub synced: M,
    unsynced: VecDeque<M::Op>,
    written: u64,
    /// What the running sync covers.
    syncing: Option<u64>,
    asked_again: bool,
}

impl<M: Medium> Default for Disk<M> {
    fn default() -> Self {
        Self {
            now: M::default(),
            synced: M::default(),
            unsynced: VecDeque::new(),
            written: 0,
            syncing: None,
            asked_again: false,
        }
    }
}

impl<M: Medium> Disk<M> {
    /// Writes.
    pub fn write(&mut self, op: M::Op) {
        self.now.take(op.clone());
        self.unsynced.push_back(op);
        self.written += 1;
    }

    /// Asks for a sync of everything written so far. True if it begins now, false if it waits for the running one.
    pub fn ask_sync(&mut self) -> bool {
        if self.syncing.is_some() {
            self.asked_again = true;
            return false;
        }
        self.syncing = Some(self.written);
        true
    }

    /// The running sync is done. Answers with what is durable now, as a count of writes, and whether the next one begins.
    pub fn finish_sync(&mut self) -> (u64, bool) {
        let covered = self.syncing.take().unwrap_or(self.written);
        self.settle(covered);
        let again = std::mem::take(&mut self.asked_again);
        if again {
            self.syncing = Some(self.written);
        }
        (covered, again)
    }

    fn settle(&mut self, covered: u64) {
        let waiting = self.written - covered;
        while self.unsynced.len() as u64 > waiting
            && let Some(op) = self.unsynced.pop_front()
        {
            self.synced.take(op);
        }
    }

    /// How many writes there were.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many writes a power cut may lose.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The process is gone; what it wrote stays with the operating system, which writes it out.
    pub fn process_ends(&mut self) {
        self.settle(self.written);
        self.syncing = None;
        self.asked_again = false;
    }

    /// The power is cut, and so many of the last unsynced writes are lost.
    pub fn power_cut(&mut self, lost: usize) {
        let kept = self.unsynced.len().saturating_sub(lost);
        for op in self.unsynced.drain(..kept) {
            self.synced.take(op);
        }
        self.unsynced.clear();
        self.now = self.synced.clone();
        self.syncing = None;
        self.asked_again = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default, Debug, PartialEq)]
    struct Tape(Vec<u8>);

    impl Medium for Tape {
        type Op = u8;
        fn take(&mut self, op: u8) {
            self.0.push(op);
        }
    }

    #[test]
    fn a_power_cut_loses_only_what_was_not_synced() {
        let mut disk = Disk::<Tape>::default();
        disk.write(1);
        assert!(disk.ask_sync());
        disk.write(2);
        assert!(!disk.ask_sync());
        disk.write(3);
        assert_eq!(disk.finish_sync(), (1, true));
        assert_eq!((disk.synced.0.as_slice(), disk.unsynced()), (&[1][..], 2));
        let mut lost_all = disk.clone();
        lost_all.power_cut(2);
        assert_eq!(lost_all.now.0, [1]);
        disk.power_cut(1);
        assert_eq!(disk.now.0, [1, 2]);
        assert_eq!(disk.now, disk.synced);
    }

    #[test]
    fn a_process_that_ends_loses_nothing() {
        let mut disk = Disk::<Tape>::default();
        disk.write(1);
        disk.process_ends();
        disk.power_cut(9);
        assert_eq!(disk.now.0, [1]);
    }
}
