//! What rustls keeps of a connection of TLS 1.3, as bytes in memory.
//!
//! `KeyScheduleTraffic` of rustls 0.22 and 0.23 has the current traffic secrets of client and server and the exporter secret, one behind the
//! other, for key updates. Each is an `OkmBlock`: 64 bytes, of which a hash of 32 or 48 bytes leaves the rest zero, and how many are used as
//! 8 bytes.

use zeroize::Zeroizing;

/// Bytes of an `OkmBlock`.
pub(super) const BLOCK_BYTES: usize = LENGTH_AT + WORD;
/// Where its length is.
const LENGTH_AT: usize = 64;
const WORD: usize = size_of::<u64>();

/// Different values that so many random bytes have at least: fewer have one in 10⁸ secrets of 32 bytes, and fewer still of 48.
const LEAST_VALUES: [(usize, u32); 2] = [(32, 22), (48, 33)];

/// A secret in memory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Where its first byte is.
    pub(super) address: u64,
    /// 32 or 48 bytes.
    pub(super) secret: Zeroizing<Vec<u8>>,
}

/// Calls `found` with each block that lies whole in `bytes`, which begin at `address`, a multiple of 8; in the order of their addresses.
/// About as fast as memory is read.
pub(super) fn find_blocks(bytes: &[u8], address: u64, mut found: impl FnMut(Block)) {
    let Some(lengths) = bytes.get(LENGTH_AT..) else {
        return;
    };
    for (place, word) in lengths.as_chunks::<WORD>().0.iter().enumerate() {
        let used = u64::from_ne_bytes(*word);
        // 32 or 48.
        if used & !16 != 32 {
            continue;
        }
        let at = place * WORD;
        if let Some(secret) = bytes
            .get(at..at + LENGTH_AT)
            .and_then(|buffer| secret_in(buffer, used))
        {
            found(Block {
                address: address + at as u64,
                secret: Zeroizing::new(secret.to_vec()),
            });
        }
    }
}

/// The secret at the front of the buffer of a block, if what is there can be one.
fn secret_in(buffer: &[u8], used: u64) -> Option<&[u8]> {
    let (secret, rest) = buffer.split_at_checked(usize::try_from(used).ok()?)?;
    let is_unused = rest.iter().all(|byte| *byte == 0);
    (is_unused && is_random(secret)).then_some(secret)
}

/// Whether bytes are as different from one another as those of a secret are.
fn is_random(secret: &[u8]) -> bool {
    let mut seen = [0_u64; 4];
    for byte in secret {
        if let Some(word) = seen.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }
    let values: u32 = seen.iter().map(|word| word.count_ones()).sum();
    LEAST_VALUES
        .iter()
        .any(|&(length, least)| length == secret.len() && values >= least)
}
