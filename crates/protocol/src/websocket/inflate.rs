//! Inflation of messages with the window of those before them (RFC 7692 §7.2.2).
//!
//! The window is only what was inflated here. A message that refers further back, after a loss, fails to inflate instead of
//! coming out wrong: positions count from the newest byte, so what is known stays right.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// Farthest that deflate refers back.
const WINDOW_BYTES: usize = 32 << 10;
/// Bytes inflated at a time.
const STEP_BYTES: usize = 16 << 10;
/// Taken off the end of each message by its sender (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// One direction.
#[derive(Default)]
pub(super) struct Inflate {
    /// The last bytes that came out, at most 48 KiB.
    window: Vec<u8>,
    /// While a message is under way.
    state: Option<Box<DecompressorOxide>>,
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_open = self.state.is_some();
        write!(formatter, "Inflate({} bytes, {is_open})", self.window.len())
    }
}

/// The data are no deflate stream, or refer to what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

impl Inflate {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.window.capacity()
            + self
                .state
                .as_ref()
                .map_or(0, |_| std::mem::size_of::<DecompressorOxide>())
    }

    /// Inflates `data` and hands what comes out to `sink`, which says whether it takes more. After a failure nothing is known any
    /// more.
    pub(super) fn push(&mut self, data: &[u8], sink: impl FnMut(&[u8]) -> bool) -> Result<(), Corrupt> {
        let result = self.run(data, sink);
        if result.is_err() {
            self.forget();
        }
        result
    }

    fn run(&mut self, mut data: &[u8], mut sink: impl FnMut(&[u8]) -> bool) -> Result<(), Corrupt> {
        const FLAGS: u32 = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
            | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let state = self.state.get_or_insert_with(Box::default);
        loop {
            if self.window.len() > WINDOW_BYTES + STEP_BYTES {
                let surplus = self.window.len() - WINDOW_BYTES;
                self.window.drain(..surplus);
            }
            let known = self.window.len();
            self.window.resize(known + STEP_BYTES, 0);
            let (status, read, written) = decompress(state, data, &mut self.window, known, FLAGS);
            self.window.truncate(known + written);
            data = data.get(read..).unwrap_or_default();
            let fresh = self.window.get(known..).unwrap_or_default();
            if !fresh.is_empty() && !sink(fresh) {
                return Err(Corrupt);
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                // A last block may be followed by another stream (§7.2.3.4).
                TINFLStatus::Done => **state = DecompressorOxide::default(),
                TINFLStatus::NeedsMoreInput => return Ok(()),
                _ => return Err(Corrupt),
            }
            if data.is_empty() && status == TINFLStatus::Done {
                return Ok(());
            }
        }
    }

    /// The message ended.
    pub(super) fn end(&mut self, takeover: bool, sink: impl FnMut(&[u8]) -> bool) -> Result<(), Corrupt> {
        let result = self.push(&TAIL, sink);
        self.state = None;
        if !takeover {
            self.forget();
        }
        result
    }

    /// What came before is not known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflated(inflate: &mut Inflate, data: &[u8], takeover: bool) -> Result<Vec<u8>, Corrupt> {
        let mut out = Vec::new();
        inflate.push(data, |piece| {
            out.extend_from_slice(piece);
            true
        })?;
        inflate.end(takeover, |piece| {
            out.extend_from_slice(piece);
            true
        })?;
        Ok(out)
    }

    /// The two messages of RFC 7692 §7.2.3.2: the second refers to the first.
    #[test]
    fn the_window_is_taken_over() {
        let (first, second) = (b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x00\x11\x00\x00");
        let mut inflate = Inflate::default();
        assert_eq!(inflated(&mut inflate, first, true).unwrap(), b"Hello");
        assert_eq!(inflated(&mut inflate, second, true).unwrap(), b"Hello");
    }

    #[test]
    fn a_message_that_refers_to_what_is_lost_fails_instead_of_coming_out_wrong() {
        let mut inflate = Inflate::default();
        assert_eq!(
            inflated(&mut inflate, b"\xf2\x00\x11\x00\x00", true),
            Err(Corrupt)
        );
        assert_eq!(
            inflated(&mut inflate, b"\xf2\x48\xcd\xc9\xc9\x07\x00", true).unwrap(),
            b"Hello"
        );
    }

    /// §7.2.3.3 and §7.2.3.4: a stored block, and one with BFINAL.
    #[test]
    fn stored_and_last_blocks_are_messages_too() {
        let mut inflate = Inflate::default();
        assert_eq!(
            inflated(
                &mut inflate,
                b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
                true
            )
            .unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflated(&mut inflate, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", true).unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflated(
                &mut inflate,
                b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
                true
            )
            .unwrap(),
            b"Hello"
        );
    }

    #[test]
    fn the_window_is_bounded() {
        let mut inflate = Inflate::default();
        // 64 KiB of stored data, four times.
        for _ in 0..4 {
            let mut block = vec![0, 0xff, 0xff, 0, 0];
            block.extend(std::iter::repeat_n(7, 0xffff));
            block.push(0);
            assert_eq!(inflated(&mut inflate, &block, true).unwrap().len(), 0xffff);
        }
        assert!(inflate.held() <= 128 << 10, "{}", inflate.held());
    }
}
