//! One side of a connection: where its messages begin and end, and how to find them again.

use bytes::{Buf, Bytes, BytesMut};

use super::Extent;
use super::detect::{LENGTH, Look, look};
use crate::{Side, Time};

/// A message between its lengths.
#[derive(Debug)]
pub(super) struct Framed {
    /// The message, up to the first byte that is missing.
    pub(super) bytes: Bytes,
    pub(super) extent: Extent,
}

/// A message that is not whole.
#[derive(Debug, Default)]
struct Partial {
    /// Its length on the wire, once that is known.
    length: Option<usize>,
    /// What came, without the length; up to the first hole.
    buffer: BytesMut,
    /// The first byte of the length, if it came alone.
    first: Option<u8>,
    extent: Extent,
}

/// One side.
#[derive(Debug)]
pub(super) struct Frames {
    side: Side,
    partial: Partial,
    /// Looking for the next message: what may be its beginning.
    search: Option<BytesMut>,
}

impl Frames {
    pub(super) fn new(side: Side, midstream: bool) -> Self {
        Self {
            side,
            partial: Partial::default(),
            search: midstream.then(BytesMut::new),
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.partial.buffer.len() + self.search.as_ref().map_or(0, BytesMut::len)
    }

    /// It is not known where messages begin.
    pub(super) const fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// Takes bytes from the front of `data`, up to the end of a message.
    pub(super) fn take(&mut self, data: &mut Bytes, time: Time) -> Option<Framed> {
        if self.search.is_some() {
            return self.find(data, time);
        }
        let partial = &mut self.partial;
        if data.has_remaining() && partial.extent.bytes == 0 {
            partial.extent.started = time;
        }
        partial.extent.ended = time;
        while partial.length.is_none() && data.has_remaining() {
            let byte = data.get_u8();
            partial.extent.bytes += 1;
            match partial.first.take() {
                None => partial.first = Some(byte),
                Some(first) => partial.length = Some(usize::from(u16::from_be_bytes([first, byte]))),
            }
        }
        let missing = partial.missing()?;
        let piece = data.split_to(missing.min(data.len()));
        partial.extent.bytes += piece.len() as u64;
        if partial.extent.gap_bytes == 0 {
            partial.buffer.extend_from_slice(&piece);
        }
        self.whole()
    }

    /// Passes over missing bytes, with the message that they end if they do. `Err`: they go beyond it, so that it is not known where
    /// messages begin.
    pub(super) fn pass(&mut self, length: u64, time: Time) -> Result<Option<Framed>, ()> {
        let partial = &mut self.partial;
        let fits = partial.missing().is_some_and(|missing| length <= missing as u64);
        if self.search.is_some() || !fits {
            return Err(());
        }
        partial.extent.bytes += length;
        partial.extent.gap_bytes += length;
        partial.extent.ended = time;
        Ok(self.whole())
    }

    /// Looks for the next message from here on.
    pub(super) fn seek(&mut self) {
        self.partial = Partial::default();
        self.search = Some(BytesMut::new());
    }

    fn whole(&mut self) -> Option<Framed> {
        if self.partial.missing() != Some(0) {
            return None;
        }
        let partial = std::mem::take(&mut self.partial);
        Some(Framed {
            bytes: partial.buffer.freeze(),
            extent: partial.extent,
        })
    }

    /// The next whole message, wherever it begins; as its first byte counts the one that made it whole. Cost: a look for each byte
    /// passed over.
    fn find(&mut self, data: &mut Bytes, time: Time) -> Option<Framed> {
        let mut held = self.search.take()?;
        held.extend_from_slice(data);
        loop {
            match look(&held, self.side) {
                Look::No => held.advance(1),
                Look::Maybe => {
                    data.clear();
                    self.search = Some(held);
                    return None;
                }
                Look::Message(length) => {
                    let mut message = held.split_to(length).freeze();
                    message.advance(LENGTH);
                    *data = held.freeze();
                    let extent = Extent {
                        started: time,
                        ended: time,
                        bytes: length as u64,
                        gap_bytes: 0,
                    };
                    return Some(Framed {
                        bytes: message,
                        extent,
                    });
                }
            }
        }
    }
}

impl Partial {
    /// Bytes that are to come; `None` while the length is not known.
    fn missing(&self) -> Option<usize> {
        let taken = usize::try_from(self.extent.bytes).unwrap_or(usize::MAX);
        Some((self.length? + LENGTH).saturating_sub(taken))
    }
}
