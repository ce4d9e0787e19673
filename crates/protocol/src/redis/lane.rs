//! One side of a connection: where its values begin and end, and how to find them again (P-R7).

use super::queue::Extent;
use super::reader::{Grammar, Reader, Sink, Step, is_type};
use crate::{Event, Side, Time};

/// What taking bytes came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    /// Nothing is whole yet.
    Some,
    /// A value is whole.
    Whole(Extent),
    /// What came is no value.
    Bad(&'static str),
}

/// A search for the next value.
#[derive(Clone, Copy, Debug)]
struct Seek {
    /// Bytes matched of `\r\n`.
    matched: u8,
    /// Why, if it was for bad bytes.
    reason: Option<&'static str>,
    dropped: u64,
    /// A place was found, and no value read there yet.
    is_trying: bool,
}

/// One side.
#[derive(Debug)]
pub(super) struct Lane {
    reader: Reader,
    grammar: Grammar,
    seek: Option<Seek>,
    extent: Extent,
    begun: bool,
}

impl Lane {
    pub(super) const fn new(grammar: Grammar, midstream: bool) -> Self {
        let seek = Seek {
            matched: 2,
            reason: None,
            dropped: 0,
            is_trying: false,
        };
        Self {
            reader: Reader::new(grammar),
            grammar,
            seek: if midstream { Some(seek) } else { None },
            extent: Extent {
                started: Time(0),
                ended: Time(0),
                bytes: 0,
                gap_bytes: 0,
            },
            begun: false,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.reader.held()
    }

    /// Takes bytes from the front of `data`, up to the end of a value.
    pub(super) fn take(&mut self, data: &mut &[u8], time: Time, sink: &mut dyn Sink) -> Taken {
        if self.seek.is_some_and(|seek| !seek.is_trying) {
            self.search(data);
            return Taken::Some;
        }
        self.begin(time);
        let before = data.len();
        let step = self.reader.feed(data, sink);
        self.extent.bytes += (before - data.len()) as u64;
        self.after(step, time)
    }

    /// Passes over missing bytes within a value; `None` when they lie elsewhere.
    pub(super) fn pass(&mut self, length: u64, time: Time, sink: &mut dyn Sink) -> Option<Taken> {
        let step = self.reader.pass(length, sink)?;
        self.extent.bytes += length;
        self.extent.gap_bytes += length;
        Some(self.after(step, time))
    }

    fn begin(&mut self, time: Time) {
        if !self.begun {
            self.begun = true;
            self.extent = Extent {
                started: time,
                ..Extent::default()
            };
        }
    }

    fn after(&mut self, step: Step, time: Time) -> Taken {
        match step {
            Step::NeedMore => Taken::Some,
            Step::Whole => {
                self.extent.ended = time;
                self.begun = false;
                Taken::Whole(self.extent)
            }
            Step::Bad(reason) => Taken::Bad(reason),
        }
    }

    /// Looks for the next value from here on.
    pub(super) fn seek(&mut self, reason: Option<&'static str>) {
        self.reader.reset();
        let former = self.seek.take();
        let dropped = former.map_or(0, |seek| seek.dropped) + if self.begun { self.extent.bytes } else { 0 };
        self.begun = false;
        self.seek = Some(Seek {
            // What follows a hole can be the beginning of a value; what follows bad bytes has to be told from them.
            matched: if reason.is_none() { 2 } else { 0 },
            reason: former.and_then(|seek| seek.reason).or(reason),
            dropped,
            is_trying: false,
        });
    }

    /// A good value was read: the search is over.
    pub(super) fn found(&mut self, side: Side, out: &mut Vec<Event>) {
        if let Some(Seek {
            reason: Some(reason),
            dropped,
            ..
        }) = self.seek.take()
        {
            out.push(Event::Resync {
                side,
                reason,
                dropped,
            });
        }
    }

    fn search(&mut self, data: &mut &[u8]) {
        let Some(seek) = &mut self.seek else { return };
        while let Some((&byte, rest)) = data.split_first() {
            if seek.matched == 2 && is_type(byte, self.grammar) {
                seek.is_trying = true;
                return;
            }
            seek.matched = match (byte, seek.matched) {
                (b'\r', _) => 1,
                (b'\n', 1) => 2,
                _ => 0,
            };
            seek.dropped += 1;
            *data = rest;
        }
    }
}
