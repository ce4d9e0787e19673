//! One side of a connection: messages as they come, of which no more is held than is wanted.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use crate::{Counts, Event, Side, Time};

/// Longest message (P-Pg): the server refuses longer ones.
const MESSAGE_BYTES: u32 = 1 << 30;
/// Longest startup message.
const STARTUP_BYTES: u32 = 10_000;
/// What every batch of the server ends with.
const READY: &[u8] = b"Z\0\0\0\x05";
/// What every batch of the extended protocol ends with.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// A message without a type.
    Startup,
    /// One byte that answers a request for encryption.
    Answer,
    /// Messages with a type.
    Typed,
}

/// A whole message.
#[derive(Debug)]
pub(super) struct Message {
    /// Its type; 0 for one without.
    pub(super) tag: u8,
    /// Beginning of what follows the length.
    pub(super) kept: Vec<u8>,
    /// All that followed was kept.
    pub(super) is_whole: bool,
    pub(super) started: Time,
    pub(super) ended: Time,
    pub(super) counts: Counts,
}

/// What taking bytes came to.
#[derive(Debug)]
pub(super) enum Taken {
    Some,
    Whole(Message),
    Bad(&'static str),
}

#[derive(Debug)]
struct Payload {
    message: Message,
    remaining: u64,
    room: usize,
}

/// One side.
#[derive(Debug)]
pub(super) struct Lane {
    side: Side,
    pub(super) expect: Expect,
    header: Vec<u8>,
    started: Time,
    payload: Option<Payload>,
    /// The end of what was passed over, while the next message is searched.
    seek: Option<Vec<u8>>,
    /// Right after a hole a message may begin.
    at_hole: bool,
    reason: Option<&'static str>,
    dropped: u64,
}

impl Lane {
    pub(super) const fn new(side: Side, expect: Expect) -> Self {
        Self {
            side,
            expect,
            header: Vec::new(),
            started: Time(0),
            payload: None,
            seek: None,
            at_hole: matches!(expect, Expect::Typed),
            reason: None,
            dropped: 0,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.header.len()
            + self
                .payload
                .as_ref()
                .map_or(0, |payload| payload.message.kept.len())
    }

    /// Takes bytes from the front of `data` up to the end of a message. `room` says how much of one is wanted.
    pub(super) fn take(&mut self, data: &mut &[u8], time: Time, room: impl Fn(u8) -> usize) -> Taken {
        if self.seek.is_some() {
            self.search(data);
            return Taken::Some;
        }
        if self.payload.is_none() {
            match self.take_header(data, time, room) {
                Ok(true) => {}
                Ok(false) => return Taken::Some,
                Err(reason) => return Taken::Bad(reason),
            }
        }
        let Some(payload) = &mut self.payload else {
            return Taken::Some;
        };
        let length = usize::try_from(payload.remaining)
            .unwrap_or(usize::MAX)
            .min(data.len());
        let (taken, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
        let wanted = payload.room.min(taken.len());
        payload
            .message
            .kept
            .extend_from_slice(taken.get(..wanted).unwrap_or_default());
        payload.room -= wanted;
        payload.message.is_whole &= wanted == taken.len();
        payload.remaining -= taken.len() as u64;
        *data = rest;
        self.finish(time)
    }

    fn finish(&mut self, time: Time) -> Taken {
        match self.payload.take() {
            Some(mut payload) if payload.remaining == 0 => {
                payload.message.ended = time;
                Taken::Whole(payload.message)
            }
            other => {
                self.payload = other;
                Taken::Some
            }
        }
    }

    fn take_header(
        &mut self,
        data: &mut &[u8],
        time: Time,
        room: impl Fn(u8) -> usize,
    ) -> Result<bool, &'static str> {
        if self.header.is_empty() {
            self.started = time;
        }
        let size = match self.expect {
            Expect::Startup => 4,
            Expect::Answer => 1,
            Expect::Typed => 5,
        };
        let missing = size - self.header.len().min(size);
        let (part, rest) = data
            .split_at_checked(missing.min(data.len()))
            .unwrap_or((data, &[]));
        self.header.extend_from_slice(part);
        *data = rest;
        if self.header.len() < size {
            return Ok(false);
        }
        let read = self.read_header();
        // Its memory is for the next one.
        self.header.clear();
        let (tag, remaining) = read?;
        self.payload = Some(Payload {
            message: Message {
                tag,
                kept: Vec::new(),
                is_whole: true,
                started: self.started,
                ended: time,
                counts: Counts {
                    head_bytes: size as u64 + u64::from(remaining),
                    ..Counts::default()
                },
            },
            remaining: u64::from(remaining),
            room: room(tag),
        });
        Ok(true)
    }

    /// The type of a message, and how many bytes follow its header.
    fn read_header(&mut self) -> Result<(u8, u32), &'static str> {
        let at_hole = std::mem::take(&mut self.at_hole);
        match (self.expect, self.header.as_slice()) {
            (Expect::Answer, [answer]) => Ok((*answer, 0)),
            (Expect::Startup, [a, b, c, d]) => match u32::from_be_bytes([*a, *b, *c, *d]) {
                length @ 8..=STARTUP_BYTES => Ok((0, length - 4)),
                _ => Err("no length of a startup message"),
            },
            (_, [tag, a, b, c, d]) => match u32::from_be_bytes([*a, *b, *c, *d]) {
                length @ 4..=MESSAGE_BYTES if is_legal(*tag, self.side) && (!at_hole || length < 1 << 20) => {
                    Ok((*tag, length - 4))
                }
                _ => Err("no message has such a type and length"),
            },
            _ => Err("no header"),
        }
    }

    /// Passes over missing bytes inside of a message; `None` when they lie elsewhere.
    pub(super) fn pass(&mut self, length: u64, time: Time) -> Option<Taken> {
        let payload = self
            .payload
            .as_mut()
            .filter(|payload| length <= payload.remaining)?;
        payload.remaining -= length;
        payload.room = 0;
        payload.message.is_whole = false;
        payload.message.counts.gap_bytes += length;
        Some(self.finish(time))
    }

    /// Looks for the next message from here on: right here after a hole, else at the next end of a batch.
    pub(super) fn lose(&mut self, reason: Option<&'static str>) {
        let begun = self
            .payload
            .take()
            .map_or(0, |payload| payload.message.counts.head_bytes - payload.remaining);
        self.dropped += begun + self.header.len() as u64;
        self.header.clear();
        self.expect = Expect::Typed;
        self.reason = self.reason.or(reason);
        self.at_hole = reason.is_none();
        self.seek = reason.map(|_| Vec::new());
    }

    /// A good message was read: the search is over.
    pub(super) fn found(&mut self, out: &mut Vec<Event>) {
        let dropped = std::mem::take(&mut self.dropped);
        if let Some(reason) = self.reason.take() {
            out.push(Event::Resync {
                side: self.side,
                reason,
                dropped,
            });
        }
    }

    /// A batch ends in `Z` and a state, or in `S` and no more: the next message begins behind it.
    fn search(&mut self, data: &mut &[u8]) {
        let Some(tail) = &mut self.seek else { return };
        while let Some((&byte, rest)) = data.split_first() {
            *data = rest;
            self.dropped += 1;
            tail.push(byte);
            if tail.len() > 6 {
                tail.remove(0);
            }
            let is_end = match self.side {
                Side::Server => {
                    tail.starts_with(READY)
                        && matches!(tail.last(), Some(b'I' | b'T' | b'E'))
                        && tail.len() == 6
                }
                Side::Client => tail.ends_with(SYNC),
            };
            if is_end {
                self.seek = None;
                return;
            }
        }
    }
}

/// Whether a side sends messages of this type.
pub(super) const fn is_legal(tag: u8, side: Side) -> bool {
    match side {
        Side::Client => matches!(
            tag,
            b'Q' | b'P' | b'B' | b'E' | b'D' | b'C' | b'S' | b'H' | b'F' | b'X' | b'd' | b'c' | b'f' | b'p'
        ),
        Side::Server => matches!(
            tag,
            b'R' | b'S'
                | b'K'
                | b'Z'
                | b'T'
                | b'D'
                | b'C'
                | b'E'
                | b'N'
                | b'A'
                | b'I'
                | b'1'
                | b'2'
                | b'3'
                | b'n'
                | b's'
                | b't'
                | b'G'
                | b'H'
                | b'W'
                | b'd'
                | b'c'
                | b'V'
                | b'v'
        ),
    }
}
