//! SQL as clients of MySQL know it, through every aggregator and both protocols.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use baton_tests::client::{Record, SqlFault, refused_with, text_of};
use baton_tests::wait::wait_while_not;
use baton_tests::{Client, Cluster, ClusterSpec};
use mysql_async::Value;

use crate::stage::Shared;

/// Three aggregators and a pair of leaves, where nothing fails.
pub static CLUSTER: Shared =
    Shared { name: "three voters and a pair", spec: || ClusterSpec::new(3, 2), database: None };

/// A database of this test alone.
pub async fn database(cluster: &Cluster, name: &str) -> Result<Client> {
    let mut client = cluster.conn("a2").await?;
    client.run(&format!("DROP DATABASE IF EXISTS {name}")).await?;
    client.run(&format!("CREATE DATABASE {name} PARTITIONS 4")).await?;
    client.run(&format!("USE {name}")).await?;
    Ok(client)
}

/// A connection that uses a database.
pub async fn using(cluster: &Cluster, node: &str, name: &str) -> Result<Client> {
    let mut client = cluster.conn(node).await?;
    client.run(&format!("USE {name}")).await?;
    Ok(client)
}

/// Rows as text, sorted.
async fn table(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>> {
    let rows = client.rows(sql).await.with_context(|| sql.to_owned())?;
    let mut rows: Vec<Vec<String>> = rows.iter().map(Record::texts).collect();
    rows.sort();
    Ok(rows)
}

fn ensure_rows(what: &str, found: &[Vec<String>], wanted: &[&[&str]]) -> Result<()> {
    let wanted: Vec<Vec<String>> =
        wanted.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect();
    ensure!(found == wanted, "{what}: {found:?}, should be {wanted:?}");
    Ok(())
}

const TYPES: &str = "CREATE TABLE kinds (
    id BIGINT PRIMARY KEY, flag BOOL, tiny TINYINT, small SMALLINT, middle INT, big BIGINT UNSIGNED, real8 DOUBLE,
    money DECIMAL(20, 4), name VARCHAR(100), story TEXT, bytes BLOB, day DATE, moment DATETIME(6), stamp TIMESTAMP,
    doc JSON)";

/// Each as a literal, as a parameter, and as it is read back.
fn kinds() -> Vec<[(&'static str, Value, &'static str); 14]> {
    let text = |text: &str| Value::from(text);
    vec![
        [
            ("TRUE", Value::from(1), "1"),
            ("-128", Value::from(-128), "-128"),
            ("-32768", Value::from(-32768), "-32768"),
            ("2147483647", Value::from(i32::MAX), "2147483647"),
            ("18446744073709551615", Value::from(u64::MAX), "18446744073709551615"),
            ("-1.25e10", Value::from(-1.25e10_f64), "-12500000000"),
            ("-9999999999999999.9999", text("-9999999999999999.9999"), "-9999999999999999.9999"),
            ("'Zoë — 漢字 🦀'", text("Zoë — 漢字 🦀"), "Zoë — 漢字 🦀"),
            (r"'it''s a \\ \n'", text("it's a \\ \n"), "it's a \\ \n"),
            ("x'00ff10'", Value::Bytes(vec![0, 0xff, 0x10]), "\0\u{fffd}\u{10}"),
            ("'2024-02-29'", Value::Date(2024, 2, 29, 0, 0, 0, 0), "2024-02-29"),
            (
                "'2024-12-31 23:59:59.123456'",
                Value::Date(2024, 12, 31, 23, 59, 59, 123_456),
                "2024-12-31 23:59:59.123456",
            ),
            ("'2001-02-03 04:05:06'", Value::Date(2001, 2, 3, 4, 5, 6, 0), "2001-02-03 04:05:06"),
            (r#"'{"a": [1, null]}'"#, text(r#"{"a": [1, null]}"#), r#"{"a": [1, null]}"#),
        ],
        [
            ("FALSE", Value::from(0), "0"),
            ("127", Value::from(127), "127"),
            ("0", Value::from(0), "0"),
            ("-2147483648", Value::from(i32::MIN), "-2147483648"),
            ("0", Value::from(0), "0"),
            ("0.5", Value::from(0.5), "0.5"),
            ("1.5", text("1.5"), "1.5000"),
            ("''", text(""), ""),
            ("''", text(""), ""),
            ("''", text(""), ""),
            ("'1000-01-01'", Value::Date(1000, 1, 1, 0, 0, 0, 0), "1000-01-01"),
            ("'1970-01-02 00:00:00'", Value::Date(1970, 1, 2, 0, 0, 0, 0), "1970-01-02 00:00:00"),
            ("'2038-01-19 03:14:07'", Value::Date(2038, 1, 19, 3, 14, 7, 0), "2038-01-19 03:14:07"),
            ("'[]'", text("[]"), "[]"),
        ],
        std::array::from_fn(|_| ("NULL", Value::NULL, "NULL")),
    ]
}

#[test]
fn every_type_reads_back_as_written_through_both_protocols_and_every_aggregator() {
    CLUSTER.run(async |cluster| {
        let mut client = database(cluster, "kinds").await?;
        client.run(TYPES).await?;
        let mut wanted: Vec<Vec<String>> = Vec::new();
        for (i, row) in kinds().into_iter().enumerate() {
            let literals: Vec<&str> = row.iter().map(|(literal, _, _)| *literal).collect();
            client.run(&format!("INSERT INTO kinds VALUES ({}, {})", 2 * i, literals.join(", "))).await?;
            let mut parameters = vec![Value::from(2 * i as u64 + 1)];
            parameters.extend(row.iter().map(|(_, value, _)| value.clone()));
            let marks = vec!["?"; parameters.len()].join(", ");
            client.execute(&format!("INSERT INTO kinds VALUES ({marks})"), parameters).await?;
            for id in [2 * i, 2 * i + 1] {
                wanted.push(
                    std::iter::once(id.to_string())
                        .chain(row.iter().map(|(_, _, read)| (*read).to_owned()))
                        .collect(),
                );
            }
        }
        for node in cluster.aggregators() {
            let mut client = using(cluster, &node, "kinds").await?;
            // By the planner, and by the short way of a primary key.
            let text = client.rows("SELECT * FROM kinds ORDER BY id").await?;
            let binary = client.rows_of("SELECT * FROM kinds ORDER BY id", ()).await?;
            for (way, rows) in [("text", &text), ("binary", &binary)] {
                let found: Vec<Vec<String>> = rows.iter().map(cells).collect();
                ensure!(found == wanted, "{node}, {way}: {found:#?}\nshould be {wanted:#?}");
            }
            for (id, row) in wanted.iter().enumerate() {
                let text = client.rows(&format!("SELECT * FROM kinds WHERE id = {id}")).await?;
                let binary = client.rows_of("SELECT * FROM kinds WHERE id = ?", (id as u64,)).await?;
                for (way, rows) in [("text", &text), ("binary", &binary)] {
                    let found: Vec<Vec<String>> = rows.iter().map(cells).collect();
                    ensure!(found == [row.clone()], "{node}, key {id}, {way}: {found:?}, should be {row:?}");
                }
            }
        }
        Ok(())
    });
}

/// As text, with a DATETIME of midnight in full: the binary protocol leaves its time out.
fn cells(row: &Record) -> Vec<String> {
    let midnight = |name: &str| match row.value(name) {
        Some(Value::Date(year, month, day, 0, 0, 0, 0)) => {
            Some(format!("{year:04}-{month:02}-{day:02} 00:00:00"))
        }
        _ => None,
    };
    let mut cells = row.texts();
    for (at, name) in [(12, "moment"), (13, "stamp")] {
        if let (Some(text), Some(cell)) = (midnight(name), cells.get_mut(at)) {
            *cell = text;
        }
    }
    cells
}

#[test]
fn writes_count_and_fail_as_mysql_does() {
    CLUSTER.run(async |cluster| {
        let mut client = database(cluster, "counts").await?;
        client.run("CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, name VARCHAR(5) DEFAULT 'new')").await?;
        // The first key of a statement, and how many rows it wrote.
        let keyed = async |client: &mut Client, sql: &str, wanted: (u64, u64)| -> Result<()> {
            let done = client.run(sql).await.with_context(|| sql.to_owned())?;
            let found = (done.last_insert_id, done.affected_rows);
            ensure!(found == wanted, "{sql}: first key and rows {found:?}, should be {wanted:?}");
            Ok(())
        };
        keyed(&mut client, "INSERT INTO t (n) VALUES (10), (20), (30)", (1, 3)).await?;
        let done = client.run("INSERT INTO t VALUES (100, 40, 'x')").await?;
        ensure!(done.affected_rows == 1, "{done:?}");
        // Keys go on behind the highest that was given.
        let done = client.execute("INSERT INTO t (n) VALUES (?)", (50,)).await?;
        ensure!((done.last_insert_id, done.affected_rows) == (101, 1), "{done:?}");
        keyed(&mut client, "INSERT INTO t (id, n) VALUES (NULL, 60), (NULL, 70)", (102, 2)).await?;
        ensure!(client.value("SELECT LAST_INSERT_ID()").await? == "102");
        // Another aggregator has a block of 1,000 of its own, the next one.
        let mut other = using(cluster, "a3", "counts").await?;
        keyed(&mut other, "INSERT INTO t (n) VALUES (80), (90)", (1001, 2)).await?;
        keyed(&mut client, "INSERT INTO t (n) VALUES (61)", (104, 1)).await?;
        keyed(&mut other, "INSERT INTO t (n) VALUES (81)", (1003, 1)).await?;
        // A key beyond all blocks ends the block of the aggregator that it was given through, and no other.
        client.run("INSERT INTO t VALUES (5000, 62, 'far')").await?;
        keyed(&mut client, "INSERT INTO t (n) VALUES (63)", (5001, 1)).await?;
        keyed(&mut other, "INSERT INTO t (n) VALUES (82)", (1004, 1)).await?;
        client.run("DELETE FROM t WHERE n > 50").await?;

        let changed = async |client: &mut Client, sql: &str, wanted: u64| -> Result<()> {
            let done = client.run(sql).await.with_context(|| sql.to_owned())?;
            ensure!(done.affected_rows == wanted, "{sql}: {} rows, should be {wanted}", done.affected_rows);
            Ok(())
        };
        changed(&mut client, "UPDATE t SET n = 20 WHERE n <= 20", 1).await?;
        changed(&mut client, "UPDATE t SET n = n + 1, name = CONCAT(name, '!') WHERE id = 100", 1).await?;
        changed(&mut client, "UPDATE t SET n = 1 WHERE id = -1", 0).await?;
        changed(&mut client, "DELETE FROM t WHERE n = 30", 1).await?;
        changed(&mut client, "REPLACE INTO t VALUES (100, 7, 'y')", 2).await?;
        changed(&mut client, "REPLACE INTO t VALUES (200, 8, 'z')", 1).await?;
        let rows = table(&mut client, "SELECT n, name FROM t WHERE id IN (1, 2, 3, 100, 200)").await?;
        ensure_rows("after all", &rows, &[&["20", "new"], &["20", "new"], &["7", "y"], &["8", "z"]])?;

        for (number, sql) in [
            (1062, "INSERT INTO t VALUES (100, 1, 'a')"),
            (1048, "INSERT INTO t VALUES (300, NULL, 'a')"),
            (1364, "INSERT INTO t (id) VALUES (300)"),
            (1136, "INSERT INTO t VALUES (300)"),
            (1264, "INSERT INTO t VALUES (300, 99999999999, 'a')"),
            (1366, "INSERT INTO t VALUES (300, 'many', 'a')"),
            (1406, "INSERT INTO t VALUES (300, 1, 'too long')"),
            (1054, "INSERT INTO t (id, m) VALUES (300, 1)"),
            (1110, "INSERT INTO t (id, id) VALUES (300, 1)"),
            (1054, "SELECT m FROM t"),
            (1146, "SELECT * FROM u"),
            (1049, "SELECT * FROM nowhere.t"),
            (1049, "USE nowhere"),
            (1050, "CREATE TABLE t (id BIGINT PRIMARY KEY)"),
            (1007, "CREATE DATABASE counts"),
            (1008, "DROP DATABASE nowhere"),
            (1051, "DROP TABLE u"),
            (1193, "SET GLOBAL no_such_thing = 1"),
            (1231, "SET GLOBAL heartbeat_interval_ms = 0"),
        ] {
            refused_with(number, client.run(sql).await).with_context(|| sql.to_owned())?;
        }
        refused_with(1046, cluster.conn("a1").await?.rows("SELECT * FROM t").await)?;
        let count = client.value("SELECT COUNT(*) FROM t WHERE id = 300").await?;
        ensure!(count == "0", "a refused row is there");
        Ok(())
    });
}

#[test]
fn queries_join_group_and_sort_over_all_partitions() {
    CLUSTER.run(async |cluster| {
        let mut client = database(cluster, "queries").await?;
        client.run("CREATE TABLE sales (id BIGINT PRIMARY KEY, shop INT NOT NULL, amount DECIMAL(10, 2), day DATE)").await?;
        client.run("CREATE REFERENCE TABLE shops (id INT PRIMARY KEY, town VARCHAR(20))").await?;
        client.run("INSERT INTO shops VALUES (0, 'Ulm'), (1, 'Rom'), (2, 'Oslo'), (3, 'nowhere')").await?;
        let rows: Vec<String> =
            (0..3000).map(|id| format!("({id}, {}, {}.25, '2024-01-{:02}')", id % 3, id % 10, id % 28 + 1)).collect();
        client.run(&format!("INSERT INTO sales VALUES {}", rows.join(", "))).await?;
        for node in cluster.aggregators() {
            let mut client = using(cluster, &node, "queries").await?;
            for (sql, wanted) in [
                ("SELECT COUNT(*), MIN(id), MAX(id), SUM(amount) FROM sales", "3000 0 2999 14250.00"),
                ("SELECT id FROM sales ORDER BY id DESC LIMIT 2", "2998|2999"),
                ("SELECT id FROM sales ORDER BY id LIMIT 2 OFFSET 10", "10|11"),
                ("SELECT shop, COUNT(*) FROM sales WHERE amount > 4 GROUP BY shop HAVING COUNT(*) > 1", "0 600|1 600|2 600"),
                ("SELECT s.town, SUM(amount) FROM sales JOIN shops s ON s.id = sales.shop GROUP BY s.town",
                    "Oslo 4750.00|Rom 4750.00|Ulm 4750.00"),
                ("SELECT town FROM shops WHERE id NOT IN (SELECT shop FROM sales)", "nowhere"),
                ("SELECT a.id FROM sales a JOIN sales b ON a.id = b.id + 2998", "2998|2999"),
                ("SELECT id FROM sales WHERE id IN (5, 7, 99999)", "5|7"),
                ("SELECT COUNT(DISTINCT shop) FROM sales WHERE day BETWEEN '2024-01-05' AND '2024-01-06'", "3"),
                ("SELECT 1 + 1", "2"),
                ("WITH few AS (SELECT id FROM sales WHERE id < 2) SELECT id FROM few UNION ALL SELECT 7", "0|1|7"),
                ("SELECT DATABASE()", "queries"),
            ] {
                let found: Vec<String> = table(&mut client, sql).await?.iter().map(|row| row.join(" ")).collect();
                ensure!(found.join("|") == wanted, "{node}: {sql}: {found:?}, should be {wanted}");
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_unknown_is_an_error_with_its_position_and_never_hangs() {
    CLUSTER.run(async |cluster| {
        let mut client = database(cluster, "unknown").await?;
        client.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").await?;
        let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
        for sql in [
            "SELEC 1",
            "SELECT FROM WHERE",
            "INSERT INTO t VALUES (1",
            "CREATE TABLE x",
            "SELECT 'open",
            "SELECT 1 SELECT 2",
            "CREATE VIEW v AS SELECT 1",
            "CREATE PROCEDURE p() SELECT 1",
            "ALTER TABLE t ADD COLUMN n INT",
            "LOCK TABLES t WRITE",
            "CALL nothing()",
            "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE id = 2",
            "CREATE UNIQUE INDEX i ON t (id)",
            "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
            "SELECT 1; SELECT 2",
            "",
            ";",
            &deep,
        ] {
            let began = Instant::now();
            let outcome = client.run_within(Duration::from_secs(10), sql).await;
            let shown: String = sql.chars().take(40).collect();
            match outcome {
                Err(SqlFault::Answered { number: number @ (1064 | 1065 | 1235), message }) => {
                    ensure!(
                        number == 1065 || sql.len() < 3 || message.contains("line"),
                        "{shown}: names no position: {message}"
                    );
                }
                other => bail!("{shown}: {other:?}"),
            }
            ensure!(began.elapsed() < Duration::from_secs(3), "{shown}: {:?}", began.elapsed());
        }
        ensure!(client.value("SELECT 1").await? == "1");
        Ok(())
    });
}

#[test]
fn statements_of_the_master_are_forwarded_by_children_and_seen_by_all() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(Duration::from_secs(30)).await?;
        let child = cluster.aggregators().into_iter().find(|name| *name != master).context("no child")?;
        let mut client = cluster.conn(&child).await?;
        client.run("DROP DATABASE IF EXISTS forwarded").await?;
        client.run("CREATE DATABASE forwarded PARTITIONS 2").await?;
        client.run("USE forwarded").await?;
        client.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").await?;
        client.run("CREATE REFERENCE TABLE r (id BIGINT PRIMARY KEY, n INT)").await?;
        // What one connection has done, it sees: no wait here.
        client.run("INSERT INTO t VALUES (1), (2)").await?;
        client.run("INSERT INTO r VALUES (1, 1), (2, 2)").await?;
        client.run("UPDATE r SET n = n * 10 WHERE id = 2").await?;
        client.run("DELETE FROM r WHERE id = 1").await?;
        client.run("SET GLOBAL lock_wait_timeout_ms = 4321").await?;
        ensure_rows("at the child", &table(&mut client, "SELECT * FROM r").await?, &[&["2", "20"]])?;
        for node in cluster.aggregators() {
            wait_while_not(&format!("{node} knows it"), Duration::from_secs(5), async || {
                let mut client = using(cluster, &node, "forwarded").await?;
                let rows = table(&mut client, "SELECT * FROM r").await?;
                let variable = table(&mut client, "SHOW VARIABLES LIKE 'lock_wait_timeout_ms'").await?;
                Ok(rows == [["2", "20"]]
                    && variable == [["lock_wait_timeout_ms", "4321"]]
                    && client.value("SELECT COUNT(*) FROM t").await? == "2")
            })
            .await?;
        }
        client.run("SET GLOBAL lock_wait_timeout_ms = 10000").await?;
        client.run("DROP DATABASE forwarded").await?;
        refused_with(1049, client.run("USE forwarded").await)?;
        Ok(())
    });
}

#[test]
fn wrong_passwords_and_unknown_users_are_refused_by_every_node() {
    CLUSTER.run(async |cluster| {
        for node in cluster.refresh().await? {
            let login = async |user: &str, password: &str| {
                Client::connect(&node.host, node.port, user, password, None).await
            };
            let refused = async |user: &str, password: &str| -> Result<()> {
                let text = refused_with(1045, login(user, password).await)
                    .with_context(|| format!("{} for {user:?} with {password:?}", node.name))?;
                ensure!(text.contains(user), "it does not name the user: {text}");
                Ok(())
            };
            refused("root", "wrong").await?;
            refused("root", "").await?;
            refused("nobody", cluster.password()).await?;
            refused("", "").await?;
            login("root", cluster.password()).await.with_context(|| node.name.clone())?.close().await;
        }
        Ok(())
    });
}

#[test]
fn the_cluster_tells_of_itself() {
    CLUSTER.run(async |cluster| {
        let mut client = database(cluster, "told").await?;
        let aggregators = client.rows("SHOW AGGREGATORS").await?;
        ensure!(aggregators.len() == 3, "{} aggregators", aggregators.len());
        ensure!(
            aggregators.iter().filter(|row| row.text("Master_Aggregator").as_deref() == Some("1")).count()
                == 1
        );
        let roles: Vec<String> = client
            .rows("SHOW AGGREGATORS EXTENDED")
            .await?
            .iter()
            .filter_map(|row| row.text("Role"))
            .collect();
        ensure!(roles.iter().filter(|role| *role == "Leader").count() == 1, "{roles:?}");
        ensure!(roles.iter().filter(|role| *role == "Voting Member").count() == 2, "{roles:?}");
        let leaves = client.rows("SHOW LEAVES").await?;
        for leaf in &leaves {
            ensure!(leaf.required("State")?.eq_ignore_ascii_case("online"), "{leaf}");
            ensure!(leaf.required("Pair_Port")? != leaf.required("Port")?, "{leaf}");
        }
        let partitions = client.rows("SHOW PARTITIONS ON told").await?;
        for role in ["Master", "Replica"] {
            let count = partitions.iter().filter(|row| row.text("Role").as_deref() == Some(role)).count();
            ensure!(count == 4, "{count} partitions have a {role}");
        }
        ensure!(!client.rows("SHOW CLUSTER STATUS").await?.is_empty());
        ensure!(!client.rows("SHOW EVENTS").await?.is_empty());
        let databases = client.rows("SHOW DATABASES LIKE 'told'").await?;
        ensure!(databases.len() == 1);
        Ok(())
    });
}

#[test]
fn policies_are_bound_while_the_cluster_runs() {
    CLUSTER.run(async |cluster| {
        let mut client = cluster.conn("a3").await?;
        let bound = async |client: &mut Client, point: &str| -> Result<String> {
            let rows = client.rows("SHOW POLICY BINDINGS").await?;
            let row = rows.iter().find(|row| row.text("Decision_Point").as_deref() == Some(point));
            row.with_context(|| format!("{point} is not bound"))?.required("Policy")
        };
        let names: Vec<String> =
            client.rows("SHOW POLICIES").await?.iter().filter_map(Record::first).collect();
        ensure!(names.contains(&"classic".into()) && names.contains(&"swift".into()), "{names:?}");
        ensure!(bound(&mut client, "detection").await? == "classic");
        client.run("SET POLICY detection = swift WITH (silence_misses = 7)").await?;
        ensure!(bound(&mut client, "detection").await? == "swift");
        ensure!(bound(&mut client, "election").await? == "classic");
        client.run("SET POLICY ALL = swift").await?;
        for node in cluster.aggregators() {
            wait_while_not(&format!("{node} knows the bindings"), Duration::from_secs(5), async || {
                let mut client = cluster.conn(&node).await?;
                for point in ["detection", "election", "promotion", "degrade"] {
                    if bound(&mut client, point).await? != "swift" {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        }
        for sql in [
            "SET POLICY detection = nobody",
            "SET POLICY weather = swift",
            "SET POLICY detection = swift WITH (speed = 9)",
        ] {
            match client.run(sql).await {
                Err(SqlFault::Answered { .. }) => {}
                other => bail!("{sql}: {other:?}"),
            }
        }
        client.run("SET POLICY ALL = classic").await?;
        ensure!(bound(&mut client, "promotion").await? == "classic");
        Ok(())
    });
}

#[test]
fn values_of_a_megabyte_and_many_prepared_statements_pass() {
    CLUSTER.run(async |cluster| {
        let mut client = database(cluster, "large").await?;
        client.run("CREATE TABLE t (id BIGINT PRIMARY KEY, body BLOB, story TEXT)").await?;
        let body: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let story = "ü".repeat(500_000);
        client
            .execute("INSERT INTO t VALUES (?, ?, ?)", (1, Value::Bytes(body.clone()), story.clone()))
            .await?;
        for node in cluster.aggregators() {
            let mut client = using(cluster, &node, "large").await?;
            let rows = client.rows_of("SELECT body, story FROM t WHERE id = ?", (1,)).await?;
            let row = rows.first().context("the row is not there")?;
            ensure!(row.value("body") == Some(&Value::Bytes(body.clone())), "{node}: another body");
            ensure!(row.value("story").and_then(text_of).as_ref() == Some(&story), "{node}: another story");
        }
        for i in 0..200_u64 {
            let rows = client.rows_of(&format!("SELECT ? + {i}"), (i,)).await?;
            ensure!(rows.first().and_then(Record::first) == Some((2 * i).to_string()), "{i}: {rows:?}");
        }
        Ok(())
    });
}
