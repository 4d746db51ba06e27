//! Transactions: as clients of MySQL know them, and all or nothing whoever dies.
//!
//! The bank: clients move money between accounts of different partitions, and write down each transfer in a third
//! place. Whatever happens, the money is all there in the end, every acknowledged transfer is written down, none that
//! was rolled back is, and of those whose COMMIT was not answered the cluster says which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use baton_tests::client::{SqlFault, refused_with};
use baton_tests::cluster::Login;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::sql::{self, database, using};
use crate::stage::{HEAL_BOUND, leaf_with_primaries, master_and_others};
use crate::swift;

async fn amounts(client: &mut Client) -> Result<Vec<(u64, i64)>> {
    let rows = client.rows("SELECT id, amount FROM accounts ORDER BY id").await?;
    rows.iter().map(|row| Ok((row.number("id")?, row.required("amount")?.parse()?))).collect()
}

#[test]
fn a_transaction_over_several_partitions_is_seen_by_itself_and_by_others_after_its_commit() {
    sql::CLUSTER.run(async |cluster| {
        let mut one = database(cluster, "bank").await?;
        let mut other = using(cluster, "a3", "bank").await?;
        one.run("CREATE TABLE accounts (id BIGINT PRIMARY KEY, amount BIGINT)").await?;
        let rows: Vec<String> = (0..20).map(|id| format!("({id}, 10)")).collect();
        one.run(&format!("INSERT INTO accounts VALUES {}", rows.join(", "))).await?;

        one.run("BEGIN").await?;
        let id = one.value("SELECT @@baton_transaction_id").await?;
        ensure!(id.len() == 32, "{id}");
        ensure!(one.run("UPDATE accounts SET amount = amount - 3 WHERE id < 10").await?.affected_rows == 10);
        ensure!(one.run("UPDATE accounts SET amount = amount + 3 WHERE id >= 10").await?.affected_rows == 10);
        ensure!(one.run("DELETE FROM accounts WHERE id = 19").await?.affected_rows == 1);
        one.run("INSERT INTO accounts VALUES (19, 13), (20, 0)").await?;
        ensure!(amounts(&mut one).await?.iter().all(|(id, amount)| {
            *amount
                == if *id < 10 {
                    7
                } else if *id < 20 {
                    13
                } else {
                    0
                }
        }));
        ensure!(one.value("SELECT amount FROM accounts WHERE id = 3").await? == "7");
        ensure!(amounts(&mut other).await? == (0..20).map(|id| (id, 10)).collect::<Vec<_>>());
        ensure!(outcome(&mut other, &id).await? == "UNDECIDED");
        one.run("COMMIT").await?;
        ensure!(one.value("SELECT @@baton_transaction_id").await?.is_empty());
        ensure!(other.value("SELECT SUM(amount) FROM accounts").await? == "200");
        ensure!(other.value("SELECT amount FROM accounts WHERE id = 3").await? == "7");
        for node in cluster.aggregators() {
            ensure!(outcome(&mut cluster.conn(&node).await?, &id).await? == "COMMITTED");
        }

        one.run("START TRANSACTION").await?;
        let id = one.value("SELECT @@baton_transaction_id").await?;
        one.run("DELETE FROM accounts").await?;
        ensure!(amounts(&mut one).await?.is_empty());
        one.run("ROLLBACK").await?;
        ensure!(amounts(&mut one).await?.len() == 21);
        ensure!(outcome(&mut other, &id).await? == "NOT COMMITTED");
        refused_with(1210, other.rows("SHOW TRANSACTION OUTCOME 'nonsense'").await)?;

        // With its database goes what was known of it.
        one.run("CREATE DATABASE gone PARTITIONS 2").await?;
        one.run("CREATE TABLE gone.t (id BIGINT PRIMARY KEY)").await?;
        one.run("BEGIN").await?;
        let id = one.value("SELECT @@baton_transaction_id").await?;
        one.run("INSERT INTO gone.t VALUES (1), (2), (3), (4)").await?;
        one.run("COMMIT").await?;
        ensure!(outcome(&mut other, &id).await? == "COMMITTED");
        one.run("DROP DATABASE gone").await?;
        // As soon as its leaves know of that; until then it is not decided which, and never is it said not to be.
        wait_while_not("nobody knows its outcome", Duration::from_secs(5), async || {
            let said = outcome(&mut other, &id).await?;
            ensure!(said == "UNKNOWN" || said == "UNDECIDED", "{said}");
            Ok(said == "UNKNOWN")
        })
        .await?;
        Ok(())
    });
}

#[test]
fn savepoints_failed_statements_and_autocommit_are_as_in_mysql() {
    sql::CLUSTER.run(async |cluster| {
        let mut one = database(cluster, "points").await?;
        let mut other = using(cluster, "a3", "points").await?;
        one.run("CREATE TABLE accounts (id BIGINT PRIMARY KEY, amount BIGINT)").await?;
        one.run("INSERT INTO accounts VALUES (1, 1), (2, 2), (3, 3), (4, 4)").await?;
        let start = amounts(&mut one).await?;

        // A statement that fails in one partition is taken back in all.
        let failed = one.run("INSERT INTO accounts VALUES (11, 1), (12, 1), (13, 1), (4, 1), (14, 1)").await;
        refused_with(1062, failed)?;
        ensure!(amounts(&mut one).await? == start, "a statement over several partitions is all or nothing");

        one.run("SET autocommit = 0").await?;
        one.run("UPDATE accounts SET amount = 10").await?;
        one.run("SAVEPOINT a").await?;
        one.run("UPDATE accounts SET amount = 20 WHERE id <= 2").await?;
        let failed = one.run("INSERT INTO accounts VALUES (11, 1), (12, 1), (13, 1), (4, 1)").await;
        refused_with(1062, failed)?;
        one.run("SAVEPOINT b").await?;
        one.run("DELETE FROM accounts").await?;
        one.run("ROLLBACK TO SAVEPOINT b").await?;
        ensure!(amounts(&mut one).await? == [(1, 20), (2, 20), (3, 10), (4, 10)]);
        one.run("ROLLBACK TO a").await?;
        refused_with(1305, one.run("ROLLBACK TO b").await)?;
        one.run("RELEASE SAVEPOINT A").await?;
        refused_with(1305, one.run("RELEASE SAVEPOINT a").await)?;
        ensure!(amounts(&mut one).await? == [(1, 10), (2, 10), (3, 10), (4, 10)]);
        ensure!(amounts(&mut other).await? == start);
        one.run("SET autocommit = 1").await?;
        ensure!(amounts(&mut other).await? == [(1, 10), (2, 10), (3, 10), (4, 10)], "that commits");

        // DDL commits what is open; a connection that goes rolls it back.
        one.run("BEGIN").await?;
        one.run("UPDATE accounts SET amount = 11 WHERE id = 1").await?;
        one.run("CREATE TABLE more (id BIGINT PRIMARY KEY)").await?;
        ensure!(other.value("SELECT amount FROM accounts WHERE id = 1").await? == "11");
        one.run("BEGIN").await?;
        one.run("UPDATE accounts SET amount = 12").await?;
        one.close().await;
        let mut one = using(cluster, "a2", "points").await?;
        one.run("UPDATE accounts SET amount = amount + 1").await?;
        ensure!(amounts(&mut other).await? == [(1, 12), (2, 11), (3, 11), (4, 11)]);

        one.run("START TRANSACTION READ ONLY").await?;
        refused_with(1792, one.run("DELETE FROM accounts").await)?;
        one.run("COMMIT").await?;
        Ok(())
    });
}

#[test]
fn a_reference_table_is_never_half_of_a_transaction() {
    sql::CLUSTER.run(async |cluster| {
        let mut one = database(cluster, "refs").await?;
        one.run("CREATE TABLE rows_here (id BIGINT PRIMARY KEY)").await?;
        one.run("CREATE REFERENCE TABLE rates (id BIGINT PRIMARY KEY)").await?;
        one.run("BEGIN").await?;
        let said = refused_with(1706, one.run("INSERT INTO rates VALUES (1)").await)?;
        ensure!(said.contains("COMMIT or ROLLBACK first"), "{said}");
        one.run("INSERT INTO rows_here VALUES (1)").await?;
        refused_with(1706, one.run("INSERT INTO rates VALUES (1)").await)?;
        one.run("COMMIT").await?;
        // With autocommit off it commits by itself, and that is said where it would matter.
        one.run("SET autocommit = 0").await?;
        one.run("INSERT INTO rates VALUES (2)").await?;
        refused_with(1706, one.run("INSERT INTO rows_here VALUES (2)").await)?;
        refused_with(1235, one.run("ROLLBACK").await)?;
        one.run("INSERT INTO rates VALUES (3)").await?;
        one.run("COMMIT").await?;
        one.run("INSERT INTO rows_here VALUES (2)").await?;
        refused_with(1706, one.run("INSERT INTO rates VALUES (4)").await)?;
        one.run("ROLLBACK").await?;
        ensure!(one.value("SELECT COUNT(*) FROM rates").await? == "2");
        ensure!(one.value("SELECT COUNT(*) FROM rows_here").await? == "1");
        // One database in a transaction.
        one.run("CREATE DATABASE IF NOT EXISTS refs_too PARTITIONS 2").await?;
        one.run("CREATE TABLE IF NOT EXISTS refs_too.t (id BIGINT PRIMARY KEY)").await?;
        one.run("INSERT INTO rows_here VALUES (3)").await?;
        refused_with(1235, one.run("INSERT INTO refs_too.t VALUES (3)").await)?;
        one.run("ROLLBACK").await?;
        Ok(())
    });
}

#[test]
fn row_locks_wait_time_out_and_end_deadlocks() {
    sql::CLUSTER.run(async |cluster| {
        let mut one = database(cluster, "locks").await?;
        let mut other = using(cluster, "a3", "locks").await?;
        one.run("CREATE TABLE accounts (id BIGINT PRIMARY KEY, amount BIGINT)").await?;
        let rows: Vec<String> = (0..16).map(|id| format!("({id}, 0)")).collect();
        one.run(&format!("INSERT INTO accounts VALUES {}", rows.join(", "))).await?;

        // FOR UPDATE holds its rows until the end, and a plain read waits for nobody.
        one.run("BEGIN").await?;
        let locked = one.rows("SELECT id FROM accounts WHERE id IN (1, 2) FOR UPDATE").await?;
        ensure!(locked.len() == 2);
        let locked = one.rows("SELECT id FROM accounts WHERE amount = 0 AND id > 13 FOR UPDATE").await?;
        ensure!(locked.len() == 2);
        ensure!(other.value("SELECT amount FROM accounts WHERE id = 1").await? == "0");
        one.run("SET GLOBAL lock_wait_timeout_ms = 300").await?;
        other.run("BEGIN").await?;
        other.run("UPDATE accounts SET amount = 5 WHERE id = 3").await?;
        refused_with(1205, other.run("UPDATE accounts SET amount = 5 WHERE id = 1").await)?;
        refused_with(1205, other.run("UPDATE accounts SET amount = 5 WHERE id = 15").await)?;
        other.run("COMMIT").await?;
        ensure!(
            other.value("SELECT amount FROM accounts WHERE id = 3").await? == "5",
            "1205 ends the statement"
        );
        one.run("COMMIT").await?;
        one.run("SET GLOBAL lock_wait_timeout_ms = 20000").await?;

        // Two that wait for each other: one of them is told, long before any lock times out, and the other goes on.
        // By pairs of rows, so that some of them lie in one leaf and some in two.
        for pair in 0..4 {
            let (first, second) = (pair * 4, pair * 4 + 1);
            let update = |id: u64| format!("UPDATE accounts SET amount = amount + 1 WHERE id = {id}");
            let (mut a, mut b) = (using(cluster, "a2", "locks").await?, using(cluster, "a3", "locks").await?);
            a.run("BEGIN").await?;
            b.run("BEGIN").await?;
            a.run(&update(first)).await?;
            b.run(&update(second)).await?;
            let began = std::time::Instant::now();
            let (update_second, update_first) = (update(second), update(first));
            let (outcome_a, outcome_b) = tokio::join!(
                async {
                    let outcome = a.run(&update_second).await;
                    a.run("COMMIT").await?;
                    anyhow::Ok(outcome)
                },
                async {
                    let outcome = b.run(&update_first).await;
                    b.run("COMMIT").await?;
                    anyhow::Ok(outcome)
                },
            );
            let numbers: Vec<Option<u16>> = [outcome_a?, outcome_b?]
                .iter()
                .map(|o| o.as_ref().err().and_then(SqlFault::number))
                .collect();
            ensure!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
            ensure!(
                numbers == [None, Some(1213)] || numbers == [Some(1213), None],
                "rows {first} and {second}: {numbers:?}"
            );
            let sum = format!("SELECT SUM(amount) FROM accounts WHERE id IN ({first}, {second})");
            ensure!(other.value(&sum).await? == "2", "the one that went on did both");
        }
        one.run("SET GLOBAL lock_wait_timeout_ms = 10000").await?;
        Ok(())
    });
}

#[test]
fn a_workspace_that_its_client_left_alone_gives_its_locks_back() {
    sql::CLUSTER.run(async |cluster| {
        let mut one = database(cluster, "idle").await?;
        one.run("SET GLOBAL transaction_idle_timeout_ms = 1000").await?;
        one.run("CREATE TABLE accounts (id BIGINT PRIMARY KEY, amount BIGINT)").await?;
        one.run("INSERT INTO accounts VALUES (1, 1)").await?;
        one.run("BEGIN").await?;
        one.run("UPDATE accounts SET amount = 2").await?;
        let mut other = using(cluster, "a3", "idle").await?;
        other.run("UPDATE accounts SET amount = 3 WHERE id = 1").await?;
        refused_with(1213, one.run("COMMIT").await)?;
        ensure!(one.value("SELECT amount FROM accounts").await? == "3");
        one.run("SET GLOBAL transaction_idle_timeout_ms = 300000").await?;
        Ok(())
    });
}

async fn outcome(client: &mut Client, id: &str) -> Result<String> {
    let rows = client.rows(&format!("SHOW TRANSACTION OUTCOME '{id}'")).await?;
    let [row] = rows.as_slice() else { bail!("{} rows", rows.len()) };
    row.required("Outcome")
}

const ACCOUNTS: u64 = 24;
const EACH: i64 = 1_000;
/// Clients of the bank at each aggregator.
const TELLERS: u64 = 3;

/// What a client was told of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Committed,
    RolledBack,
    Nothing,
}

#[derive(Default)]
struct Books {
    /// By transaction.
    transfers: BTreeMap<String, Told>,
    errors: BTreeMap<u16, usize>,
}

/// Moves money until told to stop.
async fn teller(number: u64, logins: Vec<Login>, books: Arc<Mutex<Books>>, stop: CancellationToken) {
    let mut turn = number as usize;
    let mut dice = number * 7919 + 1;
    let mut roll = move |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    while !stop.is_cancelled() {
        let connected = async {
            let mut client = logins[turn % logins.len()].connect().await?;
            client.run(&format!("USE {DATABASE}")).await?;
            Ok::<Client, SqlFault>(client)
        };
        let Ok(mut client) = connected.await else {
            turn += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while !stop.is_cancelled() {
            let (from, amount) = (roll(ACCOUNTS), roll(50) as i64);
            let to = (from + 1 + roll(ACCOUNTS - 1)) % ACCOUNTS;
            match transfer(&mut client, from, to, amount).await {
                Ok((id, told)) => {
                    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
                    books.transfers.insert(id, told);
                    if told == Told::Nothing {
                        break;
                    }
                }
                Err(SqlFault::Answered { number, .. }) => {
                    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
                    *books.errors.entry(number).or_default() += 1;
                }
                Err(SqlFault::Unanswered(_)) => break,
            }
        }
        turn += 1;
    }
}

/// An error is of a transaction that never came to its COMMIT.
async fn transfer(client: &mut Client, from: u64, to: u64, amount: i64) -> Result<(String, Told), SqlFault> {
    client.run("BEGIN").await?;
    let id = client.rows("SELECT @@baton_transaction_id").await?[0].first().unwrap_or_default();
    let update = |id: u64, by: i64| format!("UPDATE accounts SET amount = amount + ({by}) WHERE id = {id}");
    let work = async {
        client.run(&update(from, -amount)).await?;
        client.run(&update(to, amount)).await?;
        client.run(&format!("INSERT INTO transfers VALUES ('{id}', {from}, {to}, {amount})")).await
    };
    if let Err(fault) = work.await {
        if matches!(fault, SqlFault::Answered { .. }) {
            client.run("ROLLBACK").await?;
        }
        return Err(fault);
    }
    let told = match client.run("COMMIT").await {
        Ok(_) => Told::Committed,
        Err(SqlFault::Answered { number: 1180, .. } | SqlFault::Unanswered(_)) => Told::Nothing,
        Err(SqlFault::Answered { .. }) => Told::RolledBack,
    };
    Ok((id, told))
}

/// Opens the bank, lets something happen while money moves, and checks the books.
async fn bank(
    cluster: &Cluster,
    at: &[&str],
    happens: impl AsyncFnOnce(&Cluster, &Mutex<Books>) -> Result<()>,
) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    client.run(&format!("USE {DATABASE}")).await?;
    client.run("DROP TABLE IF EXISTS accounts, transfers").await?;
    client.run("CREATE TABLE accounts (id BIGINT PRIMARY KEY, amount BIGINT)").await?;
    client
        .run("CREATE TABLE transfers (id VARCHAR(32) PRIMARY KEY, source BIGINT, target BIGINT, amount BIGINT)")
        .await?;
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {EACH})")).collect();
    client.run(&format!("INSERT INTO accounts VALUES {}", rows.join(", "))).await?;
    cluster.all_in_sync(HEAL_BOUND).await?;

    let books = Arc::new(Mutex::new(Books::default()));
    let stop = CancellationToken::new();
    let mut tellers = JoinSet::new();
    for number in 0..TELLERS * at.len() as u64 {
        let mut logins = Vec::new();
        for name in at {
            logins.push(cluster.login(name)?);
        }
        tellers.spawn(teller(number, logins, Arc::clone(&books), stop.clone()));
    }
    moved(&books, 50).await?;
    happens(cluster, &books).await?;
    moved(&books, 100).await?;
    stop.cancel();
    while let Some(ended) = tellers.join_next().await {
        ended.context("a teller panicked")?;
    }
    let books = Arc::into_inner(books).context("somebody still writes")?;
    check(cluster, &books.into_inner().unwrap_or_else(PoisonError::into_inner)).await
}

/// Waits until so many more transfers were committed.
async fn moved(books: &Mutex<Books>, more: usize) -> Result<()> {
    let committed = || {
        let books = books.lock().unwrap_or_else(PoisonError::into_inner);
        books.transfers.values().filter(|told| **told == Told::Committed).count()
    };
    let goal = committed() + more;
    wait_while_not("money moves", HEAL_BOUND, async || Ok(committed() >= goal)).await
}

async fn check(cluster: &Cluster, books: &Books) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    client.run(&format!("USE {DATABASE}")).await?;
    let count = |told: Told| books.transfers.values().filter(|other| **other == told).count();
    println!(
        "    {} committed, {} rolled back at COMMIT, {} not answered; errors before: {:?}",
        count(Told::Committed),
        count(Told::RolledBack),
        count(Told::Nothing),
        books.errors
    );
    // S12: what was not answered can be asked for.
    let mut known: BTreeMap<&str, bool> = BTreeMap::new();
    for (id, told) in &books.transfers {
        let committed = match told {
            Told::Committed => true,
            Told::RolledBack => false,
            Told::Nothing => {
                wait_until("the outcome of a lost COMMIT is known", HEAL_BOUND, async || {
                    Ok(match outcome(&mut client, id).await?.as_str() {
                        "COMMITTED" => Some(true),
                        "NOT COMMITTED" => Some(false),
                        _ => None,
                    })
                })
                .await?
            }
        };
        known.insert(id, committed);
    }
    let mut expected: BTreeMap<u64, i64> = (0..ACCOUNTS).map(|id| (id, EACH)).collect();
    let mut written = BTreeMap::new();
    for row in client.rows("SELECT id, source, target, amount FROM transfers").await? {
        let amount: i64 = row.required("amount")?.parse()?;
        *expected.entry(row.number("source")?).or_default() -= amount;
        *expected.entry(row.number("target")?).or_default() += amount;
        written.insert(row.required("id")?, amount);
    }
    for (id, committed) in known {
        ensure!(
            written.contains_key(id) == committed,
            "S9: transfer {id} is {}written down, and its client was told {:?}",
            if committed { "not " } else { "" },
            books.transfers[id]
        );
    }
    let found: BTreeMap<u64, i64> = amounts(&mut client).await?.into_iter().collect();
    let total: i64 = found.values().sum();
    ensure!(total == EACH * ACCOUNTS as i64, "S9: the total is {total}");
    ensure!(found == expected, "S9: {found:?}, should be by the transfers {expected:?}");
    Ok(())
}

#[test]
fn s9_the_bank_survives_its_leaves() {
    swift::CLUSTER.run(async |cluster| {
        bank(cluster, &["a2", "a3"], async |cluster, books| {
            // Each of them is home of some transfers and a participant of others.
            for _ in 0..2 {
                let leaf = leaf_with_primaries(cluster).await?;
                cluster.kill9(&leaf).await?;
                moved(books, 50).await?;
                cluster.restart(&leaf).await?;
                cluster.all_in_sync(HEAL_BOUND).await?;
                moved(books, 50).await?;
            }
            Ok(())
        })
        .await
    });
}

#[test]
fn s9_the_bank_survives_a_leaf_that_sleeps_and_wakes_deposed() {
    swift::CLUSTER.run(async |cluster| {
        bank(cluster, &["a2", "a3"], async |cluster, books| {
            let leaf = leaf_with_primaries(cluster).await?;
            cluster.stop(&leaf)?;
            moved(books, 50).await?;
            cluster.cont(&leaf)?;
            cluster.all_in_sync(HEAL_BOUND).await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn s9_s12_the_bank_survives_its_aggregators_and_knows_every_outcome() {
    swift::CLUSTER.run(async |cluster| {
        let (master, others) = master_and_others(cluster).await?;
        let at = [others[0].as_str(), others[1].as_str()];
        bank(cluster, &at, async |cluster, books| {
            for lost in [at[0], master.as_str()] {
                cluster.kill9(lost).await?;
                moved(books, 50).await?;
                cluster.restart(lost).await?;
                moved(books, 50).await?;
            }
            Ok(())
        })
        .await
    });
}

#[test]
fn s9_the_bank_survives_the_loss_of_a_leaf_and_the_master_together() {
    swift::CLUSTER.run(async |cluster| {
        let (master, others) = master_and_others(cluster).await?;
        let at = [others[0].as_str(), others[1].as_str()];
        bank(cluster, &at, async |cluster, books| {
            let leaf = leaf_with_primaries(cluster).await?;
            tokio::try_join!(cluster.kill9(&leaf), cluster.kill9(&master))?;
            moved(books, 50).await?;
            cluster.restart_all().await?;
            cluster.all_in_sync(HEAL_BOUND).await?;
            Ok(())
        })
        .await
    });
}
