//! One side of a connection: frames of a length and so many bytes, and how to find them again (P-K9).

use super::schema::{self, Api};
use super::sink::{Sink, Start, Step};
use super::walker::Walker;
use crate::{Counts, Event, Side, Time};

/// Longest frame.
pub(super) const FRAME_BYTES: u32 = 100 << 20;
/// Length, key, version, correlation id.
const REQUEST_BYTES: usize = 12;
/// Length, correlation id.
const REPLY_BYTES: usize = 8;
/// Bytes looked at in a search for a request: with the length of the client's name.
const SEARCH_BYTES: usize = REQUEST_BYTES + 2;

/// Header of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
}

impl Head {
    /// Behind the length.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let correlation = rest.first_chunk()?;
        Some(Self {
            key: i16::from_be_bytes(*key),
            version: i16::from_be_bytes(*version),
            correlation: i32::from_be_bytes(*correlation),
        })
    }

    /// Whether the whole of the message is described; `None` for no API of Kafka's.
    pub(super) fn api(&self) -> Option<&'static Api> {
        schema::api(self.key)
    }

    /// Whether it can be a header, of an API that is not known here too.
    pub(super) fn is_possible(&self) -> bool {
        (0..=255).contains(&self.key) && (0..=31).contains(&self.version)
    }

    /// Whether it is one that is described.
    pub(super) fn is_known(&self) -> bool {
        self.api().is_some_and(|api| api.describes(self.version))
    }

    /// How its frame is laid out.
    pub(super) fn start(&self) -> Start {
        let api = self.api().filter(|api| api.describes(self.version));
        Start {
            fields: api.map_or(&[], |api| api.request),
            version: self.version,
            flexible: api.is_some_and(|api| api.is_flexible(self.version)),
            is_open: api.is_none(),
            falls_back: false,
            has_client: true,
            has_header_tags: api.is_some_and(|api| api.is_flexible(self.version)),
        }
    }
}

/// First and last byte of a frame, and its size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) started: Time,
    pub(super) ended: Time,
    bytes: u64,
    gap_bytes: u64,
}

impl Extent {
    pub(super) const fn counts(&self) -> Counts {
        Counts {
            head_bytes: self.bytes,
            body_bytes: 0,
            gap_bytes: self.gap_bytes,
        }
    }

    pub(super) const fn has_gap(&self) -> bool {
        self.gap_bytes > 0
    }
}

/// Bytes without a frame that count as one more bad message.
const LONG_BYTES: u64 = 64 << 10;

/// What follows the length of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    /// A message.
    Kafka,
    /// A token of SASL.
    Raw,
    /// A message or a token.
    Either,
}

/// What taking bytes came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    /// More bytes are needed.
    Some,
    /// The header of a frame is there: say how it goes on, with [`Lane::enter`].
    Head,
    /// A frame is whole.
    Whole(Extent),
    /// What came is no frame.
    Bad(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// The rest of a frame.
    Body {
        left: u64,
        /// It cannot be understood, or need not be.
        is_opaque: bool,
    },
    Search,
}

/// A search for the next frame.
#[derive(Clone, Copy, Debug)]
struct Seek {
    /// Why, if it was for bad bytes.
    reason: Option<&'static str>,
    dropped: u64,
}

/// One side.
#[derive(Debug)]
pub(super) struct Lane {
    side: Side,
    state: State,
    head: Vec<u8>,
    pub(super) walker: Walker,
    /// The message under way cannot be read.
    pub(super) is_unread: bool,
    /// There is no frame yet whose place is certain.
    seek: Option<Seek>,
    extent: Extent,
}

impl Lane {
    pub(super) fn new(side: Side, midstream: bool) -> Self {
        let seek = Seek {
            reason: None,
            dropped: 0,
        };
        Self {
            side,
            state: if midstream { State::Search } else { State::Head },
            head: Vec::new(),
            walker: Walker::idle(),
            is_unread: false,
            seek: midstream.then_some(seek),
            extent: Extent::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.head.len() + self.walker.held()
    }

    /// Whether the frame under way was found by a search, and may be none.
    pub(super) const fn is_trying(&self) -> bool {
        self.seek.is_some()
    }

    /// Whether a frame is under way whose header was read.
    pub(super) const fn is_inside(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    /// What the frame under way says of its length, and what is there of the rest of its header.
    pub(super) fn header(&self) -> (u32, &[u8]) {
        let (length, rest) = self.head.split_first_chunk().unwrap_or((&[0; 4], &[]));
        (u32::from_be_bytes(*length), rest)
    }

    /// Takes bytes from the front of `data`, up to the end of a header or of a frame. `is_likely`: whether a frame may begin with these
    /// bytes.
    pub(super) fn take(
        &mut self,
        data: &mut &[u8],
        time: Time,
        frame: Frame,
        is_likely: impl Fn(&[u8]) -> bool,
        sink: &mut dyn Sink,
    ) -> Taken {
        match self.state {
            State::Search => {
                let found = self.search(data, time, is_likely);
                match found {
                    // It holds a whole header.
                    Some(true) => self.fill(data, time, frame),
                    Some(false) => Taken::Bad("no frame for long"),
                    None => Taken::Some,
                }
            }
            State::Head => self.fill(data, time, frame),
            State::Body { left, is_opaque } => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                let (mut body, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
                let all = std::mem::replace(data, rest);
                self.extent.bytes += length as u64;
                let taken = self.body(left - length as u64, is_opaque, &mut body, time, sink);
                if let (Taken::Bad(_), true) = (taken, self.is_trying()) {
                    // It was no frame: what it was not read of may hold one.
                    *data = all.get(length - body.len()..).unwrap_or_default();
                    self.extent.bytes -= body.len() as u64;
                }
                taken
            }
        }
    }

    fn fill(&mut self, data: &mut &[u8], time: Time, frame: Frame) -> Taken {
        if self.head.is_empty() {
            self.extent = Extent {
                started: time,
                ..Extent::default()
            };
        }
        self.fill_to(4, data);
        if self.head.len() < 4 {
            return Taken::Some;
        }
        let (length, _) = self.header();
        let whole = usize::try_from(length).map_or(usize::MAX, |length| length.saturating_add(4));
        let header = match self.side {
            Side::Client => REQUEST_BYTES,
            Side::Server => REPLY_BYTES,
        };
        let wanted = match frame {
            Frame::Kafka => header,
            Frame::Raw => 4,
            Frame::Either => header.min(whole),
        };
        if length > FRAME_BYTES || whole < wanted {
            return Taken::Bad("a frame of an impossible length");
        }
        self.fill_to(wanted, data);
        if self.head.len() < wanted {
            Taken::Some
        } else {
            Taken::Head
        }
    }

    fn fill_to(&mut self, wanted: usize, data: &mut &[u8]) {
        let length = wanted.saturating_sub(self.head.len()).min(data.len());
        let (taken, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
        self.head.extend_from_slice(taken);
        *data = rest;
    }

    /// Goes on with the rest of the frame whose header was read, laid out as `start` says; without that it is passed over.
    pub(super) fn enter(&mut self, start: Option<&Start>, time: Time, sink: &mut dyn Sink) -> Taken {
        let header = match self.side {
            _ if start.is_none() => 4,
            Side::Client => REQUEST_BYTES,
            Side::Server => REPLY_BYTES,
        };
        let (length, _) = self.header();
        let mut head = std::mem::take(&mut self.head);
        let left = u64::from(length).saturating_sub(header as u64 - 4);
        self.extent.bytes = head.len() as u64;
        if let Some(start) = start {
            self.walker.start(start, left);
        }
        // A search looked further than the header.
        let mut rest = head.get(header..).unwrap_or_default();
        let left = left.saturating_sub(rest.len() as u64);
        let taken = self.body(left, start.is_none(), &mut rest, time, sink);
        head.clear();
        self.head = head;
        taken
    }

    fn body(
        &mut self,
        left: u64,
        is_opaque: bool,
        body: &mut &[u8],
        time: Time,
        sink: &mut dyn Sink,
    ) -> Taken {
        self.state = State::Body { left, is_opaque };
        if !is_opaque {
            let step = self.walker.feed(body, sink);
            let reason = match step {
                Step::Bad(reason) => Some(reason),
                // Some brokers write a byte too many, which no client minds; a place that was found by a search has to be exact.
                Step::Done if self.walker.is_open || !self.is_trying() => {
                    self.state = State::Body {
                        left,
                        is_opaque: true,
                    };
                    None
                }
                Step::Done if !body.is_empty() || left > 0 => Some("a message that ends before its frame"),
                Step::NeedMore if left == 0 && !self.walker.is_broken() => {
                    Some("a frame that ends within its message")
                }
                _ => None,
            };
            if let Some(reason) = reason {
                self.state = State::Body {
                    left,
                    is_opaque: true,
                };
                return Taken::Bad(reason);
            }
        }
        self.settle(time)
    }

    /// Ends the frame when nothing of it is left.
    pub(super) fn settle(&mut self, time: Time) -> Taken {
        if !matches!(self.state, State::Body { left: 0, .. }) {
            return Taken::Some;
        }
        self.state = State::Head;
        self.extent.ended = time;
        Taken::Whole(self.extent)
    }

    /// Passes over missing bytes within a frame; `None` when they lie elsewhere.
    pub(super) fn pass(&mut self, length: u64, time: Time, sink: &mut dyn Sink) -> Option<Taken> {
        if let (State::Head, true) = (self.state, self.head.len() >= 4) {
            // The header is lost, but not where its frame ends.
            let (whole, rest) = self.header();
            let left = u64::from(whole).saturating_sub(rest.len() as u64);
            if self.is_trying() || whole > FRAME_BYTES || length > left {
                return None;
            }
            self.extent.bytes = self.head.len() as u64;
            self.state = State::Body {
                left,
                is_opaque: true,
            };
            self.head.clear();
        }
        let State::Body { left, is_opaque } = self.state else {
            return None;
        };
        if length > left {
            return None;
        }
        self.extent.bytes += length;
        self.extent.gap_bytes += length;
        if !is_opaque {
            self.walker.gap(length, sink);
        }
        Some(self.body(left - length, is_opaque, &mut (&[] as &[u8]), time, sink))
    }

    /// The frame under way with what will not come of it.
    pub(super) fn cut(&mut self, time: Time) -> Extent {
        if let State::Body { left, .. } = self.state {
            self.extent.gap_bytes += left;
            self.extent.bytes += left;
        }
        self.extent.ended = time;
        self.extent
    }

    /// Looks for the next frame from here on, or from the second byte of a header that is none, if the bytes behind it follow.
    pub(super) fn seek(&mut self, reason: Option<&'static str>, follows: bool) {
        let former = self.seek.take();
        let kept = if follows {
            self.head.len().saturating_sub(1)
        } else {
            0
        };
        let under_way = if self.is_inside() {
            self.extent.bytes
        } else {
            (self.head.len() - kept) as u64
        };
        self.head.drain(..self.head.len() - kept);
        self.seek = Some(Seek {
            reason: former.and_then(|seek| seek.reason).or(reason),
            dropped: former.map_or(0, |seek| seek.dropped) + under_way,
        });
        self.is_unread = false;
        self.state = State::Search;
    }

    /// Whether the search under way is for bad bytes.
    pub(super) fn is_seeking_after_bad(&self) -> bool {
        self.seek.is_some_and(|seek| seek.reason.is_some())
    }

    /// A good frame was read: the search is over.
    pub(super) fn found(&mut self, out: &mut Vec<Event>) {
        if let Some(Seek {
            reason: Some(reason),
            dropped,
        }) = self.seek.take()
        {
            out.push(Event::Resync {
                side: self.side,
                reason,
                dropped,
            });
        }
    }

    /// Tells whether it found a header; false when it has found none for long, after bad bytes.
    fn search(&mut self, data: &mut &[u8], time: Time, is_likely: impl Fn(&[u8]) -> bool) -> Option<bool> {
        let wanted = match self.side {
            Side::Client => SEARCH_BYTES,
            Side::Server => REPLY_BYTES,
        };
        while let Some((&byte, rest)) = data.split_first() {
            self.head.push(byte);
            *data = rest;
            if self.head.len() < wanted {
                continue;
            }
            let (length, _) = self.header();
            if (wanted as u32 - 4..=FRAME_BYTES).contains(&length) && is_likely(&self.head) {
                self.state = State::Head;
                self.extent = Extent {
                    started: time,
                    ..Extent::default()
                };
                return Some(true);
            }
            self.head.remove(0);
            if let Some(seek) = &mut self.seek {
                seek.dropped += 1;
                if seek.reason.is_some() && seek.dropped.is_multiple_of(LONG_BYTES) {
                    return Some(false);
                }
            }
        }
        None
    }
}
