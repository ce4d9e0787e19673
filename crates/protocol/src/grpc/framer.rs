//! Length-prefixed messages of one direction.

use bytes::Bytes;

use super::Dialect;
use super::base64::Base64;
use crate::Field;

/// Flags and length of a message.
pub(super) const PREFIX_BYTES: usize = 5;
/// The message is compressed as `grpc-encoding` says.
pub(super) const COMPRESSED: u8 = 1;
/// gRPC-Web: the frame holds trailers.
pub(super) const TRAILERS: u8 = 0x80;

/// Trailers of gRPC-Web that are kept, in bytes and in fields; as of a head.
const TRAILER_BYTES: usize = 64 << 10;
const TRAILER_FIELDS: usize = 256;

/// Why there may be more messages than were counted.
pub(super) const MISSING: &str = "bytes are missing";
const CODED: &str = "the body has a content coding";

/// The messages of one side of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Whole ones.
    pub count: u64,
    /// Bytes of those as sent, without the five of each prefix.
    pub bytes: u64,
    /// Those among them that are compressed.
    pub compressed: u64,
    /// Bytes of the largest.
    pub largest: u32,
    /// One more began and did not come to its end.
    pub unfinished: bool,
    /// There may be more than were counted, and why: bytes are missing or make no sense.
    pub lost: Option<&'static str>,
    /// Bytes of the body before its first hole, where it has one.
    pub whole_bytes: Option<u64>,
}

enum State {
    /// Between messages, or in a prefix.
    Prefix { prefix: [u8; PREFIX_BYTES], have: usize },
    /// So many bytes of a message are still to come.
    Message { left: u32, size: u32, compressed: bool },
    /// The same of trailers.
    Trailers { left: u32 },
    /// Nothing more is to come.
    Ended,
    /// Where messages begin is not known any more.
    Lost,
    /// Not looked at: it is under a content coding, or not gRPC's.
    Off,
}

const BETWEEN: State = State::Prefix {
    prefix: [0; PREFIX_BYTES],
    have: 0,
};

/// Counts the messages of one direction as they pass.
pub(super) struct Framer {
    dialect: Dialect,
    text: Base64,
    state: State,
    messages: Messages,
    /// Bytes of the body so far, as sent, holes included.
    position: u64,
    trailers: Vec<u8>,
    /// Of these, bytes are missing or beyond the limit.
    spoiled: bool,
}

impl Framer {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            text: Base64::default(),
            state: BETWEEN,
            messages: Messages::default(),
            position: 0,
            trailers: Vec::new(),
            spoiled: false,
        }
    }

    /// One whose body cannot be looked at, and why; no reason where there is nothing to be looked for.
    pub(super) fn off(dialect: Dialect, reason: Option<&'static str>) -> Self {
        let mut framer = Self::new(dialect);
        framer.state = State::Off;
        framer.messages.lost = reason;
        framer
    }

    /// One whose body has a content coding: it is counted once that is removed.
    pub(super) fn coded(dialect: Dialect) -> Self {
        Self::off(dialect, Some(CODED))
    }

    pub(super) fn is_coded(&self) -> bool {
        self.messages.lost == Some(CODED)
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether nothing of a body came yet.
    pub(super) const fn is_untouched(&self) -> bool {
        self.position == 0
    }

    /// The next bytes of the body, transfer coding removed.
    pub(super) fn bytes(&mut self, data: &[u8]) {
        self.position += data.len() as u64;
        match (self.dialect, &self.state) {
            (_, State::Lost | State::Off) => {}
            (Dialect::WebText, _) => {
                let mut decoded = Vec::new();
                let result = self.text.decode(data, &mut decoded);
                self.frames(&decoded);
                if result.is_err() {
                    self.lose("not Base64");
                }
            }
            (Dialect::Native | Dialect::Web, _) => self.frames(data),
        }
    }

    /// `length` bytes of the body are missing; with 0 it is not known how many.
    pub(super) fn gap(&mut self, length: u64) {
        if !matches!(self.state, State::Off) {
            self.messages.whole_bytes.get_or_insert(self.position);
        }
        self.position += length;
        let left = match &mut self.state {
            State::Lost | State::Off => return,
            State::Message { left, .. } => left,
            State::Trailers { left } => {
                self.spoiled = true;
                left
            }
            State::Prefix { .. } | State::Ended => return self.lose(MISSING),
        };
        let inside = u32::try_from(length).ok().filter(|length| length <= left);
        match inside {
            // Padding anywhere: how many bytes so many characters are is not known.
            Some(inside @ 1..) if self.dialect != Dialect::WebText => *left -= inside,
            _ => return self.lose(MISSING),
        }
        self.end_if_done();
    }

    /// The side sent all that it will. Returns what was counted, and the trailers of the body.
    pub(super) fn finish(mut self) -> (Messages, Vec<Field>) {
        self.messages.unfinished = match self.state {
            State::Prefix { have, .. } => have > 0 || self.text.is_inside(),
            State::Message { .. } | State::Trailers { .. } => true,
            State::Ended | State::Lost | State::Off => false,
        };
        let is_whole = matches!(self.state, State::Ended) && !self.spoiled;
        let trailers = if is_whole {
            fields(&self.trailers)
        } else {
            Vec::new()
        };
        (self.messages, trailers)
    }

    fn frames(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            match &mut self.state {
                State::Prefix { prefix, have } => {
                    let rest = prefix.get_mut(*have..).unwrap_or_default();
                    let taken = rest.len().min(data.len());
                    let (start, after) = data.split_at(taken);
                    rest.iter_mut()
                        .zip(start)
                        .for_each(|(place, byte)| *place = *byte);
                    *have += taken;
                    data = after;
                    if *have == PREFIX_BYTES {
                        let prefix = *prefix;
                        self.begin(prefix);
                    }
                }
                State::Message { left, .. } => {
                    let taken = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u32::try_from(taken).unwrap_or(*left);
                    data = data.get(taken..).unwrap_or_default();
                    self.end_if_done();
                }
                State::Trailers { left } => {
                    let taken = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u32::try_from(taken).unwrap_or(*left);
                    let (piece, after) = data.split_at(taken);
                    let room = TRAILER_BYTES.saturating_sub(self.trailers.len());
                    self.trailers
                        .extend_from_slice(piece.get(..room).unwrap_or(piece));
                    self.spoiled |= piece.len() > room;
                    data = after;
                    self.end_if_done();
                }
                State::Ended => return self.lose("bytes after the trailers"),
                State::Lost | State::Off => return,
            }
        }
    }

    /// A prefix is whole.
    fn begin(&mut self, prefix: [u8; PREFIX_BYTES]) {
        let [flags, length @ ..] = prefix;
        let left = u32::from_be_bytes(length);
        self.state = match (flags, self.dialect) {
            (0 | COMPRESSED, _) => State::Message {
                left,
                size: left,
                compressed: flags == COMPRESSED,
            },
            (TRAILERS, Dialect::Web | Dialect::WebText) => State::Trailers { left },
            _ => return self.lose("not a message prefix"),
        };
        self.end_if_done();
    }

    fn end_if_done(&mut self) {
        match self.state {
            State::Message {
                left: 0,
                size,
                compressed,
            } => {
                let messages = &mut self.messages;
                messages.count += 1;
                messages.bytes += u64::from(size);
                messages.compressed += u64::from(compressed);
                messages.largest = messages.largest.max(size);
                self.state = BETWEEN;
            }
            State::Trailers { left: 0 } => self.state = State::Ended,
            _ => {}
        }
    }

    fn lose(&mut self, reason: &'static str) {
        self.messages.lost.get_or_insert(reason);
        self.state = State::Lost;
    }
}

/// The fields of a block of lines `name: value`.
fn fields(block: &[u8]) -> Vec<Field> {
    let lines = block.split(|byte| *byte == b'\n');
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (
            line.get(..colon)?.trim_ascii(),
            line.get(colon + 1..)?.trim_ascii(),
        );
        (!name.is_empty()).then(|| Field {
            name: Bytes::from(name.to_ascii_lowercase()),
            value: Bytes::copy_from_slice(value),
        })
    };
    lines.filter_map(field).take(TRAILER_FIELDS).collect()
}
