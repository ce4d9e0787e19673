//! One direction of one layer, put in order by position (P-L1).

use std::collections::BTreeMap;

use bytes::Bytes;
use qtap_capture::{Data, KernelTime, Loss};

/// Bytes that may wait for the piece before them.
const WINDOW_BYTES: usize = 1 << 20;

/// A piece of a stream, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Captured bytes.
    Bytes {
        data: Bytes,
        time: KernelTime,
        /// They begin where a call began.
        call_start: bool,
    },
    /// Bytes that were not captured.
    Gap {
        length: u64,
        loss: Loss,
        time: KernelTime,
    },
}

/// A record, and what is known with it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) data: Bytes,
    /// Bytes missing after it.
    pub(crate) missing: Option<(u32, Loss)>,
    pub(crate) time: KernelTime,
    /// It begins where a call began.
    pub(crate) call_start: bool,
    /// Position of the other direction before which nothing more comes, where that is to be told before this record, and not before those that
    /// this one waits behind; 0 otherwise.
    pub(crate) other_settled: u64,
}

/// Puts records in order: drops what was seen before, holds what came early, and says what is missing.
#[derive(Debug)]
pub(crate) struct Reassembler {
    next: u64,
    early: BTreeMap<u64, Record>,
    early_bytes: usize,
    /// What is missing before this is lost, for what, and since when that is known.
    settled: (u64, Loss, KernelTime),
    duplicate_bytes: u64,
    /// Bytes that found no room in the queue, of stretches that were passed over before that was told.
    superseded: u64,
}

impl Default for Reassembler {
    fn default() -> Self {
        Self {
            next: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            settled: (0, Loss::RingFull, KernelTime(0)),
            duplicate_bytes: 0,
            superseded: 0,
        }
    }
}

impl Reassembler {
    /// Position of the next byte expected: all before it came out as a piece.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// Whether records wait for one before them.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.early.is_empty()
    }

    /// Nothing before `position` will come, where nothing came so far: what is missing is not known to have been there.
    pub(crate) fn begin(&mut self, position: u64) {
        if self.next == 0 && self.early.is_empty() {
            self.next = position;
        }
    }

    /// Bytes that found no room in the queue, and are not in any gap, as it was not known yet when their stretch was passed over.
    pub(crate) fn superseded(&self) -> u64 {
        // What waits was not wanted in the end.
        let waiting = (self.early.values()).filter_map(|record| match record.missing {
            Some((length, Loss::QueueFull)) => Some(u64::from(length)),
            _ => None,
        });
        self.superseded + waiting.sum::<u64>()
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.early_bytes
    }

    /// Takes `data` if all of it comes next and nothing waits behind it or is missing: it is a piece as it is.
    pub(crate) fn takes_next(&mut self, data: &Data) -> bool {
        let is_next = data.position == self.next
            && data.missing.is_none()
            && self.early.is_empty()
            && !data.bytes.is_empty();
        if is_next {
            self.next += data.bytes.len() as u64;
        }
        is_next
    }

    /// Whether a record at `position` has to wait behind others that wait.
    pub(crate) fn queues(&self, position: u64) -> bool {
        position > self.next && self.is_waiting()
    }

    /// Takes the record at `position`. Appends what is in order now to `out`, up to a record that is [due](Self::due).
    pub(crate) fn push(&mut self, position: u64, record: Record, out: &mut Vec<Piece>) {
        if position > self.next {
            self.keep(position, record);
            if self.early_bytes > WINDOW_BYTES {
                self.skip_to_early(Loss::RingFull, out);
            }
            return;
        }
        self.emit(position, record, out);
        self.go_on(out);
    }

    /// Where the first record that waits comes next: the position before which the other direction is to be settled first, and since when that is
    /// known.
    pub(crate) fn due(&self) -> Option<(u64, KernelTime)> {
        let (position, record) = self.early.first_key_value()?;
        (*position <= self.next && record.other_settled > 0).then_some((record.other_settled, record.time))
    }

    /// The record that is due waits for the other direction no longer. Appends what is in order now to `out`.
    pub(crate) fn pass_due(&mut self, out: &mut Vec<Piece>) {
        if let Some(mut first) = self.early.first_entry() {
            first.get_mut().other_settled = 0;
        }
        self.go_on(out);
    }

    /// Holds a record that came early; of two at one position, the longer.
    fn keep(&mut self, position: u64, record: Record) {
        let length = record.data.len();
        match self.early.get(&position).map(|held| held.data.len()) {
            Some(held) if held >= length => self.duplicate_bytes += length as u64,
            held => {
                self.early_bytes += length - held.unwrap_or(0);
                self.duplicate_bytes += held.unwrap_or(0) as u64;
                self.early.insert(position, record);
            }
        }
    }

    /// Declares everything before `end`, and before the records that wait, lost for `loss`.
    pub(crate) fn give_up(&mut self, end: u64, loss: Loss, time: KernelTime, out: &mut Vec<Piece>) {
        while self.is_waiting() {
            self.skip_to_early(loss, out);
        }
        self.settle(end, loss, time, out);
    }

    /// Declares what is missing before `end` lost for `loss`. Appends what is in order now to `out`, up to a record that is [due](Self::due).
    pub(crate) fn settle(&mut self, end: u64, loss: Loss, time: KernelTime, out: &mut Vec<Piece>) {
        if end > self.settled.0 {
            self.settled = (end, loss, time);
        }
        self.go_on(out);
    }

    /// Emits what is in order or known to be missing.
    fn go_on(&mut self, out: &mut Vec<Piece>) {
        let (end, loss, time) = self.settled;
        loop {
            self.drain(out);
            if self.next >= end || self.due().is_some() {
                return;
            }
            let first = self.early.first_key_value();
            let until = first.map_or(end, |(&first, _)| first.min(end));
            out.push(Piece::Gap {
                length: until - self.next,
                loss,
                time,
            });
            self.next = until;
        }
    }

    /// Gives up what is missing before the first record that waits, and the wait of that record for the other direction.
    pub(crate) fn skip_to_early(&mut self, loss: Loss, out: &mut Vec<Piece>) {
        if let Some((&position, record)) = self.early.first_key_value() {
            if position > self.next {
                out.push(Piece::Gap {
                    length: position - self.next,
                    loss,
                    time: record.time,
                });
                self.next = position;
            }
            self.pass_due(out);
        }
    }

    fn drain(&mut self, out: &mut Vec<Piece>) {
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.next || entry.get().other_settled > 0 {
                return;
            }
            let (position, record) = entry.remove_entry();
            self.early_bytes -= record.data.len();
            self.emit(position, record, out);
        }
    }

    /// Emits a record that begins at or before `next`, without what was emitted already.
    fn emit(&mut self, position: u64, record: Record, out: &mut Vec<Piece>) {
        let Record {
            mut data,
            missing,
            time,
            mut call_start,
            ..
        } = record;
        let seen = self.next.saturating_sub(position);
        let data_end = position + data.len() as u64;
        if seen > 0 {
            self.duplicate_bytes += seen.min(data.len() as u64);
            call_start = false;
        }
        if data_end > self.next {
            let fresh = data.split_off(usize::try_from(seen).unwrap_or(usize::MAX).min(data.len()));
            self.next = data_end;
            out.push(Piece::Bytes {
                data: fresh,
                time,
                call_start,
            });
        }
        if let Some((length, loss)) = missing {
            let end = data_end + u64::from(length);
            if loss == Loss::QueueFull {
                self.superseded += self.next.clamp(data_end, end) - data_end;
            }
            if end > self.next {
                out.push(Piece::Gap {
                    length: end - self.next,
                    loss,
                    time,
                });
                self.next = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_that_is_joined_begins_with_its_first_record_and_only_then() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        reassembler.begin(7);
        push(&mut reassembler, 7, "ab", &mut out);
        reassembler.begin(20);
        push(&mut reassembler, 9, "c", &mut out);
        assert_eq!(reassembler.position(), 10);
        assert!(out.iter().all(|piece| matches!(piece, Piece::Bytes { .. })));
    }

    fn record(data: Bytes, missing: Option<(u32, Loss)>) -> Record {
        Record {
            data,
            missing,
            time: KernelTime(1),
            call_start: true,
            other_settled: 0,
        }
    }

    fn push(reassembler: &mut Reassembler, position: u64, text: &'static str, out: &mut Vec<Piece>) {
        reassembler.push(position, record(Bytes::from_static(text.as_bytes()), None), out);
    }

    /// The pieces as text, with `_` for each missing byte.
    fn render(pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Bytes { data, .. } => String::from_utf8_lossy(data).into_owned(),
            Piece::Gap { length, .. } => "_".repeat(usize::try_from(*length).unwrap()),
        };
        pieces.iter().map(piece).collect()
    }

    /// P-L1.
    #[test]
    fn records_out_of_order_come_out_in_order() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        push(&mut reassembler, 3, "def", &mut out);
        assert!(out.is_empty() && reassembler.is_waiting() && reassembler.held() == 3);
        push(&mut reassembler, 0, "abc", &mut out);
        assert_eq!(render(&out), "abcdef");
        assert_eq!((reassembler.position(), reassembler.held()), (6, 0));
    }

    /// P-L1.
    #[test]
    fn bytes_seen_before_are_dropped() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        push(&mut reassembler, 0, "abcd", &mut out);
        push(&mut reassembler, 2, "cdef", &mut out);
        push(&mut reassembler, 0, "abc", &mut out);
        assert_eq!(render(&out), "abcdef");
        assert_eq!(reassembler.duplicate_bytes, 5);
    }

    /// P-L1.
    #[test]
    fn a_record_tells_what_is_missing_after_it() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        reassembler.push(
            0,
            record(Bytes::from_static(b"ab"), Some((3, Loss::CallCap))),
            &mut out,
        );
        push(&mut reassembler, 5, "f", &mut out);
        assert_eq!(render(&out), "ab___f");
    }

    #[test]
    fn what_was_passed_over_before_its_loss_was_told_is_in_no_gap() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        let told = |length| record(Bytes::new(), Some((length, Loss::QueueFull)));
        reassembler.settle(10, Loss::Skipped, KernelTime(1), &mut out);
        reassembler.push(2, told(6), &mut out);
        assert_eq!(reassembler.superseded(), 6);
        reassembler.push(8, told(4), &mut out);
        assert_eq!((reassembler.superseded(), reassembler.position()), (8, 12));
        let lost = |piece: &&Piece| {
            matches!(
                piece,
                Piece::Gap {
                    loss: Loss::QueueFull,
                    length: 2,
                    ..
                }
            )
        };
        assert_eq!((out.len(), out.iter().filter(lost).count()), (2, 1));
    }

    /// P-L1.
    #[test]
    fn what_never_came_is_a_gap_once_given_up() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        push(&mut reassembler, 2, "cd", &mut out);
        push(&mut reassembler, 6, "g", &mut out);
        reassembler.give_up(9, Loss::RingFull, KernelTime(2), &mut out);
        assert_eq!(render(&out), "__cd__g__");
    }

    #[test]
    fn what_is_settled_leaves_what_lies_beyond() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        push(&mut reassembler, 2, "cd", &mut out);
        push(&mut reassembler, 8, "i", &mut out);
        reassembler.settle(6, Loss::RingFull, KernelTime(2), &mut out);
        assert_eq!(render(&out), "__cd__");
        assert!(reassembler.is_waiting());
        push(&mut reassembler, 6, "gh", &mut out);
        assert_eq!(render(&out), "__cd__ghi");
    }

    /// P-L1.
    #[test]
    fn a_record_that_waits_behind_others_waits_for_the_other_direction_too() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        assert!(!reassembler.queues(2));
        push(&mut reassembler, 2, "cd", &mut out);
        assert!(reassembler.queues(4));
        let behind = Record {
            other_settled: 7,
            ..record(Bytes::from_static(b"ef"), None)
        };
        reassembler.push(4, behind, &mut out);
        assert_eq!(reassembler.due(), None, "it does not come next");
        reassembler.settle(8, Loss::RingFull, KernelTime(2), &mut out);
        assert_eq!(render(&out), "__cd");
        assert_eq!(reassembler.due(), Some((7, KernelTime(1))));
        reassembler.pass_due(&mut out);
        assert_eq!(render(&out), "__cdef__", "what was settled meanwhile");
        assert_eq!((reassembler.due(), reassembler.is_waiting()), (None, false));
    }

    #[test]
    fn what_is_given_up_waits_for_nothing() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        for (position, text) in [(2, "cd"), (5, "f")] {
            let record = Record {
                other_settled: 7,
                ..record(Bytes::from_static(text.as_bytes()), None)
            };
            reassembler.push(position, record, &mut out);
        }
        reassembler.give_up(7, Loss::RingFull, KernelTime(2), &mut out);
        assert_eq!(render(&out), "__cd_f_");
    }

    #[test]
    fn the_window_is_bounded() {
        let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
        let block = Bytes::from(vec![b'x'; 64 << 10]);
        for index in 0..40u64 {
            reassembler.push(1 + index * (64 << 10), record(block.clone(), None), &mut out);
            assert!(reassembler.held() <= WINDOW_BYTES + (64 << 10));
        }
        assert!(matches!(out.first(), Some(Piece::Gap { length: 1, .. })));
    }

    proptest! {
        #[test]
        fn any_order_and_overlap_gives_the_stream(
            cuts in proptest::collection::vec((0usize..200, 1usize..40), 1..60),
            seed in any::<u64>(),
        ) {
            let stream: Vec<u8> = (0..240u32).map(|byte| byte as u8).collect();
            let mut records: Vec<(usize, usize)> = cuts.iter().map(|&(at, length)| (at, (at + length).min(240))).collect();
            let rotate = usize::try_from(seed % records.len() as u64).unwrap();
            records.rotate_left(rotate);
            let (mut reassembler, mut out) = (Reassembler::default(), Vec::new());
            for &(from, to) in &records {
                let data = Bytes::copy_from_slice(&stream[from..to]);
                reassembler.push(from as u64, record(data, None), &mut out);
            }
            reassembler.give_up(240, Loss::RingFull, KernelTime(1), &mut out);
            let mut position = 0usize;
            for piece in &out {
                match piece {
                    Piece::Bytes { data, .. } => {
                        prop_assert_eq!(&data[..], &stream[position..position + data.len()]);
                        position += data.len();
                    }
                    Piece::Gap { length, .. } => {
                        let gap = usize::try_from(*length).unwrap();
                        let covered = records.iter().any(|&(from, to)| (position..position + gap).any(|at| from <= at && at < to));
                        prop_assert!(!covered, "a captured byte was declared lost");
                        position += gap;
                    }
                }
            }
            prop_assert_eq!(position, 240);
        }
    }
}
