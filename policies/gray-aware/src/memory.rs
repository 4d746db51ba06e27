//! What is remembered of a leaf from one tick to the next.
//!
//! Times are spans that were added up, not moments: what passes while the observer stalls, or while the leaf is not
//! heard, is simply not added. A leaf that is well has no memory.

/// The first byte. Another layout has another.
const VERSION: u8 = 1;

/// What is remembered of a leaf. A span is none if what it measures is not so now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// When this was written, by the observer's clock.
    pub at_ms: u64,
    /// Whether it was failed for stalling, and not taken back since.
    pub failed_as_gray: bool,
    /// For how long its event loop has been late, without a break.
    pub late_ms: Option<u64>,
    /// For how long its disk has been stalling, without a break.
    pub stalled_ms: Option<u64>,
    /// How long the slow sync took that it reports; 0 if its last sync was no slow one.
    pub sync_ms: u64,
    /// For how long it has reported the same one.
    pub sync_age_ms: u64,
    /// How many slow syncs it has reported in a row.
    pub slow_syncs: u8,
    /// For how long it has been well without a break since it failed for stalling.
    pub well_ms: Option<u64>,
    /// How long ago it was taken back, for whatever it had failed.
    pub returned_ms: Option<u64>,
}

impl Memory {
    /// Reads what [`Memory::write`] wrote; none if that is not what it is, or if it was written later than now: then it
    /// is another observer's, or the clock has started again.
    pub fn read(bytes: &[u8], now_ms: u64) -> Option<Self> {
        let (&[version, failed, slow_syncs], mut rest) = bytes.split_first_chunk()?;
        if version != VERSION || failed > 1 {
            return None;
        }
        let memory = Self {
            failed_as_gray: failed == 1,
            slow_syncs,
            at_ms: take(&mut rest)?,
            late_ms: take(&mut rest)?.checked_sub(1),
            stalled_ms: take(&mut rest)?.checked_sub(1),
            sync_ms: take(&mut rest)?,
            sync_age_ms: take(&mut rest)?,
            well_ms: take(&mut rest)?.checked_sub(1),
            returned_ms: take(&mut rest)?.checked_sub(1),
        };
        // An observer's clock starts at 0, so nothing has lasted for longer than it shows.
        let spans = [memory.late_ms, memory.stalled_ms, memory.well_ms, memory.returned_ms];
        let possible = spans.into_iter().flatten().chain([memory.sync_age_ms]).all(|ms| ms <= memory.at_ms);
        (rest.is_empty() && possible && memory.at_ms <= now_ms).then_some(memory)
    }

    /// As bytes: three single ones, then seven numbers of eight, the lowest first. Empty if there is nothing to
    /// remember.
    pub fn write(&self) -> Vec<u8> {
        if *self == (Self { at_ms: self.at_ms, ..Self::default() }) {
            return Vec::new();
        }
        let span = |ms: Option<u64>| ms.map_or(0, |ms| ms.saturating_add(1));
        let numbers = [
            self.at_ms,
            span(self.late_ms),
            span(self.stalled_ms),
            self.sync_ms,
            self.sync_age_ms,
            span(self.well_ms),
            span(self.returned_ms),
        ];
        let head = [VERSION, u8::from(self.failed_as_gray), self.slow_syncs];
        head.into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
    }
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ILL: Memory = Memory {
        at_ms: 90_000,
        failed_as_gray: true,
        late_ms: Some(0),
        stalled_ms: Some(4_950),
        sync_ms: u64::MAX,
        sync_age_ms: 150,
        slow_syncs: u8::MAX,
        well_ms: None,
        returned_ms: Some(90_000),
    };

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(ILL.write().len(), 59);
        assert_eq!(Memory::read(&ILL.write(), 90_000), Some(ILL));
        let well = Memory { at_ms: 7, ..Memory::default() };
        assert!(well.write().is_empty());
    }

    #[test]
    fn what_cannot_be_is_not_read() {
        let bytes = ILL.write();
        for length in 0..bytes.len() {
            assert_eq!(Memory::read(&bytes[..length], 90_000), None, "{length}");
        }
        assert_eq!(Memory::read(&[&bytes[..], &[0]].concat(), 90_000), None);
        for (at, byte) in [(0, 0), (0, 2), (0, 255), (1, 2)] {
            let mut garbled = bytes.clone();
            garbled[at] = byte;
            assert_eq!(Memory::read(&garbled, 90_000), None, "byte {at} is {byte}");
        }
        assert_eq!(Memory::read(&bytes, 89_999), None, "the clock has started again");
        for impossible in [
            Memory { late_ms: Some(90_001), ..ILL },
            Memory { stalled_ms: Some(90_001), ..ILL },
            Memory { well_ms: Some(90_001), ..ILL },
            Memory { returned_ms: Some(u64::MAX), ..ILL },
            Memory { sync_age_ms: 90_001, ..ILL },
        ] {
            assert_eq!(Memory::read(&impossible.write(), u64::MAX), None, "{impossible:?}");
        }
    }
}
