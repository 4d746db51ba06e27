//! What policies decide on real clusters: kept and told, replayed, compared with a shadow, and contained whatever it is.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::client::refused_with;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec, Moment, Writers};
use serde_json::Value;

use crate::policies::{hex, told};
use crate::stage::{
    HEAL_BOUND, REFUSED, Shared, drop_tables, ensure_below, event_about, leaf_with_primaries, primary_of,
    quoted, read_back, sharded_loads, state_of, taken_over,
};

/// The patience of classic with a leaf that is refused is 3 s.
static CLUSTER: Shared = Shared {
    name: "three voters and a pair under classic",
    spec: || ClusterSpec::new(3, 2),
    database: Some("PARTITIONS 4"),
};

/// A failover of a leaf that is refused, by classic.
const FAILOVER: Duration = Duration::from_secs(15);
/// Whatever a policy says, a leaf that is refused has failed after 30 s.
const CEILING: Duration = Duration::from_secs(45);
/// No partition has a primary; see the table of errors.
const NO_PRIMARY: u16 = 1777;

/// A file of the policy host.
fn of_host(file: &str) -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    Ok(root.context("not inside the repository")?.join("crates/policy-host").join(file))
}

/// Installs the policy that misbehaves.
async fn install_chaos(client: &mut Client) -> Result<()> {
    let bytes = fs::read(of_host("tests/fixtures/chaos.wasm")?)?;
    client.run(&format!("CREATE OR REPLACE POLICY chaos FROM x'{}'", hex(&bytes))).await?;
    Ok(())
}

async fn drop_chaos(client: &mut Client) -> Result<()> {
    client.run("SET POLICY ALL = classic").await?;
    client.run("DROP POLICY chaos").await?;
    Ok(())
}

/// Everything that was written down of a decision point on a node, oldest first.
fn written(cluster: &Cluster, node: &str, point: &str) -> Result<Vec<Value>> {
    let mut files: Vec<PathBuf> = fs::read_dir(cluster.node(node)?.datadir.join("decisions"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut found = Vec::new();
    for file in files {
        // The last line may be half written.
        for line in fs::read_to_string(&file)?.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let value: Value = serde_json::from_str(line).with_context(|| format!("{}", file.display()))?;
            if value["point"] == point {
                found.push(value);
            }
        }
    }
    Ok(found)
}

/// The lines of the field of a decision.
async fn explained(client: &mut Client, id: u64, field: &str) -> Result<String> {
    let rows = client.rows(&format!("EXPLAIN POLICY DECISION {id}")).await?;
    let mut lines = Vec::new();
    let mut name = String::new();
    for row in rows {
        let of = row.text("Field").unwrap_or_default();
        if !of.is_empty() {
            name = of;
        }
        if name == field {
            lines.push(row.text("Value").unwrap_or_default());
        }
    }
    Ok(lines.join("\n"))
}

#[test]
fn a_failover_is_explained_written_down_and_replayed_bit_for_bit() {
    CLUSTER.run(async |cluster| {
        let folder = tempfile::tempdir()?;
        let master = cluster.master(HEAL_BOUND).await?;
        let mut client = cluster.conn(&master).await?;
        client.run("SET SHADOW POLICY detection = swift").await?;
        let leaf = leaf_with_primaries(cluster).await?;
        let killed = cluster.kill9(&leaf).await?;
        taken_over(cluster, &leaf, FAILOVER).await?;

        // In the catalog: whom, why, and all that it was made of.
        let rows = client.rows("SHOW POLICY DECISIONS").await?;
        let of = |point: &str| {
            let newest = rows.iter().find(|row| row.text("DECISION_POINT").as_deref() == Some(point));
            newest.with_context(|| format!("no decision at {point}"))?.number("DECISION_ID")
        };
        let (detection, promotion) = (of("detection")?, of("promotion")?);
        ensure!(explained(&mut client, detection, "verdict").await? == "failed");
        let input: Value = serde_json::from_str(&explained(&mut client, detection, "input").await?)?;
        ensure!(input["nodes"].as_array().is_some_and(|nodes| nodes.len() == 4), "{input}");
        ensure!(input["wall_ms"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{input}");
        let answer: Value = serde_json::from_str(&explained(&mut client, promotion, "answer").await?)?;
        ensure!(answer["ranking"].as_array().is_some_and(|ranking| ranking.len() == 1), "{answer}");

        // In the files of the node: the same, and everything else.
        let said = wait_until("the verdict is written down", Duration::from_secs(5), async || {
            let lines = written(cluster, &master, "detection")?;
            let failed = |line: &&Value| {
                let verdicts = line["verdict"].as_array();
                verdicts.is_some_and(|verdicts| verdicts.iter().any(|v| v["health"] == "Failed"))
            };
            Ok(lines.iter().find(failed).cloned())
        })
        .await?;
        ensure!(said["policy"] == "classic" && said["fallback"] == "", "{said}");
        let given = Moment::from_unix_ms(said["at_ms"].as_u64().context("no time")?);
        println!("    the verdict came {:.3} s after the kill", given.ms_after(killed.at) / 1e3);
        let files = fs::read_dir(cluster.node(&master)?.datadir.join("decisions"))?;
        let mut files: Vec<PathBuf> = files.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        let whole = fs::read_to_string(files.last().context("no file")?)?;
        let end = whole.rfind('\n').map_or(0, |at| at + 1);
        fs::write(folder.path().join("records.jsonl"), &whole[..end])?;
        fs::copy(of_host("builtin/classic.wasm")?, folder.path().join("classic.wasm"))?;
        let replayed = told(folder.path(), cluster, "replay records.jsonl --policy classic.wasm").await?;
        let own = replayed["own"].as_u64().context("nothing was its own")?;
        ensure!(own > 10 && replayed["own_otherwise"] == 0 && replayed["changed"] == 0, "{replayed}");

        // And beside: swift does not wait for three seconds.
        let report = client.rows("SHOW SHADOW REPORT").await?;
        let count = report.first().context("nobody was asked beside")?;
        ensure!(count.text("Policy").as_deref() == Some("swift"), "{count}");
        ensure!(count.number("Asked")? > 10 && count.number("Disagreed")? > 0, "{count}");
        ensure!(count.number("Failed")? + count.number("Skipped")? == 0, "{count}");
        let failed = report.iter().any(|row| {
            let is = |column: &str, word: &str| row.text(column).is_some_and(|text| text.starts_with(word));
            is("Active", "healthy") && is("Shadow", "failed")
        });
        ensure!(failed, "it would have failed the leaf earlier");
        client.run("SET SHADOW POLICY ALL = NONE").await?;
        ensure!(client.rows("SHOW SHADOW REPORT").await?.is_empty(), "nobody is asked beside any more");
        Ok(())
    });
}

#[test]
fn a_policy_that_fails_again_and_again_is_quarantined_until_it_is_released() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(HEAL_BOUND).await?;
        let mut client = cluster.conn(&master).await?;
        install_chaos(&mut client).await?;
        let from = Moment::now();
        client.run("SET POLICY ALL = chaos WITH (chaos = 'panic')").await?;
        let held = async |client: &mut Client| -> Result<String> {
            let rows = client.rows("SHOW POLICIES").await?;
            let row = rows.iter().find(|row| row.text("Policy").as_deref() == Some("chaos"));
            Ok(row.context("it is gone")?.text("Quarantined").unwrap_or_default())
        };
        wait_while_not("it is in quarantine", Duration::from_secs(20), async || {
            Ok(held(&mut client).await?.contains("10 failures"))
        })
        .await?;
        for kind in ["POLICY_FALLBACK", "POLICY_QUARANTINED"] {
            wait_until(&format!("the event {kind}"), Duration::from_secs(5), async || {
                let events = cluster.any_aggregator().await?.events_since(from).await?;
                Ok(events.into_iter().find(|event| event.kind == kind && event.details.contains("chaos")))
            })
            .await?;
        }
        // Native classic decides at every point meanwhile.
        let leaf = leaf_with_primaries(cluster).await?;
        cluster.kill9(&leaf).await?;
        taken_over(cluster, &leaf, FAILOVER).await?;
        // Nobody is bound to what is in quarantine; once released, it decides again where it behaves.
        refused_with(REFUSED, client.run("SET POLICY election = chaos").await)?;
        client.run("SET POLICY ALL = classic").await?;
        client.run("RELEASE POLICY chaos").await?;
        ensure!(held(&mut client).await?.is_empty(), "it is still held");
        client.run("SET POLICY ALL = chaos").await?;
        let from = Moment::now();
        cluster.restart(&leaf).await?;
        event_about(cluster, "NODE_ONLINE", &leaf, from, FAILOVER).await?;
        wait_until("it decides again", Duration::from_secs(5), async || {
            let newest = written(cluster, &master, "detection")?.pop().context("nothing was written")?;
            Ok((newest["policy"] == "chaos" && newest["fallback"] == "").then_some(()))
        })
        .await?;
        drop_chaos(&mut client).await
    });
}

/// A policy that always says yes, and one that never does anything: the cluster serves, and fails over within the ceiling.
#[test]
fn no_valid_answer_stops_the_cluster() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(HEAL_BOUND).await?;
        let mut client = cluster.conn(&master).await?;
        install_chaos(&mut client).await?;
        for way in ["always", "never"] {
            // Each leaf serves something: one that is called failed and that nobody needs is given up.
            client.run_within(HEAL_BOUND, &format!("REBALANCE PARTITIONS ON {DATABASE}")).await?;
            cluster.all_in_sync(HEAL_BOUND).await?;
            client.run(&format!("SET POLICY ALL = chaos WITH (chaos = '{way}')")).await?;
            // Statements are for `retry` to give up, and never gives up at once.
            client.run("SET POLICY retry = classic").await?;
            let leaf = leaf_with_primaries(cluster).await?;
            let writers = Writers::start(cluster, &sharded_loads(&[&master])).await?;
            writers.all_write(HEAL_BOUND).await?;
            let killed = cluster.kill9(&leaf).await?;
            taken_over(cluster, &leaf, CEILING).await?;
            println!("    {way}: taken over {:.3} s after the kill", Moment::now().ms_after(killed.at) / 1e3);
            writers.all_write(HEAL_BOUND).await?;
            read_back(cluster, writers, &master).await?;
            client.run("SET POLICY ALL = classic").await?;
            drop_tables(cluster).await?;
            let from = Moment::now();
            cluster.restart(&leaf).await?;
            event_about(cluster, "NODE_ONLINE", &leaf, from, HEAL_BOUND).await?;
            cluster.all_in_sync(HEAL_BOUND).await?;
        }
        drop_chaos(&mut client).await
    });
}

#[test]
fn a_leaf_that_a_policy_refuses_stays_out_until_an_operator_says_so() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(HEAL_BOUND).await?;
        let mut client = cluster.conn(&master).await?;
        install_chaos(&mut client).await?;
        client.run("SET POLICY rejoin = chaos WITH (chaos = 'never')").await?;
        let leaf = leaf_with_primaries(cluster).await?;
        let from = Moment::now();
        cluster.kill9(&leaf).await?;
        taken_over(cluster, &leaf, FAILOVER).await?;
        cluster.restart(&leaf).await?;
        let decision = wait_until("it is refused", FAILOVER, async || {
            let decisions = client.decisions_since(from).await?;
            Ok(decisions.into_iter().find(|decision| decision.point == "rejoin"))
        })
        .await?;
        ensure!(decision.verdict == "refuse" && decision.policy == "chaos", "{decision:?}");
        // No patience and no ceiling brings back one that nobody needs.
        tokio::time::sleep(Duration::from_secs(12)).await;
        ensure!(state_of(&mut client, cluster, &leaf).await? == "attaching");
        // An operator's word comes before a policy's.
        let from = Moment::now();
        client.run(&format!("ATTACH LEAF {}", quoted(cluster, &leaf)?)).await?;
        event_about(cluster, "NODE_ONLINE", &leaf, from, FAILOVER).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        drop_chaos(&mut client).await
    });
}

#[test]
fn a_statement_waits_for_as_long_as_its_policy_says() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(HEAL_BOUND).await?;
        let mut client = cluster.conn(&master).await?;
        install_chaos(&mut client).await?;
        client.run(&format!("CREATE TABLE {DATABASE}.waits (id BIGINT PRIMARY KEY)")).await?;
        let everywhere: Vec<String> = (0..64).map(|id| format!("({id})")).collect();
        let everywhere = everywhere.join(", ");
        client
            .run(&format!("SET POLICY retry = chaos WITH (chaos = 'never') FOR DATABASE {DATABASE}"))
            .await?;
        let primary = primary_of(cluster, 0).await?;
        let killed = cluster.kill9(&primary).await?;
        let refused = client.run(&format!("INSERT INTO {DATABASE}.waits VALUES {everywhere}")).await;
        let said = refused_with(NO_PRIMARY, refused)?;
        ensure_below("the error", Moment::now().since(killed.at), Duration::from_millis(1500))?;
        ensure!(said.contains("never (chaos)"), "{said}");
        // As the documents say, it waits for the failover.
        client.run(&format!("SET POLICY retry = DEFAULT FOR DATABASE {DATABASE}")).await?;
        client.run_within(HEAL_BOUND, &format!("INSERT INTO {DATABASE}.waits VALUES {everywhere}")).await?;
        let count = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.waits")).await?;
        ensure!(count == "64", "{count} of 64 rows are there");
        client.run(&format!("DROP TABLE {DATABASE}.waits")).await?;
        drop_chaos(&mut client).await
    });
}

#[test]
fn the_order_of_maintenance_is_the_documents_and_a_mark_ends_by_itself() {
    CLUSTER.run(async |cluster| {
        let master = cluster.master(HEAL_BOUND).await?;
        let mut client = cluster.conn(&master).await?;
        let stages = async |client: &mut Client, kind: &str| -> Result<Vec<(u64, String)>> {
            let rows = client.rows(&format!("EXPLAIN MAINTENANCE {kind}")).await?;
            rows.iter().map(|row| Ok((row.number("Stage")?, row.required("Role")?))).collect()
        };
        let roles = |stages: &[(u64, &str)]| -> Vec<(u64, String)> {
            stages.iter().map(|(stage, role)| (*stage, (*role).to_owned())).collect()
        };
        let (leaf, child, office) = ("Leaf", "Aggregator", "Master Aggregator");
        let restart = roles(&[(1, leaf), (2, leaf), (3, child), (4, child), (5, office)]);
        ensure!(stages(&mut client, "RESTART").await? == restart);
        let stop = roles(&[(1, office), (2, child), (2, child), (3, leaf), (3, leaf)]);
        ensure!(stages(&mut client, "STOP").await? == stop);
        let start = roles(&[(1, leaf), (1, leaf), (2, child), (2, child), (3, office)]);
        ensure!(stages(&mut client, "START").await? == start);

        let name = cluster.leaves().into_iter().next().context("there is no leaf")?;
        let address = cluster.node(&name)?.address();
        let from = Moment::now();
        client.run(&format!("SET MAINTENANCE '{address}' FOR 2 SECONDS")).await?;
        let marked = async |wanted: bool| -> Result<Option<()>> {
            let newest = written(cluster, &master, "detection")?.pop().context("nothing was written")?;
            let nodes = newest["input"]["nodes"].as_array().context("no nodes")?.clone();
            let is = nodes.iter().any(|node| node["in_maintenance"] == true);
            Ok((is == wanted).then_some(()))
        };
        wait_until("policies are told of it", Duration::from_secs(3), async || marked(true).await).await?;
        event_about(cluster, "MAINTENANCE_ENDED", &name, from, Duration::from_secs(10)).await?;
        wait_until("policies are told of its end", Duration::from_secs(3), async || marked(false).await)
            .await?;

        // As long as it is marked it is not failed over, however hard the evidence.
        let leaf = leaf_with_primaries(cluster).await?;
        let address = cluster.node(&leaf)?.address();
        client.run(&format!("SET MAINTENANCE '{address}' FOR 8 SECONDS")).await?;
        let marked_at = Moment::now();
        cluster.kill9(&leaf).await?;
        taken_over(cluster, &leaf, Duration::from_secs(30)).await?;
        let held = Moment::now().since(marked_at);
        println!("    taken over {:.3} s after the mark", held.as_secs_f64());
        ensure!(held >= Duration::from_secs(7), "it was failed over while it was marked");
        Ok(())
    });
}
