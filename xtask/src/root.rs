//! Running commands as root, where tests and packages need it.
//!
//! Never by a question: a command that waits for a password in the middle of a long run waits for ever.

use std::process::{Command, Stdio};
use std::time::Duration;

/// A program that does not end is killed this long after it was asked to.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// The words before a command that make it run as root: none for root, `sudo -n` where that asks nothing.
pub fn prefix() -> Option<&'static [&'static str]> {
    let succeeds = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        command.output().ok().filter(|output| output.status.success())
    };
    if succeeds("id", &["-u"]).is_some_and(|output| output.stdout == b"0\n") {
        Some(&[])
    } else if succeeds("sudo", &["-n", "true"]).is_some() {
        Some(&["sudo", "-n"])
    } else {
        None
    }
}

/// The same command as root, for a while at most: `prefix` before it, and with it the variables of its environment,
/// which sudo keeps to itself, and those of ours that it needs.
///
/// It is ended by `timeout`, which runs as root as well: we may not signal it. Both stay in the foreground, where Ctrl-C
/// reaches them.
pub fn as_root(command: &Command, prefix: &[&str], limit: Duration) -> Command {
    let mut own: Vec<(String, String)> = std::env::vars().filter(|(name, _)| is_kept(name)).collect();
    own.sort();
    let of_command = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())));
    let mut words = prefix.iter();
    let mut rooted = Command::new(words.next().unwrap_or(&"env"));
    rooted.args(words);
    if !prefix.is_empty() {
        rooted.arg("env");
    }
    rooted.args(own.into_iter().chain(of_command).map(|(name, value)| format!("{name}={value}")));
    rooted
        .args(["timeout", "--foreground"])
        .arg(format!("--kill-after={}", KILL_AFTER.as_secs()))
        .arg(limit.as_secs().to_string());
    rooted.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        rooted.current_dir(folder);
    }
    rooted
}

/// What a test program reads of the environment in which `cargo xtask` was called.
fn is_kept(name: &str) -> bool {
    name == "PATH" || name == "TMPDIR" || name.starts_with("BATON_") || name.starts_with("RUST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_command_keeps_its_variables_its_folder_and_its_words() {
        let mut command = Command::new("/target/processes-1");
        command.arg("a name").env("BATON_BIN", "/target/baton").current_dir("/checkout/tests");
        let rooted = as_root(&command, &["sudo", "-n"], Duration::from_secs(60));
        let words = words(&rooted);
        assert_eq!(words[..3], ["sudo", "-n", "env"]);
        assert!(words.contains(&"BATON_BIN=/target/baton".to_owned()), "{words:?}");
        assert!(words.iter().any(|word| word.starts_with("PATH=")), "{words:?}");
        let timeout = words.iter().position(|word| word == "timeout").expect("it is bounded");
        assert_eq!(words[timeout + 2..], ["--kill-after=10", "60", "/target/processes-1", "a name"]);
        assert_eq!(rooted.get_current_dir(), command.get_current_dir());
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "test \"$BATON_WORD\" = kept && exec sleep 60"]).env("BATON_WORD", "kept");
        let status = as_root(&command, &[], Duration::from_secs(1)).status().expect("env starts");
        assert_eq!(status.code(), Some(124), "by timeout, and not by a variable that is missing");
    }
}
