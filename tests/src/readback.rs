//! Reads everything back and compares it with the journal: what was acknowledged is there, once; what failed is there
//! at most once; and nothing else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail};

use crate::client::{Client, SqlFault};
use crate::journal::{Journal, Outcome};
use crate::oracle::is_surely_undone;
use crate::writers::Load;

/// What a client is told when a row with its key is there already.
const DUPLICATE_ENTRY: u16 = 1062;

/// How many examples are shown of what is wrong.
const EXAMPLES: usize = 5;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readback {
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Failed writes, whose outcome the client does not know.
    pub failed: u64,
    /// Failed writes that were done all the same.
    pub failed_but_done: u64,
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// Writes that were done more than once.
    pub duplicates: u64,
    /// Rows that nobody wrote.
    pub strangers: u64,
    /// Writes that were refused because of themselves: a retry inside the cluster was taken for a new statement.
    pub refused_by_themselves: u64,
    /// Writes that failed with an error that promises that nothing was done, and were done.
    pub undone_but_done: u64,
    /// Some of what is wrong.
    pub examples: Vec<String>,
    /// By id of a write: how much of it is lost, and done too often. Of a counter, the last write of its row is
    /// blamed.
    wrong: BTreeMap<u64, (u64, u64)>,
    /// How often each row was there, or how far a counter had gone.
    there: BTreeMap<(&'static str, u64), u64>,
}

impl Readback {
    /// Reads every table of these loads through this connection. `loads` says what each writer wrote.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub async fn through(client: &mut Client, journal: &Journal, loads: &[Load]) -> Result<Self> {
        let mut found = Self::default();
        for load in Load::ALL.into_iter().filter(|load| loads.contains(load)) {
            let there = rows_of(client, load).await?;
            found.compare(load, journal, loads, &there);
            found.there.extend(there.into_iter().map(|(row, times)| ((load.table(), row), times)));
        }
        Ok(found)
    }

    fn compare(&mut self, load: Load, journal: &Journal, loads: &[Load], there: &BTreeMap<u64, u64>) {
        // By row: acknowledged, failed so that it may be done, and the id of the last write.
        let mut expected: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
        let mut undone: BTreeMap<u64, u64> = BTreeMap::new();
        for write in journal.writes().iter().filter(|write| loads.get(write.writer) == Some(&load)) {
            let row = expected.entry(load.row_of(write.id, write.writer)).or_default();
            row.2 = write.id;
            if write.is_acknowledged() {
                row.0 += 1;
            } else {
                let sure = matches!(&write.outcome, Outcome::Failed(fault) if is_surely_undone(fault));
                if sure {
                    *undone.entry(load.row_of(write.id, write.writer)).or_default() += 1;
                } else {
                    row.1 += 1;
                }
                let own = matches!(
                    &write.outcome,
                    Outcome::Failed(SqlFault::Answered { number: DUPLICATE_ENTRY, .. })
                );
                if own {
                    self.refused_by_themselves += 1;
                    self.example(format!("{load:?} {} was refused as a duplicate of itself", write.id));
                }
            }
        }
        for (row, (acknowledged, failed, last)) in &expected {
            let done = there.get(row).copied().unwrap_or(0);
            self.acknowledged += acknowledged;
            let undone = undone.get(row).copied().unwrap_or(0);
            self.failed += failed + undone;
            if done < *acknowledged {
                self.lost += acknowledged - done;
                self.wrong.insert(*last, (acknowledged - done, 0));
                self.example(format!("{load:?} {row}: {acknowledged} acknowledged, {done} there"));
            } else if done > acknowledged + failed && done <= acknowledged + failed + undone {
                self.undone_but_done += done - acknowledged - failed;
                self.example(format!(
                    "{load:?} {row}: {undone} failed and were surely not done, {done} there"
                ));
            } else if done > acknowledged + failed {
                self.duplicates += done - acknowledged - failed;
                self.wrong.insert(*last, (0, done - acknowledged - failed));
                self.example(format!("{load:?} {row}: {} sent, {done} there", acknowledged + failed));
            } else {
                self.failed_but_done += done - acknowledged;
            }
        }
        for (row, done) in there {
            // A counter that nobody has raised yet is there, and zero.
            if !expected.contains_key(row) && *done > 0 {
                self.strangers += 1;
                self.example(format!("{load:?} {row}: nobody wrote it"));
            }
        }
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }

    /// How many of these writes, by id, are lost, and how many are there too often.
    #[must_use]
    pub fn wrong_of(&self, ids: &BTreeSet<u64>) -> (u64, u64) {
        let of_these = self.wrong.iter().filter(|(id, _)| ids.contains(id)).map(|(_, wrong)| wrong);
        of_these.fold((0, 0), |sum, wrong| (sum.0 + wrong.0, sum.1 + wrong.1))
    }

    /// What an earlier look has found and this one has not, or not as often.
    #[must_use]
    pub fn lacks_of(&self, earlier: &Self) -> Vec<String> {
        let lacking = earlier.there.iter().filter_map(|((table, row), before)| {
            let now = self.there.get(&(*table, *row)).copied().unwrap_or(0);
            (now < *before).then(|| format!("{table} {row} was there {before} times, and is {now} times now"))
        });
        lacking.take(EXAMPLES).collect()
    }

    /// Fails unless nothing is lost and nothing is there that should not be.
    ///
    /// # Errors
    /// With the counts and some examples.
    pub fn check(&self) -> Result<()> {
        let wrong = self.lost + self.duplicates + self.strangers;
        if wrong + self.refused_by_themselves + self.undone_but_done > 0 {
            bail!("{self}\n  {}", self.examples.join("\n  "));
        }
        Ok(())
    }
}

impl fmt::Display for Readback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {} failed of which {} were done; {} lost, {} duplicates",
            self.acknowledged, self.failed, self.failed_but_done, self.lost, self.duplicates
        )?;
        if self.strangers > 0 {
            write!(f, ", {} rows that nobody wrote", self.strangers)?;
        }
        if self.refused_by_themselves > 0 {
            write!(f, ", {} refused as duplicates of themselves", self.refused_by_themselves)?;
        }
        if self.undone_but_done > 0 {
            write!(f, ", {} done although an error said that they were not", self.undone_but_done)?;
        }
        Ok(())
    }
}

/// How often each row is there; of a counter, how far it has gone.
async fn rows_of(client: &mut Client, load: Load) -> Result<BTreeMap<u64, u64>> {
    let (table, what) = (load.table(), if load == Load::Counters { "id, n" } else { "id" });
    let rows = client.rows(&format!("SELECT {what} FROM {table}")).await;
    let mut there: BTreeMap<u64, u64> = BTreeMap::new();
    for row in rows.with_context(|| format!("cannot read {table} back"))? {
        let times = if load == Load::Counters { row.number("n")? } else { 1 };
        *there.entry(row.number("id")?).or_default() += times;
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Write;
    use crate::moment::Moment;

    fn journal(outcomes: &[(u64, Outcome)]) -> Journal {
        let mut journal = Journal::default();
        for (id, outcome) in outcomes {
            let moment = Moment::from_unix_ms(*id);
            journal.add(Write {
                id: *id,
                writer: 0,
                via: "a1".into(),
                sent: moment,
                ended: moment,
                outcome: outcome.clone(),
            });
        }
        journal
    }

    fn unanswered() -> Outcome {
        Outcome::Failed(SqlFault::Unanswered("gone".into()))
    }

    #[test]
    fn lost_doubled_and_strange_rows_are_told_apart() {
        let journal = journal(&[
            (1, Outcome::Acknowledged),
            (2, Outcome::Acknowledged),
            (3, unanswered()),
            (4, unanswered()),
            (5, Outcome::Acknowledged),
        ]);
        let mut found = Readback::default();
        found.compare(Load::Rows, &journal, &[Load::Rows], &BTreeMap::from([(1, 1), (3, 1), (5, 2), (9, 1)]));
        assert_eq!((found.acknowledged, found.failed, found.failed_but_done), (3, 2, 1));
        assert_eq!((found.lost, found.duplicates, found.strangers), (1, 1, 1));
        assert!(found.check().is_err());
    }

    #[test]
    fn what_surely_failed_must_not_be_there() {
        let sure = || Outcome::Failed(SqlFault::Answered { number: 1777, message: "offline".into() });
        let journal = journal(&[(1, sure()), (2, sure()), (3, unanswered())]);
        let mut found = Readback::default();
        found.compare(Load::Rows, &journal, &[Load::Rows], &BTreeMap::from([(2, 1), (3, 1)]));
        assert_eq!((found.failed, found.failed_but_done, found.undone_but_done), (3, 1, 1));
        assert!(found.check().is_err());
    }

    #[test]
    fn what_was_there_once_must_be_there_in_the_next_copy() {
        let look = |there: &[(u64, u64)]| Readback {
            there: there.iter().map(|(row, times)| (("t", *row), *times)).collect(),
            ..Readback::default()
        };
        let earlier = look(&[(1, 1), (2, 3)]);
        assert!(look(&[(1, 1), (2, 4), (3, 1)]).lacks_of(&earlier).is_empty());
        assert_eq!(look(&[(2, 2)]).lacks_of(&earlier).len(), 2);
    }

    #[test]
    fn a_counter_may_have_counted_what_was_not_answered_but_no_more() {
        let journal = journal(&[(0, Outcome::Acknowledged), (16, Outcome::Acknowledged), (32, unanswered())]);
        for (n, lost, duplicates) in [(1, 1, 0), (2, 0, 0), (3, 0, 0), (4, 0, 1)] {
            let mut found = Readback::default();
            let there = BTreeMap::from([(0, n), (1, 0)]);
            found.compare(Load::Counters, &journal, &[Load::Counters], &there);
            assert_eq!((found.lost, found.duplicates, found.strangers), (lost, duplicates, 0), "n = {n}");
        }
    }
}
