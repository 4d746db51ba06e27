//! Builds the built-in policies as WASM components, the same bytes from every checkout with the same compiler.
//!
//! The components are kept in the repository, each beside its hash and the toolchain that made it, so that nobody
//! needs a WASM toolchain to build a node. `check` proves that the kept bytes are what the sources give; another
//! toolchain gives other bytes, and then only the hash of the kept ones can be compared.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use baton_policy_build::{Build, StandardLibrary, check_imports, component, hash, toolchain};

use crate::checkout;

/// A policy whose component is kept in the repository.
struct Kept {
    name: &'static str,
    folder: &'static str,
}

const KEPT: &[Kept] = &[
    Kept { name: "classic", folder: "crates/policy-host/builtin" },
    Kept { name: "swift", folder: "crates/policy-host/builtin" },
    Kept { name: "chaos", folder: "crates/policy-host/tests/fixtures" },
];

impl Kept {
    fn component(&self) -> Result<PathBuf> {
        Ok(checkout::root()?.join(self.folder).join(format!("{}.wasm", self.name)))
    }

    fn record(&self) -> Result<PathBuf> {
        Ok(checkout::root()?.join(self.folder).join(format!("{}.wasm.sha256", self.name)))
    }
}

/// What `NAME.wasm.sha256` says: the hash as `sha256sum` prints it, and on a second line the toolchain.
#[derive(PartialEq, Eq)]
struct Record {
    hash: String,
    toolchain: String,
}

/// Builds all policies and writes what has changed; with `check` writes nothing and compares.
///
/// # Errors
/// When there is no way to build for WASM, a build fails, a policy imports what it may not, or, with `check`, a kept
/// component is not what its sources give.
pub fn build(check: bool) -> Result<()> {
    let library = standard_library()?;
    let toolchain = toolchain(&checkout::root()?, library)?;
    if check && !check_records(&toolchain)? {
        println!("  another toolchain than here made them, so only their hashes were compared ({toolchain})");
        return Ok(());
    }
    let built = compile(library)?;
    let mut stale = Vec::new();
    for kept in KEPT {
        let module = fs::read(built.join(format!("baton_policy_{}.wasm", kept.name.replace('-', "_"))))?;
        let component = component(&module).with_context(|| format!("the policy {}", kept.name))?;
        let record = Record { hash: hash(&component), toolchain: toolchain.clone() };
        if check {
            if fs::read(kept.component()?)? != component {
                stale.push(kept.name);
            }
        } else {
            write(kept, &component, &record)?;
        }
        println!("  {:<8} {:>6} bytes  sha256 {}", kept.name, component.len(), record.hash);
    }
    ensure!(
        stale.is_empty(),
        "the sources of {} give other bytes: run `cargo xtask policies`",
        stale.join(", ")
    );
    Ok(())
}

/// Finds the standard library for the guests, or has rustup install it.
///
/// # Errors
/// When there is none and none can be had; the error says what to type.
pub fn standard_library() -> Result<StandardLibrary> {
    let found = StandardLibrary::find(&checkout::root()?);
    found.context("the components kept in the repository need no library for WASM, to build them does")
}

/// Builds all guests and returns the folder of the core modules.
fn compile(library: StandardLibrary) -> Result<PathBuf> {
    let root = checkout::root()?;
    let target_dir = match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => env::current_dir()?.join(folder).join("policies"),
        None => root.join("target/policies"),
    };
    let names: Vec<String> = KEPT.iter().map(|kept| format!("baton-policy-{}", kept.name)).collect();
    let packages: Vec<&str> = names.iter().map(String::as_str).collect();
    let build =
        Build { root: &root, root_name: "/baton", packages: &packages, target_dir: &target_dir, library };
    Ok(build.run()?)
}

/// Compares each kept component with its own record; whether all were made by the toolchain at hand.
fn check_records(toolchain: &str) -> Result<bool> {
    let mut same = true;
    for kept in KEPT {
        let component = fs::read(kept.component()?).with_context(|| {
            format!("the component of {} is missing: run `cargo xtask policies`", kept.name)
        })?;
        let record = read_record(kept)?;
        ensure!(record.hash == hash(&component), "{}.wasm is not what its .sha256 says", kept.name);
        check_imports(&component).with_context(|| format!("the policy {}", kept.name))?;
        same &= record.toolchain == toolchain;
    }
    Ok(same)
}

fn read_record(kept: &Kept) -> Result<Record> {
    let path = kept.record()?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let hash = lines.next().and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned();
    Ok(Record { hash, toolchain: lines.next().unwrap_or_default().to_owned() })
}

/// Writes only what has changed: a touched file is compiled into the host anew.
fn write(kept: &Kept, component: &[u8], record: &Record) -> Result<()> {
    let path = kept.component()?;
    if fs::read(&path).is_ok_and(|known| known == component)
        && read_record(kept).is_ok_and(|known| known == *record)
    {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, component).with_context(|| format!("cannot write {}", path.display()))?;
    let text = format!("{}  {}.wasm\n{}\n", record.hash, kept.name, record.toolchain);
    fs::write(kept.record()?, text).context("cannot write the hash beside it")
}
