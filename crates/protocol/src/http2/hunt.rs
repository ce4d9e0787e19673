//! Finding frames in bytes that begin anywhere (`protocols.md` 4.4).

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::{self, CHAIN, HEADER_BYTES};
use crate::Time;

/// Bytes held while searching. Frames larger than this can still be chained, only not replayed.
const BUFFER_BYTES: usize = 256 << 10;

/// Possible chains followed at once. Random bytes yield about one in a million.
const CHAINS: usize = 64;

/// Piece boundaries remembered; more only come from pieces of a few bytes.
const MARKS: usize = 4096;

/// Positions count the bytes since the search began.
type Position = u64;

/// Plausible headers, each where the one before says.
#[derive(Debug)]
struct Chain {
    first: Position,
    last: Position,
    next: Position,
    headers: u32,
    /// Begins where a piece of data began, so where the sender may well have begun a frame.
    at_boundary: bool,
}

#[derive(Debug)]
struct Mark {
    at: Position,
    time: Time,
    boundary: bool,
}

/// A search in progress.
#[derive(Debug, Default)]
pub(crate) struct Hunt {
    buffer: Vec<u8>,
    /// Position of the first byte of `buffer`.
    base: Position,
    /// Every position before this was tried.
    tried: Position,
    marks: VecDeque<Mark>,
    chains: Vec<Chain>,
}

/// Where frames begin again.
#[derive(Debug)]
pub(crate) struct Found {
    /// The bytes from the first whole frame held, in pieces with their times.
    pub(crate) pieces: Vec<(Bytes, Time)>,
    /// Bytes passed over.
    pub(crate) dropped: u64,
}

impl Hunt {
    /// Adds bytes. `boundary`: they begin where a write or read of the sender may have begun.
    pub(crate) fn push(&mut self, data: &[u8], time: Time, boundary: bool) {
        if data.is_empty() {
            return;
        }
        if self.marks.len() < MARKS {
            self.marks.push_back(Mark {
                at: self.end(),
                time,
                boundary,
            });
        }
        self.buffer.extend_from_slice(data);
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes seen since the search began.
    pub(crate) fn seen(&self) -> u64 {
        self.end()
    }

    /// Bytes are missing here; what came before them can no longer be joined to what follows.
    pub(crate) fn forget(&mut self) {
        let end = self.end();
        *self = Self {
            base: end,
            tried: end,
            ..Self::default()
        };
    }

    /// Looks for frames of at most `max_frame` bytes: three plausible headers in a row, or fewer from a boundary
    /// to exactly the end of the bytes. The earliest chain wins.
    pub(crate) fn find(&mut self, max_frame: u32) -> Option<Found> {
        self.try_new_positions(max_frame);
        self.follow_chains(max_frame);
        let end = self.end();
        let settled = |chain: &Chain| {
            chain.last >= self.base && (chain.headers >= CHAIN || (chain.at_boundary && chain.next == end))
        };
        let best = self
            .chains
            .iter()
            .filter(|chain| settled(chain) || chain.at_boundary)
            .min_by_key(|chain| chain.first)
            .filter(|chain| settled(chain))
            .map(|chain| {
                if chain.first >= self.base {
                    chain.first
                } else {
                    chain.last
                }
            });
        match best {
            Some(start) => Some(self.take_from(start)),
            None => {
                self.trim();
                None
            }
        }
    }

    fn end(&self) -> Position {
        self.base + self.buffer.len() as u64
    }

    fn offset(&self, position: Position) -> Option<usize> {
        usize::try_from(position.checked_sub(self.base)?).ok()
    }

    fn try_new_positions(&mut self, max_frame: u32) {
        let Some(start) = self.offset(self.tried) else {
            return;
        };
        for (index, window) in self.buffer.windows(HEADER_BYTES).enumerate().skip(start) {
            self.tried = self.base + index as u64 + 1;
            let Ok(bytes) = <[u8; HEADER_BYTES]>::try_from(window) else {
                continue;
            };
            let header = frame::FrameHeader::parse(bytes);
            if !header.is_plausible(max_frame) || self.chains.len() >= CHAINS {
                continue;
            }
            let first = self.base + index as u64;
            let mark = self.marks.binary_search_by_key(&first, |mark| mark.at);
            let at_boundary = mark.is_ok_and(|index| self.marks.get(index).is_some_and(|mark| mark.boundary));
            let next = first + HEADER_BYTES as u64 + u64::from(header.length);
            self.chains.push(Chain {
                first,
                last: first,
                next,
                headers: 1,
                at_boundary,
            });
        }
    }

    fn follow_chains(&mut self, max_frame: u32) {
        let (base, buffer) = (self.base, &self.buffer);
        self.chains.retain_mut(|chain| {
            while chain.headers < CHAIN {
                let Some(offset) = chain
                    .next
                    .checked_sub(base)
                    .and_then(|at| usize::try_from(at).ok())
                else {
                    return false;
                };
                let Some(header) = frame::header_at(buffer, offset) else {
                    return true;
                };
                if !header.is_plausible(max_frame) {
                    return false;
                }
                chain.headers += 1;
                chain.last = chain.next;
                chain.next += HEADER_BYTES as u64 + u64::from(header.length);
            }
            true
        });
    }

    /// Hands out everything from `start` on and ends the search.
    fn take_from(&mut self, start: Position) -> Found {
        let data = Bytes::from(std::mem::take(&mut self.buffer));
        let starts: Vec<(Position, Time)> = self.marks.iter().map(|mark| (mark.at, mark.time)).collect();
        let end = self.base + data.len() as u64;
        let mut pieces = Vec::with_capacity(starts.len());
        for (index, &(at, time)) in starts.iter().enumerate() {
            let until = starts.get(index + 1).map_or(end, |&(next, _)| next);
            let range = at.max(start).saturating_sub(self.base)..until.saturating_sub(self.base);
            let (Ok(from), Ok(to)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
                continue;
            };
            if from < to {
                pieces.push((data.slice(from..to), time));
            }
        }
        *self = Self::default();
        Found {
            pieces,
            dropped: start,
        }
    }

    /// Lets go of bytes before the first chain, and of the oldest beyond the bound.
    fn trim(&mut self) {
        let wanted = self
            .chains
            .iter()
            .map(|chain| chain.first)
            .min()
            .unwrap_or(self.tried)
            .min(self.tried);
        let mut keep = wanted.max(self.base);
        let excess = self.buffer.len().saturating_sub(BUFFER_BYTES) as u64;
        if excess > 0 {
            // A quarter at a time, so that the copying below stays linear; untried bytes are never lost.
            keep = keep.max((self.base + excess + BUFFER_BYTES as u64 / 4).min(self.tried));
        }
        let Some(count) = self.offset(keep) else { return };
        if count == 0 || (count < 4096 && count < self.buffer.len() / 2) {
            return;
        }
        self.buffer.drain(..count);
        self.base = keep;
        while self.marks.get(1).is_some_and(|next| next.at <= keep) {
            self.marks.pop_front();
        }
        if let Some(first) = self.marks.front_mut().filter(|mark| mark.at < keep) {
            first.at = keep;
            first.boundary = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.resize(bytes.len() + length, b'.');
        bytes
    }

    fn joined(found: &Found) -> Vec<u8> {
        found.pieces.iter().flat_map(|(data, _)| data.to_vec()).collect()
    }

    #[test]
    fn three_frames_after_rubbish_are_found_however_the_bytes_are_cut() {
        let frames = [frame(20, 0, 0, 1), frame(4, 8, 0, 0), frame(5, 1, 4, 3)].concat();
        let bytes = [&b"end of some body "[..], &frames].concat();
        for size in 1..bytes.len() {
            let mut hunt = Hunt::default();
            let found = bytes.chunks(size).find_map(|piece| {
                hunt.push(piece, Time(7), false);
                hunt.find(1 << 14)
            });
            let found = found.unwrap();
            assert_eq!(found.dropped, 17, "pieces of {size}");
            assert!(frames.starts_with(&joined(&found)));
        }
    }

    #[test]
    fn one_frame_that_fills_its_piece_is_enough() {
        let mut hunt = Hunt::default();
        hunt.push(b"tail", Time(1), true);
        assert!(hunt.find(1 << 14).is_none());
        let request = frame(30, 1, 5, 9);
        hunt.push(&request[..9], Time(2), true);
        assert!(hunt.find(1 << 14).is_none());
        hunt.push(&request[9..], Time(3), true);
        let found = hunt.find(1 << 14).unwrap();
        assert_eq!((found.dropped, joined(&found)), (4, request));
        assert_eq!(
            found.pieces.iter().map(|(_, time)| time.0).collect::<Vec<_>>(),
            [2, 3]
        );
    }

    #[test]
    fn frames_larger_than_the_buffer_are_chained() {
        let bytes = [vec![b'.'; 1000], frame(400_000, 0, 0, 1).repeat(4)].concat();
        let mut hunt = Hunt::default();
        let mut fed = 0;
        let found = bytes.chunks(16_384).find_map(|piece| {
            fed += piece.len();
            hunt.push(piece, Time(1), false);
            assert!(hunt.held() <= BUFFER_BYTES + 16_384);
            hunt.find(1 << 20)
        });
        let found = found.unwrap();
        assert_eq!(found.dropped as usize, 1000 + 2 * 400_009);
        assert_eq!(joined(&found), bytes[1000 + 2 * 400_009..fed]);
    }

    #[test]
    fn arrays_of_small_integers_are_not_frames() {
        for value in [0u64, 1, 3, 256] {
            let mut hunt = Hunt::default();
            hunt.push(&value.to_be_bytes().repeat(2000), Time(1), true);
            assert!(hunt.find(1 << 20).is_none(), "{value}");
        }
    }
}
