//! Cargo and rustc, as they are started for guests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::BuildError;
use crate::library::{StandardLibrary, sysroot};

/// What policies are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// The profile of policies, which their workspace declares: small, and the same bytes on every machine.
pub const PROFILE: &str = "policy";
/// Bytes of a policy's stack. Less than the default of 1 MiB makes a fresh instance cheaper.
const STACK_BYTES: usize = 64 << 10;

/// What is to be built.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The root of the workspace, which the bytes do not tell.
    pub root: &'a Path,
    /// What stands in the bytes in its place.
    pub root_name: &'a str,
    /// The packages.
    pub packages: &'a [&'a str],
    /// Where cargo builds.
    pub target_dir: &'a Path,
    /// The standard library.
    pub library: StandardLibrary,
}

impl Build<'_> {
    /// Builds all packages and returns the folder of their core modules.
    ///
    /// # Errors
    /// When cargo cannot be started, or fails; it says why itself.
    pub fn run(&self) -> Result<PathBuf, BuildError> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--profile", PROFILE, "--target", TARGET]).current_dir(self.root);
        cargo.arg("--target-dir").arg(self.target_dir);
        for package in self.packages {
            cargo.args(["--package", package]);
        }
        if self.library == StandardLibrary::FromSource {
            cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
        }
        // Whatever flags this process was started with would change the bytes.
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags()?.join("\u{1f}"));
        for leftover in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"] {
            cargo.env_remove(leftover);
        }
        run_shown(cargo)?;
        Ok(self.target_dir.join(TARGET).join(PROFILE))
    }

    /// The last match wins in rustc, so the more general folder comes first.
    fn rustflags(&self) -> Result<Vec<String>, BuildError> {
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(env::var_os("HOME").ok_or(BuildError::NoHome)?).join(".cargo"),
        };
        let places = [
            (cargo_home, "/cargo"),
            (sysroot(self.root)?, "/rust"),
            (self.root.to_path_buf(), self.root_name),
        ];
        let mut flags: Vec<String> = places
            .iter()
            .map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display()))
            .collect();
        flags.push(format!("-Clink-arg=-zstack-size={STACK_BYTES}"));
        Ok(flags)
    }
}

/// What `rustc` prints for these arguments in a folder, whose toolchain file counts.
pub(crate) fn rustc(folder: &Path, arguments: &[&str]) -> Result<String, BuildError> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(arguments).current_dir(folder).stderr(Stdio::inherit());
    let program = printed(&command);
    let output =
        command.output().map_err(|error| BuildError::NotStarted { program: program.clone(), error })?;
    if !output.status.success() {
        return Err(BuildError::Failed { program, status: output.status.to_string() });
    }
    String::from_utf8(output.stdout).map_err(|error| BuildError::Garbled { program, what: error.to_string() })
}

/// Runs a command to its end with its output shown.
pub(crate) fn run_shown(mut command: Command) -> Result<(), BuildError> {
    let program = printed(&command);
    eprintln!("  $ {program}");
    let status =
        command.status().map_err(|error| BuildError::NotStarted { program: program.clone(), error })?;
    if status.success() { Ok(()) } else { Err(BuildError::Failed { program, status: status.to_string() }) }
}

/// The command as one would type it; a program's folder is left out, for it says nothing.
fn printed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let mut text = name.into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
