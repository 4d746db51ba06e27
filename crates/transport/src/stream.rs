//! The two ends of an open stream. Both are bounded: a slow reader slows the writer down, by HTTP/2 flow control.

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::wire::Envelope;

/// What a stream's server has to say; the capacity of the channel bounds what waits. Dropping its sender ends the
/// stream; a send fails once the client is gone.
pub type Outbound = mpsc::Receiver<Bytes>;

/// What the other side of a stream says.
#[derive(Debug)]
pub struct Inbound {
    messages: Streaming<Envelope>,
    ended: bool,
}

/// A stream broke: what was on its way may have arrived or not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stream broke: {0}")]
pub struct StreamLost(pub String);

impl Inbound {
    pub(crate) fn new(messages: Streaming<Envelope>) -> Self {
        Self { messages, ended: false }
    }

    /// The next message; nothing once the other side ended the stream, or after it broke.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StreamLost`], once, if the stream broke.
    pub async fn recv(&mut self) -> Option<Result<Bytes, StreamLost>> {
        if self.ended {
            return None;
        }
        match self.messages.message().await {
            Ok(Some(envelope)) => Some(Ok(envelope.body)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(status) => {
                self.ended = true;
                Some(Err(StreamLost(status.message().to_owned())))
            }
        }
    }

    /// The next message if it is here already, so that a reader can take all there is at once.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn try_recv(&mut self) -> Option<Result<Bytes, StreamLost>> {
        self.recv().now_or_never().flatten()
    }
}
