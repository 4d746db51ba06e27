//! Answers the pings of one connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{self, MAGIC};
use super::{Ping, Pulse};
use crate::Clock;

/// A connection without a ping for this long is closed; its owner makes another one when it has something to ask.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A pong that cannot be handed to the operating system for this long has nobody who reads it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers until the connection ends, falls silent, or carries anything but pings of this cluster (S10).
///
/// # Errors
/// What ended it.
pub async fn answer(mut stream: TcpStream, pulse: Arc<Pulse>, clock: Clock) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).await?;
    let mut buffer = vec![];
    loop {
        let ping: Ping = timeout(IDLE_TIMEOUT, frame::read(&mut reader, &mut buffer)).await??;
        if let Some(member) = pulse.identity().member() {
            if member.cluster_id != ping.cluster_id {
                let reason = format!("a ping of cluster {}", ping.cluster_id);
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
            }
            pulse.hear(&ping, clock.now());
        }
        let pong = frame::encode(&pulse.pong(ping.seq, clock.now()))?;
        timeout(WRITE_TIMEOUT, writer.write_all(&pong)).await??;
    }
}
