//! The record header.

use bytes::Bytes;

use crate::Time;

/// Bytes of a record header.
pub(crate) const HEADER_LENGTH: usize = 5;

/// Longest record body of any version: 2^14 and the expansion that TLS 1.2 allows (RFC 5246 §6.2.3).
pub(crate) const MAX_BODY: usize = (16 << 10) + 2048;

/// Content types (RFC 8446 §5.1).
pub(crate) mod content {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const APPLICATION_DATA: u8 = 23;
    pub(crate) const HEARTBEAT: u8 = 24;
}

/// The five bytes before each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) content: u8,
    pub(crate) version: u16,
    pub(crate) length: u16,
}

impl Header {
    /// Reads a header; `None` if these bytes cannot begin a record.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[content, major, minor, high, low] = bytes.first_chunk::<HEADER_LENGTH>()?;
        let header = Self {
            content,
            version: u16::from_be_bytes([major, minor]),
            length: u16::from_be_bytes([high, low]),
        };
        let plausible = (content::CHANGE_CIPHER_SPEC..=content::HEARTBEAT).contains(&content)
            && major == 3
            && minor <= 4
            && usize::from(header.length) <= MAX_BODY;
        plausible.then_some(header)
    }

    /// As on the wire.
    pub(crate) fn encode(self) -> [u8; HEADER_LENGTH] {
        let [major, minor] = self.version.to_be_bytes();
        let [high, low] = self.length.to_be_bytes();
        [self.content, major, minor, high, low]
    }

    /// Bytes of the body.
    pub(crate) fn body_length(self) -> usize {
        usize::from(self.length)
    }

    /// Bytes of the whole record.
    pub(crate) fn wire_length(self) -> usize {
        HEADER_LENGTH + self.body_length()
    }
}

/// One whole record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
    /// Time of its last byte.
    pub(crate) time: Time,
    /// Whether `body` has its own memory, rather than a slice of what the caller gave.
    pub(crate) owned: bool,
}
