//! The way of a policy onto a cluster and back, by statements and by `baton policy`: signed, installed, bound here and
//! there, rolled back, dropped; and what is refused on the way.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::client::{Record, refused_with};
use baton_tests::cluster::binary;
use baton_tests::{Client, Cluster};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::sql::CLUSTER;
use crate::stage::REFUSED;

/// A command of the tool takes no longer.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// Wrong arguments; see the table of errors.
const WRONG_ARGUMENTS: u16 = 1210;

/// A policy that does not come with the binary: one that does, under a name of the same length.
fn component(name: &str) -> Result<Vec<u8>> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    let swift = root.context("not inside the repository")?.join("crates/policy-host/builtin/swift.wasm");
    let mut bytes = fs::read(swift)?;
    ensure!(name.len() == "swift".len(), "{name} has another length");
    while let Some(at) = bytes.windows(name.len()).position(|word| word == b"swift") {
        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    Ok(bytes)
}

/// Another version of a component: the same with a custom section, which says nothing, at its end.
fn version(of: &[u8], number: u8) -> Vec<u8> {
    [of, &[0, 3, 1, b'v', number]].concat()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `baton policy`.
async fn tool(folder: &Path, cluster: &Cluster, line: &str) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.arg("policy").args(line.split_whitespace()).current_dir(folder);
    command.env("ROOT_PASSWORD", cluster.password()).stdin(Stdio::null()).kill_on_drop(true);
    timeout(COMMAND_MAX, command.output()).await.context("the tool takes too long")?.context("baton")
}

/// Runs `baton policy`, which must do it; what it printed as JSON.
pub async fn told(folder: &Path, cluster: &Cluster, line: &str) -> Result<Value> {
    let done = tool(folder, cluster, &format!("--json {line}")).await?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "baton policy {line}: {said}");
    serde_json::from_slice(&done.stdout).with_context(|| format!("baton policy {line}"))
}

/// How the tool finds an aggregator.
fn at(cluster: &Cluster, node: &str) -> Result<String> {
    let node = cluster.node(node)?;
    Ok(format!("--host {} --port {} --password-env ROOT_PASSWORD", node.host, node.port))
}

/// The hashes bound at a decision point, by scope and mode.
async fn bound(client: &mut Client, point: &str, scope: &str, mode: &str) -> Result<Option<String>> {
    let rows = client.rows("SHOW POLICY BINDINGS").await?;
    let is = |row: &&Record, column: &str, value: &str| row.text(column).as_deref() == Some(value);
    let row = rows
        .iter()
        .find(|row| is(row, "Decision_Point", point) && is(row, "Scope", scope) && is(row, "Mode", mode));
    row.map(|row| row.required("Hash")).transpose()
}

/// The hashes of a policy's versions, the current one first.
async fn versions(client: &mut Client, policy: &str) -> Result<Vec<String>> {
    let rows = client.rows("SHOW POLICIES").await?;
    let rows = rows.iter().filter(|row| row.text("Policy").as_deref() == Some(policy));
    rows.map(|row| row.required("Hash")).collect()
}

async fn clear(client: &mut Client, policy: &str) -> Result<()> {
    client.run("SET GLOBAL policy_trusted_keys = ''").await?;
    client.run("SET GLOBAL policy_gate = OFF").await?;
    client.run("SET POLICY ALL = classic").await?;
    client.run(&format!("DROP POLICY IF EXISTS {policy}")).await?;
    Ok(())
}

#[test]
fn a_policy_is_signed_installed_bound_and_taken_back() {
    CLUSTER.run(async |cluster| {
        let folder = tempfile::tempdir()?;
        let mut client = cluster.conn("a2").await?;
        clear(&mut client, "trust").await?;
        client.run("CREATE DATABASE IF NOT EXISTS trusting PARTITIONS 2").await?;
        let first = component("trust")?;
        fs::write(folder.path().join("trust.wasm"), &first)?;
        let key = told(folder.path(), cluster, "keygen key").await?;
        let key = key["key"].as_str().context("no public key")?.to_owned();
        let signed = told(folder.path(), cluster, "sign trust.wasm --key key").await?;
        let hash = signed["hash"].as_str().context("no hash")?.to_owned();

        // Nobody comes in without a signature, nor with one that was meant for something else.
        client.run(&format!("SET GLOBAL policy_trusted_keys = '{key}'")).await?;
        refused_with(WRONG_ARGUMENTS, client.run("SET GLOBAL policy_trusted_keys = '00'").await)?;
        let unsigned = format!("CREATE POLICY trust FROM x'{}'", hex(&first));
        let said = refused_with(REFUSED, client.run(&unsigned).await)?;
        ensure!(said.contains("baton policy sign"), "{said}");
        let signature = signed["signature"].as_str().context("no signature")?.to_owned();
        let other = version(&first, 1);
        let of_another =
            format!("CREATE POLICY trust FROM x'{}' SIGNED BY '{key}' SIGNATURE '{signature}'", hex(&other));
        let said = refused_with(REFUSED, client.run(&of_another).await)?;
        ensure!(said.contains("the signature is not by"), "{said}");
        ensure!(versions(&mut client, "trust").await?.is_empty(), "something was installed");

        // With it, from the command line, at an aggregator that is not the master.
        let at = at(cluster, "a2")?;
        let installed = told(folder.path(), cluster, &format!("install trust.wasm {at}")).await?;
        ensure!(installed["hash"] == hash && installed["signed_by"] == key, "{installed}");
        ensure!(versions(&mut client, "trust").await? == std::slice::from_ref(&hash));
        // The same again is fine; another one of that name is not, unless it may.
        told(folder.path(), cluster, &format!("install trust.wasm {at}")).await?;
        fs::write(folder.path().join("trust2.wasm"), &other)?;
        let second = told(folder.path(), cluster, "sign trust2.wasm --key key").await?;
        let second = second["hash"].as_str().context("no hash")?.to_owned();
        let again = tool(folder.path(), cluster, &format!("install trust2.wasm {at}")).await?;
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        ensure!(!again.status.success() && said.contains("OR REPLACE"), "{said}");

        // It decides as soon as the statement is answered, at every aggregator.
        told(folder.path(), cluster, &format!("activate trust --point promotion {at}")).await?;
        for node in cluster.aggregators() {
            let mut there = cluster.conn(&node).await?;
            let found = bound(&mut there, "promotion", "cluster", "active").await?;
            ensure!(found.as_deref() == Some(&*hash), "{node}: {found:?}");
        }
        // A new version decides nothing until it is bound; what is bound stays bound to its bytes.
        told(folder.path(), cluster, &format!("install trust2.wasm --replace {at}")).await?;
        ensure!(versions(&mut client, "trust").await? == [second.clone(), hash.clone()]);
        ensure!(bound(&mut client, "promotion", "cluster", "active").await?.as_deref() == Some(&*hash));
        client.run("SET POLICY promotion = trust").await?;
        ensure!(bound(&mut client, "promotion", "cluster", "active").await?.as_deref() == Some(&*second));
        told(folder.path(), cluster, &format!("rollback --point promotion {at}")).await?;
        ensure!(bound(&mut client, "promotion", "cluster", "active").await?.as_deref() == Some(&*hash));
        client.run(&format!("SET POLICY promotion = trust VERSION '{}'", &second[..12])).await?;
        client.run("ROLLBACK POLICY promotion").await?;

        // A database has one of its own, and one that is asked beside.
        let line = format!("activate trust --point promotion --for-database trusting {at}");
        told(folder.path(), cluster, &line).await?;
        client.run("SET SHADOW POLICY degrade = trust FOR GROUP 1").await?;
        let scope = "database trusting";
        ensure!(bound(&mut client, "promotion", scope, "active").await?.as_deref() == Some(&*second));
        ensure!(bound(&mut client, "degrade", "group 1", "shadow").await?.as_deref() == Some(&*second));
        let said = refused_with(
            WRONG_ARGUMENTS,
            client.run("SET POLICY election = trust FOR DATABASE trusting").await,
        )?;
        ensure!(said.contains("without FOR"), "{said}");
        refused_with(REFUSED, client.run("SET POLICY promotion = DEFAULT FOR GROUP 2").await)?;

        // What is bound anywhere is not dropped.
        client.run("SET POLICY promotion = classic").await?;
        refused_with(REFUSED, client.run("DROP POLICY trust").await)?;
        client.run("SET SHADOW POLICY ALL = NONE FOR GROUP 1").await?;
        refused_with(REFUSED, client.run("DROP POLICY trust").await)?;
        client.run("DROP DATABASE trusting").await?;
        ensure!(
            bound(&mut client, "promotion", scope, "active").await?.is_none(),
            "it outlived its database"
        );
        client.run("DROP POLICY trust").await?;
        refused_with(REFUSED, client.run("DROP POLICY trust").await)?;
        client.run("DROP POLICY IF EXISTS trust").await?;
        refused_with(REFUSED, client.run("DROP POLICY classic").await)?;
        let events = client.rows("SHOW EVENTS").await?;
        for kind in ["POLICY_INSTALLED", "POLICY_BOUND", "POLICY_UNBOUND", "POLICY_DROPPED"] {
            let told = events.iter().any(|event| event.text("EVENT_TYPE").as_deref() == Some(kind));
            ensure!(told, "no event {kind}");
        }
        clear(&mut client, "trust").await
    });
}

#[test]
fn a_gate_lets_in_what_passed_the_lab() {
    CLUSTER.run(async |cluster| {
        let mut client = cluster.conn("a2").await?;
        clear(&mut client, "gated").await?;
        let bytes = component("gated")?;
        client.run(&format!("CREATE POLICY gated FROM x'{}'", hex(&bytes))).await?;
        let hash = versions(&mut client, "gated").await?.pop().context("it is not there")?;
        client.run("SET GLOBAL policy_gate = ON").await?;
        let said = refused_with(REFUSED, client.run("SET POLICY promotion = gated").await)?;
        ensure!(said.contains("baton sim --policy gated.wasm --json"), "{said}");
        let report = |hash: &str, whole: bool, passed: bool| {
            let policies = [serde_json::json!({"policy": "gated", "hash": hash, "passed": passed})];
            let report = serde_json::json!({"seeds": 1, "whole_library": whole, "policies": policies});
            format!("SET POLICY promotion = gated REPORT '{report}'")
        };
        for wrong in [
            report(&hash[1..], true, true),
            report(&hash, false, true),
            report(&hash, true, false),
            "SET POLICY promotion = gated REPORT 'it is fine'".to_owned(),
        ] {
            refused_with(REFUSED, client.run(&wrong).await).with_context(|| wrong.clone())?;
        }
        // What comes with the binary, and what is only asked beside, needs none.
        client.run("SET POLICY promotion = swift").await?;
        client.run("SET SHADOW POLICY promotion = gated").await?;
        client.run(&report(&hash, true, true)).await?;
        ensure!(bound(&mut client, "promotion", "cluster", "active").await? == Some(hash.clone()));
        let rows = client.rows("SHOW POLICY BINDINGS").await?;
        let reported =
            rows.iter().filter_map(|row| row.text("Report")).filter(|text| text.len() == 64).count();
        ensure!(reported == 1, "{reported} bindings have a report");
        client.run("SET SHADOW POLICY promotion = NONE").await?;
        clear(&mut client, "gated").await
    });
}

#[test]
fn what_is_no_policy_is_refused_and_nodes_are_marked_for_a_while() {
    CLUSTER.run(async |cluster| {
        let mut client = cluster.conn("a2").await?;
        clear(&mut client, "other").await?;
        let bytes = hex(&component("other")?);
        for wrong in [
            format!("CREATE POLICY another FROM x'{bytes}'"),
            "CREATE POLICY other FROM x'0061736d0d000100'".to_owned(),
            "SET POLICY weather = swift".to_owned(),
            "SET POLICY ALL = swift VERSION 'nothing'".to_owned(),
            "SET POLICY detection = swift FOR DATABASE nowhere".to_owned(),
            "ROLLBACK POLICY promotion FOR GROUP 1".to_owned(),
            "RELEASE POLICY swift".to_owned(),
            "RELEASE POLICY nobody".to_owned(),
            "EXPLAIN POLICY DECISION 999999".to_owned(),
            "SET MAINTENANCE '127.0.0.1:1' FOR 5 SECONDS".to_owned(),
        ] {
            let short: String = wrong.chars().take(80).collect();
            ensure!(client.run(&wrong).await.is_err(), "{short} was done");
        }
        let leaf = cluster.leaves().into_iter().next().context("there is no leaf")?;
        let leaf = cluster.node(&leaf)?;
        let address = leaf.address();
        client.run(&format!("SET MAINTENANCE '{address}' FOR 600 SECONDS")).await?;
        let marked = client.rows("SHOW MAINTENANCE").await?;
        ensure!(marked.len() == 1 && marked[0].number("Port")? == u64::from(leaf.port));
        ensure!((500..=600).contains(&marked[0].number("Seconds_Left")?));
        client.run(&format!("SET MAINTENANCE '{address}' OFF")).await?;
        ensure!(client.rows("SHOW MAINTENANCE").await?.is_empty());
        Ok(())
    });
}
