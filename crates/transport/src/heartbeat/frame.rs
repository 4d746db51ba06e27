//! Pings and pongs as bytes.

use std::io;

use baton_detector::{Grant, Report, Sighting};
use baton_model::{CatalogIndex, ClusterId, Instant, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a heartbeat connection. Another wire format has another number in it.
pub(crate) const MAGIC: &[u8; 4] = b"BHB2";
/// Bytes of one frame, at most.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Sightings that fit into a frame whatever their numbers are: each takes 30 bytes at most.
pub(super) const SIGHTINGS_MAX: usize = 2000;

/// "Are you there?"
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ping {
    /// The cluster that asks (S10).
    pub cluster_id: ClusterId,
    /// Who asks.
    pub from: NodeId,
    /// Which ping of this connection's sender it is.
    pub seq: u64,
    /// The control group's term that the sender knows.
    pub term: u64,
    /// The catalog version that the sender knows.
    pub catalog_index: CatalogIndex,
    /// The sender's own clock, in microseconds; means nothing to anybody else.
    pub sent_at_us: u64,
    /// If the sender is the master aggregator and lends to the receiver: until when that may show what it reads.
    pub lease: Option<Grant>,
}

/// "I am, and this is how I am."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pong {
    /// The cluster of the node that answers; zero if it is in none.
    pub cluster_id: ClusterId,
    /// Who answers; zero if it is in no cluster.
    pub node: NodeId,
    /// Which ping this answers.
    pub seq: u64,
    /// When it was sent, by the clock of who answers; comes back with a lease.
    pub sent_at: Instant,
    /// The answering process, its data directory, and how well it can work.
    pub report: Report,
    /// What the answering node sees of others.
    pub sightings: Vec<Sighting>,
}

/// The frame of a message, with its length before it.
///
/// # Errors
/// If it is longer than a frame may be.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Reads one message. `buffer` is room that is used again and again.
///
/// # Errors
/// If the connection ends, or carries what is no frame.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<T> {
    let length = usize::try_from(from.read_u32().await?).map_err(io::Error::other)?;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    buffer.resize(length, 0);
    from.read_exact(buffer).await?;
    postcard::from_bytes(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_pong_fits_into_a_frame() {
        let sighting = Sighting {
            node: NodeId(u64::MAX),
            misses: u32::MAX,
            refusals: u32::MAX,
            timeouts: u32::MAX,
            age_ms: u32::MAX,
        };
        let pong = Pong {
            cluster_id: ClusterId(u128::MAX),
            node: NodeId(u64::MAX),
            seq: u64::MAX,
            sent_at: Instant(u64::MAX),
            report: Report::default(),
            sightings: vec![sighting; SIGHTINGS_MAX],
        };
        assert!(encode(&pong).is_ok());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        let mut buffer = vec![];
        for bytes in [&b""[..], b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x05abc", b"\0\0\0\x01\xff"] {
            let mut from = bytes;
            assert!(read::<Ping>(&mut from, &mut buffer).await.is_err(), "{bytes:?}");
        }
    }
}
