//! The client's side of calls and streams: one cheap handle for all peers.
//!
//! Connections are made when they are needed, kept by address, and dropped when they break, so that a restarted peer
//! is reached at once. Calls and streams have a connection each, so that a flood of data does not hold up a call.
//!
//! * S12: an error says whether the request surely did not reach the peer. Only then, or when the peer refused it,
//!   may it be sent again; here it is, once, if a kept connection turns out to be dead before it took the request.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_model::limits::CALL_TIMEOUT;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::{Stream, StreamExt, stream};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tracing::debug;

use crate::server::{CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::wire::{ENVELOPE_BYTES_MAX, Envelope, PeerClient, refusal};
use crate::{CallRefused, Header, Inbound, MESSAGE_BYTES_MAX};

/// A connection that takes longer to make than this is not made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Whoever asks for a connection for streams so soon after it could not be made is told the same: a leaf that dies is
/// asked for by thousands of replicas at once, each again and again.
const FAILURE_KEPT: Duration = Duration::from_millis(20);

/// A call had no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// The request surely did not reach the peer.
    #[error("{address} was not reached: {reason}")]
    NotSent {
        /// Whom.
        address: String,
        /// Why.
        reason: String,
    },
    /// The request may have reached the peer, and may have been carried out.
    #[error("no answer from {address}, the outcome is unknown: {reason}")]
    Unknown {
        /// Whose.
        address: String,
        /// Why.
        reason: String,
    },
    /// The peer refused the request, and did nothing of it.
    #[error("{address} refused: {refused}")]
    Refused {
        /// Who.
        address: String,
        /// Why.
        refused: CallRefused,
    },
}

impl CallError {
    /// Whether the peer surely did nothing, so that the request may be sent again (S12).
    #[must_use]
    pub fn is_surely_undone(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }

    /// The refusal, if it is one.
    #[must_use]
    pub fn refused(&self) -> Option<&CallRefused> {
        match self {
            Self::Refused { refused, .. } => Some(refused),
            _ => None,
        }
    }
}

/// A handle to all peers. Clones share the connections. To be used within a tokio runtime.
#[derive(Clone)]
pub struct Peers(Arc<Kept>);

struct Kept {
    connect_timeout: Duration,
    lines: Mutex<HashMap<(String, Lane), Attempt>>,
}

/// Each lane to an address has a connection of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Calls,
    Streams,
}

/// A connection that is there or on its way; all who want it wait for the same attempt.
type Attempt = Shared<BoxFuture<'static, Result<Line, Failed>>>;

/// A connection could not be made.
#[derive(Clone)]
struct Failed {
    why: String,
    at: Instant,
}

impl Default for Peers {
    fn default() -> Self {
        Self::new(CONNECT_TIMEOUT)
    }
}

impl Peers {
    /// A handle without connections yet.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> Self {
        Self(Arc::new(Kept { connect_timeout, lines: Mutex::default() }))
    }

    /// Sends a request to `address` (`host:port`) and waits for the answer, altogether at most `timeout`.
    ///
    /// # Errors
    /// [`CallError`]; only what [`CallError::is_surely_undone`] may be sent again blindly.
    pub async fn call(
        &self,
        address: &str,
        header: Header,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let envelope = Envelope::sealed(&header, body);
        let answer = self
            .ask(address, Lane::Calls, timeout, &envelope, |mut peer, envelope| async move {
                peer.call(envelope).await
            })
            .await?;
        Ok(answer.into_inner().body)
    }

    /// Opens a stream to `address` (`host:port`) with a first message, which tells the peer what it is for.
    /// At most `capacity` messages wait in the sender; dropping the sender ends the stream on this side, dropping
    /// the [`Inbound`] ends it altogether.
    ///
    /// # Errors
    /// [`CallError`], after at most [`CALL_TIMEOUT`].
    pub async fn open(
        &self,
        address: &str,
        header: Header,
        body: Bytes,
        capacity: usize,
    ) -> Result<(mpsc::Sender<Bytes>, Inbound), CallError> {
        let envelope = Envelope::sealed(&header, body);
        let (sender, answer) = self
            .ask(address, Lane::Streams, CALL_TIMEOUT, &envelope, |mut peer, opening| async move {
                let (sender, messages) = outgoing(opening, capacity);
                Ok((sender, peer.open(messages).await?))
            })
            .await?;
        Ok((sender, Inbound::new(answer.into_inner())))
    }

    /// Forgets the connections to an address that nobody needs any more. What is under way on them goes on.
    pub fn forget(&self, address: &str) {
        self.lines().retain(|(kept, _), _| kept != address);
    }

    async fn ask<T, F: Future<Output = Result<T, Status>>>(
        &self,
        address: &str,
        lane: Lane,
        timeout: Duration,
        envelope: &Envelope,
        ask: impl Fn(PeerClient<Line>, Envelope) -> F,
    ) -> Result<T, CallError> {
        let not_sent = |reason| CallError::NotSent { address: address.to_owned(), reason };
        if envelope.body.len() > MESSAGE_BYTES_MAX {
            let bytes = envelope.body.len();
            return Err(not_sent(format!("a message of {bytes} bytes, {MESSAGE_BYTES_MAX} are allowed")));
        }
        let deadline = Instant::now() + timeout;
        let mut again = true;
        loop {
            let line = timeout_at(deadline, self.line(address, lane))
                .await
                .unwrap_or_else(|_| Err(failed(format!("no connection within {timeout:?}"))))
                .map_err(|failed| not_sent(failed.why))?;
            let peer = PeerClient::with_origin(line, http::Uri::from_static("http://peer"))
                .max_decoding_message_size(ENVELOPE_BYTES_MAX)
                .max_encoding_message_size(ENVELOPE_BYTES_MAX);
            let status = match timeout_at(deadline, ask(peer, envelope.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => {
                    let reason = format!("no answer within {timeout:?}");
                    return Err(CallError::Unknown { address: address.to_owned(), reason });
                }
            };
            let error = classify(address, &status);
            if again && matches!(error, CallError::NotSent { .. }) {
                again = false;
                continue;
            }
            return Err(error);
        }
    }

    /// A connection that is not known to be dead.
    fn line(&self, address: &str, lane: Lane) -> impl Future<Output = Result<Line, Failed>> + use<> {
        let mut lines = self.lines();
        let key = (address.to_owned(), lane);
        if let Some(attempt) = lines.get(&key).filter(|attempt| is_usable(lane, attempt)) {
            return attempt.clone();
        }
        lines.retain(|(_, lane), attempt| is_usable(*lane, attempt));
        // A task of its own: who waits for a connection may go away without ending the attempt for the others.
        let connecting = tokio::spawn(connect(address.to_owned(), self.0.connect_timeout));
        let made =
            |made: Result<_, tokio::task::JoinError>| made.unwrap_or_else(|error| Err(error.to_string()));
        let attempt: Attempt = connecting.map(move |line| made(line).map_err(failed)).boxed().shared();
        lines.insert(key, attempt.clone());
        attempt
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Lane), Attempt>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peers({} connections)", self.lines().len())
    }
}

fn is_usable(lane: Lane, attempt: &Attempt) -> bool {
    match attempt.peek() {
        None => true,
        Some(Ok(line)) => !line.requests.is_closed(),
        Some(Err(failed)) => lane == Lane::Streams && failed.at.elapsed() < FAILURE_KEPT,
    }
}

fn failed(why: String) -> Failed {
    Failed { why, at: Instant::now() }
}

fn outgoing(
    opening: Envelope,
    capacity: usize,
) -> (mpsc::Sender<Bytes>, impl Stream<Item = Envelope> + Send + 'static) {
    let (sender, bodies) = mpsc::channel(capacity.max(1));
    (sender, stream::iter([opening]).chain(ReceiverStream::new(bodies).map(Envelope::plain)))
}

fn classify(address: &str, status: &Status) -> CallError {
    let address = address.to_owned();
    if let Some(refused) = refusal(status) {
        return CallError::Refused { address, refused };
    }
    let broken = std::error::Error::source(status).and_then(|source| source.downcast_ref::<LineError>());
    match broken {
        Some(LineError::NotTaken(error)) => CallError::NotSent { address, reason: error.to_string() },
        _ => CallError::Unknown { address, reason: status.message().to_owned() },
    }
}

async fn connect(address: String, limit: Duration) -> Result<Line, String> {
    let connecting = async {
        let stream = TcpStream::connect(&address).await?;
        refuse_self(&stream)?;
        stream.set_nodelay(true)?;
        Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)
    };
    let (requests, connection) = timeout(limit, connecting)
        .await
        .map_err(|_| format!("no connection within {limit:?}"))?
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(address, %error, "a connection broke");
        }
    });
    Ok(Line { requests })
}

/// On one machine, an attempt at a free port in the ephemeral range can connect a socket to itself, and so look like
/// a living peer and block the port of the real one.
pub(crate) fn refuse_self(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// One connection, as tonic wants it: tells whether a request that failed was taken.
#[derive(Clone)]
struct Line {
    requests: SendRequest<Body>,
}

#[derive(Debug, thiserror::Error)]
enum LineError {
    /// The request came back: nothing of it was sent.
    #[error("the connection is gone: {0}")]
    NotTaken(hyper::Error),
    /// The connection broke while the answer was waited for.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
}

impl Service<http::Request<Body>> for Line {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = LineError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, LineError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LineError>> {
        // Whether the connection takes the request is told by what becomes of it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sent = self.requests.try_send_request(request);
        Box::pin(async move {
            sent.await.map_err(|error| match error.message() {
                Some(_) => LineError::NotTaken(error.into_error()),
                None => LineError::Broken(error.into_error()),
            })
        })
    }
}
