//! What a node's monitoring and the system say of it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Clock ticks of a second, as Linux counts the time of processes.
const TICKS: f64 = 100.0;
const ANSWER_BOUND: Duration = Duration::from_secs(5);

/// The value of a gauge, as `/metrics` tells it.
pub async fn gauge(node: &Node, name: &str) -> Result<u64> {
    let asked = async {
        let mut stream = TcpStream::connect((node.host.as_str(), node.http_port)).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        anyhow::Ok(text)
    };
    let text = tokio::time::timeout(ANSWER_BOUND, asked).await.context("no answer of /metrics")??;
    ensure!(text.starts_with("HTTP/1.") && text.contains(" 200 "), "/metrics answers {text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.with_context(|| format!("/metrics has no {name}"))?;
    line.trim().parse().with_context(|| format!("{name} is no number: {line}"))
}

/// How much of one processor a node uses while it is left alone for so long, in percent.
pub async fn processor_use(node: &Node, span: Duration) -> Result<f64> {
    let before = processor_time(node)?;
    tokio::time::sleep(span).await;
    Ok((processor_time(node)? - before) / span.as_secs_f64() * 100.0)
}

/// The seconds of processors that a node has used.
fn processor_time(node: &Node) -> Result<f64> {
    let pid = node.pid.context("it does not run")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read a node's time")?;
    // `pid (name) state …`, and the name may hold anything; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no time");
    Ok((field(11)? + field(12)?) / TICKS)
}
