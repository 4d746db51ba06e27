//! Where and when the figures were measured.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::checkout;

/// What stands above the table.
///
/// # Errors
/// When rustc cannot be asked for its version.
pub fn heading() -> Result<String> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let unknown = || "unknown".to_owned();
    let of_file = |path: &str, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = of_file("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = of_file("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
        .map_or_else(unknown, |kilobytes| format!("{:.0} GB", kilobytes * 1024.0 / 1e9));
    let kernel = said("uname", &["-sr"]).unwrap_or_else(unknown);
    let date = said("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_else(unknown);
    let commit = said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(unknown);
    Ok(format!(
        "# Benchmarks, as measured\n\n\
         * When: {date}, at commit {commit}\n\
         * Where: {processors} processors ({processor}), {memory} of memory, {kernel}\n\
         * How: `cargo xtask bench`, {}, release profile\n\
         * The clients and all nodes of a cluster run on this one machine.\n",
        checkout::rustc(&["--version"])?.trim()
    ))
}
