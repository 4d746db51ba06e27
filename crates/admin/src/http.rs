//! Asks a node over HTTP how it is.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::state::NodeRecord;

/// A node answers within this, or not at all.
const ANSWER_BOUND: Duration = Duration::from_secs(2);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What a node says of itself at `/healthz`; None if it says nothing that is JSON.
pub(crate) async fn health(node: &NodeRecord) -> Option<Value> {
    let ask = async {
        let mut stream = TcpStream::connect((node.host.as_str(), node.http_port)).await.ok()?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    };
    timeout(ANSWER_BOUND, ask).await.ok().flatten()
}
