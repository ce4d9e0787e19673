//! Collects the lines of a head or trailer section up to its blank line, bounded.

use bytes::{Buf, Bytes, BytesMut};

use super::{fields::Framing, grammar};
use crate::Time;

/// Bytes kept of one line beyond the limit: enough for the fields that decide framing.
const LATE_LINE_BYTES: usize = 1024;

/// What the first line must be.
pub(super) type LineCheck = fn(&[u8]) -> bool;

/// A whole head.
#[derive(Debug)]
pub(super) struct RawHead {
    /// Start line and fields, the blank line included unless cut.
    pub(super) bytes: Bytes,
    /// Bytes on the wire, leading blank lines included.
    pub(super) total: u64,
    /// Time of the first byte.
    pub(super) started: Time,
    /// Bytes beyond the limit were cut.
    pub(super) truncated: bool,
    /// What the fields beyond the limit say about the length of the body.
    pub(super) late: Framing,
}

/// Answer of [`Collector::feed`].
#[derive(Debug)]
pub(super) enum Collected {
    /// The head goes on.
    NeedMore,
    /// The head ended; the rest of the piece is what follows it.
    Head(RawHead),
    /// The first line is not what it must be. It was taken off the piece.
    BadLine,
}

/// Collects one head.
#[derive(Debug)]
pub(super) struct Collector {
    /// `None`: a trailer section, without start line, that may be empty.
    start_line: Option<LineCheck>,
    limit: usize,
    kept: BytesMut,
    line: LineShape,
    first_line_seen: bool,
    total: u64,
    started: Time,
    late: Option<Late>,
}

/// Shape of the line being read, whatever the split.
#[derive(Clone, Copy, Debug, Default)]
struct LineShape {
    length: usize,
    starts_with_cr: bool,
}

impl LineShape {
    fn extend(&mut self, bytes: &[u8]) {
        if self.length == 0 {
            self.starts_with_cr = bytes.first() == Some(&b'\r');
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    const fn is_blank(self) -> bool {
        self.length == 0 || (self.length == 1 && self.starts_with_cr)
    }
}

/// What lies beyond the limit, reduced to what framing needs.
#[derive(Debug, Default)]
struct Late {
    /// Length of what is whole in `kept`; 0 when the start line itself is too long.
    cut: usize,
    line: Vec<u8>,
    /// Last bytes of a start line that is too long: its version is there.
    tail: Vec<u8>,
    framing: Framing,
}

impl Collector {
    /// Collects a head whose first line passes `check`.
    pub(super) fn head(limit: usize, check: LineCheck) -> Self {
        Self::new(limit, Some(check))
    }

    /// Collects a trailer section.
    pub(super) fn trailers(limit: usize) -> Self {
        Self::new(limit, None)
    }

    fn new(limit: usize, start_line: Option<LineCheck>) -> Self {
        Self {
            start_line,
            limit: limit.max(LATE_LINE_BYTES),
            kept: BytesMut::new(),
            line: LineShape::default(),
            first_line_seen: false,
            total: 0,
            started: Time(0),
            late: None,
        }
    }

    /// Nothing but leading blank lines was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Bytes held in memory.
    pub(super) fn buffered(&self) -> usize {
        self.kept.len()
            + self
                .late
                .as_ref()
                .map_or(0, |late| late.line.len() + late.tail.len())
    }

    /// Bytes taken so far, kept or not.
    pub(super) fn taken(&self) -> u64 {
        self.total
    }

    /// What was kept so far.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// What was kept so far.
    pub(super) fn into_kept(self) -> Bytes {
        self.kept.freeze()
    }

    /// Takes leading blank lines off `data`; they count as part of the head that follows.
    pub(super) fn skip_blank(&mut self, data: &mut Bytes) {
        if self.start_line.is_some() && self.kept.is_empty() {
            let blank = data
                .iter()
                .position(|byte| !matches!(byte, b'\r' | b'\n'))
                .unwrap_or(data.len());
            self.total += blank as u64;
            data.advance(blank);
        }
    }

    /// Takes bytes off `data` up to the end of the head.
    pub(super) fn feed(&mut self, data: &mut Bytes, time: Time) -> Collected {
        self.skip_blank(data);
        if data.is_empty() {
            return Collected::NeedMore;
        }
        if self.kept.is_empty() {
            self.started = time;
        }
        let mut taken = 0;
        while let Some(rest) = data.get(taken..) {
            let Some(length) = memchr::memchr(b'\n', rest) else {
                break;
            };
            let line = rest.get(..length).unwrap_or_default();
            self.line.extend(line);
            taken += length + 1;
            let shape = std::mem::take(&mut self.line);
            if shape.is_blank() && (self.first_line_seen || self.start_line.is_none()) {
                return Collected::Head(self.finish(data, taken));
            }
            if !std::mem::replace(&mut self.first_line_seen, true) && !self.accepts(data, taken) {
                self.total += taken as u64;
                let _ = data.split_to(taken);
                return Collected::BadLine;
            }
        }
        self.line.extend(data.get(taken..).unwrap_or_default());
        self.absorb(data);
        data.clear();
        Collected::NeedMore
    }

    /// Checks the first line: what is kept and the first `taken` bytes of `data`. Of a line beyond the limit
    /// its beginning and its version are checked.
    fn accepts(&self, data: &[u8], taken: usize) -> bool {
        let Some(check) = self.start_line else { return true };
        let line = data.get(..taken).unwrap_or_default();
        if self.kept.is_empty() && taken <= self.limit {
            return check(grammar::strip_line_end(line));
        }
        let room = self.limit.saturating_sub(self.kept.len());
        let mut whole = [&self.kept[..], line.get(..room).unwrap_or(line)].concat();
        if taken > room {
            let tail = self.late.as_ref().map_or(&[][..], |late| &late.tail);
            whole.extend_from_slice(version_of(&[tail, line].concat()));
        }
        check(grammar::strip_line_end(&whole))
    }

    fn finish(&mut self, data: &mut Bytes, taken: usize) -> RawHead {
        let last = data.get(..taken).unwrap_or(data);
        let is_whole = self.kept.is_empty() && self.late.is_none() && taken <= self.limit;
        let whole = if is_whole {
            self.total += taken as u64;
            // A copy: slices of a head live as long as its transaction, what it came in must not.
            Bytes::copy_from_slice(last)
        } else {
            self.absorb(last);
            Bytes::new()
        };
        data.advance(taken.min(data.len()));
        let late = self.late.take();
        let truncated = late.is_some();
        let bytes = match &late {
            None if is_whole => whole,
            None => std::mem::take(&mut self.kept).freeze(),
            Some(late) => self.cut(late),
        };
        let late = late.map(|late| late.framing).unwrap_or_default();
        RawHead {
            bytes,
            total: self.total,
            started: self.started,
            truncated,
            late,
        }
    }

    /// What is whole of a head beyond the limit. A start line that is too long itself keeps its beginning
    /// and its version.
    fn cut(&mut self, late: &Late) -> Bytes {
        if late.cut > 0 {
            self.kept.truncate(late.cut);
        } else {
            self.kept.extend_from_slice(version_of(&late.tail));
            self.kept.extend_from_slice(b"\r\n");
        }
        std::mem::take(&mut self.kept).freeze()
    }

    /// Keeps `data` up to the limit; reduces the rest.
    fn absorb(&mut self, data: &[u8]) {
        self.total += data.len() as u64;
        let room = self.limit.saturating_sub(self.kept.len());
        let (kept, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
        if self.late.is_none() {
            self.kept.extend_from_slice(kept);
            if rest.is_empty() {
                return;
            }
            let cut = memchr::memrchr(b'\n', &self.kept).map_or(0, |last| last + 1);
            let line = self.kept.get(cut..).unwrap_or_default();
            let mut late = Late {
                cut,
                ..Late::default()
            };
            if cut > 0 {
                late.push(line);
            } else {
                late.tail = line
                    .get(line.len().saturating_sub(TAIL_BYTES)..)
                    .unwrap_or_default()
                    .to_vec();
            }
            self.late = Some(late);
        }
        if let Some(late) = &mut self.late {
            late.absorb(rest);
        }
    }
}

/// The blank and the version at the end of a request line; empty when there is none.
fn version_of(line: &[u8]) -> &[u8] {
    let line = grammar::strip_line_end(line);
    let last = line
        .iter()
        .rposition(|byte| *byte == b' ')
        .and_then(|at| line.get(at..))
        .unwrap_or_default();
    if grammar::version(grammar::trim(last)).is_some() {
        last
    } else {
        &[]
    }
}

/// `HTTP/1.1`, a blank before it, a line end after it, and some more.
const TAIL_BYTES: usize = 16;

impl Late {
    fn absorb(&mut self, mut data: &[u8]) {
        if self.cut == 0 && !self.tail.ends_with(b"\n") {
            let end = memchr::memchr(b'\n', data).map_or(data.len(), |at| at + 1);
            let (line, rest) = data.split_at_checked(end).unwrap_or((data, &[]));
            let recent = line
                .get(line.len().saturating_sub(TAIL_BYTES)..)
                .unwrap_or_default();
            self.tail.extend_from_slice(recent);
            let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..surplus);
            data = rest;
        }
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.push(piece);
            if piece.ends_with(b"\n") {
                self.framing.note_line(grammar::strip_line_end(&self.line));
                self.line.clear();
            }
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let room = LATE_LINE_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
}
