//! Builds all tests once, in release, and runs them: first those of the crates, then those over real processes.
//!
//! The programs are built by one cargo call for the whole workspace and started from here, because a call for a part
//! of it resolves other features and would compile heavy libraries again.
//! A test program that does not end is killed after a bound and counts as failed.
//! Those over real processes make network namespaces, for which they run as root.
//! The last line is `N passed, N failed`, alone, for people and for CI.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::house::House;
use crate::{checkout, root, setup, sim};

/// Tests over real processes: they share ports, processors and packet filters, so one runs at a time.
const PROCESS_TESTS: &str = "baton-tests";

/// The binary those tests start, given to them as `BATON_BIN`.
const BINARY: &str = "baton";

/// The longest a program with tests of one crate may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The longest a program with tests over real processes may take: it waits for failures that take 30 s each.
const PROCESS_PROGRAM_LIMIT: Duration = Duration::from_secs(40 * 60);

/// How much later than the bound that root keeps we look ourselves.
const ROOT_GRACE: Duration = Duration::from_secs(30);

/// What to test.
#[derive(Args)]
pub struct TestArgs {
    /// Only the cores, in the dev profile: seconds, without compiling any shell
    #[arg(long)]
    cores: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs the tests and prints the sum; failure if one failed.
///
/// # Errors
/// When something is missing that cannot be installed, or the build fails.
pub fn run(args: &TestArgs) -> Result<ExitCode> {
    let started = Instant::now();
    if !args.cores {
        // Said now, and not after a long build.
        become_root()?;
        setup::run(setup::Purpose::Test)?;
    }
    let selection = if args.cores { cores()? } else { vec!["--release".into(), "--workspace".into()] };
    let build = build(&selection)?;
    println!(
        "test: built {} test programs in {:.0} s",
        build.programs.len(),
        started.elapsed().as_secs_f64()
    );

    let (over_processes, of_crates): (Vec<&Program>, Vec<&Program>) =
        build.programs.iter().partition(|program| program.package == PROCESS_TESTS);
    let mut sum = Tally::default();
    for program in of_crates {
        sum.add(&program.label, run_bounded(program.command(args), PROGRAM_LIMIT)?);
    }
    if !args.cores {
        sum.add("mutants of the rules", run_bounded(mutants(args)?, PROGRAM_LIMIT)?);
    }
    sum.add("documentation", run_bounded(doc_tests(&selection, args)?, PROGRAM_LIMIT)?);
    for program in over_processes {
        let mut command = program.command(args);
        command.arg("--test-threads=1");
        let binary = build.binary.as_ref().context("no crate of the workspace builds the program `baton`")?;
        command.env("BATON_BIN", binary);
        let as_root = become_root()?;
        let outcome = if as_root.is_empty() {
            run_bounded(command, PROCESS_PROGRAM_LIMIT)?
        } else {
            let command = root::as_root(&command, as_root, PROCESS_PROGRAM_LIMIT);
            run_bounded(command, PROCESS_PROGRAM_LIMIT + ROOT_GRACE)?
        };
        sum.add(&program.label, outcome);
    }
    Ok(print_sum(&sum, started.elapsed()))
}

/// How the tests over real processes become root; what was given an hour ago may be taken back since.
fn become_root() -> Result<&'static [&'static str]> {
    root::prefix().context(
        "the tests over real processes make network namespaces, for which they must be root, and this is neither \
         root nor may it use sudo without a password; type this, in this terminal:\n  \
         sudo -v && cargo xtask test\n\
         what is built already is kept; `cargo xtask test --cores` needs no root",
    )
}

fn print_sum(sum: &Tally, took: Duration) -> ExitCode {
    println!();
    println!("test: {} programs in {:.0} s, {} tests ignored", sum.programs, took.as_secs_f64(), sum.ignored);
    for failure in &sum.failures {
        println!("test: FAILED {failure}");
    }
    if sum.failed == 0 {
        println!("next: cargo xtask verify");
    } else {
        println!("next: cargo xtask test NAME runs one of them again");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Cargo's words for the pure crates: those of the ground floor, and the policies, which stand beside them.
fn cores() -> Result<Vec<String>> {
    let house = House::of_this_checkout()?;
    let cores = house.rooms.iter().filter(|room| room.floor == Some(0));
    Ok(cores.flat_map(|core| ["--package".to_owned(), core.name.clone()]).collect())
}

/// What one cargo call built.
struct Build {
    programs: Vec<Program>,
    binary: Option<PathBuf>,
}

/// A compiled test program.
struct Program {
    package: String,
    /// Package and source file, as `baton-detector tests/script.rs`.
    label: String,
    executable: PathBuf,
    folder: PathBuf,
}

impl Program {
    /// Starts where and as `cargo test` would start it.
    fn command(&self, args: &TestArgs) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).args(&args.filter);
        command.env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO_PKG_NAME", &self.package);
        command
    }
}

/// Builds test programs and plain programs of the selection; cargo's messages say what and where.
fn build(selection: &[String]) -> Result<Build> {
    let mut command = checkout::cargo(&["build", "--bins", "--tests"])?;
    command.args(selection);
    println!("  $ {}", checkout::printed(&command));
    command.arg("--message-format=json-render-diagnostics");
    let messages = checkout::output_of(command)?;
    let mut built = Build { programs: Vec::new(), binary: None };
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo printed a message that is no JSON")?;
        let Some(executable) = message["executable"].as_str().map(PathBuf::from) else { continue };
        let (target, manifest) = (&message["target"], Path::new(field(&message, "manifest_path")?));
        if message["profile"]["test"] == true {
            let folder = manifest.parent().context("a manifest lies in a folder")?.to_path_buf();
            let source = Path::new(field(target, "src_path")?);
            let package = package_name(field(&message, "package_id")?);
            let label = format!("{package} {}", source.strip_prefix(&folder).unwrap_or(source).display());
            built.programs.push(Program { package, label, executable, folder });
        } else if target["name"] == BINARY {
            built.binary = Some(executable);
        }
    }
    built.programs.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(built)
}

/// The name in a package id, as `path+file:///checkout/crates/model#baton-model@0.1.0` or `…/xtask#0.1.0`.
fn package_name(id: &str) -> String {
    let (path, fragment) = id.rsplit_once('#').unwrap_or(("", id));
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(fragment),
    };
    name.to_owned()
}

fn field<'a>(message: &'a Value, name: &str) -> Result<&'a str> {
    message[name].as_str().with_context(|| format!("a message of cargo has no text in `{name}`"))
}

/// The broken rules that the simulator must catch: in a build of its own, so that no node can ever have them.
fn mutants(args: &TestArgs) -> Result<Command> {
    let mut command = checkout::cargo(&["test"])?;
    command.args(sim::PROFILE).args(["--features", "mutants", "--test", "mutants"]).args(&args.filter);
    Ok(command)
}

fn doc_tests(selection: &[String], args: &TestArgs) -> Result<Command> {
    let mut command = checkout::cargo(&["test", "--doc"])?;
    command.args(selection).args(&args.filter);
    Ok(command)
}

/// What the programs counted.
#[derive(Default, Debug, PartialEq, Eq)]
struct Tally {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, label: &str, program: Tally) {
        self.programs += 1;
        self.passed += program.passed;
        self.failed += program.failed;
        self.ignored += program.ignored;
        self.failures.extend(program.failures.into_iter().map(|failure| format!("{label}: {failure}")));
    }

    /// Takes in one line of a test program.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// A program that ends badly without naming a failed test has failed as a whole.
    fn end(mut self, success: bool, how: &str) -> Tally {
        if !success && self.failed == 0 {
            self.failed = self.failed.max(1);
            self.failures.push(format!("the program {how}"));
        }
        self
    }
}

/// The number before a word, in `ok. 3 passed; 1 failed; …`; 0 if the word is not there.
fn count(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|part| !part.is_empty()).collect();
    let before = words.iter().position(|part| *part == word).and_then(|at| at.checked_sub(1));
    before.and_then(|at| words[at].parse().ok()).unwrap_or_default()
}

/// Runs a test program, shows what it prints, and counts; kills it at the limit.
fn run_bounded(mut command: Command, limit: Duration) -> Result<Tally> {
    println!("\n  $ {}", checkout::printed(&command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", checkout::printed(&command)))?;
    let Some(stdout) = child.stdout.take() else { bail!("a started program has no output") };
    let deadline = Instant::now() + limit;
    // The channel holds a few lines: a program that prints faster than we show waits, as at a terminal.
    let (lines, received) = mpsc::sync_channel::<String>(64);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut tally = Tally::default();
    loop {
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{line}");
                tally.read(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                stop(&mut child)?;
                return Ok(tally.end(false, &format!("did not end within {} s", limit.as_secs())));
            }
        }
    }
    // Its output is closed; what is left of it is its end.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            stop(&mut child)?;
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = child.wait()?;
    Ok(tally.end(status.success(), &format!("ended with {status}")))
}

fn stop(child: &mut Child) -> Result<()> {
    child.kill().context("cannot kill a test program that does not end")?;
    child.wait().context("cannot wait for a killed test program")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_test_program_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::good ... ok",
            "test a::bad ... FAILED",
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.01s",
        ] {
            tally.read(line);
        }
        let tally = tally.end(false, "ended with 101");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (12, 1, 2));
        assert_eq!(tally.failures, ["a::bad"]);
    }

    #[test]
    fn a_program_that_dies_has_failed() {
        let mut tally = Tally::default();
        tally.read("test a::good ... ok");
        let tally = tally.end(false, "ended with signal 6");
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert_eq!(tally.failures, ["the program ended with signal 6"]);
    }

    #[test]
    fn a_program_is_killed_at_its_limit() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let tally = run_bounded(command, Duration::from_millis(50)).expect("sleep starts");
        assert_eq!(tally.failed, 1);
        assert!(tally.failures[0].contains("did not end"), "{:?}", tally.failures);
    }

    #[test]
    fn the_package_of_an_id_is_known_in_both_shapes() {
        assert_eq!(package_name("path+file:///checkout/crates/model#baton-model@0.1.0"), "baton-model");
        assert_eq!(package_name("path+file:///checkout/xtask#0.1.0"), "xtask");
    }
}
