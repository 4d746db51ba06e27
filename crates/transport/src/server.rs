//! The RPC port: tells heartbeats from calls, answers the former itself, and brings the latter to a handler.
//!
//! Accepting and answering heartbeats run on a thread of their own with its own event loop, so that no queue of data
//! makes a living node look dead. Calls run on the runtime that started the server.
//! A call, once taken, runs to its end even if its sender is gone: nothing is dropped half done.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use crate::heartbeat::{MAGIC, Pulse, answer};
use crate::wire::{ENVELOPE_BYTES_MAX, Envelope, Peer, PeerServer};
use crate::{CallRefused, Clock, Header, Inbound, Outbound, Refusal, check};

/// The first bytes of HTTP/2.
const HTTP2: &[u8; 4] = b"PRI ";
/// A connection says so soon what it is; a stream says so soon what it is for.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls that run may take so long to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are heartbeats, or have not said yet what they are, at most.
const HEARTBEAT_CONNECTIONS_MAX: usize = 1024;
/// Connections on their way from one thread to the other, at most.
const HAND_OVER_MAX: usize = 256;
/// Calls that run at once, at most; one more is refused as busy.
const CALLS_MAX: usize = 8192;
/// Calls and streams of one connection at once, at most; one more waits at its sender.
const STREAMS_PER_CONNECTION_MAX: u32 = 4096;
/// Streams of one connection that were given up before they were looked at, at most; one more ends the connection.
const RESETS_PENDING_MAX: usize = 4096;
/// Bytes of one stream, and of one connection, that may be on their way unread.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// A connection whose other end does not answer is given up after the sum of both.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a node does with requests. Wire version and cluster are checked before it is asked; on a node that is in no
/// cluster yet, it must refuse all but what takes the node in.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    /// A refusal promises that nothing was done (S12); whatever went wrong on the way belongs into the answer.
    fn call(&self, header: Header, body: Bytes) -> impl Future<Output = Result<Bytes, CallRefused>> + Send;

    /// Takes a stream that was opened with `body`, and says what is to be sent on it.
    fn open(
        &self,
        header: Header,
        body: Bytes,
        inbound: Inbound,
    ) -> impl Future<Output = Result<Outbound, CallRefused>> + Send;
}

/// A node's RPC port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket is of no use.
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// The thread for heartbeats could not be started.
    #[error("cannot start the heartbeat thread: {0}")]
    Thread(#[source] io::Error),
}

/// A running RPC port. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct RpcServer {
    address: SocketAddr,
    stop: CancellationToken,
    accepting: Option<std::thread::JoinHandle<()>>,
    calls: Option<JoinHandle<()>>,
}

impl RpcServer {
    /// Serves the listener. To be called on the runtime that calls are to run on.
    ///
    /// # Errors
    /// If the listener or the thread for it is of no use.
    pub fn start<H: Handler>(
        listener: StdListener,
        pulse: Arc<Pulse>,
        clock: Clock,
        handler: Arc<H>,
    ) -> Result<Self, ServeError> {
        listener.set_nonblocking(true).map_err(ServeError::Listen)?;
        let address = listener.local_addr().map_err(ServeError::Listen)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(ServeError::Listen)?
        };
        let stop = CancellationToken::new();
        let (hand_over, handed) = mpsc::channel(HAND_OVER_MAX);
        let desk = Desk {
            handler,
            pulse: Arc::clone(&pulse),
            running: Arc::new(Semaphore::new(CALLS_MAX)),
            stop: stop.clone(),
        };
        let calls = tokio::spawn(serve_calls(desk, handed, stop.clone()));
        let stopped = stop.clone();
        let accepting = std::thread::Builder::new()
            .name("heartbeat-answer".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, pulse, clock, hand_over) => {}
                        () = stopped.cancelled() => {}
                    }
                });
            })
            .map_err(ServeError::Thread)?;
        Ok(Self { address, stop, accepting: Some(accepting), calls: Some(calls) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and all heartbeats at once, ends streams, and waits a bounded time for the calls that run.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(mut calls) = self.calls.take()
            && timeout(STOP_TIMEOUT, &mut calls).await.is_err()
        {
            warn!("calls still run after {STOP_TIMEOUT:?}; not waiting for them");
            calls.abort();
        }
        if let Some(accepting) = self.accepting.take() {
            let joined = tokio::task::spawn_blocking(move || accepting.join());
            let _ = timeout(STOP_TIMEOUT, joined).await;
        }
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Accepts for as long as it is polled.
async fn accept(listener: TcpListener, pulse: Arc<Pulse>, clock: Clock, hand_over: mpsc::Sender<StdStream>) {
    let admitted = Arc::new(Semaphore::new(HEARTBEAT_CONNECTIONS_MAX));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely out of file descriptors: it may pass, and trying at once would burn this thread.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&admitted).try_acquire_owned() else {
            warn!(%from, "too many connections, one more is closed");
            continue;
        };
        let pulse = Arc::clone(&pulse);
        let hand_over = hand_over.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = sort(stream, pulse, clock, hand_over).await {
                debug!(%from, %error, "a connection ended");
            }
        });
    }
}

enum Kind {
    Heartbeat,
    Calls,
}

/// Answers heartbeats right here, and hands the rest over.
async fn sort(
    stream: TcpStream,
    pulse: Arc<Pulse>,
    clock: Clock,
    hand_over: mpsc::Sender<StdStream>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match timeout(OPENING_TIMEOUT, kind_of(&stream)).await?? {
        Kind::Heartbeat => answer(stream, pulse, clock).await,
        Kind::Calls => timeout(OPENING_TIMEOUT, hand_over.send(stream.into_std()?))
            .await?
            .map_err(|_| io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn kind_of(stream: &TcpStream) -> io::Result<Kind> {
    let mut first = [0; 4];
    loop {
        let seen = stream.peek(&mut first).await?;
        match &first[..seen] {
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            seen if seen == MAGIC => return Ok(Kind::Heartbeat),
            seen if seen == HTTP2 => return Ok(Kind::Calls),
            // Peeking does not wait for more than it has seen already.
            seen if MAGIC.starts_with(seen) || HTTP2.starts_with(seen) => {
                sleep(Duration::from_millis(10)).await;
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "neither heartbeats nor calls")),
        }
    }
}

async fn serve_calls<H: Handler>(desk: Desk<H>, handed: mpsc::Receiver<StdStream>, stop: CancellationToken) {
    let peer = PeerServer::new(desk)
        .max_decoding_message_size(ENVELOPE_BYTES_MAX)
        .max_encoding_message_size(ENVELOPE_BYTES_MAX);
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        // Senders that give up waiting reset their streams; many at once are overload, not an attack.
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(peer)
        .serve_with_incoming_shutdown(
            ReceiverStream::new(handed).map(TcpStream::from_std),
            stop.cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        warn!(%error, "calls are not served any more");
    }
}

/// Where requests arrive.
struct Desk<H> {
    handler: Arc<H>,
    pulse: Arc<Pulse>,
    running: Arc<Semaphore>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl<H: Handler> Peer for Desk<H> {
    async fn call(&self, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let (header, body) = request.into_inner().unsealed()?;
        check(self.pulse.identity(), &header)?;
        let permit = Arc::clone(&self.running)
            .try_acquire_owned()
            .map_err(|_| CallRefused::new(Refusal::Busy, format!("{CALLS_MAX} calls run already")))?;
        let handler = Arc::clone(&self.handler);
        // A task of its own: a sender that goes away must not leave the work half done.
        let answered = tokio::spawn(async move {
            let _permit = permit;
            handler.call(header, body).await
        });
        let body = answered.await.map_err(|error| Status::internal(format!("the call broke: {error}")))??;
        Ok(Response::new(Envelope::plain(body)))
    }

    type OpenStream = Pin<Box<dyn Stream<Item = Result<Envelope, Status>> + Send>>;

    async fn open(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let mut messages = request.into_inner();
        let opening = timeout(OPENING_TIMEOUT, messages.message())
            .await
            .map_err(|_| CallRefused::new(Refusal::Malformed, "the stream was not opened in time"))??
            .ok_or_else(|| CallRefused::new(Refusal::Malformed, "the stream ended before it was opened"))?;
        let (header, body) = opening.unsealed()?;
        check(self.pulse.identity(), &header)?;
        let outbound = self.handler.open(header, body, Inbound::new(messages)).await?;
        let messages = ReceiverStream::new(outbound)
            .map(|body| Ok(Envelope::plain(body)))
            .take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(messages)))
    }
}
