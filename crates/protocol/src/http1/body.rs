//! Bodies: of known length, chunked, or up to the end of the connection (RFC 9112 §6 and §7).

use bytes::Bytes;

use super::{
    collect::{Collected, Collector},
    fields,
};
use crate::{Field, Limits, Time};

/// Bytes of one chunk-size line, extensions included.
const CHUNK_LINE_BYTES: u32 = 16 << 10;

/// A body that is being read.
#[derive(Debug)]
pub(super) enum Body {
    /// So many more bytes.
    Length(u64),
    /// Up to the end of the connection.
    UntilClose,
    /// In chunks.
    Chunked(Chunk),
}

/// Where in the chunked coding the next byte stands.
#[derive(Debug)]
pub(super) enum Chunk {
    /// In a chunk-size line.
    Size(SizeLine),
    /// In chunk data, so many bytes to go.
    Data(u64),
    /// Before the line end that follows chunk data.
    DataEnd {
        /// Its CR was seen.
        cr: bool,
    },
    /// In the trailer section.
    Trailers(Box<Collector>),
    /// At the end.
    Done,
}

/// A chunk-size line so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SizeLine {
    size: u64,
    digits: u8,
    /// The number is over: blanks or extensions.
    after_number: bool,
    length: u32,
}

/// What [`Body::step`] found.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing more in this piece.
    NeedMore,
    /// Payload.
    Data(Bytes),
    /// Trailer fields; the section took so many bytes on the wire.
    Trailers(Vec<Field>, u64),
    /// The body ended before the next byte.
    End,
    /// The framing is broken.
    Bad(&'static str),
}

/// What a gap does to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapStep {
    /// All of it lay in payload.
    Passed,
    /// So many bytes of it were the rest of the body; what lies beyond hit what comes after.
    Ended(u64),
    /// It hit framing: where the body ends is not known any more.
    Broken,
}

impl Body {
    /// A chunked body at its beginning.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size(SizeLine::default()))
    }

    /// The body is over, so that [`Body::step`] has something to say without further bytes.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// How many of the next bytes are payload for certain.
    pub(super) const fn certain(&self) -> u64 {
        match self {
            Self::Length(left) | Self::Chunked(Chunk::Data(left)) => *left,
            Self::UntilClose | Self::Chunked(_) => 0,
        }
    }

    /// Bytes held in memory.
    pub(super) fn buffered(&self) -> usize {
        match self {
            Self::Chunked(Chunk::Trailers(lines)) => lines.buffered(),
            _ => 0,
        }
    }

    /// Takes the next part of the body off `data`.
    pub(super) fn step(&mut self, data: &mut Bytes, time: Time, limits: &Limits) -> Step {
        match self {
            Self::Length(0) => Step::End,
            Self::Length(left) => take(left, data),
            Self::UntilClose if data.is_empty() => Step::NeedMore,
            Self::UntilClose => Step::Data(std::mem::take(data)),
            Self::Chunked(chunk) => chunk.step(data, time, limits),
        }
    }

    /// Passes over `length` missing bytes.
    pub(super) fn gap(&mut self, length: u64) -> GapStep {
        match self {
            Self::UntilClose => GapStep::Passed,
            Self::Length(left) if length <= *left => {
                *left -= length;
                GapStep::Passed
            }
            Self::Length(left) => GapStep::Ended(std::mem::take(left)),
            Self::Chunked(chunk) => match chunk {
                Chunk::Data(left) if length < *left => {
                    *left -= length;
                    GapStep::Passed
                }
                Chunk::Data(left) if length == *left => {
                    *chunk = Chunk::DataEnd { cr: false };
                    GapStep::Passed
                }
                Chunk::Done => GapStep::Ended(0),
                _ => GapStep::Broken,
            },
        }
    }
}

/// Takes up to `left` bytes off `data`.
fn take(left: &mut u64, data: &mut Bytes) -> Step {
    if data.is_empty() {
        return Step::NeedMore;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
    *left -= length as u64;
    Step::Data(data.split_to(length))
}

impl Chunk {
    fn step(&mut self, data: &mut Bytes, time: Time, limits: &Limits) -> Step {
        loop {
            match self {
                Self::Size(line) => match line.feed(data) {
                    Size::NeedMore => return Step::NeedMore,
                    Size::Bad(reason) => return Step::Bad(reason),
                    Size::Chunk(0) => {
                        *self = Self::Trailers(Box::new(Collector::trailers(limits.head_bytes)))
                    }
                    Size::Chunk(size) => *self = Self::Data(size),
                },
                Self::Data(left) => {
                    let step = take(left, data);
                    if *left == 0 {
                        *self = Self::DataEnd { cr: false };
                    }
                    return step;
                }
                Self::DataEnd { cr } => match data.first() {
                    None => return Step::NeedMore,
                    Some(b'\r') if !*cr => {
                        *cr = true;
                        let _ = data.split_to(1);
                    }
                    Some(b'\n') => {
                        let _ = data.split_to(1);
                        *self = Self::Size(SizeLine::default());
                    }
                    Some(_) => return Step::Bad("chunk data without line end"),
                },
                Self::Trailers(lines) => match lines.feed(data, time) {
                    Collected::NeedMore | Collected::BadLine => return Step::NeedMore,
                    Collected::Head(raw) => {
                        *self = Self::Done;
                        let found = fields::read(&raw.bytes, limits.head_fields);
                        if !found.fields.is_empty() {
                            return Step::Trailers(found.fields, raw.total);
                        }
                    }
                },
                Self::Done => return Step::End,
            }
        }
    }
}

/// What [`SizeLine::feed`] found.
enum Size {
    NeedMore,
    Chunk(u64),
    Bad(&'static str),
}

impl SizeLine {
    fn feed(&mut self, data: &mut Bytes) -> Size {
        let mut taken = 0;
        let mut found = Size::NeedMore;
        for byte in data.iter() {
            taken += 1;
            self.length += 1;
            if self.length > CHUNK_LINE_BYTES {
                found = Size::Bad("chunk-size line too long");
                break;
            }
            match byte {
                b'\n' if self.digits > 0 => {
                    found = Size::Chunk(self.size);
                    break;
                }
                b'\n' => {
                    found = Size::Bad("chunk size missing");
                    break;
                }
                _ if self.after_number => {}
                _ => match char::from(*byte).to_digit(16) {
                    Some(digit) if self.digits < 16 => {
                        self.size = self.size << 4 | u64::from(digit);
                        self.digits += 1;
                    }
                    None if self.digits > 0 && matches!(byte, b';' | b' ' | b'\t' | b'\r') => {
                        self.after_number = true
                    }
                    _ => {
                        found = Size::Bad("bad chunk size");
                        break;
                    }
                },
            }
        }
        let _ = data.split_to(taken);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8]) -> (Vec<u8>, Vec<Field>, Result<(), &'static str>, usize) {
        let (mut data, mut body) = (Bytes::copy_from_slice(wire), Body::chunked());
        let (mut payload, mut trailers) = (Vec::new(), Vec::new());
        loop {
            match body.step(&mut data, Time(1), &Limits::default()) {
                Step::NeedMore => return (payload, trailers, Err("need more"), data.len()),
                Step::Data(piece) => payload.extend_from_slice(&piece),
                Step::Trailers(fields, _) => trailers = fields,
                Step::End => return (payload, trailers, Ok(()), data.len()),
                Step::Bad(reason) => return (payload, trailers, Err(reason), data.len()),
            }
        }
    }

    #[test]
    fn chunks_with_extensions_embedded_line_ends_and_trailers() {
        let (payload, trailers, end, rest) =
            read(b"5;a=\"b\"\r\na\r\nb\r\r\n0003 \r\nxyz\r\n0\r\nSum: 1\r\n\r\nnext");
        assert_eq!((&payload[..], end, rest), (&b"a\r\nb\rxyz"[..], Ok(()), 4));
        assert_eq!(trailers.len(), 1);
    }

    #[test]
    fn bare_line_feeds_end_chunk_lines() {
        assert_eq!(read(b"2\nab\n0\n\n").2, Ok(()));
    }

    #[test]
    fn broken_chunks_are_told() {
        assert_eq!(read(b"zz\r\n").2, Err("bad chunk size"));
        assert_eq!(read(b"\r\n").2, Err("bad chunk size"));
        assert_eq!(read(b"11112222333344445\r\n").2, Err("bad chunk size"));
        assert_eq!(read(b"1\r\nab\r\n").2, Err("chunk data without line end"));
        assert_eq!(
            read(&[b"1;".to_vec(), vec![b'x'; 20_000]].concat()).2,
            Err("chunk-size line too long")
        );
    }

    #[test]
    fn gaps_pass_inside_payload_only() {
        assert_eq!(Body::Length(5).gap(5), GapStep::Passed);
        assert_eq!(Body::Length(5).gap(7), GapStep::Ended(5));
        assert_eq!(Body::UntilClose.gap(7), GapStep::Passed);
        assert_eq!(Body::Chunked(Chunk::Data(3)).gap(3), GapStep::Passed);
        assert_eq!(Body::Chunked(Chunk::Data(3)).gap(4), GapStep::Broken);
        assert_eq!(Body::chunked().gap(1), GapStep::Broken);
    }
}
