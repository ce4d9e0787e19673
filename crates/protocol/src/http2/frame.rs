//! Frame headers (RFC 9113 §4.1, §6) and how to tell them from other bytes.

/// Bytes of a frame header.
pub(crate) const HEADER_BYTES: usize = 9;

/// What a client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame size every peer must take, and the smallest that SETTINGS can name.
pub(crate) const MIN_MAX_FRAME: u32 = 1 << 14;

/// Largest frame believed while nothing else says what the peers agreed on. Go servers announce this much.
pub(crate) const UNKNOWN_MAX_FRAME: u32 = 1 << 20;

/// Consecutive plausible headers that make a chain of frames (`protocols.md` 4.4).
pub(crate) const CHAIN: u32 = 3;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY: u8 = 0x20;

/// Frame types (RFC 9113 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension; RFC 9113 §5.5 says to skip it.
    Other(u8),
}

impl From<u8> for Kind {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Other(other),
        }
    }
}

/// The nine bytes before every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// Without the reserved bit.
    pub(crate) stream: u32,
    /// The reserved bit, which senders leave 0 and receivers ignore; evidence while searching.
    reserved: bool,
}

impl FrameHeader {
    pub(crate) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::from(kind),
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 == 1,
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of payload in front of the fragment, body or padding.
    pub(crate) fn prefix_bytes(&self) -> u32 {
        let padded = u32::from(self.has(PADDED));
        match self.kind {
            Kind::Data => padded,
            Kind::Headers => padded + if self.has(PRIORITY) { 5 } else { 0 },
            Kind::PushPromise => padded + 4,
            Kind::RstStream => 4,
            Kind::GoAway => 8,
            _ => 0,
        }
    }

    /// Whether a receiver that is in step may take this header, or must conclude that it is out of step:
    /// the size and stream rules of RFC 9113 §6 whose breach is a connection error.
    pub(crate) fn is_legal(&self, max_frame: u32) -> bool {
        let on_stream = self.stream != 0;
        let shape = match self.kind {
            Kind::Data | Kind::Headers => on_stream && self.length >= self.prefix_bytes(),
            Kind::PushPromise => on_stream && self.length >= self.prefix_bytes(),
            Kind::Priority => on_stream && self.length == 5,
            Kind::RstStream => on_stream && self.length == 4,
            Kind::Settings => {
                !on_stream && self.length.is_multiple_of(6) && (!self.has(ACK) || self.length == 0)
            }
            Kind::Ping => !on_stream && self.length == 8,
            Kind::GoAway => !on_stream && self.length >= 8,
            Kind::WindowUpdate => self.length == 4,
            Kind::Continuation => on_stream,
            // No extension carries bulk; text out of step would, by the letters its length is made of.
            Kind::Other(_) => self.length <= UNKNOWN_MAX_FRAME,
        };
        shape && self.length <= max_frame
    }

    /// Stricter than [`Self::is_legal`], for bytes that may be anything: also no unused flag or reserved bit,
    /// no unknown extension, no bulk where none belongs.
    pub(crate) fn is_plausible(&self, max_frame: u32) -> bool {
        let (flags, most) = match self.kind {
            Kind::Data => (END_STREAM | PADDED, max_frame),
            Kind::Headers => (END_STREAM | END_HEADERS | PADDED | PRIORITY, max_frame),
            Kind::PushPromise => (END_HEADERS | PADDED, max_frame),
            Kind::Continuation => (END_HEADERS, max_frame),
            Kind::Settings | Kind::Ping => (ACK, 6 * 64),
            Kind::GoAway => (0, MIN_MAX_FRAME),
            Kind::Priority | Kind::RstStream | Kind::WindowUpdate => (0, 5),
            // ALTSVC (RFC 7838), ORIGIN (RFC 8336) and PRIORITY_UPDATE (RFC 9218).
            Kind::Other(0xa | 0xc | 0x10) => (0, MIN_MAX_FRAME),
            Kind::Other(_) => return false,
        };
        // Only pushed streams have even ids, and an empty DATA frame that ends nothing serves nobody; without
        // these rules arrays of small integers pass for frames.
        let message = matches!(
            self.kind,
            Kind::Data | Kind::Headers | Kind::Continuation | Kind::PushPromise
        );
        let parity = !message || self.stream % 2 == 1;
        let useful = self.kind != Kind::Data || self.length > 0 || self.has(END_STREAM);
        let shape = !self.reserved && self.flags & !flags == 0 && self.length <= most;
        shape && parity && useful && self.is_legal(max_frame)
    }
}

/// The header at `at`, if all of it is there.
pub(crate) fn header_at(data: &[u8], at: usize) -> Option<FrameHeader> {
    let bytes = data.get(at..at.checked_add(HEADER_BYTES)?)?;
    Some(FrameHeader::parse(bytes.try_into().ok()?))
}

/// Whether `data` begins with HTTP/2 frames (or the client preface) at its first byte: `Some(true)` for three
/// plausible headers in a row, or fewer when the data ends exactly where a frame ends; `Some(false)` when
/// a header is impossible; `None` when more bytes are needed to tell.
///
/// ```
/// use qtap_protocol::http2::looks_like_frames;
///
/// let settings_ack = [0, 0, 0, 4, 1, 0, 0, 0, 0];
/// assert_eq!(looks_like_frames(&settings_ack), Some(true));
/// assert_eq!(looks_like_frames(b"GET / HTTP/1.1\r\n"), Some(false));
/// assert_eq!(looks_like_frames(&settings_ack[..5]), None);
/// ```
#[must_use]
pub fn looks_like_frames(data: &[u8]) -> Option<bool> {
    if data.starts_with(PREFACE) {
        return Some(true);
    }
    if PREFACE.starts_with(data) {
        return None;
    }
    let mut at = 0;
    for _ in 0..CHAIN {
        let Some(header) = header_at(data, at) else {
            // A header cut short can still be impossible: the type byte and flags come early.
            return data
                .get(at..)
                .is_some_and(|rest| !may_begin_header(rest))
                .then_some(false);
        };
        if !header.is_plausible(UNKNOWN_MAX_FRAME) {
            return Some(false);
        }
        at += HEADER_BYTES + usize::try_from(header.length).unwrap_or(usize::MAX >> 1);
        if at == data.len() {
            return Some(true);
        }
    }
    Some(true)
}

/// Whether `rest`, the first bytes of a header, can be completed to a plausible one as far as the length and
/// type tell.
fn may_begin_header(rest: &[u8]) -> bool {
    match *rest {
        [l0, l1, l2, kind, ..] => {
            // The most permissive completion of each type: no flags, stream 0 or 1.
            [0, 1].into_iter().any(|stream| {
                FrameHeader::parse([l0, l1, l2, kind, 0, 0, 0, 0, stream]).is_plausible(UNKNOWN_MAX_FRAME)
            })
        }
        [l0, ..] => u32::from(l0) << 16 <= UNKNOWN_MAX_FRAME,
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_of_three_is_enough_though_more_follows() {
        let mut data = [0, 0, 0, 4, 1, 0, 0, 0, 0].repeat(3);
        data.extend_from_slice(&[0, 0]);
        assert_eq!(looks_like_frames(&data), Some(true));
    }

    #[test]
    fn text_and_tls_are_refused() {
        for other in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03",
            b"PUT",
            b"*1\r\n",
        ] {
            assert_eq!(looks_like_frames(other), Some(false), "{other:?}");
        }
    }

    #[test]
    fn preface_is_recognised_and_its_prefix_waits() {
        assert_eq!(looks_like_frames(PREFACE), Some(true));
        for cut in 0..PREFACE.len() {
            assert_eq!(looks_like_frames(&PREFACE[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_cut_first_frame_waits_and_a_whole_one_is_taken() {
        let frame = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &[0, 1, 0, 0]].concat();
        for cut in 0..frame.len() {
            assert_eq!(looks_like_frames(&frame[..cut]), None, "{cut}");
        }
        assert_eq!(looks_like_frames(&frame), Some(true));
    }

    #[test]
    fn headers_that_break_a_rule_are_refused() {
        for bad in [
            [0, 0, 1, 0, 0, 0, 0, 0, 0],    // DATA on stream 0
            [0, 0, 5, 3, 0, 0, 0, 0, 1],    // RST_STREAM of 5 bytes
            [0, 0, 7, 4, 0, 0, 0, 0, 0],    // SETTINGS not a multiple of 6
            [0, 0, 8, 6, 0, 0, 0, 0, 1],    // PING on a stream
            [0, 0, 0, 0, 0, 0x80, 0, 0, 1], // reserved bit
            [0, 0, 0, 0, 0x40, 0, 0, 0, 1], // unused flag
            [0xff, 0, 0, 0, 0, 0, 0, 0, 1], // 16 MiB frame
            [0, 0, 0, 0x77, 0, 0, 0, 0, 1], // unknown type
            [0, 0, 3, 1, 0x20, 0, 0, 0, 1], // priority does not fit
        ] {
            assert_eq!(looks_like_frames(&bad), Some(false), "{bad:?}");
        }
    }
}
