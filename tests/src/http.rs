//! Asks a node over HTTP, as monitoring does.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer comes within this.
const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The status and the body of `GET path`.
///
/// # Errors
/// When nothing that is HTTP is answered in time.
pub async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let asked = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(asked.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        anyhow::Ok((status, body.to_owned()))
    };
    let answered = timeout(ANSWER_BOUND, ask).await.context("no answer in time")?;
    answered.with_context(|| format!("GET http://127.0.0.1:{port}{path}"))
}

/// The same where the body is JSON.
///
/// # Errors
/// As of [`get`], or when it is not JSON.
pub async fn get_json(port: u16, path: &str) -> Result<(u16, Value)> {
    let (status, body) = get(port, path).await?;
    let body = serde_json::from_str(&body).with_context(|| format!("{path} is not JSON: {body}"))?;
    Ok((status, body))
}
