//! Networks that swallow packets, in a network namespace of their own.
//!
//! A namespace belongs to a thread and what that thread starts. It ends with them, and the packet filters in it too:
//! nothing has to be undone, and nobody else on the machine notices.
//!
//! An [`Internet`] is several hosts, each a namespace with an address of its own, joined by the namespace of the thread
//! that made it. What goes from one host to another passes there, and can be cut there, one way or both; what goes
//! from a client to a host does not, so that clients see what a node that is cut off from the others does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

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

/// Hosts of their own, one for each node of a cluster. They end with this and the processes on them.
#[derive(Debug)]
pub struct Internet {
    hosts: Vec<Host>,
    /// From which address nothing comes through to which, and how often that was cut and not mended.
    cuts: Mutex<BTreeMap<(String, String), usize>>,
}

#[derive(Debug)]
struct Host {
    address: String,
    /// Its namespace, which lives as long as this is open.
    namespace: File,
}

impl Host {
    /// Where others find the namespace, as long as this process runs.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}

impl Internet {
    /// So many hosts, joined by this thread's namespace, which must be its own ([`enter_own_namespace`]).
    ///
    /// # Errors
    /// When we are not root, or the system knows no pairs of virtual interfaces.
    pub fn of(count: usize) -> Result<Self> {
        // Here only, and for what is sent on behalf of others: /proc/sys/net is that of this thread's namespace.
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets between hosts")?;
        // The toolbox tries out the addresses of all nodes before it starts them, and it runs on no host.
        fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").context("cannot bind the hosts' addresses")?;
        let hosts = (1..=count).map(Self::host).collect::<Result<Vec<_>>>()?;
        Ok(Self { hosts, cuts: Mutex::default() })
    }

    fn host(number: usize) -> Result<Host> {
        let made = std::thread::spawn(|| -> Result<File> {
            enter_own_namespace()?;
            File::open("/proc/thread-self/ns/net").context("a host's namespace cannot be opened")
        });
        let namespace = made.join().map_err(|_| anyhow::anyhow!("no host could be made"))??;
        let (ours, theirs) = (format!("10.77.{number}.1"), format!("10.77.{number}.2"));
        let host = Host { address: theirs.clone(), namespace };
        let (near, far) = (format!("near{number}"), format!("far{number}"));
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &host.path()])?;
        run("ip", &["addr", "add", &format!("{ours}/30"), "dev", &near])?;
        run("ip", &["link", "set", &near, "up"])?;
        let within = format!("--net={}", host.path());
        let there = |arguments: &[&str]| run("nsenter", &[&[within.as_str(), "ip"], arguments].concat());
        there(&["addr", "add", &format!("{theirs}/30"), "dev", &far])?;
        there(&["link", "set", &far, "up"])?;
        there(&["route", "add", "default", "via", &ours])?;
        Ok(host)
    }

    /// The addresses of the hosts.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.address.clone()).collect()
    }

    /// A program in this folder that starts `binary` on the host that its `--host` names; its process is the binary's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn starter(&self, binary: &Path, folder: &Path) -> Result<PathBuf> {
        let namespaces = folder.join("hosts");
        fs::create_dir(&namespaces).context("cannot make a folder for the hosts")?;
        for host in &self.hosts {
            symlink(host.path(), namespaces.join(&host.address)).context("cannot name a host")?;
        }
        let starter = folder.join("start-on-host");
        let script = format!(
            "#!/bin/sh\nprevious=\nfor word in \"$@\"; do\n  [ \"$previous\" = --host ] && host=$word\n  \
             previous=$word\ndone\nexec nsenter --net='{}'/\"$host\" -- '{}' \"$@\"\n",
            namespaces.display(),
            binary.display()
        );
        fs::write(&starter, script).context("cannot write the program that starts nodes on hosts")?;
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))
            .context("cannot make it a program")?;
        Ok(starter)
    }

    /// From now on nothing comes through from each of these addresses to the one beside it. The other way is open,
    /// unless it is cut as well.
    ///
    /// # Errors
    /// When iptables cannot.
    pub fn cut(&self, ways: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        for way in ways {
            *cuts.entry(way).or_default() += 1;
        }
        filter(&cuts)
    }

    /// Opens these ways again, once they are mended as often as they were cut.
    ///
    /// # Errors
    /// When iptables cannot.
    pub fn mend(&self, ways: &[(String, String)]) -> Result<()> {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        for way in ways {
            if let Some(count) = cuts.get_mut(way) {
                *count -= 1;
            }
        }
        cuts.retain(|_, count| *count > 0);
        filter(&cuts)
    }

    /// Opens all ways.
    ///
    /// # Errors
    /// When iptables cannot.
    pub fn mend_all(&self) -> Result<()> {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.clear();
        filter(&cuts)
    }
}

/// Lets nothing through from one address to the other of each pair, and all else: in one step.
fn filter(cuts: &BTreeMap<(String, String), usize>) -> Result<()> {
    let mut table = "*filter\n-F FORWARD\n".to_owned();
    for (from, to) in cuts.keys() {
        table.push_str(&format!("-A FORWARD -s {from} -d {to} -j DROP\n"));
    }
    table.push_str("COMMIT\n");
    let mut command = root_command("iptables-restore", &["--noflush", "--wait", "5"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start iptables-restore; `cargo xtask setup` installs it")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(table.as_bytes()).context("iptables-restore does not listen")?;
    }
    let output = child.wait_with_output().context("iptables-restore cannot be waited for")?;
    if !output.status.success() {
        bail!("iptables-restore ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn root_command(program: &str, arguments: &[&str]) -> Command {
    // Root's programs are in nobody else's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path);
    command
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = root_command(program, arguments).output();
    let output =
        output.with_context(|| format!("cannot start {program}; `cargo xtask setup` installs it"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(())
}
