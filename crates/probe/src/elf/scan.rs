//! Walking segments in windows, so that a 300 MB browser costs as much memory as a small library.

use super::ElfError;
use super::parser::{Elf, Segment};

/// Bytes read at a time: a few hundred KiB stay in the processor's cache.
pub(crate) const WINDOW: usize = 256 * 1024;
/// Bytes that all passes over one file may read together: several times the largest browser, and an end for a hostile
/// file of overlapping or sparse segments.
pub(super) const SCAN_BUDGET: u64 = 4 * 1024 * 1024 * 1024;

impl Elf<'_> {
    /// Calls `visit(address, bytes, fresh)` for windows of `segment`. `bytes` begins at `address`; windows overlap by
    /// `overlap`, and only what begins in the first `fresh` bytes is this window's to report.
    pub(crate) fn windows(
        &self,
        segment: &Segment,
        overlap: usize,
        mut visit: impl FnMut(u64, &[u8], usize),
    ) -> Result<(), ElfError> {
        let total = segment.size;
        let limit = self.scan_budget.get();
        if total > limit {
            return Err(ElfError::TooLarge {
                what: "segments to scan",
                size: total,
                limit,
            });
        }
        self.scan_budget.set(limit - total);
        let mut buffer = vec![0; WINDOW + overlap];
        let mut at = 0;
        while at < total {
            let left = usize::try_from(total - at).unwrap_or(usize::MAX);
            let Some(window) = buffer.get_mut(..left.min(WINDOW + overlap)) else {
                break;
            };
            self.read_into("segment", segment.offset + at, window)?;
            visit(segment.address + at, window, left.min(WINDOW));
            at += WINDOW as u64;
        }
        Ok(())
    }
}
