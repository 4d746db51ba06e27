//! Programs that people have: each is run as it is, against a real cluster.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::sql::CLUSTER;

const PYMYSQL: &str = include_str!("../../clients/pymysql_round_trip.py");

/// What the mariadb client is given.
const STATEMENTS: &str = "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME); \
    INSERT INTO t VALUES (1, '2024-01-02 03:04:05'); \
    SELECT * FROM t; SHOW TABLES; DESCRIBE t; SHOW VARIABLES LIKE 'consensus_e%'";

/// The longest that a program may take.
const PROGRAM_BOUND: Duration = Duration::from_secs(60);

async fn run(command: &mut Command) -> Result<Output> {
    let output = tokio::time::timeout(PROGRAM_BOUND, command.kill_on_drop(true).output());
    output.await.context("it does not end")?.context("it cannot be started; `cargo xtask setup` installs it")
}

#[test]
fn the_mariadb_client_works() {
    CLUSTER.run(async |cluster| {
        let mut client = cluster.conn("a2").await?;
        client.run("DROP DATABASE IF EXISTS cli").await?;
        client.run("CREATE DATABASE cli PARTITIONS 4").await?;
        let node = cluster.node("a3")?;
        let output = run(Command::new("mariadb")
            // From 11.4 on the client insists on TLS unless it is told otherwise.
            .args(["--skip-ssl", "--host", &node.host, "--port", &node.port.to_string()])
            .args(["--user", "root", "--batch", "cli", "--execute", STATEMENTS])
            .env("MYSQL_PWD", cluster.password()))
        .await?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "mariadb ended with {}: {errors}", output.status);
        for line in [
            "1\t2024-01-02 03:04:05",
            "Tables_in_cli",
            "consensus_enabled\tON",
            "consensus_election_timeout\t30000",
        ] {
            ensure!(said.contains(line), "no {line:?} in {said}");
        }
        Ok(())
    });
}

#[test]
fn pymysql_works() {
    CLUSTER.run(async |cluster| {
        let node = cluster.node("a3")?;
        let script = cluster.folder().join("pymysql_round_trip.py");
        std::fs::write(&script, PYMYSQL)?;
        // The system's Python, for which the system's package is.
        let output = run(Command::new("/usr/bin/python3")
            .arg(&script)
            .env("BATON_HOST", &node.host)
            .env("BATON_PORT", node.port.to_string())
            .env("BATON_PASSWORD", cluster.password())
            .env("PYTHONUTF8", "1"))
        .await?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "python3 ended with {}: {errors}", output.status);
        ensure!(said.contains("pymysql works"), "{said}");
        Ok(())
    });
}
