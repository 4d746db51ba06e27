//! Finds what a build or a test run needs, and installs what is missing.
//!
//! On Debian and Ubuntu, as root or with a sudo that asks nothing, packages are installed by apt-get;
//! elsewhere the command to type is printed and setup fails.
//! With nothing missing it changes nothing, asks no network and takes a fraction of a second.
//! The standard library for WASM is found or brought by [`policies`].
//! Not here: Rust itself. `rust-toolchain.toml` names the version, and rustup brings it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{checkout, policies, root};

/// What is to be done afterwards; a build needs less than a test run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Compile everything.
    Build,
    /// Compile everything and run all tests.
    Test,
}

/// A thing that comes as a system package.
struct Need {
    what: &'static str,
    wanted_for: &'static str,
    purpose: Purpose,
    is_here: fn() -> bool,
    package: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C++ compiler",
        wanted_for: "RocksDB",
        purpose: Purpose::Build,
        is_here: has_cpp_compiler,
        package: "g++",
    },
    Need {
        what: "libclang",
        wanted_for: "the bindings to RocksDB",
        purpose: Purpose::Build,
        is_here: has_libclang,
        package: "libclang-dev",
    },
    Need {
        what: "the mariadb client",
        wanted_for: "tests with a real client",
        purpose: Purpose::Test,
        is_here: || has_program("mariadb"),
        package: "mariadb-client",
    },
    Need {
        what: "pymysql for the system's Python",
        wanted_for: "tests with a real client",
        purpose: Purpose::Test,
        is_here: has_pymysql,
        package: "python3-pymysql",
    },
    Need {
        what: "iptables",
        wanted_for: "tests that drop packets",
        purpose: Purpose::Test,
        is_here: || has_program("iptables"),
        package: "iptables",
    },
    Need {
        what: "ip",
        wanted_for: "tests in network namespaces",
        purpose: Purpose::Test,
        is_here: || has_program("ip"),
        package: "iproute2",
    },
    Need {
        what: "clang",
        wanted_for: "the sample policy in C",
        purpose: Purpose::Test,
        is_here: || has_program("clang"),
        package: "clang",
    },
    Need {
        what: "wasm-ld",
        wanted_for: "the sample policy in C",
        purpose: Purpose::Test,
        is_here: || has_program("wasm-ld"),
        package: "lld",
    },
    Need {
        what: "haproxy",
        wanted_for: "a test with a real load balancer",
        purpose: Purpose::Test,
        is_here: || has_program("haproxy"),
        package: "haproxy",
    },
];

/// Makes sure that everything needed for the purpose is here.
///
/// # Errors
/// When something is missing that cannot be installed; the error says the command to type.
pub fn run(purpose: Purpose) -> Result<()> {
    let installed = install_packages(purpose)?;
    policies::standard_library()?;
    if installed.is_empty() {
        eprintln!("setup: no package is missing");
    } else {
        eprintln!("setup: installed {}", installed.join(", "));
    }
    Ok(())
}

fn install_packages(purpose: Purpose) -> Result<Vec<&'static str>> {
    let missing: Vec<&Need> =
        NEEDS.iter().filter(|need| need.purpose <= purpose && !(need.is_here)()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    for need in &missing {
        eprintln!("setup: {} is missing, wanted for {}", need.what, need.wanted_for);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let typed = format!("sudo apt-get update && sudo apt-get install -y {}", packages.join(" "));
    if !has_program("apt-get") {
        bail!(
            "this system has no apt-get; install the counterparts of these Debian packages: {}",
            packages.join(" ")
        );
    }
    let Some(as_root) = root::prefix() else {
        bail!("neither root nor sudo without a password; type this, then run the command again:\n  {typed}");
    };
    apt_get(as_root, &["update"]).with_context(|| format!("to try by hand: {typed}"))?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    apt_get(as_root, &arguments).with_context(|| format!("to try by hand: {typed}"))?;
    if let Some(need) = missing.iter().find(|need| !(need.is_here)()) {
        bail!("package {} is installed, but {} is still not found", need.package, need.what);
    }
    Ok(packages)
}

/// Waits for another apt-get, but not for ever, and asks nothing.
fn apt_get(as_root: &[&str], arguments: &[&str]) -> Result<()> {
    let mut words = as_root.to_vec();
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
    words.extend(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
    words.extend(arguments);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    checkout::run_shown(command)
}

fn has_cpp_compiler() -> bool {
    env::var_os("CXX").is_some() || has_program("c++") || has_program("g++")
}

/// The Python that the package is for; another one in the path has packages of its own.
fn has_pymysql() -> bool {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", "import pymysql"]).stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Looks where bindgen's loader looks on Linux: in `LIBCLANG_PATH`, then in the usual library folders.
fn has_libclang() -> bool {
    if let Some(path) = env::var_os("LIBCLANG_PATH") {
        return Path::new(&path).exists();
    }
    let is_libclang = |name: &str| {
        let versioned = name.starts_with("libclang-") && !name.starts_with("libclang-cpp");
        (versioned || name.starts_with("libclang.")) && name.contains(".so")
    };
    let mut folders: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/lib64/llvm"]
        .into_iter()
        .chain(["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"])
        .map(PathBuf::from)
        .collect();
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("llvm") {
            folders.push(entry.path().join("lib"));
        }
    }
    folders.iter().any(|folder| has_file(folder, is_libclang))
}

/// Also looks into the folders of root's programs, which are in nobody else's path.
fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(name).is_file())
}

fn has_file(folder: &Path, matches: impl Fn(&str) -> bool) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| matches(&entry.file_name().to_string_lossy()))
}
