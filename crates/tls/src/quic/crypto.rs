//! Pieces of the handshake of one side, in any order, to messages.

/// A hello is no longer (P-D5).
const LIMIT: usize = 64 << 10;
/// Holes between pieces that are kept open.
const RANGES: usize = 64;

/// What came of a stream of handshake messages. Bounded: what is beyond [`LIMIT`], or would make more than [`RANGES`] pieces, is dropped,
/// and the peer sends it again if it was not received either.
#[derive(Debug, Default)]
pub(super) struct Crypto {
    /// From the beginning; zero where nothing came yet.
    bytes: Vec<u8>,
    /// What came, in order, without touching each other: start and end.
    ranges: Vec<(usize, usize)>,
    /// Where the next message begins.
    next: usize,
}

impl Crypto {
    /// Takes a piece. False: it does not fit.
    pub(super) fn add(&mut self, offset: u64, data: &[u8]) -> bool {
        let Ok(start) = usize::try_from(offset) else {
            return false;
        };
        let Some(end) = start.checked_add(data.len()).filter(|&end| end <= LIMIT) else {
            return false;
        };
        if data.is_empty() {
            return true;
        }
        // The ranges that it touches become one.
        let from = self.ranges.partition_point(|&(_, other)| other < start);
        let to = self.ranges.partition_point(|&(other, _)| other <= end);
        if from == to && self.ranges.len() >= RANGES {
            return false;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(data);
        }
        let first = self
            .ranges
            .get(from)
            .filter(|_| from < to)
            .map_or(start, |range| range.0);
        let last = to
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .filter(|_| from < to);
        let last = last.map_or(end, |range| range.1);
        self.ranges.splice(from..to, [(first.min(start), last.max(end))]);
        true
    }

    /// The next whole message: its type and its body.
    pub(super) fn message(&mut self) -> Option<(u8, &[u8])> {
        let &(0, end) = self.ranges.first()? else {
            return None;
        };
        let known = self.bytes.get(self.next..end)?;
        let (&[kind, high, middle, low], rest) = known.split_first_chunk()?;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let body = rest.get(..length)?;
        self.next += 4 + length;
        Some((kind, body))
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Nothing more is wanted of it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = vec![1, 0, 1, 44];
        bytes.extend((0..300).map(|at| at as u8));
        bytes.extend([2, 0, 0, 2, 7, 8]);
        bytes
    }

    #[test]
    fn messages_come_out_when_they_are_whole() {
        let (mut crypto, bytes) = (Crypto::default(), stream());
        assert!(crypto.add(100, &bytes[100..306]));
        assert_eq!(crypto.message(), None);
        assert!(crypto.add(0, &bytes[..100]));
        let first = crypto.message().map(|(kind, body)| (kind, body.to_vec()));
        assert_eq!(first, Some((1, bytes[4..304].to_vec())));
        assert_eq!(crypto.message(), None);
        assert!(crypto.add(302, &bytes[302..]));
        assert_eq!(crypto.message(), Some((2, &[7, 8][..])));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut crypto = Crypto::default();
        assert!(!crypto.add(LIMIT as u64, &[1]));
        assert!(!crypto.add(u64::MAX, &[1]));
        for at in 0..RANGES as u64 {
            assert!(crypto.add(2 + 2 * at, &[1]));
        }
        assert!(!crypto.add(1000, &[1]));
        // One that joins others is taken.
        assert!(crypto.add(3, &[1]));
        assert!(crypto.add(1000, &[1]));
        assert!(crypto.held() <= 2 * LIMIT);
    }

    proptest! {
        #[test]
        fn any_cut_order_and_repetition_gives_the_same_messages(
            pieces in prop::collection::vec((0_usize..310, 1_usize..120), 1..40),
        ) {
            let (mut crypto, bytes) = (Crypto::default(), stream());
            for (start, length) in pieces {
                let end = (start + length).min(bytes.len());
                if start < end {
                    prop_assert!(crypto.add(start as u64, &bytes[start..end]));
                }
                let ordered = crypto.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
                prop_assert!(ordered, "{:?}", crypto.ranges);
            }
            // What did not come before comes now.
            for start in (0..bytes.len()).step_by(50).rev() {
                let end = (start + 50).min(bytes.len());
                crypto.add(start as u64, &bytes[start..end]);
            }
            let first = crypto.message().map(|(kind, body)| (kind, body.to_vec()));
            prop_assert_eq!(first, Some((1, bytes[4..304].to_vec())));
            prop_assert_eq!(crypto.message(), Some((2, &[7, 8][..])));
        }
    }
}
