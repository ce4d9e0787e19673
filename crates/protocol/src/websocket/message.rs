//! Messages and what they add up to.

use bytes::{Bytes, BytesMut};

use super::frame::{self, Header};
use crate::{Side, Time};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// Last message of its side.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or none.
    Pong,
    /// An opcode that an extension defines.
    Other(u8),
}

impl Kind {
    pub(super) const fn of(opcode: u8) -> Self {
        match opcode {
            frame::TEXT => Self::Text,
            frame::BINARY => Self::Binary,
            frame::CLOSE => Self::Close,
            frame::PING => Self::Ping,
            frame::PONG => Self::Pong,
            other => Self::Other(other),
        }
    }

    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Other(_) => "other",
        }
    }
}

/// A whole message, or as much as there is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub side: Side,
    /// What it is.
    pub kind: Kind,
    /// First byte of its first frame.
    pub started: Time,
    /// Its last byte.
    pub time: Time,
    /// Frames that it came in.
    pub frames: u32,
    /// Bytes of payload on the wire, those missing included, before inflation.
    pub length: u64,
    /// It was sent compressed.
    pub compressed: bool,
    /// Bytes after inflation, if it was inflated to its end.
    pub inflated: Option<u64>,
    /// First bytes, mask and compression removed.
    pub payload: Bytes,
    /// `payload` is not all of it, because of a limit.
    pub truncated: bool,
    /// Bytes of `length` that were not captured.
    pub gap_bytes: u64,
    /// Its last frame was seen.
    pub whole: bool,
    /// Why it could not be inflated, or not to its end.
    pub inflate_error: Option<&'static str>,
}

/// What one direction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Text messages.
    pub text: u64,
    /// Binary messages.
    pub binary: u64,
    /// Pings.
    pub pings: u64,
    /// Pongs.
    pub pongs: u64,
    /// Messages of an opcode that an extension defines.
    pub other: u64,
    /// Bytes of payload of messages other than control ones, on the wire, those missing included.
    pub bytes: u64,
    /// The longest of them.
    pub largest: u64,
    /// Messages of several frames.
    pub fragmented: u64,
    /// Messages that were sent compressed.
    pub compressed: u64,
    /// Messages of which something is missing; those of which nothing was seen cannot be counted.
    pub incomplete: u64,
    /// Times that the next frame had to be searched.
    pub searches: u64,
    /// Bytes passed over in that.
    pub dropped_bytes: u64,
    /// First byte of the first message.
    pub first: Option<Time>,
    /// Last byte of the last one.
    pub last: Option<Time>,
    /// What was wrong with its bytes, the first time; a fixed phrase.
    pub fault: Option<&'static str>,
}

impl Traffic {
    /// Messages other than control ones.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.text + self.binary + self.other
    }

    pub(super) fn count(&mut self, message: &Message) {
        match message.kind {
            Kind::Text => self.text += 1,
            Kind::Binary => self.binary += 1,
            Kind::Other(_) => self.other += 1,
            Kind::Ping => self.pings += 1,
            Kind::Pong => self.pongs += 1,
            Kind::Close => {}
        }
        if matches!(message.kind, Kind::Text | Kind::Binary | Kind::Other(_)) {
            self.bytes += message.length;
            self.largest = self.largest.max(message.length);
            self.fragmented += u64::from(message.frames > 1);
            self.compressed += u64::from(message.compressed);
        }
        self.incomplete += u64::from(message.gap_bytes > 0 || !message.whole);
        self.first = self
            .first
            .map_or(Some(message.started), |first| Some(first.min(message.started)));
        self.last = self.last.max(Some(message.time));
    }
}

/// How one side closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Status code; `None` when none was sent (1005 of RFC 6455 §7.4.1) or it was not captured.
    pub code: Option<u16>,
    /// Reason, lossy UTF-8.
    pub reason: String,
    /// When.
    pub time: Time,
}

impl Closing {
    pub(super) fn of(message: &Message) -> Self {
        let (code, reason) = match message.payload.split_first_chunk() {
            Some((code, reason)) if message.gap_bytes == 0 => (Some(u16::from_be_bytes(*code)), reason),
            _ => (None, &[][..]),
        };
        Self {
            code,
            reason: String::from_utf8_lossy(reason).into_owned(),
            time: message.time,
        }
    }
}

/// A message that has not ended.
#[derive(Debug)]
pub(super) struct Building {
    pub(super) message: Message,
    pub(super) kept: BytesMut,
    pub(super) keep: usize,
    /// Its beginning was not seen: it is counted, and not handed out.
    pub(super) is_orphan: bool,
}

impl Building {
    pub(super) fn new(side: Side, header: &Header, started: Time, keep: usize, is_orphan: bool) -> Self {
        Self {
            message: Message {
                side,
                kind: Kind::of(header.opcode),
                started,
                time: started,
                frames: 0,
                length: 0,
                compressed: false,
                inflated: None,
                payload: Bytes::new(),
                truncated: false,
                gap_bytes: 0,
                whole: false,
                inflate_error: None,
            },
            kept: BytesMut::new(),
            keep,
            is_orphan,
        }
    }

    /// Keeps the beginning.
    pub(super) fn keep(&mut self, data: &[u8]) {
        let room = self.keep.saturating_sub(self.kept.len());
        let kept = data.get(..room).unwrap_or(data);
        self.kept.extend_from_slice(kept);
        self.message.truncated |= kept.len() < data.len();
    }
}
