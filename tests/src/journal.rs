//! What the writers did: every write with its moments and its outcome, and what can be told from them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::SqlFault;
use crate::moment::Moment;

/// What became of a write, as far as its client knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The server said that it is done: it must be there, once.
    Acknowledged,
    /// It failed: an error is no proof that it was not done, so it may be there, once.
    Failed(SqlFault),
}

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Unique among all writes of a test.
    pub id: u64,
    /// Which writer made it.
    pub writer: usize,
    /// The node that it was sent to.
    pub via: String,
    /// When it was sent.
    pub sent: Moment,
    /// When its outcome was known.
    pub ended: Moment,
    /// What became of it.
    pub outcome: Outcome,
}

impl Write {
    /// Whether it was acknowledged.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.outcome == Outcome::Acknowledged
    }
}

/// All writes, in the order in which they ended.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    writes: Vec<Write>,
}

/// How long clients waited, from one acknowledged write to their next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The last acknowledgement before.
    pub from: Moment,
    /// The first one after; the end of the span that was looked at, if there was none.
    pub to: Moment,
    /// The writer that waited.
    pub writer: usize,
}

impl Gap {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

impl Journal {
    /// Adds a write that ended.
    pub fn add(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Every write.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Those of some writers only.
    #[must_use]
    pub fn of(&self, writers: impl Fn(usize) -> bool) -> Self {
        Self { writes: self.writes.iter().filter(|write| writers(write.writer)).cloned().collect() }
    }

    /// Those that were sent within a span, the end exclusive.
    #[must_use]
    pub fn between(&self, from: Moment, to: Moment) -> Self {
        let sent_within = |write: &&Write| (from..to).contains(&write.sent);
        Self { writes: self.writes.iter().filter(sent_within).cloned().collect() }
    }

    /// How many were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.writes.iter().filter(|write| write.is_acknowledged()).count()
    }

    /// The failed writes that ended within a span, both ends inclusive.
    pub fn failed(&self, from: Moment, to: Moment) -> impl Iterator<Item = (&Write, &SqlFault)> {
        self.writes.iter().filter_map(move |write| match &write.outcome {
            Outcome::Failed(fault) if (from..=to).contains(&write.ended) => Some((write, fault)),
            _ => None,
        })
    }

    /// How often each error was met, by number or `unanswered`.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, fault) in self.failed(Moment::default(), Moment::now()) {
            let name = fault.number().map_or_else(|| "unanswered".to_owned(), |number| number.to_string());
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// The longest that any one writer waited between two acknowledged writes, of all waits that lasted beyond the
    /// fault and began before `until`. `None` if nobody had written anything before.
    #[must_use]
    pub fn gap(&self, fault: Moment, until: Moment) -> Option<Gap> {
        let mut last: BTreeMap<usize, Moment> = BTreeMap::new();
        let mut longest: Option<Gap> = None;
        let mut consider = |gap: Gap| {
            if longest.is_none_or(|known| gap.length() > known.length()) {
                longest = Some(gap);
            }
        };
        for write in self.writes.iter().filter(|write| write.is_acknowledged()) {
            let before = last.insert(write.writer, write.ended);
            if let Some(from) = before
                && write.ended > fault
                && from < until
            {
                consider(Gap { from, to: write.ended, writer: write.writer });
            }
        }
        for (writer, from) in last {
            if from < until && until > fault {
                consider(Gap { from, to: until, writer });
            }
        }
        longest
    }

    /// The write that ended the longest gap after a fault: the first one that a client who had to wait saw done.
    #[must_use]
    pub fn first_after_gap(&self, fault: Moment, until: Moment) -> Option<&Write> {
        let gap = self.gap(fault, until)?;
        self.writes
            .iter()
            .find(|write| write.is_acknowledged() && write.writer == gap.writer && write.ended == gap.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_unix_ms(ms)
    }

    fn write(writer: usize, sent: u64, ended: u64, outcome: Outcome) -> Write {
        Write { id: sent, writer, via: "a1".into(), sent: at(sent), ended: at(ended), outcome }
    }

    fn journal(writes: impl IntoIterator<Item = Write>) -> Journal {
        let mut journal = Journal::default();
        writes.into_iter().for_each(|write| journal.add(write));
        journal
    }

    #[test]
    fn the_gap_is_the_longest_wait_of_one_writer_across_the_fault() {
        let done = || Outcome::Acknowledged;
        let failed = || Outcome::Failed(SqlFault::Unanswered("gone".into()));
        let journal = journal([
            write(0, 0, 10, done()),
            write(1, 0, 11, done()),
            write(0, 10, 20, done()),
            // The fault is at 25.
            write(1, 11, 500, failed()),
            write(0, 20, 620, done()),
            write(1, 500, 700, done()),
            write(0, 620, 630, done()),
        ]);
        let gap = journal.gap(at(25), at(700)).expect("there were writes");
        assert_eq!((gap.from, gap.to, gap.writer), (at(11), at(700), 1));
        let first = journal.first_after_gap(at(25), at(700)).expect("there were writes");
        assert_eq!((first.writer, first.sent), (1, at(500)));
        assert_eq!(journal.failed(at(25), at(700)).count(), 1);
    }

    #[test]
    fn a_writer_that_never_came_back_waits_until_the_end_of_the_span() {
        let journal = journal([write(0, 0, 10, Outcome::Acknowledged)]);
        let gap = journal.gap(at(20), at(5000)).expect("there was a write");
        assert_eq!(gap.length(), Duration::from_millis(4990));
        assert_eq!(journal.first_after_gap(at(20), at(5000)), None);
    }
}
