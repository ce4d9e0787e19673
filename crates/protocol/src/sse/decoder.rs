//! Lines in, events out.

use bytes::{Bytes, BytesMut};

use crate::Time;

/// Bytes kept of a name, an id, and of a line that is neither.
const SHORT_BYTES: usize = 256;
/// Longest field name that has a meaning, `event` or `retry`, and its colon and blank.
const PREFIX_BYTES: usize = 7;

/// One event as a browser would dispatch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// First byte of its first line.
    pub started: Time,
    /// Its blank line.
    pub time: Time,
    /// `event`; empty for one without, which is a `message`.
    pub name: String,
    /// `id` in force, of this event or one before it.
    pub id: Option<String>,
    /// Bytes of its data, line ends between lines included.
    pub length: u64,
    /// First bytes of the data.
    pub data: Bytes,
    /// `data` is not all of it.
    pub truncated: bool,
}

/// What a stream came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Events.
    pub events: u64,
    /// Comment lines, which servers send to keep the connection open.
    pub comments: u64,
    /// Bytes of data of all events.
    pub bytes: u64,
    /// The longest.
    pub largest: u64,
    /// Events that a hole or the end of the stream cut.
    pub incomplete: u64,
    /// First byte of the first event.
    pub first: Option<Time>,
    /// End of the last event.
    pub last: Option<Time>,
    /// Last `id`.
    pub last_id: Option<String>,
    /// Last `retry`, milliseconds.
    pub retry_ms: Option<u64>,
}

/// The event under way.
#[derive(Debug, Default)]
struct Open {
    started: Option<Time>,
    name: Vec<u8>,
    data: BytesMut,
    length: u64,
    has_data: bool,
    truncated: bool,
}

/// What the line under way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Too short to tell.
    Start,
    Data,
    Event,
    Id,
    Retry,
    Comment,
    Other,
}

/// An event stream.
#[derive(Debug)]
pub struct Decoder {
    keep: usize,
    open: Open,
    line: Line,
    /// Beginning of the line, or its value if that is short.
    text: Vec<u8>,
    /// Bytes of the line so far.
    line_bytes: u64,
    /// The blank before the value was passed over, or is not there.
    in_value: bool,
    after_cr: bool,
    /// At the very beginning, where a byte order mark may stand.
    at_start: bool,
    /// Behind a hole: nothing is known until a blank line.
    lost: bool,
    traffic: Traffic,
}

impl Decoder {
    /// A decoder that keeps up to `keep` bytes of the data of each event.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self {
            keep,
            open: Open::default(),
            line: Line::Start,
            text: Vec::new(),
            line_bytes: 0,
            in_value: false,
            after_cr: false,
            at_start: true,
            lost: false,
            traffic: Traffic::default(),
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.open.data.capacity() + self.open.name.capacity() + self.text.capacity()
    }

    /// What it came to so far.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The next bytes; events that end in them are appended to `out`.
    pub fn bytes(&mut self, mut data: &[u8], time: Time, out: &mut Vec<ServerEvent>) {
        while let Some(&first) = data.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                data = data.get(1..).unwrap_or_default();
                continue;
            }
            let end = memchr::memchr2(b'\r', b'\n', data).unwrap_or(data.len());
            let (piece, rest) = data.split_at(end);
            self.extend(piece, time);
            let Some((&terminator, rest)) = rest.split_first() else {
                return;
            };
            self.after_cr = terminator == b'\r';
            self.end_line(time, out);
            data = rest;
        }
    }

    /// Bytes are missing here.
    pub fn gap(&mut self) {
        self.lose();
        self.after_cr = false;
    }

    /// Nothing more comes: an event without its blank line is not one.
    pub fn close(&mut self) {
        if self.open.has_data && !self.lost {
            self.traffic.incomplete += 1;
        }
        self.open = Open::default();
        self.text = Vec::new();
    }

    /// Memory is short: the event under way keeps no data.
    pub fn relieve(&mut self) {
        self.open.truncated |= !self.open.data.is_empty();
        self.open.data = BytesMut::new();
    }

    fn lose(&mut self) {
        if !std::mem::replace(&mut self.lost, true) {
            self.traffic.incomplete += 1;
        }
        self.open = Open::default();
        self.text.clear();
        self.line = Line::Other;
        self.line_bytes = 1;
        self.at_start = false;
    }

    /// A part of a line.
    fn extend(&mut self, mut piece: &[u8], time: Time) {
        if piece.is_empty() {
            return;
        }
        if !self.lost {
            self.open.started.get_or_insert(time);
        }
        self.line_bytes += piece.len() as u64;
        if self.line == Line::Start {
            piece = self.tell(piece);
            if self.line == Line::Start {
                return;
            }
        }
        self.value(piece);
    }

    /// Tells what the line is from its first bytes; returns what of `piece` belongs to its value.
    fn tell<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        for (index, byte) in piece.iter().enumerate() {
            self.text.push(*byte);
            if self.at_start && MARK.starts_with(&self.text) {
                if self.text == MARK {
                    self.text.clear();
                    self.line_bytes -= MARK.len() as u64;
                    self.at_start = false;
                }
                continue;
            }
            self.at_start = false;
            let is_colon = *byte == b':';
            if is_colon || self.text.len() > PREFIX_BYTES {
                let name = self.text.strip_suffix(b":").unwrap_or(&self.text);
                self.line = kind(name, is_colon);
                self.text.clear();
                self.in_value = false;
                return piece.get(index + 1..).unwrap_or_default();
            }
        }
        &[]
    }

    fn value(&mut self, mut piece: &[u8]) {
        if let (false, Some(first)) = (self.in_value, piece.first()) {
            self.in_value = true;
            if self.line == Line::Data {
                self.begin_data();
            }
            if *first == b' ' {
                piece = piece.get(1..).unwrap_or_default();
            }
        }
        match self.line {
            Line::Data => self.push_data(piece),
            Line::Event | Line::Id | Line::Retry => {
                let room = SHORT_BYTES.saturating_sub(self.text.len());
                self.text.extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
            Line::Start | Line::Comment | Line::Other => {}
        }
    }

    /// Lines of data are joined by line ends.
    fn begin_data(&mut self) {
        if std::mem::replace(&mut self.open.has_data, true) {
            self.push_data(b"\n");
        }
    }

    fn push_data(&mut self, piece: &[u8]) {
        let room = if self.open.truncated {
            0
        } else {
            self.keep.saturating_sub(self.open.data.len())
        };
        let kept = piece.get(..room).unwrap_or(piece);
        self.open.data.extend_from_slice(kept);
        self.open.truncated |= kept.len() < piece.len() && self.keep > 0;
        self.open.length += piece.len() as u64;
    }

    fn end_line(&mut self, time: Time, out: &mut Vec<ServerEvent>) {
        let is_blank = self.line_bytes == 0;
        if self.line == Line::Start && !is_blank {
            // A line without colon is a field without value.
            self.line = kind(&self.text, true);
            self.text.clear();
            self.in_value = false;
        }
        if self.line == Line::Data && !self.in_value {
            self.begin_data();
        }
        match self.line {
            Line::Event => self.open.name = std::mem::take(&mut self.text),
            Line::Id if !self.text.contains(&0) => self.traffic.last_id = Some(lossy(&self.text)),
            Line::Retry => {
                let digits = std::str::from_utf8(&self.text).ok();
                let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                self.traffic.retry_ms = digits
                    .and_then(|text| text.parse().ok())
                    .or(self.traffic.retry_ms);
            }
            Line::Comment => self.traffic.comments += 1,
            Line::Start | Line::Data | Line::Id | Line::Other => {}
        }
        self.text.clear();
        self.line = Line::Start;
        self.line_bytes = 0;
        self.in_value = false;
        self.at_start = false;
        if self.lost {
            // All lines up to the blank one are of no known event.
            self.lost = !is_blank;
            self.open = Open::default();
        } else if is_blank {
            self.dispatch(time, out);
        }
    }

    fn dispatch(&mut self, time: Time, out: &mut Vec<ServerEvent>) {
        let open = std::mem::take(&mut self.open);
        let (true, Some(started)) = (open.has_data, open.started) else {
            return;
        };
        self.traffic.events += 1;
        self.traffic.bytes += open.length;
        self.traffic.largest = self.traffic.largest.max(open.length);
        self.traffic.first.get_or_insert(started);
        self.traffic.last = Some(time);
        out.push(ServerEvent {
            started,
            time,
            name: lossy(&open.name),
            id: self.traffic.last_id.clone(),
            length: open.length,
            data: open.data.freeze(),
            truncated: open.truncated,
        });
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a line with this field name is.
fn kind(name: &[u8], is_field: bool) -> Line {
    match name {
        _ if !is_field => Line::Other,
        b"" => Line::Comment,
        b"data" => Line::Data,
        b"event" => Line::Event,
        b"id" => Line::Id,
        b"retry" => Line::Retry,
        _ => Line::Other,
    }
}
