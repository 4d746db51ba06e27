//! Networks that swallow packets, in a network namespace of their own.
//!
//! A namespace belongs to a thread and what that thread starts. It ends with them, and the packet filters in it too:
//! nothing has to be undone, and nobody else on the machine notices.

use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};

/// Moves this thread, and all threads and processes that it will start, into a network namespace in which there is
/// nothing but 127.0.0.1.
///
/// # Errors
/// When we are not root: tests with swallowed packets cannot be run otherwise, and must not be skipped silently.
pub fn enter_own_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .context("cannot make a network namespace; run this as root, it is a part of the tests")?;
    run("ip", &["link", "set", "lo", "up"])
}

/// Drops every packet that would open a TCP connection to this port, as a host does that is gone.
/// Connections that are open go on.
///
/// # Errors
/// When iptables cannot; `cargo xtask setup` installs it.
pub fn swallow_connects_to(port: u16) -> Result<()> {
    let port = port.to_string();
    run("iptables", &["-I", "INPUT", "-p", "tcp", "--syn", "--dport", &port, "-j", "DROP"])
}

/// Lets them through again.
///
/// # Errors
/// When iptables cannot.
pub fn let_connects_through(port: u16) -> Result<()> {
    let port = port.to_string();
    run("iptables", &["-D", "INPUT", "-p", "tcp", "--syn", "--dport", &port, "-j", "DROP"])
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    // Root's programs are in nobody else's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output =
        output.with_context(|| format!("cannot start {program}; `cargo xtask setup` installs it"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(())
}
