//! How many bytes a log has, well enough to say from where on it has so many.

use std::collections::VecDeque;

use baton_model::Lsn;

/// Records that are counted together, at most.
const RECORDS: u64 = 256;
/// Bytes that are counted together, but for one record.
const BYTES: u64 = 1 << 20;

/// The bytes of consecutive stretches of a log, each with its first LSN, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizes {
    stretches: VecDeque<(Lsn, u64)>,
    bytes: u64,
}

impl Sizes {
    /// Of a log that begins here and has so many bytes, wherever they are.
    pub(crate) fn of(first: Lsn, bytes: u64) -> Self {
        let stretches = if bytes == 0 { VecDeque::new() } else { VecDeque::from([(first, bytes)]) };
        Self { stretches, bytes }
    }

    /// A record comes at the end.
    pub(crate) fn add(&mut self, lsn: Lsn, bytes: u64) {
        self.bytes += bytes;
        match self.stretches.back_mut() {
            Some((first, sum)) if lsn.0 - first.0 < RECORDS && *sum < BYTES => *sum += bytes,
            _ => self.stretches.push_back((lsn, bytes)),
        }
    }

    /// Everything after this LSN goes. Of the stretch in which it lies, the bytes stay counted.
    pub(crate) fn cut_after(&mut self, last: Lsn) {
        while let Some((_, bytes)) = self.stretches.pop_back_if(|(first, _)| *first > last) {
            self.bytes -= bytes;
        }
    }

    /// Everything before this LSN goes. Of the stretch in which it lies, the bytes stay counted.
    pub(crate) fn cut_before(&mut self, keep_from: Lsn) {
        while self.stretches.get(1).is_some_and(|(first, _)| *first <= keep_from)
            && let Some((_, bytes)) = self.stretches.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// The LSN from which on there are at most so many bytes, but for one stretch.
    pub(crate) fn newest(&self, bytes: u64) -> Lsn {
        let mut left = self.bytes;
        for (first, sum) in &self.stretches {
            if left <= bytes {
                return *first;
            }
            left -= sum;
        }
        // The newest stretch alone is more.
        self.stretches.back().map_or(Lsn(0), |(first, _)| *first)
    }

    /// The bytes before an LSN, at least.
    pub(crate) fn before(&self, lsn: Lsn) -> u64 {
        let next = self.stretches.iter().skip(1).map(|(first, _)| *first);
        self.stretches.iter().zip(next).take_while(|(_, next)| *next <= lsn).map(|((_, sum), _)| sum).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_of_a_log_are_found() {
        let mut sizes = Sizes::of(Lsn(1), 5_000);
        (101..=1_000).for_each(|lsn| sizes.add(Lsn(lsn), 10));
        assert_eq!(sizes.newest(u64::MAX), Lsn(1));
        // What was there at the opening is one stretch, which the first records may still belong to.
        let from = sizes.newest(8_000);
        assert!(from > Lsn(1) && from <= Lsn(257), "{from}");
        let from = sizes.newest(3_000);
        assert!((1_000 - from.0) * 10 <= 3_000 && (1_000 - from.0) * 10 + RECORDS * 10 > 3_000, "{from}");
        assert!(sizes.before(from) >= 5_000);

        sizes.cut_before(from);
        assert_eq!((sizes.newest(u64::MAX), sizes.before(from)), (from, 0));
        sizes.cut_after(Lsn(900));
        assert!(sizes.newest(0) <= Lsn(900));
        sizes.cut_after(Lsn(0));
        assert_eq!(sizes.bytes, 0);
    }
}
