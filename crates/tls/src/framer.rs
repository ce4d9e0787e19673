//! From pieces of a byte stream to records.

use bytes::{Buf, Bytes, BytesMut};

use crate::Time;
use crate::queue::{Item, Queue};
use crate::record::{HEADER_LENGTH, Header, Record};

/// Where the framer stands.
#[derive(Debug)]
enum Mode {
    /// At or in a record whose bytes are all there.
    Synced,
    /// In a record that lost bytes; `left` bytes of it are still to come.
    Damaged { header: Header, left: usize },
    /// Nobody knows where the next record begins.
    Lost,
}

/// Cuts one direction into records. Whole records are slices of the input; the one record that spans pieces is
/// collected, at most one header and the longest body.
#[derive(Debug)]
pub(crate) struct Framer {
    mode: Mode,
    partial: BytesMut,
    /// Whether a record header was ever seen here.
    started: bool,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self {
            mode: Mode::Synced,
            partial: BytesMut::new(),
            started: false,
        }
    }

    /// Bytes of the unfinished record.
    pub(crate) fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Whether the next byte begins a record for certain.
    pub(crate) fn is_between_records(&self) -> bool {
        matches!(self.mode, Mode::Synced) && self.partial.is_empty()
    }

    /// Whether a record header was seen.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// The beginning of the unfinished record.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// The next bytes.
    pub(crate) fn bytes(&mut self, mut data: Bytes, time: Time, queue: &mut Queue) {
        while !data.is_empty() {
            match self.mode {
                Mode::Lost => {
                    queue.push_raw(&data, time);
                    return;
                }
                Mode::Damaged { header, left } => {
                    let count = left.min(data.len());
                    data.advance(count);
                    self.damaged(header, left - count, time, queue);
                }
                Mode::Synced if self.partial.is_empty() => self.whole(&mut data, time, queue),
                Mode::Synced => self.join(&mut data, time, queue),
            }
        }
    }

    /// `length` bytes are missing here.
    pub(crate) fn gap(&mut self, length: u64, time: Time, queue: &mut Queue) {
        if length == 0 {
            return;
        }
        match self.mode {
            Mode::Lost => queue.push(Item::Hole { length, time }),
            Mode::Damaged { header, left } => {
                let inside = usize::try_from(length).map_or(left, |length| length.min(left));
                let outside = length - inside as u64;
                self.damaged(header, left - inside, time, queue);
                if outside > 0 {
                    self.mode = Mode::Lost;
                    queue.push(Item::Hole {
                        length: outside,
                        time,
                    });
                }
            }
            Mode::Synced => {
                let seen = self.partial.len();
                let header = Header::parse(&self.partial);
                self.partial = BytesMut::new();
                if let Some(header) = header {
                    let left = header.wire_length().saturating_sub(seen);
                    self.mode = Mode::Damaged { header, left };
                    self.gap(length, time, queue);
                } else {
                    self.mode = Mode::Lost;
                    let length = length.saturating_add(seen as u64);
                    queue.push(Item::Hole { length, time });
                }
            }
        }
    }

    /// A record begins at the first of the raw bytes in `queue`: frames what waits there.
    pub(crate) fn resume(&mut self, queue: &mut Queue) {
        self.mode = Mode::Synced;
        for item in queue.take() {
            match item {
                Item::Raw(raw) => {
                    for (piece, time) in raw.into_pieces() {
                        self.bytes(piece, time, queue);
                    }
                }
                Item::Hole { length, time } => self.gap(length, time, queue),
                Item::Record(_) | Item::Damaged { .. } => queue.push(item),
            }
        }
    }

    /// The boundaries cannot be trusted: turns everything in `queue` back into raw bytes and holes.
    pub(crate) fn lose(&mut self, time: Time, queue: &mut Queue) {
        for item in queue.take() {
            match item {
                Item::Record(record) => {
                    queue.push_raw(&record.header.encode(), record.time);
                    queue.push_raw(&record.body, record.time);
                }
                Item::Damaged { header, time } => queue.push(Item::Hole {
                    length: header.wire_length() as u64,
                    time,
                }),
                Item::Raw(raw) => {
                    for (piece, time) in raw.into_pieces() {
                        queue.push_raw(&piece, time);
                    }
                }
                Item::Hole { .. } => queue.push(item),
            }
        }
        if let Mode::Damaged { header, left } = self.mode {
            queue.push(Item::Hole {
                length: (header.wire_length() - left) as u64,
                time,
            });
        }
        queue.push_raw(&std::mem::take(&mut self.partial), time);
        self.mode = Mode::Lost;
    }

    /// The record that lost bytes and whose end did not come, if any; it is forgotten.
    pub(crate) fn abandon(&mut self) -> Option<Header> {
        let Mode::Damaged { header, .. } = self.mode else {
            return None;
        };
        self.mode = Mode::Lost;
        Some(header)
    }

    fn damaged(&mut self, header: Header, left: usize, time: Time, queue: &mut Queue) {
        if left == 0 {
            queue.push(Item::Damaged { header, time });
            self.mode = Mode::Synced;
        } else {
            self.mode = Mode::Damaged { header, left };
        }
    }

    /// Takes a record out of `data`, or puts the rest of `data` aside.
    fn whole(&mut self, data: &mut Bytes, time: Time, queue: &mut Queue) {
        if data.len() < HEADER_LENGTH {
            self.partial.extend_from_slice(data);
            data.clear();
            return;
        }
        let Some(header) = Header::parse(data) else {
            self.mode = Mode::Lost;
            return;
        };
        self.started = true;
        if data.len() < header.wire_length() {
            self.partial.reserve(header.wire_length());
            self.partial.extend_from_slice(data);
            data.clear();
            return;
        }
        data.advance(HEADER_LENGTH);
        queue.push(Item::Record(Record {
            header,
            body: data.split_to(header.body_length()),
            time,
            owned: false,
        }));
    }

    /// Goes on with the record that spans pieces.
    fn join(&mut self, data: &mut Bytes, time: Time, queue: &mut Queue) {
        if self.partial.len() < HEADER_LENGTH {
            let count = data.len().min(HEADER_LENGTH - self.partial.len());
            self.partial.extend_from_slice(&data.split_to(count));
            if self.partial.len() < HEADER_LENGTH {
                return;
            }
        }
        let Some(header) = Header::parse(&self.partial) else {
            queue.push_raw(&std::mem::take(&mut self.partial), time);
            self.mode = Mode::Lost;
            return;
        };
        self.started = true;
        let missing = header.wire_length().saturating_sub(self.partial.len());
        self.partial.reserve(missing);
        let count = missing.min(data.len());
        self.partial.extend_from_slice(&data.split_to(count));
        if count == missing {
            let mut body = std::mem::take(&mut self.partial).freeze();
            body.advance(HEADER_LENGTH);
            queue.push(Item::Record(Record {
                header,
                body,
                time,
                owned: true,
            }));
        }
    }
}
