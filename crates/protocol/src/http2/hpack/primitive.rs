//! Integers and string literals (RFC 7541 §5).

use bytes::{Bytes, BytesMut};

use super::{BlockError, huffman};

/// Reads from the encoded bytes at hand. `Ok(None)` everywhere means: cut short, more bytes needed.
pub(crate) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn consumed(&self) -> usize {
        self.at
    }

    /// The next byte, left in place.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// An integer whose first byte gives it the low `prefix_bits` bits (§5.1). Beyond 32 bits it is refused.
    pub(crate) fn integer(&mut self, prefix_bits: u32) -> Result<Option<u32>, BlockError> {
        let mask = (1u32 << prefix_bits) - 1;
        let Some(first) = self.byte() else { return Ok(None) };
        let mut value = u64::from(u32::from(first) & mask);
        if value < u64::from(mask) {
            return Ok(u32::try_from(value).ok());
        }
        // Five bytes of seven bits hold any 32-bit number; more is an attack or lost sync.
        for shift in (0..=28).step_by(7) {
            let Some(byte) = self.byte() else { return Ok(None) };
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map(Some)
                    .map_err(|_| BlockError("integer too large"));
            }
        }
        Err(BlockError("integer too large"))
    }

    /// A string of at most `limit` encoded bytes (§5.2), found but not decoded, so that waiting for the rest of
    /// a long field costs nothing.
    pub(crate) fn string(&mut self, limit: usize) -> Result<Option<Literal<'a>>, BlockError> {
        let Some(first) = self.peek() else { return Ok(None) };
        let Some(length) = self.integer(7)? else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limit {
            return Err(BlockError("string too long"));
        }
        let end = self.at.saturating_add(length);
        let Some(encoded) = self.data.get(self.at..end) else {
            return Ok(None);
        };
        self.at = end;
        Ok(Some(Literal {
            encoded,
            huffman: first & 0x80 != 0,
        }))
    }
}

/// A string literal as encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Literal<'a> {
    encoded: &'a [u8],
    huffman: bool,
}

/// Memory that strings share at a time: as long as one of them is kept, all of it is.
const ARENA_BYTES: usize = 512;

/// Where strings are decoded to.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    room: BytesMut,
    /// A Huffman string while it is decoded.
    decoded: Vec<u8>,
}

impl Arena {
    fn keep(&mut self, text: &[u8]) -> Bytes {
        if text.is_empty() || text.len() > ARENA_BYTES / 2 {
            return Bytes::copy_from_slice(text);
        }
        if self.room.capacity() < text.len() {
            self.room = BytesMut::with_capacity(ARENA_BYTES);
        }
        self.room.extend_from_slice(text);
        self.room.split().freeze()
    }
}

impl Literal<'_> {
    /// The string, copied so that it pins no buffer of the capture.
    pub(crate) fn decode(self, arena: &mut Arena) -> Result<Bytes, BlockError> {
        if !self.huffman {
            return Ok(arena.keep(self.encoded));
        }
        let mut decoded = std::mem::take(&mut arena.decoded);
        let kept = huffman::decode(self.encoded, &mut decoded).map(|()| arena.keep(&decoded));
        if decoded.capacity() <= ARENA_BYTES {
            arena.decoded = decoded;
        }
        kept.map_err(|_| BlockError("bad huffman string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7541_c_1_integers() {
        assert_eq!(Reader::new(&[0b0000_1010]).integer(5), Ok(Some(10)));
        assert_eq!(
            Reader::new(&[0b0001_1111, 0b1001_1010, 0b0000_1010]).integer(5),
            Ok(Some(1337))
        );
        assert_eq!(Reader::new(&[42]).integer(8), Ok(Some(42)));
    }

    #[test]
    fn integers_cut_short_wait_and_endless_ones_are_refused() {
        assert_eq!(Reader::new(&[]).integer(5), Ok(None));
        assert_eq!(Reader::new(&[0x1f, 0x80, 0x80]).integer(5), Ok(None));
        assert_eq!(
            Reader::new(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f]).integer(5),
            Err(BlockError("integer too large"))
        );
        assert!(
            Reader::new(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0])
                .integer(5)
                .is_err()
        );
    }

    #[test]
    fn string_length_is_checked_before_its_bytes_arrive() {
        assert_eq!(
            Reader::new(&[0x7f, 0x80, 0x10]).string(100),
            Err(BlockError("string too long"))
        );
        assert_eq!(Reader::new(&[5, b'a']).string(100), Ok(None));
        let whole = Reader::new(&[1, b'a']).string(100).unwrap().unwrap();
        assert_eq!(whole.decode(&mut Arena::default()), Ok(Bytes::from_static(b"a")));
    }
}
