//! Rows that are born, changed, removed and born again, each by one writer.
//!
//! A writer goes on with a row only while it knows how the row is: after an unknown outcome it leaves the row alone for
//! good, and the row may be as it was before that statement or as after it, and not otherwise. After an error that
//! promises that nothing was done, it goes on, and so the promise is put to the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::story::{Story, Violation, is_surely_undone};
use super::{Counts, Dice, Pace};
use crate::client::{Client, Done, SqlFault};
use crate::cluster::Cluster;
use crate::moment::Moment;
use crate::roving::Rover;

const WRITERS: usize = 3;
/// Statements of one row's life, at most.
const STATEMENTS_MAX: usize = 6;
/// Ids of one writer's rows are apart from those of the next by so many.
const IDS: u64 = 1 << 32;
/// What a client is told when a row with its key is there already.
const DUPLICATE_ENTRY: u16 = 1062;

/// How a row is: its number, or not there.
type State = Option<u64>;

/// How one row may be, and how it came to be so.
#[derive(Debug, Default)]
struct Life {
    now: State,
    /// What it may be as well, after an unknown outcome.
    or: Option<State>,
    story: Story,
}

#[derive(Debug)]
struct Shared {
    lives: Mutex<BTreeMap<u64, Life>>,
    counts: Arc<Counts>,
}

impl Shared {
    fn lives(&self) -> MutexGuard<'_, BTreeMap<u64, Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement has ended; gives how the row is, if its writer still knows.
    fn note(
        &self,
        id: u64,
        (statement, then): (&str, State),
        (via, sent): (&str, Moment),
        outcome: &Result<Done, SqlFault>,
    ) -> Option<State> {
        let mut lives = self.lives();
        let life = lives.entry(id).or_default();
        let said = match outcome {
            Ok(done) => format!("OK, {} rows", done.affected_rows),
            Err(fault) => fault.to_string(),
        };
        life.story.tell(via, sent, format!("{statement}: {said}"));
        match outcome {
            Ok(done) => {
                if done.affected_rows != 1 {
                    let what = format!("stage.lives {id}: a change of {} rows", done.affected_rows);
                    self.counts.violated(life.story.violation(what));
                }
                (life.now, life.or) = (then, None);
                Some(then)
            }
            Err(SqlFault::Answered { number: DUPLICATE_ENTRY, .. }) => {
                let what = format!("stage.lives {id} is there and should not be");
                self.counts.violated(life.story.violation(what));
                None
            }
            Err(fault) if is_surely_undone(fault) => {
                life.or = None;
                Some(life.now)
            }
            Err(_) => None,
        }
    }

    /// The table is like this.
    fn compare(&self, there: &BTreeMap<u64, Vec<u64>>, found: &mut Vec<Violation>) {
        let mut lives = self.lives();
        for (id, numbers) in there {
            if !lives.contains_key(id) {
                found.push(Violation::new(format!("stage.lives {id} is {numbers:?}, and nobody wrote it")));
            }
        }
        for (id, life) in lives.iter_mut() {
            let is: State = match there.get(id).map(Vec::as_slice) {
                None => None,
                Some([number]) => Some(*number),
                Some(numbers) => {
                    found.push(life.story.violation(format!("stage.lives {id} is {numbers:?}")));
                    continue;
                }
            };
            if life.or == Some(is) {
                // It was done; the next copy must have it too.
                life.now = is;
                life.or = None;
            } else if life.now != is {
                let or = life.or.map_or_else(String::new, |or| format!(" or {}", told(or)));
                let what = format!("stage.lives {id} is {}, should be {}{or}", told(is), told(life.now));
                found.push(life.story.violation(what));
            }
        }
    }
}

/// Writers at work.
#[derive(Debug)]
pub(super) struct Lives {
    shared: Arc<Shared>,
}

impl Lives {
    /// Makes the table and sets the writers to work.
    pub(super) async fn start(
        cluster: &Cluster,
        via: &[String],
        seed: u64,
        pace: Pace,
        counts: &Arc<Counts>,
        (tasks, stop): (&mut JoinSet<()>, &CancellationToken),
    ) -> Result<Self> {
        let mut client = cluster.any_aggregator().await?;
        client.run("CREATE TABLE stage.lives (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)").await?;
        client.close().await;
        let shared = Arc::new(Shared { lives: Mutex::default(), counts: Arc::clone(counts) });
        for writer in 0..WRITERS {
            let rover = Rover::new(cluster, via, writer, pace.bound)?;
            let dice = Dice::new(seed, &format!("writer of lives {writer}"));
            let first = writer as u64 * IDS;
            tasks.spawn(live(Arc::clone(&shared), first, rover, dice, pace.rest, stop.clone()));
        }
        Ok(Self { shared })
    }

    /// Compares the table with what it must be.
    pub(super) async fn check(&self, client: &mut Client, found: &mut Vec<Violation>) -> Result<()> {
        let mut there: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for row in client.rows("SELECT id, n FROM stage.lives").await? {
            there.entry(row.number("id")?).or_default().push(row.number("n")?);
        }
        self.shared.compare(&there, found);
        Ok(())
    }
}

fn told(state: State) -> String {
    state.map_or_else(|| "not there".into(), |number| number.to_string())
}

/// The next statement of a row that is like this, and how the row is afterwards.
fn next(id: u64, now: State, written: u64, dice: &mut Dice) -> (String, State) {
    let number = written + 1;
    match now {
        None => (format!("INSERT INTO stage.lives VALUES ({id}, {number})"), Some(number)),
        Some(_) if dice.below(3) == 0 => (format!("DELETE FROM stage.lives WHERE id = {id}"), None),
        Some(_) => (format!("UPDATE stage.lives SET n = {number} WHERE id = {id}"), Some(number)),
    }
}

async fn live(
    shared: Arc<Shared>,
    first: u64,
    mut rover: Rover,
    mut dice: Dice,
    rest: Duration,
    stop: CancellationToken,
) {
    let mut id = first;
    while !stop.is_cancelled() {
        id += 1;
        let mut now = None;
        for written in 0..1 + dice.below(STATEMENTS_MAX) as u64 {
            while !stop.is_cancelled() && !rover.is_connected().await {}
            if stop.is_cancelled() {
                break;
            }
            let (statement, then) = next(id, now, written, &mut dice);
            let (via, sent) = (rover.via().to_owned(), Moment::now());
            // Before it is sent: from now on the row may be like that.
            shared.lives().entry(id).or_default().or = Some(then);
            let outcome = rover.run(&statement).await;
            shared.counts.note(&outcome);
            match shared.note(id, (&statement, then), (&via, sent), &outcome) {
                Some(is) => now = is,
                None => break,
            }
            tokio::time::sleep(rest).await;
        }
    }
    rover.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(shared: &Shared, id: u64, then: State, outcome: Result<u64, u16>) -> Option<State> {
        shared.lives().entry(id).or_default().or = Some(then);
        let outcome = match outcome {
            Ok(affected_rows) => Ok(Done { affected_rows, last_insert_id: 0 }),
            Err(number) => Err(SqlFault::Answered { number, message: "no".into() }),
        };
        shared.note(id, ("…", then), ("a1", Moment::now()), &outcome)
    }

    fn compared(shared: &Shared, there: &[(u64, u64)]) -> usize {
        let mut found = Vec::new();
        shared.compare(&there.iter().map(|(id, n)| (*id, vec![*n])).collect(), &mut found);
        found.len()
    }

    #[test]
    fn what_is_unknown_may_be_either_and_stays_what_it_was_once_it_was_seen() {
        let shared = Shared { lives: Mutex::default(), counts: Arc::default() };
        assert_eq!(ended(&shared, 1, Some(1), Ok(1)), Some(Some(1)));
        assert_eq!(ended(&shared, 1, Some(2), Err(1180)), None);
        assert_eq!(compared(&shared, &[(1, 1)]), 0);
        assert_eq!(compared(&shared, &[(1, 2)]), 0);
        assert_eq!(compared(&shared, &[(1, 1)]), 1, "the other copy lacks it");
        assert_eq!(compared(&shared, &[]), 1);
        assert_eq!(compared(&shared, &[(1, 2), (2, 1)]), 1, "nobody wrote 2");
    }

    #[test]
    fn what_surely_failed_was_not_done_and_what_was_acknowledged_was() {
        let shared = Shared { lives: Mutex::default(), counts: Arc::default() };
        assert_eq!(ended(&shared, 1, Some(1), Err(1777)), Some(None));
        assert_eq!(compared(&shared, &[(1, 1)]), 1);
        assert_eq!(ended(&shared, 1, Some(1), Ok(1)), Some(Some(1)));
        assert_eq!(compared(&shared, &[]), 1);
        assert_eq!(ended(&shared, 1, None, Ok(0)), Some(None));
        assert_eq!(shared.counts.violated.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn a_row_is_born_before_it_is_changed_or_removed() {
        let mut dice = Dice::new(1, "test");
        let mut now = None;
        let mut kinds = std::collections::BTreeSet::new();
        for written in 0..200 {
            let (statement, then) = next(7, now, written, &mut dice);
            assert_eq!(now.is_none(), statement.starts_with("INSERT"), "{statement}");
            assert_eq!(then.is_none(), statement.starts_with("DELETE"), "{statement}");
            kinds.insert(statement[..6].to_owned());
            now = then;
        }
        assert_eq!(kinds.len(), 3, "{kinds:?}");
    }
}
