//! Ids that users see: sortable, unique over hosts, 20 characters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Digits of base32hex in lower case: the texts sort as the bytes do.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Makes ids of 12 bytes: 4 of Unix time, 5 of this agent run, 3 of a counter.
#[derive(Debug)]
pub struct IdSource {
    run: [u8; 5],
    counter: AtomicU32,
}

impl IdSource {
    /// A source whose ids differ from those of other sources by `seed`, which the caller makes from the host and
    /// the start of the run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let [_, _, _, run @ ..] = seed.to_be_bytes();
        Self {
            run,
            counter: AtomicU32::new(seed as u32 & 0x00ff_ffff),
        }
    }

    /// The next id, for something that happened at `time`.
    #[must_use]
    pub fn next(&self, time: SystemTime) -> Arc<str> {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) as u32;
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0u8; 12];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&seconds.to_be_bytes());
        let (run, counter) = tail.split_at_mut(5);
        run.copy_from_slice(&self.run);
        let [_, low @ ..] = count.to_be_bytes();
        counter.copy_from_slice(&low);
        encode(bytes)
    }
}

/// 96 bits as 20 digits of 5 bits, the last padded with zeros.
fn encode(bytes: [u8; 12]) -> Arc<str> {
    let mut value = bytes
        .iter()
        .fold(0u128, |sum, &byte| (sum << 8) | u128::from(byte))
        << 4;
    let mut text = [0u8; 20];
    for slot in text.iter_mut().rev() {
        let digit = usize::from((value & 31) as u8);
        *slot = DIGITS.get(digit).copied().unwrap_or(b'0');
        value >>= 5;
    }
    // The digits are ASCII.
    Arc::from(std::str::from_utf8(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_are_twenty_characters_unique_and_sort_by_time() {
        let source = IdSource::new(0x1234_5678_9abc_def0);
        let at = |seconds| source.next(UNIX_EPOCH + Duration::from_secs(seconds));
        let (first, second, later) = (at(1_700_000_000), at(1_700_000_000), at(1_700_000_001));
        assert_eq!(first.len(), 20);
        assert_ne!(first, second);
        assert!(first < later && second < later);
    }

    #[test]
    fn sources_with_other_seeds_make_other_ids() {
        assert_ne!(
            IdSource::new(1 << 30).next(UNIX_EPOCH),
            IdSource::new(1 << 31).next(UNIX_EPOCH)
        );
    }
}
