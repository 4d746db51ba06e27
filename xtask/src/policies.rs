//! Builds the built-in policies as WASM components, the same bytes from every checkout with the same compiler.
//!
//! The components are kept in the repository, each beside its hash and the toolchain that made it, so that nobody
//! needs a WASM toolchain to build a node. `check` proves that the kept bytes are what the sources give; another
//! toolchain gives other bytes, and then only the hash of the kept ones can be compared.
//!
//! The standard library for `wasm32-unknown-unknown` is looked for in this order: installed; installed now by rustup;
//! compiled from the toolchain's `rust-src`. With Debian's `rustc-web`, `cargo-web` and `rust-web-src` the last one is
//! used, and needs `lld` named in `CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER`.
//! WASI is no choice: a policy imports a log line and nothing else, and that is checked here.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

use crate::checkout;

const TARGET: &str = "wasm32-unknown-unknown";
/// Bytes of a policy's stack. Less than the default of 1 MiB makes a fresh instance cheaper.
const STACK_BYTES: usize = 64 << 10;
/// All that a policy may import, each with any version.
const IMPORTS: [&str; 2] = ["baton:policy/log@", "baton:policy/types@"];

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

/// Where the standard library for the guests comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StandardLibrary {
    /// It is installed.
    Installed,
    /// It is compiled from the toolchain's sources.
    FromSource,
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
    let toolchain = toolchain(library)?;
    if check && !check_records(&toolchain)? {
        println!("  another toolchain than here made them, so only their hashes were compared ({toolchain})");
        return Ok(());
    }
    let built = compile(library)?;
    let mut stale = Vec::new();
    for kept in KEPT {
        let component = encode(&fs::read(built.join(format!("baton_policy_{}.wasm", kept.name)))?)
            .with_context(|| format!("cannot make a component of the policy {}", kept.name))?;
        check_imports(kept.name, &component)?;
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
    if is_installed()? {
        return Ok(StandardLibrary::Installed);
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(checkout::root()?).stdin(Stdio::null());
    if checkout::run_shown(rustup).is_ok() && is_installed()? {
        return Ok(StandardLibrary::Installed);
    }
    if sources()?.is_dir() {
        return Ok(StandardLibrary::FromSource);
    }
    bail!(
        "this Rust has no standard library for {TARGET}; with rustup: `rustup target add {TARGET}`, or \
         `rustup component add rust-src`; on Debian: `apt-get install rustc-web cargo-web rust-web-src lld`. \
         The components kept in the repository need none of it"
    )
}

/// rustc names the folder of a target's library even if nothing is in it, so the folder is looked into.
fn is_installed() -> Result<bool> {
    let folder = checkout::rustc(&["--print", "target-libdir", "--target", TARGET])?;
    let entries = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
    Ok(entries.into_iter().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    }))
}

fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(checkout::rustc(&["--print", "sysroot"])?.trim()))
}

fn sources() -> Result<PathBuf> {
    Ok(sysroot()?.join("lib/rustlib/src/rust/library"))
}

/// What the bytes depend on besides the sources: the compiler, the host it runs on, and how std was made.
fn toolchain(library: StandardLibrary) -> Result<String> {
    let said = checkout::rustc(&["-vV"])?;
    let version = said.lines().next().context("`rustc -vV` said nothing")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("unknown host");
    let std = if library == StandardLibrary::FromSource { ", std from source" } else { "" };
    Ok(format!("{version} on {host}{std}"))
}

/// Builds all guests and returns the folder of the core modules.
fn compile(library: StandardLibrary) -> Result<PathBuf> {
    let root = checkout::root()?;
    let folder = match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => env::current_dir()?.join(folder).join("policies"),
        None => root.join("target/policies"),
    };
    let mut cargo = checkout::cargo(&["build", "--quiet", "--profile", "policy", "--target", TARGET])?;
    cargo.arg("--target-dir").arg(&folder);
    for kept in KEPT {
        cargo.args(["--package", &format!("baton-policy-{}", kept.name)]);
    }
    if library == StandardLibrary::FromSource {
        cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    // Whatever flags this process was started with would change the bytes.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags(&root)?.join("\u{1f}"));
    for leftover in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"] {
        cargo.env_remove(leftover);
    }
    checkout::run_shown(cargo)?;
    Ok(folder.join(TARGET).join("policy"))
}

/// The last match wins in rustc, so the more general folder comes first.
fn rustflags(root: &Path) -> Result<Vec<String>> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo")
        }
    };
    let places = [(cargo_home, "/cargo"), (sysroot()?, "/rust"), (root.to_path_buf(), "/baton")];
    let mut flags: Vec<String> = places
        .iter()
        .map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display()))
        .collect();
    flags.push(format!("-Clink-arg=-zstack-size={STACK_BYTES}"));
    Ok(flags)
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

fn check_imports(name: &str, component: &[u8]) -> Result<()> {
    let decoded = wit_component::decode(component)?;
    let wit_component::DecodedWasm::Component(resolve, world) = decoded else {
        bail!("the policy {name} is no component");
    };
    for key in resolve.worlds[world].imports.keys() {
        let import = resolve.name_world_key(key);
        ensure!(
            IMPORTS.iter().any(|allowed| import.starts_with(allowed)),
            "the policy {name} imports {import}: a policy may only log"
        );
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
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
        check_imports(kept.name, &component)?;
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
