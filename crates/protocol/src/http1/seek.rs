//! Search for the next message after loss, nonsense, or an attach in the middle (P-L2, P-D3).
//!
//! Only positions in the stream decide, never how it was cut into pieces, so that the same bytes give the
//! same events. A body seldom ends with a line end, so a start line may be glued to bytes before it.

use bytes::{Bytes, BytesMut};

use super::grammar;
use crate::{Side, Time};

/// Bytes kept of the end of a line that is still open.
const LINE_BYTES: usize = 8 << 10;

/// A search in progress.
#[derive(Debug)]
pub(super) struct Seek {
    side: Side,
    /// Why, fit for a metric label.
    pub(super) reason: &'static str,
    /// Bytes passed over for good.
    dropped: u64,
    /// End of the open line.
    line: BytesMut,
    line_started: Time,
    /// What came before the kept part of the line is not known.
    cut: bool,
}

/// A start line, at last.
#[derive(Debug)]
pub(super) struct Found {
    /// The line with its end.
    pub(super) line: Bytes,
    /// When it began.
    pub(super) started: Time,
}

impl Seek {
    /// A search from a place where a line need not begin.
    pub(super) fn after_cut(side: Side, reason: &'static str, dropped: u64) -> Self {
        Self {
            side,
            reason,
            dropped,
            line: BytesMut::new(),
            line_started: Time(0),
            cut: true,
        }
    }

    /// A search from the beginning of a line.
    pub(super) fn at_line_start(side: Side, reason: &'static str, dropped: u64) -> Self {
        Self {
            cut: false,
            ..Self::after_cut(side, reason, dropped)
        }
    }

    /// Bytes held in memory.
    pub(super) fn buffered(&self) -> usize {
        self.line.len()
    }

    /// Bytes passed over, the open line included.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.line.len() as u64
    }

    /// Bytes are missing here: the open line is lost.
    pub(super) fn gap(&mut self) {
        self.dropped += self.line.len() as u64;
        self.line.clear();
        self.cut = true;
    }

    /// Looks for a start line, taking bytes off `data` up to its end.
    pub(super) fn feed(&mut self, data: &mut Bytes, time: Time) -> Option<Found> {
        while !data.is_empty() {
            let end = memchr::memchr(b'\n', data).map(|at| at + 1);
            let piece = data.split_to(end.unwrap_or(data.len()));
            if self.line.is_empty() {
                self.line_started = time;
            }
            self.keep(&piece);
            end?;
            let mut line = std::mem::take(&mut self.line).freeze();
            let cut = std::mem::replace(&mut self.cut, false);
            let text = grammar::strip_line_end(&line);
            let start = match self.side {
                Side::Client => grammar::find_request_line(text, cut),
                Side::Server => grammar::find_status_line(text),
            };
            if let Some(start) = start {
                self.dropped += start as u64;
                let started = if start == 0 { self.line_started } else { time };
                return Some(Found {
                    line: line.split_off(start),
                    started,
                });
            }
            self.dropped += line.len() as u64;
        }
        None
    }

    /// Adds to the open line, of which only the end is kept.
    fn keep(&mut self, piece: &[u8]) {
        let recent = piece
            .get(piece.len().saturating_sub(LINE_BYTES)..)
            .unwrap_or_default();
        let surplus = (self.line.len() + piece.len()).saturating_sub(LINE_BYTES);
        if surplus > 0 {
            self.cut = true;
            self.dropped += surplus as u64;
            let _ = self.line.split_to(surplus.min(self.line.len()));
        }
        self.line.extend_from_slice(recent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(side: Side, bytes: &[u8]) -> Option<(Vec<u8>, u64)> {
        let mut seek = Seek::after_cut(side, "test", 0);
        let found = seek.feed(&mut Bytes::copy_from_slice(bytes), Time(1));
        found.map(|found| (found.line.to_vec(), seek.dropped()))
    }

    #[test]
    fn passes_over_what_is_no_start_line_and_counts_it() {
        let expected = Some((b"GET / HTTP/1.1\r\n".to_vec(), 9));
        assert_eq!(
            find(Side::Client, b"rest\r\n{}}GET / HTTP/1.1\r\nHost: a\r\n"),
            expected
        );
        let expected = Some((b"HTTP/1.1 200 OK\r\n".to_vec(), 3));
        assert_eq!(find(Side::Server, b"\x00\xffxHTTP/1.1 200 OK\r\n"), expected);
        assert_eq!(find(Side::Client, b"GET your coat\nPUT it on\n"), None);
    }

    #[test]
    fn an_endless_line_keeps_its_end_only_however_it_is_split() {
        for size in [1, 7, 100_000] {
            let mut seek = Seek::after_cut(Side::Server, "test", 0);
            let wire = [vec![b'x'; 50_000], b"HTTP/1.1 200 OK\r\n".to_vec()].concat();
            let mut found = None;
            for piece in wire.chunks(size) {
                found = found.or(seek.feed(&mut Bytes::copy_from_slice(piece), Time(1)));
                assert!(seek.buffered() <= LINE_BYTES);
            }
            assert_eq!(
                (found.unwrap().line.len(), seek.dropped()),
                (17, 50_000),
                "{size}"
            );
        }
    }
}
