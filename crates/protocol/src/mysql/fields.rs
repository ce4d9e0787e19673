//! Reads the fields of packets: little-endian numbers, and lengths in their own encoding.
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/protocol-data-types>

/// What is left of a packet. Everything answers `None` where the packet, or what was kept of it, ends too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// As many bytes, or as many as were kept.
    pub(super) fn up_to(&mut self, length: usize) -> &'a [u8] {
        self.bytes(length.min(self.0.len())).unwrap_or_default()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn int16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn int32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn int64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text that ends in NUL; what is there of it when its end is not.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let end = memchr::memchr(0, self.0).unwrap_or(self.0.len());
        let text = self.up_to(end);
        self.up_to(1);
        text
    }

    /// A number of 1, 3, 4 or 9 bytes. 0xfb and 0xff begin none.
    pub(super) fn number(&mut self) -> Option<u64> {
        match self.byte()? {
            byte @ 0..=0xfa => Some(byte.into()),
            0xfc => self.int16().map(u64::from),
            0xfd => self
                .array()
                .map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]).into()),
            0xfe => self.int64(),
            _ => None,
        }
    }

    /// Length, then as many bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).ok()?)
    }
}

/// Lossy text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_sizes() {
        for (bytes, expected) in [
            (&b"\xfa"[..], Some(0xfa)),
            (b"\xfc\x01\x02", Some(0x0201)),
            (b"\xfd\x01\x02\x03", Some(0x03_0201)),
            (b"\xfe\x01\0\0\0\0\0\0\x80", Some(0x8000_0000_0000_0001)),
            (b"\xfb", None),
            (b"\xff", None),
            (b"\xfc\x01", None),
            (b"", None),
        ] {
            assert_eq!(Fields(bytes).number(), expected, "{bytes:?}");
        }
        assert_eq!(Fields(b"\x02abc").string(), Some(&b"ab"[..]));
        assert_eq!(Fields(b"\x04abc").string(), None);
    }
}
