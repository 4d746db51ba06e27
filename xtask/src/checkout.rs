//! Where this checkout is, and the two programs every command starts: cargo and rustc.
//!
//! The root is found when a command runs, never when it is compiled: with a build folder shared by several
//! checkouts, the xtask that runs may have been compiled in another one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folder of the workspace's `Cargo.toml`.
///
/// # Errors
/// When started neither by `cargo xtask` nor from inside the repository.
pub fn root() -> Result<PathBuf> {
    if let Some(xtask) = env::var_os("CARGO_MANIFEST_DIR")
        && let Some(root) = Path::new(&xtask).parent()
    {
        return Ok(root.to_path_buf());
    }
    let here = env::current_dir().context("cannot read the current folder")?;
    here.ancestors()
        .find(|folder| folder.join("xtask/Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .context("not inside the repository: run `cargo xtask` in a checkout of it")
}

/// The cargo that started this command, run at the root.
///
/// # Errors
/// As [`root`].
pub fn cargo(arguments: &[&str]) -> Result<Command> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()?);
    Ok(command)
}

/// What `rustc` prints for these arguments.
///
/// # Errors
/// When rustc cannot be started or refuses the arguments.
pub fn rustc(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(arguments).current_dir(root()?);
    output_of(command)
}

/// Runs a command to its end with its output shown.
///
/// # Errors
/// When it cannot be started or ends with another code than 0.
pub fn run_shown(mut command: Command) -> Result<()> {
    eprintln!("  $ {}", printed(&command));
    let status = command.status().with_context(|| format!("cannot start `{}`", printed(&command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", printed(&command));
    }
    Ok(())
}

/// Runs a command to its end and returns what it printed; its errors are shown.
///
/// # Errors
/// When it cannot be started, ends with another code than 0, or prints no UTF-8.
pub fn output_of(mut command: Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", printed(&command)))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", printed(&command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no UTF-8", printed(&command)))
}

/// The command as one would type it; a program's folder is left out, for it says nothing.
pub fn printed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let mut text = name.into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
