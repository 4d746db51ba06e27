//! Who may do what, as clients see it; statements in full are told in the scripts of `baton-sql`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::wait::wait_while_not;
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, SqlFault};

use crate::stage::{HEAL_BOUND, another_master, master_and_others};
use crate::swift::CLUSTER;

const DENIED_LOGIN: u16 = 1045;
const DENIED_IN_DATABASE: u16 = 1044;
const DENIED_FOR_TABLE: u16 = 1142;
const DENIED_IN_CLUSTER: u16 = 1227;

async fn login(cluster: &Cluster, via: &str, user: &str, password: &str) -> Result<Client, SqlFault> {
    let node = cluster.node(via).map_err(|error| SqlFault::Unanswered(error.to_string()))?;
    Client::connect("127.0.0.1", node.port, user, password, None).await
}

fn ensure_denied<T>(outcome: Result<T, SqlFault>, number: u16, what: &str) -> Result<()> {
    match outcome {
        Err(fault) => {
            ensure!(fault.number() == Some(number), "{what}: {fault}, where {number} was expected");
            Ok(())
        }
        Ok(_) => anyhow::bail!("{what} is not refused"),
    }
}

#[test]
fn a_user_may_do_what_was_granted_through_every_aggregator_and_after_a_failover() {
    CLUSTER.run(async |cluster| {
        let (master, others) = master_and_others(cluster).await?;
        let mut root = cluster.conn(&master).await?;
        for sql in [
            &format!("CREATE TABLE {DATABASE}.ledger (id BIGINT PRIMARY KEY, n INT)") as &str,
            &format!("CREATE TABLE {DATABASE}.private (id BIGINT PRIMARY KEY)"),
            &format!("CREATE REFERENCE TABLE {DATABASE}.rates (id BIGINT PRIMARY KEY)"),
            "DROP USER IF EXISTS clerk",
            "CREATE USER clerk IDENTIFIED BY 'a secret'",
            &format!("GRANT SELECT, INSERT ON {DATABASE}.ledger TO clerk"),
            &format!("GRANT SELECT ON {DATABASE}.rates TO clerk"),
        ] {
            root.run(sql).await.with_context(|| sql.to_owned())?;
        }
        // What the master knows, another aggregator finds out when it would refuse.
        let mut clerk = login(cluster, &others[0], "clerk", "a secret").await?;
        clerk.run(&format!("INSERT INTO {DATABASE}.ledger VALUES (1, 1)")).await?;
        ensure!(clerk.value(&format!("SELECT COUNT(*) FROM {DATABASE}.ledger")).await? == "1");
        clerk.run(&format!("SELECT * FROM {DATABASE}.rates")).await?;
        let refused = [
            (DENIED_FOR_TABLE, format!("SELECT * FROM {DATABASE}.private WHERE id = 1")),
            (DENIED_FOR_TABLE, format!("UPDATE {DATABASE}.ledger SET n = 2")),
            (DENIED_FOR_TABLE, format!("INSERT INTO {DATABASE}.rates VALUES (1)")),
            (DENIED_FOR_TABLE, format!("DROP TABLE {DATABASE}.ledger")),
            (DENIED_IN_DATABASE, format!("DROP DATABASE {DATABASE}")),
            (DENIED_IN_CLUSTER, "SET GLOBAL redundancy_level = 1".to_owned()),
            (DENIED_IN_CLUSTER, "SET POLICY ALL = classic".to_owned()),
            (DENIED_IN_CLUSTER, "ALTER USER root IDENTIFIED BY 'mine'".to_owned()),
            (DENIED_IN_CLUSTER, "DETACH LEAF '127.0.0.1':1".to_owned()),
        ];
        for via in [&others[0], &master] {
            let mut clerk = login(cluster, via, "clerk", "a secret").await?;
            for (number, sql) in &refused {
                ensure_denied(clerk.run(sql).await, *number, &format!("{sql} through {via}"))?;
            }
            let database = clerk.run(&format!("USE {DATABASE}")).await;
            ensure!(database.is_ok(), "something of it may be read: {database:?}");
        }

        cluster.kill9(&master).await?;
        another_master(cluster, &master, &others[0], Duration::from_secs(10)).await?;
        let mut clerk = login(cluster, &others[0], "clerk", "a secret").await?;
        clerk.run(&format!("INSERT INTO {DATABASE}.ledger VALUES (2, 2)")).await?;
        ensure_denied(clerk.run("SET GLOBAL redundancy_level = 1").await, DENIED_IN_CLUSTER, "SET GLOBAL")?;
        // A user who is connected may do nothing more once it is dropped, and cannot come in again.
        let mut root = cluster.conn(&others[0]).await?;
        root.run("DROP USER clerk").await?;
        wait_while_not("who was dropped may do nothing", HEAL_BOUND, async || {
            let read = clerk.rows(&format!("SELECT * FROM {DATABASE}.ledger")).await;
            Ok(read.is_err_and(|fault| fault.number() == Some(DENIED_FOR_TABLE)))
        })
        .await?;
        ensure_denied(login(cluster, &others[0], "clerk", "a secret").await, DENIED_LOGIN, "a login")?;
        cluster.restart(&master).await?;
        for table in ["ledger", "private", "rates"] {
            root.run(&format!("DROP TABLE {DATABASE}.{table}")).await?;
        }
        Ok(())
    });
}

#[test]
fn whoever_guesses_passwords_is_made_to_wait_and_nobody_else() {
    CLUSTER.run(async |cluster| {
        let mut root = cluster.conn("a1").await?;
        root.run("CREATE USER IF NOT EXISTS guessed IDENTIFIED BY 'right'").await?;
        login(cluster, "a1", "guessed", "right").await.context("the password is right")?;
        for _ in 0..6 {
            ensure_denied(login(cluster, "a1", "guessed", "wrong").await, DENIED_LOGIN, "a wrong password")?;
        }
        let locked = login(cluster, "a1", "guessed", "right").await.err().context("it may come in")?;
        ensure!(locked.to_string().contains("too many failed logins: try again in"), "{locked}");
        cluster.conn("a1").await.context("others are not concerned")?;
        wait_while_not("it may try again", Duration::from_secs(10), async || {
            Ok(login(cluster, "a1", "guessed", "right").await.is_ok())
        })
        .await?;
        root.run("DROP USER guessed").await?;
        Ok(())
    });
}
