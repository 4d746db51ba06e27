//! Packets over a stream: length, sequence number, payload; payloads of 2²⁴-1 bytes and more span several.
//!
//! * Memory grows with the bytes that came, never with the length that was announced.
//! * Every wait is bounded: for a packet by the caller, within a packet and for a reader by the net time-outs.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::bytes::Malformed;
use crate::limits::{LINGER, NET_READ_TIMEOUT, NET_WRITE_TIMEOUT, WRITE_BUFFER_BYTES};

/// The longest payload of one frame; a frame this long is followed by another.
const FRAME_BYTES_MAX: usize = 0xff_ffff;
/// A write buffer that grew beyond this is given back once it is empty.
const WRITE_BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("cannot use the socket: {0}")]
    Io(#[from] io::Error),
    #[error("the client said nothing for too long")]
    Idle,
    #[error("the client stopped within a packet")]
    Stalled,
    #[error("the client does not read its answer")]
    ReaderStalled,
    #[error("the client closed the connection within a packet")]
    Truncated,
    #[error("the client's packet is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the client's packets are out of order")]
    OutOfOrder,
    #[error("cannot read the client's {0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Refused(&'static str),
}

impl From<Malformed> for WireError {
    fn from(Malformed(subject): Malformed) -> Self {
        Self::Malformed(subject)
    }
}

/// One connection's packets, both ways.
pub(crate) struct PacketStream<S> {
    socket: BufReader<S>,
    outgoing: Vec<u8>,
    /// The number of the next frame, in either direction.
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket: BufReader::new(socket), outgoing: Vec::new(), sequence: 0 }
    }

    /// The first packet of a new exchange: a command. `None` if the client closed the connection instead.
    pub(crate) async fn read_command(
        &mut self,
        limit: usize,
        idle: Duration,
    ) -> Result<Option<Vec<u8>>, WireError> {
        let came = timeout(idle, self.socket.fill_buf()).await.map_err(|_| WireError::Idle)??;
        if came.is_empty() {
            return Ok(None);
        }
        self.sequence = 0;
        self.read(limit).await.map(Some)
    }

    /// The next packet of the present exchange.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Vec<u8>, WireError> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            timeout(NET_READ_TIMEOUT, self.socket.read_exact(&mut header))
                .await
                .map_err(|_| WireError::Stalled)?
                .map_err(truncated)?;
            let [a, b, c, sequence] = header;
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if sequence != self.sequence {
                return Err(WireError::OutOfOrder);
            }
            self.sequence = sequence.wrapping_add(1);
            if payload.len() + length > limit {
                return Err(WireError::TooLarge { limit });
            }
            let mut left = length;
            while left > 0 {
                let came = timeout(NET_READ_TIMEOUT, self.socket.fill_buf())
                    .await
                    .map_err(|_| WireError::Stalled)??;
                if came.is_empty() {
                    return Err(WireError::Truncated);
                }
                let taken = came.len().min(left);
                payload.extend_from_slice(&came[..taken]);
                self.socket.consume(taken);
                left -= taken;
            }
            if length < FRAME_BYTES_MAX {
                return Ok(payload);
            }
        }
    }

    /// Adds a packet to those that wait to be sent.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        let mut rest = payload;
        loop {
            let (frame, after) = rest.split_at(rest.len().min(FRAME_BYTES_MAX));
            let [a, b, c, ..] = (frame.len() as u32).to_le_bytes();
            self.outgoing.extend([a, b, c, self.sequence]);
            self.outgoing.extend_from_slice(frame);
            self.sequence = self.sequence.wrapping_add(1);
            rest = after;
            if frame.len() < FRAME_BYTES_MAX {
                return;
            }
        }
    }

    /// Adds a packet that the client did not ask for. It is numbered as the answer to the next command,
    /// since that is when a client reads it.
    pub(crate) fn push_unasked(&mut self, payload: &[u8]) {
        self.sequence = 1;
        self.push(payload);
    }

    /// Sends what waits if it is much.
    pub(crate) async fn flush_full(&mut self) -> Result<(), WireError> {
        if self.outgoing.len() >= WRITE_BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        // Taken out, so that bytes of an attempt that failed are never sent twice.
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let mut rest = &outgoing[..];
        while !rest.is_empty() {
            let sent = timeout(NET_WRITE_TIMEOUT, self.socket.get_mut().write(rest))
                .await
                .map_err(|_| WireError::ReaderStalled)??;
            if sent == 0 {
                return Err(WireError::Io(io::ErrorKind::WriteZero.into()));
            }
            rest = &rest[sent..];
        }
        if outgoing.capacity() <= WRITE_BUFFER_BYTES_KEPT {
            outgoing.clear();
            self.outgoing = outgoing;
        }
        Ok(())
    }

    /// Ends the connection so that the client can still read what was sent: closing a socket with unread bytes
    /// would reset it. Best effort, for at most [`LINGER`].
    pub(crate) async fn close(mut self) {
        let end = async {
            self.flush().await.ok()?;
            self.socket.get_mut().shutdown().await.ok()?;
            while !self.socket.fill_buf().await.ok()?.is_empty() {
                let unread = self.socket.buffer().len();
                self.socket.consume(unread);
            }
            Some(())
        };
        let _ = timeout(LINGER, end).await;
    }
}

/// The first packet of a connection as bytes, for a client that gets no more than that.
/// The payload is shorter than one frame.
pub(crate) fn single_frame(payload: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = (payload.len() as u32).to_le_bytes();
    [&[a, b, c, 0], payload].concat()
}

fn truncated(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => WireError::Truncated,
        _ => WireError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn payloads_of_every_awkward_length_come_back() {
        for length in [0, 1, FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1] {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let (mut sender, mut receiver) = (PacketStream::new(ours), PacketStream::new(theirs));
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            sender.push(&payload);
            let (sent, came) = tokio::join!(sender.flush(), receiver.read(usize::MAX >> 1));
            sent.unwrap();
            assert!(came.unwrap() == payload, "{length} bytes");
        }
    }

    #[tokio::test]
    async fn a_packet_beyond_the_limit_is_refused_by_its_header() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(&[0xff, 0xff, 0xff, 0]).await.unwrap();
        let refused = PacketStream::new(server).read(1024).await;
        assert!(matches!(refused, Err(WireError::TooLarge { limit: 1024 })), "{refused:?}");
    }
}
