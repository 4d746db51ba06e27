//! What is remembered of a node that failed and answers again: how many pongs in a row it has given.
//!
//! Not here: how long ago it failed, and how often. `flaps_last_hour` is for that, and outlives a policy that falls
//! back.

/// The first byte. Another layout has another.
const VERSION: u8 = 1;

/// What is remembered of a node on its way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// When the last pong was counted, by the observer's clock.
    pub at_ms: u64,
    /// How many were, without a break.
    pub pongs: u32,
}

impl Memory {
    /// Reads what [`Memory::write`] wrote; none if that is not what it is, or if it was written later than now: then it
    /// is another observer's, or the clock has started again.
    pub fn read(bytes: &[u8], now_ms: u64) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (at_ms, rest) = rest.split_first_chunk()?;
        let memory =
            Self { at_ms: u64::from_le_bytes(*at_ms), pongs: u32::from_le_bytes(rest.try_into().ok()?) };
        (version == VERSION && memory.at_ms <= now_ms).then_some(memory)
    }

    /// As bytes: a version, the time, and the count, the lowest byte first.
    pub fn write(self) -> Vec<u8> {
        [VERSION].into_iter().chain(self.at_ms.to_le_bytes()).chain(self.pongs.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let memory = Memory { at_ms: 90_000, pongs: u32::MAX };
        let bytes = memory.write();
        assert_eq!(bytes.len(), 13);
        assert_eq!(Memory::read(&bytes, 90_000), Some(memory));
        assert_eq!(Memory::read(&bytes, 89_999), None, "the clock has started again");
        for length in 0..bytes.len() {
            assert_eq!(Memory::read(&bytes[..length], 90_000), None, "{length}");
        }
        assert_eq!(Memory::read(&[&bytes[..], &[0]].concat(), 90_000), None);
        assert_eq!(Memory::read(&[&[2], &bytes[1..]].concat(), 90_000), None);
    }
}
