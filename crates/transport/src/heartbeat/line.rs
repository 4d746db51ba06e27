//! One connection that pings go out on: how it is made, what is read from it, and whether a ping really left.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use baton_model::limits::{HEARTBEAT_CONNECT_TIMEOUT_MS, HEARTBEAT_RETRY_MS};
use baton_model::{Instant, NodeId};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Pong;
use super::frame::{self, MAGIC};
use crate::Clock;
use crate::peers::refuse_self;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(HEARTBEAT_CONNECT_TIMEOUT_MS);
const RETRY: Duration = Duration::from_millis(HEARTBEAT_RETRY_MS);

/// What happened on a line.
#[derive(Debug)]
pub(super) struct LineEvent {
    pub(super) node: NodeId,
    /// Which attempt to connect it belongs to; what an older one has to say does not count any more.
    pub(super) attempt: u64,
    /// When it was noticed.
    pub(super) at: Instant,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Connected(OwnedWriteHalf),
    Refused,
    TimedOut,
    Lost,
    Pong(Pong),
}

/// The way to one node: an attempt that runs, or a connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) attempt: u64,
    task: JoinHandle<()>,
    writer: Option<OwnedWriteHalf>,
    /// The last pong on this connection: when it was received here, and when it was sent by its sender's clock.
    pub(super) heard: Option<(Instant, Instant)>,
    /// Bytes that the operating system did not take yet.
    unsent: Vec<u8>,
}

impl Line {
    /// Starts an attempt; what becomes of it, and of the connection, arrives as events.
    pub(super) fn connect(
        node: NodeId,
        address: SocketAddr,
        attempt: u64,
        clock: Clock,
        events: mpsc::Sender<LineEvent>,
    ) -> Self {
        let task = tokio::spawn(async move {
            let tell = async |what| {
                let event = LineEvent { node, attempt, at: clock.now(), what };
                events.send(event).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
            };
            let _ = match timeout(CONNECT_TIMEOUT, dial(address)).await {
                Err(_) => tell(What::TimedOut).await,
                Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => tell(What::TimedOut).await,
                Ok(Err(_)) => tell(What::Refused).await,
                Ok(Ok(stream)) => {
                    let (reader, writer) = stream.into_split();
                    let mut reader = BufReader::new(reader);
                    let mut buffer = vec![];
                    let mut told = tell(What::Connected(writer)).await;
                    while told.is_ok() {
                        told = match frame::read(&mut reader, &mut buffer).await {
                            Ok(pong) => tell(What::Pong(pong)).await,
                            Err(_) => break,
                        };
                    }
                    tell(What::Lost).await
                }
            };
        });
        Self { attempt, task, writer: None, heard: None, unsent: MAGIC.to_vec() }
    }

    pub(super) fn connected(&mut self, writer: OwnedWriteHalf) {
        self.writer = Some(writer);
    }

    /// Sends a frame without waiting, and says whether all of it left (S11).
    /// A frame is not begun while an older one is stuck, so that what waits is bounded by one frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> bool {
        if !self.flush() {
            return false;
        }
        self.unsent.extend_from_slice(frame);
        self.flush()
    }

    fn flush(&mut self) -> bool {
        let Some(writer) = &self.writer else { return false };
        while !self.unsent.is_empty() {
            match writer.try_write(&self.unsent) {
                Ok(0) | Err(_) => return false,
                Ok(sent) => drop(self.unsent.drain(..sent)),
            }
        }
        true
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    loop {
        match TcpStream::connect(address).await {
            // S11: what this process lacks is no evidence against the other one.
            Err(error) if is_own_want(&error) => {
                tracing::warn!(%error, "cannot open a heartbeat connection");
                sleep(RETRY).await;
            }
            Err(error) => return Err(error),
            Ok(stream) => {
                refuse_self(&stream)?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
        }
    }
}

/// Whether a connection failed for want of memory, file descriptors, buffers or local ports.
fn is_own_want(error: &io::Error) -> bool {
    /// `ENOMEM`, `ENFILE`, `EMFILE`, `EADDRNOTAVAIL`, `ENOBUFS` of Linux.
    const WANTS: [i32; 5] = [12, 23, 24, 99, 105];
    error.raw_os_error().is_some_and(|code| WANTS.contains(&code))
}
