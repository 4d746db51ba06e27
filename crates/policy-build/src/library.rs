//! The standard library for the sandbox, which is looked for in this order: installed; installed now by rustup; compiled
//! from the toolchain's `rust-src`.
//!
//! With Debian's `rustc-web`, `cargo-web` and `rust-web-src` the last one is used, and needs `lld` named in
//! `CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{TARGET, run_shown, rustc};
use crate::error::BuildError;

/// Where the standard library for the guests comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StandardLibrary {
    /// It is installed.
    Installed,
    /// It is compiled from the toolchain's sources.
    FromSource,
}

impl StandardLibrary {
    /// Finds it for the toolchain that is used in a folder, or has rustup install it.
    ///
    /// # Errors
    /// [`BuildError::NoLibrary`] when there is none and none can be had, which says what to type.
    pub fn find(folder: &Path) -> Result<Self, BuildError> {
        if is_installed(folder)? {
            return Ok(Self::Installed);
        }
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", TARGET]).current_dir(folder).stdin(Stdio::null());
        if run_shown(rustup).is_ok() && is_installed(folder)? {
            return Ok(Self::Installed);
        }
        if sysroot(folder)?.join("lib/rustlib/src/rust/library").is_dir() {
            return Ok(Self::FromSource);
        }
        Err(BuildError::NoLibrary)
    }
}

/// rustc names the folder of a target's library even if nothing is in it, so the folder is looked into.
fn is_installed(folder: &Path) -> Result<bool, BuildError> {
    let found = rustc(folder, &["--print", "target-libdir", "--target", TARGET])?;
    let mut entries = fs::read_dir(found.trim()).into_iter().flatten().flatten();
    Ok(entries.any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    }))
}

pub(crate) fn sysroot(folder: &Path) -> Result<PathBuf, BuildError> {
    Ok(PathBuf::from(rustc(folder, &["--print", "sysroot"])?.trim()))
}

/// What the bytes depend on besides the sources: the compiler, the host it runs on, and how std was made.
///
/// # Errors
/// When rustc cannot be asked.
pub fn toolchain(folder: &Path, library: StandardLibrary) -> Result<String, BuildError> {
    let said = rustc(folder, &["-vV"])?;
    let version = said.lines().next().unwrap_or("unknown rustc");
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("unknown host");
    let std = if library == StandardLibrary::FromSource { ", std from source" } else { "" };
    Ok(format!("{version} on {host}{std}"))
}
