//! What the README says to whoever writes a policy, typed as it stands there; and what the tool says when it goes wrong.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use baton_tests::cluster::binary;
use baton_tests::{Cluster, ClusterSpec};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// The first build for WASM compiles the SDK, on a machine that may be busy.
const BUILD_MAX: Duration = Duration::from_secs(600);
/// Stands above the commands in the README.
const MARK: &str = "<!-- author:";
/// Stands above those that want a running cluster.
const CLUSTER_MARK: &str = "<!-- author-cluster:";

/// The root of the checkout.
fn root() -> Result<PathBuf> {
    let here = env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    found.map(Path::to_path_buf).context("not inside the repository")
}

/// The commands below a mark.
fn commands_of<'a>(readme: &'a str, mark: &str) -> Result<&'a str> {
    let (_, rest) = readme.split_once(mark).context("the README has no mark for authors")?;
    let (_, rest) = rest.split_once("\n```\n").context("no commands below the mark")?;
    Ok(rest.split_once("\n```").context("the commands do not end")?.0)
}

/// Types a script in a folder, with the binary in the `PATH`.
async fn type_in(folder: &Path, script: &str) -> Result<Output> {
    let tool = binary()?;
    let tool = tool.parent().context("the binary is in no folder")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(tool.to_path_buf()).chain(env::split_paths(&path)))?;
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    // Policies of tests are compiled once, beside what else is built.
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root()?.join("target"), PathBuf::from);
    shell.env("CARGO_TARGET_DIR", target.join("author"));
    // What cargo tells a test about itself is not what a person's shell has.
    for name in env::vars_os().map(|(name, _)| name) {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG") || text.starts_with("CARGO_MANIFEST") || text == "CARGO" {
            shell.env_remove(&name);
        }
    }
    shell.kill_on_drop(true);
    timeout(BUILD_MAX, shell.output()).await.context("the author's commands take too long")?.context("sh")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ensure_said(output: &Output, ended_well: bool, expected: &[&str]) -> Result<()> {
    let said = text(output);
    ensure!(output.status.success() == ended_well, "ended with {}:\n{said}", output.status);
    for words in expected {
        ensure!(said.contains(words), "it does not say '{words}':\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_author_types_what_the_readme_says() -> Result<()> {
    let readme = fs::read_to_string(root()?.join("README.md"))?;
    let commands = commands_of(&readme, MARK)?;
    let folder = tempfile::tempdir()?;
    // The README's paths are those of a checkout, which a test is not to write into.
    std::os::unix::fs::symlink(root()?.join("policies"), folder.path().join("policies"))?;
    let done = type_in(folder.path(), commands).await?;
    ensure_said(
        &done,
        true,
        &[
            "3 of 3 views are answered as they say, natively and in the sandbox",
            "my-policy 0.1.0",
            "miss_limit (default 20)",
            "n4: failed",
            "native classic on the same question",
        ],
    )?;

    // Onto a cluster and back.
    let cluster = Cluster::start(&ClusterSpec::new(1, 2)).await?;
    let master = cluster.node("a1")?;
    let exports = format!(
        "export PORT={} ROOT_PASSWORD='{}' DATA='{}'; cd my-policy\n",
        master.port,
        cluster.password(),
        master.datadir.display()
    );
    let commands = commands_of(&readme, CLUSTER_MARK)?;
    let done = type_in(folder.path(), &format!("{exports}{commands}")).await?;
    ensure_said(&done, true, &["my-key", "my-policy.wasm.sig", "detection", "decisions, "])?;
    let bound = cluster.conn("a1").await?.rows("SHOW POLICY BINDINGS").await?;
    let detection = bound.iter().find(|row| row.text("Decision_Point").as_deref() == Some("detection"));
    let decides = detection.context("nothing decides")?.required("Policy")?;
    ensure!(decides == "classic", "{decides} decides after the rollback");
    let known = cluster.conn("a1").await?.rows("SHOW POLICIES").await?;
    let signed = known.iter().find(|row| row.text("Policy").as_deref() == Some("my-policy"));
    ensure!(signed.context("it is not installed")?.required("Signed_By")?.len() == 64);
    drop(cluster);

    // A change of mind is seen by the tests, and kept on purpose only.
    let policy = folder.path().join("my-policy");
    let source = policy.join("src/lib.rs");
    let patient = fs::read_to_string(&source)?.replace("default: 20", "default: 50");
    fs::write(&source, patient)?;
    let seen = type_in(&policy, "baton policy test").await?;
    ensure_said(
        &seen,
        false,
        &["1 of 3 views are not answered as they say", "n5: failed (20 misses) → healthy"],
    )?;
    let kept = type_in(&policy, "baton policy test --update && baton policy test").await?;
    ensure_said(&kept, true, &["3 of 3 views are answered as they say"])?;

    // What a cluster has recorded is decided again, by a policy that was not asked then.
    let mut records = String::new();
    for name in ["answers", "refused", "silent"] {
        let view: Value =
            serde_json::from_str(&fs::read_to_string(policy.join(format!("views/{name}.json")))?)?;
        records.push_str(&format!("{view}\n"));
    }
    fs::write(policy.join("records.jsonl"), records)?;
    let classic = root()?.join("crates/policy-host/builtin/classic.wasm");
    let replay = format!("baton policy --json replay records.jsonl --policy {}", classic.display());
    let replayed = type_in(&policy, &replay).await?;
    ensure_said(&replayed, true, &[])?;
    let told: Value = serde_json::from_slice(&replayed.stdout)?;
    ensure!(told["decisions"] == 3 && told["changed"] == 1, "{told}");
    ensure!(
        told["shown"][0]["differences"][0].as_str().is_some_and(|text| text.starts_with("n4: failed")),
        "{told}"
    );
    Ok(())
}

/// The lab plays policies beside each other, in scenarios that come with it and in one's own.
#[tokio::test]
async fn a_policy_is_played_in_the_lab() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let own =
        "# A leaf dies twice.\nfails leaf\nat 0s kill leaf\nat 5s start leaf\nat 20s kill leaf\nuntil 30s\n";
    fs::write(folder.path().join("twice.scenario"), own)?;
    let command = "baton sim --json --policy swift --against classic --library --only refused --scenario twice.scenario \
                   --only twice --seeds 2 --html report.html";
    let done = type_in(folder.path(), command).await?;
    ensure_said(&done, true, &[])?;
    let told: Value = serde_json::from_slice(&done.stdout)?;
    ensure!(told["held"] == true, "{told}");
    for (policy, name, least, most) in [(0, "swift", 0, 300), (1, "classic", 2_700, 3_300)] {
        let of = &told["policies"][policy];
        ensure!(of["policy"] == name && of["fallbacks"] == 0, "{of}");
        for (scenario, name) in ["refused", "twice"].into_iter().enumerate() {
            let row = &of["scenarios"][scenario];
            let detection = row["detection_ms"]["median"].as_u64().context("nothing was noticed")?;
            ensure!(row["scenario"] == name && row["noticed"] == 2, "{row}");
            ensure!((least..=most).contains(&detection), "{name} under {}: {detection} ms", of["policy"]);
        }
    }
    let report = fs::read_to_string(folder.path().join("report.html"))?;
    ensure!(report.contains("A leaf dies twice.") && report.contains("<svg"), "{report}");
    Ok(())
}

/// A policy need not be Rust. What its own script builds answers as its views say, and as its settings want.
#[tokio::test]
async fn a_policy_in_c_is_built_and_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sources = root()?.join("policies/patient-c");
    // What somebody has built there already is not what is tested.
    let copied = format!(
        "cp -r '{0}/build.sh' '{0}/patient.c' '{0}/libc' '{0}/views' .\n./build.sh\nbaton policy test patient-c.wasm",
        sources.display()
    );
    let done = type_in(folder.path(), &copied).await?;
    ensure_said(&done, true, &["patient-c 1", "3 of 3 views are answered as they say, in the sandbox"])?;
    let run = "baton policy run patient-c.wasm --input views/silent.json --with silence_misses=20";
    ensure_said(&type_in(folder.path(), run).await?, true, &["n5: failed", "20 of 20 misses, 0 refusals"])?;
    let bad = run.replace("=20", "=2x");
    let refused = type_in(folder.path(), &bad).await?;
    ensure_said(&refused, false, &["silence_misses is a whole number from 1 to 1000000"])
}

#[tokio::test]
async fn what_an_author_mistypes_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let classic = root()?.join("crates/policy-host/builtin/classic.wasm").display().to_string();
    fs::write(folder.path().join("no.wasm"), b"\0asm\x0d\0\x01\0 and then nothing")?;
    fs::write(folder.path().join("no.json"), "{\"point\": \"retry\"}")?;
    fs::create_dir(folder.path().join("taken"))?;
    fs::write(folder.path().join("no.scenario"), "at 0s slay leaf\nuntil 1s\n")?;
    let cases = [
        ("baton policy new My_Policy --sdk .".to_owned(), "is no name for a policy"),
        ("baton policy new match --sdk .".to_owned(), "choose another name, such as match-policy"),
        ("baton policy new taken --sdk .".to_owned(), "is there already"),
        ("baton policy new mine --sdk .".to_owned(), "is not the folder of baton-policy-sdk"),
        ("baton policy build".to_owned(), "`baton policy new NAME` begins a policy"),
        ("baton policy inspect no.wasm".to_owned(), "this is no WASM component"),
        ("baton policy inspect nowhere.wasm".to_owned(), "cannot read nowhere.wasm"),
        (format!("baton policy run {classic} --input no.json"), "no.json is no view"),
        (format!("baton policy bench {classic} --nodes 0"), "0 is not in 1..=100000"),
        (
            format!("baton policy replay no.json --policy {classic}"),
            "1 lines cannot be read and were passed over",
        ),
        ("baton policy keygen taken".to_owned(), "taken is there already"),
        (format!("baton policy sign {classic} --key no.json"), "no.json: this is no secret key"),
        (format!("baton policy install {classic} --signature no.json"), "no.json: missing field"),
        (format!("baton policy install {classic} --port 1"), "127.0.0.1:1 cannot be asked"),
        (
            "baton policy activate mine --point all --password-env NO_PASSWORD".to_owned(),
            "the environment has no variable NO_PASSWORD",
        ),
        ("baton policy activate mine --point all --with speed".to_owned(), "'speed' is no setting"),
        ("baton policy rollback --point all --for-group 3".to_owned(), "3 is not in 1..=2"),
        (
            "baton sim --scenario no.scenario".to_owned(),
            "no.scenario is no scenario: line 1: 'slay' is no deed",
        ),
        ("baton sim --only silence".to_owned(), "'silence' is no scenario: there are calm, refused"),
        (
            "baton sim --against clasic".to_owned(),
            "no such policy comes with Baton; there are: classic, swift",
        ),
        ("baton sim --html no/report.html".to_owned(), "cannot write no/report.html"),
        ("baton sim --policy swift --with patience=3".to_owned(), "has no setting 'patience'"),
    ];
    for (command, expected) in cases {
        let done = type_in(folder.path(), &command).await?;
        if let Err(error) = ensure_said(&done, false, &[expected]) {
            bail!("{command}: {error}");
        }
        ensure!(!folder.path().join("mine").exists(), "{command} left something behind");
    }
    Ok(())
}
