//! Batches of records (P-K5): counts and sizes of all, and the first few records of those of format 2.

use super::codecs::Codec;
use crate::command::excerpt;
use crate::{HIDDEN, Values};

/// Header of a batch of format 2, from its first offset to the number of records.
const HEADER_BYTES: usize = 61;
/// As much of it as says the format.
const FORMAT_BYTES: usize = 17;
/// Bytes of a batch kept for samples.
const KEPT_BYTES: usize = 64 << 10;
/// Records shown of one message.
pub(super) const SAMPLES: usize = 10;
/// Bytes shown of a key.
const KEY_BYTES: usize = 1024;
/// Bytes shown of a value: 256 characters at the most.
const VALUE_BYTES: usize = 256;
/// Headers of a record whose names are shown.
const HEADERS: usize = 8;

/// What the batches of one partition hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) messages: u64,
    /// Bytes as sent.
    pub(super) bytes: u64,
    pub(super) codec: Codec,
    /// What it says is not all.
    pub(super) is_partial: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload {
        left: u64,
    },
    /// Where batches begin is not known any more.
    Lost,
}

/// A batch whose header was read.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    messages: u64,
    codec: Codec,
    is_sampled: bool,
    /// Bytes of it are missing.
    is_holed: bool,
}

/// The batches of one partition as they arrive.
#[derive(Debug)]
pub(super) struct Batches {
    /// What of records is shown.
    values: Values,
    state: State,
    header: Vec<u8>,
    kept: Vec<u8>,
    batch: Batch,
    total: Total,
    /// Lines that are still wanted, and the bytes that they may have.
    wanted: usize,
    room: usize,
    lines: Vec<String>,
}

impl Batches {
    pub(super) const fn new(values: Values) -> Self {
        Self {
            values,
            state: State::Header,
            header: Vec::new(),
            kept: Vec::new(),
            batch: Batch {
                messages: 0,
                codec: Codec::None,
                is_sampled: false,
                is_holed: false,
            },
            total: Total {
                messages: 0,
                bytes: 0,
                codec: Codec::None,
                is_partial: false,
            },
            wanted: 0,
            room: 0,
            lines: Vec::new(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.kept.len() + self.header.len() + self.lines.iter().map(String::len).sum::<usize>()
    }

    /// Batches begin, of which `wanted` records are to be shown in `room` bytes.
    pub(super) fn start(&mut self, wanted: usize, room: usize) {
        self.state = State::Header;
        self.header.clear();
        self.kept.clear();
        self.total = Total::default();
        self.lines.clear();
        let wanted = if self.values == Values::None { 0 } else { wanted };
        (self.wanted, self.room) = (wanted, room);
    }

    pub(super) fn bytes(&mut self, mut data: &[u8]) {
        self.total.bytes += data.len() as u64;
        while !data.is_empty() {
            match self.state {
                State::Header => self.fill_header(&mut data),
                State::Payload { left } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                    let (payload, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
                    if self.batch.is_sampled && !self.batch.is_holed {
                        let room = KEPT_BYTES.saturating_sub(self.kept.len());
                        self.kept
                            .extend_from_slice(payload.get(..room).unwrap_or(payload));
                    }
                    data = rest;
                    self.pass(left, length as u64);
                }
                State::Lost => return,
            }
        }
    }

    pub(super) fn gap(&mut self, length: u64) {
        self.total.bytes += length;
        match self.state {
            State::Payload { left } if length <= left => {
                self.batch.is_holed = true;
                self.pass(left, length);
            }
            _ => {
                self.state = State::Lost;
                self.total.is_partial = true;
            }
        }
    }

    /// All is there: what it holds, and lines for some of it.
    pub(super) fn end(&mut self) -> (Total, Vec<String>) {
        self.header.clear();
        self.kept.clear();
        (self.total, std::mem::take(&mut self.lines))
    }

    fn fill_header(&mut self, data: &mut &[u8]) {
        let wanted = match self.header.get(FORMAT_BYTES - 1) {
            None => FORMAT_BYTES,
            Some(_) => HEADER_BYTES,
        };
        let length = (wanted - self.header.len()).min(data.len());
        let (taken, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
        self.header.extend_from_slice(taken);
        *data = rest;
        if self.header.len() < wanted {
            return;
        }
        let Some((length, format)) = number::<4>(&self.header, 8)
            .map(u32::from_be_bytes)
            .zip(self.header.get(FORMAT_BYTES - 1).copied())
        else {
            return;
        };
        // The length counts from behind itself.
        let whole = u64::from(length) + 12;
        match format {
            2 if self.header.len() == FORMAT_BYTES => {}
            2 if whole >= HEADER_BYTES as u64 && length < 1 << 31 => self.begin(whole - HEADER_BYTES as u64),
            // A message of its own, or a compressed set of them.
            0 | 1 if (14..1 << 31).contains(&length) => {
                self.batch = Batch {
                    messages: 1,
                    ..Batch::default()
                };
                self.enter(whole - FORMAT_BYTES as u64);
            }
            _ => {
                self.state = State::Lost;
                self.total.is_partial = true;
            }
        }
    }

    fn begin(&mut self, payload: u64) {
        let attributes = number::<2>(&self.header, 21).map_or(0, u16::from_be_bytes);
        let count = number::<4>(&self.header, 57).map_or(0, i32::from_be_bytes);
        let is_control = attributes & 0x20 != 0;
        let messages = if is_control {
            0
        } else {
            u64::try_from(count).unwrap_or(0)
        };
        self.batch = Batch {
            messages,
            codec: Codec::of(attributes),
            is_sampled: messages > 0 && self.lines.len() < self.wanted && self.room > 0,
            is_holed: false,
        };
        self.enter(payload);
    }

    fn enter(&mut self, payload: u64) {
        self.header.clear();
        self.state = State::Payload { left: payload };
        self.pass(payload, 0);
    }

    /// `length` bytes of the `left` of a batch went by.
    fn pass(&mut self, left: u64, length: u64) {
        if length < left {
            self.state = State::Payload { left: left - length };
            return;
        }
        self.state = State::Header;
        self.total.messages = self.total.messages.saturating_add(self.batch.messages);
        if self.batch.codec != Codec::None {
            self.total.codec = self.batch.codec;
        }
        if self.batch.is_sampled {
            let payload = std::mem::take(&mut self.kept);
            self.sample(&self.batch.codec.decode(&payload));
        }
    }

    /// Makes lines of the first of the records in `data`, whose end may be missing.
    fn sample(&mut self, data: &[u8]) {
        let mut rest = data;
        for _ in 0..self.batch.messages {
            if self.lines.len() >= self.wanted {
                return;
            }
            let Some(line) = record(&mut rest, self.values) else {
                return;
            };
            if line.len() > self.room {
                self.room = 0;
                return;
            }
            self.room -= line.len();
            self.lines.push(line);
        }
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The first record of `data` as a line: key, names of the headers, value. What headers hold is often meant for machines, and sometimes
/// a credential.
fn record(data: &mut &[u8], values: Values) -> Option<String> {
    let length = usize::try_from(zigzag(data)?).ok()?;
    let is_cut = data.len() < length;
    let (mut fields, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
    *data = rest;
    let fields = &mut fields;
    let (_attributes, after) = fields.split_first()?;
    *fields = after;
    let (_time, _offset) = (zigzag(fields)?, zigzag(fields)?);
    let mut line = String::with_capacity(fields.len().min(KEY_BYTES + VALUE_BYTES) + 16);
    if let Some(key) = bytes(fields)? {
        line.push_str("key=");
        add(&mut line, key, KEY_BYTES);
        line.push(' ');
    }
    let value = bytes(fields)?;
    if is_cut && value.is_some_and(<[u8]>::is_empty) {
        return None;
    }
    if !is_cut {
        let count = zigzag(fields)?.clamp(0, HEADERS as i64);
        for number in 0..count {
            line.push_str(if number == 0 { "headers=" } else { "," });
            line.push_str(&excerpt(bytes(fields)??, 64).0);
            bytes(fields)?;
        }
        if count > 0 {
            line.push(' ');
        }
    }
    match value {
        Some(_) if values != Values::Full => line.push_str(HIDDEN),
        Some(value) => add(&mut line, value, VALUE_BYTES),
        None => line.push_str("null"),
    }
    Some(line)
}

/// Adds what `limit` lets through of a text.
fn add(line: &mut String, text: &[u8], limit: usize) {
    let (text, is_long) = excerpt(text, limit);
    line.push_str(&text);
    line.push_str(if is_long { "…" } else { "" });
}

/// Bytes with their length; what is there of them when they are cut. Inner `None` is null.
#[expect(clippy::option_option, reason = "a null is not an end")]
fn bytes<'a>(data: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(zigzag(data)?) else {
        return Some(None);
    };
    let (bytes, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
    *data = rest;
    Some(Some(bytes))
}

/// A signed number of seven bits a byte, its sign in the lowest bit.
fn zigzag(data: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}
