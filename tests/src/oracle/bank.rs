//! Transfers between accounts of different partitions, each in a transaction, with a ledger that says which were done.
//!
//! * A transfer is done as a whole or not at all: its two lines of the ledger are there, or neither is.
//! * What was acknowledged is there; what was rolled back, or failed before its COMMIT was sent, is not.
//! * Every account has what it began with and what the ledger says, so the total never changes: an auditor who locks all
//!   accounts sees that at any time.
//! * A clerk who lost the answer to a COMMIT can learn the outcome, and it is true.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::story::{Story, Violation, is_surely_undone};
use super::{Counts, Dice, Pace};
use crate::client::{Client, Record, SqlFault};
use crate::cluster::Cluster;
use crate::moment::Moment;
use crate::roving::Rover;

const CLERKS: usize = 3;
const ACCOUNTS: u64 = 12;
/// What an account begins with.
const BEGIN: i64 = 1000;
const AMOUNT_MAX: usize = 10;
/// Transfers of one clerk are apart from those of the next by so many.
const IDS: u64 = 1 << 32;
/// An auditor rests so much longer than a clerk: everybody waits for him.
const AUDIT_RESTS: u32 = 50;
/// A statement that is valid, and not supported.
const NOT_SUPPORTED: u16 = 1235;

/// What a clerk knows of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Done,
    NotDone,
    Unknown,
}

#[derive(Debug)]
struct Transfer {
    from: u64,
    to: u64,
    amount: i64,
    fate: Fate,
    /// The transaction's id, to ask for its outcome.
    id: String,
    story: Story,
}

#[derive(Debug)]
struct Shared {
    transfers: Mutex<BTreeMap<u64, Transfer>>,
    counts: Arc<Counts>,
}

impl Shared {
    fn transfers(&self) -> MutexGuard<'_, BTreeMap<u64, Transfer>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger has these lines of each transfer.
    fn compare(&self, ledger: &mut BTreeMap<u64, Vec<(u64, i64)>>, found: &mut Vec<Violation>) {
        let mut transfers = self.transfers();
        for (id, lines) in ledger.iter_mut() {
            lines.sort_unstable();
            if !transfers.contains_key(id) {
                found.push(Violation::new(format!("transfer {id} is there: {lines:?}, and nobody made it")));
            }
        }
        for (id, transfer) in transfers.iter_mut() {
            let lines = ledger.get(id).map_or(&[][..], Vec::as_slice);
            let mut whole = [(transfer.from, -transfer.amount), (transfer.to, transfer.amount)];
            whole.sort_unstable();
            let wrong = match (lines.is_empty(), transfer.fate) {
                (true, Fate::Done) => "was acknowledged and is not there".to_owned(),
                (false, _) if lines != whole => format!("is there by half: {lines:?}, should be {whole:?}"),
                (false, Fate::NotDone) => "was not done and is there".to_owned(),
                (false, Fate::Unknown) => {
                    // The next copy must have it too.
                    transfer.fate = Fate::Done;
                    continue;
                }
                _ => continue,
            };
            found.push(transfer.story.violation(format!("transfer {id} {wrong}")));
        }
    }
}

/// Clerks at work.
#[derive(Debug)]
pub(super) struct Bank {
    shared: Arc<Shared>,
}

impl Bank {
    /// Makes the tables and sets the clerks to work; None where there are no transactions.
    pub(super) async fn start(
        cluster: &Cluster,
        via: &[String],
        seed: u64,
        pace: Pace,
        counts: &Arc<Counts>,
        (tasks, stop): (&mut JoinSet<()>, &CancellationToken),
    ) -> Result<Option<Self>> {
        let mut client = cluster.any_aggregator().await?;
        match client.run("BEGIN").await {
            Err(SqlFault::Answered { number: NOT_SUPPORTED, .. }) => return Ok(None),
            began => began?,
        };
        client.run("ROLLBACK").await?;
        client.run("CREATE TABLE stage.accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)").await?;
        client
            .run(
                "CREATE TABLE stage.ledger (account BIGINT NOT NULL, id BIGINT NOT NULL, amount BIGINT NOT NULL, \
                 PRIMARY KEY (account, id), SHARD KEY (account))",
            )
            .await?;
        let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {BEGIN})")).collect();
        client.run(&format!("INSERT INTO stage.accounts VALUES {}", rows.join(", "))).await?;
        client.close().await;
        let shared = Arc::new(Shared { transfers: Mutex::default(), counts: Arc::clone(counts) });
        for clerk in 0..CLERKS {
            let rover = Rover::new(cluster, via, clerk, pace.bound)?;
            let dice = Dice::new(seed, &format!("clerk {clerk}"));
            let first = clerk as u64 * IDS;
            tasks.spawn(transfer(Arc::clone(&shared), first, rover, dice, pace.rest, stop.clone()));
        }
        let auditor = Rover::new(cluster, via, CLERKS, pace.bound)?;
        tasks.spawn(audit(Arc::clone(&shared), auditor, pace.rest * AUDIT_RESTS, stop.clone()));
        Ok(Some(Self { shared }))
    }

    /// Asks for the outcomes that nobody knows; what is answered must be so.
    async fn learn_outcomes(&self, client: &mut Client, found: &mut Vec<Violation>) -> Result<()> {
        let unknown: Vec<(u64, String)> = {
            let transfers = self.shared.transfers();
            let open = transfers.iter().filter(|(_, transfer)| transfer.fate == Fate::Unknown);
            open.map(|(id, transfer)| (*id, transfer.id.clone())).collect()
        };
        for (id, transaction) in unknown {
            let asked = format!("SHOW TRANSACTION OUTCOME '{transaction}'");
            let sent = Moment::now();
            let rows = client.rows(&asked).await?;
            let answer = rows.first().and_then(|row| row.text("Outcome")).unwrap_or_default();
            let mut transfers = self.shared.transfers();
            let Some(transfer) = transfers.get_mut(&id) else { continue };
            transfer.story.tell("", sent, format!("{asked}: {answer}"));
            match answer.as_str() {
                "COMMITTED" => transfer.fate = Fate::Done,
                "NOT COMMITTED" => transfer.fate = Fate::NotDone,
                "UNDECIDED" => {}
                _ => found
                    .push(transfer.story.violation(format!("the outcome of transfer {id} is {answer:?}"))),
            }
        }
        Ok(())
    }

    /// Compares accounts and ledger with what must be so.
    pub(super) async fn check(&self, client: &mut Client, found: &mut Vec<Violation>) -> Result<()> {
        let mut ledger: BTreeMap<u64, Vec<(u64, i64)>> = BTreeMap::new();
        let mut moved: BTreeMap<u64, i64> = BTreeMap::new();
        for row in client.rows("SELECT account, id, amount FROM stage.ledger").await? {
            let (account, amount) = (row.number("account")?, row.required("amount")?.parse()?);
            ledger.entry(row.number("id")?).or_default().push((account, amount));
            *moved.entry(account).or_default() += amount;
        }
        self.learn_outcomes(client, found).await?;
        self.shared.compare(&mut ledger, found);
        let mut total = 0;
        let rows = client.rows("SELECT id, balance FROM stage.accounts").await?;
        for row in &rows {
            let (id, balance): (u64, i64) = (row.number("id")?, row.required("balance")?.parse()?);
            let should = BEGIN + moved.get(&id).copied().unwrap_or(0);
            total += balance;
            if balance != should {
                let what = format!("account {id} has {balance}, and its ledger says {should}");
                found.push(Violation::new(what));
            }
        }
        if rows.len() as u64 != ACCOUNTS || total != BEGIN * ACCOUNTS.cast_signed() {
            let what = format!(
                "{} accounts have {total}, {ACCOUNTS} had {}",
                rows.len(),
                BEGIN * ACCOUNTS.cast_signed()
            );
            found.push(Violation::new(what));
        }
        Ok(())
    }
}

/// How a transaction ends.
enum End {
    Commit,
    Rollback,
}

async fn transfer(
    shared: Arc<Shared>,
    first: u64,
    mut rover: Rover,
    mut dice: Dice,
    rest: Duration,
    stop: CancellationToken,
) {
    let mut id = first;
    while !stop.is_cancelled() {
        if !rover.is_connected().await {
            continue;
        }
        id += 1;
        let from = dice.below(ACCOUNTS as usize) as u64;
        let to = (from + 1 + dice.below(ACCOUNTS as usize - 1) as u64) % ACCOUNTS;
        let amount = 1 + dice.below(AMOUNT_MAX) as i64;
        let end = if dice.below(8) == 0 { End::Rollback } else { End::Commit };
        // One statement over two partitions is atomic too.
        let entries = if dice.below(2) == 0 {
            vec![format!("INSERT INTO stage.ledger VALUES ({from}, {id}, -{amount}), ({to}, {id}, {amount})")]
        } else {
            vec![
                format!("INSERT INTO stage.ledger VALUES ({from}, {id}, -{amount})"),
                format!("INSERT INTO stage.ledger VALUES ({to}, {id}, {amount})"),
            ]
        };
        let moves = [
            format!("UPDATE stage.accounts SET balance = balance - {amount} WHERE id = {from}"),
            format!("UPDATE stage.accounts SET balance = balance + {amount} WHERE id = {to}"),
        ];
        let statements = std::iter::once("BEGIN".to_owned()).chain(moves).chain(entries);
        let mut story = Story::default();
        let story_so_far = story.clone();
        let open = Transfer { from, to, amount, fate: Fate::NotDone, id: String::new(), story: story_so_far };
        shared.transfers().insert(id, open);
        let mut transaction = String::new();
        let fate = one(&mut rover, statements, &end, &mut transaction, &mut story).await;
        match &fate {
            Ok(_) => shared.counts.acknowledge(),
            Err((_, fault)) => shared.counts.note::<()>(&Err(fault.clone())),
        }
        let fate = fate.unwrap_or_else(|(fate, _)| fate);
        if let Some(transfer) = shared.transfers().get_mut(&id) {
            (transfer.fate, transfer.id, transfer.story) = (fate, transaction, story);
        }
        tokio::time::sleep(rest).await;
    }
    rover.close().await;
}

/// One transaction; what its client knows of it, and the error if there was one.
async fn one(
    rover: &mut Rover,
    statements: impl Iterator<Item = String>,
    end: &End,
    transaction: &mut String,
    story: &mut Story,
) -> Result<Fate, (Fate, SqlFault)> {
    let via = rover.via().to_owned();
    for statement in statements {
        let sent = Moment::now();
        let outcome = rover.run(&statement).await;
        let said = outcome.as_ref().map_or_else(ToString::to_string, |_| "OK".into());
        story.tell(&via, sent, format!("{statement}: {said}"));
        if let Err(fault) = outcome {
            // Without a COMMIT nothing is done, whatever becomes of the connection.
            if fault.number().is_some() && rover.run("ROLLBACK").await.is_err() {
                rover.go_on();
            }
            return Err((Fate::NotDone, fault));
        }
    }
    match rover.rows("SELECT @@baton_transaction_id").await {
        Ok(rows) => *transaction = rows.first().and_then(Record::first).unwrap_or_default(),
        Err(fault) => {
            rover.go_on();
            return Err((Fate::NotDone, fault));
        }
    }
    let sent = Moment::now();
    let (statement, fate) = match end {
        End::Commit => ("COMMIT", Fate::Done),
        End::Rollback => ("ROLLBACK", Fate::NotDone),
    };
    let outcome = rover.run(statement).await;
    let said = outcome.as_ref().map_or_else(ToString::to_string, |_| "OK".into());
    story.tell(&via, sent, format!("{statement}: {said}"));
    match outcome {
        Ok(_) => Ok(fate),
        Err(fault) => {
            let fate = match end {
                End::Commit if !is_surely_undone(&fault) => Fate::Unknown,
                _ => Fate::NotDone,
            };
            if fault.number().is_some() {
                // Whatever state this session is in, another one is in none.
                rover.go_on();
            }
            Err((fate, fault))
        }
    }
}

/// Locks all accounts again and again, and counts.
async fn audit(shared: Arc<Shared>, mut rover: Rover, rest: Duration, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::time::sleep(rest).await;
        if !rover.is_connected().await || rover.run("BEGIN").await.is_err() {
            continue;
        }
        let (via, sent) = (rover.via().to_owned(), Moment::now());
        let rows = rover.rows("SELECT id, balance FROM stage.accounts FOR UPDATE").await;
        shared.counts.note_read(&rows);
        if let Ok(rows) = rows {
            let balance = |row: &Record| row.required("balance").ok()?.parse::<i64>().ok();
            let balances: Option<Vec<i64>> = rows.iter().map(balance).collect();
            let total = balances.map_or(0, |balances| balances.iter().sum());
            if rows.len() as u64 != ACCOUNTS || total != BEGIN * ACCOUNTS.cast_signed() {
                let mut story = Story::default();
                let seen: Vec<String> = rows.iter().map(Record::to_string).collect();
                story.tell(&via, sent, format!("all accounts, locked: {}", seen.join("; ")));
                let what = format!("{} accounts, all locked, have {total}", rows.len());
                shared.counts.violated(story.violation(what));
            }
        }
        if rover.run("ROLLBACK").await.is_err() {
            rover.go_on();
        }
    }
    rover.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_there_as_a_whole_or_not_at_all_as_its_clerk_knows() {
        let whole = vec![(1, -5), (2, 5)];
        for (fate, lines, wrong) in [
            (Fate::Done, whole.clone(), 0),
            (Fate::Done, vec![], 1),
            (Fate::Done, vec![(1, -5)], 1),
            (Fate::NotDone, vec![], 0),
            (Fate::NotDone, whole.clone(), 1),
            (Fate::Unknown, vec![], 0),
            (Fate::Unknown, whole.clone(), 0),
            (Fate::Unknown, vec![(2, 5)], 1),
            (Fate::Done, [whole.clone(), whole].concat(), 1),
        ] {
            let shared = Shared { transfers: Mutex::default(), counts: Arc::default() };
            let (id, story) = (String::new(), Story::default());
            let transfer = Transfer { from: 1, to: 2, amount: 5, fate, id, story };
            shared.transfers().insert(9, transfer);
            let mut ledger = BTreeMap::new();
            if !lines.is_empty() {
                ledger.insert(9, lines.clone());
            }
            let mut found = Vec::new();
            shared.compare(&mut ledger, &mut found);
            assert_eq!(found.len(), wrong, "{fate:?} {lines:?}: {found:?}");
            // What was seen once must be there in the next copy.
            let mut again = Vec::new();
            shared.compare(&mut BTreeMap::new(), &mut again);
            let seen = wrong == 0 && !lines.is_empty();
            assert!(!seen || again.len() == 1, "{fate:?} {lines:?}: {again:?}");
        }
        let shared = Shared { transfers: Mutex::default(), counts: Arc::default() };
        let mut found = Vec::new();
        shared.compare(&mut BTreeMap::from([(1, vec![(1, -1), (2, 1)])]), &mut found);
        assert_eq!(found.len(), 1, "nobody made it");
    }
}
