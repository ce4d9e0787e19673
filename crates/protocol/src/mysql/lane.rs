//! One side of a connection: packets as they come, joined where one continues another (P-My1), of which no more is held than is wanted.
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/0-packet>

use super::start;
use crate::detect::Fit;
use crate::{Counts, Event, Side, Time};

/// A packet of this length continues in the next.
const JOINED: u32 = 0xff_ffff;
const HEADER_BYTES: usize = 4;
/// Kept of a message where memory is short.
const SHORT_BYTES: usize = 256;

/// A whole payload.
#[derive(Debug)]
pub(super) struct Message {
    /// Its first byte; `None` when it is empty, or was not captured.
    pub(super) first: Option<u8>,
    /// Its beginning, first byte included.
    pub(super) kept: Vec<u8>,
    /// All of it was kept.
    pub(super) is_whole: bool,
    /// Bytes of payload.
    pub(super) length: u64,
    /// Sequence number of its last packet.
    pub(super) sequence: u8,
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

/// What is to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect<R> {
    /// Sequence number of the next packet, where it is known.
    pub(super) sequence: Option<u8>,
    /// Bytes wanted of a message with this first byte.
    pub(super) room: R,
}

/// One side.
#[derive(Debug)]
pub(super) struct Lane {
    side: Side,
    header: Vec<u8>,
    message: Option<Message>,
    /// Bytes to come of the packet.
    remaining: u64,
    /// Another packet continues it.
    continues: bool,
    room: Option<usize>,
    /// Where messages begin is not known.
    is_lost: bool,
    /// While lost: the next byte may begin one.
    may_try: bool,
    probe: Vec<u8>,
    reason: Option<&'static str>,
    dropped: u64,
}

impl Lane {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            header: Vec::new(),
            message: None,
            remaining: 0,
            continues: false,
            room: None,
            is_lost: false,
            may_try: false,
            probe: Vec::new(),
            reason: None,
            dropped: 0,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let kept = self.message.as_ref().map_or(0, |message| message.kept.len());
        self.header.len() + self.probe.len() + kept
    }

    /// Takes bytes from the front of `data` up to the end of a message.
    pub(super) fn take<R: Fn(u8) -> usize>(
        &mut self,
        data: &mut &[u8],
        time: Time,
        expect: &Expect<R>,
    ) -> Taken {
        if self.is_lost {
            return self.search(data, time, expect);
        }
        if self.remaining == 0 {
            match self.take_header(data, time, expect) {
                Ok(true) => {}
                Ok(false) => return Taken::Some,
                Err(reason) => return Taken::Bad(reason),
            }
        }
        self.take_payload(data, expect);
        self.finish(time)
    }

    fn take_header<R>(
        &mut self,
        data: &mut &[u8],
        time: Time,
        expect: &Expect<R>,
    ) -> Result<bool, &'static str> {
        let started = time;
        if self.header.is_empty() && self.message.is_none() {
            self.message = Some(Message {
                first: None,
                kept: Vec::new(),
                is_whole: true,
                length: 0,
                sequence: 0,
                started,
                ended: time,
                counts: Counts::default(),
            });
        }
        let missing = HEADER_BYTES.saturating_sub(self.header.len());
        let (part, rest) = data
            .split_at_checked(missing.min(data.len()))
            .unwrap_or((data, &[]));
        self.header.extend_from_slice(part);
        *data = rest;
        let ([a, b, c, sequence], Some(message)) = (self.header.as_slice(), &mut self.message) else {
            return Ok(false);
        };
        let length = u32::from_le_bytes([*a, *b, *c, 0]);
        let expected = if self.continues {
            Some(message.sequence.wrapping_add(1))
        } else {
            expect.sequence
        };
        if expected.is_some_and(|expected| expected != *sequence) {
            return Err("packet out of order");
        }
        message.sequence = *sequence;
        message.length += u64::from(length);
        message.counts.head_bytes += HEADER_BYTES as u64 + u64::from(length);
        self.remaining = length.into();
        self.continues = length == JOINED;
        self.header.clear();
        Ok(true)
    }

    fn take_payload<R: Fn(u8) -> usize>(&mut self, data: &mut &[u8], expect: &Expect<R>) {
        let Some(message) = &mut self.message else { return };
        let length = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(data.len());
        let (taken, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
        if let Some(first) = taken.first() {
            let is_begin = self.room.is_none();
            let room = self.room.get_or_insert_with(|| (expect.room)(*first));
            if is_begin {
                message.first = Some(*first);
            }
            let wanted = (*room).min(taken.len());
            message
                .kept
                .extend_from_slice(taken.get(..wanted).unwrap_or_default());
            *room -= wanted;
            message.is_whole &= wanted == taken.len();
        }
        self.remaining -= taken.len() as u64;
        *data = rest;
    }

    fn finish(&mut self, time: Time) -> Taken {
        if self.remaining > 0 || self.continues {
            return Taken::Some;
        }
        self.room = None;
        match self.message.take() {
            Some(mut message) => {
                message.ended = time;
                Taken::Whole(message)
            }
            None => Taken::Some,
        }
    }

    /// Passes over missing bytes inside of a packet; `None` when they lie elsewhere.
    pub(super) fn pass(&mut self, length: u64, time: Time) -> Option<Taken> {
        if self.is_lost || length > self.remaining {
            return None;
        }
        let message = self.message.as_mut()?;
        self.remaining -= length;
        self.room = Some(0);
        message.is_whole = false;
        message.counts.gap_bytes += length;
        Some(self.finish(time))
    }

    /// Gives up most of what is held, and goes on.
    pub(super) fn shed(&mut self) {
        if let Some(message) = &mut self.message
            && message.kept.len() > SHORT_BYTES
        {
            message.kept.truncate(SHORT_BYTES);
            message.kept.shrink_to_fit();
            message.is_whole = false;
            self.room = Some(0);
        }
    }

    /// Looks for the next message from here on: right here if `may_try`, else where the other side has had its turn.
    pub(super) fn lose(&mut self, reason: Option<&'static str>, may_try: bool) {
        let begun = self
            .message
            .take()
            .map_or(0, |message| message.counts.head_bytes - self.remaining);
        self.dropped += begun + (self.header.len() + self.probe.len()) as u64;
        self.header.clear();
        self.probe.clear();
        self.remaining = 0;
        self.continues = false;
        self.room = None;
        self.reason = self.reason.or(reason);
        self.is_lost = true;
        self.may_try = may_try;
    }

    /// The other side sent something: what this one sends next begins a message.
    pub(super) fn turn(&mut self) {
        if self.is_lost {
            self.dropped += self.probe.len() as u64;
            self.probe.clear();
            self.may_try = true;
        }
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

    fn search<R: Fn(u8) -> usize>(&mut self, data: &mut &[u8], time: Time, expect: &Expect<R>) -> Taken {
        while self.may_try {
            let Some((byte, rest)) = data.split_first() else {
                return Taken::Some;
            };
            *data = rest;
            self.probe.push(*byte);
            let fit = match self.side {
                Side::Client => start::command(&self.probe),
                Side::Server => start::reply(&self.probe, expect.sequence),
            };
            match fit {
                Fit::Maybe => {}
                Fit::No => {
                    self.dropped += self.probe.len() as u64;
                    self.probe.clear();
                    self.may_try = false;
                }
                Fit::Yes => {
                    let probe = std::mem::take(&mut self.probe);
                    self.is_lost = false;
                    self.may_try = false;
                    // It is a part of one packet, so that nothing is left of it.
                    return self.take(&mut probe.as_slice(), time, expect);
                }
            }
        }
        self.dropped += data.len() as u64;
        *data = &[];
        Taken::Some
    }
}
