//! Takes clients in, each on a task of its own, and sees them out.

use std::any::Any;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::CONNECTIONS_MAX;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::connection::{Shared, converse};
use crate::limits::{LINGER, SHUTDOWN_GRACE};
use crate::lockout::Lockout;
use crate::session::Sessions;
use crate::wire::{error_packet, single_frame};

/// How long to wait after the operating system refused to hand over a connection, mostly for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves MySQL clients until `shutdown`, then ends their connections and returns when the last one is gone:
/// within [`SHUTDOWN_GRACE`] and a little more. At most [`CONNECTIONS_MAX`] clients are served at once.
pub async fn serve(listener: TcpListener, sessions: Arc<impl Sessions>, shutdown: CancellationToken) {
    serve_at_most(CONNECTIONS_MAX, listener, sessions, shutdown).await;
}

/// As [`serve`], with a bound of its own on the clients that are served at once.
pub async fn serve_at_most(
    connections_max: usize,
    listener: TcpListener,
    sessions: Arc<impl Sessions>,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared {
        sessions,
        shutdown: shutdown.clone(),
        opened_at: Instant::now(),
        lockout: Lockout::default(),
    });
    let mut connections = JoinSet::new();
    let mut last_id = 0u32;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) if connections.len() >= connections_max => refuse(socket),
                Ok((socket, peer)) => {
                    last_id = last_id.checked_add(1).unwrap_or(1);
                    connections.spawn(converse(socket, peer, last_id, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client's connection");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let drained = timeout(SHUTDOWN_GRACE + 2 * LINGER, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(left = connections.len(), "clients that did not take their last answer are cut off");
        connections.shutdown().await;
    }
}

/// A task that panicked took its own client with it, and nobody else.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        let panic = error.into_panic();
        tracing::error!(panic = text_of_panic(&*panic), "a client's connection was lost to a defect");
    }
}

fn text_of_panic(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied())
        .unwrap_or("unknown")
}

/// Tells a client that there is no room, without ever waiting for it: a fresh socket takes these few bytes.
fn refuse(socket: TcpStream) {
    let peer: Option<SocketAddr> = socket.peer_addr().ok();
    tracing::warn!(?peer, "a client is refused: too many connections");
    let refusal = error_packet(&SqlError::new(ErrorCode::TooManyConnections, "Too many connections"));
    if let Ok(mut socket) = socket.into_std() {
        let _ = socket.write(&single_frame(&refusal));
    }
}
