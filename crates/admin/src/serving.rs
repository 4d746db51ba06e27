//! Waiting until nodes accept SQL.
//!
//! * Every wait ends: with the node's answer, with its process, or with the bound.
//! * A node whose process sleeps is not waited for.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::client::{Client, ClientError};
use crate::error::AdminError;
use crate::nodes::start;
use crate::process::{self, Awaited, Presence};
use crate::state::{NodeRecord, StateDir};

/// How long a node may take from its start until it accepts SQL.
const START_WAIT: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(50);
/// A node that refuses the password is not asked so often: whoever tries again and again is locked out, and root with it.
const REFUSED_POLL: Duration = Duration::from_secs(1);
/// How long a node may refuse root's password before it is believed that it always will: one that has just started
/// knows no password but the empty one until it has its catalog.
const REFUSAL_WAIT: Duration = Duration::from_secs(3);
/// How long one attempt to connect may take.
const CONNECT_BOUND: Duration = Duration::from_secs(2);

/// How to find out whether a node accepts SQL.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    root_password: &'a str,
    /// Whether a node that says 1045 counts as one that accepts SQL: it does, but not with this password.
    may_be_refused: bool,
}

impl<'a> Login<'a> {
    /// Root must be let in with this password.
    pub(crate) fn surely(root_password: &'a str) -> Self {
        Self { root_password, may_be_refused: false }
    }

    /// The password may be an old one.
    pub(crate) fn maybe(root_password: &'a str) -> Self {
        Self { root_password, may_be_refused: true }
    }

    async fn attempt(self, node: &NodeRecord) -> Result<(), ClientError> {
        Client::connect(node, self.root_password, CONNECT_BOUND).await?.ping().await
    }
}

/// Waits until each of these nodes accepts SQL; says which of them refused the password.
///
/// One that was found running may have been on its way out, killed a moment ago: it is started once it is gone.
pub(crate) async fn await_all<'a>(
    dir: &StateDir,
    awaited: Vec<(&'a NodeRecord, Awaited)>,
    login: Login<'_>,
) -> Result<Vec<&'a str>, AdminError> {
    let waits = awaited.into_iter().map(|(node, process)| {
        let log = dir.log(&node.name);
        async move {
            let was_found = matches!(process, Awaited::Found(_));
            let mut answer = await_sql(node, Some(process), login, &log).await;
            if was_found && answer.is_err() && process::presence(node) == Presence::Stopped {
                let process = Awaited::Started(start(dir, node)?);
                answer = await_sql(node, Some(process), login, &log).await;
            }
            Ok((node.name.as_str(), answer?))
        }
    });
    let (accepted, failed): (Vec<_>, Vec<_>) = join_all(waits).await.into_iter().partition(Result::is_ok);
    AdminError::gather(
        failed.into_iter().map(|outcome: Result<(&str, bool), AdminError>| outcome.map(drop)),
    )?;
    Ok(accepted.into_iter().flatten().filter(|(_, let_in)| !let_in).map(|(name, _)| name).collect())
}

/// Waits until a node accepts SQL, or its process ends or sleeps; says whether it let us in.
pub(crate) async fn await_sql(
    node: &NodeRecord,
    mut process: Option<Awaited>,
    login: Login<'_>,
    log: &Path,
) -> Result<bool, AdminError> {
    let deadline = Instant::now() + START_WAIT;
    let mut refused_since = None;
    let failed = |reason| AdminError::NotServing { node: node.name.clone(), reason, log: log.to_owned() };
    loop {
        let answer = login.attempt(node).await;
        // Looked at after the answer: another program at the node's port may have given it.
        if let Some(end) = process.as_mut().and_then(Awaited::end) {
            let last_lines = process::log_tail(log);
            return Err(failed(format!("its process ended ({end}):\n{last_lines}")));
        }
        let refusal = match answer {
            Ok(()) => return Ok(true),
            Err(refusal) => refusal,
        };
        if !refusal.is_access_denied() {
            refused_since = None;
        } else if login.may_be_refused
            && refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSAL_WAIT
        {
            return Ok(false);
        }
        // Nobody but a person wakes it, so there is no use in waiting longer than for one attempt.
        if let Some(pid) = process.as_ref().map(Awaited::pid).filter(|pid| process::is_suspended(*pid)) {
            return Err(failed(format!(
                "its process {pid} is suspended; wake it with `kill -CONT {pid}`, or end it with stop-node --name {} --force",
                node.name
            )));
        }
        if Instant::now() >= deadline {
            return Err(failed(format!("not within {} s: {refusal}", START_WAIT.as_secs())));
        }
        sleep(if refusal.is_access_denied() { REFUSED_POLL } else { START_POLL }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster_file::PlannedRole;

    /// Greets every client with an error packet, as a server that lets nobody in.
    async fn refuse_all(listener: TcpListener, number: u16) {
        let text = b"no";
        let mut packet = vec![3 + text.len() as u8, 0, 0, 0, 0xff];
        packet.extend(number.to_le_bytes());
        packet.extend(text);
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(&packet).await;
        }
    }

    async fn refusing_node(number: u16) -> NodeRecord {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(refuse_all(listener, number));
        record(port)
    }

    fn record(port: u16) -> NodeRecord {
        NodeRecord {
            name: "n".into(),
            role: PlannedRole::Master,
            host: "127.0.0.1".into(),
            port,
            rpc_port: 1,
            http_port: 2,
            datadir: "/nowhere".into(),
            datadir_made: true,
            node_id: None,
            pid: None,
        }
    }

    fn sleeper() -> Child {
        std::process::Command::new("sleep").arg("100").spawn().unwrap()
    }

    #[tokio::test]
    async fn a_node_that_refuses_the_password_serves_unless_it_must_be_the_right_one() {
        let node = refusing_node(1045).await;
        let us = || Some(Awaited::Found(std::process::id().cast_signed()));
        let busy = refusing_node(1040).await;
        let log = Path::new("log");
        let (maybe, surely, other) = tokio::join!(
            await_sql(&node, us(), Login::maybe("old"), log),
            timeout(REFUSAL_WAIT * 2, await_sql(&node, us(), Login::surely("new"), log)),
            timeout(REFUSAL_WAIT * 2, await_sql(&busy, us(), Login::maybe("old"), log)),
        );
        assert!(!maybe.unwrap());
        assert!(surely.is_err(), "it goes on waiting for the right password");
        assert!(other.is_err(), "it goes on waiting while there is another error");
    }

    #[tokio::test]
    async fn an_answer_does_not_count_when_the_process_has_ended() {
        let node = refusing_node(1045).await;
        let mut child = sleeper();
        child.kill().unwrap();
        let mut process = Awaited::Started(child);
        while process.end().is_none() {
            sleep(START_POLL).await;
        }
        let error = await_sql(&node, Some(process), Login::maybe(""), Path::new("log")).await.unwrap_err();
        assert!(error.to_string().contains("its process ended"), "{error}");
    }

    #[tokio::test]
    async fn a_suspended_node_is_said_to_be_suspended() {
        // Nobody listens at a port that was just given back.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let mut child = sleeper();
        let pid = child.id().cast_signed();
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        while !process::is_suspended(pid) {
            sleep(START_POLL).await;
        }
        let (node, process) = (record(port), Some(Awaited::Found(pid)));
        let error = await_sql(&node, process, Login::maybe(""), Path::new("log")).await;
        let error = error.unwrap_err().to_string();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(error.contains("is suspended") && error.contains("kill -CONT"), "{error}");
        assert!(error.contains("stop-node --name n --force"), "{error}");
    }
}
