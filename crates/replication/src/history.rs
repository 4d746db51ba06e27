//! Which epoch wrote which part of a log.
//!
//! An epoch has one primary and one run of its process, so two logs that have the same epoch at the same LSN have the
//! same record there and the same records before it. That is why a log is cut by comparing histories (S6) and by
//! nothing else (KIP-101, KIP-279).

use std::fmt;

use baton_model::{Epoch, Lsn};
use serde::{Deserialize, Serialize};

/// For each epoch that wrote anything, the LSN of its first record; oldest first, both strictly rising.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History(Vec<(Epoch, Lsn)>);

impl History {
    /// Notes that a record of this epoch stands at this LSN.
    ///
    /// # Panics
    /// If the epoch is older than the newest one: a primary of an older epoch wrote, which S5 forbids.
    pub fn note(&mut self, epoch: Epoch, lsn: Lsn) {
        match self.0.last() {
            Some((newest, first)) if *newest == epoch => {
                assert!(lsn > *first, "S6: {epoch} goes on at {lsn}")
            }
            Some((newest, _)) => {
                assert!(epoch > *newest, "S5: a record of {epoch} after {newest}");
                self.0.push((epoch, lsn));
            }
            None => self.0.push((epoch, lsn)),
        }
    }

    /// Forgets everything after this LSN.
    pub fn cut(&mut self, last: Lsn) {
        self.0.retain(|(_, first)| *first <= last);
    }

    /// The last LSN that this log, which ends at `last`, has in common with another; 0 if there is none.
    #[must_use]
    pub fn common(&self, last: Lsn, other: &Self, other_last: Lsn) -> Lsn {
        for (position, (epoch, first)) in self.0.iter().enumerate().rev() {
            let Some(there) = other.0.iter().position(|(theirs, _)| theirs == epoch) else { continue };
            let end = self.end(position, last).min(other.end(there, other_last));
            let begin = (*first).max(other.0[there].1);
            if end >= begin {
                return end;
            }
        }
        Lsn(0)
    }

    /// The last LSN of the epoch at this position.
    fn end(&self, position: usize, last: Lsn) -> Lsn {
        self.0.get(position + 1).map_or(last, |(_, next)| Lsn(next.0 - 1)).min(last)
    }

    /// The newest epoch that wrote anything.
    #[must_use]
    pub fn newest(&self) -> Option<Epoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }
}

/// Of epochs that each wrote something, oldest first, from these LSNs on.
impl FromIterator<(Epoch, Lsn)> for History {
    fn from_iter<T: IntoIterator<Item = (Epoch, Lsn)>>(epochs: T) -> Self {
        let mut history = Self::default();
        epochs.into_iter().for_each(|(epoch, first)| history.note(epoch, first));
        history
    }
}

/// `e1@1 e3@17`.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (epoch, lsn)) in self.0.iter().enumerate() {
            write!(f, "{}{epoch}{lsn}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn history(epochs: &[(u64, u64)]) -> History {
        History(epochs.iter().map(|(e, l)| (Epoch(*e), Lsn(*l))).collect())
    }

    #[test]
    fn an_equal_log_is_common_to_its_shorter_end() {
        let log = history(&[(1, 1), (3, 5)]);
        assert_eq!(log.common(Lsn(9), &log, Lsn(7)), Lsn(7));
    }

    #[test]
    fn a_tail_of_a_deposed_primary_is_not_common() {
        // The old primary wrote @5..@8 in e1 after the new one took over at @5 in e2.
        let old = history(&[(1, 1)]);
        let new = history(&[(1, 1), (2, 5)]);
        assert_eq!(old.common(Lsn(8), &new, Lsn(6)), Lsn(4));
    }

    #[test]
    fn two_failovers_in_a_row_are_told_apart() {
        // KIP-279: both have an epoch that the other never saw.
        let a = history(&[(1, 1), (2, 4)]);
        let b = history(&[(1, 1), (3, 6)]);
        assert_eq!(a.common(Lsn(7), &b, Lsn(8)), Lsn(3));
    }

    #[test]
    fn an_empty_log_has_nothing_in_common() {
        assert_eq!(History::default().common(Lsn(0), &history(&[(1, 1)]), Lsn(5)), Lsn(0));
    }

    /// A log as the epochs of its records.
    fn as_history(log: &[u64]) -> History {
        let mut history = History::default();
        for (i, epoch) in log.iter().enumerate() {
            history.note(Epoch(*epoch), Lsn(i as u64 + 1));
        }
        history
    }

    proptest! {
        /// Against logs that really branched: a shared prefix, then epochs of each side's own.
        #[test]
        fn the_common_point_is_where_the_logs_branched(
            prefix in 0_usize..6, mine in 0_usize..6, theirs in 0_usize..6, epochs in 1_u64..4,
        ) {
            let shared: Vec<u64> = (0..prefix as u64).map(|i| 1 + i * epochs / 6).collect();
            let branch = shared.last().copied().unwrap_or(0);
            let mut a = shared.clone();
            a.extend(std::iter::repeat_n(branch + 1, mine));
            let mut b = shared.clone();
            b.extend(std::iter::repeat_n(branch + 2, theirs));
            let point = as_history(&a).common(Lsn(a.len() as u64), &as_history(&b), Lsn(b.len() as u64));
            prop_assert_eq!(point, Lsn(prefix as u64));
        }
    }
}
